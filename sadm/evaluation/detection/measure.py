"""Detectors with and without generated defects, on real images that none of them has seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sadm.core.errors import UserError
from sadm.core.intervals import CONFIDENCE
from sadm.core.progress import Reporter, Silent
from sadm.core.store import Store
from sadm.data import ImageSet, image_keys
from sadm.evaluation.detection.detector import DetectorSettings, defect_maps
from sadm.evaluation.detection.scores import Found
from sadm.evaluation.units import unit_numbers

REAL = "real"
METRICS = {"auroc": Found.roc, "pixel_ap": Found.precision}
_DRAWS = 2000  # of the bootstrap


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Images with defects.

    Attributes:
        images: [N, C, H, W], uint8.
        masks: what is marked in them [N, 1, H, W], uint8.
    """

    images: torch.Tensor
    masks: torch.Tensor

    def __post_init__(self) -> None:
        expected = (len(self.images), 1, *self.images.shape[2:])
        if self.images.dtype != torch.uint8 or self.masks.dtype != torch.uint8 or tuple(self.masks.shape) != expected:
            raise UserError(f"masks are {self.masks.dtype} {list(self.masks.shape)}; expected uint8 {list(expected)}.")
        if not len(self.images):
            raise UserError("there are no images with defects; expected at least one.")

    @staticmethod
    def of(images: ImageSet) -> tuple[torch.Tensor, Examples]:
        """The good images [G, C, H, W] of a set with masks, those in which nothing is marked, and the others.

        Raises:
            UserError: the set has no masks, or not both kinds of images.
        """
        if images.masks is None:
            raise UserError(f"{images.source} has no masks; expected one for each image with a defect.")
        marked = (images.masks >= 128).flatten(1).any(1)
        if bool(marked.all()) or not bool(marked.any()):
            raise UserError(f"{images.source} needs images with something marked and images without.")
        return images.images[~marked], Examples(images.images[marked], images.masks[marked])


