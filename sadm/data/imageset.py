"""`ImageSet`: checked images in memory, with their labels and names; what every source yields."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.data.ragged import Ragged

_CHUNK = 1024  # images hashed at a time, so that no second copy of the set is made
TRAIN, HELD_OUT = "train", "held_out"
"""What the parts of a split are called."""

_OF_EACH = (
    "groups",
    "parts",
    "attributes",
    "masks",
    "tiles",
    "uncropped",
    "shaped",
)  # optional, one entry for each image


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Note:
    """Something that was done to a file before its pixels were used, such as a colour profile converted."""

    path: str
    text: str


@dataclasses.dataclass(frozen=True)
class Tile:
    """Where an image was cut out of a larger one.

    Attributes:
        origin: name of the larger image, as `ImageSet.names` would give it.
        left, top: corner of the tile, in pixels of the larger image (after its EXIF rotation).
        width, height: of the tile, in the same pixels.
    """

    origin: str
    left: int
    top: int
    width: int
    height: int


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size, held as bytes; all else that is known of them in the same order.

    Images in aspect buckets are here twice: in their own shapes (`shaped`), as training sees them, and resized to a square
    (`images`), as they are compared with others.

    Attributes:
        images: pixels [N, C, H, W], uint8.
        labels: class indices [N], int64, in [0, num_classes); None where the source has no classes.
        class_names: one name for each class; empty without labels.
        names: one id for each image: its path relative to the source, or such as ``digits/12``.
        source: what the images were opened from, as the user named it.
        skipped: files of the source that could not be read; a subset keeps the list of the whole.
        notes: what was done to files before their pixels were used; a subset keeps the list of the whole.
        groups: a name for each image; images of one group (a part, a patient, a scan) belong on one side of a split.
        parts: the part that the source assigns to each image: "train", "held_out", or "" for none.
        attributes: numbers known of each image [N, a], float32; NaN where one is not known.
        attribute_names: a name for each column of `attributes`.
        masks: what is marked in each image, such as its defect [N, 1, H, W], uint8, 0 or 255.
        tiles: where each image was cut out of a larger one.
        uncropped: larger versions from which training draws windows of this size; `images` are their central windows.
        shaped: in the shapes of their aspect buckets; `images` are these, resized (see `Ragged.resized`).

    Raises:
        UserError: dtypes, lengths or labels do not fit together.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    source: str
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[Note, ...] = ()
    groups: tuple[str, ...] | None = None
    parts: tuple[str, ...] | None = None
    attributes: torch.Tensor | None = None
    attribute_names: tuple[str, ...] = ()
    masks: torch.Tensor | None = None
    tiles: tuple[Tile, ...] | None = None
    uncropped: Ragged | None = None
    shaped: Ragged | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            found = f"{self.images.dtype} {list(self.images.shape)}"
            raise UserError(f"{self.source}: images are {found}; expected uint8 [N, C, H, W].")
        for what in ("names", *_OF_EACH):
            values = getattr(self, what)
            if values is not None and len(values) != len(self):
                raise UserError(f"{self.source}: {len(self)} images but {len(values)} {what}; expected one for each.")
        self._check_labels()
        self._check_parts()
        self._check_companions()

    def _check_parts(self) -> None:
        unknown = set(self.parts or ()) - {TRAIN, HELD_OUT, ""}
        if unknown:
            raise UserError(
                f"{self.source}: '{min(unknown)}' is no part of a split; expected '{TRAIN}', '{HELD_OUT}' or nothing."
            )

    def _check_companions(self) -> None:
        """Attributes, masks, and images in their own shapes."""
        columns = 0 if self.attributes is None else self.attributes.shape[1:].numel()
        floats = self.attributes is None or (self.attributes.dtype == torch.float32 and self.attributes.ndim == 2)
        if not floats or columns != len(self.attribute_names):
            found = "none" if self.attributes is None else f"{self.attributes.dtype} {list(self.attributes.shape)}"
            raise UserError(
                f"{self.source}: attributes are {found}; expected float32 [{len(self)}, {len(self.attribute_names)}], a "
                "column for each attribute name."
            )
        shape = (len(self), 1, *self.images.shape[2:])
        if self.masks is not None and (self.masks.dtype != torch.uint8 or self.masks.shape != shape):
            found = f"{self.masks.dtype} {list(self.masks.shape)}"
            raise UserError(f"{self.source}: masks are {found}; expected uint8 {list(shape)}.")
        if self.shaped is not None and self.shaped.channels != self.shape[0]:
            raise UserError(
                f"{self.source}: images in their own shapes have {self.shaped.channels} channels, the others {self.shape[0]}."
            )

    def _check_labels(self) -> None:
        if self.labels is None:
            if self.class_names:
                count = len(self.class_names)
                raise UserError(f"{self.source}: {count} class names but no labels; give both or neither.")
            return
        if self.labels.dtype != torch.int64 or self.labels.shape != (len(self),):
            found = f"{self.labels.dtype} {list(self.labels.shape)}"
            raise UserError(f"{self.source}: labels are {found}; expected int64 [{len(self)}], one for each image.")
        wrong = ((self.labels < 0) | (self.labels >= self.num_classes)).nonzero().flatten()
        if len(wrong):
            first = int(wrong[0])
            raise UserError(
                f"{self.source}: label {int(self.labels[first])} of image '{self.names[first]}' is out of range "
                f"({len(wrong)} such images); there are {self.num_classes} classes, so labels run from 0 to "
                f"{self.num_classes - 1}. Correct the label or add the missing class name."
            )

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 without labels."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one of `images`: (C, H, W)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def subset(self, index: torch.Tensor) -> ImageSet:
        """The images at `index`, in that order.

        Args:
            index: positions [M], int64.
        """
        rows = index.tolist()

        def chosen(values: Any) -> Any:
            if values is None:
                return None
            if isinstance(values, Ragged):
                return values.subset(index)
            return values[index] if isinstance(values, torch.Tensor) else tuple(values[i] for i in rows)

        parts: dict[str, Any] = {what: chosen(getattr(self, what)) for what in ("images", "labels", "names", *_OF_EACH)}
        return dataclasses.replace(self, **parts)

    def floats(self, index: torch.Tensor | None = None) -> torch.Tensor:
        """Pixels as the networks see them.

        Args:
            index: positions [M], int64; None for all images.

        Returns:
            [M, C, H, W], float32 in [-1, 1].
        """
        return to_floats(self.images if index is None else self.images.index_select(0, index))

    def std(self) -> float:
        """Standard deviation of all pixels, as the networks see them in training."""
        pixels = self.images if self.shaped is None else self.shaped.flat()
        # From how often each of the 256 values occurs: exact, and no second, four times as large copy of the set.
        parts = (torch.bincount(part, minlength=256) for part in pixels.reshape(-1).split(_CHUNK**2))
        counts = torch.stack([*parts]).sum(0).double()  # [256]
        levels = to_floats(torch.arange(256, dtype=torch.uint8)).double()
        mean = (counts @ levels) / counts.sum()
        return float((counts @ (levels - mean) ** 2 / (counts.sum() - 1)).sqrt())

    @functools.cached_property
    def keys(self) -> torch.Tensor:
        """What tells each image from others, int64 [N]; see `image_keys`."""
        return image_keys(self.images)

    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over pixels, labels, class names, attributes, what windows are drawn from, and own shapes.

        Where the files lie does not matter.
        """
        digest = hashlib.sha256()
        facts = {"images": list(self.images.shape), "labels": self.labels is not None, "classes": self.class_names}
        digest.update(json.dumps(facts).encode("utf-8"))
        hash_bytes(digest, self.images)
        if self.labels is not None:
            digest.update(self.labels.numpy().astype("<i8").tobytes())  # the same on big-endian machines
        if self.attributes is not None:
            digest.update(json.dumps(self.attribute_names).encode("utf-8"))
            digest.update(self.attributes.numpy().astype("<f4").tobytes())
        for kind, ragged in ((b"", self.uncropped), (b"shaped", self.shaped)):
            if ragged is not None:
                digest.update(kind + ragged.sizes.numpy().astype("<i8").tobytes())
                for i in range(len(ragged)):
                    digest.update(ragged[i].numpy().tobytes())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images to train on, and images kept back for measuring.

    Raises:
        UserError: the two parts differ in image shape or in classes.
    """

    train: ImageSet
    held_out: ImageSet

    def __post_init__(self) -> None:
        if self.train.shape != self.held_out.shape:
            raise UserError(
                f"{self.train.source}: training images are {_describe(self.train)}, held-out images are "
                f"{_describe(self.held_out)}. Give --data.resolution and --data.channels to bring them to one shape."
            )
        if self.train.class_names != self.held_out.class_names:
            raise UserError(
                f"{self.train.source}: the training part has the classes {list(self.train.class_names)}, the held-out "
                f"part {list(self.held_out.class_names)}; expected the same list for both."
            )


def named_parts(opened: ImageSet | Split) -> list[tuple[str, ImageSet]]:
    """A source's sets with the parts that they are: `TRAIN` and `HELD_OUT`, or "" for one that does not come divided."""
    if isinstance(opened, ImageSet):
        return [("", opened)]
    return [(TRAIN, opened.train), (HELD_OUT, opened.held_out)]


