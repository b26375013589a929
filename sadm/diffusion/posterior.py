"""Posterior sampling for any linear map: what was measured pulls at x0_hat, through the network."""

from __future__ import annotations

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.around import Around, Ask
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.null_space import check_measured
from sadm.diffusion.operators import Operator
from sadm.diffusion.paths import Level
from sadm.diffusion.prediction import Prediction

_ROUNDS = 30
_ENOUGH = 1e-5  # of the right-hand side's norm


class Posterior(Around):
    """A denoiser of images x of which a noisy ``y = A x + noise`` is known; any solver draws from their posterior with it.

    By Tweedie's formula the posterior's x0_hat is the denoiser's plus ``beta^2 / alpha`` times the gradient, with respect to z,
    of ln p(y | z). Chung et al. 2023, "DPS", arXiv 2209.14687, take x0_hat for x0 there, and tune a step size. Here p(y | z) is
    the Gaussian around A x0_hat with covariance ``noise_level^2 + r^2 A A^T``, r^2 being the variance that z leaves to one pixel
    (Song et al. 2023, "Pseudoinverse-guided diffusion models", ICLR); that needs no step size, and is exact for independent
    Gaussian pixels.

    Args:
        denoiser: of images; gradients go through it.
        operator: A.
        measured: y, in the shape of A x.
        noise_level: standard deviation of y's noise, above 0.
        spread: standard deviation of the images' pixels, as the denoiser was trained on them.

    Raises:
        ValueError: a noise level or a spread that is not above 0.
    """

    def __init__(
        self, denoiser: Denoiser, operator: Operator, measured: torch.Tensor, noise_level: float, spread: float
    ) -> None:
        super().__init__(denoiser)
        if not noise_level > 0 or not spread > 0:
            raise ValueError(f"expected a noise level and a spread above 0, got {noise_level} and {spread}")
        self.operator, self.measured, self.noise_level, self.spread = operator, measured, noise_level, spread

    def answer(self, ask: Ask, z: torch.Tensor, alpha: Level, beta: Level, cond: Cond) -> Prediction:
        """The denoiser's own, moved by what was measured."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            found = ask(z, cond)
            x0_hat = found.x0_hat.detach()
            expected = self.operator(x0_hat)
            check_measured(expected, self.measured, self.noise_level)
            open_ = (beta * self.spread) ** 2 / (alpha**2 * self.spread**2 + beta**2)  # r^2
            pull = self.operator.transposed(self._solved(self.measured.to(z) - expected, open_))  # [B, C, H, W]
            if isinstance(alpha, float) and alpha == 0:
                # beta^2 / alpha times the network's derivative is x0's covariance given z, with 0 / 0 in it at pure noise.
                moved = x0_hat + open_ * pull
            else:
                moved = x0_hat + beta**2 / alpha * torch.autograd.grad(found.x0_hat, z, pull)[0]
        variance = None if found.variance is None else found.variance.detach()
        return Prediction(moved, variance)

    def _solved(self, difference: torch.Tensor, open_: Level) -> torch.Tensor:
        """``(noise_level^2 + r^2 A A^T)^-1 difference``, by conjugate gradients, for each image on its own."""

        def times(u: torch.Tensor) -> torch.Tensor:
            return self.noise_level**2 * u + self.operator(open_ * self.operator.transposed(u))

        solution, left = torch.zeros_like(difference), difference
        direction, size = left, _inner(left, left)
        least = _ENOUGH**2 * size
        for _ in range(_ROUNDS):
            moving = size > least  # [B, 1, 1, 1]
            if not bool(moving.any()):
                break
            image = times(direction)
            step = torch.where(moving, size / _inner(direction, image).clamp_min(torch.finfo(size.dtype).tiny), 0)
            solution, left = solution + step * direction, left - step * image
            before, size = size, _inner(left, left)
            ratio = size / before.clamp_min(torch.finfo(size.dtype).tiny)
            direction = left + ratio * direction
        return solution


def _inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).flatten(1).sum(1)[:, None, None, None]
