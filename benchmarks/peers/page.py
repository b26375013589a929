"""The section of docs/results.md."""

from __future__ import annotations

from typing import Any

from benchmarks.common import change, result_path, stored
from benchmarks.peers.contestant import find
from benchmarks.peers.plan import CONTESTANTS, NAME, REPORT_SEEDS, STORED_SEARCH
from benchmarks.peers.summary import stored_rows, summarise

HOW = """Every training gets the steps that its CPU-seconds buy at the cost of a step measured before it, on the same images and
judged alike, without guidance unless the search chose it. Peers have at most as many parameters as ours of the same size. What
speaks for the peers: each keeps its own optimiser, schedule, averaging and batch, the restated DiT loop may choose its average,
and the best peer is taken judge by judge. What speaks against them: sizes and learning rates are chosen at a budget shorter than
the reported ones, and our own recipe's other settings come from earlier searches on the same images at a lower resolution. The
class-conditional network of denoising-diffusion-pytorch costs much on a processor even when it is narrow, for its attention at
full resolution has a fixed width; one of its sizes therefore does without classes.
"""


def section() -> str | None:
    """Results at every budget and the search behind them; None while nothing is stored."""
    rows = stored_rows()
    searched = stored(NAME, STORED_SEARCH) if result_path(NAME, STORED_SEARCH).exists() else None
    if not rows and searched is None:
        return None
    lines = [
        "## Speed to quality, against other packages",
        "",
        "`python -m benchmarks.peers --search`, then `--run` (Fashion-MNIST at 28x28, CPU-seconds of training on one core, "
        "what a method needs before its first step included; the best size and learning rate of three by three, and the best "
        f"sampler within the same number of network evaluations, each searched alike; seeds {', '.join(map(str, REPORT_SEEDS))})",
        "",
    ]
    lines += [HOW, ""]
    if rows:
        lines += result_lines(rows)
    else:
        lines += ["The search is stored; the trainings at the reported budgets are not yet."]
    if searched is not None:
        lines += ["", *search_lines(searched)]
        lines += [f"\n`{name}` could not be run: {reason}." for name, reason in searched["missing"].items()]
    return "\n".join([*lines, ""])


def result_lines(rows: list[dict[str, Any]]) -> list[str]:
    """A table with a line for each budget and contestant, and our ratios in words."""
    found = summarise(rows)["budgets"]
    judges = rows[0]["results"][0]["deciding"]
    lines = [
        f"| budget | contestant | parameters | images seen | sampler, NFE | "
        f"{' | '.join(f'FD - floor, {judge}' for judge in judges)} | labels right |",
        f"|{' --- |' * (6 + len(judges))}",
    ]
    sentences = []
    for budget, here in found.items():
        lines += [line(budget, name, one, judges) for name, one in here["contestants"].items()]
        sentences += [
            f"`{name}` against the best peer at {budget}, {judge}: {change(ratio['mean'], ratio.get('reason', ''))} "
            f"({bounds(ratio)}`{ratio['best_peer']}`).  "
            for name, by_judge in here["fd_ratio_to_best_peer"].items()
            for judge, ratio in by_judge.items()
        ]
    one = rows[0]["results"][0]
    where = one["training"]["provenance"]
    conditions = (
        f"{one['generated']} images, labels at training frequencies. Torch {where['torch']}, {where['machine']}."
    )
    return [*lines, "", *sentences, "", conditions]


def line(budget: str, name: str, one: dict[str, Any], judges: list[str]) -> str:
    """One line of the table."""
    cells = []
    for judge in judges:
        interval = None if one["fd"] is None else one["fd"][judge]
        cells.append("diverged" if interval is None else f"{interval['mean']:.4g}")
    images = round(sum(one["images_seen"]) / len(one["images_seen"]))
    right = [share for share in one["label_accuracy"] if share is not None]
    share = f"{sum(right) / len(right):.1%}" if right else ""
    return (
        f"| {budget} | {name}: {find(name).title} | {one['parameters']} | {images} | {one['sampler']}, {one['nfe']} | "
        f"{' | '.join(cells)} | {share} |"
    )


def bounds(ratio: dict[str, Any]) -> str:
    """A ratio's interval; empty where it has none."""
    return "" if ratio.get("low") is None else f"95 % interval {change(ratio['low'])} to {change(ratio['high'])}; "


def search_lines(searched: dict[str, Any]) -> list[str]:
    """What the search chose."""
    lines = [
        f"### The search behind it: {searched['budget_cpu_minutes']:g} CPU-minutes for each training, seed {searched['seed']}",
        "",
        "| contestant | size | learning rate | at the edge of the grid | sampler |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in CONTESTANTS:
        one = searched["contestants"].get(name)
        if one is not None:
            edge = "yes" if one["learning_rate_at_edge"] else "no"
            lines.append(f"| {name} | {one['size']} | {one['learning_rate']:g} | {edge} | {one['sampler']} |")
    return lines