def measure_detection(
    training: ImageSet,
    test: ImageSet,
    added: Mapping[str, Examples | Sequence[Examples]],
    seeds: int = 5,
    settings: DetectorSettings | None = None,
    device: torch.device | str = "cpu",
    reporter: Reporter | None = None,
    folder: Path | None = None,
    against: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Trains detectors on real images, alone and with each kind of added defects, and compares them on other real images.

    All make the same number of steps. Where defects are added, every second defect that a detector sees is one of them.

    Args:
        training: real images with masks, with defects and without.
        test: other real images with masks.
        added: by name; where there are several for a name, one for each seed, as of generators that were trained in pairs.
        seeds: detectors of each kind.
        settings: how they are trained.
        device: where.
        reporter: told about progress.
        folder: where maps are kept, so that the same call goes on after an interruption; None = nowhere.
        against: of an added arm, with which other one it is compared besides.

    Returns:
        For JSON: by arm and metric the ``mean`` over seeds and its ``values``; by added arm and metric, under ``gains``, the mean
        difference from real images alone with its interval (``low``, ``high``: bootstrap over seeds and test images or their
        groups, good and defective ones apart, 95 %), and under ``against`` that from the other arm.

    Raises:
        UserError: a set without masks, fewer than one seed, another number of examples than of seeds, or images of other shapes.
    """
    if seeds < 1:
        raise UserError(f"at least one seed is needed, got {seeds}.")
    how, shown = settings or DetectorSettings(), reporter or Silent()
    good, real = Examples.of(training)
    Examples.of(test)
    by_seed = {name: _by_seed(name, examples, seeds, training.shape) for name, examples in added.items()}
    arms = {REAL: [[real]] * seeds, **{name: [[real, one] for one in some] for name, some in by_seed.items()}}
    store = Store(folder, _about(training, test, added, how))
    found: dict[str, list[Found]] = {name: [] for name in arms}
    jobs = [(name, seed) for name in arms for seed in range(seeds)]
    for done, (name, seed) in enumerate(jobs):
        shown.update("detectors", done, len(jobs))

        def maps(name: str = name, seed: int = seed) -> torch.Tensor:
            pools = [(one.images, one.masks) for one in arms[name][seed]]
            return defect_maps(good, pools, test.images, how, seed, device)

        assert test.masks is not None  # noqa: S101 - checked
        found[name].append(Found(store.get(f"{name}-{seed}", maps), test.masks))
    shown.update("detectors", len(jobs), len(jobs))

    units = unit_numbers(test)
    facts = {
        "good": len(good),
        "defects": len(real.images),
        "added": {name: len(some[0].images) for name, some in by_seed.items()},
        "test": {"good": int((~found[REAL][0].marked).sum()), "defects": int(found[REAL][0].marked.sum())},
        "seeds": seeds,
        "detector": dataclasses.asdict(how),
        "arms": {name: {metric: _mean(some, metric) for metric in METRICS} for name, some in found.items()},
        "gains": _gains(found, {name: (name, REAL) for name in added}, units),
        "against": _gains(
            found, {f"{one} against {other}": (one, other) for one, other in (against or {}).items()}, units
        ),
    }
    store.clear()
    return facts


def _gains(
    found: Mapping[str, list[Found]], pairs: Mapping[str, tuple[str, str]], units: np.ndarray
) -> dict[str, dict[str, Any]]:
    """By a name and metric, the gain of one arm over another."""
    return {
        name: {metric: gain(found[ours], found[theirs], metric, units) for metric in METRICS}
        for name, (ours, theirs) in pairs.items()
    }


def _by_seed(
    name: str, examples: Examples | Sequence[Examples], seeds: int, shape: Sequence[int]
) -> Sequence[Examples]:
    some = [examples] * seeds if isinstance(examples, Examples) else examples
    if len(some) != seeds:
        raise UserError(f"'{name}' has {len(some)} sets of images for {seeds} seeds; expected one, or one for each.")
    for one in some:
        if name == REAL or one.images.shape[1:] != tuple(shape):
            raise UserError(f"'{name}' has images of shape {list(one.images.shape[1:])}; expected {list(shape)}.")
    return some


def gain(
    ours: list[Found], theirs: list[Found], metric: str, units: np.ndarray | None = None, draws: int = _DRAWS
) -> dict[str, Any]:
    """The mean difference over paired seeds, with an interval over seeds and test images.

    Seeds and images are drawn anew together (the pigeonhole bootstrap: Owen 2007, Annals of Applied Statistics 1(2), 386-411),
    which errs on the wide side. Images of one group are drawn together.

    Args:
        ours, theirs: one for each seed, of the same test images.
        metric: a name in `METRICS`.
        units: the number of each image's group [T] (see `unit_numbers`); None = all images are independent. What a group has
            among good and among defective images is taken as independent.
        draws: of the bootstrap.
    """
    score = METRICS[metric]
    values = [float((score(a) - score(b))[0]) for a, b in zip(ours, theirs, strict=True)]
    rng, marked = np.random.default_rng(0), ours[0].marked
    units = np.arange(len(marked)) if units is None else units
    counts = np.zeros((draws, len(marked)))
    for stratum in (marked, ~marked):
        names, unit_of = np.unique(units[stratum], return_inverse=True)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
        counts[:, stratum] = drawn[:, unit_of.reshape(-1)]
    by_seed = np.stack(
        [score(a, counts) - score(b, counts) for a, b in zip(ours, theirs, strict=True)], axis=1
    )  # [D, S]
    means = np.take_along_axis(by_seed, rng.integers(len(values), size=by_seed.shape), axis=1).mean(1)  # [D]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail]).tolist()
    return {"mean": float(np.mean(values)), "low": low, "high": high, "values": values}


def _mean(found: list[Found], metric: str) -> dict[str, Any]:
    values = [float(METRICS[metric](one)[0]) for one in found]
    return {"mean": float(np.mean(values)), "values": values}


def _about(
    training: ImageSet,
    test: ImageSet,
    added: Mapping[str, Examples | Sequence[Examples]],
    settings: DetectorSettings,
) -> dict[str, Any]:
    """What all maps depend on; the order of images decides which of them a draw takes."""

    def keys(*parts: torch.Tensor | None) -> list[list[int]]:
        return [image_keys(part).tolist() for part in parts if part is not None]

    each = {name: [some] if isinstance(some, Examples) else some for name, some in added.items()}
    hashes = {name: [keys(one.images, one.masks) for one in some] for name, some in each.items()}
    return {
        "training": [training.fingerprint(), keys(training.masks)],
        "test": [test.fingerprint(), keys(test.masks)],
        "added": hashes,
        "settings": dataclasses.asdict(settings),
    }
