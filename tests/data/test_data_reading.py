"""From records to an image set: what is known of a record goes to each of its pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.data import BatchStream, Fit, ImageSet, Note, load_split, open_source
from sadm.data.reading import read_listing
from sadm.data.records import Listing, Record


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def record(name: str, pixels: np.ndarray, mask: np.ndarray | None = None, **known: object) -> Record:
    content, marks = png(pixels), None if mask is None else png(mask)
    return Record(name, lambda: content, mask=None if marks is None else lambda: marks, **known)  # type: ignore[arg-type]


def noise(seed: int, width: int = 32, height: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def marked(left: int) -> np.ndarray:
    """16 x 32 with a mark of two pixels at x = `left`."""
    mask = np.zeros((16, 32), dtype=np.uint8)
    mask[5, left : left + 2] = 255
    return mask


SCANS = Listing(
    "scans",
    [
        record(
            "a.png", noise(0), marked(3), class_name="scratch", group="part 1", part="train", attributes={"size": 2.0}
        ),
        record("b.png", noise(1), class_name="good"),
        record("c.tif#page=2", noise(2), marked(20), class_name="scratch", attributes={"depth": 1.0}),
    ],
)


def test_tiles_keep_what_is_known_of_their_scan() -> None:
    images = read_listing(SCANS, Fit(16, policy="tiles"))
    assert images.names == (
        "a.png#x=0,y=0",
        "a.png#x=16,y=0",
        "b.png#x=0,y=0",
        "b.png#x=16,y=0",
        "c.tif#page=2,x=0,y=0",
        "c.tif#page=2,x=16,y=0",
    )
    assert images.groups == ("part 1", "part 1", "b.png", "b.png", "c.tif#page=2", "c.tif#page=2")
    assert images.parts == ("train", "train", "", "", "", "")
    assert images.tiles is not None
    assert [tile.origin for tile in images.tiles[::2]] == ["a.png", "b.png", "c.tif#page=2"]
    assert images.attribute_names == ("size", "depth")
    assert images.attributes is not None
    assert images.attributes[:2, 0].tolist() == [2.0, 2.0]
    assert torch.isnan(images.attributes[2]).all()
    assert images.labels is not None
    assert [images.class_names[i] for i in images.labels] == ["scratch"] * 2 + ["good"] * 2 + ["scratch"] * 2
    for i, seed in enumerate([0, 0, 1, 1, 2, 2]):
        assert np.array_equal(images.images[i, 0].numpy(), noise(seed)[:, 16 * (i % 2) : 16 * (i % 2) + 16])
    assert images.masks is not None
    assert images.masks.flatten(1).any(dim=1).tolist() == [True, False, False, False, False, True]
    assert np.array_equal(images.masks[5, 0].numpy(), marked(20)[:, 16:])


@pytest.mark.parametrize("clean", ["good", "empty"])
def test_tiles_beside_the_mark_get_the_clean_class(clean: str) -> None:
    images = read_listing(SCANS, Fit(16, policy="tiles", clean_class=clean))
    assert images.labels is not None
    found = [images.class_names[i] for i in images.labels]
    # b.png has no mask: nothing is known about where it is marked, so it keeps its class.
    assert found == ["scratch", clean, "good", "good", clean, "scratch"]
    assert images.class_names == tuple(sorted({"scratch", "good", clean}))
    fixed = Listing("scans", SCANS.records, class_names=("scratch", "good"))
    expected = ("scratch", "good") if clean == "good" else ("scratch", "good", "empty")
    assert read_listing(fixed, Fit(16, policy="tiles", clean_class=clean)).class_names == expected


def test_a_clean_class_needs_classes() -> None:
    flat = Listing("flat", [record("a.png", noise(0), marked(3)), record("b.png", noise(1))])
    with pytest.raises(UserError, match=r"--data\.clean-class is 'good', but flat has no classes\. Sort its images"):
        read_listing(flat, Fit(16, policy="tiles", clean_class="good"))


def test_one_scan_is_enough_for_tiles_and_too_little_for_a_crop() -> None:
    one = Listing("one", SCANS.records[:1])
    assert len(read_listing(one, Fit(16, policy="tiles"))) == 2
    with pytest.raises(UserError, match=r"one readable image, 'a\.png'; at least 2"):
        read_listing(one, Fit(16))


def test_a_scan_with_a_wrong_mask_is_left_out_alone() -> None:
    wrong = record("w.png", noise(3), noise(3, 16, 16), class_name="good")
    images = read_listing(Listing("scans", [*SCANS.records, wrong]), Fit(16))
    assert [(skip.path, skip.reason) for skip in images.skipped] == [
        ("w.png", "its mask is 16 x 16 pixels, the image 32 x 16; both must be of one size")
    ]
    assert images.masks is not None
    assert images.masks.shape == (3, 1, 16, 16)


def test_a_set_without_masks_has_none() -> None:
    images = read_listing(Listing("s", [record(f"{i}", noise(i)) for i in range(2)]), Fit())
    assert (images.masks, images.tiles, images.groups, images.uncropped) == (None, None, None, None)


def test_notes_are_of_their_files() -> None:
    rgba = np.dstack([noise(i) for i in range(4)])
    records = [record("plain", noise(0)), record("clear", rgba), record("also", rgba)]
    images = read_listing(Listing("s", records), Fit())
    assert images.notes == tuple(Note(name, "transparency composited on white") for name in ("clear", "also"))


# ---- random crops ----------------------------------------------------------------------------------------------------


def folder_of(tmp_path: Path, colour: bool = False) -> str:
    for i in range(6):
        pixels = noise(i, 30 + 5 * i, 40)
        Image.fromarray(np.dstack([pixels, pixels // 2, pixels]) if colour else pixels).save(tmp_path / f"{i}.png")
    return str(tmp_path)


def open_plain(source: str) -> ImageSet:
    opened = open_source(source, resolution=16)
    assert isinstance(opened, ImageSet)
    return opened


@pytest.mark.parametrize("colour", [False, True])
def test_training_sees_windows_and_measuring_sees_the_centre(tmp_path: Path, colour: bool) -> None:
    images = open_source(folder_of(tmp_path, colour), fit=Fit(16, policy="random-crop", crop_margin=0.5))
    assert isinstance(images, ImageSet)
    assert images.uncropped is not None
    stream = BatchStream(images, 6, seed=0)
    assert stream.changes_pixels
    seen: dict[int, set[bytes]] = {}
    for step in range(8):
        batch = stream.batch(step)
        assert torch.equal(batch.x0, BatchStream(images, 6, seed=0).batch(step).x0)
        for x0, i in zip(batch.x0, batch.index.tolist(), strict=True):
            window = ((x0 + 1) * 127.5).round().to(torch.uint8)
            places = images.uncropped[i].unfold(1, 16, 1).unfold(2, 16, 1)  # [C, rows, columns, 16, 16]
            assert bool((places == window[:, None, None]).all(dim=(0, 3, 4)).any())
            seen.setdefault(i, set()).add(window.numpy().tobytes())
    assert all(len(windows) > 3 for windows in seen.values())
    centre = Fit(16, policy="random-crop", crop_margin=0.5)
    with Image.open(tmp_path / "2.png") as image:
        assert np.array_equal(images.images[2].permute(1, 2, 0).numpy().squeeze(), centre.picture(image).pixels[0])


def test_colour_beside_the_centre_counts(tmp_path: Path) -> None:
    for i in range(2):
        pixels = np.full((20, 60, 3), 90, dtype=np.uint8)
        pixels[:, :8] = (200, 30, 60 * i)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    for policy, channels in (("crop", 1), ("random-crop", 3)):
        images = open_source(str(tmp_path), fit=Fit(8, policy=policy))  # type: ignore[arg-type]
        assert isinstance(images, ImageSet)
        assert images.shape[0] == channels


def test_a_split_keeps_the_windows_of_its_images_and_the_fingerprint_sees_them(tmp_path: Path) -> None:
    source = folder_of(tmp_path)
    split = load_split(source, held_out=0.4, fit=Fit(16, policy="random-crop", crop_margin=0.5))
    whole = open_source(source, fit=Fit(16, policy="random-crop", crop_margin=0.5))
    assert isinstance(whole, ImageSet)
    assert split.train.uncropped is not None
    assert whole.uncropped is not None
    for i, name in enumerate(split.train.names):
        assert torch.equal(split.train.uncropped[i], whole.uncropped[whole.names.index(name)])
    before = split.train.fingerprint()
    split.train.uncropped[0][0, 0, 0] ^= 1  # a corner, which the centre does not show
    assert split.train.fingerprint() != before
    assert not BatchStream(open_plain(source), 4, seed=0).changes_pixels


def test_a_fit_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give either `fit`, or `resolution` and `channels`"):
        open_source(folder_of(tmp_path), resolution=8, fit=Fit(8))
