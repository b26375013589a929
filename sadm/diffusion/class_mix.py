"""Images between classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.around import Around, Ask
from sadm.diffusion.denoised import Denoiser, per_image
from sadm.diffusion.paths import Level
from sadm.diffusion.prediction import Prediction


class ClassMix(Around):
    """A denoiser that answers the weighted mean of its answers for several classes.

    With weights that sum to 1 its score is the weighted mean of the classes' scores, which is that of the product of their noised
    densities, each to the power of its weight: it draws what is likely in all of the classes, rather than one class or another as
    a mixture would. Source: Liu et al. 2022, arXiv 2206.01714. Nothing inside the network is touched, so that any will do. Put it
    around guidance, not inside: it answers for its classes even where the null class is asked for.

    Args:
        denoiser: of images with classes.
        classes: their indices, K of them.
        weights: of each image [B, K], or [1, K] for all; at least 0, each row's sum 1.

    Raises:
        ValueError: weights that are something else.
    """

    def __init__(self, denoiser: Denoiser, classes: Sequence[int], weights: torch.Tensor) -> None:
        super().__init__(denoiser)
        fits = weights.ndim == 2 and weights.shape[1] == len(classes) > 0 and bool((weights >= 0).all())
        if not fits or not torch.allclose(weights.sum(1), weights.new_ones(())):
            raise ValueError(
                f"expected weights [B, {len(classes)}] of at least 0 that sum to 1 for each image, got shape "
                f"{tuple(weights.shape)}: {weights.flatten()[:6].tolist()}"
            )
        self.classes, self.weights = classes, weights

    def answer(self, ask: Ask, z: torch.Tensor, alpha: Level, beta: Level, cond: Cond) -> Prediction:
        """The mean over classes; what `cond` says of the class has no effect. Classes of no weight are not asked."""
        weights = self.weights.to(z).expand(len(z), -1)
        mixed = Prediction(torch.zeros_like(z))
        for number, label in enumerate(self.classes):
            if not bool(weights[:, number].any()):
                continue
            of_class = torch.full((len(z),), label, dtype=torch.int64, device=z.device)
            found, share = ask(z, dataclasses.replace(cond, label=of_class)), per_image(weights[:, number], z)
            variance = None if found.variance is None else share * found.variance
            if variance is not None and mixed.variance is not None:
                variance = mixed.variance + variance
            mixed = Prediction(mixed.x0_hat + share * found.x0_hat, variance)
        return mixed
