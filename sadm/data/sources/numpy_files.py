"""Arrays of images in NumPy's files: ``.npy``, and ``.npz`` such as the reference batches of ADM (Dhariwal and Nichol 2021)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from sadm.core.errors import UserError
from sadm.core.unpacking import read_member
from sadm.data.fitting import Fit
from sadm.data.imageset import ImageSet, Note
from sadm.data.sources.words import composed, numbered_classes, ordered, quoted

MAGIC = b"\x93NUMPY"  # of .npy
_IMAGES, _LABELS, _NAMES = ("images", "x", "arr_0"), ("labels", "y", "arr_1"), "class_names"
_CHUNK = 1024  # images converted at a time, so that the wide copy stays small
_LAYOUTS = "[N, H, W], [N, H, W, C] or [N, C, H, W] with 1, 3 or 4 channels"
_CHANNELS = (1, 3, 4)


def open_array(path: Path, fit: Fit, source: str) -> ImageSet:
    """Opens an .npy file of images; ``labels.npy`` belongs to ``images.npy``, ``a_labels.npy`` to ``a_images.npy``.

    The file is mapped into memory rather than read, where its images need no change; it must stay as it is while in use.

    Raises:
        UserError: a file is damaged or holds something else.
    """
    beside = path.with_name(path.name.replace("images", "labels"))
    labels = _load(beside) if beside != path and beside.is_file() else None
    return _image_set(_load(path), labels, None, path, fit, source)


def open_arrays(path: Path, fit: Fit, source: str) -> ImageSet:
    """Opens an .npz file: images in `images`, `x` or `arr_0`; labels in `labels`, `y` or `arr_1`; `class_names`.

    Raises:
        UserError: the file is damaged or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = list(file.files)
            images, labels = (next((key for key in names if key in keys), None) for names in (_IMAGES, _LABELS))
            if images is None:
                raise UserError(f"{path} holds {quoted(keys)}; expected images under one of {', '.join(_IMAGES)}.")
            names = read_member(file, _NAMES) if _NAMES in keys else None
            arrays = (read_member(file, images), None if labels is None else read_member(file, labels), names)
    except UserError:
        raise
    except Exception as error:  # of a damaged zip or header, NumPy and zipfile raise almost any type
        raise _unusable(path, error) from error
    return _image_set(*arrays, path, fit, source)


def _load(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)  # "c": torch asks for memory that could be written
        if isinstance(array, np.ndarray):
            return array
        array.close()
        raise ValueError("it is an archive")
    except Exception as error:  # of a damaged header, NumPy raises almost any type
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> UserError:
    if "allow_pickle" in str(error) or "Python objects" in str(error):
        return UserError(
            f"{path} holds Python objects, which could run any program when loaded; expected an array of numbers. Save it with "
            "np.stack(images), so that its dtype is uint8."
        )
    if isinstance(error, MemoryError):
        return UserError(
            f"{path} holds more than fits into memory, or is damaged. Save its images as an .npy file, which is mapped rather "
            "than read, or download it again."
        )
    if isinstance(error, OSError) and error.strerror:
        return UserError(f"cannot read {path}: {error.strerror}. Check the file and its permissions.")
    return UserError(f"{path} is a damaged NumPy file ({error or type(error).__name__}). Save or download it again.")


def _image_set(
    images: np.ndarray, labels: np.ndarray | None, names: np.ndarray | None, path: Path, fit: Fit, source: str
) -> ImageSet:
    pixels, remarks = _pixels(_channels_first(images, path), path)
    if pixels.shape[1] == 4 and fit.channels is None:
        fit = dataclasses.replace(fit, channels=3)
        remarks.append("transparency composited on white")
    index, class_names = _classes(labels, names, len(pixels), path)
    return ImageSet(
        images=_fitted(pixels, fit),
        labels=index,
        class_names=class_names,
        names=tuple(f"{path.name}/{i}" for i in range(len(pixels))),
        source=source,
        notes=tuple(Note(path.name, remark) for remark in remarks),
    )


