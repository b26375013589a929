"""The command line of `benchmarks.theory`."""

from __future__ import annotations

from typing import Any

import benchmarks.theory as theory
from benchmarks.common import command_line, store, stored
from benchmarks.theory.page import NAME

DIGITS = 6


def run() -> None:
    """Computes all numbers, in seconds, and stores them."""
    import torch

    from benchmarks.theory import bound, fields, gaussian, hidden, high_noise, zero_gap
    from sadm.core.provenance import provenance

    torch.set_num_threads(1)
    parts = {
        "bound": bound.measure(),
        "zero_gap": zero_gap.measure(),
        "high_noise": high_noise.measure(),
        "gaussian": gaussian.measure(),
        "fields": fields.measure(),
        "hidden": hidden.measure(),
    }
    store(NAME, "summary", {**rounded(parts), "provenance": provenance()})


def rounded(value: Any) -> Any:
    """Numbers at six significant digits: what is left out differs between machines and says nothing."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


if __name__ == "__main__":
    command_line(theory.__doc__, run, lambda: stored(NAME, "summary"))
