"""The section of docs/results.md."""

from __future__ import annotations

from typing import Any

from benchmarks.common import result_names, stored

NAME = "throughput"
TITLES = {
    "s2": "DiT-S/2 on latents of 32x32x4",
    "b4": "DiT-B/4 on latents of 32x32x4",
    "digits": "recipe `digits`",
    "fashion_mnist": "recipe `fashion_mnist`",
}
DEFINITIONS = """A ratio is the peer's time for the same work over ours, the median over interleaved turns, of the faster peer:
above 1, this package is faster than both. Utilisation is the floating-point operations of a training step, forward, backward and
nothing twice, as torch counts them in matrix products, convolutions and attention, per second of the whole step (with data,
optimiser and averaged weights), over the best rate of a plain matrix product measured on the same device before, between and
after. Peak memory is what two training steps and a batch of samples add to a process with imports and data. Of diffusers it is
the usual loop of its examples: its DiT has an embedding of time and class of its own in each block, hence more parameters.
"""


OURS = "sadm"
RATIO, SMALL_RATIO, UTILISATION = 1.05, 1.4, 0.8
LARGE = ("s2", "b4")
"""Networks of published sizes; in the others, the recipes', overhead rules."""


def section() -> str | None:
    """All stored results; None where there is none."""
    names = result_names(NAME)
    if not names:
        return None
    lines = ["## How fast is a step?", "", "`python -m benchmarks.throughput --run`", "", DEFINITIONS]
    for name in names:
        lines += table(stored(NAME, name))
    return "\n".join(lines)


def table(found: dict[str, Any]) -> list[str]:
    """Conditions and rows of one result."""
    where = found["provenance"]
    device = where["machine"] if found["device"] == "cpu" else found["device"]
    compiled = "; this package's network compiled" if found["compiled"] else ""
    commits = ", ".join(sorted({shape.get("commit", where["commit"]) for shape in found["shapes"].values()}))
    lines = [
        f"{device}; {found['clock']}, {found['precision']}{compiled}; matrix product {found['matmul_peak_gflops']:.4g} "
        f"GFLOP/s; {where['threads']} thread; torch {where['torch']}, diffusers {where['diffusers']}; commit {commits}.",
        "",
        "| network | contestant | parameters | training, images/s | sampling, images/s | utilisation | peak memory, MiB |",
        f"|{' --- |' * 7}",
    ]
    for name, shape in found["shapes"].items():
        title = f"{TITLES.get(name, name)}, batch {shape['train_batch']}, {shape['sample_steps']} NFE"
        for contestant, row in shape["contestants"].items():
            memory = shape.get("peak_memory_mib", {}).get(contestant)
            lines.append(
                f"| {title} | {contestant} | {row['parameters'] / 1e6:.2f} M | {row['train_images_per_second']:.4g} | "
                f"{row['sample_images_per_second']:.4g} | {row['flop_utilisation']:.0%} | "
                f"{'' if memory is None else f'{memory:.0f}'} |"
            )
    ratios = [
        f"| {TITLES.get(name, name)} | {shape['train_ratio']:.2f} | {shape['sample_ratio']:.2f} | {missed(name, shape)} |"
        for name, shape in found["shapes"].items()
    ]
    goals = (
        f"Goals: {RATIO} times the better peer in training and a utilisation of {UTILISATION:.0%} for the published sizes, "
        f"{SMALL_RATIO} times in training and sampling for the recipes, and no more memory than the better peer."
    )
    head = ["| network | training, times the better peer | sampling | goals missed |", "| --- | --- | --- | --- |"]
    return [*lines, "", goals, "", *head, *ratios, ""]


def missed(name: str, shape: dict[str, Any]) -> str:
    """The goals that a shape does not meet."""
    bounds = {"training": (shape["train_ratio"], RATIO if name in LARGE else SMALL_RATIO)}
    if name in LARGE:
        bounds["utilisation"] = (shape["contestants"][OURS]["flop_utilisation"], UTILISATION)
    else:
        bounds["sampling"] = (shape["sample_ratio"], SMALL_RATIO)
    memory = shape.get("peak_memory_mib")
    if memory:
        bounds["memory"] = (-memory[OURS], -min(taken for who, taken in memory.items() if who != OURS))
    return ", ".join(goal for goal, (found, asked) in bounds.items() if found < asked) or "none"
