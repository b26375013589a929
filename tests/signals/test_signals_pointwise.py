"""The rules of the game for losses of single images: who takes part, how strongly, when."""

from __future__ import annotations

import copy
import math
import statistics

import pytest
import torch
from signal_steps import made_up
from torch import nn

from sadm.core.errors import UserError
from sadm.signals import Balancing, PointwiseSignal
from sadm.structure import CHOICES, ConvEncoder, Schedule, StructureError, StructureGame, falling, uniform_weight

RELATIVE_EPS = 1e-3


class Cubic(nn.Module):
    """``l = scale * mean |x0_hat - x0|^3``, whose gradient is known."""

    def __init__(self, scale: float = 2.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x0: torch.Tensor, x0_hat: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        return self.scale * (x0_hat - x0).abs().pow(3).flatten(1).mean(1)


def by_hand(denoised, g_dsm, ratio, k_max, fraction, weight_of, scale=2.0):
    """Gradients of the images as nested lists, and the loss; everything with Python numbers."""
    sigma = denoised.sigma.tolist()
    batch, size = len(sigma), denoised.x0[0].numel()
    count = min(batch, max(2, math.ceil(fraction * batch - 1e-9)))
    chosen = sorted(sorted(range(batch), key=lambda i: -sigma[i])[:count])
    error = (denoised.x0_hat - denoised.x0).flatten(1).tolist()
    weights = {i: weight_of(sigma[i]) for i in chosen}
    total = sum(weights.values())
    raw = {i: [weights[i] / total * scale * 3 * e * abs(e) / size for e in error[i]] for i in chosen}
    norms = {i: math.sqrt(sum(g * g for g in raw[i])) for i in chosen}
    # torch's median of an even number of values is the lower one of the two in the middle
    eps = RELATIVE_EPS * statistics.median_low(norms.values())
    rows = [[0.0] * size for _ in range(batch)]
    for i in chosen:
        size_dsm = math.sqrt(sum(g * g for g in g_dsm[i].flatten().tolist()))
        k = min(k_max, ratio * size_dsm / (norms[i] + eps))
        rows[i] = [k * g for g in raw[i]]
    losses = {i: scale * sum(abs(e) ** 3 for e in error[i]) / size for i in chosen}
    return rows, sum(weights[i] * losses[i] for i in chosen) / total, chosen


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(
    ("k_max", "fraction", "noise_weight", "weight_of"),
    [
        (math.inf, 1 / 3, None, lambda sigma: 1 / (1 + (sigma / 0.5) ** 2)),
        (0.3, 0.5, None, lambda sigma: 1 / (1 + (sigma / 0.5) ** 2)),
        (1.0, 1.0, uniform_weight, lambda sigma: 1.0),
    ],
    ids=["default", "clipped", "all images alike"],
)
def test_gradients_against_a_loop(dtype, rtol, k_max, fraction, noise_weight, weight_of) -> None:
    given = {} if noise_weight is None else {"noise_weight": noise_weight}
    signal = PointwiseSignal("cubic", Cubic().to(dtype), Balancing(ratio=0.4, k_max=k_max, fraction=fraction, **given))
    denoised, g_dsm = made_up(batch=7, dtype=dtype)
    step = signal(denoised, g_dsm)
    rows, loss, chosen = by_hand(denoised, g_dsm, 0.4, k_max, fraction, weight_of)
    torch.testing.assert_close(
        step.gradient.flatten(1).double(), torch.tensor(rows, dtype=torch.float64), rtol=rtol, atol=rtol * 1e-2
    )
    assert step.gradient.dtype == dtype
    assert float(step.log["cubic"]) == pytest.approx(loss, rel=rtol)
    norms = [math.sqrt(sum(g * g for g in rows[i])) for i in chosen]
    assert float(step.log["g_cubic"]) == pytest.approx(sum(norms) / len(norms), rel=rtol)
    assert step.log.keys() == {"cubic", "g_dsm", "g_cubic_raw", "g_cubic"}


def test_it_chooses_and_balances_as_the_game_does() -> None:
    shared = {"ratio": 0.3, "fraction": 0.5, "schedule": Schedule(warmup=3, end=5)}
    signal = PointwiseSignal("cubic", Cubic(), Balancing(**shared))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        game = StructureGame(ConvEncoder(1, width=8, stages=1), adversary="frozen", **shared)
    for seed in range(5):
        denoised, g_dsm = made_up(batch=8, seed=seed)
        play = game.play(denoised.x0, denoised.x0_hat, denoised.sigma, g_dsm)
        step = signal(denoised, g_dsm)
        ours, theirs = (gradient.flatten(1).norm(dim=1) for gradient in (step.gradient, play.gradient))
        assert torch.equal(ours > 0, theirs > 0)
        # Both are strength * ratio * |g_dsm| but for the eps of their own raw gradients; strengths differ by a third or more.
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=0)
        assert torch.equal(step.log["g_dsm"], play.g_dsm)
    assert signal(*made_up(seed=9)).gradient is None


