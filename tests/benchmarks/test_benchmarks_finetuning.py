"""`benchmarks.finetuning` counts what is published, chooses by what it says, and its page and summary agree with the cells."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.finetuning import cells, curves, grid, page, rows, search, shapes, summary
from benchmarks.pinned import pinned_recipe
from sadm.core.config import merge
from sadm.experiments.config import CompareConfig

SEEDS = len(grid.REPORT_SEEDS)


def cell(name: str, factor: float = 0.8) -> dict:
    """A made-up cell in which structure's FDs are `factor` of plain's, but for noise."""
    transfer, images, method = cells.CELLS[name]
    draws = np.random.default_rng(len(name))

    def excess(scale: float) -> dict:
        return {judge: (scale * np.exp(0.05 * draws.standard_normal(SEEDS))).tolist() for judge in grid.JUDGES}

    plain = {
        "steps": 300,
        "diverged": [],
        "excess": excess(2.0),
        "cpu_seconds": [10.0] * SEEDS,
        "copies": [0.1] * SEEDS,
    }
    return {
        "transfer": transfer,
        "images": images,
        "method": method,
        "seeds": [*grid.REPORT_SEEDS],
        "cost": {"step_ratio": 1.1},
        "arms": {
            cells.PLAIN: plain,
            cells.STRUCTURE: {**plain, "excess": excess(2.0 * factor), "copies": [0.0] * SEEDS},
            cells.CHEAP: {**plain, "excess": excess(2.0), "copies": []},
        },
        "parameters": 1000,
        "learning": 10,
        "adapter_bytes": 50,
        "state_bytes": 4160,
    }


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Stored results by name, in place of the committed ones."""
    held: dict = {}

    class Path:
        def __init__(self, name: str) -> None:
            self.name = name

        def exists(self) -> bool:
            return self.name in held

    for module in (cells, curves, page, rows, search, summary):
        monkeypatch.setattr(module, "result_path", lambda _, name: Path(name))
        monkeypatch.setattr(module, "stored", lambda _, name: held[name])
    return held


def test_counts_are_those_of_the_shapes() -> None:
    """A DiT-XL/2: 28 blocks of width 1152, patches of 2x2x4, output with a variance, 100 classes and the null class."""
    found, width, depth = shapes.shapes()["methods"], 1152, 28
    biases = depth * (3 + 1 + 4 + 1 + 6) * width + (1 + 2 + 2) * width + 32
    table = 101 * width
    assert found["bitfit"]["learning"] == biases + table
    assert found["difffit"]["learning"] == biases + table + depth * 2 * width
    assert found["lora"]["learning"] == 8 * depth * ((1 + 3) + (1 + 1) + 2 * (1 + 4)) * width + table
    assert found["vpt"]["learning"] == 8 * depth * width + table
    # DiffFit keeps about 0.12 % of all parameters, by its abstract (arXiv 2304.06648), which counts further scales.
    assert 0.0008 < found["difffit"]["trainable_share"] < 0.0012


def test_every_form_is_a_configuration() -> None:
    for form in [*grid.FORMS.values(), *grid.MORE_FORMS.values()]:
        change = merge(form, {"start_from": "somewhere"})
        assert pinned_recipe(grid.RECIPE, change).signal == form["signal"]
    train = pinned_recipe(grid.RECIPE, {"start_from": "somewhere"})
    for forms, _ in search.ROUNDS.values():  # their names are those of arms
        assert CompareConfig(train=train, arms={"plain": {}, **forms}).arms.keys() > forms.keys()


def test_the_chosen_form_is_the_best_one_of_the_stored_search() -> None:
    assert search.best_form() == grid.CHOSEN


