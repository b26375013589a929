"""NumPy's files: every layout of images, what is mapped instead of read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.core.errors import UserError
from source_files import pixels, read, remarks

COLOUR = pixels(0, 1, 2, 3, 4).numpy()  # [5, 3, 8, 8]
GREY = COLOUR[:, 0]  # [5, 8, 8]


def save(path: Path, array: np.ndarray, **more: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        np.savez(path, images=array, **more)
    return path


@pytest.mark.parametrize("extension", ["npy", "npz"])
@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
        (np.asfortranarray(COLOUR), COLOUR),
        (GREY, GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR[:, :, :, :5], COLOUR[:, :, :, :5]),
    ],
)
def test_every_layout(tmp_path: Path, extension: str, array: np.ndarray, expected: np.ndarray) -> None:
    images = read(save(tmp_path / f"a.{extension}", array))
    assert np.array_equal(images.images.numpy(), expected)
    assert images.names[4] == f"a.{extension}/4"
    assert images.labels is None


@pytest.mark.parametrize("array", [COLOUR, COLOUR.transpose(0, 2, 3, 1), GREY])
def test_what_needs_no_change_is_mapped_and_never_written(tmp_path: Path, array: np.ndarray) -> None:
    path = save(tmp_path / "a.npy", np.ascontiguousarray(array))
    content = path.read_bytes()
    images = read(path, resolution=8)
    before = images.images.clone()
    with open(path, "r+b") as file:  # seen through the map, so nothing was copied
        file.seek(128)
        file.write(bytes([content[128] ^ 0xFF]))
    assert not torch.equal(images.images, before)
    path.write_bytes(content)
    images = read(path)
    images.images[0] = 0
    assert path.read_bytes() == content


def test_resolution_and_channels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", COLOUR)
    grey = read(path, channels=1).images
    for i in range(5):
        luma = np.array(Image.fromarray(COLOUR[i].transpose(1, 2, 0)).convert("L"))
        assert np.array_equal(grey[i, 0].numpy(), luma)
    smaller = read(path, resolution=4).images
    for channel in range(3):
        alone = read(save(tmp_path / "b.npy", COLOUR[:, channel]), resolution=4).images
        assert torch.equal(smaller[:, channel], alone[:, 0])
    alpha = np.concatenate([COLOUR, GREY[:, None]], axis=1)
    pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in alpha]
    white = Image.new("RGBA", (8, 8), "white")
    expected = np.stack([np.array(Image.alpha_composite(white, picture).convert("RGB")) for picture in pictures])
    opaque = read(save(tmp_path / "e.npy", alpha))
    assert (opaque.images.permute(0, 2, 3, 1).int() - torch.from_numpy(expected).int()).abs().max() <= 1
    assert "transparency composited on white" in remarks(opaque)
    assert np.array_equal(read(tmp_path / "e.npy", channels=4).images.numpy(), alpha)
    tripled = read(save(tmp_path / "c.npy", GREY), channels=3)
    assert tripled.shape == (3, 8, 8)
    assert np.array_equal(tripled.images[:, 2].numpy(), GREY)
    assert tripled.fingerprint() == read(save(tmp_path / "d.npy", np.stack([GREY] * 3, 1))).fingerprint()


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8"])
@pytest.mark.parametrize("signed", [False, True])
def test_floats_are_taken_by_their_range(tmp_path: Path, dtype: str, signed: bool) -> None:
    floats = COLOUR / 127.5 - 1 if signed else COLOUR / 255
    images = read(save(tmp_path / "a.npy", floats.astype(dtype)))
    assert (images.images.int() - torch.from_numpy(COLOUR).int()).abs().max() <= (dtype == "float16")
    assert f"taken as {'[-1, 1]' if signed else '[0, 1]'}, from black to white" in remarks(images)


def test_a_batch_as_adm_writes_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "batch.npz", COLOUR.transpose(0, 2, 3, 1), np.array([0, 3, 1, 0, 3]))  # arr_0, arr_1
    images = read(tmp_path / "batch.npz")
    assert np.array_equal(images.images.numpy(), COLOUR)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 3, 1, 0, 3]
    assert images.class_names == ("0", "1", "2", "3")


def test_names_of_classes(tmp_path: Path) -> None:
    names = np.array(["良品", "dent"])
    images = read(save(tmp_path / "a.npz", COLOUR, labels=np.array([0, 1, 1, 0, 0], np.uint8), class_names=names))
    assert images.class_names == ("良品", "dent")
    texts = read(save(tmp_path / "b.npz", COLOUR, y=np.array(["10", "9", "9", "10", "9"])))
    assert texts.class_names == ("9", "10")
    assert texts.labels is not None
    assert texts.labels.tolist() == [1, 0, 0, 1, 0]
    with pytest.raises(UserError, match=r"label 2 of image 'c\.npz/4' is out of range"):
        read(save(tmp_path / "c.npz", COLOUR, labels=np.array([0, 1, 1, 0, 2]), class_names=names))


def test_labels_lie_beside_the_images(tmp_path: Path) -> None:
    save(tmp_path / "train_images.npy", GREY)
    save(tmp_path / "train_labels.npy", np.array([1, 0, 1, 0, 1]))
    labels = read(tmp_path / "train_images.npy").labels
    assert labels is not None
    assert labels.tolist() == [1, 0, 1, 0, 1]
    save(tmp_path / "train_labels.npy", np.array([1, 0, 1]))
    with pytest.raises(UserError, match=r"labels are int64 \[3\]; expected one class for each of the 5 images"):
        read(tmp_path / "train_images.npy")


REFUSED = {
    "objects": (np.array([GREY[0], "x"], dtype=object), r"holds Python objects.*any program.*np\.stack\(images\)"),
    "one image": (COLOUR[0].transpose(1, 2, 0), r"shape \[8, 8, 3\]; expected images as.*That looks like one image"),
    "one plane": (GREY[0], r"shape \[8, 8\]; expected images as \[N, H, W\]"),
    "two channels": (COLOUR[:, :2], r"shape \[5, 2, 8, 8\]"),
    "no images": (COLOUR[:0], r"shape \[0, 3, 8, 8\]"),
    "wide": (COLOUR.astype(np.uint16), r"dtype uint16; expected uint8, or floats.*astype\('uint8'\)"),
    "0 to 255": (COLOUR.astype(np.float32), r"float32 pixels from 0 to 255; expected \[0, 1\]"),
    "NaN": (np.full((3000, 2, 2), np.nan)[::-1], r"pixels from nan to nan"),
}


@pytest.mark.parametrize("extension", ["npy", "npz"])
@pytest.mark.parametrize("what", REFUSED)
def test_other_arrays_are_refused(tmp_path: Path, extension: str, what: str) -> None:
    array, message = REFUSED[what]
    path = save(tmp_path / f"a.{extension}", array)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_one_nan_among_thousands_of_images_is_found(tmp_path: Path) -> None:
    floats = np.zeros((3000, 2, 2), np.float32)
    floats[2500, 1, 1] = np.nan
    with pytest.raises(UserError, match=r"pixels from nan to nan"):
        read(save(tmp_path / "a.npy", floats))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(5), r"labels are float64 \[5, 5\]; .*One-hot labels become numbers with \.argmax\(1\)"),
        (np.array([0, 1, -1, 0, 0]), r"label -1 is no class number"),
        (np.array([0, 1, 10**9, 0, 0]), r"label 1000000000 is no class number"),
        (np.array([0, 1, "x", None, 0], dtype=object), "holds Python objects"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(save(tmp_path / "a.npz", COLOUR, labels=labels))


def test_files_that_are_damaged_or_of_another_purpose(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.npy", COLOUR).read_bytes()
    for size in (7, 60, len(whole) - 1):
        (tmp_path / "a.npy").write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"a\.npy is a damaged NumPy file.*Save or download it again"):
            read(tmp_path / "a.npy")
    packed = save(tmp_path / "b.npz", COLOUR).read_bytes()
    for change in (packed[: len(packed) // 2], packed[:200] + bytes([packed[200] ^ 255]) + packed[201:]):
        (tmp_path / "b.npz").write_bytes(change)
        with pytest.raises(UserError, match=r"b\.npz is a damaged NumPy file"):
            read(tmp_path / "b.npz")
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(UserError, match=r"holds 'mu', 'sigma'; expected images under one of images, x, arr_0"):
        read(tmp_path / "statistics.npz")