def test_it_rests_by_its_schedule_and_between_every_so_many_steps() -> None:
    signal = PointwiseSignal("cubic", Cubic(), Balancing(every=3, schedule=Schedule(end=7)))
    played = []
    for seed in range(9):
        step = signal(*made_up(seed=seed))
        played.append(step.gradient is not None)
        assert bool(step.log) == played[-1]
    assert played == [True, False, False, True, False, False, True, False, False]


def test_a_ratio_of_zero_adds_zeros() -> None:
    step = PointwiseSignal("cubic", Cubic(), Balancing(ratio=0.0))(*made_up())
    assert torch.equal(step.gradient, torch.zeros_like(step.gradient))


def test_it_neither_trains_nor_touches_what_it_was_given() -> None:
    loss, (denoised, g_dsm) = Cubic(), made_up()
    before = [tensor.clone() for tensor in (denoised.x0, denoised.x0_hat, g_dsm)]
    PointwiseSignal("cubic", loss, Balancing())(denoised, g_dsm)
    assert not loss.scale.requires_grad
    assert loss.scale.grad is None
    assert not loss.training
    assert all(torch.equal(*pair) for pair in zip(before, (denoised.x0, denoised.x0_hat, g_dsm), strict=True))


def test_autocast_changes_nothing() -> None:
    signal, denoised = PointwiseSignal("cubic", Cubic(), Balancing()), made_up()
    plain = signal(*denoised)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(plain.gradient, signal(*denoised).gradient)


def test_a_restored_signal_goes_on_bit_for_bit() -> None:
    balancing = Balancing(schedule=Schedule(warmup=6))
    whole, first = (PointwiseSignal("cubic", Cubic(3.0), balancing) for _ in range(2))
    restored = PointwiseSignal("cubic", Cubic(1.0), balancing)
    for seed in range(2):
        whole(*made_up(seed=seed))
        first(*made_up(seed=seed))
    restored.load_state_dict(copy.deepcopy(first.state_dict()))
    for seed in (2, 3):
        expected, found = whole(*made_up(seed=seed)), restored(*made_up(seed=seed))
        assert torch.equal(expected.gradient, found.gradient)
        assert torch.equal(expected.log["cubic"], found.log["cubic"])


class Refusing(Cubic):
    def forward(self, x0, x0_hat, label):
        raise StructureError("this encoder expects something else")


def test_what_an_encoder_refuses_is_told_with_the_signal_and_the_step() -> None:
    signal = PointwiseSignal("features", Refusing(), Balancing(schedule=Schedule(end=2)))
    signal.step = 1
    with pytest.raises(UserError, match=r"signal 'features' stopped at step 1: this encoder expects something else"):
        signal(*made_up())


def test_who_takes_part_and_what_is_balanced_are_the_games_options() -> None:
    denoised, g_dsm = made_up(batch=7)
    rules = Balancing(ratio=0.4, choose=CHOICES["cleanest"], balance="batch")
    gradient = PointwiseSignal("cubic", Cubic(), rules)(denoised, g_dsm).gradient
    chosen = CHOICES["cleanest"](denoised.sigma, 1 / 3)
    assert gradient.flatten(1).norm(dim=1).nonzero().flatten().tolist() == chosen.tolist()
    assert float(gradient.norm() / g_dsm[chosen].norm()) == pytest.approx(0.4, rel=2e-3)
    by_noise = PointwiseSignal("cubic", Cubic(), Balancing(ratio=falling(0.4), fraction=1.0))(denoised, g_dsm).gradient
    reached = by_noise.flatten(1).norm(dim=1) / g_dsm.flatten(1).norm(dim=1)
    torch.testing.assert_close(reached, falling(0.4)(denoised.sigma).to(reached.dtype), rtol=5e-2, atol=0)
