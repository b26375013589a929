"""The section of docs/results.md, and the summary."""

from __future__ import annotations

from typing import Any

from benchmarks.applications import restore_page
from benchmarks.applications.augment_page import augment_section, augment_summary
from benchmarks.applications.defects import NET
from benchmarks.common import result_path, rounded, stored

NAME = "applications"
WORDS = {
    "structure": "generated, with structure guidance",
    "plain": "generated, plain training",
    "pasted": "real defects, pasted",
    "real": "real images alone",
}
DEFECTS = """Photographs of brushed metal, {source}. For training there are {good} good images and {defects} with a defect.
Generators made {plain:,} steps of {batch} images without a signal and {structure:,} with structure guidance, which cost the
same, and drew {added} defects ([defects.md](defects.md)); as many real ones were pasted. Detectors make the same number of steps
whatever they are trained on; where defects are added, every second one that they see is one of these. They are asked about
{test_good} good and {test_defects} defective images that were held out. There are {seeds} paired trainings of each generator,
each with a detector of its own. Gains are against real images alone, with 95 % intervals over trainings and test images.
Looked at, the drawn defects still show the edges of the networks' patches of {patch} pixels: for use, train longer."""


def section() -> str | None:
    """The stored results; None where there are none."""
    parts = [part for part in (_defects(), augment_section(), restore_page.section()) if part is not None]
    return (
        "\n".join(["## What a factory asks for", "", "`python -m benchmarks.applications --run`", "", *parts])
        if parts
        else None
    )


def summary() -> dict[str, Any]:
    """The gains, for JSON."""
    restored = restore_page.summary()
    found = {**_defects_summary(), **augment_summary(), **({} if restored is None else {"restore": restored})}
    if not found:
        raise SystemExit(f"no stored result: run python -m benchmarks.{NAME} --run")
    return found


def _defects_summary() -> dict[str, Any]:
    if not result_path(NAME, "defects").exists():
        return {}
    found = stored(NAME, "defects")
    told = ("arms", "gains", "against", "good", "defects", "test", "seeds", "steps")
    return {"defects": rounded({key: found[key] for key in told})}


def _defects() -> str | None:
    if not result_path(NAME, "defects").exists():
        return None
    found = stored(NAME, "defects")
    test, seconds, where, pairs = found["test"], found["cpu_seconds"], found["provenance"], found["against"].items()
    told = DEFECTS.format(
        source=f"`{found['source']}`",
        good=found["good"],
        defects=found["defects"],
        added=next(iter(found["added"].values())),
        test_good=test["good"],
        test_defects=test["defects"],
        batch=found["batch"],
        patch=NET["patch"],
        seeds=found["seeds"],
        **found["steps"],
    )
    lines = [
        "### Defects for an inspection",
        "",
        told,
        "",
        "| trained on | AUROC of images | gain | average precision of pixels | gain |",
    ]
    lines.append(f"|{' --- |' * 5}")
    for name in ("real", *found["gains"]):
        cells = [f"+ {WORDS[name]}" if name != "real" else WORDS[name]]
        for metric in ("auroc", "pixel_ap"):
            cells += [f"{found['arms'][name][metric]['mean']:.3f}", _gain(found["gains"].get(name), metric)]
        lines.append(f"| {' | '.join(cells)} |")
    spent = "; ".join(f"{WORDS[arm]}: {_mean_seconds(own):.0f}" for arm, own in seconds.items())
    lines += [
        "",
        "Against each other: "
        + "; ".join(
            f"{name}: AUROC {_gain(gains, 'auroc')}, pixels {_gain(gains, 'pixel_ap')}" for name, gains in pairs
        )
        + ".",
        "",
        f"CPU-seconds of a training, that of the structure encoder included: {spent}. Commit {where['commit']}, torch "
        f"{where['torch']}, {where['machine']}.",
        "",
    ]
    return "\n".join(lines)


def _mean_seconds(trainings: list[dict[str, float]]) -> float:
    return sum(own["training"] + own["encoder"] for own in trainings) / len(trainings)


def _gain(gains: dict[str, Any] | None, metric: str) -> str:
    if gains is None:
        return "–"
    gain = gains[metric]
    return f"{gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
