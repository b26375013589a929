"""VP and flow denoisers: round trips of every target, and what their networks are given."""

from __future__ import annotations

import math

import pytest
import torch
from diffusion_nets import SHAPE, Constant, Net, as_images, normal
from torch import nn

from sadm.core.conditions import Cond
from sadm.diffusion import EDMDenoiser, FlowDenoiser, Prediction, VPDenoiser, VPSchedule, predict

LINEAR = VPSchedule.linear()
SIGMA = torch.tensor([0.05, 1.3, 90.0], dtype=torch.float64)  # [B]
X0, NOISE = normal(10), normal(11)
X_T = X0 + as_images(SIGMA) * NOISE
TARGETS = ["eps", "v", "x0"]


def on_circle() -> tuple[torch.Tensor, torch.Tensor]:
    """alpha and beta of VP at SIGMA, [B, 1, 1, 1]."""
    alpha = 1 / (1 + SIGMA**2).sqrt()
    return as_images(alpha), as_images(alpha * SIGMA)


def vp_target(prediction: str) -> torch.Tensor:
    alpha, beta = on_circle()
    return {"eps": NOISE, "v": alpha * NOISE - beta * X0, "x0": X0}[prediction]


# ---- conversions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", TARGETS)
def test_the_perfect_vp_network_gives_x0(prediction: str) -> None:
    net = Constant(vp_target(prediction))
    denoiser = VPDenoiser(net, LINEAR, prediction)
    torch.testing.assert_close(denoiser(X_T, SIGMA, Cond()), X0, rtol=1e-9, atol=1e-9)
    alpha, beta = on_circle()
    z, timestep = net.seen
    torch.testing.assert_close(z, alpha * X0 + beta * NOISE, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(LINEAR.sigma(timestep), SIGMA, rtol=1e-10, atol=0)


@pytest.mark.parametrize("reversed_time", [False, True])
@pytest.mark.parametrize("prediction", ["v", "x0"])
def test_the_perfect_flow_network_gives_x0(prediction: str, reversed_time: bool) -> None:
    velocity = X0 - NOISE if reversed_time else NOISE - X0
    net = Constant(velocity if prediction == "v" else X0)
    denoiser = FlowDenoiser(net, prediction, reversed_time)
    torch.testing.assert_close(denoiser(X_T, SIGMA, Cond()), X0, rtol=1e-9, atol=1e-9)
    t = SIGMA / (1 + SIGMA)
    z, given = net.seen
    torch.testing.assert_close(z, as_images(1 - t) * X0 + as_images(t) * NOISE, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(given, 1 - t if reversed_time else t, rtol=1e-12, atol=1e-12)


def test_the_two_directions_of_time_agree() -> None:
    class Backwards(nn.Module):
        def forward(self, z: torch.Tensor, t: torch.Tensor, cond: Cond) -> torch.Tensor:
            return -forwards(z, 1 - t, cond)

    forwards = Net(scale=1.0)
    one, other = FlowDenoiser(forwards), FlowDenoiser(Backwards(), reversed_time=True)
    torch.testing.assert_close(one(X_T, SIGMA, Cond()), other(X_T, SIGMA, Cond()), rtol=1e-10, atol=1e-10)


def every_denoiser() -> dict[str, nn.Module]:
    return {
        "edm": EDMDenoiser(Net(scale=1.0), 0.5),
        **{f"vp-{name}": VPDenoiser(Net(), LINEAR, name) for name in TARGETS},
        **{f"flow-{name}": FlowDenoiser(Net(scale=1.0), name) for name in ("v", "x0")},
        "sit": FlowDenoiser(Net(scale=1.0), "v", reversed_time=True),
    }


@pytest.mark.parametrize("name", every_denoiser())
def test_a_paths_own_coordinates_and_the_contract_agree(name: str) -> None:
    denoiser, cond = every_denoiser()[name], Cond()
    t = denoiser.path.time(SIGMA)
    z = as_images(denoiser.path.alpha_of(SIGMA)) * X_T
    expected = denoiser(X_T, SIGMA, cond)
    assert expected.shape == X0.shape
    torch.testing.assert_close(denoiser.at(z, t, cond), expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(denoiser.predict(X_T, SIGMA, cond).x0_hat, expected, rtol=0, atol=0)
    torch.testing.assert_close(denoiser.predict_at(z, t, cond).x0_hat, denoiser.at(z, t, cond), rtol=0, atol=0)
    for i in range(3):  # one time for all images, as solvers ask
        alone = denoiser.at(z[i : i + 1], float(t[i]), cond)
        torch.testing.assert_close(alone, expected[i : i + 1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", every_denoiser())
def test_images_do_not_see_each_other(name: str) -> None:
    denoiser = every_denoiser()[name]
    together = denoiser(X_T, SIGMA, Cond())
    for i in range(3):
        alone = denoiser(X_T[i : i + 1], SIGMA[i : i + 1], Cond())
        torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", every_denoiser())
@pytest.mark.parametrize("shape", [(), (1,), (6,), (3, 1)])
def test_noise_levels_of_another_shape_are_refused_everywhere(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one value for each of 3 images"):
        every_denoiser()[name](X_T, torch.ones(shape, dtype=torch.float64), Cond())


@pytest.mark.parametrize("name", every_denoiser())
def test_half_a_batch_in_float32_stays_float32(name: str) -> None:
    assert every_denoiser()[name](X_T.float(), SIGMA.float(), Cond()).dtype == torch.float32
    assert every_denoiser()[name].at(X_T.float(), 0.5, Cond()).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_images_come_with_exact_timesteps(dtype: torch.dtype) -> None:
    net = Net()
    z, t = normal(10).to(dtype), VPDenoiser(net, LINEAR).path.time(float(LINEAR.sigmas[999]))
    assert VPDenoiser(net, LINEAR, "v").at(z, t, Cond()).dtype == dtype
    assert net.seen[0][1].dtype == torch.float32
    assert net.seen[0][1].tolist() == pytest.approx([999.0] * 3)


# ---- pure noise ------------------------------------------------------------------------------------------------------


def ends_in_noise() -> VPSchedule:
    level = LINEAR.alphas_cumprod.sqrt()
    level = (level - level[-1]) * level[0] / (level[0] - level[-1])  # arXiv 2305.08891, algorithm 1
    return VPSchedule(level.square())


@pytest.mark.parametrize("time", [1.0, torch.ones(3, dtype=torch.float64)], ids=["for all", "for each"])
def test_at_pure_noise_v_and_x0_have_an_estimate(time: float | torch.Tensor) -> None:
    schedule = ends_in_noise()
    net = Constant(normal(12))
    torch.testing.assert_close(VPDenoiser(net, schedule, "v").at(NOISE, time, Cond()), -net.answer)
    assert net.seen[1].tolist() == [999.0] * 3
    torch.testing.assert_close(VPDenoiser(net, schedule, "x0").at(NOISE, time, Cond()), net.answer)
    torch.testing.assert_close(FlowDenoiser(net).at(NOISE, time, Cond()), NOISE - net.answer)
    assert net.seen[1].tolist() == [1.0] * 3
    torch.testing.assert_close(FlowDenoiser(net, reversed_time=True).at(NOISE, time, Cond()), NOISE + net.answer)
    assert net.seen[1].tolist() == [0.0] * 3
    torch.testing.assert_close(FlowDenoiser(net, "x0").at(NOISE, time, Cond()), net.answer)
    with pytest.raises(ValueError, match="eps-prediction has no x0_hat at alpha = 0"):
        VPDenoiser(net, schedule, "eps").at(NOISE, time, Cond())


# ---- schedules -------------------------------------------------------------------------------------------------------


def test_the_linear_schedule_is_the_product_of_its_betas() -> None:
    product, expected = 1.0, []
    for step in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * step / 999)
        expected.append(math.sqrt((1 - product) / product))
    assert LINEAR.sigmas.tolist() == pytest.approx(expected, rel=1e-12)


def test_the_cosine_schedule_is_that_of_the_paper_with_its_cap() -> None:
    def level(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    product, expected = 1.0, []
    for step in range(1000):
        product *= 1 - min(0.999, 1 - level((step + 1) / 1000) / level(step / 1000))
        expected.append(product)
    assert VPSchedule.cosine().alphas_cumprod.tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule", [LINEAR, VPSchedule.cosine(), VPSchedule.linear(7, 0.1, 0.4)], ids=len)
def test_timesteps_and_noise_levels_are_each_others_inverse(schedule: VPSchedule) -> None:
    whole = torch.arange(len(schedule), dtype=torch.float64)
    torch.testing.assert_close(schedule.timestep(schedule.sigmas), whole, rtol=0, atol=1e-9)
    torch.testing.assert_close(schedule.sigma(whole), schedule.sigmas, rtol=1e-12, atol=0)
    between = torch.linspace(0, len(schedule) - 1, 997, dtype=torch.float64)
    levels = schedule.sigma(between)
    assert (levels.diff() > 0).all()
    torch.testing.assert_close(schedule.timestep(levels), between, rtol=0, atol=1e-9)
    middle = math.sqrt(schedule.sigmas[2] * schedule.sigmas[3])  # geometric mean: linear in ln sigma
    assert schedule.timestep(middle) == pytest.approx(2.5, abs=1e-9)
    assert schedule.sigma(2.5) == pytest.approx(middle, rel=1e-12)


def test_noise_levels_outside_of_the_schedule_are_refused_with_its_range() -> None:
    denoiser = VPDenoiser(Net(), LINEAR)
    for wrong in (0.005, 200.0, math.inf, 0.0, -1.0, math.nan):
        sigma = torch.tensor([1.0, wrong, 2.0], dtype=torch.float64)
        with pytest.raises(ValueError, match=r"noise levels sigma from 0\.0100005 to 157\.407, got"):
            denoiser.predict(X_T, sigma, Cond()) if not math.isinf(wrong) else LINEAR.timestep(sigma)
    assert LINEAR.timestep(LINEAR.sigma_min * (1 - 1e-5)) == 0  # rounding is forgiven
    assert LINEAR.timestep(LINEAR.sigma_max * (1 + 1e-5)) == 999
    for wrong in (-0.1, 999.5, math.nan):
        with pytest.raises(ValueError, match="expected timesteps from 0 to 999"):
            LINEAR.sigma(wrong)


def test_a_schedule_that_ends_in_noise_has_its_last_timestep_alone() -> None:
    schedule = ends_in_noise()
    assert (schedule.sigma_max, schedule.timestep(math.inf), schedule.sigma(999.0)) == (math.inf, 999, math.inf)
    assert schedule.timestep(float(schedule.sigmas[998])) == pytest.approx(998)
    with pytest.raises(ValueError, match=r"and inf, got"):
        schedule.timestep(1e9)
    with pytest.raises(ValueError, match="from 0 to 998, or 999 itself"):
        schedule.sigma(998.5)


@pytest.mark.parametrize(
    "table", [[0.5], [0.5, 0.6], [1.0, 0.5], [0.5, -0.1], [[0.9, 0.8]], [], [0.5, 0.0, 0.0], [math.nan, 0.5]], ids=str
)
def test_a_schedule_that_makes_no_sense_is_refused(table: list[float]) -> None:
    with pytest.raises(ValueError, match="expected alphas_cumprod of at least 2 timesteps"):
        VPSchedule(torch.tensor(table))


def test_whole_timesteps() -> None:
    net, level = Net(), torch.full((3,), LINEAR.sigma(400.4), dtype=torch.float64)
    VPDenoiser(net, LINEAR)(X_T, level, Cond())
    VPDenoiser(net, LINEAR, whole_timesteps=True)(X_T, level, Cond())
    VPDenoiser(net, LINEAR, whole_timesteps=True).at(X_T, 0.3, Cond())
    assert net.seen[0][1].tolist() == pytest.approx([400.4] * 3)
    assert net.seen[1][1].tolist() == [400.0] * 3
    assert net.seen[2][1][0] % 1 == 0


# ---- variance --------------------------------------------------------------------------------------------------------


def test_a_learned_variance_is_offered_as_a_fraction_and_left_out_of_the_estimate() -> None:
    answer = torch.cat([normal(13), normal(14).clamp(-1, 1)], dim=1)  # [B, 2C, H, W]
    denoiser = VPDenoiser(Constant(answer), LINEAR, learned_variance=True)
    plain = VPDenoiser(Constant(answer[:, :2]), LINEAR)
    found = denoiser.predict(X_T, SIGMA, Cond())
    assert found.variance is not None
    assert torch.equal(found.variance, (answer[:, 2:] + 1) / 2)
    assert torch.equal(found.x0_hat, plain(X_T, SIGMA, Cond()))
    assert torch.equal(denoiser(X_T, SIGMA, Cond()), found.x0_hat)
    assert plain.predict(X_T, SIGMA, Cond()).variance is None


@pytest.mark.parametrize("learned", [False, True])
def test_a_network_with_the_wrong_number_of_channels_is_refused(learned: bool) -> None:
    net = Net(outputs=2 if learned else 4)
    with pytest.raises(ValueError, match=rf"expected the network to return .* learned_variance={learned}, got"):
        VPDenoiser(net, LINEAR, learned_variance=learned)(X_T, SIGMA, Cond())
    with pytest.raises(ValueError, match=r"expected the network to return \(3, 2, 4, 6\), got \(3, 4, 4, 6\)"):
        FlowDenoiser(Net(outputs=4))(X_T, SIGMA, Cond())


def test_any_function_has_a_prediction() -> None:
    found = predict(lambda x_t, sigma, cond: x_t / 2, X_T, SIGMA, Cond())
    assert isinstance(found, Prediction)
    assert torch.equal(found.x0_hat, X_T / 2)
    assert found.variance is None


def test_unknown_predictions_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown prediction 'noise'; expected one of eps, v, x0"):
        VPDenoiser(Net(), LINEAR, "noise")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown prediction 'eps'; expected one of v, x0"):
        FlowDenoiser(Net(), "eps")  # type: ignore[arg-type]


# ---- customary weights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vp-eps", "vp-v", "vp-x0", "flow-v"])
def test_the_loss_weight_is_plain_mean_squares_on_the_networks_output(name: str) -> None:
    process, prediction = name.split("-")
    wrong = normal(15)
    t = as_images(SIGMA / (1 + SIGMA))
    if process == "vp":
        right = vp_target(prediction)
        denoiser: nn.Module = VPDenoiser(Constant(wrong), LINEAR, prediction)
    else:
        right = NOISE - X0
        denoiser = FlowDenoiser(Constant(wrong))
        assert torch.allclose(X_T * (1 - t) - t * right, X0)
    error = denoiser(X_T, SIGMA, Cond()) - X0
    found = as_images(denoiser.loss_weight(SIGMA)) * error.square()
    torch.testing.assert_close(found, (wrong - right).square(), rtol=1e-6, atol=1e-9)


def test_jits_loss_weight_is_bounded_near_clean_data() -> None:
    sigma = torch.tensor([1e-3, 1.0], dtype=torch.float64)
    assert FlowDenoiser(Net(), "x0").loss_weight(sigma).tolist() == pytest.approx([400.0, 4.0])
    assert FlowDenoiser(Net(), "v").loss_weight(sigma).tolist() == pytest.approx([1001.0**2, 4.0])


def test_shapes_are_all_different_here() -> None:
    assert len(set(SHAPE)) == 4
