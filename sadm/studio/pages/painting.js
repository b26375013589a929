// A mask painted over a picture. The longest side of the field has SIDE pixels, whatever the picture has.
const SIDE = 256, PAINT = "rgba(220, 38, 38, 1)", KEPT = 20;
const canvas = element.querySelector("canvas"), screen = canvas.getContext("2d");
const brush = element.querySelector(".brush"), erase = element.querySelector(".erase");
const mask = document.createElement("canvas"), paint = mask.getContext("2d", { willReadFrequently: true });
let picture = null, shown = "", stroke = null, cursor = null, before = [];

function draw() {
  screen.clearRect(0, 0, canvas.width, canvas.height);
  screen.fillStyle = "#404040";
  screen.fillRect(0, 0, canvas.width, canvas.height);
  screen.imageSmoothingEnabled = false;
  if (picture) screen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  screen.globalAlpha = 0.6;
  screen.drawImage(mask, 0, 0);
  screen.globalAlpha = 1;
  if (!cursor) return;
  for (const [width, colour] of [[4, "#000"], [2, "#fff"]]) {
    screen.lineWidth = width;
    screen.strokeStyle = colour;
    screen.beginPath();
    screen.arc(cursor.x, cursor.y, brush.value / 2, 0, 2 * Math.PI);
    screen.stroke();
  }
}

function size(width, height) {
  const scale = SIDE / Math.max(width, height);
  for (const one of [canvas, mask]) {
    one.width = Math.max(1, Math.round(width * scale));
    one.height = Math.max(1, Math.round(height * scale));
  }
  before = [];
  cursor = null;
  draw();
}

function line(from, to) {
  paint.globalCompositeOperation = erase.checked ? "destination-out" : "source-over";
  paint.strokeStyle = PAINT;
  paint.lineWidth = brush.value;
  paint.lineCap = "round";
  paint.beginPath();
  paint.moveTo(from.x, from.y);
  paint.lineTo(to.x + 0.01, to.y);
  paint.stroke();
  draw();
}

function remember() {
  before.push(paint.getImageData(0, 0, mask.width, mask.height));
  before = before.slice(-KEPT);
}

function tell() {
  const painted = paint.getImageData(0, 0, mask.width, mask.height).data.some((value) => value > 0);
  props.value = { picture: shown, mask: painted ? mask.toDataURL("image/png") : "" };
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return { x: (event.clientX - box.left) * canvas.width / box.width, y: (event.clientY - box.top) * canvas.height / box.height };
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  cursor = null;
  remember();
  stroke = place(event);
  line(stroke, stroke);
});
canvas.addEventListener("pointermove", (event) => {
  if (!stroke) return;
  const to = place(event);
  line(stroke, to);
  stroke = to;
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, () => {
    if (stroke) tell();
    stroke = null;
  });
}

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
canvas.addEventListener("keydown", (event) => {
  const at = cursor || { x: canvas.width / 2, y: canvas.height / 2 };
  if (event.key in MOVES) {
    const pace = Math.max(1, brush.value / 2), [x, y] = MOVES[event.key];
    cursor = {
      x: Math.min(canvas.width, Math.max(0, at.x + x * pace)),
      y: Math.min(canvas.height, Math.max(0, at.y + y * pace)),
    };
    draw();
  } else if (event.key === " " || event.key === "Enter") {
    cursor = at;
    remember();
    line(at, at);
    tell();
  } else {
    return;
  }
  event.preventDefault();
});
canvas.addEventListener("focus", () => {
  if (canvas.matches(":focus-visible")) cursor = cursor || { x: canvas.width / 2, y: canvas.height / 2 };
  draw();
});
canvas.addEventListener("blur", () => {
  cursor = null;
  draw();
});
element.querySelector(".undo").addEventListener("click", () => {
  if (before.length) paint.putImageData(before.pop(), 0, 0);
  draw();
  tell();
});
element.querySelector(".clear").addEventListener("click", () => {
  remember();
  paint.clearRect(0, 0, mask.width, mask.height);
  draw();
  tell();
});

function show() {
  const given = (props.value || {}).picture || "";
  if (given === shown) return;
  shown = given;
  const loading = new Image();
  loading.onload = () => {
    if (given !== shown) return;
    picture = loading;
    size(loading.naturalWidth, loading.naturalHeight);
  };
  if (given) loading.src = given;
  else {
    picture = null;
    size(SIDE, SIDE);
  }
}

watch("value", show);
size(SIDE, SIDE);
show();
