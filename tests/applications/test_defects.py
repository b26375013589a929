"""Defects on good images: shapes and places, pixels that stay, what a model is told, folders, interruptions, bad input."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from sadm.applications.defects import LAYOUTS, Place, Request, Shapes, synthesise
from sadm.applications.defects.folder import write_defects
from sadm.applications.defects.gain import read_pairs, sentence
from sadm.applications.defects.layouts import box_of, run_lengths
from sadm.applications.defects.shapes import grown
from sadm.applications.images import images_for
from sadm.cli.main import run
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.marking import EDITED, read_mark
from sadm.core.progress import Silent
from sadm.data import ImageSet, open_source
from sadm.evaluation.detection import DetectorSettings
from sadm.training.model_folder import Model, load_model
from sadm.training.trained import split_of

TRAINING = (
    "--data surfaces:count=60,size=16,defects=0.7 --data.tell attributes masks --signal none --net.patch 4 --net.width 8 "
    "--net.depth 1 --net.heads 1 --optimiser.steps 3 --optimiser.batch 4 --sampling.steps 2 --log.samples 0"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("defects") / "run"
    assert run(["train", "--out", str(out), *TRAINING]) == 0
    return out


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_model(folder)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    opened = open_source("surfaces:count=60,size=16,defects=0.7")
    assert isinstance(opened, ImageSet)
    return opened


# ---- shapes and places -----------------------------------------------------------------------------------------------


def marked(images: ImageSet, defect: str) -> list[int]:
    label = images.class_names.index(defect)
    assert images.labels is not None
    assert images.masks is not None
    return [i for i in range(len(images)) if int(images.labels[i]) == label and bool(images.masks[i].any())]


def test_a_shape_as_found_is_the_real_mask(images: ImageSet) -> None:
    shapes = Shapes(images, images.class_names.index("stain"))
    assert sorted(shape.image for shape in shapes.shapes) == marked(images, "stain")
    seen = set()
    for seed in range(40):
        mask, shape = shapes.draw(Place("as-found"), seed)
        assert torch.equal(mask, images.masks[shape.image])  # type: ignore[index]
        seen.add(shape.image)
    assert len(seen) > 3


def test_anywhere_is_turned_moved_and_whole(images: ImageSet) -> None:
    shapes = Shapes(images, images.class_names.index("dent"))
    places = set()
    for seed in range(60):
        mask, shape = shapes.draw(Place(), seed)
        area = int((shape.mask >= 128).sum())
        assert int((mask == 255).sum()) == area  # nothing was cut off: these fit
        turned = [torch.rot90(one, k, (1, 2)) for one in (shape.mask, shape.mask.flip(2)) for k in range(4)]
        left, top, width, height = box_of(mask[0].numpy())
        cut = mask[:, top : top + height, left : left + width]
        assert any(one.shape == cut.shape and torch.equal(one, cut) for one in turned)
        places.add((left, top))
    assert len(places) > 20


def test_what_an_edge_had_cut_off_stays_at_an_edge(images: ImageSet) -> None:
    """A wedge that reaches the right side of its image, where it is 3 pixels wide, and 1 elsewhere."""
    wedge = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    wedge[:, :, 4:7, 15], wedge[:, :, 5, 12:15] = 255, 255
    one = dataclasses.replace(images.subset(torch.tensor(marked(images, "dent")[:1])), masks=wedge)
    shapes = Shapes(one, one.class_names.index("dent"))
    seen = set()
    for seed in range(60):
        mask = shapes.draw(Place(), seed)[0][0]
        assert int((mask == 255).sum()) == 6
        ends = torch.stack([mask[0], mask[-1], mask[:, 0], mask[:, -1]]) == 255  # [4, 16]
        assert int(ends.sum(1).max()) == 3  # its wide end lies along a side
        seen.add((int(ends.sum(1).argmax()), int(ends[ends.sum(1).argmax()].nonzero()[0])))
    assert {side for side, _ in seen} == {0, 1, 2, 3}
    assert len(seen) > 20


def test_the_middle_stays_in_the_region(images: ImageSet) -> None:
    region = torch.zeros(1, 16, 16, dtype=torch.uint8)
    region[:, 9:12, 3:7] = 255
    shapes = Shapes(images, images.class_names.index("stain"))
    for seed in range(30):
        mask, _ = shapes.draw(Place(region=region), seed)
        left, top, width, height = box_of(mask[0].numpy())
        if left and top and left + width < 16 and top + height < 16:  # not cut off: the middle can be told
            assert 9 <= top + height // 2 < 12
            assert 3 <= left + width // 2 < 7


def test_a_point_is_the_middle(images: ImageSet) -> None:
    square = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    square[:, :, 2:5, 2:7] = 255
    some = dataclasses.replace(images.subset(torch.tensor(marked(images, "dent")[:2])), masks=square)
    mask, _ = Shapes(some, some.class_names.index("dent")).draw(Place("point", 1.0, 0.0), 0)
    assert mask[0, 0, 15] == 255  # at the corner the rest is cut off
    assert 4 <= int((mask == 255).sum()) <= 9


def test_the_nearest_severities_are_taken(images: ImageSet) -> None:
    shapes = Shapes(images, images.class_names.index("scratch"))
    known = sorted(shape.severity for shape in shapes.shapes)
    allowed = set(known[-max(1, len(known) // 5) :])
    assert {shapes.draw(Place(), seed, severity=5.0)[1].severity for seed in range(20)} <= allowed


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_growing_is_a_distance(margin: int) -> None:
    mask = (torch.rand(2, 1, 9, 11, generator=torch.Generator().manual_seed(0)) < 0.05).to(torch.uint8) * 255
    expected = torch.zeros_like(mask)
    for n, _, y, x in mask.nonzero().tolist():
        for v in range(9):
            for u in range(11):
                if max(abs(v - y), abs(u - x)) <= margin:
                    expected[n, 0, v, u] = 255
    assert torch.equal(grown(mask, margin), expected)


# ---- pairs -----------------------------------------------------------------------------------------------------------


def test_outside_of_the_defect_nothing_changes(model: Model, images: ImageSet) -> None:
    for margin in (0, 2):
        for pair in synthesise(model, images, Request("stain", 5, margin=margin)):
            before = images.images[images.names.index(pair.good)]
            outside = grown(pair.mask[None], margin)[0] == 0
            assert bool(outside.any())
            assert torch.equal(pair.image[outside], before[outside])
            assert not torch.equal(pair.image, before)
            inside = pair.mask == 255
            expected = (pair.image.double() - before.double()).abs()[inside].mean()
            assert pair.change == pytest.approx(float(expected), rel=1e-5)
            assert images.class_names[int(images.labels[images.names.index(pair.good)])] == "good"  # type: ignore[index]


def test_a_pair_depends_on_seed_and_index_alone(model: Model, images: ImageSet) -> None:
    request = Request("dent", 5, severity=(0.2, 0.9))
    whole = list(synthesise(model, images, request))
    one_by_one = dataclasses.replace(model, sampling=model.sampling.model_copy(update={"batch": 1}))
    rest = list(synthesise(one_by_one, images, request, having=lambda index: index in (0, 3)))
    assert [pair.index for pair in rest] == [1, 2, 4]
    for pair in rest:
        same = whole[pair.index]
        assert int((pair.image.int() - same.image.int()).abs().max()) <= 1  # sums in another order
        assert torch.equal(pair.mask, same.mask)
        assert (pair.severity, pair.good, pair.shape_of) == (same.severity, same.good, same.shape_of)
        assert 0.2 <= pair.severity <= 0.9
    other = list(synthesise(model, images, dataclasses.replace(request, seed=1)))
    assert not any(torch.equal(a.image, b.image) for a, b in zip(whole, other, strict=True))


def test_the_network_is_told_class_severity_material_and_mask(model: Model, images: ImageSet) -> None:
    """Against what the table says of the good image, written by hand."""
    seen = []
    net = model.denoiser.net
    handle = net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[2]))
    try:
        pairs = list(synthesise(model, images, Request("crack", 3, severity=(0.25, 0.25), least_change=0)))
    finally:
        handle.remove()
    cond, scales = seen[0], model.spec.attributes
    assert cond.label.tolist() == [model.spec.class_names.index("crack")] * 3
    assert torch.equal(cond.image, torch.stack([pair.mask for pair in pairs]).float() / 127.5 - 1)
    for row, pair in zip(cond.attributes, pairs, strict=True):
        table = dict(zip(images.attribute_names, images.attributes[images.names.index(pair.good)], strict=True))  # type: ignore[index]
        for number, scale in enumerate(scales):
            value = 0.25 if scale.name == "severity" else float(table[scale.name])
            assert float(row[2 * number]) == pytest.approx((value - scale.mean) / scale.std, rel=1e-5)
            assert float(row[2 * number + 1]) == 1


def test_what_hardly_shows_is_drawn_again(model: Model, images: ImageSet) -> None:
    easy, hard = (list(synthesise(model, images, Request("dent", 3, least_change=level))) for level in (0, 255))
    for a, b in zip(easy, hard, strict=True):
        assert b.change >= a.change  # of several attempts the best stays
    assert any(a.seed != b.seed for a, b in zip(easy, hard, strict=True))


# ---- folders ---------------------------------------------------------------------------------------------------------


def requests(count: int = 3) -> list[Request]:
    return [Request(name, count, least_change=0) for name in ("dent", "stain")]


def test_class_folders_are_read_again(model: Model, images: ImageSet, tmp_path: Path) -> None:
    written = write_defects(model, images, requests(), tmp_path, with_good=4)
    assert (written.pairs, written.good) == ({"dent": 3, "stain": 3}, 4)
    opened = open_source(str(tmp_path))
    assert isinstance(opened, ImageSet)
    assert set(opened.class_names) == {"good", "dent", "stain"}
    assert opened.masks is not None
    by_name = {name: i for i, name in enumerate(opened.names)}
    for request in requests():
        for pair in synthesise(model, images, request):
            row = by_name[f"{request.defect}/{pair.index:06d}.png"]
            assert torch.equal(opened.images[row], pair.image)
            assert torch.equal(opened.masks[row], pair.mask)
            assert opened.groups is not None
            assert opened.groups[row] == pair.good
    with open(tmp_path / "metadata.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 10


def test_defects_are_marked_and_real_images_are_not(model: Model, images: ImageSet, tmp_path: Path) -> None:
    write_defects(model, images, requests(1), tmp_path, with_good=1)
    mark = read_mark(tmp_path / "dent" / "000000.png")
    assert mark is not None
    assert (mark.source_type, mark.label, mark.model) == (EDITED, "dent", model.hash)
    assert read_mark(tmp_path / "good" / "000000.png") is None


def test_mvtec_folders(model: Model, images: ImageSet, tmp_path: Path) -> None:
    write_defects(model, images, requests(2), tmp_path, layout="mvtec", with_good=2)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")}
    expected = {f"train/good/00{i}.png" for i in range(2)}
    expected |= {f"test/{name}/00{i}.png" for name in ("dent", "stain") for i in range(2)}
    expected |= {f"ground_truth/{name}/00{i}_mask.png" for name in ("dent", "stain") for i in range(2)}
    assert found == expected


def test_mvtec_folders_are_read_again(model: Model, images: ImageSet, tmp_path: Path) -> None:
    write_defects(model, images, requests(2), tmp_path, layout="mvtec", with_good=2)
    opened = open_source(str(tmp_path), strict=True)
    assert isinstance(opened, ImageSet)
    assert opened.class_names == ("dent", "good", "stain")
    by_name = {name: i for i, name in enumerate(opened.names)}
    assert opened.masks is not None
    assert opened.parts is not None
    for request in requests(2):
        for pair in synthesise(model, images, request):
            row = by_name[f"test/{request.defect}/{pair.index:03d}.png"]
            assert torch.equal(opened.images[row], pair.image)
            assert torch.equal(opened.masks[row], pair.mask)
            assert opened.parts[row] == "held_out"
    assert [name for name, part in zip(opened.names, opened.parts, strict=True) if part == "train"] == [
        "train/good/000.png",
        "train/good/001.png",
    ]


@pytest.mark.parametrize("own", [False, True])
def test_a_good_image_and_the_defects_on_it_are_one_group(
    own: bool, model: Model, images: ImageSet, tmp_path: Path
) -> None:
    groups = tuple(f"part {i // 3}" for i in range(len(images))) if own else None
    grouped = dataclasses.replace(images, groups=groups)
    good = (grouped.labels == grouped.class_names.index("good")).nonzero().flatten().tolist()  # type: ignore[union-attr]
    write_defects(model, grouped, requests(), tmp_path, with_good=len(good))
    opened = open_source(str(tmp_path))
    assert isinstance(opened, ImageSet)
    assert opened.groups is not None
    group_of = dict(zip(opened.names, opened.groups, strict=True))
    expected = dict(zip(images.names, groups or images.names, strict=True))
    for i, row in enumerate(good):
        assert group_of[f"good/{i:06d}.png"] == expected[images.names[row]]
    for request in requests():
        for pair in synthesise(model, images, request):
            assert group_of[f"{request.defect}/{pair.index:06d}.png"] == expected[pair.good]


def decoded(counts: list[int], height: int, width: int) -> np.ndarray:
    """Run lengths back to a mask, pixel by pixel down the columns, as COCO defines them."""
    flat: list[bool] = []
    for number, length in enumerate(counts):
        flat += [number % 2 == 1] * length
    return np.array([[flat[x * height + y] for x in range(width)] for y in range(height)])


@pytest.mark.parametrize("kind", ["random", "full", "empty", "first"])
def test_run_lengths_are_those_of_coco(kind: str) -> None:
    mask = np.random.default_rng(0).random((5, 7)) < 0.4
    if kind != "random":
        mask = np.full((5, 7), kind == "full")
        mask[0, 0] |= kind == "first"
    counts = run_lengths(mask)
    assert sum(counts) == 35
    assert (decoded(counts, 5, 7) == mask).all()


def test_coco_annotations(model: Model, images: ImageSet, tmp_path: Path) -> None:
    write_defects(model, images, requests(2), tmp_path, layout="coco", with_good=1)
    facts = json.loads((tmp_path / "annotations.json").read_text())
    names = {entry["id"]: entry["name"] for entry in facts["categories"]}
    assert set(names.values()) == {"scratch", "dent", "stain", "crack", "missing"}
    assert len(facts["images"]) == 5
    files = {entry["id"]: entry for entry in facts["images"]}
    for entry in facts["annotations"]:
        image = files[entry["image_id"]]
        assert names[entry["category_id"]] in image["file_name"]
        with Image.open(tmp_path / image["file_name"].replace("images/", "masks/")) as opened:
            mask = np.asarray(opened) == 255
        assert (decoded(entry["segmentation"]["counts"], image["height"], image["width"]) == mask).all()
        assert entry["area"] == mask.sum()
        x, y, w, h = entry["bbox"]
        assert mask[y : y + h, x : x + w].sum() == mask.sum()
        assert mask[y].any()
        assert mask[y + h - 1].any()
        assert mask[:, x].any()
        assert mask[:, x + w - 1].any()
    assert all((tmp_path / entry["file_name"]).is_file() for entry in facts["images"])


def test_yolo_boxes(model: Model, images: ImageSet, tmp_path: Path) -> None:
    write_defects(model, images, requests(2), tmp_path, layout="yolo", with_good=1)
    names = yaml.safe_load((tmp_path / "data.yaml").read_text())["names"]
    assert (tmp_path / "labels/train/good-000000.txt").read_text() == ""
    for path in (tmp_path / "images/train").glob("dent-*.png"):
        number, x, y, w, h = (tmp_path / "labels/train" / f"{path.stem}.txt").read_text().split()
        assert names[int(number)] == "dent"
        with Image.open(tmp_path / "masks/train" / path.name) as opened:
            left, top, width, height = box_of(np.asarray(opened))
        middle = ((left + width / 2) / 16, (top + height / 2) / 16)
        assert [float(x), float(y), float(w), float(h)] == pytest.approx([*middle, width / 16, height / 16], abs=1e-6)


class Stopping:
    """A reporter that asks for a stop, as Ctrl-C does, once some of a class are drawn."""

    def __init__(self, defect: str) -> None:
        self.task = f"drawing '{defect}'"

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        if task == self.task and done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    def say(self, text: str) -> None:
        pass


@pytest.mark.parametrize("defect", ["dent", "stain"])
def test_a_stopped_folder_ends_as_one_that_ran_through(
    defect: str, model: Model, images: ImageSet, tmp_path: Path
) -> None:
    two = dataclasses.replace(model, sampling=model.sampling.model_copy(update={"batch": 1}))
    write_defects(two, images, requests(), tmp_path / "whole")
    with pytest.raises(InterruptedRun, match="run the same command"):
        write_defects(two, images, requests(), tmp_path / "parts", reporter=Stopping(defect))
    assert not (tmp_path / "parts" / "metadata.csv").exists()
    write_defects(two, images, requests(), tmp_path / "parts")
    whole, parts = (
        {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (tmp_path / "whole", tmp_path / "parts")
    )
    assert whole == parts


def test_another_request_is_not_mixed_in(model: Model, images: ImageSet, tmp_path: Path) -> None:
    write_defects(model, images, requests(1), tmp_path)
    with pytest.raises(UserError, match=r"made otherwise \(another requests\)"):
        write_defects(model, images, requests(2), tmp_path)
    otherwise = dataclasses.replace(model, sampling=model.sampling.model_copy(update={"steps": 3}))
    with pytest.raises(UserError, match=r"made otherwise \(another sampling\)"):
        write_defects(otherwise, images, requests(1), tmp_path)


# ---- images of a run, and others -------------------------------------------------------------------------------------


def changed_run(folder: Path, out: Path, **data: object) -> Path:
    """A copy of a run whose configuration says something else of its images."""
    shutil.copytree(folder, out)
    config = yaml.safe_load((out / "config.yaml").read_text())
    config["data"].update(data)
    (out / "config.yaml").write_text(yaml.safe_dump(config))
    return out


def wide_images(folder: Path, split: list[str]) -> Path:
    """Images of 32x16 pixels, white at both ends, and a table that says their parts."""
    folder.mkdir()
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:, :8] = pixels[:, -8:] = 255
    for i in range(len(split)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    rows = [f"{i}.png,{'good' if i % 2 else 'dent'},{part}" for i, part in enumerate(split)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,label,split", *rows]))
    return folder


def test_held_out_images_of_other_sources_are_left_out(folder: Path, model: Model, tmp_path: Path) -> None:
    other = wide_images(tmp_path / "other", ["train", "test", "", "val", "train", "train"])
    for place in (folder, folder / "model"):
        found = images_for(place, model, str(other), Silent())
        assert found.names == ("0.png", "2.png", "4.png", "5.png")
        assert found.shape == model.spec.shape
    everything = images_for(folder / "model", model, str(wide_images(tmp_path / "whole", [""] * 5)), Silent())
    assert len(everything) == 5  # beside a model alone, nothing says that some are to be held out


def test_other_images_are_read_as_the_run_reads_its_own(folder: Path, model: Model, tmp_path: Path) -> None:
    other = wide_images(tmp_path / "other", ["train"] * 4 + ["test"] * 2)
    cropped = images_for(folder, model, str(other), Silent())
    assert int(cropped.images.max()) == 0  # the central square
    run_ = changed_run(folder, tmp_path / "run", fit="pad", resolution=16, pad_colour="black")
    padded = images_for(run_, model, str(other), Silent())
    assert padded.shape == model.spec.shape
    assert bool((padded.images[:, :, 4:12, [0, -1]] == 255).all())  # both ends are seen
    assert int(padded.images[:, :, :4].max()) == 0


def test_images_of_a_run_that_have_changed_are_refused(folder: Path, model: Model, tmp_path: Path) -> None:
    assert len(images_for(folder, model, None, Silent())) == len(split_of(folder, model, Silent()).train)
    run_ = changed_run(folder, tmp_path / "run", source="surfaces:count=60,size=16,defects=0.7,seed=5")
    for opens in (lambda: images_for(run_, model, None, Silent()), lambda: split_of(run_, model, Silent())):
        with pytest.raises(UserError, match="are not those that .* was trained on"):
            opens()


# ---- bad input -------------------------------------------------------------------------------------------------------


def latent(model: Model) -> Model:
    return dataclasses.replace(model, description={**model.description, "latents": True})


def untold(model: Model) -> Model:
    return dataclasses.replace(model, spec=dataclasses.replace(model.spec, attributes=()))


@pytest.mark.parametrize(
    ("change", "request_", "message"),
    [
        (latent, Request("dent", 1), "draws latents"),
        (untold, Request("dent", 1, severity=(0.1, 0.2)), "was told of none"),
        (lambda model: model, Request("rust", 1), "'rust' is no class of the model; there are good, scratch"),
        (lambda model: model, Request("dent", 0), "--count must be at least 1, got 0"),
        (lambda model: model, Request("dent", 1, severity=(0.9, 0.1)), "got 0.9:0.1"),
        (lambda model: model, Request("dent", 1, margin=-1), "--margin must be at least 0"),
        (lambda model: model, Request("dent", 1, least_change=300), "from 0 to 255, got 300"),
    ],
)
def test_bad_requests(
    change: Callable[[Model], Model], request_: Request, message: str, model: Model, images: ImageSet
) -> None:
    with pytest.raises(UserError, match=message):
        list(synthesise(change(model), images, request_))


def test_images_without_masks_classes_or_size(model: Model, images: ImageSet) -> None:
    for other, message in (
        (dataclasses.replace(images, masks=None), "has no masks"),
        (dataclasses.replace(images, masks=torch.zeros_like(images.masks)), "has anything marked"),  # type: ignore[arg-type]
        (dataclasses.replace(images, images=images.images[..., :8], masks=None), "model and images differ"),
        (images.subset((images.labels != 0).nonzero().flatten()), "no training image of class 'good'"),  # type: ignore[union-attr]
    ):
        with pytest.raises(UserError, match=message):
            list(synthesise(model, other, Request("dent", 1)))


def test_a_class_without_masks_is_refused_before_another_is_drawn(
    model: Model, images: ImageSet, tmp_path: Path
) -> None:
    masks = images.masks.clone()  # type: ignore[union-attr]
    masks[images.labels == images.class_names.index("stain")] = 0
    with pytest.raises(UserError, match="no training image of class 'stain' .* has anything marked"):
        write_defects(model, dataclasses.replace(images, masks=masks), requests(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["somewhere", "2,0.5", "0.5", "0.1,", "-1,0"])
def test_bad_places(text: str) -> None:
    with pytest.raises(UserError, match="--place"):
        Place.parse(text)
    with pytest.raises(UserError, match="--region has a meaning"):
        Place.parse("0.5,0.5", torch.zeros(1, 2, 2, dtype=torch.uint8))


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (16, 16), 255).save(tmp_path / "region.png")
    command = [
        "defects",
        str(folder),
        "--out",
        str(tmp_path / "out"),
        "--count",
        "2",
        "--defect",
        "stain",
        "--severity",
        "0.4:0.6",
    ]
    assert run([*command, "--region", str(tmp_path / "region.png"), "--with-good", "1", "--steps", "3"]) == 0
    said = capsys.readouterr().out
    assert "2 of 'stain'" in said
    assert "1 good images beside them" in said
    with open(tmp_path / "out" / "metadata.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] == "stain"]
    assert len(rows) == 2
    assert all(0.4 <= float(row["severity"]) <= 0.6 for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--severity", "much"], "--severity is 'much'"),
        (["--region", "gone.png"], "gone.png does not exist"),
        (["--defect", "rust"], "'rust' is no class"),
        (["--with-good", "9999"], "good training images"),
        (["--steps", "0"], "steps"),
        (["--place", "top"], "--place is 'top'"),
    ],
)
def test_mistakes_on_the_command_line(
    options: list[str], message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["defects", str(folder), "--out", str(tmp_path / "out"), "--count", "1", *options]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_region_of_another_size_and_a_model_without_a_run(folder: Path, tmp_path: Path, capsys) -> None:
    for side, value, message in ((8, 255, "8x8 pixels; expected 16x16"), (16, 0, "marks nothing")):
        Image.new("L", (side, side), value).save(tmp_path / "region.png")
        command = ["defects", str(folder), "--out", str(tmp_path / "out"), "--region", str(tmp_path / "region.png")]
        assert run(command) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert run(["defects", str(folder / "model"), "--out", str(tmp_path / "out")]) == 2
    assert "no run that would say" in " ".join(capsys.readouterr().err.split())


def test_every_layout_has_distinct_paths() -> None:
    names = ["a b", "a/b", "con", "A b"]
    for layout in LAYOUTS.values():
        places = layout("good", names)
        paths = [path for name in names for i in range(2) for path in (places.image(name, i), places.mask(name, i))]
        paths += [places.good(i) for i in range(2)]
        assert len({path.casefold() for path in paths}) == len(paths)
        assert not any(part in ("", "..") for path in paths for part in path.split("/"))


def test_severity_stays_open_where_nothing_is_known(model: Model, images: ImageSet) -> None:
    unknown = dataclasses.replace(images, attributes=torch.full_like(images.attributes, math.nan))  # type: ignore[arg-type]
    (pair,) = synthesise(model, unknown, Request("dent", 1))
    assert math.isnan(pair.severity)


# ---- what they are worth ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_are_read_again_from_every_layout(layout: str, model: Model, images: ImageSet, tmp_path: Path) -> None:
    write_defects(model, images, requests(2), tmp_path, layout=layout, with_good=1)
    found = read_pairs(tmp_path)
    expected = {name: list(synthesise(model, images, request)) for name, request in zip("ds", requests(2), strict=True)}
    pairs = [pair for some in expected.values() for pair in some]
    assert len(found.images) == len(pairs)
    for pair in pairs:
        rows = [i for i in range(len(pairs)) if torch.equal(found.images[i], pair.image)]
        assert any(torch.equal(found.masks[row], pair.mask) for row in rows)


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.01, 0.05, "helps"), (-0.05, -0.01, "hurts"), (-0.01, 0.05, "not shown to help")]
)
def test_the_sentence_follows_the_interval(low: float, high: float, word: str) -> None:
    ours, theirs = ({"mean": (a + b) / 2, "low": a, "high": b} for a, b in ((low, high), (-0.2, -0.1)))
    gains = {"generated": {"auroc": ours, "pixel_ap": ours}, "pasted": {"auroc": theirs, "pixel_ap": theirs}}
    said = sentence({"gains": gains, "test": {"good": 10, "defects": 12}})
    assert said.startswith("On 22 held-out real images: ")
    assert f"generated: {word} (" in said
    assert "pasted: hurts" in said
    assert "prefer it" not in said
    swapped = {"generated": gains["pasted"], "pasted": gains["generated"]}
    assert "prefer it" in sentence({"gains": swapped, "test": {"good": 1, "defects": 1}})


def test_measuring_from_the_command_line(folder: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    from sadm.applications.defects import gain

    quick = DetectorSettings(steps=3, batch=4, width=4)
    monkeypatch.setattr(gain, "DetectorSettings", lambda: quick)
    command = ["defects", str(folder), "--out", str(tmp_path / "out"), "--count", "2", "--defect", "stain", "--measure"]
    assert run([*command, "--detectors", "2"]) == 0
    facts = json.loads((tmp_path / "out" / "detection.json").read_text())
    assert facts["sentence"] in capsys.readouterr().out
    assert facts["added"] == {"generated": 2, "pasted": 2}
    assert facts["detector"]["steps"] == 3
    assert facts["gains"].keys() == {"generated", "pasted"}
