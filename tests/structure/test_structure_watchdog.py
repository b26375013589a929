"""The watchdog: its rules on made-up readings, its hands on the game, and a real game under sabotage."""

from __future__ import annotations

import copy
import json
import math
import random
import re
import statistics

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from structure_oracles import SmallEncoder
from structure_setup import PIXELS, D, game_of, play_once, same, weights_of
from torch import nn

from sadm.structure import ConvEncoder, Event, StructureError, StructureGame, Watchdog
from sadm.structure.players.discriminator import END, FREEZE, HALVE, ROLL_BACK
from sadm.structure.watchdog import Pairs, Probed, Reading

ASCEND = (HALVE, FREEZE, ROLL_BACK, END)


def watchdog_of(ladder: tuple[str, ...] = ASCEND, **options: float) -> Watchdog:
    watchdog = Watchdog(**options)
    watchdog.attach(ladder)
    return watchdog


def moments(spread: float = 0.2, correlation: float = 0.7, pairs: int = 100) -> list[float]:
    """Of relations with equal spread on both sides."""
    return [pairs, 0.5, 0.6, pairs * spread**2, pairs * spread**2, pairs * correlation * spread**2]


def reading(
    step: int,
    *,
    gap: float = 0.05,
    g_dsm: float = 1.0,
    sensitivity: float = 10.0,
    images: int = 8,
    now: list[float] | None = None,
    start: list[float] | None = None,
    gap_start: float = 0.05,
) -> Reading:
    return Reading(step, images, gap, g_dsm, sensitivity, now or moments(), Probed(gap, gap_start, start or moments()))


def run(watchdog: Watchdog, count: int, first: int = 0, **options: float | list[float]) -> list[Event]:
    """The events of so many equal plays."""
    events = [watchdog.observe(reading(step, **options)) for step in range(first, first + count)]
    return [event for event in events if event is not None]


# ---- pooled relations ------------------------------------------------------------------------------------------------


def test_pooled_relations_are_those_of_all_plays_together() -> None:
    draws = np.random.default_rng(0)
    pairs, real, denoised = Pairs(), [], []
    for play, count in enumerate((1, 6, 2, 20)):
        a = 0.999 + 1e-5 * draws.normal(size=count) + 1e-3 * play  # nearly collapsed: the digits count
        b = a + 1e-5 * draws.normal(size=count)
        deviation, deviation_hat = a - a.mean(), b - b.mean()
        sums = [(deviation**2).sum(), (deviation_hat**2).sum(), (deviation * deviation_hat).sum()]
        pairs.add([count, a.mean(), b.mean(), *sums])
        real, denoised = [*real, *a], [*denoised, *b]
    assert pairs.count == 29
    assert pairs.spread == pytest.approx(np.std(real), rel=1e-9)
    assert pairs.spread_hat == pytest.approx(np.std(denoised), rel=1e-9)
    assert pairs.correlation == pytest.approx(np.corrcoef(real, denoised)[0, 1], rel=1e-9)


def test_relations_that_do_not_vary_have_no_correlation() -> None:
    pairs = Pairs()
    assert (pairs.spread, pairs.spread_hat, pairs.correlation) == (0, 0, 0)
    pairs.add([3, 1.0, 0.5, 0.0, 0.2, 0.0])
    assert pairs.correlation == 0


# ---- one rule after the other ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [2, 8, 43])
def test_a_game_with_much_noise_and_no_trend_is_left_alone(images: int) -> None:
    """Gaps of a few pairs vary by factors, denoising gradients by half; 400 windows of that, with the encoder near its start."""
    watchdog, draws = watchdog_of(), random.Random(images)
    pairs = images * (images - 1)
    for step in range(10_000):
        gap = math.exp(draws.gauss(-3, 1.0 if images == 2 else 0.3))
        ratio = math.exp(draws.gauss(0.3, 0.5))
        shift = 0.3 * math.sqrt(2 / pairs)
        now, start = (moments(0.2, max(-1, min(1, draws.gauss(mean, shift))), pairs) for mean in (0.5, 0.6))
        probed = Probed(gap * ratio, gap, start) if watchdog.wants_probe(images) else None
        slope = math.exp(draws.gauss(0, 0.5))
        watchdog.observe(Reading(step, images, gap * ratio, slope, math.exp(draws.gauss(2, 1)), now, probed))
    assert watchdog.events == []
    assert watchdog.ratio_scale == 1
    assert not watchdog.ended


