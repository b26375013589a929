"""What happens to images, against dense matrices: transposes, pseudo-inverses, and definitions written as loops."""

from __future__ import annotations

import math

import pytest
import torch
from diffusion_nets import normal
from PIL import Image

from sadm.diffusion.operators import LUMA, Averaging, Blur, Grey, Masking, Operator, Projecting

SHAPE = (3, 4, 6)  # C, H, W


def mask() -> torch.Tensor:
    return (normal(9, 1, 1, 4, 6) > 0.3).double()


OPERATORS: dict[str, Operator] = {
    "mask": Masking(mask()),
    "mask of each channel": Masking(normal(3, 1, 3, 4, 6) > 0),
    "nothing": Masking(torch.zeros(1, 1, 4, 6)),
    "average": Averaging(2),
    "grey": Grey(),
    "blur": Blur.gaussian(0.7),
    "motion": Blur(torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4, 0.5], [0.0, 0.0, 0.0, 0.0, 0.3]])),
}


def dense(operator: Operator) -> torch.Tensor:
    """A as a matrix, from what it makes of each unit image."""
    pixels = math.prod(SHAPE)
    units = torch.eye(pixels, dtype=torch.float64).view(pixels, *SHAPE)
    return operator(units).flatten(1).T  # [outputs, pixels]


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_linear_and_their_transposes_are_those_of_their_matrices(name: str) -> None:
    operator, x = OPERATORS[name], normal(1, 2, *SHAPE)
    matrix, y = dense(operator), operator(x)
    torch.testing.assert_close(y.flatten(1), x.flatten(1) @ matrix.T, rtol=0, atol=1e-12)
    other = normal(2, *y.shape)
    torch.testing.assert_close(operator.transposed(other).flatten(1), other.flatten(1) @ matrix, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, operator in OPERATORS.items() if isinstance(operator, Projecting)])
def test_pseudo_inverses_are_those_of_their_matrices(name: str) -> None:
    operator = OPERATORS[name]
    matrix, y = dense(operator), operator(normal(1, 2, *SHAPE))
    expected = torch.linalg.pinv(matrix)
    other = normal(2, *y.shape)
    torch.testing.assert_close(operator.inverse(other).flatten(1), other.flatten(1) @ expected.T, rtol=0, atol=1e-10)
    x = normal(3, 2, *SHAPE)
    torch.testing.assert_close(operator(operator.kept(x)), operator(x), rtol=0, atol=1e-12)  # A A^+ A = A
    singular = torch.linalg.svdvals(matrix)
    assert all(min(abs(value), abs(value - operator.scale)) < 1e-9 for value in singular.tolist())


def test_grey_is_pillows() -> None:
    pixels = torch.randint(0, 256, (1, 3, 4, 6), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with_pillow = Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).convert("L")
    found = Grey()(pixels.double())[0, 0].flatten().tolist()
    assert found == pytest.approx(list(with_pillow.tobytes()), abs=1)
    assert sum(LUMA) == pytest.approx(1)


def test_averages_are_those_of_squares() -> None:
    x = normal(1, 2, *SHAPE)
    expected = torch.stack(
        [x[..., 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((2, 3)) for i in range(2) for j in range(3)]
    )
    torch.testing.assert_close(Averaging(2)(x).flatten(2), expected.permute(1, 2, 0))


def test_a_blur_is_a_convolution_whose_image_goes_on_beyond_its_edges() -> None:
    kernel, x = OPERATORS["motion"].kernel.double(), normal(1, 2, *SHAPE)  # type: ignore[attr-defined]
    expected = torch.zeros_like(x)
    for i in range(4):
        for j in range(6):
            for k in range(3):
                for m in range(5):
                    row, column = min(max(i - (k - 1), 0), 3), min(max(j - (m - 2), 0), 5)
                    expected[..., i, j] += kernel[k, m] * x[..., row, column]
    torch.testing.assert_close(OPERATORS["motion"](x), expected, rtol=0, atol=1e-12)


def test_a_gaussian_blur_keeps_flat_images_and_has_the_width_asked_for() -> None:
    blur = Blur.gaussian(1.5)
    flat = torch.full((1, 1, 9, 9), 0.4, dtype=torch.float64)
    torch.testing.assert_close(blur(flat), flat)
    place = torch.arange(blur.kernel.shape[0], dtype=torch.float64) - blur.kernel.shape[0] // 2
    assert float((blur.kernel.sum(1) * place**2).sum().sqrt()) == pytest.approx(1.5, rel=0.02)


@pytest.mark.parametrize("width", [0.0, -1.0, math.inf, math.nan])
def test_widths_that_make_no_sense_are_refused(width: float) -> None:
    with pytest.raises(ValueError, match="expected a width above 0 and finite, got"):
        Blur.gaussian(width)


@pytest.mark.parametrize("shape", [(2, 3), (3,), (4, 4)])
def test_kernels_of_even_sides_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a kernel of odd sides, got shape"):
        Blur(torch.ones(shape))