def _channels_first(images: np.ndarray, path: Path) -> np.ndarray:
    """[N, C, H, W], without a copy; where both axes may be channels, the last one is."""
    shape = images.shape
    if images.ndim == 3 and shape[2] not in (3, 4) and all(shape):
        return images[:, None]
    if images.ndim == 4 and shape[3] in _CHANNELS and all(shape):
        return images.transpose(0, 3, 1, 2)
    if images.ndim == 4 and shape[1] in _CHANNELS and all(shape):
        return images
    single = " That looks like one image: training needs many." if images.ndim == 3 and all(shape) else ""
    raise UserError(f"{path} holds an array of shape {list(shape)}; expected images as {_LAYOUTS}.{single}")


def _pixels(images: np.ndarray, path: Path) -> tuple[torch.Tensor, list[str]]:
    """[N, C, H, W] uint8, and what is to be said of it."""
    if images.dtype == np.uint8:
        return torch.from_numpy(images), []
    if images.dtype.kind != "f":
        raise UserError(
            f"{path} holds images of dtype {images.dtype}; expected uint8, or floats in [0, 1] or [-1, 1]. Scale them to "
            "0..255 and save them with .astype('uint8')."
        )
    chunks = [images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK)]
    low, high = float(np.min([chunk.min() for chunk in chunks])), float(np.max([chunk.max() for chunk in chunks]))
    if not (low >= -1 and high <= 1):  # so written, NaN is refused, too; NumPy's extremes keep it, Python's don't
        raise UserError(
            f"{path} holds {images.dtype} pixels from {low:g} to {high:g}; expected [0, 1] or [-1, 1], or bytes. Scale "
            "them to 0..255 and save them with .astype('uint8')."
        )
    offset = 1.0 if low < 0 else 0.0
    pixels = torch.empty(images.shape, dtype=torch.uint8)
    for i, chunk in enumerate(chunks):
        wide = (torch.from_numpy(chunk.astype(np.float64)) + offset) * (127.5 if offset else 255.0)
        pixels[i * _CHUNK : i * _CHUNK + len(chunk)] = wide.round().to(torch.uint8)
    return pixels, [f"{images.dtype} pixels are taken as {'[-1, 1]' if offset else '[0, 1]'}, from black to white"]


def _classes(
    labels: np.ndarray | None, names: np.ndarray | None, count: int, path: Path
) -> tuple[torch.Tensor | None, tuple[str, ...]]:
    if labels is None:
        return None, ()
    if labels.shape != (count,) or labels.dtype.kind not in "iuUS":
        raise UserError(
            f"{path}: labels are {labels.dtype} {list(labels.shape)}; expected one class for each of the {count} images, as "
            f"an integer or a name: [{count}]. One-hot labels become numbers with .argmax(1)."
        )
    if labels.dtype.kind in "US":
        texts = [
            composed(name.decode("utf-8", "replace") if isinstance(name, bytes) else name) for name in labels.tolist()
        ]
        class_names = ordered(texts)
        number = {name: i for i, name in enumerate(class_names)}
        return torch.tensor([number[name] for name in texts]), class_names
    class_names = numbered_classes((int(labels.min()), int(labels.max())), str(path))
    if names is not None:
        if names.ndim != 1 or names.dtype.kind not in "US" or not names.dtype.itemsize:
            raise UserError(
                f"{path}: {_NAMES} is {names.dtype} {list(names.shape)}; expected a name for each of the {len(class_names)} "
                "classes, in the order of their numbers."
            )
        class_names = tuple(str(name) for name in names.tolist())
    return torch.from_numpy(labels.astype(np.int64)), class_names


def _fitted(images: torch.Tensor, fit: Fit) -> torch.Tensor:
    """[N, C', H', W'] uint8; the same memory where nothing has to change."""
    if fit.array(images[:1]).shape[1:] == images.shape[1:]:
        return images
    return torch.cat([fit.array(part) for part in images.split(_CHUNK)])
