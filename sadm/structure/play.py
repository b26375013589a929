"""What one step of the game gives."""

from __future__ import annotations

import dataclasses

import torch

from sadm.structure.players.discriminator import Measured


@dataclasses.dataclass(frozen=True)
class Play:
    """One step of the game.

    Attributes:
        gradient: scaled structure gradient at x0_hat [B, C, H, W], at least float32; zero for images that did not take part;
            of several processes as in `sadm.structure.processes`.
        gap: structure gap before the adversary's step, a scalar.
        k: balance coefficients of the images that took part, in all processes [m].
        g_dsm: their mean gradient norm of the denoising loss, a scalar.
        g_gap: their mean gradient norm of the gap, before balancing, a scalar.
        g_structure: the same after balancing, a scalar.
        ratio: the mean ratio in force, after schedule and watchdog, a scalar.
        spread: standard deviation over pairs of the real images' relation, a scalar; 0 where there is one pair.
        spread_hat: the same of denoised images.
        skipped: a number was not finite (NaN stands for it in `gap`) and the play was given up: no gradient, nothing learnt.
    """

    gradient: torch.Tensor
    gap: torch.Tensor
    k: torch.Tensor
    g_dsm: torch.Tensor
    g_gap: torch.Tensor
    g_structure: torch.Tensor
    ratio: torch.Tensor
    spread: torch.Tensor
    spread_hat: torch.Tensor
    skipped: bool = False

    @classmethod
    def of(
        cls,
        gradient: torch.Tensor,
        measured: Measured,
        k: torch.Tensor,
        size_dsm: torch.Tensor,
        size_gap: torch.Tensor,
        ratio: float | torch.Tensor,
    ) -> Play:
        """A play from its parts.

        Args:
            gradient: of all images of this process.
            measured: by the discriminator.
            k: of the m images that took part, in all processes [m].
            size_dsm: their gradient norms of the denoising loss [m].
            size_gap: and of the gap, before balancing [m].
            ratio: in force, of all or of each [m].
        """
        count, _, _, square, square_hat, _ = measured.moments
        return cls(
            gradient=gradient,
            gap=measured.gap,
            k=k,
            g_dsm=size_dsm.mean(),
            g_gap=size_gap.mean(),
            g_structure=(k * size_gap).mean(),
            ratio=torch.as_tensor(ratio, dtype=k.dtype, device=k.device).mean(),
            spread=(square / count).sqrt(),
            spread_hat=(square_hat / count).sqrt(),
        )

    @classmethod
    def given_up(cls, gradient: torch.Tensor, images: int) -> Play:
        """A skipped play of `images` images."""
        zero = gradient.new_zeros(())
        gap, rest = torch.full_like(zero, torch.nan), dict.fromkeys(_MEASURED, zero)
        return cls(torch.zeros_like(gradient), gap, gradient.new_zeros(images), skipped=True, **rest)


_MEASURED = ("g_dsm", "g_gap", "g_structure", "ratio", "spread", "spread_hat")
