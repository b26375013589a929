"""The structure signal is the game, told in the trainer's terms."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.diffusion import Denoised
from sadm.signals import StructureSignal, account_of
from sadm.structure import ConvEncoder, Schedule, StructureGame

PLAYED = {"gap", "g_dsm", "g_gap", "g_structure", "ratio", "spread", "spread_hat"}
WATCHED = {"events", "skipped"}


def game(**options: object) -> StructureGame:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = ConvEncoder(1, width=8, stages=1, embedding=6)
    return StructureGame(encoder, **{"learning_rate": 0.01, "fraction": 0.5, **options})


def step(seed: int) -> tuple[Denoised, torch.Tensor]:
    x0, noise, g_dsm = torch.randn(3, 6, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    sigma = torch.tensor([0.1, 4.0, 0.2, 2.0, 0.5, 9.0])
    x_t = x0 + sigma.reshape(-1, 1, 1, 1) * noise
    return Denoised(x0, x_t, sigma, noise, Cond(), 0.5 * x_t, torch.ones(6)), g_dsm


def break_weights(signal: StructureSignal) -> None:
    with torch.no_grad():
        signal.game.discriminator.encoder.project.weight[0, 0] = math.nan


@pytest.mark.parametrize("watchdog", [True, None])
def test_it_contributes_and_logs_what_the_game_gives(watchdog: bool | None) -> None:
    signal, reference = StructureSignal(game(watchdog=watchdog)), game(watchdog=watchdog)
    for seed in range(3):
        denoised, g_dsm = step(seed)
        found = signal(denoised, g_dsm)
        play = reference.play(denoised.x0, denoised.x0_hat, denoised.sigma, g_dsm)
        assert found.gradient is not None
        assert torch.equal(found.gradient, play.gradient)
        assert float(found.gradient.abs().max()) > 0
        assert set(found.log) == (PLAYED | WATCHED if watchdog else PLAYED)
        assert all(value.shape == () for value in found.log.values())
        for name in PLAYED:
            assert torch.equal(found.log[name], getattr(play, name))
        assert all(float(found.log[name]) == 0 for name in WATCHED if watchdog)


def test_it_agrees_with_the_added_line_of_a_foreign_loop() -> None:
    denoised, _ = step(1)
    leaf = denoised.x0_hat.clone().requires_grad_()
    loss = (denoised.x0 - leaf).square().mean()
    (g_dsm,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    (added,) = torch.autograd.grad(game()(loss, denoised.x0, leaf, denoised.sigma), leaf)
    assert torch.equal(StructureSignal(game())(denoised, g_dsm).gradient, added)


@pytest.mark.parametrize(("options", "plays"), [({"schedule": Schedule(end=1)}, [0]), ({"every": 3}, [0, 3])])
def test_at_rest_it_gives_nothing_and_asks_nothing_of_the_encoder(options: dict, plays: list[int]) -> None:
    signal = StructureSignal(game(watchdog=None, **options))
    calls = []
    signal.game.discriminator.encoder.register_forward_hook(lambda *_: calls.append(1))
    for seed in range(5):
        found = signal(*step(seed))
        assert (found.gradient is not None) is (seed in plays)
        assert (found.log == {}) is (seed not in plays)
    assert len(calls) == len(plays)
    assert signal.game.step == 5


def test_a_restored_signal_goes_on_bit_for_bit() -> None:
    whole, first, restored = (StructureSignal(game(schedule=Schedule(warmup=4))) for _ in range(3))
    for seed in range(2):
        whole(*step(seed))
        first(*step(seed))
    restored.load_state_dict(copy.deepcopy(first.state_dict()))
    for seed in (2, 3):
        assert torch.equal(whole(*step(seed)).gradient, restored(*step(seed)).gradient)


def test_each_event_is_said_once_and_not_again_after_a_resumption() -> None:
    said: list[str] = []
    signal = StructureSignal(game(), say=said.append)
    signal(*step(0))
    assert said == []
    break_weights(signal)
    skipped = signal(*step(1))
    assert skipped.gradient is None
    assert {name: float(value) for name, value in skipped.log.items()} == {"events": 1.0, "skipped": 1.0}
    reason = "the discriminator's weights hold NaN or infinite values"
    assert said == [f"Structure game, step 1: rolled the discriminator back, since {reason}."]
    after = signal(*step(2))
    assert after.gradient is not None
    assert float(after.log["events"]) == 1
    assert float(after.log["ratio"]) == pytest.approx(0.25)
    assert len(said) == 1

    again: list[str] = []
    resumed = StructureSignal(game(), say=again.append)
    resumed.load_state_dict(copy.deepcopy(signal.state_dict()))
    found = resumed(*step(3))
    assert torch.equal(found.gradient, signal(*step(3)).gradient)
    assert float(found.log["events"]) == 1
    assert again == []
    assert len(said) == 1
    assert account_of([resumed]) == account_of([signal]) == [f"step 1: rolled the discriminator back, since {reason}"]


def test_without_a_watchdog_there_is_no_account() -> None:
    quiet = StructureSignal(game())
    assert account_of([quiet]) == []
    quiet.game.watchdog = None
    assert account_of([quiet]) is None
    assert account_of([]) is None


def test_nobody_need_listen() -> None:
    signal = StructureSignal(game())
    break_weights(signal)
    assert float(signal(*step(0)).log["events"]) == 1


def test_bad_input_is_an_error_for_people_with_the_step() -> None:
    signal = StructureSignal(game())
    signal(*step(0))
    denoised, g_dsm = step(1)
    denoised.x0[0, 0, 0, 0] = math.nan
    with pytest.raises(UserError, match="structure guidance stopped at step 1: x0 holds NaN or infinite values"):
        signal(denoised, g_dsm)
