"""Downstream gain and representation in comparisons: what is measured, what is not done twice, what intervals are made of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_comparison import STEPS, TINY, results, tiny

import sadm.experiments.jobs
import sadm.training.measuring
from sadm.core.errors import UserError
from sadm.core.intervals import mean_interval
from sadm.core.progress import Silent
from sadm.experiments.business import business_facts
from sadm.experiments.compare import MAY_CHANGE, compare
from sadm.experiments.config import CompareConfig
from sadm.experiments.cost import ArmCost, store_costs
from sadm.experiments.gains import over_seeds_and_images
from sadm.experiments.jobs import Laboratory
from sadm.experiments.plan import planned_jobs
from sadm.experiments.prices import BusinessConfig
from sadm.experiments.summary import short_summary, summarise

DEAR = ArmCost(2.0, 0.01, 0.0, 0.0, 20)
SEEDS = [100, 101]


def asked(**change: Any) -> CompareConfig:
    train = {**TINY["train"], "data": {**TINY["train"]["data"], "limit": 60}}
    return tiny(train=train, seeds=SEEDS, **change)


@pytest.fixture(scope="module")
def quick() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sadm.training.measuring, "steps_for", lambda images: 8)
        patch.setattr(sadm.experiments.jobs, "CLASSIFIERS", 2)
        yield


def carry_out(config: CompareConfig, folder: Path) -> None:
    """All jobs, in this process."""
    laboratory = Laboratory(config, folder, Silent())
    for job in planned_jobs(config, {"sadm": DEAR}):
        if not job.is_complete(folder, config):
            laboratory.run(job)


@pytest.fixture(scope="module")
def finished(quick: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A comparison that was finished without them, and then asked for them; its results before, and its summary after."""
    folder = tmp_path_factory.mktemp("gains")
    store_costs(folder, {"sadm": DEAR})
    carry_out(asked(), folder)
    before = results(folder)
    config = asked(downstream=True, representation=True)
    assert not any(job.is_complete(folder, config) for job in planned_jobs(config, {"sadm": DEAR}))
    carry_out(config, folder)
    assert all(job.is_complete(folder, config) for job in planned_jobs(config, {"sadm": DEAR}))
    comparison, _ = summarise(config, folder, Laboratory(config, folder, Silent()).split)
    return folder, before, comparison


