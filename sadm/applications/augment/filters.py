"""Which drawn images are kept: those that show their class, lie among real images of it, and copy nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from sadm.core.progress import Reporter
from sadm.core.seeds import derive_seed, generator
from sadm.core.store import Store
from sadm.data import ImageSet, to_floats
from sadm.evaluation.coverage import NEIGHBOURS
from sadm.evaluation.downstream import ClassifierSettings
from sadm.evaluation.downstream.cross_fitted import CrossFitted
from sadm.evaluation.judges import PixelJudge, RandomConvJudge
from sadm.evaluation.memorisation import AuditParts, CopySearch, CopyTest
from sadm.evaluation.outlyingness import Outlyingness
from sadm.evaluation.typicality import share_as_low

FILTERS = ("class", "quality", "copy", "repeat")
"""In the order in which they are asked: another class, far from real ones, copy of a training image, of a generated one."""
KEPT = len(FILTERS)
MOST_REAL, MOST_FRESH = 2000, 600
"""Real images of a class that quality is judged by, and held-out images of each part that copies are told by, at most."""

COLUMNS = (
    "verdict",
    "class_probability",
    "class_share",
    "outlyingness",
    "quality",
    "copy_score",
    "distance",
    "nearest",
)


@dataclasses.dataclass(frozen=True)
class Judged:
    """What the filters say about n images, as a table that can be stored.

    The columns, `COLUMNS`: index of the filter that refuses an image, or `KEPT`; probability of its class and share of
    real images as unsure (see `Consistency`); outlyingness and share of real images as far out; then, where both are passed,
    score, distance and index of the nearest training image (see `Compared`). NaN = not asked.

    Attributes:
        table: [n, 8], float64.
    """

    table: torch.Tensor

    def verdict(self, row: int) -> int:
        """Of an image: an index into `FILTERS`, or `KEPT`."""
        return int(self.table[row, 0])

    def values(self, row: int) -> dict[str, float]:
        """All else that is known of an image."""
        found = dict(zip(COLUMNS[1:], self.table[row, 1:].tolist(), strict=True))
        return {name: value for name, value in found.items() if value == value}  # without NaN


class Filters:
    """The filters, fitted on real images alone.

    Args:
        training: real images, labelled.
        fresh: real images that the model never saw.
        classifier: how the classifiers are trained that tell whether an image shows its class.
        strictness: see `AugmentSettings`.
        seed: of divisions and classifiers.
        device: where the classifiers are.
        reporter: told about progress.
        store: keeps trained classifiers.

    Raises:
        UserError: too few held-out images.
    """

    def __init__(
        self,
        training: ImageSet,
        fresh: ImageSet,
        classifier: ClassifierSettings,
        strictness: float,
        seed: int,
        device: torch.device | str,
        reporter: Reporter,
        store: Store,
    ) -> None:
        assert training.labels is not None  # noqa: S101 - for the type checker; callers have checked
        self._labels = training.labels
        parts = AuditParts.of(fresh, derive_seed(seed, "filters"), MOST_FRESH)
        self.training, self.strictness, self.seed = training, strictness, seed
        self.classes = CrossFitted(training, classifier, seed=seed, device=device, reporter=reporter, store=store)
        self.copies = CopyTest(training, parts, reporter)
        self._judges = (PixelJudge(parts.fitting), RandomConvJudge(training.shape[0]))
        self._manifolds: dict[int, Outlyingness | None] = {}

    def judge(self, images: ImageSet, label: int, kept: torch.Tensor) -> Judged:
        """Judges images, each by itself but for repetitions, which are decided in their order.

        Args:
            images: n drawn images of the training images' shape.
            label: the class that they were drawn for.
            kept: images of the class that were kept before [m, C, H, W], uint8.
        """
        shown = self.classes.ask(images, label)
        outlying, quality = self._quality(images, label)
        table = np.full((len(images), len(COLUMNS)), np.nan)
        verdict = np.full(len(images), KEPT)
        verdict[quality < self.strictness] = FILTERS.index("quality")
        verdict[~shown.called | (shown.share < self.strictness)] = FILTERS.index("class")
        table[:, 1], table[:, 2], table[:, 3], table[:, 4] = shown.probability, shown.share, outlying, quality
        rows = np.flatnonzero(verdict == KEPT)
        if len(rows):
            floats = images.floats(torch.from_numpy(rows))
            compared = self.copies.compare(floats)
            table[rows, 5], table[rows, 6] = compared.scores, compared.nearest.distance.double().numpy()
            table[rows, 7] = compared.nearest.index.numpy()
            copied = self.copies.threshold.flags(compared.scores)
            verdict[rows[copied]] = FILTERS.index("copy")
            repeated = self._repeated(floats[~copied], compared.apart[~copied], kept)
            verdict[rows[~copied][repeated]] = FILTERS.index("repeat")
        table[:, 0] = verdict
        return Judged(torch.from_numpy(table))

    def _quality(self, images: ImageSet, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Outlyingness [n] among the real images of the class, and the share of these that are as far out."""
        manifold = self._manifold(label)
        if manifold is None:
            return np.full(len(images), np.nan), np.ones(len(images))
        found = manifold.of([judge.features(images) for judge in self._judges])
        return found, share_as_low(-found, -manifold.real)

    def _manifold(self, label: int) -> Outlyingness | None:
        """Of a class's real images; None where they are too few."""
        if label not in self._manifolds:
            members = (self._labels == label).nonzero().flatten()
            order = torch.randperm(len(members), generator=generator(self.seed, "quality", label))[:MOST_REAL]
            real = self.training.subset(members[order])
            enough = len(real) >= NEIGHBOURS + 2
            features = [judge.features(real) for judge in self._judges] if enough else []
            self._manifolds[label] = Outlyingness(features) if enough else None
        return self._manifolds[label]

    def judges_quality(self, label: int) -> bool:
        """Whether a class has enough real images for it."""
        return self._manifold(label) is not None

    def _repeated(self, floats: torch.Tensor, apart: np.ndarray, kept: torch.Tensor) -> np.ndarray:
        """Which images [n] are near copies of ones that were kept before, or of kept ones among themselves."""
        found = np.zeros(len(floats), dtype=bool)
        if len(kept) and len(floats):
            found |= self.copies.flags(CopySearch(to_floats(kept)).nearest(floats).distance, apart)
        before: list[int] = []
        for row in np.flatnonzero(~found):
            if before:
                distance = CopySearch(floats[before]).nearest(floats[row : row + 1]).distance
                found[row] = bool(self.copies.flags(distance, apart[row : row + 1])[0])
            if not found[row]:
                before.append(int(row))
        return found
