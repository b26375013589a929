"""The section of docs/results.md."""

from __future__ import annotations

import math
from statistics import mean
from typing import Any

from benchmarks.common import change, result_path, stored
from benchmarks.peers.contestant import find
from benchmarks.peers.plan import CONTESTANTS, FOLLOWS, NAME, REPORT_SEEDS, STORED_SEARCH
from benchmarks.peers.scores import score
from benchmarks.peers.summary import stored_rows, summarise

GOAL = 0.6
"""Our FD - floor over the best peer's, at equal cost."""
HOW = """Every training gets the steps that its CPU-seconds buy. In the search, the cost of a step is measured before each
training, which is repeated at the cost that it had where it missed its budget by more than a tenth. For the report, the
cost is measured once for each budget, of all contestants in turns, a few steps of one after a few of the other: what the
machine's neighbours outside take from it then falls on all alike. No processor is idle meanwhile: beside an idle neighbour
a step is cheaper. The images are the same, and all are judged alike, without guidance unless the search chose it.
Peers have at most as many parameters as ours of the same size. What speaks for the peers: each starts from its own
optimiser, schedule, averaging and batch, gets as many trials of its options and of what users change first as ours, the
restated DiT loop may choose its average, and the best peer is taken judge by judge. What speaks against them: all is
chosen at a budget shorter than the reported ones, and what our recipe starts from comes from earlier searches on the
same images at a lower resolution. The class-conditional network of denoising-diffusion-pytorch costs much on a
processor even when it is narrow, for its attention at full resolution has a fixed width; one of its sizes therefore
does without classes. Our package with a UNet (`ours_unet`) came last: after the first trainings of 10 minutes had shown
that diffusers' UNet, which is behind after 3, catches up with our transformer by then. It was searched as the others were,
with the seed of the search; what its steps cost was measured beside the others, whose trainings stayed. Samplers were at
first chosen after 3 minutes, where guidance makes up for a short training; since it harms a longer one, they are chosen anew
after 10, for all alike, by one more training of each with the seed of the search.
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
        "what a method needs before its first step included; size, learning rate, further choices and the sampler within the "
        f"same number of network evaluations, all searched alike; seeds {', '.join(map(str, REPORT_SEEDS))})",
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
    found = summarise(rows)
    judges = rows[0]["results"][0]["deciding"]
    lines = [
        f"| budget | contestant | parameters | CPU-ms a step | images seen | CPU-minutes taken | sampler, NFE | "
        f"{' | '.join(f'FD - floor, {judge}' for judge in judges)} | labels right |",
        f"|{' --- |' * (8 + len(judges))}",
    ]
    sentences = []
    for budget, here in found["budgets"].items():
        lines += [line(budget, name, one, judges) for name, one in here["contestants"].items()]
        sentences += ratio_lines(here["fd_ratio_to_best_peer"], f"the best peer at {budget}")
        sentences += goal_lines(here["fd_ratio_to_best_peer"], budget)
    if "fd_ratio_at_less_cost" in found:
        crossed = found["fd_ratio_at_less_cost"]
        against = f"the best peer after {crossed['peers_minutes']:g}"
        sentences += ratio_lines(crossed["ratios"], against, f" after {crossed['ours_minutes']:g} minutes")
    one = rows[0]["results"][0]
    conditions = (
        f"{one['generated']} images, labels at training frequencies. Torch {one['training']['provenance']['torch']}, "
    )
    return [*lines, "", *sentences, "", conditions + machines(found["budgets"])]


def machines(budgets: dict[str, Any]) -> str:
    """Where the trainings ran: on one machine, or what each seed of each budget ran on."""
    where: dict[str, list[str]] = {}
    for budget, here in budgets.items():
        for contestant in here["contestants"].values():
            for seed, machine in zip(contestant["seeds"], contestant["machines"], strict=True):
                where.setdefault(f"{budget}, seed {seed}", []).append(machine)
    used = {place: " and ".join(dict.fromkeys(found)) for place, found in where.items()}
    if len(set(used.values())) == 1:
        return f"{next(iter(used.values()))}."
    return "; ".join(f"{place}: {found}" for place, found in used.items()) + "."


def ratio_lines(ratios: dict[str, Any], against: str, when: str = "") -> list[str]:
    """A sentence for each of our contestants and judges."""
    return [
        f"`{name}`{when} against {against}, {judge}: {change(ratio['mean'], ratio.get('reason', ''))} "
        f"({bounds(ratio)}`{ratio['best_peer']}`).  "
        for name, by_judge in ratios.items()
        for judge, ratio in by_judge.items()
    ]


def goal_lines(ratios: dict[str, Any], budget: str) -> list[str]:
    """Whether one of ours is good enough in every judge; empty without a peer."""
    means = {name: [ratio["mean"] for ratio in by_judge.values()] for name, by_judge in ratios.items()}
    if not means:
        return []
    reached = [name for name, found in means.items() if all(mean is not None and mean <= GOAL for mean in found)]
    told = f"reached by {', '.join(f'`{name}`' for name in reached)}" if reached else "missed"
    return [f"The goal at {budget}, at most {GOAL:g} times the best peer's in every judge: {told}.  "]


def line(budget: str, name: str, one: dict[str, Any], judges: list[str]) -> str:
    """One line of the table."""
    cells = []
    for judge in judges:
        interval = None if one["fd"] is None else one["fd"][judge]
        cells.append("diverged" if interval is None else f"{interval['mean']:.4g}")
    images, step = round(mean(one["images_seen"])), mean(one["milliseconds_per_step"])
    taken = mean(one["cpu_seconds"]) / 60
    right = [share for share in one["label_accuracy"] if share is not None]
    share = f"{sum(right) / len(right):.1%}" if right else ""
    return (
        f"| {budget} | {name}: {find(name).title} | {one['parameters']} | {step:.1f} | {images} | {taken:.1f} | "
        f"{one['sampler']}, {one['nfe']} | "
        f"{' | '.join(cells)} | {share} |"
    )


def bounds(ratio: dict[str, Any]) -> str:
    """A ratio's interval; empty where it has none."""
    return "" if ratio.get("low") is None else f"95 % interval {change(ratio['low'])} to {change(ratio['high'])}; "


