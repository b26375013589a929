"""What the section of docs/results.md and the summary say of filled classes."""

from __future__ import annotations

from typing import Any

from benchmarks.applications.augment import CASES, DRAWN_FOR_EACH
from benchmarks.common import result_path, rounded, stored

NAME = "applications"
ARMS = {
    "real": "real images alone",
    "generated": "+ generated images",
    "oversampled": "+ as many repetitions of real ones",
    "classical": "+ the same, changed",
}
ABOUT = """A class is made rare in training, a model is trained on what is left, and `sadm augment` fills the class
([augment.md](augment.md)); at most {most} images are drawn for each missing one. What decides is recall of the class at the
precision of classifiers on real images alone. Intervals are over classifiers and held-out images (95 %); they know of one
training of each generator. What is aimed at is a gain of 5 points, or that the tool says that it did not help."""


def augment_section() -> str | None:
    """All stored cases; None where there are none."""
    names = stored_cases()
    if not names:
        return None
    about = ABOUT.format(most=DRAWN_FOR_EACH)
    return "\n".join(["### A rare class filled up", "", about, "", *(_case(stored(NAME, name)) for name in names)])


def augment_summary() -> dict[str, Any]:
    """By stored case: what was drawn and refused, the gains of the rare class, and the tool's words."""
    return {name: _summary(stored(NAME, name)) for name in stored_cases()}


def stored_cases() -> list[str]:
    """Names of `CASES` of which there is a result."""
    return [name for name in CASES if result_path(NAME, name).exists()]


def _summary(found: dict[str, Any]) -> dict[str, Any]:
    measured = found.get("measured")
    facts = {
        "source": found["source"],
        "rare": found["rare"],
        "filled": found["classes"][found["rare"]],
        "sentence": found["sentence"],
    }
    if measured is None:
        return rounded(facts)
    gains = {arm: _of_recall(gain) for arm, gain in measured["gains"].items()}
    return rounded({**facts, "outcome": measured["outcome"], "seeds": measured["seeds"], "gains": gains})


def _of_recall(gain: dict[str, Any]) -> dict[str, Any]:
    return {key: {part: gain[key][part] for part in ("mean", "low", "high")} for key in ("equal_precision", "accuracy")}


def _case(found: dict[str, Any]) -> str:
    rare, filled = found["rare"], found["classes"][found["rare"]]
    refused = ", ".join(f"{count} by the filter of {name}" for name, count in filled["refused"].items())
    lines = [
        f"`{found['source']}`: {found['training_images']:,} training images, of which {filled['real']} show '{rare}'; "
        f"{filled['missing']} are wanted. {filled['drawn']:,} were drawn; refused: {refused}; {filled['accepted']} were kept.",
        "",
        *_table(found, rare),
        f"The tool says: {found['sentence']}",
        "",
        _spent(found),
        "",
    ]
    return "\n".join(lines)


def _table(found: dict[str, Any], rare: str) -> list[str]:
    measured = found.get("measured")
    if measured is None:
        return []
    lines = [
        f"| trained on | accuracy | recall of '{rare}' | its precision | recall at equal precision | gain, in points |",
        f"|{' --- |' * 6}",
    ]
    for arm, words in ARMS.items():
        scores = measured["scores"][arm]
        values = [scores["accuracy"], scores["recall"][rare], scores["precision"][rare], scores["equal_precision"]]
        gain = measured["gains"].get(arm, {}).get("equal_precision")
        lines.append(f"| {' | '.join([words, *(_share(value) for value in values), _points(gain)])} |")
    held_out = measured["held_out_images"]
    return [
        *lines,
        "",
        f"{measured['seeds']} classifiers of each kind, {held_out:,} held-out images, {measured['held_out_of_class'][rare]} of "
        f"'{rare}'.",
    ]


def _share(value: dict[str, Any] | None) -> str:
    return "–" if value is None else f"{value['mean']:.3f}"


def _points(gain: dict[str, Any] | None) -> str:
    if gain is None:
        return "–"
    mean = f"{100 * gain['mean']:+.1f}"
    return mean if gain["low"] is None else f"{mean} ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"


def _spent(found: dict[str, Any]) -> str:
    seconds, where, budget = found["cpu_seconds"], found["provenance"], found["generator"]
    return (
        f"The generator made {budget['steps']:,} steps of {budget['batch']} images. {seconds['training']:.0f} CPU-seconds "
        f"of training, {seconds['rest']:.0f} of drawing, filtering and measuring. Commit "
        f"{where['commit']}, torch {where['torch']}, {where['machine']}."
    )
