"""False alarms on real images without drift, and how often planted drift of each kind and size is seen, by number of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from sadm.core.files import read_json, write_json
from sadm.core.provenance import provenance
from sadm.core.seeds import generator
from sadm.data import ImageSet, load_split
from sadm.evaluation.drift import Drift, Monitor
from sadm.evaluation.drift.changes import changed

_SEED = 100  # what is reported comes from seeds that no search used
_LEVELS = (0.01, 0.05)
NOTHING, NEW_CLASS, TURNED, COMMON = "nothing", "new class", "turned by 90°", "a class is commoner"
KINDS: tuple[tuple[str, float], ...] = (
    ("brighter", 0.02),
    ("brighter", 0.1),
    ("flatter", 0.1),
    ("flatter", 0.4),
    ("blurry", 0.5),
    ("blurry", 1.0),
    ("moved", 0.06),
    ("moved", 0.12),
    ("overturned", 0.1),
    ("overturned", 0.5),
    (TURNED, 1.0),
    (NEW_CLASS, 0.1),
    (NEW_CLASS, 0.3),
    (COMMON, 0.2),
)
"""Kinds of drift and sizes: those of `sadm.evaluation.drift.changes`; a camera turned; a share of new images of a class that
training and held-out images lack; a share of new images of one class on top of its own."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured on one set.

    Attributes:
        title: of the set.
        source: what `load_split` opens; its training images are divided anew for each seed.
        training, held_out: images that the monitor gets.
        new: numbers of new images.
        without_drift, with_drift: divisions.
    """

    title: str
    source: str
    training: int = 400
    held_out: int = 210
    new: tuple[int, ...] = (30, 120)
    without_drift: int = 40
    with_drift: int = 6


FULL = (
    Setting("digits", "digits"),
    Setting("Fashion-MNIST", "fashion-mnist"),
    Setting("surfaces, 32x32", "surfaces:count=1500,size=32"),
)


def measure(settings: tuple[Setting, ...], folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """All settings, with provenance.

    Args:
        settings: of the sets.
        folder: where finished parts are kept, so that an interruption loses little.
        say: told about progress.
    """
    found = {}
    for setting in settings:
        images = _images(setting)
        found[setting.title] = {
            "training_images": setting.training,
            "held_out": setting.held_out,
            "divisions": {"without_drift": setting.without_drift, "with_drift": setting.with_drift},
            "new": {str(count): _at(setting, images, count, folder, say) for count in setting.new},
        }
    return {"sets": found, "provenance": provenance()}


def _images(setting: Setting) -> ImageSet:
    images = load_split(setting.source, held_out=0.2).train
    return images.subset(torch.randperm(len(images), generator=generator(_SEED, "monitor benchmark"))[:4000])


def _at(setting: Setting, images: ImageSet, count: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """One number of new images: ``false_alarms`` and ``detected``."""
    found: dict[str, Any] = {"detected": {}}
    for kind, size in ((NOTHING, 0.0), *KINDS):
        path = folder / f"{setting.source.split(':')[0]}-{count}-{kind.replace(' ', '_')}-{size:g}.json"
        about = {**dataclasses.asdict(setting), "new": count, "kind": kind, "size": size, "seed": _SEED}
        part = read_json(path) if path.exists() else {}
        if part.get("about") != about:
            part = {"about": about, "found": _part(setting, images, count, kind, size)}
            write_json(path, part)
        if kind == NOTHING:
            found["false_alarms"] = part["found"]
        else:
            found["detected"][f"{kind} {size:g}"] = part["found"]["drift"]
        say(f"{setting.title}, {count} new images, {kind} {size:g}: {part['found']['drift']:.2f}")
    return found


def _part(setting: Setting, images: ImageSet, count: int, kind: str, size: float) -> dict[str, Any]:
    repeats = setting.without_drift if kind == NOTHING else setting.with_drift
    looks = [_look(setting, images, count, kind, size, _SEED + number) for number in range(repeats)]
    share = float(np.mean([look.found for look in looks]))
    if kind != NOTHING:
        return {"drift": share}
    outside = [float(look.support.outside.mean()) for look in looks]
    values = {name: [look.tests[name].p_value for look in looks] for name in looks[0].tests}
    return {
        "drift": share,
        "outside": float(np.mean(outside)),
        "promised_outside": looks[0].support.expected,
        "tests": {
            name: {
                "share_below": {str(level): float(np.mean(np.array(own) < level)) for level in _LEVELS},
                "too_small": float(stats.kstest(own, "uniform", alternative="greater").pvalue),
            }
            for name, own in values.items()
        },
    }


def _look(setting: Setting, images: ImageSet, count: int, kind: str, size: float, seed: int) -> Drift:
    order = torch.randperm(len(images), generator=generator(seed, "monitor division"))
    order, missing = _without_a_class(images, order, seed) if kind == NEW_CLASS else (order, order[:0])
    parts = order[: setting.training + setting.held_out + count].split([setting.training, setting.held_out, count])
    monitor = Monitor(images.subset(parts[0]), images.subset(parts[1]), seed)
    new = parts[2]
    if kind == NEW_CLASS:
        new = torch.cat([missing[: max(1, round(size * count))], new])[:count]
    if kind == COMMON:
        rest = order[setting.training + setting.held_out + count :]
        new = torch.cat([_of_one_class(images, rest, seed)[: round(size * count)], new])[:count]
    # As most folders come: without labels. Classes are then what the classifying judge says.
    shown = dataclasses.replace(images.subset(new), labels=None, class_names=())
    if kind == TURNED:
        shown = dataclasses.replace(shown, images=shown.images.rot90(1, (2, 3)).contiguous(), masks=None)
    elif kind not in (NOTHING, NEW_CLASS, COMMON):
        shown = changed(shown, kind, size)
    return monitor.measure(shown, power=False)


def _without_a_class(images: ImageSet, order: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions without those of one class, and these; never a class of a quarter of the images or more."""
    assert images.labels is not None  # noqa: S101 - all sets have classes
    counts = images.labels.bincount(minlength=images.num_classes)
    rare = (counts * 4 < len(images)).nonzero().flatten()
    chosen = images.labels[order] == rare[seed % len(rare)]
    return order[~chosen], order[chosen]


def _of_one_class(images: ImageSet, order: torch.Tensor, seed: int) -> torch.Tensor:
    return _without_a_class(images, order, seed)[1]
