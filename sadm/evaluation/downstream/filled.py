"""Do generated images that fill up rare classes help a classifier, and more than copying would?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sadm.core.errors import UserError
from sadm.core.intervals import mean_interval
from sadm.core.store import Store
from sadm.data import ImageSet
from sadm.evaluation.downstream.crossed import crossed_interval
from sadm.evaluation.downstream.equal_precision import found_of_classes, rows_of_classes
from sadm.evaluation.downstream.measure import Downstream
from sadm.evaluation.downstream.mixing import REAL, together
from sadm.evaluation.downstream.report import Seeds, class_gains, counts_of, crossed_gain, scores_of

GENERATED = "generated"
HELPS, HURTS, NOT_SHOWN = "helps", "hurts", "not_shown"


def measure_filled(
    bench: Downstream, generated: ImageSet, controls: Mapping[str, ImageSet], folder: Path | None = None
) -> dict[str, Any]:
    """Compares classifiers on real images, on these with generated ones, and on these with what costs nothing.

    All make the same number of steps with the same seeds.

    Args:
        bench: real images; seeds and classifier of its settings count, its fractions and shares do not.
        generated: labelled images of the classes that were filled.
        controls: other images of the same number in each class, by name.
        folder: where answers are kept until the measurement has ended; None = nowhere.

    Returns:
        For JSON, by arm (``real``, ``generated`` and the controls): scores, with recall and precision of each class; ``gains``
        over real images; ``beyond``, what generated images gain over each control; and the ``outcome`` (see `outcome_of`).

    Raises:
        UserError: no generated images, or a class without held-out images.
    """
    arms = {GENERATED: generated, **controls}
    labels = _filled(bench, arms)
    names = bench.training.class_names
    prints = {name: images.fingerprint() for name, images in arms.items()}
    store = Store(folder, {**bench.about, "arms": prints, "seeds": bench.settings.seeds})
    sets = {
        REAL: lambda number: bench.training,
        **{name: _with(bench.training, images) for name, images in arms.items()},
    }
    found = bench.trained_on(sets, store)
    real = found[REAL]
    gains = {name: _gain(found[name], real, real, labels, names) for name in arms}
    facts = {
        "classes": [names[label] for label in labels],
        "added": {name: count for name, count in zip(names, counts_of(generated), strict=True) if count},
        "training_images": len(bench.training),
        "held_out_images": len(bench.test),
        "held_out_of_class": {names[label]: counts_of(bench.test)[label] for label in labels},
        "seeds": bench.settings.seeds,
        "scores": {name: _scores(found[name], real, labels, names) for name in found},
        "gains": gains,
        "beyond": {name: _gain(found[GENERATED], found[name], real, labels, names) for name in controls},
        "outcome": outcome_of(gains[GENERATED]),
        "classifier": bench.classifier.as_dict(),
    }
    store.clear()
    return facts


def outcome_of(gains: Mapping[str, Any]) -> str:
    """What a gain over other classifiers says, fixed before anything is measured.

    `HURTS` where the 95 % interval of the gain in accuracy, or in recall of the filled classes at equal precision, lies below 0;
    `HELPS` where that of recall at equal precision lies above 0; else `NOT_SHOWN`.
    """
    accuracy, recall = gains["accuracy"], gains["equal_precision"]
    if accuracy["low"] is None or recall["low"] is None:  # one seed
        return NOT_SHOWN
    if accuracy["high"] < 0 or recall["high"] < 0:
        return HURTS
    return HELPS if recall["low"] > 0 else NOT_SHOWN


def _filled(bench: Downstream, arms: Mapping[str, ImageSet]) -> list[int]:
    """The classes that were filled; refuses what can't be compared."""
    counts = {name: counts_of(images) for name, images in arms.items()}
    for name, images in arms.items():
        if images.shape != bench.training.shape or images.class_names != bench.training.class_names:
            raise UserError(f"'{name}' images and real ones differ in shape or classes.")
        if counts[name] != counts[GENERATED]:
            raise UserError(f"there are other numbers of '{name}' images than of generated ones in a class.")
    labels = [label for label, count in enumerate(counts[GENERATED]) if count]
    if not labels:
        raise UserError("there are no generated images to measure.")
    missing = [bench.training.class_names[label] for label in labels if not counts_of(bench.test)[label]]
    if missing:
        raise UserError(
            f"no held-out image shows {', '.join(missing)}, so that what generated ones are worth can't be measured. Hold out "
            "more (--data.held-out in training), or fill other classes (--classes)."
        )
    return labels


def _with(real: ImageSet, others: ImageSet) -> Any:
    return lambda number: together(real, others)


def _scores(seeds: Seeds, real: Seeds, labels: list[int], names: tuple[str, ...]) -> dict[str, Any]:
    found, classes = found_of_classes(seeds, real, labels)
    by_class = {names[label]: mean_interval(found[:, classes == label].mean(axis=1).tolist()) for label in labels}
    whole = mean_interval(np.mean([interval.values for interval in by_class.values()], axis=0).tolist())
    return {
        **scores_of(seeds, names),
        "equal_precision": whole.as_dict(),
        "equal_precision_by_class": {name: interval.as_dict() for name, interval in by_class.items()},
    }


def _gain(seeds: Seeds, others: Seeds, real: Seeds, labels: list[int], names: tuple[str, ...]) -> dict[str, Any]:
    """By how much classifiers are better than others, at the precision of those on real images."""
    ours, classes = found_of_classes(seeds, real, labels)
    difference = ours - found_of_classes(others, real, labels)[0]
    units = real[0].units_at(rows_of_classes(real[0], labels))
    by_class = {}
    for label in labels:
        rows = classes == label
        of_class = None if units is None else units[rows]
        by_class[names[label]] = crossed_interval(difference[:, rows], binary=True, units=of_class).as_dict()
    return {
        "accuracy": crossed_gain(seeds, others, "accuracy").as_dict(),
        **class_gains(seeds, others, names),
        "equal_precision": crossed_interval(difference, classes, binary=True, units=units).as_dict(),
        "equal_precision_by_class": by_class,
    }
