"""What the peers of benchmarks.peers minimise, at which noise and with which learning rate, against diffusers and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from test_benchmarks_peers import TINY

from benchmarks.peers import schedulers
from benchmarks.peers.contestant import find, share_of_rate
from benchmarks.peers.diffusers_unet import UNetTraining
from benchmarks.peers.dit_loop import alphas_bar, squared_error


@pytest.mark.parametrize("betas", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_restated_loss_is_that_of_the_libraries_scheduler(
    betas: str, prediction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=1000, beta_schedule=betas)
    draws = torch.Generator().manual_seed(1)
    x0, noise = (torch.randn(4, 1, 8, 8, generator=draws) for _ in range(2))
    t, label = torch.tensor([0, 10, 500, 999]), torch.tensor([0, 1, 2, 10])
    contestant = find("dit_loop")
    monkeypatch.setattr(contestant, "sizes", {"small": TINY["dit_loop"]})
    torch.manual_seed(0)
    net = contestant.build(contestant.options("small", {}), (1, 8, 8)).eval()
    torch.nn.init.normal_(net.proj_out_2.weight)
    torch.nn.init.normal_(net.proj_out_1.weight)
    target = {"epsilon": noise, "v_prediction": scheduler.get_velocity(x0, noise, t), "sample": x0}[prediction]
    with torch.no_grad():
        found = squared_error(
            lambda x, t, y: net(x, timestep=t, class_labels=y).sample,
            alphas_bar(betas), x0, label, t, noise, prediction,
        )  # fmt: skip
        predicted = net(scheduler.add_noise(x0, noise, t), timestep=t, class_labels=label).sample
    assert float(found) == pytest.approx(float(((predicted - target) ** 2).mean()), rel=1e-5)
    assert torch.allclose(alphas_bar(betas), scheduler.alphas_cumprod.double(), rtol=1e-4)


@pytest.mark.parametrize("betas", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_weighted_loss_is_that_on_the_clean_image_with_a_bounded_weight(betas: str, prediction: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    from diffusers.training_utils import compute_snr

    scheduler = diffusers.DDPMScheduler(num_train_timesteps=1000, beta_schedule=betas)
    draws = torch.Generator().manual_seed(1)
    x0, noise, predicted = (torch.randn(4, 1, 8, 8, generator=draws) for _ in range(3))
    t, kept = torch.tensor([1, 10, 200, 800]), alphas_bar(betas)
    x_t, share = scheduler.add_noise(x0, noise, t).double(), kept[t][:, None, None, None]
    alpha, beta = share.sqrt(), (1 - share).sqrt()
    x0_hat = {
        "epsilon": (x_t - beta * predicted) / alpha,
        "v_prediction": alpha * x_t - beta * predicted,
        "sample": predicted,
    }
    expected = 0.0
    for one, snr in zip((x0_hat[prediction] - x0).square().flatten(1).mean(1), compute_snr(scheduler, t), strict=True):
        expected += float(one) * min(float(snr), 5.0) / len(t)
    found = squared_error(lambda *_: predicted, kept, x0, t, t, noise, prediction, 5.0)
    assert float(found) == pytest.approx(expected, rel=1e-3)
    training = UNetTraining.__new__(UNetTraining)
    training.options = find("diffusers_unet").options("small", {"prediction_type": prediction, "snr_gamma": 5.0})
    training.scheduler = scheduler
    assert float(training._loss(predicted, x0, noise, t)) == pytest.approx(expected, rel=1e-3)


def test_times_of_training_are_all_alike_or_more_in_the_middle() -> None:
    uniform, middle = (
        schedulers.draw_times(20000, torch.Generator().manual_seed(3), times).double()
        for times in ("uniform", "middle")
    )
    assert (uniform.min(), uniform.max()) == (0, 999)
    assert float(uniform.std()) == pytest.approx(1000 / math.sqrt(12), rel=0.02)
    share = (middle + 0.5) / 1000
    logit = (share / (1 - share)).log()
    assert float(logit.mean()) == pytest.approx(0.0, abs=0.03)
    assert float(logit.std()) == pytest.approx(1.0, rel=0.03)


def test_the_share_of_the_learning_rate_rises_and_falls_as_asked() -> None:
    assert share_of_rate(0.9, "constant", 0.0) == 1.0
    assert share_of_rate(0.05, "constant", 0.1) == pytest.approx(0.5)
    assert share_of_rate(0.5, "cosine", 0.1) == pytest.approx(0.5)
    assert share_of_rate(1.0, "cosine", 0.0) == pytest.approx(0.0, abs=1e-12)
