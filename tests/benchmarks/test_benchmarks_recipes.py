"""`benchmarks.recipes`: what is tried, what is taken, and that the packaged recipes have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import paired, recipes
from benchmarks.pinned import pinned_recipe
from sadm.core.config import merge
from sadm.core.files import make_folder, write_json
from sadm.experiments.cost import ArmCost
from sadm.training.config import load_train_config


def excess(*values: float) -> dict[str, Any]:
    return {"excess": {"mlp": [*values], "pixels": [*values]}, "cpu_seconds": [1.0] * len(values), "diverged": []}


@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_every_change_makes_another_training(name: str) -> None:
    config = recipes.comparison(name, recipes.RECIPES[name].tried, (0, 1))
    trained = {arm: config.arm_config(arm, 0) for arm in config.arms}
    assert len({str(one.model_dump()) for one in trained.values()}) == len(recipes.RECIPES[name].tried) + 1
    assert {one.signal for one in trained.values()} == {"none"}
    own = pinned_recipe(name)
    assert trained[recipes.PINNED].optimiser == own.optimiser
    assert trained["Muon at twice the rate"].optimiser.learning_rate == 2 * own.optimiser.learning_rate
    assert trained["Muon at twice the rate - lower noise"].process.p_mean == pytest.approx(own.process.p_mean - 0.6)


def test_one_of_each_kind_of_step_is_measured(stored: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    monkeypatch.setattr(
        recipes, "cost_beside", lambda config, folder, arm: measured.append(arm) or ArmCost(2.0, 1.0, 0.0, 0.0, 200)
    )
    found = recipes.searched("fashion_mnist_16")
    assert measured == [
        "Muon at the same rate",
        "UNet - Muon at 0.0015",
        "UNet on 2x2 squares - Muon at 0.0015",
    ]
    assert {arm for arm, steps in found["steps"].items() if steps == 1500} == {
        recipes.PINNED,
        "AdamW at half the rate",
        "AdamW at twice the rate",
    }


def test_the_best_is_so_in_the_mean_of_the_judges_and_whole() -> None:
    rows = {
        "plain": excess(1.0, 1.0),
        "good": excess(0.4, 0.8),
        "worse": excess(0.3, 1.0),
        "gone": {"excess": {}, "cpu_seconds": [], "diverged": [1]},
    }
    assert recipes.best(rows) == "good"
    rows["one judge"] = excess(0.1, 0.1)
    rows["one judge"]["excess"]["pixels"] = [1.2, 1.2]
    assert recipes.best(rows) == "good"


def test_a_judge_that_tells_nothing_apart_does_not_count() -> None:
    rows = {"plain": excess(1.0, 1.0), "good": excess(0.9, 0.9), "lucky": excess(1.1, 1.1)}
    rows["plain"]["excess"]["mlp"] = [0.2, -0.1]
    rows["lucky"]["excess"]["mlp"] = [-9.0, -9.0]
    assert recipes.best(rows) == "good"


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a run of digits stores, where Muon's step costs a quarter more; FD by arm may be changed before."""
    kept: dict[str, Any] = {"fd": {recipes.PINNED: 2.5, "Muon at the same rate": 1.0}}
    floor, cost = {"mlp": 0.5, "pixels": 0.5}, ArmCost(1.25, 1.0, 0.0, 0.0, 200)

    def train_all(config: Any, folder: Path, steps: dict[str, int]) -> dict[str, float]:
        for arm, count in steps.items():
            for seed in config.seeds:
                fd = kept["fd"].get((arm, seed), kept["fd"].get(arm, 2.0)) * (1 + 0.001 * (seed % 3))
                out = make_folder(folder / "runs" / f"{arm}-{count}-steps-seed-{seed}")
                told = {"seed": seed, "diverged": False, "cpu_seconds": 9.0, "pretrain_cpu_seconds": 0.0}
                write_json(out / "result.json", {**told, "evaluation": {"fd": dict.fromkeys(floor, fd)}})
        return floor

    monkeypatch.setattr(paired, "train_all", train_all)
    monkeypatch.setattr(recipes, "RUNS", tmp_path)
    monkeypatch.setattr(recipes, "result_path", lambda *_: tmp_path / "stored.json")
    monkeypatch.setattr(recipes, "cost_beside", lambda *_: cost)
    monkeypatch.setattr(recipes, "store", lambda part, name, value: kept.update({name: value}))
    monkeypatch.setattr(recipes, "results", lambda: {"digits": kept["digits"]})
    return kept


def test_a_run_compares_at_equal_cost_and_stores_the_best(
    stored: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes.run(["digits"])
    found = stored["digits"]
    assert found["best"] == "Muon at the same rate"
    assert found["search"]["steps"]["Muon at four times the rate"] == 480
    assert found["search"]["steps"]["AdamW at half the rate"] == 600
    assert found["report"]["steps"] == {"equal_steps": 600, "equal_cost": 480}
    own = recipes.summary()["digits"]
    assert own["taken"] is True
    assert own["equal_cost"]["mlp"]["mean"] == pytest.approx(0.25, abs=1e-3)
    page = recipes.section() or ""
    assert "| digits | Muon at the same rate | yes | mlp | 2 | -75.0% (" in page
    assert "| Muon at the same rate | -75.0% | -75.0% |" in page
    fewer = {**found, "search": {"rows": {recipes.PINNED: found["search"]["rows"][recipes.PINNED]}}}
    monkeypatch.setattr(recipes, "results", lambda: {"digits": found, "folder32_small": fewer})
    assert "| Muon at the same rate | -75.0% | -75.0% |  |  |" in (recipes.section() or "")
    monkeypatch.setattr(recipes, "results", lambda: {"digits": found})
    (tmp_path / "stored.json").touch()
    stored["fd"] = {}
    recipes.run(["digits"])
    assert stored["digits"] is found


def test_a_change_that_is_not_better_at_equal_cost_is_not_taken(stored: dict[str, Any]) -> None:
    stored["fd"] |= dict.fromkeys((("Muon at the same rate", seed) for seed in recipes.REPORT_SEEDS), 2.5)
    recipes.run(["digits"])
    assert recipes.summary()["digits"]["taken"] is False
    assert "| digits | Muon at the same rate | no | mlp |" in (recipes.section() or "")


@pytest.mark.parametrize("name", list(recipes.results()))
def test_a_packaged_recipe_is_the_pinned_one_with_what_was_taken(name: str) -> None:
    found = recipes.results()[name]
    taken = recipes.RECIPES[name].tried[found["best"]] if recipes.is_taken(found) else {}
    own = {"sampling": {"from_infinity": None}}  # pinned ones are sampled as they were
    assert load_train_config(name) == pinned_recipe(name, merge(taken, own))
