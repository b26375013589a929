"""NaN and infinity, planted where a training computes. Each takes the step, the value, and in how many steps in a row."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

Poison = Callable[[int, float, int], None]


def _before(owner: Any, name: str, act: Callable[..., None]) -> None:
    """`act` gets the arguments of each call of a method, before it runs."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def disturbed(*arguments: Any, **named: Any) -> Any:
        act(*arguments, **named)
        return method(*arguments, **named)

    setattr(owner, name, disturbed)


def _after(owner: Any, name: str, act: Callable[..., Any]) -> None:
    """`act` gets what each call gives, and its arguments; what it returns takes the place of that."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def disturbed(*arguments: Any, **named: Any) -> Any:
        return act(method(*arguments, **named), *arguments, **named)

    setattr(owner, name, disturbed)


def _first(tensor: torch.Tensor, value: float) -> None:
    with torch.no_grad():
        tensor.view(-1)[0] = value


def _loss(at: int, value: float, times: int) -> None:
    from sadm.training import learner

    calls = {"count": -1}

    def spoilt(loss: torch.Tensor, *_: Any) -> torch.Tensor:
        calls["count"] += 1
        return loss * value if at <= calls["count"] < at + times else loss

    _after(learner, "denoising_loss", spoilt)


def _gradient(at: int, value: float, times: int) -> None:
    from sadm.training.learner import Learner

    def spoil(learner: Learner) -> None:
        if at <= learner.step < at + times:
            _first(next(p.grad for p in learner.parameters if p.grad is not None), value)

    _before(Learner, "_update", spoil)


def _data(at: int, value: float, times: int) -> None:
    from sadm.training.learner import Learner

    def spoilt(inputs: Any, learner: Learner, step: int) -> Any:
        if at <= step < at + times:
            _first(inputs.x0, value)
        return inputs

    _after(Learner, "inputs", spoilt)


def _weights(at: int, value: float, times: int) -> None:
    from sadm.training.learner import Learner

    def spoilt(log: Any, learner: Learner) -> Any:
        if at < learner.step <= at + times:
            _first(next(iter(learner.parameters)), value)
        return log

    _after(Learner, "advance", spoilt)


def _average(at: int, value: float, times: int) -> None:
    from sadm.training.learner import Learner

    def spoilt(log: Any, learner: Learner) -> Any:
        if at < learner.step <= at + times:
            _first(next(learner.ema.module.parameters()), value)
        return log

    _after(Learner, "advance", spoilt)


def _encoder(at: int, value: float, times: int) -> None:
    from sadm.training.learner import Learner

    def spoil(learner: Learner) -> None:
        if at <= learner.step < at + times:
            _first(next(learner.signals[0].encoder.parameters()), value)  # type: ignore[attr-defined]

    _before(Learner, "advance", spoil)


def _relation(at: int, value: float, times: int) -> None:
    from sadm.structure.game import StructureGame

    def spoil(game: StructureGame, *_: Any, **__: Any) -> None:
        right = getattr(game, "right_relation", game.discriminator.relation)
        game.right_relation = right  # type: ignore[attr-defined]
        spoilt = at <= game.step < at + times
        both = (lambda *given: tuple(part * value for part in right(*given))) if spoilt else right
        game.discriminator.relation = both

    _before(StructureGame, "play", spoil)


POISONS: dict[str, Poison] = {
    "loss": _loss,
    "gradient": _gradient,
    "data": _data,
    "weights": _weights,
    "average": _average,
    "encoder": _encoder,
    "relation": _relation,
}
