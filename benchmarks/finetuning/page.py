"""The section of docs/results.md."""

from __future__ import annotations

from typing import Any

from benchmarks.common import change, result_path, stored
from benchmarks.finetuning.cells import CELLS, CHEAP, STRUCTURE
from benchmarks.finetuning.curves import curves
from benchmarks.finetuning.grid import IMAGES, JUDGES, RATES, TRANSFERS
from benchmarks.finetuning.rows import over_cells, row, stored_cells
from benchmarks.finetuning.search import ROUNDS, best_rate, mean_excess
from benchmarks.finetuning.trainings import NAME

DEFINITIONS = """A plain model of five classes of Fashion-MNIST (16x16 pixels, 0.7 million parameters) is adapted to another
domain in a few hundred steps: *classes* = the other five classes, *textures* = computed grey surfaces. Plain fine-tuning is
compared with structure at equal cost; learning rates were chosen for plain fine-tuning, the form of structure on the same search
seeds. FDs have the floor subtracted. Copies: the share of the judged images that the audit calls copies of training images.
State: weights, gradients, two moments of Adam and the average of what learns."""
STANDING = """**Where it stands.** The goals were a mean of -15 % at equal cost, -20 % with fifty images, and plain
fine-tuning's FD at 70 % of its cost. None was reached: at this size structure guidance does not pay in fine-tuning,
and `sadm finetune` is plain unless it is asked for structure. What was tried is below: relations in a hidden layer
and at the output; of an encoder pre-trained on the new images, and of the source model; with and without an
adversary; after the grid also heavier, and during the first half alone. Part of the loss is the price alone: a
method that has not finished learning after these steps misses each one that structure costs. Classes that are like
the old ones lose most. Few images of a far domain, where a gain would be expected, show one in the mean, with an
interval that includes none. The paper's gain on DiffFit (-10 to -18 %, in Inception's features, on networks a
thousand times larger) is neither confirmed nor refuted by this. All of it came before the bound that structure in a
hidden layer has by default."""


def section() -> str | None:
    """What is stored; None where there is nothing."""
    cells = stored_cells()
    rates = [method for method in RATES if result_path(NAME, f"rates-{method}").exists()]
    if not cells and not rates:
        return None
    lines = [
        "## Fine-tuning, with and without structure",
        "",
        "`python -m benchmarks.finetuning --run`",
        "",
        DEFINITIONS,
        "",
    ]
    if cells:
        lines += [*grid_lines(cells), ""]
    else:
        lines += ["The comparison has not been run yet; below is what was searched before it.", ""]
    if found := curves():
        lines += [*curve_lines(found), ""]
    if result_path(NAME, "shapes").exists():
        lines += [*shape_lines(stored(NAME, "shapes")), ""]
    if rates:
        lines += [*rate_lines(rates), ""]
    for stage in ROUNDS:
        methods = [method for method in RATES if result_path(NAME, f"{stage}-{method}").exists()]
        if methods:
            lines += [*form_lines(stage, methods), ""]
    return "\n".join(lines)


def grid_lines(cells: list[dict[str, Any]]) -> list[str]:
    """The grid, and the mean over it."""
    judges = [f"{judge}: plain | structure | change" for judge in JUDGES]
    lines = [
        f"| transfer | images | method | {' | '.join(judges)} | copies, plain | structure | learning | kept, kB | state, MB | "
        "step cost |",
        f"|{' --- |' * (3 + 3 * len(JUDGES) + 6)}",
    ]
    for found in map(row, cells):
        lines.append(
            f"| {found['transfer']} | {found['images']} | {found['method']} | {judged_cells(found)} | {copied(found)} | "
            f"{found['trainable_share']:.2%} | {found['adapter_bytes'] / 1e3:.0f} | {found['state_bytes'] / 1e6:.2f} | "
            f"{found['cost_ratio']:.2f} |"
        )
    lines += [
        "",
        *(mean_line(cells, arm, what) for arm, what in ((STRUCTURE, "equal cost"), (CHEAP, "70 % of the cost"))),
        *part_lines(cells),
        "",
        STANDING,
    ]
    return lines


def part_lines(cells: list[dict[str, Any]]) -> list[str]:
    """Means over parts of the grid."""
    parts = {
        f"{key} {value}": [cell for cell in cells if cell[key] == value]
        for key in ("transfer", "images", "method")
        for value in dict.fromkeys(cell[key] for cell in cells)
    }
    few = [cell for cell in cells if cell["transfer"] == "textures" and cell["images"] == min(IMAGES)]
    parts[f"textures, images {min(IMAGES)}"] = few
    lines = [
        "| part of the grid | structure at equal cost, both judges | 95 % interval over paired seeds |",
        "| --- | --- | --- |",
    ]
    for name, some in parts.items():
        found = over_cells(some, STRUCTURE)
        if found["geometric_mean_ratio"] is not None:
            interval = f"{change(found['low'])} to {change(found['high'])}"
            lines.append(f"| {name} | {change(found['geometric_mean_ratio'])} | {interval} |")
    return lines


