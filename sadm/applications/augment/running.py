"""`augment`: from a run folder to a data set whose rare classes are filled up."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sadm.applications.augment.filling import AT_ONCE, FilledClass, Filling
from sadm.applications.augment.filters import Filters
from sadm.applications.augment.layout import PARTS, Writer, folders_for, has_class_folders, write_all, written_images
from sadm.applications.augment.measuring import measure_augmented
from sadm.applications.augment.opening import Opened, open_trained
from sadm.applications.augment.sentences import NOTHING, shortfall, worth_sentence
from sadm.applications.augment.settings import AugmentSettings, missing_images, target_count
from sadm.core.files import locked, read_object, write_json
from sadm.core.progress import Reporter, Silent
from sadm.core.provenance import provenance
from sadm.core.stopping import StopRequest
from sadm.core.store import Store
from sadm.evaluation.downstream import ClassifierSettings, steps_for
from sadm.evaluation.downstream.report import counts_of
from sadm.training.outputs import GeneratedImages, generated_images

FACTS, WORK = "augment.json", ".augment"
TOOL = "sadm augment"


def augment(
    run: str | Path,
    out: str | Path,
    settings: AugmentSettings | None = None,
    data: str | None = None,
    classifiers: int = 0,
    device: str = "auto",
    reporter: Reporter | None = None,
    policy: str | None = None,
) -> dict[str, Any]:
    """Fills unbalanced classes with images of a model that pass the filters; see docs/augment.md.

    A second call goes on where the first one stopped, and gives the same folder, bit for bit, as one that ran through.

    Args:
        run: a run folder.
        out: the folder for the images, ``records.jsonl`` and ``augment.json``.
        settings: which classes, how many images, how strict.
        data: where the images of the run are now; None = where they were.
        classifiers: of each kind, that measure what the images are worth; 0 = nothing is measured. It may be asked for later.
        device: see `load_model`.
        reporter: told about progress.
        policy: file of a usage policy; None = that in the model's folder, if there is one.

    Returns:
        What is in ``augment.json``: counts by class and filter, and what was measured.

    Raises:
        UserError: the run, its images, the settings and the folder do not fit each other.
        InterruptedRun: stopped by Ctrl-C or SIGTERM.
    """
    shown, asked, folder = reporter or Silent(), settings or AugmentSettings(), Path(out)
    opened = open_trained(run, data, device, shown, policy)
    names = opened.training.class_names
    missing = missing_images(counts_of(opened.training), names, asked, opened.source)
    as_read = has_class_folders(opened.source)
    about = {
        "training": opened.training.fingerprint(),
        "held_out": opened.held_out.fingerprint(),
        "settings": asked.as_dict(),
        "sampling": opened.model.sampling.model_dump(mode="json"),
        "class_folders": as_read,
    }
    with generated_images(folder, opened.model, TOOL, about) as outputs, locked(folder, "filling classes"):
        if not (folder / FACTS).exists():
            with StopRequest() as stop:
                facts = _fill(opened, asked, missing, as_read, outputs, stop, shown)
            outputs.tidy()
            write_json(folder / FACTS, facts)
        facts = read_object(folder / FACTS)
        if classifiers:
            facts = _with_measured(facts, opened, asked, folder, classifiers, shown)
            write_json(folder / FACTS, facts)
        shutil.rmtree(folder / WORK, ignore_errors=True)
    return facts


def classifier_for(opened: Opened, settings: AugmentSettings) -> ClassifierSettings:
    """How classifiers are trained, those of the filter and those that measure."""
    steps = settings.classifier_steps or steps_for(len(opened.training))
    return ClassifierSettings(steps, flip=opened.config.data.flip)


def _fill(
    opened: Opened,
    settings: AugmentSettings,
    missing: Mapping[int, int],
    as_read: bool,
    outputs: GeneratedImages,
    stop: StopRequest,
    reporter: Reporter,
) -> dict[str, Any]:
    """Draws, filters and writes; the facts for JSON."""
    work, training, model = outputs.folder / WORK, opened.training, opened.model
    classifier = classifier_for(opened, settings)
    about = {
        "model": model.hash,
        "training": training.fingerprint(),
        "fresh": opened.fresh.fingerprint(),
        "classifier": classifier.as_dict(),
        "settings": settings.as_dict(),
        "at_once": AT_ONCE,
    }
    kept = Store(work / "filters", about)
    filters = Filters(
        training, opened.fresh, classifier, settings.strictness, settings.seed, model.device, reporter, kept
    )
    filling = Filling(model, filters, settings.seed, settings.most, Store(work / "images", about))
    filled = [filling.fill(label, count, stop, reporter) for label, count in missing.items()]
    real = list(zip(PARTS, (training, opened.held_out), strict=True)) if settings.with_real else []
    total = sum(len(one.kept) for one in filled) + sum(len(images) for _, images in real)
    folders = folders_for(training.class_names, as_read)
    writer = Writer(outputs, training, folders, stop, reporter, total)
    write_all(writer, filled, real, with_table=bool(total) and (settings.with_real or not as_read))
    return _facts(opened, settings, filters, filled)


def _facts(opened: Opened, settings: AugmentSettings, filters: Filters, filled: list[FilledClass]) -> dict[str, Any]:
    names, counts = opened.training.class_names, counts_of(opened.training)
    classes = {
        names[one.label]: {
            "real": counts[one.label],
            "target": counts[one.label] + one.missing,
            **one.as_dict(),
            "judged_quality": filters.judges_quality(one.label),
        }
        for one in filled
    }
    short = {name: found for name, found in classes.items() if found["short"]}
    return {
        "model": opened.model.hash,
        "source": opened.source,
        "training_images": len(opened.training),
        "target": target_count(settings.target, max(counts)),
        "classes": classes,
        "accepted": sum(found["accepted"] for found in classes.values()),
        "short": [shortfall(name, found) for name, found in short.items()],
        "copies": {
            "score": filters.copies.threshold.score,
            "false_alarms": filters.copies.threshold.false_alarms,
            "fresh_images": len(filters.copies.fresh),
        },
        "settings": settings.as_dict(),
        "provenance": provenance(),
    }


def _with_measured(
    facts: dict[str, Any],
    opened: Opened,
    settings: AugmentSettings,
    folder: Path,
    classifiers: int,
    reporter: Reporter,
) -> dict[str, Any]:
    """The facts with ``measured`` and ``sentence``, about the images that are in the folder now."""
    generated = written_images(folder, opened.training)
    rest = {name: value for name, value in facts.items() if name not in ("measured", "sentence")}
    if not len(generated):
        return {**rest, "sentence": NOTHING}
    reporter.say(f"Measuring what {len(generated)} generated images are worth.")
    classifier, kept = classifier_for(opened, settings), folder / WORK / "measured"
    measured = measure_augmented(opened, generated, classifier, classifiers, kept, reporter)
    return {**rest, "measured": measured, "sentence": worth_sentence(measured)}