def test_what_is_there_stays_and_what_lacks_is_added(finished: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    folder, before, _ = finished
    after = results(folder)
    assert len(after) == 6  # two seeds of plain, sadm at equal steps, sadm at equal cost
    for name, result in before.items():
        assert {key: after[name][key] for key in result if key != "memory_mib"} == {
            key: value for key, value in result.items() if key != "memory_mib"
        }
        assert after[name].keys() - result.keys() == {"downstream", "representation"}
        assert after[name]["downstream"]["seeds"] == 2
        assert not (folder / "runs" / name / "downstream").exists()
    real = {str(result["downstream"]["scores"]["real"]) for result in after.values()}
    assert len(real) == 1
    assert len(list((folder / "downstream").glob("real-*"))) == 4 * 2


def test_nothing_is_measured_twice(
    finished: tuple[Path, dict[str, Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = finished
    times = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/result.json")}
    carry_out(asked(downstream=True, representation=True), folder)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/result.json")} == times
    assert {"downstream", "representation"} <= set(MAY_CHANGE)


def test_intervals_are_those_of_the_stored_runs(finished: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    folder, _, comparison = finished
    stored, found = results(folder), comparison["downstream"]

    def gains(arm: str, steps: int, metric: str) -> list[float]:
        return [
            stored[f"{arm}-{steps}-steps-seed-{seed}"]["downstream"]["gains"]["with_1x"][metric]["mean"]
            for seed in SEEDS
        ]

    assert found["headline"] == "with_1x"
    for metric in ("accuracy", "balanced_accuracy", "log_loss"):
        plain, sadm, cheap = (
            gains(arm, steps, metric) for arm, steps in (("plain", STEPS), ("sadm", STEPS), ("sadm", STEPS // 2))
        )
        for told, values in (
            (found["arms"]["plain"]["gains"]["with_1x"][metric], plain),
            (found["equal_steps"]["sadm"]["gains"]["with_1x"][metric], sadm),
        ):
            seeds = mean_interval(values)
            assert (told["mean"], told["values"]) == (seeds.mean, list(seeds.values))
            assert told["low"] < seeds.low < seeds.high < told["high"]  # type: ignore[operator]
        expected = mean_interval([a - b for a, b in zip(cheap, plain, strict=True)])
        assert found["differences"]["equal_cost"]["sadm"]["with_1x"][metric] == expected.as_dict()
    assert found["arms"]["plain"]["recall"].keys() == {str(digit) for digit in range(10)}
    assert [point["real_images"] for point in found["curve"]] == [15, 30, 45, 60]
    worth = found["arms"]["plain"]["worth"]["with_1x"]["accuracy"]
    assert len(worth["outcomes"]) == 2


def test_a_gain_varies_with_seeds_and_with_held_out_images() -> None:
    runs = [{"mean": 0.02, "low": -0.01, "high": 0.06}, {"mean": 0.04, "low": 0.0, "high": 0.07}]
    found, seeds = over_seeds_and_images(runs), mean_interval([0.02, 0.04])
    assert seeds.low is not None
    assert found["low"] == pytest.approx(0.03 - math.hypot(0.03 - seeds.low, 0.035))
    assert found["high"] == pytest.approx(0.03 + math.hypot(0.03 - seeds.low, 0.035))
    alike = over_seeds_and_images([{"mean": 0.1, "low": 0.05, "high": 0.15}] * 3)
    assert (alike["low"], alike["high"]) == (pytest.approx(0.05), pytest.approx(0.15))  # equal runs prove nothing
    for without in ([runs[0]], [runs[0], {"mean": 0.04, "low": None, "high": None}]):
        assert (over_seeds_and_images(without)["low"], over_seeds_and_images(without)["high"]) == (None, None)


def test_an_interval_of_a_gain_covers_it() -> None:
    """Trainings and held-out images vary; 95 % of intervals at least hold the true mean, which those over seeds do not."""
    draws, wide, narrow = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        images = 0.05 * draws.normal()
        runs = [images + 0.02 * draws.normal() for _ in range(3)]
        found = over_seeds_and_images([{"mean": v, "low": v - 1.96 * 0.05, "high": v + 1.96 * 0.05} for v in runs])
        seeds = mean_interval(runs)
        wide += found["low"] < 0 < found["high"]
        narrow += seeds.low < 0 < seeds.high  # type: ignore[operator]
    assert wide >= 950
    assert narrow < 800


def test_features_are_compared_seed_by_seed(finished: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    folder, _, comparison = finished
    stored, found = results(folder), comparison["representation"]
    for probe in ("linear", "knn"):
        for corruption in ("clean", "noise", "blur", "contrast", "shift"):
            ours, plain = (
                [
                    stored[f"{arm}-{STEPS}-steps-seed-{seed}"]["representation"][probe][corruption]["accuracy"]
                    for seed in SEEDS
                ]
                for arm in ("sadm", "plain")
            )
            assert found["arms"]["plain"][probe][corruption]["values"] == plain
            expected = mean_interval([a - b for a, b in zip(ours, plain, strict=True)]).as_dict()
            assert found["differences"]["equal_steps"]["sadm"][probe][corruption] == expected
    assert 0 < found["pixels"]["linear"]["clean"]["accuracy"] < 1


def test_the_summary_holds_them(finished: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    _, _, comparison = finished
    summary = short_summary({**comparison, "minutes_total": 1.0})
    for name in ("downstream", "representation"):
        assert summary[name] == comparison[name]


def test_what_they_are_worth_is_computed_from_them(finished: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
    _, _, comparison = finished
    measured = comparison["downstream"]
    own, mix = measured["arms"]["sadm"], measured["headline"]
    prices = BusinessConfig(currency="EUR", miss=50, defects=1000, defect_class="3")
    value = business_facts(comparison, prices)["value"]
    for key in ("mean", "low", "high"):
        assert value["accuracy"][key] == own["gains"][mix]["accuracy"][key]
        assert value["recall"][key] == own["recall"]["3"][key]
        expected = measured["differences"]["equal_cost"]["sadm"][mix]["accuracy"][key]
        assert value["accuracy_over_plain"][key] == expected
    assert value["money_a_year"]["mean"] == pytest.approx(50 * 1000 * own["recall"]["3"]["mean"])
    images = own["worth"][mix]["accuracy"]["images"]
    assert ("images" in value) == (images is not None)


def test_they_are_refused_without_classes_before_anything_is_written(class_folder: Path, tmp_path: Path) -> None:
    train = {**TINY["train"], "data": {"source": str(class_folder / "good"), "resolution": 8, "held_out": 0.6}}
    for option in ("downstream", "representation"):
        with pytest.raises(UserError, match="good has no labels, so no classifier can be trained on it"):
            compare(tiny(train=train, **{option: True}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
