"""The game as one added line in a foreign loop, and step by step, against the arithmetic done separately."""

from __future__ import annotations

import copy
import gc
import math
import weakref

import pytest
import torch
from structure_oracles import (
    images,
    naive_balance,
    naive_cosine,
    naive_gap,
    naive_gap_of,
    naive_noisiest,
    naive_wiener,
)
from structure_setup import BATCH, PIXELS, SHAPE, SIGMA, D, batch_of, close, column, game_of, network, play_once
from torch import nn

from sadm.structure import Schedule, StructureError, StructureGame, Watchdog, uniform_weight


def weighted_loss(x0: torch.Tensor, x0_hat: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (weight * (x0 - x0_hat).square().flatten(1).mean(1)).mean()


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


def played(game: StructureGame, seed: int = 1, dtype: torch.dtype = D) -> tuple[torch.Tensor, torch.Tensor]:
    return play_once(game, seed, dtype).gradient, images(seed + 90, BATCH, *SHAPE, dtype=dtype)


# ---- one play --------------------------------------------------------------------------------------------------------


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


def test_precision_follows_the_encoder() -> None:
    exact = played(game_of(dtype=D))[0]
    for encoder_dtype, image_dtype, tolerance in [
        (D, torch.float32, 1e-5),
        (torch.float32, D, 1e-4),
        (torch.float32, torch.float32, 1e-4),
        (torch.float32, torch.bfloat16, 0.1),
    ]:
        gradient, _ = played(game_of(dtype=encoder_dtype), dtype=image_dtype)
        assert gradient.dtype == encoder_dtype
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


# ---- who plays, and how often ----------------------------------------------------------------------------------------


def test_a_callable_gives_each_image_its_own_ratio() -> None:
    asked = []

    def ratio(sigma: torch.Tensor) -> torch.Tensor:
        asked.append(sigma)
        return sigma / 10  # of the noisiest three: 0.3, 0.7 and 0.15

    play = play_once(game_of(ratio=ratio, fraction=0.5, schedule=Schedule(warmup=2)))
    assert torch.equal(asked[0], SIGMA[[1, 3, 4]])
    g_dsm = images(91, BATCH, *SHAPE, dtype=D)
    reached = (play.gradient.flatten(1).norm(dim=1) / g_dsm.flatten(1).norm(dim=1)).tolist()
    assert reached == pytest.approx([0, 0.15, 0, 0.35, 0.075, 0], rel=1e-2)  # the warm-up halves them
    assert float(play.ratio) == pytest.approx((0.15 + 0.35 + 0.075) / 3, rel=1e-12)


def test_every_third_step_plays_and_the_others_cost_nothing() -> None:
    game, model = game_of(every=3, schedule=Schedule(end=8)), network()
    x0, x_t, sigma = batch_of(1)
    played_steps = []
    for step in range(10):
        assert game.resting is (step not in (0, 3, 6))
        x0_hat = model(x_t)
        loss = (x0 - x0_hat).square().mean()
        term = game(loss, x0, x0_hat, sigma)
        if term.requires_grad:
            played_steps.append(step)
        assert (game.last is None) is not term.requires_grad
    assert played_steps == [0, 3, 6]
    assert game.discriminator.encoder.calls == 3
    assert game.step == 10


def test_target_affinities_take_the_place_of_the_real_relation() -> None:
    affinity = torch.rand(BATCH, BATCH, generator=torch.Generator().manual_seed(3), dtype=D)
    game = game_of(fraction=0.5, adversary="frozen")
    play = play_once(game, target=affinity)
    x0_hat = batch_of(1)[1]
    chosen = naive_noisiest(SIGMA.tolist(), 0.5)
    similarity = naive_cosine(game.discriminator.encoder(x0_hat[chosen]).detach())
    expected = naive_gap(affinity[chosen][:, chosen], similarity, naive_wiener(SIGMA[chosen].tolist()))
    assert float(play.gap) == pytest.approx(float(expected), rel=1e-10)
    assert float(play.gap) != pytest.approx(float(play_once(game_of(fraction=0.5)).gap), rel=1e-3)


def test_a_target_and_an_index_come_along_the_added_line() -> None:
    model, (x0, x_t, sigma) = network(), batch_of(1)
    affinity = torch.eye(BATCH, dtype=D)
    terms, plain = [], None
    for direct in (True, False):
        game = game_of(adversary="frozen", fraction=1.0)
        x0_hat = model(x_t)
        loss = (x0 - x0_hat).square().mean()
        if direct:
            (g_dsm,) = torch.autograd.grad(loss, x0_hat, retain_graph=True)
            plain = game.play(x0, x0_hat.detach(), sigma, g_dsm, target=affinity).gradient
        else:
            term = game(loss, x0, x0_hat, sigma, target=affinity, index=torch.arange(BATCH))
            terms.append(torch.autograd.grad(term, x0_hat)[0])
            assert len(game.discriminator.cache) == BATCH
    assert plain is not None
    assert torch.equal(terms[0], plain)


class Marker:
    """Something whose end can be seen."""


class Marked(torch.autograd.Function):
    """The identity, with a marker that lives as long as the graph does."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, markers: list) -> torch.Tensor:
        ctx.marker = Marker()
        markers.append(weakref.ref(ctx.marker))
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


def test_the_networks_graph_is_not_kept_alive() -> None:
    game, model = game_of(memory=4, watchdog=Watchdog()), network()
    x0, x_t, sigma = batch_of(1)
    markers: list = []
    x0_hat = Marked.apply(model(x_t), markers)
    loss = (x0 - x0_hat).square().mean()
    total = loss + game(loss, x0, x0_hat, sigma)
    assert markers[0]() is not None
    del x0_hat, loss, total
    gc.collect()
    assert markers[0]() is None


# ---- half precision --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise_prediction", [False, True])
def test_float16_gradients_that_would_round_to_nothing_are_kept(noise_prediction: bool) -> None:
    """The mean over 6 x 18 elements times 1e-5 leaves gradients of 1e-7 an element, the smallest number of float16."""
    x0, x_t, sigma = batch_of(1, torch.float32)
    shares = {}
    for dtype in (torch.float32, torch.float16):
        game = game_of(dtype=torch.float32, fraction=1.0, ratio=0.5, adversary="frozen")
        leaf = images(7, BATCH, *SHAPE).to(dtype).requires_grad_()  # the network's output
        x0_hat = x_t.to(dtype) - 0.1 * leaf if noise_prediction else leaf
        loss = 1e-5 * (leaf.float() - x0).square().mean()
        term = game(loss, x0, x0_hat, sigma, output=leaf if noise_prediction else None)
        (found,) = torch.autograd.grad(term * 2.0**16, leaf)  # as a gradient scaler does
        shares[dtype] = found.float() / 2.0**16
        assert game.last is not None
        assert game.last.gradient.dtype == torch.float32
    difference = (shares[torch.float16] - shares[torch.float32]).norm() / shares[torch.float32].norm()
    assert float(difference) < 3e-3


# ---- going on ---------------------------------------------------------------------------------------------------------

OPTIONS = {
    "plain": {},
    "bounded": {"pull": 0.1, "spectral_bound": 1.05, "update_every": 2, "learning_rate": 0.05},
    "r1": {"r1": 0.1, "every": 2},
    "memory": {"memory": 5},
    "classify": {"adversary": "classify", "group": 2, "r1": 0.1, "learning_rate": 0.01, "seed": 5},
    "frozen": {"adversary": "frozen", "memory": 3, "relation": "euclidean"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("stop", [1, 8])
def test_a_restored_game_goes_on_bit_for_bit_with_all_its_parts(options: dict[str, object], stop: int) -> None:
    def new(seed: int) -> StructureGame:
        defaults = {"learning_rate": 0.01, "fraction": 0.7, "watchdog": Watchdog(window=3)}
        if "frozen" in options.values():
            del defaults["learning_rate"]
        return game_of(seed, torch.float32, **{**defaults, **options})

    def advance(game: StructureGame, steps: range) -> list[torch.Tensor]:
        gradients = []
        for step in steps:
            if game.resting:
                game.rest()
            else:
                play = play_once(game, step, torch.float32)
                gradients += [play.gradient, play.gap, play.spread]
        return gradients

    whole, first, restored = new(0), new(0), new(4)
    advance(whole, range(stop))
    advance(first, range(stop))
    restored.load_state_dict(copy.deepcopy(first.state_dict()))
    found, expected = advance(restored, range(stop, 13)), advance(whole, range(stop, 13))
    assert expected
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert_same_state(restored.state_dict(), whole.state_dict())


def assert_same_state(found: object, expected: object) -> None:
    """Equal, and made of what a checkpoint can hold: finite numbers, strings and tensors."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same_state(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        for a, b in zip(found, expected, strict=True):
            assert_same_state(a, b)
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    else:
        assert found == expected
        assert expected is None or isinstance(expected, str) or math.isfinite(expected)


# ---- options that can't be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.0}, r"ratio must lie in \[0, 1\), got 1.0"),
        ({"ratio": -0.1}, r"ratio must lie in \[0, 1\)"),
        ({"ratio": math.nan}, r"ratio must lie in \[0, 1\)"),
        ({"fraction": 0.0}, r"fraction must lie in \(0, 1\]"),
        ({"fraction": 1.01}, r"fraction must lie in \(0, 1\]"),
        ({"fraction": math.nan}, r"fraction must lie in \(0, 1\]"),
        ({"k_max": 0.0}, "k_max must be positive"),
        ({"k_max": math.nan}, "k_max must be positive"),
        ({"every": 0}, "every must be a whole number of steps, at least 1, got 0"),
        ({"every": 1.5}, "every must be a whole number"),
        ({"update_every": 0}, "update_every must be a whole number of plays, at least 1, got 0"),
        ({"memory": -1}, "memory must be a number of images, at least 0, got -1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"pull": -1.0}, "pull must be at least 0, got -1.0"),
        ({"r1": math.nan}, "r1 must be at least 0, got nan"),
        ({"spectral_bound": 0.9}, "spectral_bound must be at least 1, got 0.9"),
        ({"adversary": "descend"}, "unknown adversary 'descend'; expected one of ascend, classify, frozen"),
        ({"adversary": "frozen", "r1": 0.1}, "r1 would change nothing with adversary 'frozen'; leave it out"),
        ({"adversary": "frozen", "pull": 1.0, "update_every": 2}, "pull and update_every would change nothing"),
        ({"adversary": "frozen", "spectral_bound": 1.5}, "spectral_bound would change nothing"),
        ({"adversary": "frozen", "learning_rate": 1e-3}, "learning_rate would change nothing"),
        ({"adversary": "ascend", "group": 4}, "group would change nothing with adversary 'ascend'"),
        ({"adversary": "classify", "penalty": "huber"}, "penalty would change nothing with adversary 'classify'"),
        ({"adversary": "classify", "group": 1}, "group must be a number of images, at least 2, got 1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(StructureError, match=message):
        game_of(**options)


def test_each_adversary_has_a_learning_rate_of_its_own() -> None:
    def rate(**options: object) -> float:
        return game_of(**options).discriminator.updates.optimiser.param_groups[0]["lr"]

    assert rate() == 2e-5
    assert rate(adversary="classify") == 1e-3
    assert rate(adversary="classify", learning_rate=0.3) == 0.3