@pytest.mark.parametrize(
    ("change", "what"),
    [({"gap": 0.004}, "gap is 0.004, where .* see 0.05"), ({"now": moments(0.015)}, "spread of relations is 0.015")],
)
def test_an_encoder_gone_blind_is_rolled_back_at_once(change: dict, what: str) -> None:
    watchdog = watchdog_of(window=10)
    assert run(watchdog, 9, **change) == []
    (event,) = run(watchdog, 1, first=9, **change)
    assert (event.step, event.action) == (9, ROLL_BACK)
    assert re.search(rf"the encoder went blind: its {what}", event.reason)
    assert set(event.numbers) == {"gap", "gap_start", "spread", "spread_start"}
    assert str(event) == f"step 9: rolled the discriminator back, since {event.reason}"
    assert watchdog.ratio_scale == 0.5  # the rungs below are taken as well


def test_a_gap_or_a_spread_just_above_a_tenth_is_no_blindness() -> None:
    assert run(watchdog_of(window=10), 50, gap=0.0051, now=moments(0.0201), start=moments(0.2)) == []


def test_a_mute_discriminator_is_given_up() -> None:
    (event,) = run(watchdog_of(window=10), 10, sensitivity=9e-5)
    assert event.action == ROLL_BACK
    assert re.search("went mute: images that change by their own size change the gap by 9e-05 of it", event.reason)
    (event,) = run(watchdog_of((HALVE, FREEZE, END), window=10), 10, sensitivity=9e-5)
    assert event.action == END  # an untrained classifier is nothing to go back to
    assert run(watchdog_of(window=10), 30, sensitivity=2e-4) == []


def test_an_encoder_out_of_touch_climbs_the_ladder_rung_by_rung() -> None:
    watchdog = watchdog_of(window=10)
    lost = {"now": moments(correlation=0.1), "start": moments(correlation=0.6)}
    events = run(watchdog, 60, **lost)
    assert [(event.step, event.action) for event in events] == list(zip((9, 19, 29, 39), ASCEND, strict=True))
    assert watchdog.events == events
    assert "correlate at 0.10, in those of its starting weights at 0.60" in events[0].reason
    assert watchdog.ended


@pytest.mark.parametrize(
    ("now", "start", "images"),
    [(0.16, 0.6, 8), (-0.1, 0.1, 8), (0.0, 0.3, 4), (0.1, 0.6, 1)],
    ids=["above a quarter", "never in touch", "too few images", "hardly any images"],
)
def test_a_correlation_that_proves_nothing_does_nothing(now: float, start: float, images: int) -> None:
    options = {"now": moments(correlation=now), "start": moments(correlation=start), "images": images}
    assert run(watchdog_of(window=10), 100, **options) == []


def jitter(step: int) -> float:
    return 1 + 0.1 * math.sin(step)


def test_a_denoiser_that_becomes_worse_in_both_senses_is_noticed() -> None:
    watchdog = watchdog_of((HALVE, END), window=10)

    def play(step: int, gap: float, g_dsm: float) -> Event | None:
        return watchdog.observe(Reading(step, 8, gap * jitter(step), g_dsm * jitter(step), 10.0, moments()))

    for step in range(100):
        assert play(step, 0.1 * 0.98**step, 0.99**step) is None  # as it should be
    low_gap, low_slope = 0.1 * 0.98**95, 0.99**95
    for step in range(100, 150):
        assert play(step, 10 * low_gap, 1.05 * low_slope) is None  # the gap alone
    for step in range(150, 200):
        assert play(step, 1.2 * low_gap, 3 * low_slope) is None  # the denoising loss alone
    events = [event for step in range(200, 220) if (event := play(step, 4 * low_gap, 1.6 * low_slope))]
    assert [(event.step, event.action) for event in events] == [(209, HALVE)]
    assert "the denoiser became worse: the gap is 4." in events[0].reason
    assert events[0].numbers["g_dsm"] == pytest.approx(1.6 * low_slope, rel=0.1)


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_growth_within_the_noise_is_not_believed(noise: float) -> None:
    """The best of 400 windows is a lucky one; what follows is above it without being worse."""
    watchdog, draws = watchdog_of((HALVE, END)), random.Random(8)
    for step in range(10_000):
        slope = math.exp(draws.gauss(0, noise))
        watchdog.observe(Reading(step, 8, 0.05 if step < 1000 else 0.5, slope, 10.0, moments()))
    assert watchdog.events == []


