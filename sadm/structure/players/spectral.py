"""A bound on the spectral norms of the adversary's weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sadm.structure.errors import StructureError

_VECTORS = 8  # followed at once: one alone loses sight of the norm when another direction overtakes
_ITERATIONS = 4


class SpectralBound:
    """Projects weights, after each step, to spectral norms of at most `bound` times those they started with.

    The norm is that of the weight as a matrix [out, everything else] (Miyato et al. 2018, arXiv 1802.05957), found by power
    iteration on a few vectors that are kept from step to step; a weight beyond its limit is scaled down to it. Vectors (biases,
    gains of norms) and weights that start at zero, which have no scale of their own, are left alone.

    Args:
        parameters: the adversary's; those with at least two dimensions are bounded.
        bound: >= 1.

    Raises:
        StructureError: a bound below 1, which would change the weights before anything is learnt.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], bound: float) -> None:
        if not bound >= 1:
            raise StructureError(f"spectral_bound must be at least 1, got {bound}: 1 holds every norm at its start")
        self.weights: list[torch.Tensor] = []
        self.limits: list[torch.Tensor] = []
        self.vectors: list[torch.Tensor] = []
        for parameter in parameters:
            if parameter.ndim < 2:
                continue
            left, norms, _ = torch.linalg.svd(_matrix(parameter), full_matrices=False)
            if norms[0] > 0:
                self.weights.append(parameter)
                self.limits.append(bound * norms[0].clone())
                self.vectors.append(left[:, :_VECTORS].clone())

    @torch.no_grad()
    def project(self) -> None:
        """Scales down the weights that are beyond their limits."""
        for number, (weight, limit) in enumerate(zip(self.weights, self.limits, strict=True)):
            matrix = _matrix(weight)  # [out, in]
            left = self.vectors[number] = self.vectors[number].to(matrix)
            for _ in range(_ITERATIONS):
                right, _ = torch.linalg.qr(matrix.mT @ left)  # [in, k]
                image = matrix @ right  # [out, k]
                left.copy_(torch.linalg.qr(image).Q)
            norm = torch.linalg.matrix_norm(image, 2)
            weight.mul_((limit.to(norm) / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp(max=1))

    def state_dict(self) -> dict[str, Any]:
        """Limits and the vectors of the power iteration."""
        return {"limits": list(self.limits), "vectors": list(self.vectors)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        for own, saved in zip([*self.limits, *self.vectors], [*state["limits"], *state["vectors"]], strict=True):
            own.copy_(saved)


def _matrix(weight: torch.Tensor) -> torch.Tensor:
    return weight.detach().flatten(1)
