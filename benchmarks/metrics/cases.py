"""What metrics are compared on."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

SPLITS = 10


@dataclasses.dataclass(frozen=True)
class Case:
    """Features to compare on.

    Attributes:
        features: of "generated" images [N, d], float64.
        reference: of "real" ones [N, d].
        logits: of the generated ones [N, classes]; N a multiple of `SPLITS`.
        neighbours: k of manifolds.
    """

    features: np.ndarray
    reference: np.ndarray
    logits: np.ndarray
    neighbours: int = 3

    @property
    def probabilities(self) -> np.ndarray:
        """[N, classes]"""
        return torch.from_numpy(self.logits).softmax(dim=1).numpy()


def draw_case(seed: int = 0, count: int = 400, length: int = 48, classes: int = 10, neighbours: int = 3) -> Case:
    """Two sets of rectified, correlated features that overlap, as a network's last layer gives them."""
    draws = np.random.default_rng(seed)
    mixing = draws.standard_normal((length, length)) / length**0.5
    reference = np.maximum(draws.standard_normal((count, length)) @ mixing + 0.5, 0)
    features = np.maximum(1.1 * draws.standard_normal((count, length)) @ mixing + 0.6, 0)
    return Case(features, reference, 2 * draws.standard_normal((count, classes)), neighbours)
