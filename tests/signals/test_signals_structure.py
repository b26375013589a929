"""The structure signal is the game, told in the trainer's terms."""

from __future__ import annotations

import copy

import torch

from sadm.core.conditions import Cond
from sadm.diffusion import Denoised
from sadm.signals import StructureSignal
from sadm.structure import ConvEncoder, Schedule, StructureGame


def game(warmup: int = 0, end: int | None = None, every: int = 1) -> StructureGame:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = ConvEncoder(1, width=8, stages=1, embedding=6)
    return StructureGame(encoder, learning_rate=0.01, fraction=0.5, every=every, schedule=Schedule(warmup, end))


def step(seed: int) -> tuple[Denoised, torch.Tensor]:
    x0, noise, g_dsm = torch.randn(3, 6, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    sigma = torch.tensor([0.1, 4.0, 0.2, 2.0, 0.5, 9.0])
    x_t = x0 + sigma.reshape(-1, 1, 1, 1) * noise
    return Denoised(x0, x_t, sigma, noise, Cond(), 0.5 * x_t, torch.ones(6)), g_dsm


def test_it_contributes_and_logs_what_the_game_gives() -> None:
    signal, reference = StructureSignal(game()), game()
    for seed in range(3):
        denoised, g_dsm = step(seed)
        found = signal(denoised, g_dsm)
        play = reference.play(denoised.x0, denoised.x0_hat, denoised.sigma, g_dsm)
        assert found.gradient is not None
        assert torch.equal(found.gradient, play.gradient)
        assert float(found.gradient.abs().max()) > 0
        counts = {name: float(found.log.pop(name)) for name in ("events", "skipped")}
        assert counts == {"events": 0, "skipped": 0}
        assert set(found.log) == {"gap", "g_dsm", "g_gap", "g_structure", "ratio", "spread", "spread_hat"}
        for name, value in found.log.items():
            assert value.shape == ()
            assert torch.equal(value, getattr(play, name))


def test_it_agrees_with_the_added_line_of_a_foreign_loop() -> None:
    denoised, _ = step(1)
    leaf = denoised.x0_hat.clone().requires_grad_()
    loss = (denoised.x0 - leaf).square().mean()
    (g_dsm,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    (added,) = torch.autograd.grad(game()(loss, denoised.x0, leaf, denoised.sigma), leaf)
    assert torch.equal(StructureSignal(game())(denoised, g_dsm).gradient, added)


def test_at_rest_it_gives_nothing_and_asks_nothing_of_the_encoder() -> None:
    signal = StructureSignal(game(end=1))
    calls = []
    signal.game.discriminator.encoder.register_forward_hook(lambda *_: calls.append(1))
    assert signal(*step(0)).gradient is not None
    asked = len(calls)  # once for both players, and once more where the watchdog looks at the encoder's start
    assert asked in (1, 2)
    for seed in (1, 2):
        rest = signal(*step(seed))
        assert rest.gradient is None
        assert rest.log == {}
    assert len(calls) == asked
    assert signal.game.step == 3


def test_it_rests_between_plays() -> None:
    signal = StructureSignal(game(every=2))
    assert [signal(*step(seed)).gradient is not None for seed in range(4)] == [True, False, True, False]


def test_a_play_that_is_not_finite_adds_nothing_and_is_counted_and_the_event_is_said_once() -> None:
    said: list[str] = []
    signal = StructureSignal(game(), said.append)
    with torch.no_grad():
        next(signal.game.discriminator.encoder.parameters()).fill_(torch.nan)
    found = [signal(*step(seed)) for seed in range(8)]
    assert found[0].gradient is None
    assert set(found[0].log) == {"events", "skipped"}
    assert float(found[0].log["skipped"]) == 1
    assert said
    assert len(said) == len(signal.game.watchdog.events) == len(set(said))
    assert all(text.startswith("Structure game, ") for text in said)


def test_a_restored_signal_goes_on_bit_for_bit() -> None:
    whole, first, restored = (StructureSignal(game(warmup=4)) for _ in range(3))
    for seed in range(2):
        whole(*step(seed))
        first(*step(seed))
    restored.load_state_dict(copy.deepcopy(first.state_dict()))
    for seed in (2, 3):
        assert torch.equal(whole(*step(seed)).gradient, restored(*step(seed)).gradient)
