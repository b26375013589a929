"""What a comparison is: arms, seeds, budgets. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from tyro import conf

from sadm.core.config import Config, Positive, build_config, flatten, merge
from sadm.core.errors import UserError
from sadm.experiments.prices import BusinessConfig
from sadm.training.config import SamplingConfig, TrainConfig
from sadm.training.net_config import merge_training

CONTROL, SADM, HIDDEN = "plain", "sadm", "hidden"
VERDICT_ON = (HIDDEN, SADM)
"""Arms that a verdict is about, the first that takes part; the better one first (benchmarks/structure)."""
NOT_AN_ARMS = {
    "data": "all arms train on the same images, and are judged by the same held-out ones; set it for the whole comparison",
    "seed": "seeds are paired; list them under 'seeds'",
    "optimiser.steps": "budgets are the comparison's; set it for the whole comparison",
    "device": "costs on different devices can't be compared; set it for the whole comparison",
}
YET_AN_ARMS = "data.augment."  # how the same images are trained on
_NAME = re.compile(r"\w([\w .+-]{0,58}[\w+])?")

Share = Annotated[float, Field(gt=0, lt=1)]


class Kept(Config):
    """What a folder of results was begun with."""

    FILE: ClassVar[str]
    """Where a folder keeps its configuration."""
    KIND: ClassVar[str]
    """The word for it."""


class Experiment(Kept):
    """What the engine needs to know: trainings by arm and seed, judged alike."""

    train: TrainConfig = TrainConfig()
    """What all runs share; each has a seed of its own, and in a comparison every arm its signal."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    """Paired seeds; more can be added to what is finished."""
    groups: Positive = 4
    """Generated images are judged in this many groups, each as large as the reference."""
    samplers: conf.Suppress[dict[str, dict[str, Any]]] = {}
    """Further sampler settings by name, such as {"5 NFE": {"steps": 3}}: what each changes in an arm's `sampling`. Every
    trained model is judged with them, too, from the same noise."""
    per_class: bool = False
    """Judge class by class as well, and by precision and recall; takes longer."""
    structure_metric: bool = False
    """Measure how far the arrangement of each model's images among each other is from that of real images, too."""
    audit: bool = False
    """Look for copies of training images among each model's images, too."""
    downstream: bool = False
    """Measure what classifiers gain from each model's images, too, in accuracy and in real images; takes longer."""
    representation: bool = False
    """Measure how plainly each model's own features tell classes apart, too, on clean and on corrupted images."""
    judges: list[str] = []
    """Further feature spaces whose agreement the verdict needs: inception[:FILE] (FID), dinov2[:MODEL], transformers:MODEL,
    timm:MODEL, python:MODULE:FUNCTION."""
    jobs: Positive = 2
    """Training runs at a time, each on one thread. An accelerator takes one: of more jobs than there are, the others wait."""
    lang: Literal["en", "ja"] = "en"
    """Language of the report."""
    business: BusinessConfig = BusinessConfig()
    """Prices and yearly numbers, from which the report computes money; may be given later."""

    @model_validator(mode="after")
    def _seeds_differ(self) -> Experiment:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ from each other, got {self.seeds}")
        return self

    @property
    def changes(self) -> Mapping[str, Mapping[str, Any]]:
        """By arm, what it changes in `train`."""
        raise NotImplementedError

    def arm_config(self, arm: str, seed: int, steps: int | None = None) -> TrainConfig:
        """The training configuration of one run; `steps` None = as many as `train` says."""
        change = merge(
            self.changes[arm], {"seed": seed} if steps is None else {"seed": seed, "optimiser": {"steps": steps}}
        )
        return build_config(TrainConfig, merge_training(self.train.model_dump(mode="json"), change), f"arm {arm}")

    def sampling(self, arm: str, sampler: str) -> SamplingConfig:
        """How an arm's models are sampled with one of `samplers`."""
        base = self.arm_config(arm, self.seeds[0]).sampling.model_dump(mode="json")
        return build_config(SamplingConfig, merge(base, self.samplers[sampler]), f"sampler {sampler}")


class CompareConfig(Experiment):
    """Plain training against other arms: paired seeds, at equal steps and at equal cost."""

    FILE: ClassVar[str] = "compare.yaml"
    KIND: ClassVar[str] = "comparison"

    arms: conf.Suppress[dict[str, dict[str, Any]]] = {
        CONTROL: {"signal": "none"},
        HIDDEN: {"signal": "hidden"},
        SADM: {"signal": "structure"},
    }
    """What each arm changes in `train`. 'plain' is the control; the verdict is about 'hidden', else 'sadm', else the first
    other arm."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [100, 101, 102]
    """Paired seeds; more can be added to a finished comparison."""
    cost_shares: list[Share] = []
    """Train at these shares of plain training's budget, too, such as 0.7, to see at what cost an arm gets as good."""
    stop_hopeless: bool = False
    """Give no further seeds to an arm that is worse in every deciding judge at equal cost beyond doubt, or that always diverges;
    looked at after the third seed and each further one."""
    cost_steps: Annotated[int, Field(ge=20, multiple_of=5)] = 200
    """Steps of each arm in the interleaved measurement of cost."""

    @model_validator(mode="after")
    def _sensible(self) -> CompareConfig:
        if CONTROL not in self.arms or len(self.arms) < 2:
            raise ValueError(f"arms must be '{CONTROL}', the control, and at least one other, got {sorted(self.arms)}")
        for name in (*self.arms, *self.samplers):
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"'{name}' can't name an arm or a sampler: use at most 60 letters, digits, spaces, '_', '-', '+' and "
                    "'.', with a letter or digit first"
                )
        for arm in self.arms:
            self._check_arm(arm)
            for name in self.samplers:
                self.sampling(arm, name)
        return self

    @property
    def treatment(self) -> str:
        """The arm that the verdict is about; the others are controls."""
        return next((arm for arm in VERDICT_ON if arm in self.arms), self.others[0])

    @property
    def others(self) -> list[str]:
        """All arms but the control."""
        return [arm for arm in self.arms if arm != CONTROL]

    @property
    def changes(self) -> Mapping[str, Mapping[str, Any]]:
        """By arm, what it changes in `train`."""
        return self.arms

    def _check_arm(self, arm: str) -> None:
        own = build_config(
            TrainConfig, merge_training(self.train.model_dump(mode="json"), self.arms[arm]), f"arm {arm}"
        )
        shared = flatten(self.train.model_dump(mode="json"))
        for key, value in flatten(own.model_dump(mode="json")).items():
            if key.startswith(YET_AN_ARMS):
                continue
            reason = next((why for part, why in NOT_AN_ARMS.items() if key == part or key.startswith(f"{part}.")), None)
            if reason is not None and value != shared[key]:
                raise UserError(f"arm '{arm}' sets {key} to {value!r}, the comparison to {shared[key]!r}: {reason}.")
