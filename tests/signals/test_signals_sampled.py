"""Structure of sampled batches: against the same sampler written out, and what it may touch."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from signal_steps import made_up
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.signals import SampledSignal
from sadm.structure import Processes, energy_distance


class Tiny(nn.Module):
    """x0_hat = gain * tanh(x_t) + shift of the label; float64."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.8, dtype=torch.float64))
        self.shift = nn.Parameter(torch.tensor([0.1, -0.2, 0.3, 0.0], dtype=torch.float64))

    def forward(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        return self.gain * x_t.tanh() + self.shift[cond.label].reshape(-1, 1, 1, 1)


class Encoder(nn.Module):
    """A fixed linear map of the pixels, three numbers an image."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.randn(20, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.map


def signal(**options) -> tuple[SampledSignal, Tiny]:
    denoiser, found = Tiny(), SampledSignal(Encoder(), seed=3, **{"weight": 0.5, "steps": 2, "every": 1, **options})
    found.bind(denoiser)
    return found, denoiser


def test_weights_get_the_gradient_of_the_distance_through_both_steps_of_the_sampler() -> None:
    found, denoiser = signal(sigma_min=0.5, sigma_max=4.0)
    denoised, g_dsm = made_up(dtype=torch.float64)
    contribution = found(denoised, g_dsm)
    twin = Tiny()
    noise = torch.randn(denoised.x0.shape, generator=generator(3, "sampled", 0)).double()
    cond, level = Cond(label=denoised.label), torch.ones(6, dtype=torch.float64)
    first = twin(
        4 * noise, 4 * level, cond
    )  # DPM-Solver++: the first step is Euler's in ln sigma, the last one returns x0_hat
    x = 0.5 / 4 * (4 * noise) + (1 - 0.5 / 4) * first
    distance = energy_distance(found.encoder(denoised.x0), found.encoder(twin(x, 0.5 * level, cond)))
    expected = torch.autograd.grad(0.5 * distance, [twin.gain, twin.shift])
    assert contribution.gradient is None
    assert not contribution.taps
    torch.testing.assert_close(contribution.log["sampled"], distance.detach())
    for parameter, gradient in zip(denoiser.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert found.encoder.map.grad is None


def test_samples_are_augmented_like_the_real_images() -> None:
    found, denoiser = signal()
    denoised, g_dsm = made_up(dtype=torch.float64)
    augment, asked = torch.arange(6.0)[:, None], []
    denoiser.register_forward_pre_hook(lambda module, inputs: asked.append(inputs[2].augment))
    found(dataclasses.replace(denoised, cond=dataclasses.replace(denoised.cond, augment=augment)), g_dsm)
    assert len(asked) == 2
    assert all(torch.equal(each, augment) for each in asked)


def test_it_rests_before_its_start_and_between_plays() -> None:
    found, denoiser = signal(start=2, every=3)
    played = []
    for _ in range(8):
        denoiser.zero_grad(set_to_none=True)
        log = found(*made_up(dtype=torch.float64)).log
        assert bool(log) is (denoiser.gain.grad is not None)
        played.append(bool(log))
    assert [step for step, was in enumerate(played) if was] == [3, 6]


def test_descending_brings_the_samples_closer() -> None:
    found, denoiser = signal(weight=1.0, sigma_max=4.0)
    optimiser, distances = torch.optim.Adam(denoiser.parameters(), lr=0.05), []
    for _ in range(60):
        optimiser.zero_grad()
        distances.append(float(found(*made_up(batch=64, dtype=torch.float64)).log["sampled"]))
        optimiser.step()
    assert sum(distances[-10:]) < 0.6 * sum(distances[:10])


def test_a_restored_signal_goes_on_bit_for_bit() -> None:
    whole, one = signal()
    for seed in range(2):
        whole(*made_up(seed=seed, dtype=torch.float64))
    restored, two = signal()
    restored.load_state_dict(copy.deepcopy(whole.state_dict()))
    one.zero_grad(), two.zero_grad()
    expected, found = (each(*made_up(seed=2, dtype=torch.float64)).log["sampled"] for each in (whole, restored))
    assert torch.equal(expected, found)
    assert torch.equal(one.gain.grad, two.gain.grad)


def test_several_processes_are_refused_at_the_first_step_although_it_begins_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sadm.signals.sampled.processes_here", lambda: Processes(0, 2))
    found = SampledSignal(Encoder(), seed=0, start=100)
    with pytest.raises(UserError, match="works in one process only"):
        found(*made_up(dtype=torch.float64))


def test_what_can_not_work_is_refused() -> None:
    with pytest.raises(UserError, match="weight >= 0, got nan"):
        signal(weight=math.nan)
    with pytest.raises(ValueError, match=r"bind\(denoiser\) first"):
        SampledSignal(Encoder(), seed=0)(*made_up(dtype=torch.float64))
    found, denoiser = signal()
    with torch.no_grad():
        denoiser.gain.fill_(torch.nan)
    with pytest.raises(UserError, match=r"signal 'sampled' stopped at step 0: embeddings hold NaN"):
        found(*made_up(dtype=torch.float64))
    assert denoiser.gain.grad is None
