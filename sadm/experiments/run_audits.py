"""The audit of a comparison's runs: each model's images against the training images, and the pairs that are most alike."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sadm.core.files import write_atomically
from sadm.core.progress import Reporter
from sadm.data import ImageSet, Split, to_uint8
from sadm.evaluation.memorisation import Audit, Auditor

AUDITED = 1000
"""Images of a run at most, the first of those that are judged; as many as `sadm audit` draws."""
SHOWN = 8
PAIRS = "audit.npz"
_LISTED = 8  # pairs in a run's result


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Generated images that are most like a training image, the most alike first, one for each training image.

    Attributes:
        generated: uint8 [m, H, W, C].
        training: the training image that each is most like, uint8 [m, H, W, C].
        scores: see `Audit.scores` [m].
        copies: which are called copies [m].
    """

    generated: np.ndarray
    training: np.ndarray
    scores: list[float]
    copies: list[bool]


class RunAudits:
    """Audits the runs of a comparison; what all of them share is computed once.

    Args:
        split: training and held-out images.
        reporter: told about progress.

    Raises:
        UserError: images that nothing can be audited by.
    """

    def __init__(self, split: Split, reporter: Reporter) -> None:
        self.auditor = Auditor(split.train, split.held_out, reporter=reporter)

    def audit(self, images: torch.Tensor, labels: torch.Tensor | None, folder: Path) -> dict[str, Any]:
        """Audits a model's images, and keeps the pairs that are most alike in its run folder.

        Args:
            images: [N, C, H, W] in [-1, 1].
            labels: the classes that they were drawn for [N], or None.
            folder: of the run.

        Returns:
            The numbers, for JSON.
        """
        drawn, own = to_uint8(images[:AUDITED]), None if labels is None else labels[:AUDITED]
        classes = () if own is None else self.auditor.train.class_names
        names = tuple(str(index) for index in range(len(drawn)))
        generated = ImageSet(drawn, own, classes, names, f"images drawn from {folder}")
        found = self.auditor.audit(generated)
        _keep_pairs(found, generated, folder)
        facts = found.as_dict()
        return {**facts, "pairs": facts["pairs"][:_LISTED]}


def read_pairs(folder: Path, train: ImageSet) -> Pairs:
    """What `RunAudits.audit` kept in a run folder.

    Args:
        folder: of the run.
        train: the training images.
    """
    with np.load(folder / PAIRS, allow_pickle=False) as kept:
        training = train.subset(torch.from_numpy(kept["training"])).images
        return Pairs(kept["generated"], _last_channels(training), kept["scores"].tolist(), kept["copies"].tolist())


def _keep_pairs(found: Audit, generated: ImageSet, folder: Path) -> None:
    chosen, buffer = found.closest(SHOWN), io.BytesIO()
    np.savez_compressed(
        buffer,
        generated=_last_channels(generated.images[torch.from_numpy(chosen)]),
        training=found.nearest.index.numpy()[chosen],
        scores=found.scores[chosen],
        copies=found.copies[chosen],
    )
    write_atomically(folder / PAIRS, buffer.getvalue())


def _last_channels(images: torch.Tensor) -> np.ndarray:
    """[n, C, H, W] to [n, H, W, C]."""
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
