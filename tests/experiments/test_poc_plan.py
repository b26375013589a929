"""A budget becomes seeds and lengths of training: never more than it pays, and as much as it pays."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadm.core.errors import UserError
from sadm.experiments.poc.config import minutes_of, named_domains
from sadm.experiments.poc.domains import held_out_share
from sadm.experiments.poc.plan import (
    LEAST,
    MOST,
    ONE_ROUND,
    RESERVE,
    SHORTEST,
    WANTED,
    Plan,
    Speed,
    TooSmall,
    make_plan,
    makespan,
    seconds_to,
)
from sadm.experiments.prices import BusinessConfig

seconds = st.floats(0.01, 20)
speeds = st.builds(
    Speed,
    batch=st.sampled_from([8, 32, 64]),
    step=st.floats(1e-3, 0.5),
    step_ratio=st.floats(1.0, 2.0),
    pretraining=seconds,
    judging=seconds,
    start=seconds,
    report=seconds,
)
domains = st.dictionaries(st.sampled_from("abcdef"), speeds, min_size=1, max_size=5)
EVEN = Speed(batch=10, step=0.1, step_ratio=1.0, pretraining=0.0, judging=0.0, start=0.0, report=0.0)


def by_hand(speed: Speed, images: float, seeds: int, jobs: int) -> float:
    """Seconds of one comparison: its trainings, listed as the engine lists them, each to the worker that is free first."""
    steps = max(1, round(images / speed.batch))
    plain = steps * speed.step
    guided = steps * speed.step * speed.step_ratio + speed.pretraining
    equal = max(plain, speed.pretraining + speed.step * speed.step_ratio)
    workers = [0.0] * jobs
    for run in [*itertools.chain.from_iterable([plain, guided] for _ in range(seeds)), *[equal] * seeds]:
        free = workers.index(min(workers))
        workers[free] += run + speed.judging
    return speed.start + max(workers) + speed.report


def both_rounds(speed: Speed, images: float, seeds: int, jobs: int) -> float:
    parts = [seeds] if seeds <= ONE_ROUND else [LEAST, seeds - LEAST]
    return sum(by_hand(speed, images, part, jobs) for part in parts)


@given(domains, st.integers(1, 4), st.floats(1, 1e5), st.integers(100, 100_000), st.floats(0.5, 4))
def test_a_plan_keeps_to_the_budget_and_uses_it(
    speeds: dict[str, Speed], jobs: int, budget: float, whole: int, factor: float
) -> None:
    factors = {"a": factor}
    plan = make_plan(speeds, factors, whole, budget, jobs)

    def total(images: int, seeds: int) -> float:
        return sum(both_rounds(speed, images * factors.get(name, 1.0), seeds, jobs) for name, speed in speeds.items())

    shortest = math.ceil(SHORTEST * whole)
    if isinstance(plan, TooSmall):
        assert total(shortest, LEAST) > budget * RESERVE
        assert plan.needed == pytest.approx(total(shortest, LEAST) / RESERVE)
        return
    assert plan.total == pytest.approx(total(plan.images, plan.seeds))
    assert plan.total <= budget * RESERVE * (1 + 1e-9)
    assert LEAST <= plan.seeds <= MOST
    assert shortest <= plan.images <= whole
    if plan.images > shortest:
        assert plan.seeds >= WANTED  # shortened no more than these seeds take
    if plan.seeds < MOST:
        assert total(plan.images, plan.seeds + 1) > budget * RESERVE * (1 - 1e-9)
    if plan.images == whole:
        return
    assert total(whole, WANTED) > budget * RESERVE * (1 - 1e-9)  # or it would not have been shortened


@given(domains, st.integers(1, 4), st.integers(100, 10_000))
def test_what_is_said_to_be_needed_is_enough_and_hardly_too_much(
    speeds: dict[str, Speed], jobs: int, whole: int
) -> None:
    small = make_plan(speeds, {}, whole, 1e-6, jobs)
    assert isinstance(small, TooSmall)
    assert isinstance(make_plan(speeds, {}, whole, small.needed * 1.001, jobs), Plan)
    assert isinstance(make_plan(speeds, {}, whole, small.needed * 0.999, jobs), TooSmall)


def test_a_plan_by_hand() -> None:
    """300 steps of 0.1 s, three runs a seed, one at a time: 90 s a seed at full length."""
    plan = make_plan({"a": EVEN}, {}, 3000, 10 * 90 / RESERVE, 1)
    assert plan == Plan(3000, 10, {"a": pytest.approx(900.0)})
    half = make_plan({"a": EVEN, "b": EVEN}, {}, 3000, 5 * 90 / RESERVE, 1)
    assert isinstance(half, Plan)
    assert (half.images, half.seeds) == (pytest.approx(1500, abs=10), WANTED)
    wide = make_plan({"a": EVEN, "b": EVEN}, {"b": 2.0}, 3000, 7.5 * 90 / RESERVE, 1)
    assert isinstance(wide, Plan)
    assert wide.seconds["b"] == pytest.approx(2 * wide.seconds["a"], rel=0.01)
    assert make_plan({"a": EVEN}, {}, 3000, 44 / RESERVE, 1) == TooSmall(pytest.approx(45 / RESERVE))


def test_seconds_to_more_seeds_by_hand() -> None:
    speeds = {"a": EVEN, "b": EVEN}
    assert seconds_to(5, speeds, {}, 3000, {"a": 2, "b": 5}, {"a": 1.5}, 1) == pytest.approx(3 * 90 * 1.5)
    assert seconds_to(5, speeds, {"b": 0.5}, 3000, {"a": 5, "b": 3}, {}, 1) == pytest.approx(90)
    assert seconds_to(2, speeds, {}, 3000, {"a": 2, "b": 5}, {}, 1) == 0


@given(st.lists(seconds, min_size=1, max_size=20), st.integers(1, 5))
def test_workers_are_never_idle_while_work_waits(durations: list[float], workers: int) -> None:
    found = makespan(durations, workers)
    assert max(max(durations), sum(durations) / workers) <= found * (1 + 1e-9)
    assert found <= sum(durations) / workers + max(durations)  # Graham's bound for any list
    assert makespan(durations, 1) == pytest.approx(sum(durations))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2h", 120), ("1h30m", 90), ("45 min", 45), ("1.5 hours", 90), ("90s", 1.5), ("1d", 1440), ("2H 5 Minutes", 125)],
)
def test_times(text: str, expected: float) -> None:
    assert minutes_of(text, BusinessConfig(), 2) == pytest.approx(expected)


def test_money_buys_processor_hours() -> None:
    prices = BusinessConfig(currency="EUR", hour=0.5)
    assert minutes_of("20 EUR", prices, 2) == pytest.approx(60 * 20 / (0.5 * 2))
    assert minutes_of("20eur", prices, 1) == pytest.approx(2400)


@pytest.mark.parametrize(
    ("text", "prices", "expected"),
    [
        (
            "soon",
            BusinessConfig(),
            "--budget soon: expected a time such as 2h, 1h30m or 45min, or money such as 20 EUR",
        ),
        ("7", BusinessConfig(), "expected a time such as 2h"),
        ("-2h", BusinessConfig(), "expected a time such as 2h"),
        ("2h and more", BusinessConfig(), "expected a time such as 2h or 45min, or money"),
        ("20 EUR", BusinessConfig(), "--business.hour"),
        ("20 EUR", BusinessConfig(currency="JPY", hour=30), "in the currency of the prices"),
        ("0h", BusinessConfig(), "--budget 0h is nothing"),
    ],
)
def test_bad_budgets(text: str, prices: BusinessConfig, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        minutes_of(text, prices, 2)


def test_names_of_domains() -> None:
    named = named_domains(["x/cups", "y/cups/", "/z/my parts!", "surfaces:count=9,size=32", "a/prepared", "x/cups"], {})
    assert list(named) == ["cups", "cups-2", "my_parts", "surfaces_count=9,size=32", "prepared-2"]
    assert named_domains(["q/cups"], named) == {**named, "cups-3": "q/cups"}
    assert named_domains(["x/../x/cups"], named) == named


@given(st.integers(1, 100_000))
def test_few_images_hold_out_more(usable: int) -> None:
    share = held_out_share(usable)
    assert 0.2 <= share <= 0.4
    if 375 <= usable <= 700:
        assert share * usable == pytest.approx(150, rel=0.04)
