"""Bringing images to one shape, or to few: by a centre crop, padding, random crops, tiles, or aspect buckets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.data.arrays import contained, padded, square, to_channels
from sadm.data.buckets import bucket_shapes, nearest_shape
from sadm.data.colour import FULL_16_BIT
from sadm.data.imageset import Tile
from sadm.data.masks import of_shares
from sadm.data.records import Unreadable
from sadm.data.resampling import ArrayResize, resize_array, resize_bicubic, resize_picture
from sadm.data.tiles import check_overlap, scaled_length, tile_places

Policy = Literal["crop", "pad", "random-crop", "tiles", "buckets"]
PadColour = Literal["edge", "white", "black"]
Resize = Callable[[Image.Image, tuple[int, int]], Image.Image]

_PAD_VALUES = {"edge": None, "white": 255, "black": 0}


@dataclasses.dataclass(frozen=True)
class Fitted:
    """One image in the shape that was asked for, or its tiles.

    Attributes:
        pixels: [n, H, W] (grey) or [n, H, W, C] (C = 3 or 4), uint8; n > 1 for tiles alone.
        masks: [n, H, W], uint8, 0 or 255 (see `masks.of_shares`), of images in buckets resized to the square; None for an image
            without a mask.
        marked: whether the mask marks anything within each picture, however small; None for an image without a mask.
        tiles: where each picture was cut out; None where nothing was cut into tiles.
        whole: for random crops, the image that windows are drawn from, [H', W'] or [H', W', C].
    """

    pixels: np.ndarray
    masks: np.ndarray | None = None
    marked: tuple[bool, ...] | None = None
    tiles: tuple[Tile, ...] | None = None
    whole: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Fit:
    """How images are read and brought to one shape, or to few. Everything is resized with an antialiasing filter, also upwards.

    Attributes:
        resolution: side in pixels; None keeps images as they are.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA: transparency is kept instead of composited on white); None lets the source
            decide between 1 and 3.
        policy: crop = the central square, resized;
            pad = the whole image, resized, its short sides padded;
            random-crop = as crop, and training draws windows from an image that is larger by `crop_margin`;
            tiles = square tiles of the image;
            buckets = the shape of about resolution^2 pixels that is nearest to the image's own (see `sadm.data.buckets`).
        pad_colour: what is beside a padded image; edge = its outermost pixels go on.
        overlap: tiles: share of a tile that the next one covers again, in [0, 0.9].
        scale: tiles: factor by which an image is resized before it is cut, in (0, 1].
        crop_margin: random-crop: how much larger than `resolution` the short side of the image is that windows are drawn
            from, in [0, 1]. The centre crop is the central window of the same image, so that both show things at one size.
        bucket_multiple: buckets: sides are multiples of this.
        white_level: the value of 16-bit grey that becomes white, in [255, 65535]; lower values are for sensor data of 10, 12
            or 14 bits.
        max_megapixels: images with more are refused; None = Pillow's limit, 89.
        clean_class: class of pictures whose mask marks nothing in them, such as tiles beside the defect; None = their image's.

    Raises:
        UserError: a value outside these.
    """

    resolution: int | None = None
    channels: int | None = None
    policy: Policy = "crop"
    pad_colour: PadColour = "edge"
    overlap: float = 0.0
    scale: float = 1.0
    crop_margin: float = 0.125
    bucket_multiple: int = 8
    white_level: int = FULL_16_BIT
    max_megapixels: float | None = None
    clean_class: str | None = None

    def __post_init__(self) -> None:
        if self.resolution is not None and self.resolution < 1:
            raise UserError(
                f"--data.resolution is {self.resolution}; expected a positive number of pixels, such as 64, "
                "or nothing to keep the images' own size."
            )
        if self.channels not in (None, 1, 3, 4):
            raise UserError(
                f"--data.channels is {self.channels}; expected 1 (grey), 3 (RGB) or 4 (RGBA), or nothing to decide from the "
                "images."
            )
        for option, value, known in (("fit", self.policy, Policy), ("pad-colour", self.pad_colour, PadColour)):
            _check(value in get_args(known), option, value, f"one of {', '.join(get_args(known))}")
        if self.policy != "crop" and self.resolution is None:
            raise UserError(f"--data.fit {self.policy} needs a --data.resolution, such as 64.")
        check_overlap(self.overlap)
        _check(0 < self.scale <= 1, "scale", self.scale, "a factor above 0 and at most 1, such as 0.5")
        _check(0 <= self.crop_margin <= 1, "crop-margin", self.crop_margin, "a share from 0 to 1, such as 0.125")
        _check(self.bucket_multiple > 0, "bucket-multiple", self.bucket_multiple, "a positive number, such as 8")
        levels = f"255 to {FULL_16_BIT}, such as 4095 for 12 bits"
        _check(255 <= self.white_level <= FULL_16_BIT, "white-level", self.white_level, levels)
        limit = self.max_megapixels
        _check(limit is None or limit > 0, "max-megapixels", limit, "a positive number, such as 120")
        if self.policy == "buckets":
            bucket_shapes(self._side, self.bucket_multiple)  # sizes that do not fit are refused before any file is read

    @property
    def frame(self) -> int | None:
        """Side of the square that images in buckets are resized to, to be compared; None = all have one shape."""
        return self.resolution if self.policy == "buckets" else None

    @property
    def draft_side(self) -> int | None:
        """A decoder may leave out detail beyond images whose shorter side is this; None = every pixel counts."""
        if self.resolution is None or self.policy in ("tiles", "buckets"):
            return None
        return 2 * (self._crop_length if self.policy == "random-crop" else self.resolution)

    @property
    def _side(self) -> int:
        assert self.resolution is not None  # noqa: S101 - for the type checker; `__post_init__` has looked
        return self.resolution

    @property
    def _crop_length(self) -> int:
        """The short side of images that windows are drawn from."""
        return round(self._side * (1 + self.crop_margin))

    def picture(self, image: Image.Image, mask: Image.Image | None = None, name: str = "") -> Fitted:
        """Fits one Pillow image, and its mask in the same way.

        Args:
            image: of mode L, RGB or RGBA.
            mask: of the same size, mode L, 0 or 255.
            name: of the image, which its tiles keep as their origin.

        Raises:
            Unreadable: it is smaller than a tile.
        """
        if self.policy == "tiles":
            return self._tiles(image, mask, name)
        whole, shares = _pixels(self._placed(image, resize_picture, self.pad_colour)), None
        if mask is not None:
            shares = np.asarray(self._placed(mask, _by_area, "black", self.frame))
        if self.policy == "random-crop":
            window = _centre(whole.shape, self._side)
            return _fitted(whole[window][None], None if shares is None else shares[window][None], whole=whole)
        return _fitted(whole[None], None if shares is None else shares[None])

    def array(self, images: torch.Tensor, resize: ArrayResize = resize_array) -> torch.Tensor:
        """Fits images that are already in memory.

        Args:
            images: [N, C, H, W], uint8; C = 1, 3 or 4.
            resize: how to resize.

        Returns:
            [N, C', H', W'], uint8.

        Raises:
            UserError: a policy that needs images one by one.
        """
        self.check_array(f"this source is an array of images of {images.shape[3]} x {images.shape[2]} pixels")
        fewer = self.channels is not None and self.channels < images.shape[1]
        images = to_channels(images, self.channels) if fewer else images
        if self.resolution is not None and self.policy == "crop":
            images = square(images, self.resolution, resize)
        elif self.resolution is not None:
            images = padded(images, self.resolution, _PAD_VALUES[self.pad_colour], resize)
        return to_channels(images, self.channels)

    def check_array(self, found: str) -> None:
        """Refuses policies that need images one by one, for sources without files.

        Args:
            found: what the source is instead, as the second part of a sentence.

        Raises:
            UserError: such a policy.
        """
        if self.policy not in ("crop", "pad"):
            raise UserError(f"--data.fit {self.policy} is for image files; {found}. Use --data.fit crop or pad.")

    def grey_array(self, images: torch.Tensor) -> torch.Tensor:
        """`array` with the filter by which digits and Fashion-MNIST were resized for the stored results.

        Args:
            images: [N, 1, H, W], uint8.

        Returns:
            [N, C, H', W'], uint8.
        """
        return self.array(images, resize_bicubic)

    def _placed(
        self, picture: Image.Image, resize: Resize, pad_colour: PadColour, frame: int | None = None
    ) -> Image.Image:
        """The picture, or its mask, as one picture; in buckets, what is seen of it becomes a square with the side `frame`."""
        if self.resolution is None:
            return picture
        if self.policy == "pad":
            return _pad(picture, self.resolution, pad_colour, resize)
        if self.policy == "random-crop":
            width, height = picture.size
            factor = self._crop_length / min(width, height)
            return resize(picture, (round(width * factor), round(height * factor)))
        shape = (self.resolution, self.resolution)
        if self.policy == "buckets":
            shape = nearest_shape(picture.size, bucket_shapes(self.resolution, self.bucket_multiple))
        return resize(_covering(picture, shape), (frame, frame) if frame else shape)

    def _tiles(self, image: Image.Image, mask: Image.Image | None, name: str) -> Fitted:
        side, original = self._side, image.size
        size = (scaled_length(image.width, self.scale), scaled_length(image.height, self.scale))
        if min(size) < side:
            scaled = f" ({size[0]} x {size[1]} at --data.scale {self.scale})" if self.scale != 1 else ""
            raise Unreadable(
                f"{image.width} x {image.height} pixels{scaled} are less than a tile of {side} x {side}; take smaller tiles "
                "(--data.resolution) or another --data.fit for such images"
            )
        if size != original:
            image = resize_picture(image, size)
            mask = None if mask is None else _by_area(mask, size)
        corners, tiles = tile_places(name, original, side, self.overlap, self.scale)
        shares = None if mask is None else _cut(np.asarray(mask), corners, side)
        return _fitted(_cut(_pixels(image), corners, side), shares, tiles)


def _check(right: bool, option: str, value: object, expected: str) -> None:
    if not right:
        raise UserError(f"--data.{option} is {value}; expected {expected}.")


def _fitted(
    pixels: np.ndarray,
    shares: np.ndarray | None,
    tiles: tuple[Tile, ...] | None = None,
    whole: np.ndarray | None = None,
) -> Fitted:
    """From pictures [n, H, W(, C)] and what share of each pixel is marked [n, H, W], in 255ths."""
    if shares is None:
        return Fitted(pixels, tiles=tiles, whole=whole)
    return Fitted(pixels, of_shares(shares), tuple(bool(share.any()) for share in shares), tiles, whole)


def _pixels(image: Image.Image) -> np.ndarray:
    """[H, W] or [H, W, C]; where nothing is seen, RGBA is white: hidden colours are nothing to learn."""
    pixels = np.array(image)
    if image.mode == "RGBA":
        pixels[pixels[..., 3] == 0, :3] = 255
    return pixels


def _by_area(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The share of each pixel that is marked, in 255ths; at least 1 somewhere, where anything is marked."""
    shares = mask.resize(size, Image.Resampling.BOX)
    if shares.getbbox() is None and mask.getbbox() is not None:  # so little that all was rounded to nothing
        exact = np.asarray(mask.convert("F").resize(size, Image.Resampling.BOX))
        shares = Image.fromarray((exact >= exact.max() / 2).astype(np.uint8))
    return shares


def _covering(picture: Image.Image, shape: tuple[int, int]) -> Image.Image:
    """The largest central part with the aspect ratio of `shape`."""
    (width, height), (columns, rows) = picture.size, shape
    if width * rows > height * columns:
        part = (max(1, round(height * columns / rows)), height)
    else:
        part = (width, max(1, round(width * rows / columns)))
    left, top = (width - part[0]) // 2, (height - part[1]) // 2
    return picture.crop((left, top, left + part[0], top + part[1]))


def _pad(picture: Image.Image, side: int, colour: PadColour, resize: Resize) -> Image.Image:
    picture = resize(picture, contained(*picture.size, side))
    left, top = (side - picture.width) // 2, (side - picture.height) // 2
    if colour != "edge":
        canvas = Image.new(picture.mode, (side, side), colour)
        canvas.paste(picture, (left, top))
        return canvas
    margins = [(top, side - picture.height - top), (left, side - picture.width - left), (0, 0)]
    pixels = np.asarray(picture)
    return Image.fromarray(np.pad(pixels, margins[: pixels.ndim], mode="edge"))


def _centre(shape: tuple[int, ...], side: int) -> tuple[slice, slice]:
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    return slice(top, top + side), slice(left, left + side)


def _cut(pixels: np.ndarray, corners: list[tuple[int, int]], side: int) -> np.ndarray:
    """Tiles [n, side, side(, C)]."""
    return np.stack([pixels[y : y + side, x : x + side] for x, y in corners])