def search_lines(searched: dict[str, Any]) -> list[str]:
    """What the search chose, and what each choice was worth."""
    lines = [
        f"### The search behind it: {searched['budget_cpu_minutes']:g} CPU-minutes for each training, seed {searched['seed']}",
        "",
        "| contestant | trainings | size | learning rate | at the edge of the grid | further choices | sampler |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    found = {name: searched["contestants"][name] for name in CONTESTANTS if name in searched["contestants"]}
    for name, one in found.items():
        edge, variants = "yes" if one["learning_rate_at_edge"] else "no", ", ".join(one["variants"]) or "none"
        lines.append(
            f"| {name} | {len(one['rows'])} | {one['size']} | {one['learning_rate']:g} | {edge} | {variants} | {one['sampler']}, "
            f"after {one.get('sampler_minutes', searched['budget_cpu_minutes']):g} minutes |"
        )
    lines += [f"\n`{name}` gets what was found for `{other}`." for name, other in FOLLOWS.items() if other in found]
    lines += [
        "",
        "What mattered: FD - floor (geometric mean over judges) against the best of sizes and learning rates, each choice alone, "
        "then together. One training each: a few per cent are noise.",
    ]
    for name, one in found.items():
        lines += ["", f"- `{name}`: {'; '.join(variant_changes(one))}.{around(one)}"]
    return lines


def around(found: dict[str, Any]) -> str:
    """A sentence on what other sizes and rates did to the variants that were chosen; empty where none was chosen."""
    scores = {
        (row["size"], row["learning_rate"]): score(row["excess"])
        for row in found["rows"]
        if row["variants"] == found["variants"]
    }
    base = scores.pop((found["grid"]["size"], found["grid"]["learning_rate"]))
    if not found["variants"] or not scores:
        return ""
    ranked = sorted(scores.items(), key=lambda pair: pair[1])
    changes = [f"{size} at {rate:g} {_change(value - base)}" for (size, rate), value in ranked]
    return f" The best of these at other sizes and learning rates: {'; '.join(changes)}."


def _change(value: float) -> str:
    """A difference of logarithms in per cent."""
    return change(math.exp(value)) if math.isfinite(value) else "diverged"


def variant_changes(found: dict[str, Any]) -> list[str]:
    """What each variant did to a contestant's score, the best first."""

    def alike(row: dict[str, Any]) -> bool:
        return all(row[key] == found["grid"][key] for key in ("size", "learning_rate"))

    scores = {", ".join(row["variants"]): score(row["excess"]) for row in found["rows"] if alike(row)}
    base = scores.pop("")
    return [f"{names} {_change(value - base)}" for names, value in sorted(scores.items(), key=lambda pair: pair[1])]
