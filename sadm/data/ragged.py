"""Images of several sizes in one buffer, from which those of one size, or windows of one size, are drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from sadm.core.errors import UserError
from sadm.data.resampling import resize_array

_CHUNK = 1024  # images resized at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Ragged:
    """Images of several sizes and one number of channels.

    Attributes:
        pixels: all images one after the other, each [C, H, W] in row-major order, uint8.
        starts: where each begins in `pixels` [N], int64.
        sizes: their heights and widths [N, 2], int64.
        channels: C.
    """

    pixels: torch.Tensor
    starts: torch.Tensor
    sizes: torch.Tensor
    channels: int

    @classmethod
    def of(cls, images: Sequence[torch.Tensor]) -> Ragged:
        """From images [C, H, W], uint8, at least one."""
        sizes = torch.tensor([image.shape[1:] for image in images])
        lengths = torch.tensor([image.numel() for image in images])
        return cls(
            torch.cat([image.reshape(-1) for image in images]), lengths.cumsum(0) - lengths, sizes, images[0].shape[0]
        )

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Image `index` [C, H, W], a view."""
        start, (height, width) = int(self.starts[index]), self.sizes[index].tolist()
        return self.pixels[start : start + self.channels * height * width].view(self.channels, height, width)

    def subset(self, index: torch.Tensor) -> Ragged:
        """The images at `index` [M], in that order; their pixels are shared, not copied."""
        return dataclasses.replace(self, starts=self.starts[index], sizes=self.sizes[index])

    def flat(self) -> torch.Tensor:
        """The pixels of these images alone, one image after the other."""
        return torch.cat([self[i].reshape(-1) for i in range(len(self))])

    def shapes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The heights and widths that occur [S, 2], from the tallest to the widest, and which of them each image has [N]."""
        shapes, which = self.sizes.unique(dim=0, return_inverse=True)
        order = sorted(range(len(shapes)), key=lambda k: (int(shapes[k, 1]) / int(shapes[k, 0]), int(shapes[k, 1])))
        place = torch.tensor(order).argsort()
        return shapes[order], place[which]

    def stacked(self, index: torch.Tensor) -> torch.Tensor:
        """Images of one size as a new tensor [B, C, H, W], uint8; `index` [B], int64, at least one, says which.

        Raises:
            UserError: they are of several sizes.
        """
        sizes = self.sizes[index]
        if not bool((sizes == sizes[0]).all()):
            raise UserError(
                f"one tensor was asked for of images of {len(sizes.unique(dim=0))} sizes; expected one size."
            )
        height, width = sizes[0].tolist()
        length = self.channels * height * width
        flat = torch.stack([self.pixels[start : start + length] for start in self.starts[index].tolist()])
        return flat.view(-1, self.channels, height, width)

    def resized(self, size: tuple[int, int]) -> torch.Tensor:
        """All images resized to one (width, height), whatever their own; those that have it stay as they are.

        Returns:
            [N, C, height, width], uint8; see `resize_array`.
        """
        result = torch.empty(len(self), self.channels, size[1], size[0], dtype=torch.uint8)
        shapes, which = self.shapes()
        for number, shape in enumerate(shapes.tolist()):
            for part in (which == number).nonzero().flatten().split(_CHUNK):
                images = self.stacked(part)
                result[part] = images if shape == [size[1], size[0]] else resize_array(images, size)
        return result

    def windows(self, index: torch.Tensor, shape: tuple[int, int], places: torch.Tensor) -> torch.Tensor:
        """A window of each image.

        Args:
            index: which images [B], int64.
            shape: (height, width) of the windows; no image may be smaller.
            places: where each window lies, down and across [B, 2], in [0, 1): 0 is the first possible row or column, and each
                possible one has the same share.

        Returns:
            [B, C, height, width], uint8.

        Raises:
            UserError: an image is smaller than the window.
        """
        room = self.sizes[index] - torch.tensor(shape)  # [B, 2]
        if bool((room < 0).any()):
            raise UserError(
                f"a window of {shape[1]} x {shape[0]} pixels can't be drawn from an image that is smaller; give a smaller "
                "--data.resolution."
            )
        corners = (places.double() * (room + 1)).long().tolist()  # [B, 2]
        cut = [
            self[int(i)][:, top : top + shape[0], left : left + shape[1]]
            for i, (top, left) in zip(index, corners, strict=True)
        ]
        return torch.stack(cut)
