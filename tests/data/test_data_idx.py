"""IDX files: good ones in every spelling, and every way in which one can be damaged."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sadm.core.errors import UserError
from sadm.data import ImageSet, Split, load_split, open_source
from sadm.data.fitting import Fit
from sadm.data.sources.idx import FASHION_MNIST_FOLDERS, open_fashion_mnist, read_idx


def idx_bytes(array: torch.Tensor) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.numpy().tobytes()


def write_part(
    folder: Path, part: str, count: int, compress: bool = True, mark: str = "-", size: int = 6
) -> torch.Tensor:
    folder.mkdir(exist_ok=True)
    images = torch.randint(
        0, 256, (count, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(count)
    )
    labels = (torch.arange(count) % 3).to(torch.uint8)
    for what, array in (("images", images), ("labels", labels)):
        content = idx_bytes(array)
        name = f"{part}-{what}{mark}idx{array.ndim}-ubyte"
        (folder / (name + ".gz" if compress else name)).write_bytes(
            gzip.compress(content, mtime=0) if compress else content
        )
    return images


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("mark", ["-", "."])
def test_both_parts_make_a_split(tmp_path: Path, compress: bool, mark: str) -> None:
    train = write_part(tmp_path, "train", 9, compress, mark)
    test = write_part(tmp_path, "t10k", 5, compress, mark)
    split = load_split(str(tmp_path), held_out=0.5)
    assert torch.equal(split.train.images.squeeze(1), train)
    assert torch.equal(split.held_out.images.squeeze(1), test)
    assert split.train.labels is not None
    assert split.train.labels.tolist() == [0, 1, 2] * 3
    assert split.train.class_names == split.held_out.class_names == ("0", "1", "2")
    assert split.held_out.names[4] == "t10k/4"
    assert split.train.source == str(tmp_path)


def test_a_lone_training_part_is_divided_by_us(tmp_path: Path) -> None:
    write_part(tmp_path, "train", 12)
    opened = open_source(str(tmp_path))
    assert isinstance(opened, ImageSet)
    split = load_split(str(tmp_path), held_out=0.25)
    assert (len(split.train), len(split.held_out)) == (9, 3)


def test_compression_is_told_by_content(tmp_path: Path) -> None:
    array = torch.arange(6, dtype=torch.uint8)
    (tmp_path / "a.gz").write_bytes(idx_bytes(array))
    (tmp_path / "b").write_bytes(gzip.compress(idx_bytes(array), mtime=0))
    assert torch.equal(read_idx(tmp_path / "a.gz", 1), array)
    assert torch.equal(read_idx(tmp_path / "b", 1), array)


def test_resolution_and_channels(tmp_path: Path) -> None:
    write_part(tmp_path, "train", 4)
    opened = open_source(str(tmp_path), resolution=16, channels=3)
    assert isinstance(opened, ImageSet)
    assert opened.shape == (3, 16, 16)
    assert torch.equal(opened.images[:, 0], opened.images[:, 2])


GOOD = idx_bytes(torch.zeros(2, 3, 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"\x00\x00", "no IDX file"),
        (b"\x89PNG\r\n", "starts with 89 50 4e 47"),
        (b"\x00\x00\x0d\x03" + GOOD[4:], "type 0x0d; expected 0x08"),
        (b"\x00\x00\x08\x01" + GOOD[4:], r"1 dimensions; expected 3 \(images\)"),
        (GOOD[:10], "ends within its header"),
        (GOOD[:4] + bytes(12), r"shape \[0, 0, 0\]"),
        (GOOD[:-1], r"\[2, 3, 3\], so 18 bytes should follow, but only 17 do"),
        (GOOD + b"!", "18 bytes should follow, but more do"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12 + b"few", "but only 3 do"),
        (gzip.compress(GOOD, mtime=0)[:-12], "gzip stream is incomplete"),
        (gzip.compress(GOOD, mtime=0)[:6], "gzip stream is incomplete"),
        (b"\x1f\x8b\x08\x00garbage, not a deflate stream", "damaged gzip"),
        (b"\x1f\x8b\x07" + bytes(20), "damaged gzip"),
    ],
)
def test_damaged_files_are_explained(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prefix=st.sampled_from(
        [b"", b"\x00\x00", b"\x00\x00\x08\x01", b"\x00\x00\x08\x03", b"\x1f\x8b\x08", gzip.compress(GOOD, mtime=0)]
    ),
    rest=st.binary(max_size=60),
    dimensions=st.sampled_from([1, 3]),
)
def test_no_content_raises_anything_but_a_user_error(
    tmp_path: Path, prefix: bytes, rest: bytes, dimensions: int
) -> None:
    path = tmp_path / "fuzz"
    path.write_bytes(prefix + rest)
    try:
        array = read_idx(path, dimensions)
    except UserError:
        return
    assert array.ndim == dimensions
    assert array.numel() > 0


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_flipped_bit_in_a_gzip_file_is_noticed_or_harmless(tmp_path: Path, position: int, bit: int) -> None:
    content = bytearray(gzip.compress(GOOD, mtime=0))
    content[position % len(content)] ^= 1 << bit
    path = tmp_path / "flipped.gz"
    path.write_bytes(bytes(content))
    try:
        array = read_idx(path, 3)
    except UserError:
        return
    assert torch.equal(array, torch.zeros(2, 3, 3, dtype=torch.uint8))  # a header field without meaning for the content


def test_missing_companions_are_named(tmp_path: Path) -> None:
    write_part(tmp_path, "train", 4)
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    content = labels.read_bytes()
    labels.unlink()
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte\[\.gz\] is missing") as caught:
        open_source(str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    labels.write_bytes(content)
    (tmp_path / "train-images-idx3-ubyte.gz").rename(tmp_path / "emnist-images-idx3-ubyte.gz")
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\[\.gz\] is missing"):
        open_source(str(tmp_path))
    labels.unlink()
    with pytest.raises(UserError, match=r"no train-images-idx3-ubyte.*expected train-images"):
        open_source(str(tmp_path))


def test_label_count_must_match(tmp_path: Path) -> None:
    write_part(tmp_path, "train", 4)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(idx_bytes(torch.zeros(3, dtype=torch.uint8)))
    with pytest.raises(UserError, match=r"4 images but .*train-labels-idx1-ubyte\.gz holds 3 labels"):
        open_source(str(tmp_path))


def test_parts_of_two_sizes_are_refused_or_resized(tmp_path: Path) -> None:
    write_part(tmp_path, "train", 4, size=6)
    write_part(tmp_path, "t10k", 4, size=8)
    with pytest.raises(UserError, match=r"6 x 6.*8 x 8.*--data\.resolution"):
        open_source(str(tmp_path))
    assert isinstance(open_source(str(tmp_path), resolution=8), Split)


def test_a_single_held_out_image_is_refused(tmp_path: Path) -> None:
    write_part(tmp_path, "train", 4)
    write_part(tmp_path, "t10k", 1)
    with pytest.raises(UserError, match="held-out part holds 1 image"):
        load_split(str(tmp_path), held_out=0.2)


def test_absent_fashion_mnist_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="apt install dataset-fashion-mnist") as caught:
        open_fashion_mnist(Fit(), folders=[str(tmp_path), str(tmp_path / "none")])
    assert str(tmp_path) in str(caught.value)
    assert "t10k-" in str(caught.value)


def test_labels_beyond_the_ten_classes_are_refused(tmp_path: Path) -> None:
    write_part(tmp_path, "train", 4)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(idx_bytes(torch.tensor([0, 9, 10, 1], dtype=torch.uint8)))
    with pytest.raises(UserError, match="fashion-mnist: label 10 of image 'train/2'"):
        open_fashion_mnist(Fit(), folders=[str(tmp_path)])


@pytest.mark.skipif(
    not any(Path(name).expanduser().is_dir() for name in FASHION_MNIST_FOLDERS),
    reason="Fashion-MNIST is not on this machine (Debian: apt install dataset-fashion-mnist)",
)
def test_fashion_mnist() -> None:
    split = open_source("fashion-mnist")
    assert isinstance(split, Split)
    assert (len(split.train), len(split.held_out), split.train.shape) == (60000, 10000, (1, 28, 28))
    assert split.train.class_names[9] == "Ankle boot"
    assert split.train.labels is not None
    assert split.train.labels.bincount().tolist() == [6000] * 10
    assert split.train.class_names[int(split.train.labels[0])] == "Ankle boot"
    assert split.train.source == "fashion-mnist"
