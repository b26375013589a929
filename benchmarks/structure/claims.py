"""What is stored of paired trainings, such that it can be verified."""

from __future__ import annotations

from benchmarks.common import stored
from benchmarks.paired import ratios_by_seed
from benchmarks.structure.pairs import ALL, compared_pairs
from benchmarks.structure.regimes import REGIMES
from benchmarks.structure.trainings import NAME, config_of
from benchmarks.structure.variants import TABLES, compared_variants
from benchmarks.verifying import Claim

PARTS = [*(name for name, regime in REGIMES.items() if regime.runs_of is None), *ALL, *TABLES]
"""The others are of the same trainings, or of none, or of those of a search."""
DEFAULT, PLAIN = "hidden", "plain"


def claim_of(part: str, arm: str | None = None) -> Claim:
    """What is stored of an arm of a part: at equal steps, or at those of its row.

    Args:
        part: one of `PARTS`.
        arm: None = the default signal, or else the first.

    Raises:
        UserError: the part has no such arm, or no ratio of it.
    """
    from sadm.core.errors import UserError

    known = arms_of(part)
    arm = arm or (DEFAULT if DEFAULT in known else known[0])
    if arm not in known:
        raise UserError(f"{part} has no arm '{arm}'; there are {', '.join(known)}.")
    claim = _of_pairs(part) if part in ALL else _of_table(part, arm) if part in TABLES else _of_regime(part, arm)
    if not claim.ratios:
        raise UserError(f"no ratio of '{arm}' is stored in {part}: a training diverged.")
    return claim


def arms_of(part: str) -> list[str]:
    """The arms of a part that are compared with plain training."""
    if part in ALL:
        return [ALL[part].arm]
    return [*TABLES[part].arms] if part in TABLES else [arm for arm in REGIMES[part].arms if arm != PLAIN]


def _of_pairs(part: str) -> Claim:
    config, steps = compared_pairs(part)
    own = len(config.seeds)  # behind those of a regime that it extends
    ratios = {judge: one["values"][-own:] for judge, one in stored(NAME, part)["ratios"].items() if "values" in one}
    return Claim(config, ALL[part].arm, steps, config.seeds, ratios)


def _of_table(part: str, arm: str) -> Claim:
    config, found = compared_variants(part), stored(NAME, part)
    rows, steps = found["rows"], dict.fromkeys((PLAIN, arm), found["steps"])
    return Claim(config, arm, steps, found["seeds"], ratios_by_seed(rows, arm, PLAIN))


def _of_regime(part: str, arm: str) -> Claim:
    found = stored(NAME, part)
    config = config_of(REGIMES[part], found["seeds"])
    steps = dict.fromkeys((PLAIN, arm), config.train.optimiser.steps)
    ratios = {judge: one["values"] for judge, one in found["ratios"]["equal_steps"][arm].items() if "values" in one}
    return Claim(config, arm, steps, found["seeds"], ratios)
