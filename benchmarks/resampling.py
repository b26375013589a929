"""Which filter resizes drawings without haloes, and what does it cost photographs?

Drawings: lines of 1 to 3 pixels at 1200 x 1200, resized; how far values leave the range of the drawing, and in how many
pixels. Photographs: scikit-learn's two, shrunk and enlarged again (by bicubic interpolation, the same for all); and shrunk
ones enlarged by the filter itself.

    python -m benchmarks.resampling        # seconds; prints the table of docs/formats.md
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from sadm.data.resampling import FILTER

FILTERS = {
    filter_.name.capitalize(): filter_
    for filter_ in (
        Image.Resampling.LANCZOS,
        Image.Resampling.BICUBIC,
        Image.Resampling.HAMMING,
        Image.Resampling.BILINEAR,
        Image.Resampling.BOX,
    )
}
GREYS = ((200, 40), (128, 0), (60, 230))
"""Ground and ink."""
SIDES = (64, 128, 256)
HEADER = (
    "| filter | halo, grey levels | pixels with a halo | photograph shrunk, dB | enlarged, dB |\n"
    "| --- | --- | --- | --- | --- |"
)


def drawing(ground: int, ink: int, side: int = 1200) -> Image.Image:
    """Straight and curved lines of 1 to 3 pixels on a plain ground."""
    image, draws = Image.new("L", (side, side), ground), np.random.default_rng(0)
    pen = ImageDraw.Draw(image)
    for _ in range(60):
        pen.line(draws.integers(0, side, 4).tolist(), fill=ink, width=int(draws.integers(1, 4)))
    for _ in range(20):
        x, y, r = draws.integers(20, side // 2, 3).tolist()
        pen.ellipse((x, y, x + r, y + r), outline=ink, width=int(draws.integers(1, 4)))
    return image


def halo(filter_: Image.Resampling) -> tuple[int, float]:
    """The furthest that any value leaves the range of its drawing, and the share of pixels that do."""
    furthest, share = 0, []
    for ground, ink in GREYS:
        low, high = min(ground, ink), max(ground, ink)
        for side in SIDES:
            found = np.asarray(drawing(ground, ink).resize((side, side), filter_)).astype(int)
            furthest = max(furthest, int(found.max()) - high, low - int(found.min()))
            share.append(((found < low) | (found > high)).mean())
    return furthest, float(np.mean(share))


def photographs() -> list[Image.Image]:
    """Two square photographs of 420 pixels."""
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(pixels).crop((0, 0, 420, 420)) for pixels in load_sample_images().images]


def psnr(first: Image.Image, second: Image.Image) -> float:
    """Peak signal-to-noise ratio in dB."""
    difference = np.asarray(first).astype(float) - np.asarray(second)
    return float(10 * np.log10(255**2 / (difference**2).mean()))


def shrunk(filter_: Image.Resampling) -> float:
    """Mean PSNR of photographs shrunk by the filter and enlarged again."""
    return float(
        np.mean(
            [
                psnr(image, image.resize((side, side), filter_).resize(image.size, Image.Resampling.BICUBIC))
                for image in photographs()
                for side in SIDES
            ]
        )
    )


def enlarged(filter_: Image.Resampling) -> float:
    """Mean PSNR of small photographs enlarged from three quarters by the filter."""
    small = [image.resize((128, 128), Image.Resampling.BOX) for image in photographs()]
    return float(
        np.mean(
            [psnr(image, image.resize((96, 96), Image.Resampling.BOX).resize((128, 128), filter_)) for image in small]
        )
    )


def row(name: str) -> str:
    """A line of the table."""
    filter_ = FILTERS[name]
    furthest, share = halo(filter_)
    chosen = f"**{name}**" if filter_ == FILTER else name
    return f"| {chosen} | {furthest} | {share:.0%} | {shrunk(filter_):.1f} | {enlarged(filter_):.1f} |"


if __name__ == "__main__":
    print(HEADER, *map(row, FILTERS), sep="\n")
