"""Structure that is known of the training images, in place of what an encoder sees of them: their classes, or numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sadm.diffusion import Denoised
from sadm.structure import attribute_affinity, label_affinity, processes_here

KnownStructure = Callable[[Denoised], torch.Tensor]
"""From a step's images to the affinities [B, B] of the batch of all processes."""


def of_classes(denoised: Denoised) -> torch.Tensor:
    """1 within a class, 0 across; see `label_affinity`.

    Raises:
        ValueError: images without classes.
    """
    if denoised.label is None:
        raise ValueError("structure of classes needs images that have some")
    return label_affinity(processes_here().part(len(denoised.x0), denoised.x0.device).rows(denoised.label))


class OfAttributes:
    """Images alike in what is measured of them belong together; see `attribute_affinity`.

    Args:
        values: of all training images [N, a], in units in which differences of columns compare; none may be missing.
        bandwidth: the difference at which an affinity has fallen to exp(-1/2), > 0.
    """

    def __init__(self, values: torch.Tensor, bandwidth: float) -> None:
        self.values, self.bandwidth = values, bandwidth

    def __call__(self, denoised: Denoised) -> torch.Tensor:
        if denoised.place is None:
            raise ValueError("structure of attributes needs the images' places in the training set")
        own = self.values[denoised.place].to(denoised.x0.device)  # [B, a]
        whole = processes_here().part(len(own), own.device).rows(own)
        return attribute_affinity(whole, self.bandwidth)
