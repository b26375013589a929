"""Guidance on every path, within an interval, and by a weak model."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from diffusion_nets import Net, as_images, normal
from torch import nn

from sadm.core.conditions import Cond
from sadm.diffusion import (
    AutoGuidance,
    ClassifierFreeGuidance,
    EDMDenoiser,
    FlowDenoiser,
    VarianceExploding,
    VPDenoiser,
    VPSchedule,
    heun,
    karras_sigmas,
    uniform_times,
)

SIGMA = torch.tensor([0.2, 1.0, 9.0], dtype=torch.float64)
X_T = normal(1)
NULL = 5
COND, NONE = Cond(label=torch.tensor([0, 3, 1])), Cond(label=torch.full((3,), NULL))


class Labelled(nn.Module):
    """A network whose answer depends on the label."""

    def __init__(self, outputs: int = 2, scale: float = 1.0, strength: float = 1.0) -> None:
        super().__init__()
        self.net = Net(outputs, scale)
        self.strength = strength
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        assert cond.label is not None
        self.sizes.append(len(x))
        return self.net(x + self.strength * as_images(cond.label.double().sin()), c_noise, cond)


def denoisers() -> dict[str, Callable[[], nn.Module]]:
    return {
        "edm": lambda: EDMDenoiser(Labelled()),
        "vp": lambda: VPDenoiser(Labelled(scale=100.0), VPSchedule.linear()),
        "vp variance": lambda: VPDenoiser(Labelled(4, 100.0), VPSchedule.linear(), "v", learned_variance=True),
        "flow": lambda: FlowDenoiser(Labelled()),
    }


@pytest.mark.parametrize("name", denoisers())
def test_all_four_ways_to_ask_are_guided_alike(name: str) -> None:
    denoiser = denoisers()[name]()
    guided = ClassifierFreeGuidance(denoiser, 2.5, NULL)
    conditional = denoiser.predict(X_T, SIGMA, COND)
    expected = 2.5 * conditional.x0_hat - 1.5 * denoiser(X_T, SIGMA, NONE)
    z, t = as_images(denoiser.path.alpha_of(SIGMA)) * X_T, denoiser.path.time(SIGMA)
    close = {"rtol": 1e-8, "atol": 1e-8}
    torch.testing.assert_close(guided(X_T, SIGMA, COND), expected, **close)
    torch.testing.assert_close(guided.at(z, t, COND), expected, **close)
    torch.testing.assert_close(guided.at(z[:1], float(t[0]), COND[:1]), expected[:1], **close)
    for found in (guided.predict(X_T, SIGMA, COND), guided.predict_at(z, t, COND)):
        torch.testing.assert_close(found.x0_hat, expected, **close)
        assert (found.variance is None) == (conditional.variance is None)
        if found.variance is not None:  # that of the conditional branch
            torch.testing.assert_close(found.variance, conditional.variance, **close)
    assert guided.path == denoiser.path
    assert guided.schedule is getattr(denoiser, "schedule", None)


def test_a_plain_function_is_guided_on_the_variance_exploding_path() -> None:
    inner = EDMDenoiser(Labelled())
    guided = ClassifierFreeGuidance(lambda x_t, sigma, cond: inner(x_t, sigma, cond), 2.0, NULL)
    assert guided.path == VarianceExploding()
    expected = ClassifierFreeGuidance(inner, 2.0, NULL)(X_T, SIGMA, COND)
    for found in (guided(X_T, SIGMA, COND), guided.at(X_T, SIGMA, COND), guided.predict(X_T, SIGMA, COND).x0_hat):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", denoisers())
def test_within_an_interval_only_and_at_its_price(name: str) -> None:
    denoiser = denoisers()[name]()
    always, alone = ClassifierFreeGuidance(denoiser, 2.5, NULL)(X_T, SIGMA, COND), denoiser(X_T, SIGMA, COND)
    denoiser.net.sizes.clear()
    found = ClassifierFreeGuidance(denoiser, 2.5, NULL, (0.2, 1.0))(X_T, SIGMA, COND)  # 0.2 is out, 1.0 is in, 9 is out
    torch.testing.assert_close(found[1], always[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[[0, 2]], alone[[0, 2]], rtol=1e-12, atol=1e-12)
    outside = ClassifierFreeGuidance(denoiser, 2.5, NULL, (20.0, 30.0))(X_T, SIGMA, COND)
    assert torch.equal(outside, alone)
    assert denoiser.net.sizes == [6, 3]


def test_a_solver_pays_for_guidance_within_the_interval_only() -> None:
    denoiser = EDMDenoiser(Labelled())
    sigmas = karras_sigmas(8)
    heun(ClassifierFreeGuidance(denoiser, 2.0, NULL, (0.1, 5.0)), normal(2), sigmas, COND)
    levels = [sigmas[0], *(sigma for sigma in sigmas[1:-1] for _ in range(2))]
    assert denoiser.net.sizes == [6 if 0.1 < sigma <= 5 else 3 for sigma in levels]
    denoiser = FlowDenoiser(Labelled())
    heun(ClassifierFreeGuidance(denoiser, 2.0, NULL, (0.1, 5.0)), normal(2), uniform_times(4), COND, denoiser.path)
    assert denoiser.net.sizes == [3, 6, 6, 6, 6, 6, 6]  # sigma inf, 3, 3, 1, 1, 1/3, 1/3


@pytest.mark.parametrize("name", denoisers())
def test_autoguidance_is_the_strong_model_away_from_the_weak_one(name: str) -> None:
    denoiser, weak = denoisers()[name](), EDMDenoiser(Labelled(strength=0.3))
    guided = AutoGuidance(denoiser, weak, 1.8)
    expected = 1.8 * denoiser(X_T, SIGMA, COND) - 0.8 * weak(X_T, SIGMA, COND)
    z, t = as_images(denoiser.path.alpha_of(SIGMA)) * X_T, denoiser.path.time(SIGMA)
    close = {"rtol": 1e-8, "atol": 1e-8}
    torch.testing.assert_close(guided(X_T, SIGMA, COND), expected, **close)
    torch.testing.assert_close(guided.at(z, t, COND), expected, **close)
    found, own = guided.predict_at(z, t, COND), denoiser.predict_at(z, t, COND)
    torch.testing.assert_close(found.x0_hat, expected, **close)
    assert found.variance is own.variance or torch.equal(found.variance, own.variance)
    weak.net.sizes.clear()
    assert torch.equal(AutoGuidance(denoiser, weak, 1.0)(X_T, SIGMA, COND), denoiser(X_T, SIGMA, COND))
    assert torch.equal(AutoGuidance(denoiser, weak, 1.8, (10.0, 20.0))(X_T, SIGMA, COND), denoiser(X_T, SIGMA, COND))
    assert not weak.net.sizes


def test_both_guidances_go_together() -> None:
    denoiser, weak = FlowDenoiser(Labelled()), FlowDenoiser(Labelled(strength=0.3))
    guided = ClassifierFreeGuidance(AutoGuidance(denoiser, weak, 1.8), 2.0, NULL)
    per_label = [1.8 * denoiser(X_T, SIGMA, cond) - 0.8 * weak(X_T, SIGMA, cond) for cond in (COND, NONE)]
    torch.testing.assert_close(guided(X_T, SIGMA, COND), 2 * per_label[0] - per_label[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("interval", [(1.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (0.0, math.nan)], ids=str)
def test_an_interval_without_noise_levels_is_refused(interval: tuple[float, float]) -> None:
    for make in (
        lambda: ClassifierFreeGuidance(EDMDenoiser(Net()), 2.0, NULL, interval),
        lambda: AutoGuidance(EDMDenoiser(Net()), EDMDenoiser(Net()), 2.0, interval),
    ):
        with pytest.raises(ValueError, match="a guidance interval of noise levels needs 0 <= low < high, got"):
            make()


def test_guidance_without_a_null_class_is_refused_on_a_path() -> None:
    with pytest.raises(ValueError, match="this one has no null class"):
        ClassifierFreeGuidance(FlowDenoiser(Net()), 2.0, None)
