"""The game as one added line in a foreign loop, and step by step, against the arithmetic done separately."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from structure_oracles import SmallEncoder, images, naive_balance, naive_gap_of, naive_noisiest, naive_wiener
from torch import nn

from sadm.structure import Schedule, StructureError, StructureGame, uniform_weight

BATCH, SHAPE, PIXELS = 6, (2, 3, 3), 18
D = torch.float64
SIGMA = torch.tensor([0.1, 3.0, 0.4, 7.0, 1.5, 0.02], dtype=D)


def batch_of(seed: int, dtype: torch.dtype = D) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x0, x_t and sigma."""
    x0 = images(seed, BATCH, *SHAPE, dtype=dtype)
    return (
        x0,
        x0 + SIGMA.to(dtype).reshape(-1, 1, 1, 1) * images(seed + 50, BATCH, *SHAPE, dtype=dtype),
        SIGMA.to(dtype),
    )


def network(seed: int = 3, dtype: torch.dtype = D) -> nn.Module:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2, 3, padding=1)).to(dtype)
    for number, parameter in enumerate(model.parameters()):
        parameter.data = 0.4 * images(10 * seed + number, *parameter.shape, dtype=dtype)
    return model


def game_of(seed: int = 0, dtype: torch.dtype = D, **options: object) -> StructureGame:
    return StructureGame(SmallEncoder(PIXELS, seed, dtype), **options)  # type: ignore[arg-type]