def image_keys(images: torch.Tensor) -> torch.Tensor:
    """What tells images apart: 64 bits of a SHA-256 over the bytes of each of `images` [N, C, H, W], uint8; int64 [N]."""
    digests = (hashlib.sha256(image.numpy().tobytes()).digest() for image in images)
    return torch.tensor([int.from_bytes(digest[:8], "big", signed=True) for digest in digests], dtype=torch.int64)


def sha256_of(images: torch.Tensor) -> str:
    """Hexadecimal SHA-256 over the bytes of images or masks [N, ...], uint8."""
    digest = hashlib.sha256()
    hash_bytes(digest, images)
    return digest.hexdigest()


def hash_bytes(digest: hashlib._Hash, images: torch.Tensor) -> None:
    """Updates a digest with the bytes of images or masks [N, ...], uint8, a part at a time."""
    for part in images.split(_CHUNK):
        digest.update(part.contiguous().numpy().tobytes())


def to_floats(pixels: torch.Tensor) -> torch.Tensor:
    """Bytes as the networks see them: uint8 of any shape to float32 in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1)  # in place: the new tensor is the only one of its size


def to_uint8(x: torch.Tensor) -> torch.Tensor:
    """Turns a network's pixels into bytes: rounded, and clamped where they leave the range.

    Args:
        x: [..., C, H, W], floating point, nominally in [-1, 1].

    Returns:
        The same shape, uint8.

    Raises:
        UserError: `x` is not floating point, lacks dimensions, or holds NaN or infinity (a diverged model).
    """
    if not x.is_floating_point() or x.ndim < 3:
        raise UserError(f"to_uint8: got {x.dtype} {list(x.shape)}; expected floating point [..., C, H, W] in [-1, 1].")
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise UserError(
            f"to_uint8: {bad} of {x.numel()} pixel values are NaN or infinite; expected numbers in [-1, 1]. "
            "The model that made them has diverged: use an earlier checkpoint or train with a lower learning rate."
        )
    wide = x if x.dtype == torch.float64 else x.float()
    return ((wide + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _describe(images: ImageSet) -> str:
    channels, height, width = images.shape
    return f"{width} x {height} with {channels} channel{'s' if channels > 1 else ''}"
