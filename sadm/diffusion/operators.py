"""What may have happened to an image, as linear maps A with their transposes; most with a pseudo-inverse in closed form."""

from __future__ import annotations

import abc

import torch
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601), as Pillow's mode L has them; they sum to 1."""


class Operator(abc.ABC):
    """A linear map ``y = A x`` of images [B, C, H, W], the same for each or one for each."""

    @abc.abstractmethod
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """A x."""

    @abc.abstractmethod
    def transposed(self, y: torch.Tensor) -> torch.Tensor:
        """A^T y."""

    def of(self, rows: slice) -> Operator:
        """The operator for some of the images."""
        return self


class Projecting(Operator):
    """An operator whose singular values are all 0 or one number, `scale`: its pseudo-inverse is ``A^T / scale^2``."""

    scale: float

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        """A^+ y, the smallest x of those that A brings closest to y."""
        return self.transposed(y) / self.scale**2

    def kept(self, x: torch.Tensor) -> torch.Tensor:
        """A^+ A x: what A leaves of x, in the space of x."""
        return self.inverse(self(x))


class Masking(Projecting):
    """Leaves the pixels that are to be made black (0).

    Args:
        mask: [B or 1, 1 or C, H, W], 1 (or true) where the image is to be made, 0 where it is known; all 0 changes nothing.
    """

    scale = 1.0

    def __init__(self, mask: torch.Tensor) -> None:
        self.known = ~mask.bool()

    def of(self, rows: slice) -> Masking:
        """That of some of the images, where each has its own."""
        return self if len(self.known) == 1 else Masking(~self.known[rows])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.known.to(x)  # also to its device

    def transposed(self, y: torch.Tensor) -> torch.Tensor:
        return self(y)


class Averaging(Projecting):
    """Means over squares of `factor` by `factor` pixels: a lower resolution.

    Args:
        factor: a divisor of both sides.
    """

    def __init__(self, factor: int) -> None:
        self.factor, self.scale = factor, 1 / factor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(x, self.factor)

    def transposed(self, y: torch.Tensor) -> torch.Tensor:
        return y.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3) / self.factor**2


class Grey(Projecting):
    """One channel, a weighted sum of those of x.

    Args:
        weights: one for each channel.
    """

    def __init__(self, weights: tuple[float, ...] = LUMA) -> None:
        self.weights = torch.tensor(weights, dtype=torch.float64)
        self.scale = float(self.weights.norm())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weights.to(x)[:, None, None]).sum(1, keepdim=True)

    def transposed(self, y: torch.Tensor) -> torch.Tensor:
        return y * self.weights.to(y)[:, None, None]


class Blur(Operator):
    """Convolution of each channel with a kernel; beyond its edges an image goes on as its last pixels are.

    Args:
        kernel: [k, l], odd sides.

    Raises:
        ValueError: even sides, or not a matrix.
    """

    def __init__(self, kernel: torch.Tensor) -> None:
        if kernel.ndim != 2 or not all(side % 2 for side in kernel.shape):
            raise ValueError(f"expected a kernel of odd sides, got shape {tuple(kernel.shape)}")
        self.kernel = kernel
        self.margins = (kernel.shape[1] // 2,) * 2 + (kernel.shape[0] // 2,) * 2  # left, right, top, bottom

    @classmethod
    def gaussian(cls, width: float) -> Blur:
        """A Gaussian kernel with a standard deviation of `width` pixels, cut off at three of them, whose weights sum to 1.

        Raises:
            ValueError: a width that is not positive and finite.
        """
        if not 0 < width < float("inf"):
            raise ValueError(f"expected a width above 0 and finite, got {width}")
        reach = max(1, int(3 * width + 0.5))
        line = torch.exp(-(torch.arange(-reach, reach + 1, dtype=torch.float64) ** 2) / (2 * width**2))
        line = line / line.sum()
        return cls(line[:, None] * line[None])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        channels = x.shape[1]
        weight = self.kernel.flip(0, 1).to(x).expand(channels, 1, *self.kernel.shape)
        return functional.conv2d(functional.pad(x, self.margins, mode="replicate"), weight, groups=channels)

    def transposed(self, y: torch.Tensor) -> torch.Tensor:
        # The gradient of <A x, y> with respect to x, which of a linear map is the same everywhere.
        with torch.enable_grad():
            x = torch.zeros_like(y).requires_grad_()
            return torch.autograd.grad(self(x), x, y)[0]
