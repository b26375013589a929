"""From stored rows to the summary and the page of `benchmarks.structure`."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks import solvers
from benchmarks.structure import page, search, summary
from benchmarks.structure.regimes import ARMS, REGIMES
from benchmarks.structure.trainings import row


def ratio(*values: float) -> dict[str, Any]:
    """A ratio as a comparison stores it."""
    mean = math.exp(sum(map(math.log, values)) / len(values))
    return {"mean": mean, "low": 0.9 * mean, "high": 1.1 * mean, "values": list(values)}


def comparison(mlp: tuple[float, ...], pixels: tuple[float, ...]) -> dict[str, Any]:
    """What `row` reads of a comparison of plain and SADM, with two deciding judges."""
    judges = {"mlp": {"decides": True}, "pixels": {"decides": True}, "random_conv": {"decides": False}}
    arm = {
        "fd": {judge: {"mean": 2.0} for judge in judges},
        "label_accuracy": 0.5,
        "steps": 9,
        "diverged": [],
    }
    ratios = {"sadm": {"mlp": ratio(*mlp), "pixels": ratio(*pixels), "random_conv": ratio(1.0, 1.0)}}
    return {
        "judges": judges,
        "floor": dict.fromkeys(judges, 0.5),
        "arms": {"plain": arm, "sadm": arm},
        "equal_steps": {"sadm": arm},
        "ratios": {"equal_cost": ratios, "equal_steps": ratios},
        "cost": {"sadm": {"step_ratio": 1.1}},
        "protocol": {"seeds": [100, 101], "sampler": "Heun, EDM grid"},
        "provenance": {},
    }


def test_the_mean_over_regimes_is_that_of_log_ratios_and_its_interval_is_over_seeds() -> None:
    rows = [
        row("A", REGIMES["A"], comparison((0.8, 1.0), (1.25, 1.0))),
        row("E", REGIMES["E"], comparison((0.5, 0.7), (0.5, 0.7))),
    ]
    found = summary.over_regimes(rows, "sadm")
    by_seed = [(0 + math.log(0.5)) / 2, (0 + math.log(0.7)) / 2]  # regime A's judges cancel in both seeds
    assert found["geometric_mean_ratio"] == pytest.approx(math.exp(sum(by_seed) / 2), rel=1e-12)
    half = 12.706204736 * abs(by_seed[0] - by_seed[1]) / 2  # Student's quantile for two values
    assert found["high"] == pytest.approx(found["geometric_mean_ratio"] * math.exp(half), rel=1e-6)


def test_a_regime_that_does_not_count_changes_no_mean() -> None:
    rows = [row("A", REGIMES["A"], comparison((0.8, 0.9), (0.8, 0.9)))]
    sabotaged = row("S1", REGIMES["S1"], comparison((3.0, 3.0), (3.0, 3.0)))
    assert summary.over_regimes([*rows, sabotaged], "sadm") == summary.over_regimes(rows, "sadm")


def test_a_regime_is_summarised_as_the_command_promises() -> None:
    found = summary.regime_summary(row("A", REGIMES["A"], comparison((0.8, 0.8), (1.25, 1.25))))
    assert set(found["judges"]) == {"mlp", "pixels"}
    assert found["judges"]["mlp"]["fd_plain"] == 1.5
    assert found["judges"]["mlp"]["ratio_equal_cost"] == pytest.approx(0.8)
    assert found["step_overhead"] == pytest.approx(0.1)


def test_the_page_shows_every_arm_and_deciding_judge() -> None:
    lines = page.regime_lines(row("A", REGIMES["A"], comparison((0.8, 0.8), (1.25, 1.25))))
    assert len(lines) == 2
    assert "| mlp | 1.5 | 1.5 | -20.0% | -28.0% to -12.0% | -20.0% | 50.0% |" in lines[0]
    assert "| pixels | 1.5 | 1.5 | +25.0% |" in lines[1]


def test_survivors_are_the_best_at_equal_cost_and_always_the_default() -> None:
    means = {"default": 1.2, "a": 0.9, "b": None, "c": 1.0}
    rows = [{"candidate": name, "mean_equal_cost": mean} for name, mean in means.items()]
    assert search.best(rows, 2) == ["a", "c", "default"]
    assert search.best(rows, 3) == ["a", "c", "default"]
    assert search.geometric([0.5, 2.0]) == pytest.approx(1.0)
    assert search.geometric([0.5, None]) is None


@pytest.mark.parametrize("name", list(REGIMES))
def test_every_regime_can_be_configured(name: str) -> None:
    from sadm.experiments.config import CompareConfig
    from sadm.training.config import load_train_config

    regime = REGIMES[name]
    config = CompareConfig(
        train=load_train_config(regime.recipe, overrides=regime.change),
        arms={arm: ARMS[arm] for arm in regime.arms},
        samplers=regime.samplers,
    )
    assert config.treatment == ("hidden" if regime.counts else "sadm")
    assert regime.runs_of is None or regime.judged_at in REGIMES[regime.runs_of].samplers


@pytest.mark.parametrize("name", list(search.CANDIDATES))
def test_every_candidate_can_be_configured(name: str) -> None:
    from sadm.training.config import load_train_config

    change = search.CANDIDATES[name]
    config = load_train_config("fashion_mnist_8", overrides=change)
    assert config.signal == change["signal"]
    for key, value in change.get("structure", {}).items():
        assert getattr(config.structure, key) == value


def test_solvers_are_shown_with_the_ratios_of_the_same_models() -> None:
    part = comparison((0.8, 0.8), (1.25, 1.25))
    found = {"seeds": [0, 1], "rows": [solvers.row("Heun", part, part["floor"])]}
    assert "| Heun | 1.5 | -20.0% | 1.5 | +25.0% | 1.5 | +0.0% | 50.0% | 50.0% |" in solvers.section(found)
