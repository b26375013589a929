"""From the gains beside small networks to a large one: a line, and how little it says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.common import change
from sadm.core.intervals import CONFIDENCE

LEAST = 4
"""Networks that a line is drawn through, at least."""


@dataclasses.dataclass(frozen=True)
class Extrapolated:
    """A ratio beside a network of another size.

    Attributes:
        mean, low, high: the ratio, and the ends of the interval in which that of one further network lies (95 %), where the line
            goes on.
        per_decade: by what the ratio is multiplied where a network has ten times the parameters.
    """

    mean: float
    low: float
    high: float
    per_decade: float


def extrapolated(parameters: Sequence[int], ratios: Sequence[float], at: int) -> Extrapolated:
    """Least squares of log ratio on log10 of parameters, with the interval of a new observation.

    Args:
        parameters: of each network, of at least three different sizes.
        ratios: of each, above 0.
        at: parameters of the network that is asked about.

    Raises:
        ValueError: too few sizes.
    """
    x, y = np.log10(np.asarray(parameters, float)), np.log(np.asarray(ratios, float))
    if len(set(parameters)) < 3:
        raise ValueError(f"expected networks of at least three sizes, got {sorted(set(parameters))}")
    slope, intercept = np.polyfit(x, y, 1)
    freedom, away = len(x) - 2, math.log10(at) - x.mean()
    spread = math.sqrt(((y - intercept - slope * x) ** 2).sum() / freedom)
    half = spread * math.sqrt(1 + 1 / len(x) + away**2 / ((x - x.mean()) ** 2).sum())
    half *= stats.t.ppf((1 + CONFIDENCE) / 2, freedom)
    mean = intercept + slope * math.log10(at)
    return Extrapolated(*np.exp([mean, mean - half, mean + half, slope]).tolist())


def extrapolation_lines(rows: list[dict[str, Any]], at: int, how: str = "at equal steps") -> list[str]:
    """What the rows of networks of several sizes say of DiT-XL/2, which has `at` parameters; nothing where there are too few."""
    lines = []
    for judge in rows[0]["ratios"] if rows else ():
        known = [row for row in rows if row["ratios"][judge]["mean"] is not None]
        if len(known) < LEAST:
            continue
        parameters = [row["parameters"] for row in known]
        found = extrapolated(parameters, [row["ratios"][judge]["mean"] for row in known], at)
        verdict = "which decides nothing" if found.low < 1 < found.high else "if the line goes on so far"
        lines.append(
            f"A line through {len(known)} of these networks {how} (log ratio over log parameters, {judge}): "
            f"{change(found.per_decade)} for ten times the parameters; "
            f"at DiT-XL/2's {at / 1e6:.0f} M, {at / max(parameters):.0f} "
            f"times the largest, {change(found.mean)}, "
            f"95 % interval {change(found.low)} to {change(found.high)}, {verdict}.  "
        )
    return ["", *lines] if lines else []