def test_nothing_is_taken_back_after_a_quiet_period() -> None:
    watchdog = watchdog_of(window=10)
    run(watchdog, 10, now=moments(correlation=0.0))
    assert watchdog.ratio_scale == 0.5
    assert run(watchdog, 1000, first=10) == []
    assert watchdog.ratio_scale == 0.5


def test_what_was_seen_before_an_action_does_not_count_after_it() -> None:
    watchdog = watchdog_of(window=10)
    run(watchdog, 10, now=moments(correlation=0.0))
    assert run(watchdog, 9, first=10, now=moments(correlation=0.0)) == []
    assert [event.action for event in run(watchdog, 1, first=19, now=moments(correlation=0.0))] == [FREEZE]


def test_probes_cost_four_images_a_play_whatever_the_batch() -> None:
    for images in (2, 8, 21, 43):
        watchdog, probed = watchdog_of(), 0
        for step in range(1000):
            wanted = watchdog.wants_probe(images)
            probed += images * wanted
            watchdog.observe(
                Reading(step, images, 0.05, 1.0, 10.0, moments(), Probed(0.05, 0.05, moments()) if wanted else None)
            )
        assert probed / 1000 == pytest.approx(min(4, images), rel=0.05)


# ---- numbers that are not finite -------------------------------------------------------------------------------------


def test_three_skipped_plays_in_a_window_move_the_ladder() -> None:
    watchdog = watchdog_of(window=10)
    assert [watchdog.skip(step, "the structure gap", True) for step in (0, 1)] == [None, None]
    event = watchdog.skip(2, "the structure gap", True)
    assert event is not None
    assert (event.action, event.numbers) == (HALVE, {"skipped": 3.0})
    assert "3 plays within 10 were skipped, the last because the structure gap was not finite" in event.reason
    for start in range(3, 200, 20):  # two in a window are borne
        assert watchdog.skip(start, "the structure gap", True) is None
        assert watchdog.skip(start + 1, "the structure gap", True) is None
        assert run(watchdog, 18, first=start + 2) == []
    assert watchdog.skipped == 23


def test_broken_weights_are_rolled_back_at_once() -> None:
    event = watchdog_of().skip(7, "the encoder's output", False)
    assert event is not None
    assert (event.step, event.action) == (7, ROLL_BACK)
    assert event.reason == "the discriminator's weights hold NaN or infinite values"
    event = watchdog_of((HALVE, FREEZE, END)).skip(7, "the structure gap", False)
    assert event is not None
    assert event.action == END


def break_weights(game: StructureGame) -> None:
    part = game.discriminator.updates.parameters[0]
    with torch.no_grad():
        part.view(-1)[0] = math.nan


def test_a_broken_encoder_costs_one_play_and_is_rolled_back() -> None:
    game = game_of(watchdog=True, learning_rate=0.01, memory=4)
    start = weights_of(game.discriminator.encoder)
    play_once(game)
    break_weights(game)
    play = play_once(game)
    assert play.skipped
    assert game.last is play
    assert torch.equal(play.gradient, torch.zeros_like(play.gradient))
    assert math.isnan(play.gap)
    assert [(event.step, event.action) for event in game.watchdog.events] == [(1, ROLL_BACK)]
    assert same(weights_of(game.discriminator.encoder), start)
    assert not game.watchdog.wants_probe(2)  # now and at the start are the same
    for _ in range(3):
        play = play_once(game)
        assert not play.skipped
        assert float(play.ratio) == pytest.approx(0.25)
    assert same(weights_of(game.discriminator.encoder), start)
    assert (game.step, game.watchdog.skipped) == (5, 1)


def test_a_broken_classifier_ends_the_game() -> None:
    game = game_of(watchdog=True, adversary="classify")
    break_weights(game)
    assert play_once(game).skipped
    assert [event.action for event in game.watchdog.events] == [END]
    assert game.resting
    calls = game.discriminator.encoder.calls
    x0_hat = torch.zeros(6, 2, 3, 3, dtype=D, requires_grad=True)
    loss = x0_hat.square().sum()
    term = game(loss, torch.ones_like(x0_hat), x0_hat, torch.ones(6, dtype=D))
    assert float(term) == 0
    assert game.discriminator.encoder.calls == calls


