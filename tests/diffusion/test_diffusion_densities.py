"""Densities of noise levels against their definitions, and loss weightings against the losses that they stand for."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sadm.diffusion import (
    Density,
    EDMDenoiser,
    EDMWeighting,
    EpsWeighting,
    LogitNormalTime,
    LogNormalSigma,
    MinSNRWeighting,
    SigmoidWeighting,
    StraightLine,
    Stratified,
    UniformTime,
    VarianceExploding,
    VariancePreserving,
    VelocityWeighting,
    VPSchedule,
    Weighting,
    X0Weighting,
)

COUNT = 50_000
SCHEDULE = VPSchedule.linear()
DENSITIES = [
    LogNormalSigma(),
    LogitNormalTime(0.8, 0.8),
    UniformTime(StraightLine()),
    UniformTime(VariancePreserving()),
    UniformTime(SCHEDULE),
]
EVERY = [*DENSITIES, *(Stratified(density) for density in DENSITIES)]
SIGMA = st.floats(0.01, 100)


def source(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def name(value: object) -> str:
    return type(value).__name__ + (f"-{name(vars(value)['density'])}" if isinstance(value, Stratified) else "")


# ---- densities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", EVERY, ids=name)
def test_draws_are_reproducible_finite_and_float32(density: Density) -> None:
    drawn = density.sample(COUNT, source())
    assert drawn.shape == (COUNT,)
    assert drawn.dtype == torch.float32
    assert torch.equal(drawn, density.sample(COUNT, source()))
    assert not torch.equal(drawn, density.sample(COUNT, source(2)))
    assert bool(((drawn > 0) & drawn.isfinite()).all())
    assert density.sample(0, source()).shape == (0,)


@pytest.mark.parametrize("density", EVERY, ids=name)
def test_quantiles_are_those_of_the_draws(density: Density) -> None:
    drawn = density.sample(COUNT, source()).double()
    for u in (0.05, 0.3, 0.5, 0.9):
        level = density.quantile(torch.tensor(u, dtype=torch.float64))
        below, up_to = (float(mask.double().mean()) for mask in (drawn < 0.999 * level, drawn <= 1.001 * level))
        slack = 5 * math.sqrt(u * (1 - u) / COUNT)
        assert below - slack <= u <= up_to + slack


def test_a_logit_normal_time_is_a_log_normal_noise_level_to_the_last_bit() -> None:
    drawn = LogitNormalTime(0.3, 0.7).sample(99, source())
    assert torch.equal(drawn, LogNormalSigma(0.3, 0.7).sample(99, source()))
    expected = torch.sigmoid(0.3 + 0.7 * torch.randn(99, generator=source()))  # the paper's own way
    torch.testing.assert_close(StraightLine().time(drawn), expected, rtol=1e-5, atol=0)
    assert (LogitNormalTime().mean, LogitNormalTime().std) == (0, 1)


@pytest.mark.parametrize("path", [StraightLine(), VariancePreserving()], ids=name)
def test_uniform_time_is_uniform(path: StraightLine | VariancePreserving) -> None:
    times = path.time(UniformTime(path).sample(COUNT, source()).double())
    shares = torch.histc(times, bins=10, min=0, max=1) / COUNT
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=5 * math.sqrt(0.09 / COUNT))


def test_uniform_timesteps_are_whole_and_equally_likely() -> None:
    schedule = VPSchedule.linear(10, 0.05, 0.3)
    steps = schedule.timestep(UniformTime(schedule).sample(COUNT, source()))
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    shares = steps.round().long().bincount(minlength=10) / COUNT
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=5 * math.sqrt(0.09 / COUNT))


@pytest.mark.parametrize("density", DENSITIES[:4], ids=name)
def test_strata_hold_one_draw_each_in_random_order(density: Density) -> None:
    drawn = Stratified(density).sample(64, source()).double()
    edges = density.quantile(torch.arange(1, 64, dtype=torch.float64) / 64)
    assert torch.searchsorted(edges, drawn).sort().values.tolist() == list(range(64))
    assert not bool((drawn.diff() > 0).all())
    firsts = torch.stack([Stratified(density).sample(8, source(seed))[0] for seed in range(2000)]).double()
    share = float((firsts < density.quantile(torch.tensor(0.5, dtype=torch.float64))).double().mean())
    assert share == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / 2000))  # each place in the batch has the whole density


def test_uniform_time_needs_an_end_with_a_finite_noise_level() -> None:
    with pytest.raises(ValueError, match="has no end, so nothing is uniform in its time"):
        UniformTime(VarianceExploding())
    with pytest.raises(ValueError, match=r"ends in sigma = inf \(zero terminal SNR\)"):
        UniformTime(VPSchedule(torch.tensor([0.9, 0.5, 0.0])))


# ---- weightings ------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(sigma=SIGMA, gamma=st.floats(0.1, 20))
def test_min_snr_in_its_three_forms(sigma: float, gamma: float) -> None:
    """An x0 error e is an eps error e / sigma, and a v error e / beta (VP): the paper's weights on those give the same loss."""
    snr, beta = 1 / sigma**2, sigma / math.sqrt(1 + sigma**2)
    found = float(MinSNRWeighting(gamma)(torch.tensor([sigma], dtype=torch.float64)))
    error = 0.37
    assert found * error**2 == pytest.approx(min(snr, gamma) / snr * (error / sigma) ** 2, rel=1e-9)
    assert found * error**2 == pytest.approx(min(snr, gamma) / (snr + 1) * (error / beta) ** 2, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(sigma=SIGMA, bias=st.floats(-5, 5))
def test_the_sigmoid_weighting_on_eps(sigma: float, bias: float) -> None:
    log_snr, error = -2 * math.log(sigma), 0.37
    on_eps = 1 / (1 + math.exp(log_snr - bias)) * (error / sigma) ** 2
    found = float(SigmoidWeighting(bias)(torch.tensor([sigma], dtype=torch.float64)))
    assert found * error**2 == pytest.approx(on_eps, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(sigma=SIGMA, floor=st.floats(0, 0.9))
def test_the_velocity_weighting(sigma: float, floor: float) -> None:
    t = sigma / (1 + sigma)
    found = float(VelocityWeighting(floor)(torch.tensor([sigma], dtype=torch.float64)))
    assert found == pytest.approx(1 / max(t, floor) ** 2, rel=1e-9)


def test_the_plain_weightings() -> None:
    sigma = torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64)
    assert EpsWeighting()(sigma).tolist() == pytest.approx([100, 1, 1 / 16])
    assert X0Weighting()(sigma).tolist() == [1, 1, 1]
    assert torch.equal(EDMWeighting(0.3)(sigma), EDMDenoiser(torch.nn.Identity(), 0.3).loss_weight(sigma))


@pytest.mark.parametrize(
    "weighting",
    [EDMWeighting(), MinSNRWeighting(), SigmoidWeighting(-3.0), VelocityWeighting(), EpsWeighting(), X0Weighting()],
    ids=name,
)
def test_weights_are_one_for_each_image_positive_and_finite(weighting: Weighting) -> None:
    weights = weighting(torch.tensor([1e-3, 0.3, 5.0, 1e3]))
    assert weights.shape == (4,)
    assert bool(((weights > 0) & weights.isfinite()).all())


def test_weightings_that_make_no_sense_are_refused() -> None:
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="sigma_data must be positive"):
            EDMWeighting(wrong)
        with pytest.raises(ValueError, match="gamma must be positive"):
            MinSNRWeighting(wrong)
    for wrong in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="floor is a time on the straight line"):
            VelocityWeighting(wrong)
