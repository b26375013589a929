"""Recall by kind of copy and by rate, false alarms on fresh images, and the distribution of the p-value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks.audit.planting import KINDS, copies
from sadm.core.provenance import provenance
from sadm.core.seeds import generator
from sadm.data import ImageSet, load_split, to_uint8
from sadm.evaluation.memorisation import Audit, audit

RATES = (0.005, 0.01, 0.02, 0.05)
_SEED = 100  # what is reported comes from seeds that no search used
_LEVELS = (0.01, 0.05, 0.1)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured on one set.

    Attributes:
        title: of the set.
        source: what `load_split` opens.
        held_out: share that is held out.
        limit: training images; None = all.
        held: held-out images that the audit gets; as many others or fewer are fresh images among the generated ones.
        copies: planted of each kind, to measure recall.
        simulated: audits of real images alone, for the p-value.
        of_each: training, held-out and "generated" images in one of these.
    """

    title: str
    source: str
    held_out: float
    limit: int | None
    held: int
    copies: int
    simulated: int
    of_each: tuple[int, int, int]


QUICK = (Setting("digits", "digits", 0.4, None, 360, 100, 20, (400, 240, 200)),)
FULL = (
    Setting("digits", "digits", 0.4, None, 360, 400, 200, (500, 300, 250)),
    Setting("Fashion-MNIST", "fashion-mnist", 0.2, 3000, 1500, 400, 100, (600, 300, 300)),
    Setting("surfaces, 32x32", "surfaces:count=2400,size=32", 0.4, None, 480, 400, 100, (600, 300, 300)),
)


def measure(settings: tuple[Setting, ...], say: Callable[[str], None]) -> dict[str, Any]:
    """All settings, with provenance."""
    found = {}
    for setting in settings:
        say(setting.title)
        found[setting.title] = measure_one(setting, say)
    return {"sets": found, "rates": list(RATES), "provenance": provenance()}


def measure_one(setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
    """One set: ``kinds``, ``rates``, ``fresh`` and ``p_value``."""
    split = load_split(setting.source, held_out=setting.held_out, limit=setting.limit)
    order = torch.randperm(len(split.held_out), generator=generator(_SEED, "audit benchmark"))
    held = split.held_out.subset(order[: setting.held])
    fresh = split.held_out.subset(order[setting.held : setting.held + 1000])
    found: dict[str, Any] = {
        "training_images": len(split.train),
        "held_out": len(held),
        "fresh_images": len(fresh),
        "planted": setting.copies,
        "kinds": {},
        "rates": {},
    }
    clean = audit(fresh, split.train, held)
    found["threshold"] = clean.threshold.score
    found["promised_false_alarms"] = clean.threshold.false_alarms
    found["fresh"] = {**_said(clean), "false_alarm_rate": float(clean.copies.mean())}
    for kind in KINDS:
        planted = _planted(split.train, setting.copies, kind)
        result = audit(planted, split.train, held)
        found["kinds"][kind] = {
            "recall": float(result.copies.mean()),
            "right_original": float(np.mean(_originals(result, planted))),
        }
        say(f"  {kind}: recall {found['kinds'][kind]['recall']:.3f}")
    for rate in RATES:
        found["rates"][str(rate)] = _at_rate(split.train, held, fresh, rate)
    found["p_value"] = _calibration(split.train, setting, say)
    return found


def _at_rate(train: ImageSet, held: ImageSet, fresh: ImageSet, rate: float) -> dict[str, Any]:
    """An audit of fresh images, of which a share is replaced by copies of all kinds in turn."""
    count = max(1, round(rate * len(fresh)))
    names = list(KINDS)
    planted = torch.cat([_planted(train, count, names[i % len(names)]).images[i : i + 1] for i in range(count)])
    images = torch.cat([planted, fresh.images[count:]])
    labels = (
        None
        if fresh.labels is None or train.labels is None
        else torch.cat([_labels(train, count), fresh.labels[count:]])
    )
    result = audit(dataclasses.replace(_bare(fresh), images=images, labels=labels), train, held)
    return {
        "planted": count,
        "found": int(result.copies[:count].sum()),
        "false_alarms": int(result.copies[count:].sum()),
        **_said(result),
    }


def _calibration(images: ImageSet, setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
    """P-values where generated images are fresh real ones: uniform if the test is calibrated."""
    training, held, drawn = setting.of_each
    values = []
    for seed in range(_SEED, _SEED + setting.simulated):
        order = torch.randperm(len(images), generator=generator(seed, "audit simulation"))
        parts = order[: training + held + drawn].split([training, held, drawn])
        values.append(
            audit(images.subset(parts[2]), images.subset(parts[0]), images.subset(parts[1]), seed).closer.p_value
        )
    test = stats.kstest(values, "uniform")
    say(f"  p-values: Kolmogorov-Smirnov distance {test.statistic:.3f} (p {test.pvalue:.3f}) over {len(values)}")
    return {
        "audits": len(values),
        "images": {"training": training, "held_out": held, "generated": drawn},
        "kolmogorov_smirnov": {"statistic": float(test.statistic), "p_value": float(test.pvalue)},
        "share_below": {str(level): float(np.mean(np.array(values) < level)) for level in _LEVELS},
    }


def _chosen(train: ImageSet, count: int) -> torch.Tensor:
    return torch.randperm(len(train), generator=generator(_SEED, "originals"))[:count]


def _planted(train: ImageSet, count: int, kind: str) -> ImageSet:
    chosen = _bare(train.subset(_chosen(train, count)))
    return dataclasses.replace(chosen, images=to_uint8(copies(chosen.floats(), kind, _SEED)))


def _labels(train: ImageSet, count: int) -> torch.Tensor:
    assert train.labels is not None  # noqa: S101 - for the type checker; the caller has looked
    return train.labels[_chosen(train, count)]


def _originals(result: Audit, planted: ImageSet) -> list[bool]:
    names = result.train.names
    return [names[i] == own for i, own in zip(result.nearest.index.tolist(), planted.names, strict=True)]


def _bare(images: ImageSet) -> ImageSet:
    """Pixels, labels and names alone, as of generated images."""
    return ImageSet(images.images, images.labels, images.class_names, images.names, images.source)


def _said(result: Audit) -> dict[str, Any]:
    facts = result.as_dict()
    return {key: facts[key] for key in ("verdict", "copies", "copies_p_value", "p_value")}
