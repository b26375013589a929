"""What a contestant is, to the harness. Imports nothing but this package and torch: a contestant may have its own environment."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch

from sadm.data import ImageSet
from sadm.data.batches import Batch

CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Task:
    """A training that a contestant is to start.

    Attributes:
        images: the training images.
        size: key of the contestant's sizes.
        learning_rate: its peak.
        seed: of everything random.
        steps: of the whole training, the horizon of schedules.
        budget: CPU-seconds, for what is sized by it.
        restored: the state will be loaded; what it holds need not be computed.
        changes: of the contestant's own settings; see `changes_of`.
    """

    images: ImageSet
    size: str
    learning_rate: float
    seed: int
    steps: int
    budget: float
    restored: bool = False
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A way to draw images from a trained model.

    Attributes:
        title: what it is, for a table.
        nfe: network evaluations for an image.
        settings: the contestant's own.
    """

    title: str
    nfe: int
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


class Training(Protocol):
    """A training under way; what comes next depends on the task and on `state_dict` alone.

    Attributes:
        step: steps done.
        batch: images a step.
        setup_seconds: CPU-seconds spent before the first step; charged to the budget.
        parameters: trained weights of the generator.
    """

    step: int
    batch: int
    setup_seconds: float
    parameters: int

    def advance(self) -> float:
        """One step; returns its loss, whatever that is for the contestant."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores it."""
        ...

    def draw(self, labels: torch.Tensor, first: int, seed: int, sampler: Sampler) -> torch.Tensor:
        """Images [n, 1, H, W] in [-1, 1] for labels [n]; they are number `first` and on of the seed's sequence."""
        ...


class Contestant(Protocol):
    """One way to train.

    Attributes:
        title: what it is, for a table.
        sizes: by name, the network's.
        variants: by name, changes of other settings, which the search tries.
        samplers: by name; the search judges the grid with the first.
        batch: images a step, where no variant changes it.
        in_environment: whether it runs with this interpreter.
    """

    title: str
    sizes: dict[str, dict[str, Any]]
    variants: dict[str, dict[str, Any]]
    samplers: dict[str, Sampler]
    batch: int
    in_environment: bool

    def start(self, task: Task) -> Training:
        """Sets a training up."""
        ...

    def versions(self) -> dict[str, str]:
        """Of the packages that it is made of."""
        ...


def find(name: str) -> Contestant:
    """A contestant by its name.

    Raises:
        UserError: there is none of that name.
    """
    from benchmarks.peers.plan import CONTESTANTS
    from sadm.core.errors import UserError

    if name not in CONTESTANTS:
        raise UserError(f"unknown contestant '{name}'; there are {', '.join(CONTESTANTS)}.")
    module = {"ours_plain": "ours", "ours_structure": "ours"}.get(name, name)
    found: Contestant = importlib.import_module(f"benchmarks.peers.{module}").CONTESTANTS[name]
    return found


def changes_of(contestant: Contestant, variants: Iterable[str]) -> dict[str, Any]:
    """The settings that these variants change, together.

    Raises:
        UserError: the contestant has no variant of that name.
    """
    from sadm.core.config import merge
    from sadm.core.errors import UserError

    together: dict[str, Any] = {}
    for name in variants:
        if name not in contestant.variants:
            raise UserError(
                f"unknown variant '{name}' of {contestant.title}; there are {', '.join(contestant.variants)}."
            )
        together = merge(together, contestant.variants[name])
    return together


def count_parameters(net: torch.nn.Module) -> int:
    """Trained weights of a network."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def seeded(seed: int, build: Callable[[], Any]) -> Any:
    """What `build` makes, its initial weights drawn from the seed; the global generator stays as it was."""
    from sadm.core.seeds import derive_seed

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "network"))
        return build()


def share_of_rate(done: float, rate: str, warmup: float) -> float:
    """Share of the peak learning rate after a share of the steps, for loops that leave it constant.

    Args:
        done: share of the steps, from 0 to 1.
        rate: "constant", or "cosine" down to zero.
        warmup: share of the steps in which it rises.
    """
    warm = min(1.0, done / warmup) if warmup else 1.0
    return warm * (0.5 * (1 + math.cos(math.pi * done)) if rate == "cosine" else 1.0)


def labels_of(batch: Batch) -> torch.Tensor:
    """The labels [B] of a batch that has some."""
    assert batch.cond.label is not None  # noqa: S101 - the harness gives labelled images
    return batch.cond.label
