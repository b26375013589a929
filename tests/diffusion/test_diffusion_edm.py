"""EDM preconditioning, the noising step and the loss, against table 1 of the paper and plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sadm.core.conditions import Cond
from sadm.diffusion import EDMDenoiser, LogNormalSigma, denoise, denoising_loss

SIGMA_DATA = st.floats(0.05, 3)
SQUARE = (4, 3, 4, 4)  # as many images as columns and rows: values that spread over the width would go unseen elsewhere


def draws(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Recorder(nn.Module):
    """A network that remembers its input and answers with fixed numbers."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        self.seen = x, c_noise, cond
        return self.answer


@settings(max_examples=50, deadline=None)
@given(sigma=st.floats(1e-3, 100), sigma_data=SIGMA_DATA)
def test_coefficients_are_those_of_the_table(sigma: float, sigma_data: float) -> None:
    total = sigma**2 + sigma_data**2
    found = EDMDenoiser(nn.Identity(), sigma_data).coefficients(torch.tensor([sigma], dtype=torch.float64))
    expected = (
        sigma_data**2 / total,
        sigma * sigma_data / math.sqrt(total),
        1 / math.sqrt(total),
        0.25 * math.log(sigma),
    )
    assert [float(value) for value in found] == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert all(value.shape == (1,) for value in found)


@settings(max_examples=50, deadline=None)
@given(sigma=st.floats(1e-3, 100), sigma_data=SIGMA_DATA)
def test_the_loss_weight_undoes_the_output_scale(sigma: float, sigma_data: float) -> None:
    denoiser, level = EDMDenoiser(nn.Identity(), sigma_data), torch.tensor([sigma], dtype=torch.float64)
    assert float(denoiser.loss_weight(level) * denoiser.coefficients(level)[1] ** 2) == pytest.approx(1, rel=1e-12)
    expected = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    assert float(denoiser.loss_weight(level)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 3.0, 80.0])
def test_the_networks_input_and_target_have_unit_variance(sigma: float) -> None:
    """For Gaussian data; equations 114 to 117 of the paper's appendix."""
    sigma_data, count = 0.4, 1_000_000
    x0, noise = sigma_data * draws(1, count), draws(2, count)
    c_skip, c_out, c_in, _ = EDMDenoiser(nn.Identity(), sigma_data).coefficients(torch.tensor(sigma, dtype=x0.dtype))
    x_t = x0 + sigma * noise
    five_standard_errors = 5 * math.sqrt(2 / count)
    assert float((c_in * x_t).var()) == pytest.approx(1, abs=five_standard_errors)
    assert float(((x0 - c_skip * x_t) / c_out).var()) == pytest.approx(1, abs=five_standard_errors)


def test_the_forward_pass_equals_a_loop_over_images() -> None:
    x_t, answer = draws(3, *SQUARE), draws(4, *SQUARE)
    sigma, cond = torch.tensor([0.1, 0.7, 2.0, 30.0], dtype=torch.float64), Cond(label=torch.arange(4))
    net = Recorder(answer)
    x0_hat = EDMDenoiser(net, 0.5)(x_t, sigma, cond)
    scaled, c_noise, seen = net.seen
    assert seen is cond
    for i, level in enumerate(sigma.tolist()):
        total = level**2 + 0.25
        torch.testing.assert_close(scaled[i], x_t[i] / math.sqrt(total), rtol=1e-12, atol=0)
        assert float(c_noise[i]) == pytest.approx(math.log(level) / 4, rel=1e-12)
        expected = 0.25 / total * x_t[i] + level * 0.5 / math.sqrt(total) * answer[i]
        torch.testing.assert_close(x0_hat[i], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5,), (4, 1), (1, 4), (4, 1, 1, 1)])
def test_noise_levels_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    denoiser, x = EDMDenoiser(Recorder(torch.zeros(SQUARE)), 0.5), torch.zeros(SQUARE)
    sigma, right = torch.ones(shape), torch.ones(4)
    with pytest.raises(ValueError, match="one value for each of 4 images"):
        denoiser(x, sigma, Cond())
    with pytest.raises(ValueError, match="one value for each of 4 images"):
        denoise(denoiser, x, sigma, x, Cond(), right)
    with pytest.raises(ValueError, match="one value for each of 4 images"):
        denoising_loss(x, x, sigma)


@pytest.mark.parametrize("sigma_data", [0.0, -1.0, math.nan])
def test_a_spread_of_the_data_that_is_not_positive_is_refused(sigma_data: float) -> None:
    with pytest.raises(ValueError, match="sigma_data must be positive"):
        EDMDenoiser(nn.Identity(), sigma_data)


def test_denoise_adds_each_images_own_noise() -> None:
    x0, noise, answer = draws(5, *SQUARE), draws(6, *SQUARE), draws(7, *SQUARE)
    sigma, weight, cond = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64), torch.ones(4), Cond()
    seen = {}

    def denoiser(x_t: torch.Tensor, level: torch.Tensor, given_cond: Cond) -> torch.Tensor:
        seen.update(x_t=x_t, level=level, cond=given_cond)
        return answer

    result = denoise(denoiser, x0, sigma, noise, cond, weight)
    for i in range(4):
        torch.testing.assert_close(result.x_t[i], x0[i] + float(sigma[i]) * noise[i], rtol=1e-15, atol=0)
    assert seen["x_t"] is result.x_t
    assert seen["level"] is sigma
    assert seen["cond"] is cond
    assert result.x0_hat is answer
    assert (result.x0, result.noise, result.weight) == (x0, noise, weight)


def test_the_loss_equals_a_loop() -> None:
    x0, x0_hat, weight = draws(8, *SQUARE), draws(9, *SQUARE), draws(10, 4).exp()
    expected = 0.0
    for i in range(4):
        errors = [(a - b) ** 2 for a, b in zip(x0[i].flatten().tolist(), x0_hat[i].flatten().tolist(), strict=True)]
        expected += float(weight[i]) * sum(errors) / len(errors) / 4
    assert float(denoising_loss(x0, x0_hat, weight)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_loss_of_half_precision_estimates_is_float32(dtype: torch.dtype) -> None:
    x0, x0_hat = draws(8, *SQUARE, dtype=torch.float32), draws(9, *SQUARE, dtype=torch.float32).to(dtype)
    loss = denoising_loss(x0, x0_hat, torch.ones(4))
    assert loss.dtype == torch.float32
    assert torch.equal(loss, denoising_loss(x0, x0_hat.float(), torch.ones(4)))


def test_log_normal_noise_levels() -> None:
    levels = LogNormalSigma(mean=-0.4, std=0.9).sample(200_000, torch.Generator().manual_seed(1))
    logs = levels.double().log()
    assert levels.dtype == torch.float32
    assert float(logs.mean()) == pytest.approx(-0.4, abs=5 * 0.9 / math.sqrt(200_000))
    assert float(logs.std()) == pytest.approx(0.9, abs=5 * 0.9 / math.sqrt(400_000))
    again = LogNormalSigma(mean=-0.4, std=0.9).sample(200_000, torch.Generator().manual_seed(1))
    assert torch.equal(levels, again)
    assert (LogNormalSigma().mean, LogNormalSigma().std) == (-1.2, 1.2)
