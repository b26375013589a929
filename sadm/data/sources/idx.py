"""IDX files, the format of MNIST and its relatives: ``train-images-idx3-ubyte[.gz]`` and its three companions."""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

import torch

from sadm.core.errors import UserError
from sadm.core.unpacking import check_unpacking
from sadm.data.fitting import Fit
from sadm.data.imageset import ImageSet, Split

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FASHION_MNIST_FOLDERS = (
    "/usr/share/datasets/fashion-mnist",  # Debian's dataset-fashion-mnist
    "~/.keras/datasets/fashion-mnist",
    "data/FashionMNIST/raw",  # torchvision, in the current folder
)

_UNSIGNED_BYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20
_IMAGES = re.compile(r".*images[-.]idx3-ubyte(\.gz)?")
_EXPECTED = "train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz], and the same two starting with t10k-"


def holds_idx(folder: Path) -> bool:
    """Whether a folder holds IDX image files.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        return any(_IMAGES.fullmatch(name) for name in os.listdir(folder))
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}. Check its permissions.") from error


def open_idx(
    folder: str | Path, fit: Fit, class_names: Sequence[str] | None = None, source: str | None = None
) -> ImageSet | Split:
    """Opens a folder of IDX files; where the t10k pair is present, it becomes the held-out part.

    Args:
        folder: holds the files, gzipped or not.
        fit: resolution and channels.
        class_names: names of the classes; None numbers them.
        source: how the set calls itself; None for the folder's path.

    Raises:
        UserError: a file is missing, damaged, or contradicts its companion.
    """
    train = _read_pair(Path(folder), "train")
    if train is None:
        raise UserError(f"{folder} holds IDX files but no train-images-idx3-ubyte[.gz]; expected {_EXPECTED}.")
    parts = {"train": train}
    test = _read_pair(Path(folder), "t10k")
    if test is not None:
        parts["t10k"] = test
    if class_names is None:
        highest = max(int(labels.max()) for _, labels in parts.values())
        class_names = [str(i) for i in range(highest + 1)]
    sets = {
        part: ImageSet(
            images=fit.grey_array(images),
            labels=labels,
            class_names=tuple(class_names),
            names=tuple(f"{part}/{i}" for i in range(len(images))),
            source=source or str(folder),
        )
        for part, (images, labels) in parts.items()
    }
    return Split(train=sets["train"], held_out=sets["t10k"]) if "t10k" in sets else sets["train"]


def open_fashion_mnist(fit: Fit, folders: Sequence[str] = FASHION_MNIST_FOLDERS) -> ImageSet | Split:
    """Opens Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) from the first usual folder that holds it.

    Raises:
        UserError: none of the folders holds it, with how to get it.
    """
    for name in folders:
        folder = Path(os.path.expanduser(name))
        if os.path.isdir(folder) and holds_idx(folder):
            return open_idx(folder, fit, FASHION_MNIST_CLASSES, source="fashion-mnist")
    raise UserError(
        f"fashion-mnist is not on this machine; looked into {', '.join(folders)}. Install it with "
        "`apt install dataset-fashion-mnist` (Debian, Ubuntu), or give a folder with the four IDX files as the source: "
        f"{_EXPECTED}."
    )


def read_idx(path: Path, dimensions: int) -> torch.Tensor:
    """Reads one IDX file of unsigned bytes, gzipped or not (told by its content).

    Args:
        path: the file.
        dimensions: how many the array must have.

    Returns:
        The array, uint8.

    Raises:
        UserError: the file cannot be read, is damaged, or is no IDX file of bytes with that many dimensions.
    """
    try:
        with open(path, "rb") as raw:
            compressed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if not compressed:
                return _parse(raw, path, dimensions)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _parse(cast(IO[bytes], unpacked), path, dimensions, os.fstat(raw.fileno()).st_size)
    except EOFError as error:
        raise UserError(f"{path} ends too early: its gzip stream is incomplete. Download it again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}). Download it again.") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Check the file and its permissions.") from error


def _parse(file: IO[bytes], path: Path, dimensions: int, packed: int | None = None) -> torch.Tensor:
    """The array; `packed` is the size of the file that this one is unpacked from."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise UserError(
            f"{path} is no IDX file: it starts with {magic.hex(' ') or 'nothing'}; expected two zero bytes, a type and "
            "the number of dimensions. Download it again, or give a folder of images instead."
        )
    if magic[2] != _UNSIGNED_BYTE:
        raise UserError(
            f"{path} holds values of IDX type 0x{magic[2]:02x}; expected 0x{_UNSIGNED_BYTE:02x} (unsigned bytes). "
            "Convert it to unsigned bytes."
        )
    if magic[3] != dimensions:
        raise UserError(
            f"{path} has {magic[3]} dimensions; expected {dimensions} ({'images' if dimensions == 3 else 'labels'}). "
            "Check that the files have not been renamed into each other."
        )
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise UserError(f"{path} ends within its header. Download it again.")
    shape = [int.from_bytes(header[i : i + 4], "big") for i in range(0, len(header), 4)]
    if 0 in shape:
        raise UserError(f"{path} declares the shape {shape}; expected at least one entry. Download it again.")
    if packed is not None:
        try:
            check_unpacking(packed, math.prod(shape))
        except ValueError as error:
            raise UserError(
                f"{path} declares the shape {shape}: {error}. If it is meant, unpack it with gunzip."
            ) from error
    content = _read_at_most(file, math.prod(shape) + 1)
    if len(content) != math.prod(shape):
        found = f"only {len(content)}" if len(content) < math.prod(shape) else "more"
        raise UserError(
            f"{path} declares the shape {shape}, so {math.prod(shape)} bytes should follow, but {found} do. "
            "The file is damaged: download it again."
        )
    return torch.frombuffer(content, dtype=torch.uint8).view(shape)


def _read_at_most(file: IO[bytes], size: int) -> bytearray:
    # In pieces: a damaged header may promise more bytes than there is memory.
    content = bytearray()
    while len(content) < size and (piece := file.read(min(_CHUNK, size - len(content)))):
        content += piece
    return content


def _read_pair(folder: Path, part: str) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Images [N, 1, H, W] uint8 and labels [N] int64 of one part; None where neither file is there."""
    images_path, labels_path = _find(folder, part, "images", 3), _find(folder, part, "labels", 1)
    if images_path is None and labels_path is None:
        return None
    if images_path is None or labels_path is None:
        missing = f"{part}-images-idx3-ubyte[.gz]" if images_path is None else f"{part}-labels-idx1-ubyte[.gz]"
        raise UserError(f"{folder}: {missing} is missing beside {(images_path or labels_path)}; expected {_EXPECTED}.")
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise UserError(
            f"{images_path} holds {len(images)} images but {labels_path} holds {len(labels)} labels; expected one "
            "label for each image. The two files are not from the same set: download both again."
        )
    return images.unsqueeze(1), labels.long()


def _find(folder: Path, part: str, what: str, dimensions: int) -> Path | None:
    names = [f"{part}-{what}{mark}idx{dimensions}-ubyte{suffix}" for suffix in ("", ".gz") for mark in "-."]
    return next((folder / name for name in names if os.path.isfile(folder / name)), None)
