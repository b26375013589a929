"""Downstream gain and representation quality as lines of text."""

from __future__ import annotations

from typing import Any

METRICS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "log_loss": "log-loss"}
MIXES = {
    "real": "real images alone",
    "with_1x": "and as many generated ones",
    "with_2x": "and twice as many",
    "filled": "and classes filled up",
    "generated_alone": "generated images alone",
}
PROBES = {"linear": "linear probe", "knn": "nearest neighbours"}
MOST_CLASSES = 20  # rows


def downstream_table(facts: dict[str, Any]) -> list[str]:
    """Scores and gains of classifiers, what the gain is worth, and recall class by class."""
    lines = [
        f"Classifiers, judged on {facts['held_out_images']} held-out real images; {facts['seeds']} of each kind",
        f"{'trained on':<30}" + "".join(f"{title:>24}" for title in METRICS.values()),
    ]
    for name, scores in facts["scores"].items():
        cells = "".join(f"{_number(scores[metric]['mean'], metric):>24}" for metric in METRICS)
        lines.append(f"{MIXES.get(name, name):<30}{cells}")
    lines.append(f"{'better by (95 % interval)':<30}" + "".join(f"{title:>24}" for title in METRICS.values()))
    for name, gains in facts["gains"].items():
        lines.append(
            f"{MIXES.get(name, name):<30}" + "".join(f"{_range(gains[metric], metric):>24}" for metric in METRICS)
        )
    return [*lines, worth_sentence(facts), *_classes(facts)]


def worth_sentence(facts: dict[str, Any]) -> str:
    """What as many generated images as real ones are worth."""
    found, n = facts["worth"][facts["headline"]]["accuracy"], facts["training_images"]
    generated = facts["scores"][facts["headline"]]["generated_images"]
    told = {
        "gain": f"The {generated} generated images help.",
        "harm": f"The {generated} generated images do harm.",
        "none": f"The {generated} generated images make no difference worth naming.",
        "undecided": f"Whether the {generated} generated images help can't be told.",
    }[found["outcome"]]
    if found["images"] is None:
        return f"{told} Worth in real images: {found['reason']}."
    low, high = (_bounded(found[key], found) for key in ("low", "high"))
    number = f"{found['images']:+.0f} (95 % interval {low} to {high})"
    return f"{told} Worth in real images: {number}, beside the {n} there are."


def representation_table(facts: dict[str, Any]) -> list[str]:
    """Accuracy of probes on features and on pixels, clean and corrupted."""
    corruptions = list(next(iter(facts["pixels"].values())))
    lines = [
        f"Probes, judged on {facts['held_out_images']} held-out real images",
        f"{'accuracy':<40}" + "".join(f"{name:>10}" for name in corruptions),
    ]
    for probe, title in PROBES.items():
        where = f"{title}, {facts[probe]['block'].removeprefix('net.')}, sigma {facts[probe]['sigma']:g}"
        for name, scores in ((where, facts[probe]), (f"{title}, pixels", facts["pixels"][probe])):
            lines.append(f"{name:<40}" + "".join(f"{scores[c]['accuracy']:>10.1%}" for c in corruptions))
    return lines


def _classes(facts: dict[str, Any]) -> list[str]:
    headline = facts["headline"]
    shown = [name for name in facts["classes"] if facts["gains"][headline]["recall"][name] is not None]
    missing = [name for name in facts["classes"] if name not in shown]
    lines = [f"{'recall':<30}{'training images':>24}{'real alone':>24}{'better by':>24}"]
    for name in shown[:MOST_CLASSES]:
        recall = facts["scores"]["real"]["recall"][name]["mean"]
        gain = _range(facts["gains"][headline]["recall"][name], "accuracy")
        lines.append(f"{name:<30}{facts['classes'][name]['training_images']:>24}{recall:>20.1%}{gain:>24}")
    if len(shown) > MOST_CLASSES:
        lines.append(f"and {len(shown) - MOST_CLASSES} more classes, in evaluation.json")
    if missing:
        lines.append(f"Without held-out images, so not judged: {', '.join(missing)}.")
    return lines


def _number(value: float, metric: str) -> str:
    return f"{value:.4f}" if metric == "log_loss" else f"{value:.1%}"


def _range(interval: dict[str, Any], metric: str) -> str:
    scale, digits = (1, 3) if metric == "log_loss" else (100, 1)
    text = f"{scale * interval['mean']:+.{digits}f}"
    if interval["low"] is None:
        return text
    return f"{text} ({scale * interval['low']:+.{digits}f}, {scale * interval['high']:+.{digits}f})"


def _bounded(value: float, found: dict[str, Any]) -> str:
    if value >= found["farthest"]:
        return f"{value:+.0f} or more"
    return f"{value:+.0f} or less" if value <= found["fewest"] else f"{value:+.0f}"
