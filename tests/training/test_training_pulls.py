"""The bound on what a signal asks for in a hidden layer: by hand, and in the step of a training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import sadm.training.learner
from sadm.core.conditions import Cond
from sadm.core.config import merge
from sadm.core.errors import UserError
from sadm.models import DiT
from sadm.signals import Taps
from sadm.training.config import load_train_config
from sadm.training.learner import Learner
from sadm.training.pulls import Pull, total
from tiny import TINY, tiny_config, tiny_images, tiny_learner

DEEP = {"depth": 3}


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(gradient: torch.Tensor, reaching: torch.Tensor, ratio: float) -> list[list[float]]:
    """Each image's numbers, times min(1, ratio |reaching| / |gradient|)."""
    rows = []
    for own, other in zip(gradient.flatten(1).tolist(), reaching.flatten(1).tolist(), strict=True):
        size, limit = math.hypot(*own), ratio * math.hypot(*other)
        rows.append([min(1.0, limit / size) * v if size else 0.0 for v in own])
    return rows


def test_a_pull_within_its_bound_is_left_alone_and_one_beyond_is_shortened() -> None:
    gradient, reaching = numbers(0, 4, 3, 2), numbers(1, 4, 3, 2)
    gradient[0] *= 1e-3
    gradient[1] *= 1e3
    gradient[2] = 0
    reaching[3] = 0
    found = Pull(gradient, 0.25).within(lambda: reaching)
    assert found.flatten(1).tolist() == [pytest.approx(row, rel=1e-12) for row in by_hand(gradient, reaching, 0.25)]
    assert torch.equal(found[0], gradient[0])
    assert not found[3].any()


def test_without_a_bound_nobody_is_asked_what_reaches_the_layer() -> None:
    def never() -> torch.Tensor:
        raise AssertionError

    gradient = numbers(0, 4, 3)
    assert torch.equal(total([Pull(gradient), Pull(2 * gradient)], never), 3 * gradient)


def test_pulls_at_one_layer_are_bounded_one_by_one() -> None:
    gradient, reaching = numbers(0, 4, 3), numbers(1, 4, 3)
    found = total([Pull(gradient, 0.1), Pull(gradient)], lambda: reaching)
    expected = torch.tensor(by_hand(gradient, reaching, 0.1), dtype=torch.float64) + gradient
    torch.testing.assert_close(found, expected)
    assert torch.equal(Pull(gradient, 0.1)[1:3].gradient, gradient[1:3])
    assert Pull(gradient, 0.1).scaled(0.5).ratio == 0.1


@pytest.mark.parametrize("registers", [0, 2])
def test_what_reaches_a_layer_is_what_a_backward_pass_leaves_there(registers: int) -> None:
    net = DiT((1, 8, 8), patch=4, width=16, depth=2, heads=2, registers=registers).double()
    for number, parameter in enumerate(net.parameters()):
        parameter.data = 0.3 * numbers(number, *parameter.shape)
    x, at_output = numbers(50, 3, 1, 8, 8), numbers(51, 3, 1, 8, 8)
    kept: list[torch.Tensor] = []
    net.blocks[0].register_forward_hook(lambda module, inputs, output: kept.append(output) or output.retain_grad())
    with Taps(net, ["blocks.0"]).recording() as recorded:
        x0_hat = net(x, torch.zeros(3, dtype=torch.float64), Cond())
    found = recorded.reaching("blocks.0", x0_hat, at_output)
    assert found.shape == recorded["blocks.0"].shape == (3, 4, 16)
    kept[0].grad = None
    (x0_hat * at_output).sum().backward()  # the graph is still there
    torch.testing.assert_close(found, kept[0].grad[:, :4])


def test_a_layer_that_the_output_does_not_need_is_named() -> None:
    net = torch.nn.ModuleDict({"used": torch.nn.Linear(2, 2), "idle": torch.nn.Linear(2, 2)})
    x = torch.ones(1, 2)
    with Taps(net, ["used", "idle"]).recording() as recorded:
        x0_hat = net["used"](x)
        net["idle"](x)
    with pytest.raises(UserError, match="output does not depend on its module 'idle'"):
        recorded.reaching("idle", x0_hat, torch.ones_like(x0_hat))


def advanced(ratio: float | None, steps: int = 4, **change: Any) -> list[dict[str, float]]:
    config = tiny_config(signal="hidden", net=DEEP, control={"ratio": ratio}, **change)
    learner = tiny_learner(config, tiny_images())
    return [{name: float(value) for name, value in learner.advance().items()} for _ in range(steps)]


def test_in_a_training_each_image_is_held_to_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = []

    def seen(pulls: Any, reaching: Any) -> torch.Tensor:
        found, there = total(pulls, reaching), reaching()
        expected = by_hand(pulls[0].gradient, there, pulls[0].ratio)
        assert found.flatten(1).tolist() == [pytest.approx(row, rel=1e-4, abs=1e-9) for row in expected]
        ratios.append(pulls[0].ratio)
        return found

    monkeypatch.setattr(sadm.training.learner, "total", seen)
    advanced(0.2, structure={"warmup": 1.0, "end": 1.0}, optimiser={"steps": 4})
    assert ratios == pytest.approx([0.05, 0.1, 0.15, 0.2])  # it grows in the warm-up


def test_a_network_that_answers_zero_yet_is_left_alone() -> None:
    """Behind an output of zeros no denoising gradient reaches the layer, and nothing else may rule it."""
    plain = tiny_learner(tiny_config(signal="none", net=DEEP), tiny_images()).advance()
    free, held = advanced(None, 1)[0], advanced(0.5, 1)[0]
    assert held["grad_norm"] == float(plain["grad_norm"])
    assert free["grad_norm"] > held["grad_norm"]


def test_a_bound_changes_a_training() -> None:
    free, held = ([row["grad_norm"] for row in advanced(ratio)] for ratio in (None, 0.01))
    assert held != pytest.approx(free, rel=1e-4)


def test_the_exact_mode_bounds_as_the_whole_batch_does() -> None:
    whole = advanced(0.05)
    exact = advanced(0.05, parallel={"accumulate": 2, "exact": True})
    for one, other in zip(whole, exact, strict=True):
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
        assert other["hidden"] == pytest.approx(one["hidden"], rel=1e-4)


def learner_of(**change: Any) -> Learner:
    asked = {"signal": "hidden", "control": {"ratio": 0.1}}
    config = load_train_config(
        overrides={**TINY, **asked, **change} if "net" in change else merge(TINY, {**asked, **change})
    )
    return tiny_learner(config, tiny_images())


@pytest.mark.parametrize(
    "change",
    [
        {"net": {**TINY["net"], "registers": 2, "depth": 2}},
        {"net": {"kind": "unet", "unet": {"channels": [32, 32], "layers": 1}}},
        {"parallel": {"recompute": True}},
        {"parallel": {"compile": "aot_eager"}},
        {"parallel": {"precision": "bfloat16"}},
        {"process": {"kind": "flow"}},
    ],
)
def test_it_goes_with_every_network_and_way_to_train(change: dict[str, Any]) -> None:
    learner = learner_of(**change)
    for _ in range(3):
        assert torch.isfinite(learner.advance()["grad_norm"])


@pytest.mark.parametrize("ratio", [0.0, -1.0])
def test_a_ratio_that_is_not_positive_is_refused(ratio: float) -> None:
    with pytest.raises(UserError, match=r"control\.ratio"):
        tiny_config(signal="hidden", control={"ratio": ratio})
