"""Recipes that benchmarks were trained with, against what the stored results say of these trainings."""

from __future__ import annotations

import pytest

from benchmarks.applications.augment import CASES
from benchmarks.common import result_path, stored
from benchmarks.finetuning import grid
from benchmarks.peers.contestant import Task, changes_of, find
from benchmarks.pinned import FOLDER, pinned_recipe
from benchmarks.recipes import RECIPES
from benchmarks.structure.pairs import ALL
from benchmarks.structure.regimes import REGIMES
from sadm.training.config import load_train_config
from sadm.training.networks import Surroundings, build_network
from tiny import tiny_images

NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SHAPES = {"fashion_mnist_8": (1, 8, 8), "fashion_mnist_16": (1, 16, 16), "fashion_mnist": (1, 28, 28)}


def test_each_serves_a_benchmark() -> None:
    of_structure = {each.recipe for each in [*ALL.values(), *REGIMES.values()]}
    of_applications = {case.recipe for case in CASES.values() if case.recipe}
    assert of_structure | of_applications | {grid.RECIPE} | RECIPES.keys() == set(NAMES)


@pytest.mark.parametrize(
    "row", [name for name in ALL if ALL[name].measured and result_path("structure", name).exists()]
)
def test_networks_and_schedules_are_those_of_the_stored_results(row: str) -> None:
    recipe, found = ALL[row].recipe, stored("structure", row)
    config = pinned_recipe(recipe, ALL[row].change)
    net = build_network(config.net, Surroundings(SHAPES[recipe], 10, noise_scale=1.0))
    assert config.optimiser.steps == found["steps"]["plain"]
    assert sum(parameter.numel() for parameter in net.parameters()) == found["parameters"]


def test_the_recipe_for_28x28_is_what_the_search_of_peers_found() -> None:
    best = stored("peers", "search")["contestants"]["ours_plain"]
    contestant = find("ours_structure")
    changes = changes_of(contestant, best["variants"])
    task = Task(tiny_images(), best["size"], best["learning_rate"], 0, steps=10_000, budget=600.0, changes=changes)
    found, recipe = contestant.config(task), load_train_config("fashion_mnist")
    for part in ("net", "process", "optimiser", "structure", "data"):
        assert getattr(recipe, part) == getattr(found, part)
    sampler = contestant.samplers[best["sampler"]].settings
    assert (recipe.sampling.solver, recipe.sampling.steps) == (sampler["solver"], sampler["steps"])