def weighted_loss(x0: torch.Tensor, x0_hat: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (weight * (x0 - x0_hat).square().flatten(1).mean(1)).mean()


def column(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, 1, 1, 1)


def expected_gradient(
    encoder: nn.Module,
    x0: torch.Tensor,
    x0_hat: torch.Tensor,
    g_dsm: torch.Tensor,
    ratio: float,
    k_max: float = math.inf,
    fraction: float = 0.5,
    relation: str = "cosine",
    factor: torch.Tensor | None = None,
) -> torch.Tensor:
    """k * g_gap at x0_hat; `factor` [B] takes a gradient at x0_hat to where g_dsm was measured."""
    chosen = naive_noisiest(SIGMA.tolist(), fraction)
    leaf = x0_hat.detach().clone().requires_grad_()
    gap = naive_gap_of(encoder, x0[chosen], leaf[chosen], naive_wiener(SIGMA[chosen].tolist()), relation)
    (g_gap,) = torch.autograd.grad(gap, leaf)
    compared = g_gap if factor is None else g_gap * column(factor)
    k = torch.zeros(len(x0), dtype=D)
    k[chosen] = torch.tensor(naive_balance(g_dsm[chosen], compared[chosen], ratio, k_max), dtype=D)
    return column(k) * g_gap


def parameter_gradients(model: nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters()]  # type: ignore[union-attr]


def close(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float = 1e-10) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


# ---- one added line --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adversary", ["ascend", "frozen"])
@pytest.mark.parametrize("relation", ["cosine", "euclidean"])
@pytest.mark.parametrize(("ratio", "k_max", "fraction"), [(0.5, math.inf, 0.5), (0.3, 1.0, 1.0), (0.9, 20.0, 1 / 3)])
def test_the_added_line_gives_the_network_the_sum_of_both_gradients(
    adversary: str, relation: str, ratio: float, k_max: float, fraction: float
) -> None:
    game = game_of(adversary=adversary, relation=relation, ratio=ratio, k_max=k_max, fraction=fraction)
    encoder, model = copy.deepcopy(game.discriminator.encoder), network()
    x0, x_t, sigma = batch_of(1)
    weight = 1 / (1 + sigma)

    x0_hat = model(x_t)
    g_dsm = column(2 * weight / (PIXELS * BATCH)) * (x0_hat - x0).detach()  # the loss differentiated by hand
    total = g_dsm + expected_gradient(encoder, x0, x0_hat, g_dsm, ratio, k_max, fraction, relation)
    expected = torch.autograd.grad(x0_hat, list(model.parameters()), total)

    x0_hat = model(x_t)
    loss = weighted_loss(x0, x0_hat, weight)
    loss = loss + game(loss, x0, x0_hat, sigma)
    loss.backward()
    close(parameter_gradients(model), list(expected))
    plain = torch.autograd.grad(model(x_t), list(model.parameters()), g_dsm)
    assert not torch.allclose(parameter_gradients(model)[0], plain[0], rtol=1e-3)  # the game matters here


def test_noise_prediction_is_balanced_at_the_networks_output() -> None:
    game, model = game_of(adversary="frozen", ratio=0.5, fraction=1.0), network()
    x0, x_t, sigma = batch_of(2)
    noise = (x_t - x0) / column(sigma)

    eps_hat = model(x_t)
    x0_hat = x_t - column(sigma) * eps_hat
    g_dsm = 2 / (PIXELS * BATCH) * (eps_hat - noise).detach()
    at_x0_hat = expected_gradient(game.discriminator.encoder, x0, x0_hat, g_dsm, 0.5, fraction=1.0, factor=-sigma)
    at_output = -column(sigma) * at_x0_hat
    expected = torch.autograd.grad(eps_hat, list(model.parameters()), g_dsm + at_output)
    shares = at_output.flatten(1).norm(dim=1) / g_dsm.flatten(1).norm(dim=1)
    assert (shares < 0.5).all()
    assert float(shares.median()) > 0.499  # the ratio holds where the loss is computed

    eps_hat = model(x_t)
    loss = (eps_hat - noise).square().mean()
    loss = loss + game(loss, x0, x_t - column(sigma) * eps_hat, sigma, output=eps_hat)
    loss.backward()
    close(parameter_gradients(model), list(expected))


def test_a_loss_on_the_raw_output_asks_for_that_output() -> None:
    game, model = game_of(), network()
    x0, x_t, sigma = batch_of(2)
    eps_hat = model(x_t)
    with pytest.raises(StructureError, match=r"does not depend on x0_hat.*output=\.\.\."):
        game(eps_hat.square().mean(), x0, x_t - column(sigma) * eps_hat, sigma)


def test_a_wrong_output_is_named() -> None:
    game, model = game_of(), network()
    x0, x_t, sigma = batch_of(2)
    output, other = model(x_t), network(5)(x_t)
    with pytest.raises(StructureError, match="loss does not depend on output"):
        game(output.square().mean(), x0, output, sigma, output=other)
    with pytest.raises(StructureError, match="x0_hat does not depend on output"):
        game(output.square().mean(), x0, other, sigma, output=output)


def test_an_estimate_without_a_graph_is_refused() -> None:
    x0, x_t, sigma = batch_of(2)
    x0_hat = network()(x_t)
    loss = x0_hat.square().mean()
    with pytest.raises(StructureError, match="x0_hat is detached"):
        game_of()(loss, x0, x0_hat.detach(), sigma)
    with pytest.raises(StructureError, match="the loss is detached"):
        game_of()(loss.detach(), x0, x0_hat, sigma)


def test_accumulation_over_two_micro_batches_sums_their_gradients() -> None:
    game, model = game_of(adversary="frozen", fraction=0.5), network()
    expected = [torch.zeros_like(p) for p in model.parameters()]
    for seed in (1, 2):
        x0, x_t, _ = batch_of(seed)
        x0_hat = model(x_t)
        g_dsm = 2 / (PIXELS * BATCH) / 2 * (x0_hat - x0).detach()
        total = g_dsm + expected_gradient(game.discriminator.encoder, x0, x0_hat, g_dsm, 0.5)
        for sum_, part in zip(expected, torch.autograd.grad(x0_hat, list(model.parameters()), total), strict=True):
            sum_ += part
    for seed in (1, 2):
        x0, x_t, sigma = batch_of(seed)
        x0_hat = model(x_t)
        loss = (x0 - x0_hat).square().mean() / 2
        (loss + game(loss, x0, x0_hat, sigma)).backward()
    close(parameter_gradients(model), expected)
    assert game.step == 2


def test_a_scaled_loss_scales_the_whole_gradient() -> None:
    """As a gradient scaler does: it multiplies the sum."""
    gradients = []
    for scale in (1.0, 1024.0):
        game, model = game_of(), network()
        x0, x_t, sigma = batch_of(1)
        x0_hat = model(x_t)
        loss = (x0 - x0_hat).square().mean()
        (scale * (loss + game(loss, x0, x0_hat, sigma))).backward()
        gradients.append([g / scale for g in parameter_gradients(model)])
    close(gradients[1], gradients[0], 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_a_ratio_of_zero_is_plain_training_bit_for_bit(dtype: torch.dtype) -> None:
    gradients = []
    for play in (False, True):
        game, model = game_of(dtype=dtype, ratio=0.0), network(dtype=dtype)
        x0, x_t, sigma = batch_of(1, dtype)
        x0_hat = model(x_t)
        loss = (x0 - x0_hat).square().mean()
        (loss + game(loss, x0, x0_hat, sigma) if play else loss).backward()
        gradients.append(parameter_gradients(model))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


# ---- one play --------------------------------------------------------------------------------------------------------


def played(game: StructureGame, seed: int = 1, dtype: torch.dtype = D) -> tuple[torch.Tensor, torch.Tensor]:
    x0, x_t, sigma = batch_of(seed, dtype)
    g_dsm = images(seed + 90, BATCH, *SHAPE, dtype=dtype)
    return game.play(x0, x_t, sigma, g_dsm).gradient, g_dsm


def test_the_measurements_are_those_of_the_images_that_took_part() -> None:
    game = game_of(fraction=0.5, ratio=0.25)
    encoder = copy.deepcopy(game.discriminator.encoder)
    gradient, g_dsm = played(game)
    x0, x0_hat, _ = batch_of(1)
    chosen = naive_noisiest(SIGMA.tolist(), 0.5)
    leaf = x0_hat[chosen].clone().requires_grad_()
    gap = naive_gap_of(encoder, x0[chosen], leaf, naive_wiener(SIGMA[chosen].tolist()))
    (g_gap,) = torch.autograd.grad(gap, leaf)
    k = naive_balance(g_dsm[chosen], g_gap, 0.25)
    play = game.last
    assert play is not None
    assert play.gradient is gradient
    assert float(play.gap) == pytest.approx(float(gap.detach()), rel=1e-12)
    assert play.k.tolist() == pytest.approx(k, rel=1e-9)
    sizes = g_gap.flatten(1).norm(dim=1)
    assert float(play.g_dsm) == pytest.approx(float(g_dsm[chosen].flatten(1).norm(dim=1).mean()), rel=1e-12)
    assert float(play.g_gap) == pytest.approx(float(sizes.mean()), rel=1e-9)
    assert float(play.g_structure) == pytest.approx(float((torch.tensor(k, dtype=D) * sizes).mean()), rel=1e-9)
    rest = [i for i in range(BATCH) if i not in chosen]
    assert torch.equal(gradient[rest], torch.zeros(len(rest), *SHAPE, dtype=D))
    assert all(float(g.abs().max()) > 0 for g in gradient[chosen])


def test_ascending_takes_one_encoder_pass_for_both_players() -> None:
    game = game_of()
    for _ in range(3):
        played(game)
    assert game.discriminator.encoder.calls == 3


def test_the_adversary_moves_after_the_gap_is_measured() -> None:
    game, frozen = game_of(learning_rate=0.05), game_of(adversary="frozen")
    first, first_frozen = played(game)[0], played(frozen)[0]
    close([first], [first_frozen], 1e-9)  # the same start: the step has not been felt yet
    assert not torch.allclose(played(game)[0], played(frozen)[0], rtol=1e-3)


def test_the_weight_of_noise_levels_is_used() -> None:
    def only_two(sigma: torch.Tensor) -> torch.Tensor:
        return (sigma > 2).to(sigma.dtype)

    gradient, _ = played(game_of(fraction=1.0, noise_weight=only_two))
    moved = [i for i in range(BATCH) if float(gradient[i].abs().max()) > 0]
    assert moved == [1, 3]
    assert not torch.allclose(played(game_of(fraction=1.0, noise_weight=uniform_weight))[0], gradient)


def test_precision_follows_the_encoder_and_the_gradient_follows_x0_hat() -> None:
    exact = played(game_of(dtype=D))[0]
    for encoder_dtype, image_dtype, tolerance in [
        (D, torch.float32, 1e-5),
        (torch.float32, D, 1e-4),
        (torch.float32, torch.float32, 1e-4),
        (torch.float32, torch.bfloat16, 0.1),
    ]:
        gradient, _ = played(game_of(dtype=encoder_dtype), dtype=image_dtype)
        assert gradient.dtype == image_dtype
        assert float((gradient.to(D) - exact).norm() / exact.norm()) < tolerance


def test_a_bf16_network_output_gets_its_gradient() -> None:
    game, model = game_of(dtype=torch.float32), network(dtype=torch.float32)
    x0, x_t, sigma = batch_of(1, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x0_hat = model(x_t)
        assert x0_hat.dtype == torch.bfloat16
        loss = (x0 - x0_hat.float()).square().mean()
        total = loss + game(loss, x0, x0_hat, sigma)
    total.backward()
    assert all(g.isfinite().all() for g in parameter_gradients(model))
    assert game.last is not None
    assert game.last.gap.dtype == torch.float32


def test_identical_images_leave_nothing_to_play_for() -> None:
    game = game_of()
    x0, _, sigma = batch_of(1)
    before = [p.clone() for p in game.discriminator.encoder.parameters()]
    play = game.play(x0, x0.clone(), sigma, torch.ones_like(x0))
    assert float(play.gap) == 0
    assert torch.equal(play.gradient, torch.zeros_like(x0))
    assert all(torch.equal(a, b) for a, b in zip(before, game.discriminator.encoder.parameters(), strict=True))


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["x0", "x0_hat", "sigma", "g_dsm"])
def test_values_that_are_not_finite_stop_the_game_before_any_weight_changes(bad: float, place: str) -> None:
    game = game_of()
    before = copy.deepcopy(game.state_dict())
    x0, x0_hat, sigma = batch_of(1)
    parts = {"x0": x0, "x0_hat": x0_hat, "sigma": sigma.clone(), "g_dsm": torch.ones_like(x0)}
    parts[place].view(-1)[0] = bad
    with pytest.raises(StructureError, match=rf"^{place} holds NaN or infinite values"):
        game.play(parts["x0"], parts["x0_hat"], parts["sigma"], parts["g_dsm"])
    unchanged(game, before)


def test_a_broken_encoder_stops_the_game_before_any_weight_changes() -> None:
    game = game_of()
    with torch.no_grad():
        next(game.discriminator.encoder.parameters())[0, 0] = math.nan
    before = copy.deepcopy(game.state_dict())
    with pytest.raises(StructureError, match="^the structure gap holds NaN or infinite values"):
        played(game)
    unchanged(game, before)


def unchanged(game: StructureGame, before: dict) -> None:
    after = game.state_dict()
    assert after["step"] == before["step"]
    for name, value in before["discriminator"]["encoder"].items():
        torch.testing.assert_close(after["discriminator"]["encoder"][name], value, rtol=0, atol=0, equal_nan=True)
    assert after["discriminator"]["optimiser"]["state"] == {}


@pytest.mark.parametrize(
    ("x0", "x0_hat", "sigma", "message"),
    [
        ((4, 2, 3, 3), (4, 1, 3, 3), (4,), r"equal shape.*\(4, 2, 3, 3\), \(4, 1, 3, 3\) and \(4,\)"),
        ((4, 2, 3, 3), (3, 2, 3, 3), (4,), r"equal shape"),
        ((4, 2, 3, 3), (4, 2, 3, 3), (3,), r"sigma \[B\].*and \(3,\)"),
        ((4, 2, 3, 3), (4, 2, 3, 3), (4, 1, 1, 1), r"sigma \[B\]"),
        ((4, 2, 3, 3), (4, 2, 3, 3), (), r"sigma \[B\]"),
        ((1, 2, 3, 3), (1, 2, 3, 3), (1,), r"holds 1 image, at least 2.*larger batch"),
    ],
)
def test_batches_that_do_not_fit_are_refused(
    x0: tuple[int, ...], x0_hat: tuple[int, ...], sigma: tuple[int, ...], message: str
) -> None:
    with pytest.raises(StructureError, match=message):
        game_of().play(torch.zeros(x0), torch.zeros(x0_hat), torch.ones(sigma), torch.zeros(x0_hat))


def test_a_denoising_gradient_of_another_shape_is_refused() -> None:
    x0, x0_hat, sigma = batch_of(1)
    with pytest.raises(StructureError, match=r"g_dsm of shape \(6, 2, 3, 3\), got \(6, 1, 3, 3\)"):
        game_of().play(x0, x0_hat, sigma, torch.ones(6, 1, 3, 3))


def test_noise_levels_of_zero_and_very_high_ones_are_fine() -> None:
    x0, x0_hat, _ = batch_of(1)
    g_dsm = torch.ones_like(x0)
    for sigma in (torch.zeros(BATCH, dtype=D), torch.full((BATCH,), 1e30), torch.arange(BATCH)):
        play = game_of(fraction=1.0).play(x0, x0_hat, sigma, g_dsm)
        assert play.gradient.isfinite().all()
    assert float(game_of().play(x0, x0_hat, torch.zeros(BATCH, dtype=D), g_dsm).gap) > 0
    assert float(game_of().play(x0, x0_hat, torch.full((BATCH,), 1e30), g_dsm).gap) == 0  # all weights vanish


@pytest.mark.parametrize("options", [{"ratio": 1.0}, {"ratio": -0.1}, {"ratio": math.nan}])
def test_ratios_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(StructureError, match=r"ratio must lie in \[0, 1\)"):
        game_of(**options)


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.01, math.nan])
def test_fractions_out_of_range_are_refused(fraction: float) -> None:
    with pytest.raises(StructureError, match=r"fraction must lie in \(0, 1\]"):
        game_of(fraction=fraction)


