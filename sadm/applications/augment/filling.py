"""Draws images of a class until enough have passed the filters, or too many have been drawn."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from sadm.applications.augment.filters import FILTERS, KEPT, Filters, Judged
from sadm.applications.augment.settings import DRAWS
from sadm.core.errors import InterruptedRun
from sadm.core.progress import Reporter
from sadm.core.seeds import derive_seed
from sadm.core.stopping import StopRequest
from sadm.core.store import Store
from sadm.data import ImageSet, to_uint8
from sadm.diffusion import image_seeds
from sadm.training.model_folder import Model

AT_ONCE = 64  # images drawn and judged together, always as many: sums may depend on how many there are


@dataclasses.dataclass(frozen=True)
class Kept:
    """An image that passed the filters.

    Attributes:
        pixels: [C, H, W], uint8.
        index: its number among the images that were drawn of its class, from 0.
        seed: that its randomness comes from.
        sequence: the seed of the sequence that it is in: ``Model.sample(1, sequence, labels, first=index)`` draws it.
        values: what the filters say; see `Judged.values`.
    """

    pixels: torch.Tensor
    index: int
    seed: int
    sequence: int
    values: dict[str, float]


@dataclasses.dataclass(frozen=True)
class FilledClass:
    """What was drawn of a class.

    Attributes:
        label: index of the class.
        missing: images that were wanted.
        drawn: images that were looked at.
        kept: those that passed.
        refused: images by the filter that refused them.
    """

    label: int
    missing: int
    drawn: int
    kept: tuple[Kept, ...]
    refused: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "missing": self.missing,
            "drawn": self.drawn,
            "accepted": len(self.kept),
            "refused": dict(self.refused),
            "short": self.missing - len(self.kept),
        }


@dataclasses.dataclass(frozen=True)
class Filling:
    """Draws and filters images of one model.

    Attributes:
        model: draws them.
        filters: keep or refuse them.
        seed: of all images.
        most: images drawn of a class at most; None = `DRAWS` for each that is missing.
        store: of what was drawn and judged.
    """

    model: Model
    filters: Filters
    seed: int
    most: int | None
    store: Store

    def fill(self, label: int, missing: int, stop: StopRequest, reporter: Reporter) -> FilledClass:
        """Draws images of a class, in their order, until `missing` have passed.

        Raises:
            UserError: the model draws NaN.
            InterruptedRun: stopped; what was drawn is kept.
        """
        name = self.model.spec.class_names[label]
        sequence = derive_seed(self.seed, "augment", name)
        bound = DRAWS * missing if self.most is None else self.most
        kept: list[Kept] = []
        refused = dict.fromkeys(FILTERS, 0)
        drawn = 0
        while len(kept) < missing and drawn < bound:
            if stop.requested:
                raise InterruptedRun(
                    f"Stopped after {drawn} images of '{name}', which are kept in {self.store.folder}. To go on, run the same "
                    "command."
                )
            first = drawn
            pixels, judged = self._part(label, sequence, first, kept)
            seeds = image_seeds(sequence, first + AT_ONCE)[first:]
            for row in range(min(AT_ONCE, bound - first)):
                drawn += 1
                verdict = judged.verdict(row)
                if verdict != KEPT:
                    refused[FILTERS[verdict]] += 1
                    continue
                kept.append(Kept(pixels[row], first + row, seeds[row], sequence, judged.values(row)))
                if len(kept) == missing:
                    break
            reporter.update(f"images of '{name}'", len(kept), missing, f"{drawn} drawn")
        return FilledClass(label, missing, drawn, tuple(kept), refused)

    def _part(self, label: int, sequence: int, first: int, kept: list[Kept]) -> tuple[torch.Tensor, Judged]:
        """The next images [AT_ONCE, C, H, W], uint8, and what the filters say; read where they were drawn before."""
        labels = torch.full((AT_ONCE,), label)

        def draw() -> torch.Tensor:
            return to_uint8(self.model.sample(AT_ONCE, sequence, labels, first=first))

        pixels = self.store.get(f"{label}-{first:08d}-images", draw)

        def judge() -> torch.Tensor:
            names = tuple(str(first + row) for row in range(AT_ONCE))
            images = ImageSet(pixels, labels, self.model.spec.class_names, names, "generated images")
            before = torch.stack([image.pixels for image in kept]) if kept else pixels[:0]
            return self.filters.judge(images, label, before).table

        return pixels, Judged(self.store.get(f"{label}-{first:08d}-judged", judge))