def test_curves_are_of_the_best_methods_and_hold_the_cells_of_the_grid(results: dict) -> None:
    for number, name in enumerate(cells.CELLS):
        results[name] = cell(name)
        scale = {"lora": 0.5, "dora": 0.7}.get(results[name]["method"], 1 + 0.01 * number)
        for arm in (cells.PLAIN, cells.STRUCTURE):
            excess = results[name]["arms"][arm]["excess"]
            results[name]["arms"][arm] = {
                **results[name]["arms"][arm],
                "excess": {judge: [scale * value for value in values] for judge, values in excess.items()},
            }
    assert curves.best_methods(rows.stored_cells()) == ["lora", "dora"]
    assert curves.curves() == {}
    results[curves.point("classes", 10, "lora")] = cell("classes-50-lora") | {"images": 10}
    found = curves.curves()
    assert [row["images"] for row in found["classes"]["lora"]] == [10, 50, 500]
    assert [row["images"] for row in found["textures"]["dora"]] == [50, 500]
    assert "| classes | lora | 10 |" in (page.section() or "")
    assert summary.summary()["curves"] == found


def test_the_arms_of_a_cell_are_those_of_a_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "cell_config", lambda *_: pinned_recipe(grid.RECIPE))
    config = cells._config("classes", 50, "full", 1e-3, "hidden")
    assert [*config.arms] == [cells.PLAIN, cells.STRUCTURE, cells.CHEAP]
    assert config.audit


def test_the_learning_rate_with_the_smallest_mean_is_chosen_and_a_divergence_is_not(results: dict) -> None:
    rates = grid.RATES["lora"]
    by_rate = dict(zip(("plain", *(f"{rate:g}" for rate in rates[1:])), (4.0, 2.0, 3.0, None), strict=True))
    arms = {
        name: value and {"excess": {judge: [value] for judge in grid.JUDGES}, "cpu_seconds": [1.0]}
        for name, value in by_rate.items()
    }
    results["rates-lora"] = {"cells": [{"transfer": "classes", "images": 500, "arms": arms}]}
    assert search.best_rate("lora") == rates[1]
    assert math.isinf(search.mean_excess(results["rates-lora"], f"{rates[3]:g}"))
    text = "\n".join(page.rate_lines(["lora"]))
    assert f"| {rates[1]:g} |" in text


def test_the_mean_over_cells_is_that_of_the_paired_ratios(results: dict) -> None:
    for name in cells.CELLS:
        results[name] = cell(name)
    found = summary.summary()
    json.dumps(found, allow_nan=False)
    assert len(found["rows"]) == len(grid.TRANSFERS) * len(grid.IMAGES) * len(grid.RATES)
    assert not found["missing"]
    logs = np.array(
        [
            [
                np.log(one["arms"][cells.STRUCTURE]["excess"][judge])
                - np.log(one["arms"][cells.PLAIN]["excess"][judge])
                for judge in grid.JUDGES
            ]
            for one in results.values()
        ]
    ).mean(axis=(0, 1))  # one number for each seed
    half = stats.t.ppf(0.975, SEEDS - 1) * logs.std(ddof=1) / math.sqrt(SEEDS)
    assert found["geometric_mean_ratio"] == pytest.approx(math.exp(logs.mean()))
    assert found["low"] == pytest.approx(math.exp(logs.mean() - half))
    assert found["high"] == pytest.approx(math.exp(logs.mean() + half))
    row = found["rows"][0]
    assert row["copy_rate"] == {"plain": pytest.approx(0.1), "structure": 0.0}
    assert row["trainable_share"] == 0.01
    text = page.section()
    assert text is not None
    assert f"{len(cells.CELLS)} of {len(cells.CELLS)} cells" in text


def test_a_diverged_training_is_shown_and_left_out_of_the_mean(results: dict) -> None:
    names = list(cells.CELLS)[:2]
    for name in names:
        results[name] = cell(name)
    results[names[0]]["arms"][cells.STRUCTURE] |= {"excess": {}, "diverged": [100]}
    found = summary.summary()
    assert found["cells"] == 1
    assert found["rows"][0]["judges"]["mlp"]["fd_ratio"] is None
    assert found["rows"][0]["diverged"]["structure"] == [100]
    text = page.section()
    assert text is not None
    assert "diverged" in text
