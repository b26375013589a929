"""The section of docs/results.md."""

from __future__ import annotations

from typing import Any

from benchmarks.common import result_names, stored

NAME = "data"
DEFINITIONS = """Elapsed seconds, contestants in turn, medians over turns; a turn is whole passes over the same images in class
folders of PNG files, in batches of 64, mirrored at random. This package decodes a folder once, when a training starts, and cuts
batches from memory; `datasets` with torch's DataLoader, in the form of its documentation, decodes an image whenever it is
used, in the caller or in two worker processes. To tell decoding from the rest, the last contestant is that DataLoader on pixels
decoded before. Consumption is a training step of a recipe without any signal, its cheapest."""


def section() -> str | None:
    """All stored results; None where there is none."""
    names = result_names(NAME)
    if not names:
        return None
    lines = ["## Does training wait for images?", "", "`python -m benchmarks.data --run`", "", DEFINITIONS, ""]
    for name in names:
        lines += table(stored(NAME, name))
    return "\n".join(lines)


def table(found: dict[str, Any]) -> list[str]:
    """Conditions and rows of one result."""
    where, consumption = found["provenance"], found["consumption_of_fastest_recipe"]
    lines = [
        f"{found['images']} images of {found['side']}x{found['side']} pixels; {where['machine']}, {found['device']}, "
        f"{where['threads']} thread, {where['cores']} cores, load average "
        f"{found['load_average']:.2g} when it ended; torch {where['torch']}, datasets {where['datasets']}; commit "
        f"{where['commit']}.",
        "",
        "| loader | images/s | times the consumption of the fastest recipe |",
        "| --- | --- | --- |",
    ]
    for name, rate in found["loaders"].items():
        lines.append(f"| {name} | {shown(rate)} | {rate / consumption:.3g} |")
    first = found["first_pass_seconds"]
    lines += [
        "",
        f"The fastest recipe is `{found['fastest_recipe']}`: {shown(consumption)} images/s. This package's loader is "
        f"{found['ratio_to_datasets_loader']:.3g} times as fast as the better form of `datasets`, and "
        f"{found['ratio_to_decoded_dataloader']:.3g} times as fast as a DataLoader on decoded pixels. From the folder to the "
        f"end of the first pass, reading included: {first['sadm']:.3g} s, `datasets` {first['datasets']:.3g} s.",
        "",
        "| files read from disk | images/s |",
        "| --- | --- |",
        *(f"| PNG, {side}x{side} | {shown(rate)} |" for side, rate in found["read_images_per_second"].items()),
        "",
    ]
    if "training_with_workers" in found:
        lines += workers_table(found["training_with_workers"])
    return lines


def shown(rate: float) -> str:
    """A rate at four digits or as a whole number."""
    return f"{rate:.0f}" if rate >= 1000 else f"{rate:.4g}"


def workers_table(found: dict[str, dict[str, Any]]) -> list[str]:
    """What `data.workers` does to a training."""
    numbers = [*next(iter(found.values()))["images_per_second"]]
    rows = []
    for name, row in found.items():
        rates = " | ".join(f"{shown(row['images_per_second'][n])}" for n in numbers)
        rows.append(f"| {name} | {row['share_of_inputs']:.2%} | {rates} |")
    return [
        f"| training, images/s | inputs, share of a step | {' | '.join(f'`data.workers` {n}' for n in numbers)} |",
        f"|{' --- |' * (len(numbers) + 2)}",
        *rows,
        "",
    ]
