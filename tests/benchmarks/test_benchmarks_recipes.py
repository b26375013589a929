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


def test_a_run_stores_the_best_and_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, Any] = {}
    floor, cost = {"mlp": 0.5, "pixels": 0.5}, ArmCost(1.25, 1.0, 0.0, 0.0, 200)

    def train_all(config: Any, folder: Path, steps: dict[str, int]) -> dict[str, float]:
        for arm, count in steps.items():
            fd = 2.5 if arm == recipes.PINNED else 1.0 if arm == "AdamW at half the rate" else 1.5
            for seed in config.seeds:
                out = make_folder(folder / "runs" / f"{arm}-{count}-steps-seed-{seed}")
                told = {"seed": seed, "diverged": False, "cpu_seconds": 9.0, "pretrain_cpu_seconds": 0.0}
                write_json(out / "result.json", {**told, "evaluation": {"fd": dict.fromkeys(floor, fd)}})
        return floor

    for module in (paired, recipes):
        monkeypatch.setattr(module, "train_all", train_all)
    monkeypatch.setattr(recipes, "RUNS", tmp_path)
    monkeypatch.setattr(recipes, "cost_beside", lambda *_: cost)
    monkeypatch.setattr(recipes, "store", lambda part, name, value: kept.update({name: value}))
    recipes.run(["digits"])
    found = kept["digits"]
    assert found["taken"] == "AdamW at half the rate"
    assert (found["steps"], found["report"]["steps_at_equal_cost"]) == (600, 480)
    monkeypatch.setattr(recipes, "results", lambda: kept)
    assert recipes.summary()["digits"]["equal_cost"]["mlp"]["mean"] == pytest.approx(0.5)
    page = recipes.section() or ""
    shown = (
        "| digits | AdamW at half the rate | mlp | 2 | -50.0% (-50.0% to -50.0%) | -50.0% (-50.0% to -50.0%) | +25.0% |"
    )
    assert shown in page
    assert "| AdamW at half the rate | -75.0% | -75.0% |" in page


@pytest.mark.parametrize("name", list(recipes.results()))
def test_a_packaged_recipe_is_the_pinned_one_with_what_was_taken(name: str) -> None:
    taken = recipes.RECIPES[name].tried[recipes.results()[name]["taken"]]
    assert load_train_config(name) == pinned_recipe(name, taken)
    assert merge({"optimiser": {"kind": "adamw"}}, taken) != {"optimiser": {"kind": "adamw"}}
