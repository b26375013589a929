"""What a proof of concept is: domains, a budget, one recipe. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from tyro import conf

from sadm.core.config import Positive
from sadm.core.errors import UserError
from sadm.experiments.config import CONTROL, HIDDEN, SADM, Kept
from sadm.experiments.poc.plan import LEAST, MOST
from sadm.experiments.prices import BusinessConfig
from sadm.training.config import TrainConfig

SIGNALS = {HIDDEN: "hidden", SADM: "structure"}
PREPARED = "prepared"
RESERVED = (PREPARED, "logs", "runs")
"""Names that a domain's folder can't have."""
OF_ONE_DOMAIN = ("miss", "defects", "defect_class")
"""Prices that differ from domain to domain."""
_UNITS = {"h": 60.0, "m": 1.0, "s": 1 / 60, "d": 1440.0}
_TIME = re.compile(r"\s*(?:\d+(?:\.\d+)?\s*(?:days?|d|hours?|h|minutes?|min|m|seconds?|sec|s)\s*)+", re.IGNORECASE)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([dhms])", re.IGNORECASE)
_MONEY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([^\d\s].*?)\s*")


class PocConfig(Kept):
    """Several domains, a small comparison each, within one budget."""

    FILE: ClassVar[str] = "poc.yaml"
    KIND: ClassVar[str] = "proof of concept"

    domains: conf.Suppress[dict[str, str]] = {}
    """By name, where the images are."""
    minutes: conf.Suppress[Annotated[float, Field(gt=0)]] = 60.0
    """The budget, on this machine, all sessions together."""
    recipe: conf.Suppress[str] = ""
    """The training recipe's name."""
    train: TrainConfig = TrainConfig()
    """What all trainings share; images, size, steps and batch are set for each domain."""
    arm: Literal["hidden", "sadm"] = "hidden"
    """What plain training is compared with: structure guidance in a hidden layer, or the paper's game."""
    more: dict[str, Annotated[float, Field(gt=0, le=100)]] = {}
    """By domain, how many times as many images its trainings see as those of other domains."""
    most_seeds: Annotated[int, Field(ge=LEAST)] = MOST
    """Paired seeds at most, however much the budget pays."""
    groups: Positive = 4
    """Generated images are judged in this many groups at most, each as large as the reference."""
    cost_steps: Annotated[int, Field(ge=20, multiple_of=5)] = 200
    """Steps of each arm in the interleaved measurement of cost; fewer where the budget is small."""
    matters: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """The smallest change of FD - floor that is worth knowing, as a share."""
    jobs: Positive = 2
    """Training runs at a time, each on one thread. An accelerator takes one: of more jobs than there are, the others wait."""
    lang: Literal["en", "ja"] = "en"
    """Language of the page and of the reports."""
    business: BusinessConfig = BusinessConfig()
    """Prices, for costs in money; may be given later."""

    @property
    def arms(self) -> dict[str, dict[str, Any]]:
        """The arms of every comparison."""
        return {CONTROL: {"signal": "none"}, self.arm: {"signal": SIGNALS[self.arm]}}

    @property
    def whole(self) -> int:
        """Images that a training of the recipe's full length sees."""
        return self.train.optimiser.steps * self.train.optimiser.batch


def minutes_of(budget: str, prices: BusinessConfig, jobs: int) -> float:
    """Minutes on this machine that a budget pays.

    Args:
        budget: a time such as '2h', '1h30m' or '45 min', or money such as '20 EUR'.
        prices: of an hour of a processor, which money needs.
        jobs: processors that work at a time.

    Raises:
        UserError: it is neither, or money without a price.
    """
    if _TIME.fullmatch(budget):
        minutes = sum(float(number) * _UNITS[unit.lower()] for number, unit in _PART.findall(budget))
    elif (money := _MONEY.fullmatch(budget)) is not None:
        if prices.hour is None or money[2].casefold() != prices.currency.strip().casefold():
            raise UserError(
                f"--budget {budget}: expected a time such as 2h or 45min, or money in the currency of the prices, for which "
                "--business.hour (an hour of one processor) and --business.currency are needed."
            )
        minutes = 60 * float(money[1]) / (prices.hour * jobs)
    else:
        raise UserError(f"--budget {budget}: expected a time such as 2h, 1h30m or 45min, or money such as 20 EUR.")
    if minutes <= 0:
        raise UserError(f"--budget {budget} is nothing; give some minutes at least.")
    return minutes


def named_domains(sources: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """Names for sources, those of known ones kept: the folder's own name, made safe and told apart from the others'."""
    named = dict(known)
    for source in sources:
        if any(_same(source, other) for other in named.values()):
            continue
        path = Path(source).expanduser()
        own = path.resolve().name if path.exists() else source.rstrip("/").rsplit("/", 1)[-1]
        base = re.sub(r"[^\w.+=,-]+", "_", own).strip("._") or "domain"
        names = (base if number == 1 else f"{base}-{number}" for number in range(1, len(named) + 3))
        named[next(name for name in names if name not in named and name not in RESERVED)] = source
    return named


def _same(one: str, other: str) -> bool:
    return one == other or Path(one).expanduser().resolve() == Path(other).expanduser().resolve()
