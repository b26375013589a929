"""Hours, money and the stop/go line: worked by hand, from a comparison's own numbers, and silent about what is not known."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from report_fixture import PRICES, SEEDS, comparison, downstream, estimate, rich_comparison
from sadm.core.config import build_config
from sadm.core.errors import UserError
from sadm.core.files import write_json
from sadm.experiments.business import (
    Gain,
    business_facts,
    comparison_hours,
    decision,
    gain_of,
    saving,
    side_of,
    training_hours,
    value_of,
)
from sadm.experiments.config import CompareConfig
from sadm.experiments.engine import CLOCK, clock, minutes_in, processor_minutes_in
from sadm.experiments.prices import BusinessConfig

NONE = BusinessConfig()


def reached(mean: float | None, low: float | None = None, high: float | None = None, **more: Any) -> dict[str, Any]:
    return {"mean": mean, "outside": None, "limit": None, "low": low, "high": high, **more}


def test_hours_of_a_training_are_plain_seconds_times_the_cost_ratio() -> None:
    given = comparison()
    hours = training_hours(given, "sadm")
    assert hours["plain"] == pytest.approx(51.2 / 3600)
    assert hours["own"] == pytest.approx(51.2 * 1.2 / 3600)
    assert hours["extra"] == pytest.approx(51.2 * 0.2 / 3600)
    assert comparison_hours(given) == pytest.approx(5.9 * 2 / 60)
    given["cost"]["sadm"]["steps_measured"] = 0  # it diverged at once: the ratio is a stand-in
    assert training_hours(given, "sadm") == {}
    del given["cost"]["sadm"]
    assert training_hours(given, "sadm") == {}


def sessions(folder: Path, monkeypatch: pytest.MonkeyPatch, *processes: int) -> None:
    """Sessions of five minutes each, with so many processes."""
    for count in processes:
        times = iter([0.0, 300.0])
        monkeypatch.setattr("sadm.experiments.engine.time", SimpleNamespace(monotonic=lambda times=times: next(times)))
        with clock(folder, count):
            pass


def test_every_session_counts_with_its_own_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions(tmp_path, monkeypatch, 8, 1)
    assert (minutes_in(tmp_path), processor_minutes_in(tmp_path)) == (10, 45)
    given = {**comparison(), "minutes_total": 10, "processor_minutes_total": 45}
    given["provenance"]["processes"] = 1
    assert comparison_hours(given) == pytest.approx(45 / 60)


def test_a_folder_that_counted_minutes_alone_still_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / CLOCK, {"minutes": 3.0})
    sessions(tmp_path, monkeypatch, 8)
    assert (minutes_in(tmp_path), processor_minutes_in(tmp_path)) == (8, None)


def test_money_is_hours_times_price_and_a_year_is_so_many_trainings() -> None:
    facts = business_facts(comparison(), BusinessConfig(currency="EUR", hour=3600, volume=10, generated=1000))
    assert facts["training"]["money"] == pytest.approx({"plain": 51.2, "own": 61.44, "extra": 10.24})
    assert facts["year"]["money"] == pytest.approx({"plain": 512, "own": 614.4, "extra": 102.4})
    assert facts["year"]["trainings"] == 10
    assert facts["generation"]["money"]["plain"] == pytest.approx(1.92)  # 1.92 ms an image, a thousand images
    assert facts["comparison"]["money"]["whole"] == pytest.approx(5.9 * 60 * 2)


def test_without_prices_there_is_no_money() -> None:
    facts = business_facts(rich_comparison(), NONE)
    assert "money" not in json.dumps(facts)
    assert set(facts) == {"prices", "training", "comparison", "saving", "value", "decision"}
    assert facts["prices"] == {}
    assert set(facts["value"]) == {"accuracy", "accuracy_over_plain", "images"}, "no class of defects was named"


def test_what_was_not_measured_gives_no_number() -> None:
    given = {"verdict": {"treatment": "sadm", "outcome": "undecided"}}
    facts = business_facts(given, PRICES)
    assert set(facts) == {"prices", "decision"}
    assert facts["decision"] == {"say": "wait", "quality": "open"}


@pytest.mark.parametrize("judge", ["mlp", "pixels"])
def test_a_saving_is_that_of_the_judge_that_grants_least(judge: str) -> None:
    given = comparison()
    shares = {"mlp": reached(0.5, 0.4, 0.9), "pixels": reached(0.5, 0.4, 0.9)} | {judge: reached(0.8, 0.7, 0.95)}
    given["cost_to_plain"] = {"plain": {name: reached(1.0, 0.9, 1.0) for name in shares}, "sadm": shares}
    found = saving(given, "sadm")
    assert found is not None
    assert (found["judge"], found["share"], found["at_least"]) == (judge, 0.8, False)
    hours = 51.2 / 3600
    assert found["hours"] == pytest.approx({"mean": 0.2 * hours, "low": 0.05 * hours, "high": 0.3 * hours})
    assert found["sure"]
    facts = business_facts(given, BusinessConfig(currency="EUR", hour=3600, volume=10))["saving"]
    assert facts["money"]["mean"] == pytest.approx(10.24)
    assert facts["money_a_year"]["low"] == pytest.approx(25.6)
    assert facts["break_even_trainings"] == pytest.approx(5.9 * 2 * 60 / 10.24)
    spare = "pixels" if judge == "mlp" else "mlp"
    given["cost_to_plain"]["sadm"][spare]["high"] = 1.1
    unsure = saving(given, "sadm")
    assert unsure is not None
    assert not unsure["sure"], "every judge must be sure"
    given["judges"][judge]["decides"] = False
    other = saving(given, "sadm")
    assert other is not None
    assert other["judge"] != judge, "a judge that only informs does not limit the saving"


def test_what_plain_training_saves_itself_is_not_the_arms() -> None:
    given = comparison()
    given["cost_to_plain"] = {"plain": {"mlp": reached(0.9)}, "sadm": {"mlp": reached(0.6)}}
    found = saving(given, "sadm")
    assert found is not None
    assert found["hours"]["mean"] == pytest.approx(0.3 * 51.2 / 3600)
    given["cost_to_plain"]["plain"]["mlp"] = reached(None, outside="<", limit=0.7)
    assert saving(given, "sadm") is None


def test_outside_of_what_was_measured_a_saving_is_a_bound_or_none() -> None:
    given = comparison()
    given["cost_to_plain"] = {"sadm": {"mlp": reached(None, outside="<", limit=0.7)}}
    found = saving(given, "sadm")
    assert found is not None
    assert found["at_least"]
    assert found["hours"] == pytest.approx({"mean": 0.3 * 51.2 / 3600, "low": None, "high": None})
    assert not found["sure"]
    given["cost_to_plain"] = {"sadm": {"mlp": reached(None, high=0.9, outside="<", limit=0.7)}}
    bounded = saving(given, "sadm")
    assert bounded is not None
    assert bounded["hours"]["low"] == pytest.approx(0.1 * 51.2 / 3600)
    assert bounded["sure"]
    for missing in (reached(None, outside=">", limit=1.0), {"mean": None, "reason": "a run diverged"}):
        given["cost_to_plain"]["sadm"]["pixels"] = missing
        assert saving(given, "sadm") is None
    assert saving(comparison(), "sadm") is None


def test_a_costlier_arm_never_pays_for_the_comparison() -> None:
    given = comparison()
    given["cost_to_plain"] = {"sadm": {"mlp": reached(1.2, 1.1, 1.3)}}
    assert "break_even_trainings" not in business_facts(given, NONE)["saving"]


def test_gains_are_those_at_equal_cost_and_paired_with_plain() -> None:
    given = {**comparison(), "downstream": downstream()}
    gain = gain_of(given, "sadm", "1")
    assert gain is not None
    measured = given["downstream"]["arms"]
    assert gain.recall == measured["sadm"]["recall"]["1"]
    assert gain.accuracy == measured["sadm"]["gains"]["with_1x"]["accuracy"]
    assert gain.accuracy_over_plain == given["downstream"]["differences"]["equal_cost"]["sadm"]["with_1x"]["accuracy"]
    assert gain.images == measured["sadm"]["worth"]["with_1x"]["accuracy"]["images"]
    pairs = zip(measured["sadm"]["recall"]["1"]["values"], measured["plain"]["recall"]["1"]["values"], strict=True)
    expected = estimate([a - b for a, b in pairs])
    assert gain.recall_over_plain is not None
    assert [gain.recall_over_plain[key] for key in ("mean", "low")] == pytest.approx(
        [expected[key] for key in ("mean", "low")], rel=2e-3
    )  # the fixture rounds Student's t
    given["arms"]["plain"]["seeds"] = SEEDS[:-1]
    unpaired = gain_of(given, "sadm", "1")
    assert unpaired is not None
    assert unpaired.recall_over_plain is None
    given["arms"]["sadm"]["diverged"] = [100]
    assert gain_of(given, "sadm", "1") is None, "runs that finished are no fair sample"
    assert gain_of(comparison(), "sadm", "1") is None
    assert gain_of({**comparison(), "downstream": None}, "sadm", "1") is None


def test_value_is_gain_times_price_and_breaks_even_where_it_meets_the_cost() -> None:
    prices = BusinessConfig(currency="EUR", miss=50, defects=1000, defect_class="1", image=2)
    gain = Gain(recall={"mean": 0.04, "low": 0.02, "high": 0.06}, images={"mean": 100.0, "low": -10.0, "high": 210.0})
    value = value_of(gain, prices, yearly=500.0, once=30.0)
    assert value["misses_avoided_a_year"] == pytest.approx({"mean": 40, "low": 20, "high": 60})
    assert value["money_a_defect"] == pytest.approx({"mean": 2, "low": 1, "high": 3})
    assert value["money_a_year"] == pytest.approx({"mean": 2000, "low": 1000, "high": 3000})
    assert value["net_a_year"] == pytest.approx({"mean": 1500, "low": 500, "high": 2500})
    even = value["break_even_defects"]
    assert even == pytest.approx({"mean": 250, "low": 500 / 3, "high": 500})
    there = value_of(gain, prices.model_copy(update={"defects": even["mean"]}), 500.0, 30.0)
    assert there["net_a_year"]["mean"] == pytest.approx(0, abs=1e-9)
    assert value["net_images"] == pytest.approx({"mean": 170, "low": -50, "high": 390})
    assert "net_a_year" not in value_of(gain, prices, yearly=None, once=None)


@pytest.mark.parametrize("recall", [0.0, -0.02])
def test_no_number_of_defects_pays_for_no_gain(recall: float) -> None:
    gain = Gain(recall={"mean": recall, "low": -0.05, "high": 0.05})
    prices = BusinessConfig(currency="EUR", miss=50, defects=1000, defect_class="1")
    assert "break_even_defects" not in value_of(gain, prices, 500.0, 30.0)
    unsure = value_of(Gain(recall={"mean": 0.01, "low": -0.05, "high": 0.05}), prices, 500.0, 30.0)
    assert unsure["break_even_defects"]["high"] is None


VALUES = {
    "good": {"net_a_year": {"mean": 2, "low": 1, "high": 3}},
    "open": {"net_a_year": {"mean": 2, "low": -1, "high": 3}},
    "bad": {"net_a_year": {"mean": -2, "low": -3, "high": -1}},
    "alone": {"net_images": {"mean": 2, "low": None, "high": None}},
    "none": None,
}
SAYS = {
    ("better", "none"): "go",
    ("better", "good"): "go",
    ("better", "open"): "wait",
    ("better", "alone"): "wait",
    ("better", "bad"): "stop",
    ("worse", "good"): "stop",
    ("worse", "none"): "stop",
    ("undecided", "good"): "wait",
    ("undecided", "none"): "wait",
    ("undecided", "bad"): "stop",
    ("mixed", "good"): "wait",
    ("mixed", "none"): "wait",
}


@pytest.mark.parametrize(("outcome", "value"), SAYS)
def test_go_only_when_every_interval_is_on_the_good_side(outcome: str, value: str) -> None:
    assert decision(outcome, VALUES[value])["say"] == SAYS[outcome, value]


def test_an_interval_that_touches_zero_is_open() -> None:
    assert side_of({"low": 0.0, "high": 1.0}) == side_of({"low": -1.0, "high": 0.0}) == "open"


def test_facts_are_json_and_leave_the_comparison_alone() -> None:
    given = {key: value for key, value in rich_comparison().items() if key != "business"}
    before = copy.deepcopy(given)
    facts = business_facts(given, PRICES)
    assert given == before
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    yearly = 51.0 / 3600 * 2.5 * 400 + given["arms"]["sadm"]["sample_ms_per_image"] * 1e6 / 3.6e6 * 2.5
    assert facts["value"]["cost_a_year"] == pytest.approx(yearly)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hour": -1, "currency": "EUR"}, "business.hour"),
        ({"hour": 0, "currency": "EUR"}, "greater than 0"),
        ({"hour": float("inf"), "currency": "EUR"}, "finite"),
        ({"volume": "many"}, "business.volume"),
        ({"hour": 2}, "needs business.currency"),
        ({"hour": 2, "currency": "  "}, "needs business.currency"),
        ({"miss": 2, "currency": "EUR"}, "business.defect_class"),
        ({"defects": 2}, "business.defect_class"),
        ({"hours": 2}, "did you mean 'hour'"),
    ],
)
def test_prices_that_make_no_sense_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build_config(CompareConfig, {"business": values}, "test")
