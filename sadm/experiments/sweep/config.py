"""What a sweep is: options, the values of each, seeds. Imports no torch."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator
from tyro import conf

from sadm.core.config import build_config, flatten
from sadm.core.errors import UserError
from sadm.experiments.config import NOT_AN_ARMS, YET_AN_ARMS, Experiment, Share
from sadm.training.config import TrainConfig
from sadm.training.net_config import merge_training

NOT_VARIED = {
    **NOT_AN_ARMS,
    "optimiser.steps": "settings are compared after equal steps; set it for the whole sweep with --train.optimiser.steps",
    "log": "it changes no training",
    "sampling": "it changes no training; `sadm compare` judges one training with several samplers (key 'samplers')",
}
NOTHING_VARIES = (
    "nothing varies: give --vary KEY=VALUE,VALUE such as --vary optimiser.learning-rate=1e-3,2e-3, or --grid FILE with lines "
    "'KEY: [VALUE, VALUE]'."
)
_LONGEST = 100


class SweepConfig(Experiment):
    """Every combination of some options' values, with paired seeds, after equal steps."""

    FILE: ClassVar[str] = "sweep.yaml"
    KIND: ClassVar[str] = "sweep"

    vary: conf.Suppress[dict[str, list[Any]]] = {}
    """Values of each option that varies, by its dotted key; empty while the other options are still being read."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0, 1, 2]
    """Paired seeds of the search, 0 to 9; what it finds is reported on others, from 100 on."""
    baseline: str | None = None
    """The setting that all are measured against, as the table names it; None = the first value of every option."""
    early_stop: list[Share] = []
    """Train every setting for these shares of the steps first, such as 0.25 0.5, and stop the worse ones there."""
    keep: Share = 0.5
    """Share of the settings that goes on after each early stop; at least one does, and the baseline always."""
    per_class: conf.Suppress[bool] = False
    structure_metric: conf.Suppress[bool] = False
    audit: conf.Suppress[bool] = False
    downstream: conf.Suppress[bool] = False
    representation: conf.Suppress[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, values: Any) -> Any:
        """Keys as the configuration spells them."""
        if isinstance(values, Mapping) and isinstance(values.get("vary"), Mapping):
            return {**values, "vary": canonical_grid(values["vary"])}
        return values

    @model_validator(mode="after")
    def _sensible(self) -> SweepConfig:
        if sorted(set(self.early_stop)) != self.early_stop:
            raise ValueError(f"early_stop must rise from share to share, got {self.early_stop}")
        if self.vary:
            self._check_grid()
        return self

    def _check_grid(self) -> None:
        plain = flatten(self.train.model_dump(mode="json"))
        for key, values in self.vary.items():
            _check_key(key, plain)
            if not values:
                raise ValueError(f"'{key}' has no values: give --vary {key}=VALUE,VALUE")
        if len(self.settings) != math.prod(map(len, self.vary.values())):
            raise ValueError("a value is given twice; every value of an option must differ from its others")
        if self.baseline is not None and self.baseline not in self.settings:
            raise ValueError(f"there is no setting '{self.baseline}'; there are {_few(list(self.settings))}")

    @cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """By name, what each setting changes: its value of every option that varies, by dotted key.

        Raises:
            UserError: an unknown key or a value that does not fit.
        """
        words, found = _short_keys(list(self.vary)), {}
        for values in itertools.product(*self.vary.values()):
            given = dict(zip(self.vary, values, strict=True))
            title = ", ".join(f"{key}={value}" for key, value in given.items())
            change = merge_training(self.train.model_dump(mode="json"), nested(given))
            built = flatten(build_config(TrainConfig, change, f"setting {title}").model_dump(mode="json"))
            typed = {key: built.get(key) for key in given}  # as the option's type has it: 1e-3 and 0.001 are one value
            found[_name({words[key]: value for key, value in typed.items()})] = typed
        return found

    @property
    def changes(self) -> Mapping[str, Mapping[str, Any]]:
        """By setting, what it changes in `train`."""
        return {name: nested(values) for name, values in self.settings.items()}

    @property
    def first(self) -> str:
        """The setting that all are measured against."""
        return self.baseline or next(iter(self.settings))


def canonical_grid(grid: Mapping[Any, Any]) -> dict[str, Any]:
    """Dotted keys, spelled with underscores, from a mapping that may be nested and may write dashes.

    Raises:
        UserError: a key is given twice.
    """
    found: dict[str, Any] = {}
    for key, values in flatten(grid).items():
        name = str(key).replace("-", "_").removeprefix("train.")
        if name in found:
            raise UserError(f"'{name}' is given twice; put all its values into one list.")
        found[name] = values if isinstance(values, list) else [values]
    return found


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` becomes ``{"a": {"b": 1}}``."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return tree


def _check_key(key: str, plain: Mapping[str, Any]) -> None:
    """Refuses what may not vary; unknown keys are refused when the settings are built."""
    inside = [name.removeprefix(f"{key}.") for name in plain if name.startswith(f"{key}.")]
    if not key.startswith(YET_AN_ARMS):
        for part, why in NOT_VARIED.items():
            if key == part or key.startswith(f"{part}."):
                raise UserError(f"'{key}' can't vary in a sweep: {why}.")
    if inside:
        raise UserError(
            f"'{key}' is a group of options; vary one of them: {_few([f'{key}.{name}' for name in inside])}."
        )


def _short_keys(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key, or as many as tell it from the others."""
    short = {}
    for key in keys:
        parts = key.split(".")
        tails = [".".join(parts[-length:]) for length in range(1, len(parts) + 1)]
        others = [f".{other}" for other in keys if other != key]
        short[key] = next((tail for tail in tails if not any(o.endswith(f".{tail}") for o in others)), key)
    return short


def _name(values: Mapping[str, Any]) -> str:
    """Names a setting, and its folder: long or odd values are cut, and told apart by a digest."""
    plain = " ".join(f"{key}={value}" for key, value in values.items())
    safe = re.sub(r"[^\w.+=, -]", "_", plain)
    if safe == plain and len(safe) <= _LONGEST:
        return plain
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:6]
    return f"{safe[:_LONGEST]} {digest}"


def _few(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(f"'{name}'" for name in names[:most]) + (
        f" and {len(names) - most} more" if len(names) > most else ""
    )
