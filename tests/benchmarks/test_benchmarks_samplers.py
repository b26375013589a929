"""The default that `benchmarks.samplers` finds, and a tiny run of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import samplers
from sadm.diffusion import SOLVERS, solver_nfe
from sadm.training.config import TrainConfig

DECIDING = ["mlp", "pixels"]


def excess(**solvers: list[tuple[float, float]]) -> samplers.Excess:
    """From (mlp, pixels) at 10, 20 and 250 evaluations; a third judge is always perfect at first."""
    return {
        name: {
            budget: {"mlp": mlp, "pixels": pixels, "random_conv": number}
            for number, (budget, (mlp, pixels)) in enumerate(zip(("10", "20", "250"), values, strict=True))
        }
        for name, values in solvers.items()
    }


def counts(*names: str) -> dict[str, dict[str, int]]:
    """Evaluations as budgeted, one fewer for heun where the budget is even."""
    return {
        name: {b: solver_nfe(name, samplers.steps_within(name, int(b))) for b in ("10", "20", "250")} for name in names
    }


def test_a_solver_has_converged_when_both_deciding_judges_are_within_two_percent() -> None:
    found = samplers.converged(
        excess(
            euler=[(1.01, 1.05), (1.019, 0.9), (1.0, 1.0)],  # a smaller distance is not worse
            heun=[(1.0, 1.019), (3.0, 3.0), (1.0, 1.0)],
            ddpm=[(9.0, 9.0), (1.0, 1.021), (1.0, 1.0)],
        ),
        DECIDING,
    )
    assert found == {"euler": "20", "heun": "10", "ddpm": "250"}


def test_the_default_is_close_to_the_best_of_all_solvers_not_to_its_own_last() -> None:
    values = excess(
        euler=[(2.0, 2.0), (2.0, 2.0), (2.0, 2.0)],  # has converged at once, to what is worse
        ddpm=[(1.5, 1.5), (1.015, 1.018), (1.0, 1.0)],
        dpmpp_2m=[(1.03, 1.0), (1.01, 1.0), (1.01, 1.01)],
    )
    found = samplers.default_of(values, counts(*values), DECIDING)
    assert (found["solver"], found["nfe"], found["within"]) == ("dpmpp_2m", 20, True)  # nearer than ddpm at as many


def test_evaluations_are_counted_not_budgets() -> None:
    values = excess(dpmpp_2m=[(1.0, 1.0)] * 3, heun=[(1.01, 1.01)] * 3)
    assert samplers.default_of(values, counts(*values), DECIDING)["solver"] == "heun"  # 9 evaluations, not 10


def test_where_none_is_close_in_both_judges_the_nearest_is_named_and_said_not_to_be_within() -> None:
    values = excess(euler=[(9, 9), (9, 9), (1.0, 2.0)], ddpm=[(9, 9), (1.4, 1.0), (1.5, 1.0)])
    found = samplers.default_of(values, counts(*values), DECIDING)
    assert (found["solver"], found["nfe"], found["within"]) == ("ddpm", 20, False)
    assert found["worst_ratio"] == pytest.approx(1.4)


def test_a_best_at_the_floor_is_matched_only_at_the_floor() -> None:
    values = excess(euler=[(0.1, 1.0), (0.2, 1.0), (-0.1, 1.0)])
    assert samplers.default_of(values, counts("euler"), DECIDING)["nfe"] == 250


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("budget", [1, 10, 20, 50, 250])
def test_steps_use_a_budget_up(solver: str, budget: int) -> None:
    steps = samplers.steps_within(solver, budget)
    assert solver_nfe(solver, steps) <= budget < solver_nfe(solver, steps + 1)


def test_sampling_is_the_default_grid_without_guidance() -> None:
    assert samplers.sampling_of("ddim", 20).eta == 1
    heun = samplers.sampling_of("heun", 250)
    assert (heun.steps, heun.eta, heun.guidance_scale, heun.sigma_max, heun.grid) == (125, 0, 1, 80, "native")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run on digits with a network that hardly learns anything."""
    folder = tmp_path_factory.mktemp("samplers")
    return folder, samplers.measure(train_config(), folder, seeds=(0, 1), budgets=(2, 3))


def train_config() -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "net": {"width": 16, "depth": 1, "heads": 2, "patch": 4},
            "optimiser": {"steps": 3, "batch": 8},
            "device": "cpu",
        }
    )


def test_a_run_covers_every_solver_and_takes_up_what_is_there(tiny: tuple[Path, dict[str, Any]]) -> None:
    folder, found = tiny
    assert set(found["solvers"]) == set(SOLVERS)
    drawings = sorted((folder / "drawings").iterdir())
    assert len(drawings) == 2 * len(SOLVERS) * 2
    changed = json.loads(drawings[0].read_text())
    changed["fd"] = {judge: value + 2 for judge, value in changed["fd"].items()}
    drawings[0].write_text(json.dumps(changed))
    _, _, solver, budget = drawings[0].stem.split("-")
    again = samplers.measure(train_config(), folder, seeds=(0, 1), budgets=(2, 3))
    for judge in found["floor"]:
        before, after = (result["solvers"][solver][budget][judge] for result in (found, again))
        assert after == pytest.approx(before + 1)  # the mean over two seeds


def test_page_and_summary_show_what_is_stored(
    tiny: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = tiny
    monkeypatch.setattr(samplers, "results", lambda: {"8x8": json.loads(json.dumps(found))})
    printed = samplers.summary()["8x8"]
    assert set(printed["default"]) >= {"solver", "nfe"}
    assert set(printed["solvers"]["heun"]) == {"2", "3"}
    assert printed["nfe"]["heun"] == {"2": 1, "3": 3}
    text = samplers.section() or ""
    assert "Fashion-MNIST at 8x8" in text
    assert text.count("| Heun |") == len(found["floor"])
    assert f"{printed['default']['nfe']} NFE." in text
