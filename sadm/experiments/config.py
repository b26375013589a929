"""What a comparison is: arms, seeds, budgets. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from tyro import conf

from sadm.core.config import Config, build_config, merge
from sadm.training.config import Positive, TrainConfig

CONTROL, TREATMENT = "plain", "sadm"


class CompareConfig(Config):
    """Plain against structure-guided training: paired seeds, at equal steps and at equal cost."""

    train: TrainConfig = TrainConfig()
    """What both arms share; its signal and seed are set by arm and seed."""
    arms: conf.Suppress[dict[str, dict[str, Any]]] = {CONTROL: {"signal": "none"}, TREATMENT: {"signal": "structure"}}
    """What each arm changes in `train`. 'plain' is the control."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [100, 101, 102]
    """Paired seeds; more can be added to a finished comparison."""
    groups: Positive = 4
    """Generated images are judged in this many groups, each as large as the reference."""
    cost_steps: Annotated[int, Field(ge=20, multiple_of=5)] = 200
    """Steps of each arm in the interleaved measurement of cost."""
    jobs: Positive = 2
    """Training runs at a time, each on one thread."""
    lang: Literal["en", "ja"] = "en"
    """Language of the report."""

    @model_validator(mode="after")
    def _sensible(self) -> CompareConfig:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ from each other, got {self.seeds}")
        if set(self.arms) != {CONTROL, TREATMENT}:
            raise ValueError(f"arms must be '{CONTROL}' and '{TREATMENT}', got {sorted(self.arms)}")
        for arm in self.arms:
            self.arm_config(arm, self.seeds[0])
        return self

    def arm_config(self, arm: str, seed: int, steps: int | None = None) -> TrainConfig:
        """The training configuration of one run; `steps` None = as many as `train` says."""
        change = merge(
            self.arms[arm], {"seed": seed} if steps is None else {"seed": seed, "optimiser": {"steps": steps}}
        )
        return build_config(TrainConfig, merge(self.train.model_dump(mode="json"), change), f"arm {arm}")
