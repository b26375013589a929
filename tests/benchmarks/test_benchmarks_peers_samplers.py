"""The samplers of benchmarks.peers: evaluations as claimed, images as known, guidance where it is meant."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from test_benchmarks_peers import images

from benchmarks.peers import plan, schedulers
from benchmarks.peers.contestant import find
from benchmarks.peers.dit_loop import alphas_bar
from sadm.diffusion import SamplerSettings, generate, image_seeds
from sadm.training.config import NetConfig, ProcessConfig
from sadm.training.spec import spec_for


@pytest.mark.parametrize("name", list(schedulers.SAMPLERS))
@pytest.mark.parametrize(
    "process",
    [
        schedulers.DDPM,
        schedulers.Process(prediction_type="v_prediction"),
        schedulers.Process("squaredcos_cap_v2", "sample"),
        schedulers.Process("squaredcos_cap_v2"),
    ],
    ids=["epsilon", "v", "cosine, x0", "cosine, epsilon"],
)
def test_samplers_take_the_evaluations_that_they_claim_and_find_a_known_image(
    name: str, process: schedulers.Process
) -> None:
    pytest.importorskip("diffusers")
    target = torch.linspace(-0.9, 0.9, 16).reshape(1, 1, 4, 4)
    kept, calls = alphas_bar(process.beta_schedule).float(), []

    def exact(x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        calls.append(len(x_t))
        share = kept[t][:, None, None, None]
        alpha, beta = share.sqrt(), (1 - share).sqrt()
        noise = (x_t - alpha * target) / beta
        predictions = {"epsilon": noise, "v_prediction": alpha * noise - beta * target, "sample": target + 0 * x_t}
        return predictions[process.prediction_type]

    sampler = schedulers.SAMPLERS[name]
    found = schedulers.draw(exact, (1, 4, 4), torch.zeros(2, dtype=torch.int64), 0, 7, sampler, process)
    assert calls == [2] * sampler.nfe
    assert torch.allclose(found, target.expand(2, -1, -1, -1), atol=2e-2)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("betas", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("name", [name for name in schedulers.SAMPLERS if "karras" not in name])
def test_samplers_bear_a_network_that_errs_a_little(name: str, betas: str, prediction: str) -> None:
    """Of Gaussian data the best answer is known; with an error of a hundredth, samples have nearly the spread of the data."""
    pytest.importorskip("diffusers")
    kept, draws, spread = alphas_bar(betas).float(), torch.Generator().manual_seed(0), 0.4

    def nearly(x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        share = kept[t][:, None, None, None]
        alpha, beta = share.sqrt(), (1 - share).sqrt()
        x0 = alpha * spread**2 / (alpha**2 * spread**2 + beta**2) * x_t
        noise = (x_t - alpha * x0) / beta
        best = {"epsilon": noise, "v_prediction": alpha * noise - beta * x0, "sample": x0}[prediction]
        return best + 0.01 * torch.randn(x_t.shape, generator=draws)

    process, labels = schedulers.Process(betas, prediction), torch.zeros(64, dtype=torch.int64)
    found = schedulers.draw(nearly, (1, 4, 4), labels, 0, 7, schedulers.SAMPLERS[name], process)
    assert 0.34 < float(found.std()) < 0.46
    assert float((found.abs() == 1).float().mean()) < 0.05


@pytest.mark.parametrize("name", list(schedulers.GUIDED))
@pytest.mark.parametrize("betas", ["linear", "squaredcos_cap_v2"])
def test_guidance_asks_twice_within_its_noise_levels(name: str, betas: str) -> None:
    pytest.importorskip("diffusers")
    kept, seen = alphas_bar(betas), list[tuple[float, int]]()

    def net(x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        share = float(kept[t[0]])
        seen.append((math.sqrt((1 - share) / share), len(x_t) // 2))
        return torch.zeros_like(x_t)

    sampler = schedulers.GUIDED[name]
    schedulers.draw(net, (1, 4, 4), torch.zeros(2, dtype=torch.int64), 0, 7, sampler, schedulers.Process(betas))
    low, high = sampler.settings.get("within", schedulers.EVERYWHERE)
    assert [count for _, count in seen] == [2 if low < sigma <= high else 1 for sigma, _ in seen]
    assert len(seen) == 20
    assert 20 < sum(count for _, count in seen) <= sampler.nfe


@pytest.mark.parametrize("name", plan.CONTESTANTS)
def test_no_sampler_exceeds_the_cap(name: str) -> None:
    assert set(find(name).sizes) == set(plan.SIZES)
    for sampler in find(name).samplers.values():
        assert 0 < sampler.nfe <= plan.MOST_NFE


@pytest.mark.parametrize("name", list(find("ours_plain").samplers))
def test_our_samplers_take_the_evaluations_that_they_claim(name: str) -> None:
    data = images(8, 10)
    denoiser = spec_for(data, NetConfig(patch=4, width=8, depth=1, heads=2), ProcessConfig(sigma_data=0.5)).build()
    seen = []
    denoiser.net.register_forward_hook(lambda net, inputs, output: seen.append(len(output)))
    sampler = find("ours_plain").samplers[name]
    settings = dataclasses.replace(SamplerSettings(), **sampler.settings)
    generate(denoiser, data.shape, image_seeds(0, 3), torch.arange(3), 10, settings)
    assert sum(seen) == 3 * sampler.nfe


def test_the_loops_guidance_is_that_of_the_paper() -> None:
    draws = torch.Generator().manual_seed(0)
    table, x, t = torch.randn(11, generator=draws), torch.randn(2, 1, 4, 4, generator=draws), torch.tensor([3, 4])

    def net(x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return x_t * table[label][:, None, None, None] + t[:, None, None, None]

    label = torch.tensor([1, 5])
    known, unknown = net(x, t, label), net(x, t, torch.tensor([10, 10]))
    found = schedulers.guided(net, 1.25)(x, t, label)
    assert torch.allclose(found, 1.25 * known - 0.25 * unknown)
    assert torch.equal(schedulers.guided(net, 1.0)(x, t, label), unknown + (known - unknown))
