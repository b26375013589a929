"""Of the section in docs/results.md: tables of many arms, and what became of the hypotheses."""

from __future__ import annotations

from typing import Any

from benchmarks.common import change
from benchmarks.paired import ratio, with_interval
from benchmarks.structure.variants import CONFIRMED, HYPOTHESES, OPEN, REFUTED, TABLES, verdict

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
        cost = change(sum(rows[arm]["cpu_seconds"]) / sum(rows[CONTROL]["cpu_seconds"]))
        lines.append(f"| {arm} | {cells} | {cost if TABLES[name].together else 'not comparable'} |")
    return [*lines, "", *verdict_lines(rows, deciding)] if name == "hypotheses" else lines


def verdict_lines(rows: dict[str, Any], deciding: list[str]) -> list[str]:
    """What became of each hypothesis."""
    judges = list(rows[CONTROL]["excess"])
    table, words = [], []
    for hypothesis in HYPOTHESES:
        ratios = {
            judge: ratio(rows, hypothesis.better, hypothesis.worse, judge) for judge in hypothesis.judges or deciding
        }
        words.append(verdict([*ratios.values()]))
        cells = " | ".join(with_interval(ratios[judge]) if judge in ratios else "" for judge in judges)
        table.append(f"| {hypothesis.claim} | {hypothesis.better} / {hypothesis.worse} | {cells} | {words[-1]} |")
    counts = ", ".join(f"{words.count(word)} {word}" for word in (CONFIRMED, REFUTED, OPEN))
    return [
        "A hypothesis is confirmed or refuted where the intervals of all judges that decide on it lie on one side of zero, and "
        f"otherwise open: {counts}.",
        "",
        f"| hypothesis | FD - floor of | {' | '.join(judges)} | verdict |",
        f"|{' --- |' * (len(judges) + 3)}",
        *table,
    ]