def test_a_frozen_encoder_that_overflows_is_borne_and_then_given_up() -> None:
    encoder = SmallEncoder(PIXELS, dtype=torch.float32)
    with torch.no_grad():
        encoder.second.bias[0] = math.inf
    game = StructureGame(encoder, adversary="frozen")
    for step in range(6):
        assert not game.resting
        assert play_once(game, step, torch.float32).skipped
    assert [(event.step, event.action) for event in game.watchdog.events] == [(2, HALVE), (5, END)]
    assert game.resting


class Cliff(nn.Module):
    """An encoder whose gradient, but not its output, is infinite at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(PIXELS, 4, dtype=D)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        return self.linear(x) + (x[:, :4] * 0).abs().sqrt()


@pytest.mark.parametrize("watched", [False, True])
def test_gradients_that_are_not_finite_reach_no_weight(watched: bool) -> None:
    game = StructureGame(Cliff(), watchdog=watched)
    before = weights_of(game.discriminator.encoder)
    if watched:
        assert play_once(game).skipped
        assert game.watchdog.skipped == 1
    else:
        with pytest.raises(StructureError, match="^its gradient holds NaN or infinite values; the game stops"):
            play_once(game)
    assert same(weights_of(game.discriminator.encoder), before)


def test_without_a_watchdog_a_broken_encoder_stops_the_game() -> None:
    game = game_of()
    break_weights(game)
    with pytest.raises(StructureError, match="^the encoder's output holds NaN or infinite values; the game stops"):
        play_once(game)
    assert game.step == 0


def test_a_gradient_that_breaks_on_its_way_to_the_output_is_skipped() -> None:
    game = game_of(watchdog=True)
    before = weights_of(game.discriminator.encoder)
    x0 = torch.randn(6, 2, 3, 3, dtype=D)
    play = game.play(x0, x0 + 1, torch.arange(6.0), torch.ones_like(x0), lambda gradient: gradient / 0)
    assert play.skipped
    assert same(weights_of(game.discriminator.encoder), before)


# ---- its place in the game -------------------------------------------------------------------------------------------


def test_it_is_there_unless_it_is_sent_away() -> None:
    own = Watchdog(window=7)
    assert isinstance(game_of(watchdog=True).watchdog, Watchdog)
    assert game_of(watchdog=own).watchdog is own
    assert game_of(watchdog=None).watchdog is None
    assert game_of(watchdog=False).watchdog is None
    assert isinstance(StructureGame(SmallEncoder(PIXELS)).watchdog, Watchdog)
    with pytest.raises(StructureError, match="watches another game already; give each game its own"):
        game_of(watchdog=own)


def test_as_long_as_nothing_happens_it_changes_no_digit() -> None:
    watched, alone = game_of(watchdog=Watchdog(window=3)), game_of(watchdog=None)
    for seed in range(8):
        assert torch.equal(play_once(watched, seed).gradient, play_once(alone, seed).gradient)
    assert watched.watchdog.events == []


@pytest.mark.parametrize("options", [{"window": 1}, {"window": 2.5}, {"probe": 0.0}, {"probe": math.nan}])
def test_useless_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(StructureError, match="the watchdog's (window|probe) must be"):
        Watchdog(**options)


def test_its_state_is_plain_and_goes_on_from_the_middle_of_a_window() -> None:
    watchdog, other = watchdog_of(window=10), watchdog_of(window=10)
    run(watchdog, 13, now=moments(correlation=0.0))
    watchdog.skip(13, "the structure gap", True)
    watchdog.wants_probe(43)
    state = json.loads(json.dumps(watchdog.state_dict(), allow_nan=False))
    other.load_state_dict(state)
    for each in (watchdog, other):
        run(each, 50, first=14, now=moments(correlation=0.0))
    assert other.state_dict() == watchdog.state_dict()
    assert len(other.events) == 4
    assert state["rung"] == 0  # what was loaded is not shared


# ---- a real game -----------------------------------------------------------------------------------------------------

SIGMA_DATA, LEARNING_RATE = 0.6, 1e-5


class Denoiser(nn.Module):
    """Preconditioned as in EDM, told the class: the structure of very noisy images is decided by that."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(75, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 64))

    def forward(self, x_t: torch.Tensor, sigma: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        level = sigma.reshape(-1, 1, 1, 1)
        scale = (level.square() + SIGMA_DATA**2).sqrt()
        told = torch.cat([(x_t / scale).flatten(1), sigma.log()[:, None] / 4, F.one_hot(label, 10).float()], 1)
        return (SIGMA_DATA / scale) ** 2 * x_t + level * SIGMA_DATA / scale * self.net(told).reshape(x_t.shape)


def error_of(x0: torch.Tensor, x0_hat: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    weight = (sigma.square() + SIGMA_DATA**2) / (sigma * SIGMA_DATA).square()
    return (weight * (x0_hat - x0).square().flatten(1).mean(1)).mean()


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    loaded = load_digits()
    order = np.random.default_rng(0).permutation(len(loaded.images))
    pixels = torch.tensor(loaded.images[order], dtype=torch.float32)[:, None] / 8 - 1
    return pixels, torch.tensor(loaded.target[order])


@pytest.fixture(scope="module")
def encoder(digits: tuple[torch.Tensor, torch.Tensor]) -> nn.Module:
    x0, label = digits
    torch.manual_seed(1)
    encoder, head = ConvEncoder(1, width=8, stages=2, embedding=16), nn.Linear(16, 10)
    adam = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 3e-3)
    for step in range(120):
        chosen = torch.randint(1200, (64,), generator=torch.Generator().manual_seed(step))
        loss = F.cross_entropy(head(encoder(x0[chosen])), label[chosen])
        adam.zero_grad()
        loss.backward()
        adam.step()
    return encoder


def held_out_loss(digits: tuple[torch.Tensor, torch.Tensor], game: StructureGame | None, steps: int = 400) -> float:
    """Trains a small denoiser, and measures its denoising loss on images that it has not seen."""
    x0, label = digits
    torch.manual_seed(3)
    denoiser = Denoiser()
    adam = torch.optim.Adam(denoiser.parameters())
    for step in range(steps):
        draws = torch.Generator().manual_seed(step)
        chosen = torch.randint(1200, (16,), generator=draws)
        sigma = (torch.randn(16, generator=draws) + 0.4).exp()
        x_t = x0[chosen] + sigma.reshape(-1, 1, 1, 1) * torch.randn(16, 1, 8, 8, generator=draws)
        x0_hat = denoiser(x_t, sigma, label[chosen])
        loss = error_of(x0[chosen], x0_hat, sigma)
        if game is not None:
            loss = loss + game(loss, x0[chosen], x0_hat, sigma)
        for group in adam.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps)
        adam.zero_grad()
        loss.backward()
        adam.step()
    real, losses = x0[1200:], []
    with torch.no_grad():
        for level in (0.7, 1.5, 4.0, 10.0):
            sigma = torch.full((len(real),), level)
            noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(5))
            losses.append(float(error_of(real, denoiser(real + level * noise, sigma, label[1200:]), sigma)))
    return statistics.fmean(losses)