@pytest.mark.parametrize("k_max", [0.0, -1.0, math.nan])
def test_a_bound_out_of_range_is_refused(k_max: float) -> None:
    with pytest.raises(StructureError, match="k_max must be positive"):
        game_of(k_max=k_max)


# ---- schedule and state ----------------------------------------------------------------------------------------------


def test_strength_grows_stays_and_ends() -> None:
    strength = Schedule(warmup=4, end=7).strength
    assert [strength(step) for step in range(9)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert [Schedule().strength(step) for step in (0, 10**9)] == [1.0, 1.0]
    assert Schedule(warmup=4, end=0).strength(0) == 0


def test_the_warm_up_scales_the_ratio() -> None:
    game = game_of(adversary="frozen", schedule=Schedule(warmup=4), fraction=1.0)
    sizes = []
    for _ in range(6):
        gradient, g_dsm = played(game)
        sizes.append(float((gradient.flatten(1).norm(dim=1) / g_dsm.flatten(1).norm(dim=1)).max()))
    assert [size / sizes[-1] for size in sizes] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1], rel=1e-12)
    assert sizes[-1] == pytest.approx(0.5, rel=2e-3)


def test_after_its_end_the_game_costs_nothing() -> None:
    game, model = game_of(schedule=Schedule(end=2)), network()
    x0, x_t, sigma = batch_of(1)
    terms = []
    for _ in range(4):
        x0_hat = model(x_t)
        loss = (x0 - x0_hat).square().mean()
        terms.append(game(loss, x0, x0_hat, sigma))
    assert game.discriminator.encoder.calls == 2
    assert game.step == 4
    assert game.last is None
    assert [t.requires_grad for t in terms] == [True, True, False, False]
    assert [float(t) for t in terms[2:]] == [0.0, 0.0]