def mean_line(cells: list[dict[str, Any]], arm: str, what: str) -> str:
    """A sentence about the mean over all cells and judges."""
    found = over_cells(cells, arm)
    if found["geometric_mean_ratio"] is None:
        return ""
    return (
        f"Structure at {what}, geometric mean over {found['cells']} of {len(CELLS)} cells and both judges: "
        f"{change(found['geometric_mean_ratio'])} (95 % interval over paired seeds {change(found['low'])} to "
        f"{change(found['high'])}).\n"
    )


def shape_lines(found: dict[str, Any]) -> list[str]:
    """What is learned and kept of a large network."""
    lines = [
        f"### On {found['network']} ({found['parameters'] / 1e6:.0f} million parameters), to {found['classes']} classes",
        "",
        "| method | parameters that learn | share | file, MB |",
        "| --- | --- | --- | --- |",
    ]
    return lines + [
        f"| {method} | {facts['learning']:,} | {facts['trainable_share']:.2%} | {facts['adapter_bytes'] / 1e6:.1f} |"
        for method, facts in found["methods"].items()
    ]


def rate_lines(methods: list[str]) -> list[str]:
    """The search for learning rates of plain fine-tuning."""
    lines = [
        "### Search: learning rate by method, plain",
        "",
        "Geometric mean of FD - floor over "
        + " and ".join(
            f"{TRANSFERS[cell['transfer']]}, {cell['images']} images" for cell in cells_of("rates", methods[0])
        )
        + " and both judges.",
        "",
        "| method | learning rate: mean | chosen |",
        "| --- | --- | --- |",
    ]
    for method in methods:
        found = stored(NAME, f"rates-{method}")
        names = ("plain", *(f"{rate:g}" for rate in RATES[method][1:]))
        shown = [f"{rate:g}: {mean_excess(found, name):.3g}" for rate, name in zip(RATES[method], names, strict=True)]
        lines.append(f"| {method} | {', '.join(shown)} | {best_rate(method):g} |")
    return lines


def form_lines(stage: str, methods: list[str]) -> list[str]:
    """A round of the search for a form of structure."""
    forms = ROUNDS[stage][0]
    lines = [
        "### Search: form of structure, equal steps" + ("" if stage == "forms" else ", after the grid"),
        "",
        "Change of the same mean against plain fine-tuning with the same seeds; cost of a step beside a plain one in brackets.",
        "",
        f"| method | {' | '.join(forms)} |",
        f"| --- |{' --- |' * len(forms)}",
    ]
    for method in methods:
        found = stored(NAME, f"{stage}-{method}")
        plain = mean_excess(found, "plain")
        shown = [f"{change(mean_excess(found, form) / plain)} ({cost_of(found, form):.2f})" for form in forms]
        lines.append(f"| {method} | {' | '.join(shown)} |")
    return lines


def curve_lines(found: dict[str, dict[str, list[dict[str, Any]]]]) -> list[str]:
    """Learning curves of the best methods."""
    lines = [
        "### From ten images to five thousand",
        "",
        "The methods that are best plain, at equal cost; with fewer images than a batch, batches are of all images.",
        "",
        f"| transfer | method | images | {' | '.join(f'{judge}: plain | structure | change' for judge in JUDGES)} | "
        "copies, plain | structure |",
        f"|{' --- |' * (5 + 3 * len(JUDGES))}",
    ]
    for transfer, methods in found.items():
        for method, rows in methods.items():
            lines += [
                f"| {transfer} | {method} | {one['images']} | {judged_cells(one)} | {copied(one)} |" for one in rows
            ]
    return lines


def judged_cells(found: dict[str, Any]) -> str:
    """Cells of a table: plain, structure and change, by judge."""
    return " | ".join(
        f"{number(facts['fd_plain'])} | {number(facts['fd_structure'])} | {change(facts['fd_ratio'], 'no ratio')}"
        for facts in found["judges"].values()
    )


def copied(found: dict[str, Any]) -> str:
    """Cells of a table: share of copies, plain and with structure; nothing where a training diverged."""
    return " | ".join("none finished" if rate is None else f"{rate:.1%}" for rate in found["copy_rate"].values())


def cells_of(stage: str, method: str) -> list[dict[str, Any]]:
    """The cells that a search looked at."""
    cells: list[dict[str, Any]] = stored(NAME, f"{stage}-{method}")["cells"]
    return cells


def cost_of(found: dict[str, Any], form: str) -> float:
    """CPU-seconds of trainings with a form over those of plain ones, in the same search."""
    seconds = {
        arm: sum(sum(cell["arms"][arm]["cpu_seconds"]) for cell in found["cells"] if cell["arms"][arm])
        for arm in ("plain", form)
    }
    return seconds[form] / seconds["plain"]


def number(value: float | None) -> str:
    """At three significant digits; nothing where a training diverged."""
    return "diverged" if value is None else f"{value:.3g}"
