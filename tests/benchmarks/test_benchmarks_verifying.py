"""`--verify`: what is stored is found again, what it is not is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import common, recipes, verifying
from benchmarks.structure import claims
from benchmarks.verifying import Claim, prediction, verify
from sadm.core.errors import UserError
from sadm.core.files import make_folder, write_json
from sadm.experiments.config import CompareConfig
from sadm.training.config import load_train_config
from tiny import TINY

FLOOR = {"mlp": 0.5, "pixels": 0.25}


@pytest.fixture
def claim() -> Claim:
    config = CompareConfig(
        train=load_train_config(overrides=TINY),
        arms={"plain": {"signal": "none"}, "hidden": {"signal": "hidden"}, "sadm": {}},
        seeds=[7, 8, 9],
    )
    steps = {"plain": 4, "hidden": 3}
    return Claim(config, "hidden", steps, [7, 8, 9], {"mlp": [0.8, 0.9, 1.0], "pixels": [0.5, 0.6, 0.8]})


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked for; each training of plain ends 1 above the floor, and the arm's at its ratio of seed 8."""
    asked: list[Any] = []

    def train_all(config: CompareConfig, folder: Path, steps: dict[str, int]) -> dict[str, float]:
        asked.append((config, steps))
        for arm, count in steps.items():
            excess = {"mlp": 0.9, "pixels": 0.6} if arm == "hidden" else {"mlp": 1.0, "pixels": 1.0}
            fd = {judge: FLOOR[judge] + value for judge, value in excess.items()}
            (seed,) = config.seeds
            out = make_folder(folder / "runs" / f"{arm}-{count}-steps-seed-{seed}")
            told = {"seed": seed, "diverged": False, "cpu_seconds": 1.0, "pretrain_cpu_seconds": 0.0}
            write_json(out / "result.json", {**told, "evaluation": {"fd": fd}})
        return FLOOR

    monkeypatch.setattr(verifying, "train_all", train_all)
    return asked


def test_the_pair_of_the_seed_alone_is_trained_anew(claim: Claim, trained: list[Any], tmp_path: Path) -> None:
    found = verify(claim, 8, tmp_path / "verify")
    ((config, steps),) = trained
    assert ([*config.arms], config.seeds, steps) == (["plain", "hidden"], [8], {"plain": 4, "hidden": 3})
    assert found["same"]
    assert found["within"]
    assert found["judges"]["pixels"]["now"] == pytest.approx(0.6)
    assert not (tmp_path / "verify").exists()  # the next one trains anew


def test_another_number_is_within_what_a_further_seed_gives_or_not(
    claim: Claim, trained: list[Any], tmp_path: Path
) -> None:
    found = verify(claim, folder=tmp_path / "verify")  # of the first seed, whose ratios were others
    assert (found["seed"], found["same"], found["within"]) == (7, False, True)
    claim.ratios["mlp"][:] = [0.5, 0.51, 0.52]
    found = verify(claim, folder=tmp_path / "verify")
    assert (found["judges"]["mlp"]["within"], found["judges"]["pixels"]["within"]) == (False, True)
    assert not found["within"]


def test_a_further_ratio_falls_between_the_bounds_in_nineteen_of_twenty_cases() -> None:
    draws = np.exp(np.random.default_rng(0).normal(-0.3, 0.2, (4000, 6)))
    hits = [low <= further <= high for *values, further in draws.tolist() for low, high in [prediction(values)]]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.01)


def test_a_seed_that_is_not_stored_is_refused(claim: Claim, trained: list[Any]) -> None:
    with pytest.raises(UserError, match="--seed 6 is not stored; there are 7, 8, 9"):
        verify(claim, 6)
    assert not trained


@pytest.mark.parametrize("part", [name for name in claims.PARTS if common.result_path("structure", name).exists()])
def test_every_stored_part_can_be_verified(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pairs", "trainings"):  # neither images nor a model that others start from are made for this
        monkeypatch.setattr(f"benchmarks.structure.{module}.relative", str)
    monkeypatch.setattr("benchmarks.structure.pairs.write_noisy", lambda folder: folder)
    monkeypatch.setattr("benchmarks.structure.trainings.plain_start", lambda recipe: recipe)
    if not common.stored("structure", part).get("ratios", True):  # sabotage that a training did not survive
        with pytest.raises(UserError, match="a training diverged"):
            claims.claim_of(part)
        return
    found = claims.claim_of(part)
    assert {"plain", found.arm} <= found.config.arms.keys()
    assert [*found.steps] == ["plain", found.arm]
    assert {len(values) for values in found.ratios.values()} == {len(found.seeds)}
    with pytest.raises(UserError, match=f"{part} has no arm 'other'; there are "):
        claims.claim_of(part, "other")


@pytest.mark.parametrize("name", list(recipes.results()))
def test_every_recipe_can_be_verified(name: str) -> None:
    report, search = recipes.claim_of(name), recipes.claim_of(name, recipes.results()[name]["best"])
    assert (report.seeds, search.seeds) == ([*recipes.REPORT_SEEDS], [*recipes.SEARCH_SEEDS])
    with pytest.raises(UserError, match="has no arm 'other'"):
        recipes.claim_of(name, "other")


@pytest.mark.parametrize(("ratio", "code"), [(0.9, 0), (0.1, 1)])
def test_the_exit_code_says_whether_it_was_found_again(
    claim: Claim,
    trained: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    ratio: float,
    code: int,
) -> None:
    claim.ratios["mlp"][:] = [ratio, 1.01 * ratio, 0.99 * ratio]
    monkeypatch.setattr(verifying.verify, "__defaults__", (None, tmp_path / "verify"))

    def command(*arguments: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
        with pytest.raises(SystemExit) as ended:
            common.command_line_of_parts("", ["a"], print, dict, lambda part, arm: claim, ["a"])
        return ended.value.code

    assert command("--verify", "a") == code
    assert json.loads(capsys.readouterr().out)["within"] is (code == 0)
    assert command("--verify", "a", "--seed", "1") == 2
    assert "--seed 1 is not stored" in capsys.readouterr().err
    assert command("--verify", "b") == 2
