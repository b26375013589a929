"""The encoder as a player: gradients against an independent gap, and its own step against plain Adam."""

from __future__ import annotations

import copy
import math
import statistics
from itertools import pairwise

import pytest
import torch
from structure_oracles import SmallEncoder, images, naive_cosine, naive_gap, naive_gap_of
from structure_setup import PIXELS, D, same, weights_of
from torch import nn

from sadm.structure import (
    AscendingDiscriminator,
    ConvEncoder,
    FrozenDiscriminator,
    StructureError,
    UpdateRule,
    cosine_relations,
)
from sadm.structure.players.spectral import SpectralBound
from sadm.structure.players.updates import Updates

SHAPE = (5, 2, 3, 3)
KINDS = [AscendingDiscriminator, FrozenDiscriminator]


def pair(seed: int = 1, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    x0 = images(seed, *SHAPE, dtype=dtype)
    return x0, x0 + 0.5 * images(seed + 1, *SHAPE, dtype=dtype)


def small(dtype: torch.dtype = torch.float32, seed: int = 0) -> SmallEncoder:
    return SmallEncoder(PIXELS, seed, dtype)


# ---- what each player gets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", ["cosine", "euclidean"])
@pytest.mark.parametrize("penalty", ["squared", "huber"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gap_and_gradient_equal_the_independent_ones(kind, relation: str, penalty: str, weighted: bool) -> None:
    encoder = small(D)
    x0, x0_hat = pair(dtype=D)
    weight = [1.0, 0.25, 0.0, 2.0, 0.5] if weighted else None
    leaf = x0_hat.clone().requires_grad_()
    expected = naive_gap_of(copy.deepcopy(encoder), x0, leaf, weight, relation, penalty)
    (expected_gradient,) = torch.autograd.grad(expected, leaf)
    found = kind(encoder, relation, penalty).gap_and_gradient(
        x0, x0_hat, None if weight is None else torch.tensor(weight)
    )
    assert found.problem is None
    assert float(found.gap) == pytest.approx(float(expected.detach()), rel=1e-12)
    assert not found.gap.requires_grad
    torch.testing.assert_close(found.gradient, expected_gradient, rtol=1e-10, atol=1e-14)


def naive_target_gap(encoder: nn.Module, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return naive_gap(target, naive_cosine(torch.stack([encoder(image[None])[0] for image in x])))


@pytest.mark.parametrize("pull", [0.0, 0.3])
@pytest.mark.parametrize("r1", [0.0, 0.7])
@pytest.mark.parametrize("targeted", [False, True])
def test_three_steps_of_ascent_equal_adam_on_the_written_out_objective(pull: float, r1: float, targeted: bool) -> None:
    encoder = small(D)
    own = copy.deepcopy(encoder)
    start = [p.detach().clone() for p in own.parameters()]
    adam = torch.optim.Adam(own.parameters(), lr=0.01)
    player = AscendingDiscriminator(encoder, rule=UpdateRule(0.01, pull, r1))
    target = torch.rand(5, 5, generator=torch.Generator().manual_seed(8), dtype=D) if targeted else None
    for step in range(3):
        x0, x0_hat = pair(step, D)
        real = x0.clone().requires_grad_()
        if target is None:
            gap = objective = naive_gap_of(own, real, x0_hat)
        else:
            gap = naive_target_gap(own, x0_hat, target)
            objective = gap - naive_target_gap(own, real, target)
        (slope,) = torch.autograd.grad(objective, real, create_graph=True)
        loss = -objective + r1 / 2 * (5 * slope).flatten(1).square().sum(1).mean()
        for p, s in zip(own.parameters(), start, strict=True):
            loss = loss + pull / 2 * (p - s).square().sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        found = player.gap_and_gradient(x0, x0_hat, target=target)
        player.learn()
        assert float(found.gap) == pytest.approx(float(gap.detach()), rel=1e-8)
    for found, expected, before in zip(encoder.parameters(), own.parameters(), start, strict=True):
        # The bias of the last layer hardly moves the gap; Adam makes a step of its rounding errors' sign all the same.
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
        assert not torch.equal(found, before)
        assert found.grad is None


def test_with_a_target_the_denoiser_descends_its_gap_to_the_target_alone() -> None:
    encoder, target = small(D), torch.eye(5, dtype=D)
    x0, x0_hat = pair(dtype=D)
    leaf = x0_hat.clone().requires_grad_()
    (expected,) = torch.autograd.grad(naive_target_gap(copy.deepcopy(encoder), leaf, target), leaf)
    for player in (AscendingDiscriminator(encoder), AscendingDiscriminator(encoder, rule=UpdateRule(0.1, r1=1.0))):
        found = player.gap_and_gradient(x0, x0_hat, target=target).gradient
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_ascending_against_a_target_keeps_real_images_to_it() -> None:
    """Without the second term of the objective the encoder would gain by missing the target on real images, too."""
    x0, x0_hat = pair(dtype=D)
    player = AscendingDiscriminator(small(D), rule=UpdateRule(0.01))
    own = copy.deepcopy(player.encoder)
    target = cosine_relations(own(x0), own(x0))[0].detach()  # what real images meet exactly, at first
    for _ in range(60):
        player.gap_and_gradient(x0, x0_hat, target=target)
        player.learn()
    of_real = float(naive_target_gap(player.encoder, x0, target).detach())
    of_denoised = float(naive_target_gap(player.encoder, x0_hat, target).detach())
    start = float(naive_target_gap(own, x0_hat, target).detach())
    assert of_denoised > 2 * start
    assert of_real < 0.3 * of_denoised


def test_the_ascent_enlarges_the_gap() -> None:
    player = AscendingDiscriminator(small(D), rule=UpdateRule(1e-3))
    gaps = []
    for _ in range(20):
        gaps.append(float(player.gap_and_gradient(*pair(dtype=D)).gap))
        player.learn()
    assert all(later > earlier for earlier, later in pairwise(gaps))


def test_r1_tames_the_slope_at_real_images() -> None:
    slopes = []
    for r1 in (0.0, 10.0):
        player = AscendingDiscriminator(small(D), rule=UpdateRule(3e-3, r1=r1))
        for _ in range(20):
            player.gap_and_gradient(*pair(dtype=D))
            player.learn()
        x0, x0_hat = pair(dtype=D)
        real = x0.requires_grad_()
        (slope,) = torch.autograd.grad(naive_gap_of(player.encoder, real, x0_hat), real)
        slopes.append(float(slope.norm()))
    assert slopes[1] < 0.25 * slopes[0]


def test_r1_asks_for_a_relation_with_second_derivatives_at_once() -> None:
    with pytest.raises(StructureError, match="r1 needs a relation.*differentiated twice.*'cosine'.*or r1=0"):
        AscendingDiscriminator(small(), "euclidean", rule=UpdateRule(1e-3, r1=0.1))
    AscendingDiscriminator(small(), "cosine", "huber", rule=UpdateRule(1e-3, r1=0.1))


def test_a_strong_pull_keeps_the_encoder_near_its_start() -> None:
    distances = []
    for pull in (0.0, 100.0):
        encoder = small()
        before = weights_of(encoder)
        player = AscendingDiscriminator(encoder, rule=UpdateRule(0.01, pull))
        for _ in range(30):
            player.gap_and_gradient(*pair())
            player.learn()
        distances.append(sum(float((a - b).square().sum()) for a, b in zip(weights_of(encoder), before, strict=True)))
    assert distances[1] < 0.05 * distances[0]


# ---- when it learns ----------------------------------------------------------------------------------------------------


def test_it_learns_in_every_kth_play_only() -> None:
    encoder = small()
    player = AscendingDiscriminator(encoder, rule=UpdateRule(0.01, every=3))
    moved = []
    for _ in range(7):
        before = weights_of(encoder)
        leaf = pair()[1].double().requires_grad_()
        own = copy.deepcopy(encoder).double()
        (expected,) = torch.autograd.grad(naive_gap_of(own, pair()[0].double(), leaf), leaf)
        found = player.gap_and_gradient(*pair()).gradient
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-6)  # as good in between
        player.learn()
        moved.append(not same(before, weights_of(encoder)))
    assert moved == [True, False, False, True, False, False, True]


def test_measuring_without_learning_changes_nothing() -> None:
    encoder = small()
    before = weights_of(encoder)
    player = AscendingDiscriminator(encoder, memory=4)
    first, again = player.gap_and_gradient(*pair()), player.gap_and_gradient(*pair())
    assert torch.equal(first.gap, again.gap)
    assert torch.equal(first.gradient, again.gradient)
    assert same(weights_of(encoder), before)
    assert len(player.memory) == 0


def test_what_a_play_that_was_given_up_has_left_is_not_learnt_later() -> None:
    encoder = small()
    player = AscendingDiscriminator(encoder, rule=UpdateRule(0.01, every=2))
    player.gap_and_gradient(*pair())
    player.learn()
    after_one = weights_of(encoder)
    player.updates.plays = 2
    player.gap_and_gradient(*pair())  # due, and given up
    player.updates.plays = 3
    player.gap_and_gradient(*pair())
    player.learn()
    assert same(weights_of(encoder), after_one)


def test_frozen_and_rolled_back_for_good() -> None:
    encoder = small()
    start = weights_of(encoder)
    player = AscendingDiscriminator(encoder, memory=3, rule=UpdateRule(0.01))

    def advance() -> list[torch.Tensor]:
        player.gap_and_gradient(*pair())
        player.learn()
        return weights_of(encoder)

    moved = advance()
    assert not same(moved, start)
    player.freeze()
    assert same(advance(), moved)
    assert len(player.memory) == 3
    player.roll_back()
    assert len(player.memory) == 0  # its embeddings are those of other weights
    assert same(advance(), start)
    other = AscendingDiscriminator(small(seed=3), memory=3, rule=UpdateRule(0.01))
    other.load_state_dict(player.state_dict())
    other.gap_and_gradient(*pair())
    other.learn()
    assert same(weights_of(other.encoder), start)


def test_a_frozen_encoder_never_changes_and_asks_for_no_gradients() -> None:
    encoder = small().train()
    before = weights_of(encoder)
    player = FrozenDiscriminator(encoder)
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    for _ in range(3):
        player.gap_and_gradient(*pair())
        player.learn()
    assert same(weights_of(encoder), before)
    assert all(p.grad is None for p in encoder.parameters())


def test_parameters_that_the_user_froze_stay() -> None:
    encoder = small()
    encoder.first.requires_grad_(False)
    fixed, moving = weights_of(encoder.first), weights_of(encoder.second)
    player = AscendingDiscriminator(encoder, rule=UpdateRule(0.01))
    player.gap_and_gradient(*pair())
    player.learn()
    assert same(weights_of(encoder.first), fixed)
    assert not same(weights_of(encoder.second), moving)


# ---- hands off what is not its own -------------------------------------------------------------------------------------


def test_the_graph_behind_x0_hat_is_left_alone() -> None:
    network = nn.Linear(3, 3)
    x0, x0_hat = pair()
    attached = network(x0_hat)
    AscendingDiscriminator(small()).gap_and_gradient(x0, attached)
    assert network.weight.grad is None
    attached.sum().backward()  # the graph is still there
    assert network.weight.grad is not None


def test_it_plays_inside_no_grad() -> None:
    player = AscendingDiscriminator(small())
    expected = player.gap_and_gradient(*pair())
    with torch.no_grad():
        found = player.gap_and_gradient(*pair())
    assert torch.equal(found.gradient, expected.gradient)


def test_autocast_stops_at_its_door() -> None:
    player = AscendingDiscriminator(ConvEncoder(2, width=8, stages=2, embedding=8))
    expected = player.gap_and_gradient(*pair(), probe=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert player.encoder(pair()[0]).dtype == torch.bfloat16  # the region does what it should
        found = player.gap_and_gradient(*pair(), probe=True)
    assert found.gap.dtype == torch.float32
    assert torch.equal(found.gap, expected.gap)
    assert torch.equal(found.gradient, expected.gradient)
    assert torch.equal(found.moments, expected.moments)
    assert torch.equal(found.probe.gap_start, expected.probe.gap_start)


def test_a_double_precision_encoder_is_served_in_double_precision() -> None:
    encoder = small(D)
    x0, x0_hat = pair()
    found = AscendingDiscriminator(encoder).gap_and_gradient(x0, x0_hat)
    expected = naive_gap_of(copy.deepcopy(encoder), x0.double(), x0_hat.double()).detach()
    assert found.gap.dtype == found.gradient.dtype == D
    assert float(found.gap) == pytest.approx(float(expected), rel=1e-12)


def test_a_half_precision_encoder_is_compared_in_float32() -> None:
    found = FrozenDiscriminator(small(torch.bfloat16)).gap_and_gradient(*pair())
    assert found.gap.dtype == torch.float32
    assert found.gradient.isfinite().all()


# ---- what it measures besides -------------------------------------------------------------------------------------------


def test_moments_and_sensitivity_are_those_of_the_relations() -> None:
    player, (x0, x0_hat) = FrozenDiscriminator(small(D)), pair(dtype=D)
    found = player.gap_and_gradient(x0, x0_hat)
    values = {}
    for side, x in (("real", x0), ("denoised", x0_hat)):
        similarity = naive_cosine(player.encoder(x).detach())
        values[side] = [float(similarity[i][j]) for i in range(5) for j in range(5) if i != j]
    real, denoised = values["real"], values["denoised"]
    mean, mean_hat = statistics.fmean(real), statistics.fmean(denoised)
    variances = 20 * statistics.pvariance(real), 20 * statistics.pvariance(denoised)
    product = math.fsum((a - mean) * (b - mean_hat) for a, b in zip(real, denoised, strict=True))
    assert found.moments.tolist() == pytest.approx([20, mean, mean_hat, *variances, product], rel=1e-10)
    sizes = [float(g.norm() * x.norm()) for g, x in zip(found.gradient, x0_hat, strict=True)]
    assert float(found.sensitivity) == pytest.approx(sum(sizes) / float(found.gap), rel=1e-12)


def test_the_probe_sees_through_the_starting_weights() -> None:
    encoder = small(D)
    start = copy.deepcopy(encoder)
    player = AscendingDiscriminator(encoder, rule=UpdateRule(0.05), memory=3)
    for step in range(4):
        player.gap_and_gradient(*pair(step, D))
        player.learn()
    weights = weights_of(encoder)
    x0, x0_hat = pair(9, D)
    found = player.gap_and_gradient(x0, x0_hat, probe=True)
    assert found.probe is not None
    assert float(found.probe.gap) == pytest.approx(float(naive_gap_of(encoder, x0, x0_hat).detach()), rel=1e-10)
    assert float(found.probe.gap_start) == pytest.approx(float(naive_gap_of(start, x0, x0_hat).detach()), rel=1e-10)
    seen = FrozenDiscriminator(start).gap_and_gradient(x0, x0_hat)
    torch.testing.assert_close(found.probe.moments_start, seen.moments, rtol=1e-10, atol=1e-14)
    assert same(weights_of(encoder), weights)
    assert player.gap_and_gradient(x0, x0_hat).probe is None
    assert FrozenDiscriminator(start).gap_and_gradient(x0, x0_hat, probe=True).probe is None  # it has no other start


def test_an_encoder_that_is_moved_after_the_game_was_made_goes_on() -> None:
    """As .cuda() does, .double() replaces what its parameters hold, and leaves the game's copies behind."""
    encoder = small()
    player = AscendingDiscriminator(encoder, rule=UpdateRule(0.05, pull=0.1, spectral_bound=1.5))
    whole = AscendingDiscriminator(small(D), rule=UpdateRule(0.05, pull=0.1, spectral_bound=1.5))
    encoder.double()
    for step in range(4):
        found, expected = (one.gap_and_gradient(*pair(step, D), probe=True) for one in (player, whole))
        assert found.probe is not None
        assert expected.probe is not None
        torch.testing.assert_close(found.probe.gap_start, expected.probe.gap_start, rtol=1e-5, atol=0)
        player.learn(), whole.learn()
    for one, other in zip(weights_of(encoder), weights_of(whole.encoder), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    player.roll_back()
    for one, other in zip(weights_of(encoder), weights_of(small()), strict=True):
        torch.testing.assert_close(one, other.double(), rtol=0, atol=0)


# ---- the bound on spectral norms ----------------------------------------------------------------------------------------


def norm_of(weight: torch.Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_every_weight_matrix_stays_within_its_bound_after_each_step(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder(2, width=8, stages=2, embedding=6).to(dtype)
    free = copy.deepcopy(encoder)
    starts = {name: norm_of(p) for name, p in encoder.named_parameters() if p.ndim > 1}
    assert len(starts) == 5
    bounded = AscendingDiscriminator(encoder, rule=UpdateRule(0.02, spectral_bound=1.2))
    unbounded = AscendingDiscriminator(free, rule=UpdateRule(0.02))
    reached = set()
    for step in range(12):
        for player in (bounded, unbounded):
            player.gap_and_gradient(*pair(step, dtype))
            player.learn()
        norms = {name: norm_of(p) / starts[name] for name, p in encoder.named_parameters() if p.ndim > 1}
        assert max(norms.values()) <= 1.2 * (1 + 1e-4)
        reached |= {name for name, norm in norms.items() if norm > 1.2 * (1 - 1e-4)}
    assert len(reached) >= 3  # the bound was at work
    assert max(norm_of(p) / starts[name] for name, p in free.named_parameters() if p.ndim > 1) > 1.5


def test_a_projection_scales_and_does_nothing_else() -> None:
    weight = images(1, 6, 4, 3, 3, dtype=D)
    bound = SpectralBound([weight], 1.5)
    start = norm_of(weight)
    weight += 0.01 * images(2, 6, 4, 3, 3, dtype=D)
    within = weight.clone()
    bound.project()
    assert torch.equal(weight, within)  # within the bound nothing changes
    weight += 4 * images(3, 6, 4, 3, 3, dtype=D)
    beyond = weight.clone()
    for _ in range(30):
        bound.project()
    assert norm_of(weight) == pytest.approx(1.5 * start, rel=1e-9)
    torch.testing.assert_close(weight, beyond * (norm_of(weight) / norm_of(beyond)), rtol=1e-9, atol=0)


def test_vectors_and_weights_that_start_at_zero_are_left_alone() -> None:
    weights = [torch.ones(3, dtype=D), torch.zeros(3, 3, dtype=D), torch.eye(3, dtype=D)]
    bound = SpectralBound(weights, 1.0)
    for weight in weights:
        weight.mul_(7).add_(5)
    kept = [weight.clone() for weight in weights]
    bound.project()
    assert torch.equal(weights[0], kept[0])
    assert torch.equal(weights[1], kept[1])
    assert norm_of(weights[2]) == pytest.approx(1.0, rel=1e-12)


# ---- what can't play -----------------------------------------------------------------------------------------------------


def test_useless_encoders_and_unknown_names_are_refused() -> None:
    for kind in KINDS:
        with pytest.raises(StructureError, match=r"unknown relation 'angle'; expected one of cosine, .*or a callable"):
            kind(small(), relation="angle")
        with pytest.raises(StructureError, match=r"unknown penalty 'cubic'; expected one of squared, .*or a callable"):
            kind(small(), penalty="cubic")
    with pytest.raises(StructureError, match="no trainable parameters; use adversary 'frozen'"):
        AscendingDiscriminator(nn.Flatten())
    with pytest.raises(StructureError, match=r"'first.weight' is torch.bfloat16.*lost in rounding.*\.float\(\)"):
        AscendingDiscriminator(small(torch.bfloat16))
    with pytest.raises(StructureError, match=r"weights are float16.*\.float\(\)"):
        FrozenDiscriminator(small(torch.float16))


def test_an_encoder_without_parameters_can_be_frozen() -> None:
    found = FrozenDiscriminator(nn.Flatten()).gap_and_gradient(*pair())
    assert float(found.gap) == pytest.approx(float(naive_gap_of(nn.Flatten(), *pair())), rel=1e-5)
    assert found.gradient.shape == SHAPE
    half = FrozenDiscriminator(nn.Flatten()).gap_and_gradient(*(x.half() for x in pair()))
    assert half.gradient.dtype == torch.float32


def test_a_frozen_player_has_nothing_to_freeze_or_roll_back() -> None:
    player = FrozenDiscriminator(small())
    assert player.healthy()
    with pytest.raises(NotImplementedError, match="FrozenDiscriminator does not learn"):
        player.freeze()
    with pytest.raises(NotImplementedError, match="no starting weights"):
        player.roll_back()


def test_updates_tell_when_weights_are_broken() -> None:
    updates = Updates(small(), UpdateRule(0.1))
    assert updates.healthy()
    with torch.no_grad():
        updates.parameters[1][0] = torch.nan
    assert not updates.healthy()