def test_under_sabotage_the_watched_game_stays_close_to_plain_and_the_unwatched_one_does_not(digits, encoder) -> None:
    """The encoder's learning rate a hundred times too high, the ratio at its cap, every image in the game."""
    sabotage = {"learning_rate": 100 * LEARNING_RATE, "ratio": 0.99, "fraction": 1.0}
    plain = held_out_loss(digits, None)
    watched = StructureGame(copy.deepcopy(encoder), **sabotage)
    with_watchdog = held_out_loss(digits, watched)
    without = held_out_loss(digits, StructureGame(copy.deepcopy(encoder), watchdog=None, **sabotage))
    assert without > 1.06 * plain  # over ten seeds: 1.08 to 1.29
    assert with_watchdog < 1.05 * plain  # over ten seeds: 1.01 to 1.04
    assert without - plain > 2 * (with_watchdog - plain)
    actions = [event.action for event in watched.watchdog.events]
    assert actions[-1] == ROLL_BACK
    assert same(weights_of(watched.discriminator.encoder), weights_of(encoder))


def test_a_healthy_game_is_left_alone(digits, encoder) -> None:
    game = StructureGame(copy.deepcopy(encoder), learning_rate=LEARNING_RATE, ratio=0.5, fraction=1.0)
    held_out_loss(digits, game, steps=150)
    assert game.watchdog.events == []
    assert game.watchdog.skipped == 0
    assert not same(weights_of(game.discriminator.encoder), weights_of(encoder))