def test_a_restored_game_goes_on_bit_for_bit() -> None:
    def new(seed: int) -> StructureGame:
        return game_of(seed, learning_rate=0.01, pull=0.1, schedule=Schedule(warmup=5, end=6), dtype=torch.float32)

    def gradients(game: StructureGame, steps: range) -> list[torch.Tensor]:
        return [played(game, step, torch.float32)[0] for step in steps]

    whole, first, restored = new(0), new(0), new(4)
    gradients(whole, range(3))
    gradients(first, range(3))
    restored.load_state_dict(copy.deepcopy(first.state_dict()))
    assert restored.step == 3
    for a, b in zip(gradients(whole, range(3, 6)), gradients(restored, range(3, 6)), strict=True):
        assert torch.equal(a, b)


def test_following_the_game_alone_closes_the_gap() -> None:
    """A free x0_hat that follows the game alone ends up arranged like x0, though never told its pixels."""
    game = game_of(adversary="frozen", fraction=1.0, noise_weight=uniform_weight)
    x0, x_t, sigma = batch_of(1)
    x0_hat = x_t.clone()
    gaps = []
    for _ in range(200):
        play = game.play(x0, x0_hat, sigma, torch.full_like(x0_hat, 0.02))
        gaps.append(float(play.gap))
        x0_hat = x0_hat - play.gradient
    assert gaps[-1] < 0.05 * gaps[0]
