"""`monitor_run`: from a run folder and a folder of new images to advice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from sadm.core.errors import UserError
from sadm.core.files import locked, make_folder
from sadm.core.progress import Reporter, Silent
from sadm.core.provenance import provenance
from sadm.data import ImageSet, Split
from sadm.data.preparation.listing import Place
from sadm.evaluation.drift import Drift, Monitor
from sadm.evaluation.memorisation import audit
from sadm.experiments.auditing.drawing import drawn_images
from sadm.experiments.monitoring.advice import commands, decide
from sadm.experiments.monitoring.fitness import Fitness, fitness
from sadm.experiments.monitoring.history import date_of, remember
from sadm.experiments.monitoring.opening import NewImages, file_sizes, new_images
from sadm.experiments.monitoring.together import write_together
from sadm.training.model_folder import model_hash
from sadm.training.trained import open_run

FOLDER, DRAWN = "monitor", "drawn"


@dataclasses.dataclass(frozen=True)
class Monitored:
    """What was found about new images.

    Attributes:
        new: the images that were compared.
        gallery: the training images among which the nearest was looked for.
        drift: how they differ.
        facts: all of it for JSON, with advice, history and provenance.
    """

    new: ImageSet
    gallery: ImageSet
    drift: Drift
    facts: dict[str, Any]


def monitor_run(
    run: str | Path,
    source: str,
    out: str | Path | None = None,
    count: int = 1000,
    seed: int = 0,
    date: str | None = None,
    together: bool = False,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Monitored:
    """Compares new images with those that a run's model was trained on, and its own images with both.

    Args:
        run: a run folder.
        source: of new images: a folder, or anything that ``--data`` takes; they are brought to shape as training images were.
        out: folder of the history and of the images that are drawn; None = ``monitor`` in the run folder.
        count: images to draw.
        seed: of these, and of all draws.
        date: of the new images, YYYY-MM-DD; None = today.
        together: write old and new images as one folder, with a configuration to train on it; see `write_together`.
        device: see `load_model`.
        reporter: where progress is shown.

    Raises:
        UserError: there is no run, its images have changed since, or there are no new images.
        InterruptedRun: stopped while drawing or writing.
    """
    if count < 2:
        raise UserError(f"--count must be at least 2, got {count}.")
    shown, day = reporter or Silent(), date_of(date)
    folder = Path(out) if out is not None else Path(run) / FOLDER
    _refuse_inside(folder, source)
    config, model, split = open_run(run, device, shown)
    found = new_images(source, config, split, shown)
    with locked(make_folder(folder), "monitoring"):
        generated = drawn_images(Path(run), model, folder / DRAWN, count, seed, shown)
        shown.say(f"Comparing {len(found.images)} new images with {len(split.train)} training images.")
        monitor = Monitor(split.train, split.held_out, seed, shown)
        drift = monitor.measure(found.images, file_sizes(config.data.source, source))
        model_fitness = fitness(generated, found.images, monitor, seed)
        copied = _copied(generated, split, found.images, seed, shown)
        facts = _facts(found, drift, model_fitness, copied, str(run), str(folder))
        facts |= {"date": day, "images_drawn": count, "seed": seed, "provenance": provenance()}
        if together:
            written = write_together(config, split, found.images, folder, shown)
            facts["together"] = [str(path) for path in written]
        weights = model_hash(run)
        facts["history"] = remember(folder, _entry(facts, found.images.fingerprint(), weights), date is not None)
    return Monitored(found.images, monitor.gallery, drift, facts)


def _copied(generated: ImageSet, split: Split, new: ImageSet, seed: int, shown: Reporter) -> dict[str, dict[str, Any]]:
    """Near copies among the model's images: of training images, and of new ones, which it has never seen."""
    bare = [_plain(images) for images in (generated, new, split.held_out)]
    shown.say("Looking for copies.")
    audits = {
        "training": audit(generated, split.train, split.held_out, seed, shown),
        "new": audit(bare[0], bare[1], bare[2], seed, shown),
    }
    keys = ("verdict", "copies", "copy_rate", "copied_training_images", "copies_p_value", "p_value")
    found = {}
    for name, one in audits.items():
        facts = one.as_dict()
        found[name] = {key.replace("copied_training_images", "copied"): facts[key] for key in keys}
    return found


def _plain(images: ImageSet) -> ImageSet:
    """Pixels and names alone."""
    return ImageSet(images.images, None, (), images.names, images.source)


def _facts(
    found: NewImages, drift: Drift, model: Fitness, copied: dict[str, dict[str, Any]], run: str, out: str
) -> dict[str, Any]:
    fed_back = copied["new"]["copied"] if copied["new"]["verdict"] == "copies" else 0
    key, reasons = decide(drift, model, fed_back)
    sorted_first = drift.labels_from == "predicted"
    return {
        "advice": key,
        "reasons": list(reasons),
        "commands": list(commands(key, reasons, run, found.images, out, sorted_first)),
        "sort_first": sorted_first,
        "run": run,
        "new": found.images.source,
        "known": {"training": found.known_training, "held_out": found.known_held_out},
        "unreadable": found.unreadable,
        "drift": drift.as_dict(),
        "fitness": model.as_dict(),
        "copies": copied,
    }


def _entry(facts: dict[str, Any], fingerprint: str, weights: str) -> dict[str, Any]:
    """What the history keeps."""
    drift, judges = facts["drift"], facts["fitness"]["judges"].values()
    return {
        "date": facts["date"],
        "source": facts["new"],
        "fingerprint": fingerprint,
        "model": weights,
        "images": drift["images"],
        "advice": facts["advice"],
        "p_value": min(test["adjusted"] for test in drift["tests"].values()),
        "outside": drift["outside"]["share"],
        "expected_outside": drift["outside"]["expected"],
        "times": min(row["times"] for row in judges if row["decides"]),
    }


def _refuse_inside(folder: Path, source: str) -> None:
    place = Place.of(source).path
    if place is not None and place.is_dir() and place in (folder.resolve(), *folder.resolve().parents):
        raise UserError(
            f"--out {folder} lies inside the new images {place}, where it would be taken for images the next time. Choose a "
            "folder outside of them."
        )
