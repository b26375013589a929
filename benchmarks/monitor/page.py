"""The section of docs/results.md, and the summary."""

from __future__ import annotations

from typing import Any

from benchmarks.common import result_path, stored

NAME = "monitor"
DEFINITIONS = """Real images are divided at random into training, held-out and new ones, many times; new images come without
labels. Without drift, the monitor should say so: the table has the share of divisions in which it finds drift (promised: one
per cent at most), the share of new images outside of what training has shown, and how often each test's p-value is below 0.05
(about one in twenty, if it is calibrated). With drift planted in the new images, it should be found: shares of divisions, by kind
and size. Divisions share images."""


def section() -> str | None:
    """The stored result; None where there is none."""
    if not result_path(NAME, "result").exists():
        return None
    found = stored(NAME, "result")
    lines = ["## Is drift seen?", "", "`python -m benchmarks.monitor --run`", "", DEFINITIONS, ""]
    lines += [*_false_alarms(found["sets"]), "", *_detected(found["sets"])]
    first, where = next(iter(found["sets"].values())), found["provenance"]
    lines += [
        "",
        f"{first['training_images']} training and {first['held_out']} held-out images; {first['divisions']['without_drift']} "
        f"divisions without drift, {first['divisions']['with_drift']} with each kind. Commit {where['commit']}, torch "
        f"{where['torch']}, {where['machine']}.",
        "",
    ]
    return "\n".join(lines)


def _false_alarms(sets: dict[str, Any]) -> list[str]:
    lines = [
        "| set | new images | false alarms | outside | promised at most | p < 0.05, least to most often of all tests |",
        f"|{' --- |' * 6}",
    ]
    for title, row in sets.items():
        for count, at in row["new"].items():
            own = at["false_alarms"]
            below = sorted(test["share_below"]["0.05"] for test in own["tests"].values())
            lines.append(
                f"| {title} | {count} | {own['drift']:.1%} | {own['outside']:.1%} | {own['promised_outside']:.1%} | "
                f"{below[0]:.1%} to {below[-1]:.1%} |"
            )
    return lines


def _detected(sets: dict[str, Any]) -> list[str]:
    columns = [(title, count) for title, row in sets.items() for count in row["new"]]
    kinds = list(next(iter(next(iter(sets.values()))["new"].values()))["detected"])
    lines = [
        f"| drift and size | {' | '.join(f'{title}, {count} new' for title, count in columns)} |",
        f"|{' --- |' * (len(columns) + 1)}",
    ]
    for kind in kinds:
        shares = (sets[title]["new"][count]["detected"][kind] for title, count in columns)
        lines.append(f"| {kind} | {' | '.join(f'{share:.0%}' for share in shares)} |")
    return lines


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """False alarms and detection."""
    return {
        title: {
            count: {"false_alarms": at["false_alarms"]["drift"], "detected": at["detected"]}
            for count, at in row["new"].items()
        }
        for title, row in found["sets"].items()
    }
