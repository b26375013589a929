"""The section of docs/results.md."""

from __future__ import annotations

from typing import Any

from benchmarks.common import result_path, stored

NAME = "parallel"
COUNTS = (2, 4)


def result(count: int) -> str:
    """Under which name the comparisons of so many processes are stored."""
    return f"processes-{count}"


def stored_rows() -> list[dict[str, Any]]:
    """All cases that are stored."""
    there = [count for count in COUNTS if result_path(NAME, result(count)).exists()]
    return [row for count in there for row in stored(NAME, result(count))["rows"]]


def section() -> str | None:
    """What the stored comparisons say; None before there are any."""
    rows = stored_rows()
    if not rows:
        return None
    counts = sorted({row["processes"] for row in rows})
    lines = [
        "## Several processes against one",
        "",
        f"`python -m benchmarks.parallel --run` (float64, {rows[0]['steps']} steps of a tiny network on gloo, "
        f"{len(rows)} cases of {', '.join(map(str, counts))} processes; largest absolute differences from one process that takes "
        "the whole batch at once; players: weights of adversaries and projectors; each row the worst of its clipped and "
        "unclipped, even and uneven batches)",
        "",
        "| signal | strategy | micro-batches | cases | loss | first gradient | weights | players |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    kinds = ("loss", "gradient", "weight", "player")
    for signal, strategy, pieces in dict.fromkeys((row["signal"], row["strategy"], row["accumulate"]) for row in rows):
        own = [row for row in rows if (row["signal"], row["strategy"], row["accumulate"]) == (signal, strategy, pieces)]
        worst = " | ".join(f"{max(row[f'{kind}_difference'] for row in own):.0e}" for kind in kinds)
        lines.append(f"| {signal} | {strategy} | {pieces} | {len(own)} | {worst} |")
    return "\n".join([*lines, ""])
