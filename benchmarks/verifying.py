"""Is a stored number what training gives again? The two trainings behind it, anew, beside what is stored.

On the machine and with the package that stored it, a training gives the same to the last digit. Elsewhere rounding differs, and
grows: what is asked then is whether the new number is one that a further seed could have given.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import RUNS
from benchmarks.paired import above_floor, train_all

if TYPE_CHECKING:
    from sadm.experiments.config import CompareConfig

SAME = 1e-9
"""Relative difference up to which two numbers are the same."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A stored ratio: FD - floor of an arm over that of plain training, seed by seed.

    Attributes:
        config: of the comparison.
        arm: which of its arms.
        steps: of plain training and of the arm.
        seeds: paired.
        ratios: by judge, one for each seed.
    """

    config: CompareConfig
    arm: str
    steps: Mapping[str, int]
    seeds: Sequence[int]
    ratios: Mapping[str, Sequence[float]]


def verify(claim: Claim, seed: int | None = None, folder: Path = RUNS / "verify") -> dict[str, Any]:
    """Trains the pair of one seed anew; resumable.

    Args:
        claim: what is stored.
        seed: which; None = the first.
        folder: of the trainings, gone afterwards.

    Returns:
        By judge the ratio ``stored`` and ``now``, and ``low`` and ``high``, between which a further seed's falls in 19 of 20
        cases as far as the stored ones tell; whether all are the ``same`` to the last digit, or at least ``within``.

    Raises:
        UserError: no such seed is stored, or a training diverged.
    """
    from sadm.core.errors import UserError
    from sadm.core.provenance import provenance
    from sadm.experiments.config import CONTROL
    from sadm.experiments.runs import Runs

    seed = claim.seeds[0] if seed is None else seed
    if seed not in claim.seeds:
        raise UserError(f"--seed {seed} is not stored; there are {', '.join(map(str, claim.seeds))}.")
    arms = {arm: claim.config.arms[arm] for arm in (CONTROL, claim.arm)}
    config = claim.config.model_copy(update={"arms": arms, "seeds": [seed]})
    floor = train_all(config, folder, dict(claim.steps))
    control, treated = (Runs.read(folder, arm, [seed], claim.steps[arm]) for arm in (CONTROL, claim.arm))
    if control.diverged or treated.diverged:
        raise UserError(f"a training diverged, which none did when this was stored; its folder is {folder}.")
    judges = {}
    for judge, values in claim.ratios.items():
        ((own,), (other,)) = (above_floor(runs, judge, floor) for runs in (treated, control))
        judges[judge] = _judged(own / other, values, values[claim.seeds.index(seed)])
    shutil.rmtree(folder)
    return {
        "arm": claim.arm,
        "seed": seed,
        "steps": dict(claim.steps),
        "judges": judges,
        "same": all(math.isclose(one["now"], one["stored"], rel_tol=SAME) for one in judges.values()),
        "within": all(one["within"] for one in judges.values()),
        "provenance": provenance(),
    }


def _judged(now: float, values: Sequence[float], stored: float) -> dict[str, Any]:
    low, high = prediction(values)
    return {"stored": stored, "now": now, "low": low, "high": high, "within": low <= now <= high}


def prediction(values: Sequence[float]) -> tuple[float, float]:
    """Between what a further ratio falls in 19 of 20 cases, if their logarithms are normally distributed.

    Args:
        values: positive, at least two.
    """
    from scipy import stats

    logs = [math.log(value) for value in values]
    count, mean = len(logs), statistics.fmean(logs)
    half = float(stats.t.ppf(0.975, count - 1)) * statistics.stdev(logs) * math.sqrt(1 + 1 / count)
    return math.exp(mean - half), math.exp(mean + half)
