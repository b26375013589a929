"""Of the section in docs/results.md: tables of many arms, and what became of the hypotheses."""

from __future__ import annotations

from typing import Any

from benchmarks.common import change
from benchmarks.structure.variants import HYPOTHESES, TABLES, Hypothesis, ratio, verdict

CONTROL = "plain"


def variants_lines(name: str, found: dict[str, Any], deciding: list[str]) -> list[str]:
    """A table: every arm against plain training; below that of the hypotheses, the verdicts."""
    rows = found["rows"]
    judges = list(rows[CONTROL]["excess"])
    lines = [
        f"### {TABLES[name].title}",
        "",
        f"Fashion-MNIST at 8x8, {found['steps']} steps, equal steps, {len(found['seeds'])} pairs: change of FD - floor against "
        "plain training, with 95 % intervals.",
        "",
        f"| arm | {' | '.join(judges)} | CPU-seconds against plain |",
        f"|{' --- |' * (len(judges) + 2)}",
    ]
    for arm in (arm for arm in rows if arm != CONTROL):
        cells = " | ".join(with_interval(ratio(rows, arm, CONTROL, judge)) for judge in judges)
        cost = sum(rows[arm]["cpu_seconds"]) / sum(rows[CONTROL]["cpu_seconds"])
        lines.append(f"| {arm} | {cells} | {change(cost)} |")
    return [*lines, "", *verdict_lines(rows, deciding)] if name == "hypotheses" else lines


def verdict_lines(rows: dict[str, Any], deciding: list[str]) -> list[str]:
    """What became of each hypothesis."""
    lines = [
        "A hypothesis is confirmed or refuted where the intervals of all judges that decide on it lie on one side of zero, and "
        "otherwise open.",
        "",
        "| hypothesis | judge | first arm against second | verdict |",
        "| --- | --- | --- | --- |",
    ]
    for hypothesis in HYPOTHESES:
        lines += hypothesis_lines(hypothesis, rows, deciding)
    return lines


def hypothesis_lines(hypothesis: Hypothesis, rows: dict[str, Any], deciding: list[str]) -> list[str]:
    """A line for each judge."""
    judges = hypothesis.judges or tuple(deciding)
    ratios = [ratio(rows, hypothesis.better, hypothesis.worse, judge) for judge in judges]
    word = verdict(ratios)
    return [
        f"| {hypothesis.claim} ({hypothesis.better} / {hypothesis.worse}) | {judge} | {with_interval(found)} | {word} |"
        for judge, found in zip(judges, ratios, strict=True)
    ]


def with_interval(found: dict[str, Any]) -> str:
    """The change and its interval."""
    shown = change(found["mean"], found.get("reason", ""))
    return shown if found.get("low") is None else f"{shown} ({change(found['low'])} to {change(found['high'])})"
