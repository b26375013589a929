"""From stored rows to the summary and the page of `benchmarks.structure`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks import paired, solvers
from benchmarks.pinned import pinned_recipe
from benchmarks.structure import noisy, page, pairs, relations, search, summary
from benchmarks.structure.extrapolation import extrapolated, extrapolation_lines
from benchmarks.structure.regimes import ARMS, REGIMES
from benchmarks.structure.trainings import row
from sadm.experiments.cost import ArmCost


def ratio(*values: float) -> dict[str, Any]:
    """A ratio as a comparison stores it."""
    mean = math.exp(sum(map(math.log, values)) / len(values))
    return {"mean": mean, "low": 0.9 * mean, "high": 1.1 * mean, "values": list(values)}


def comparison(mlp: tuple[float, ...], pixels: tuple[float, ...], other: str = "hidden") -> dict[str, Any]:
    """What `row` reads of a comparison of plain and one other arm, with two deciding judges."""
    judges = {"mlp": {"decides": True}, "pixels": {"decides": True}, "random_conv": {"decides": False}}
    arm = {
        "fd": {judge: {"mean": 2.0} for judge in judges},
        "label_accuracy": 0.5,
        "steps": 9,
        "diverged": [],
    }
    ratios = {other: {"mlp": ratio(*mlp), "pixels": ratio(*pixels), "random_conv": ratio(1.0, 1.0)}}
    return {
        "judges": judges,
        "floor": dict.fromkeys(judges, 0.5),
        "arms": {"plain": arm, other: arm},
        "equal_steps": {other: arm},
        "ratios": {"equal_cost": ratios, "equal_steps": ratios},
        "cost": {other: {"step_ratio": 1.1}},
        "protocol": {"seeds": [100, 101], "sampler": "Heun, EDM grid"},
        "provenance": {},
    }


def test_the_mean_over_regimes_is_that_of_log_ratios_and_its_interval_is_over_seeds() -> None:
    rows = [
        row("A", REGIMES["A"], comparison((0.8, 1.0), (1.25, 1.0))),
        row("E", REGIMES["E"], comparison((0.5, 0.7), (0.5, 0.7))),
    ]
    found = summary.over_regimes(rows, "hidden")
    by_seed = [(0 + math.log(0.5)) / 2, (0 + math.log(0.7)) / 2]  # regime A's judges cancel in both seeds
    assert found["geometric_mean_ratio"] == pytest.approx(math.exp(sum(by_seed) / 2), rel=1e-12)
    half = 12.706204736 * abs(by_seed[0] - by_seed[1]) / 2  # Student's quantile for two values
    assert found["high"] == pytest.approx(found["geometric_mean_ratio"] * math.exp(half), rel=1e-6)


def test_a_regime_is_summarised_as_the_command_promises() -> None:
    found = summary.regime_summary(row("A", REGIMES["A"], comparison((0.8, 0.8), (1.25, 1.25))))
    assert set(found["judges"]) == {"mlp", "pixels"}
    assert found["judges"]["mlp"]["fd_plain"] == 1.5
    assert found["judges"]["mlp"]["ratio_equal_cost"] == pytest.approx(0.8)
    assert found["step_overhead"] == pytest.approx(0.1)


def test_the_summary_of_what_is_stored_can_be_printed() -> None:
    found = json.loads(json.dumps(summary.summary()))
    names = {"regimes", "geometric_mean_ratio", "low", "high", "game", "pairs", "missing", "dit_xl2_flop_overhead"}
    assert names <= found.keys()
    wanted = {"regime", "seeds", "judges", "cost_to_plain_ratio", "step_overhead", "diverged"}
    assert all(wanted <= regime.keys() for regime in found["regimes"])
    assert set(found["dit_xl2_flop_overhead"]) == {"sadm", "hidden"}


def test_the_page_shows_every_arm_and_deciding_judge() -> None:
    lines = page.regime_lines(row("A", REGIMES["A"], comparison((0.8, 0.8), (1.25, 1.25))))
    assert len(lines) == 2
    assert "| mlp | 1.5 | 1.5 | -20.0% | -28.0% to -12.0% | -20.0% | 50.0% |" in lines[0]
    assert "| pixels | 1.5 | 1.5 | +25.0% |" in lines[1]


def finished_run(folder: Path, arm: str, seed: int, fd: float | None, events: list[int], steps: int = 9) -> None:
    """A run as a worker leaves it; diverged where it has no FD."""
    run = folder / "runs" / f"{arm}-{steps}-steps-seed-{seed}"
    run.mkdir(parents=True)
    result = {"seed": seed, "diverged": fd is None, "evaluation": None if fd is None else {"fd": {"mlp": fd}}}
    result |= {"cpu_seconds": 30.0, "pretrain_cpu_seconds": 1.5, "parameters": 1000}
    (run / "result.json").write_text(json.dumps(result))
    lines = [{"step": step, "events": count} for step, count in enumerate(events)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_pairs_are_compared_above_the_floor_and_the_watchdogs_acts_are_counted(tmp_path: Path) -> None:
    for seed in pairs.PAIRS["S1"].seeds:
        finished_run(tmp_path, "plain", seed, 1.5, [])
        finished_run(tmp_path, "sadm", seed, 1.5 + (seed - 100), [0, seed - 100, seed - 100])
    found = pairs.row("S1", tmp_path, {"plain": 9, "sadm": 9}, {"mlp": 0.5})
    assert found["ratios"]["mlp"]["values"] == pytest.approx([1, 2, 3, 4, 5])
    assert found["events"] == [0, 1, 2, 3, 4]
    (line,) = page.pairs_lines([found])[-1:]
    assert "| encoder learning rate x100 | sadm | mlp | 5 | +160.5% |" in line
    assert "| +400.0% | 0 | 0, 1, 2, 3, 4 |" in line


def test_a_training_of_another_length_is_told_with_what_plain_training_reaches(tmp_path: Path) -> None:
    for seed in pairs.LENGTHS["T200"].seeds:
        finished_run(tmp_path, "plain", seed, 1.5 + (seed - 100), [], steps=200)
        finished_run(tmp_path, "hidden", seed, 1.0 + (seed - 100) / 2, [], steps=200)
    found = pairs.row("T200", tmp_path, {"plain": 200, "hidden": 200}, {"mlp": 0.5})
    assert found["plain"] == {"mlp": pytest.approx(3.0)}  # the mean of 1, 2, 3, 4 and 5
    (line,) = page.length_lines([found])[-1:]
    assert line.startswith("| 200 steps | mlp | 5 | 3 | -50.0% |")
    assert page.length_lines([]) == []


def test_many_seeds_add_to_those_of_the_regime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regime = row("B", REGIMES["B"], comparison((0.5, 2.0), (1.0, 1.0)))
    monkeypatch.setattr(pairs, "stored", lambda name, part: regime)
    for seed in pairs.PAIRS["Z"].seeds:
        finished_run(tmp_path, "plain", seed, 1.5, [])
        finished_run(tmp_path, "hidden", seed, 1.0 if seed > 105 else None, [])
    found = pairs.row("Z", tmp_path, {"plain": 9, "hidden": 9}, {"mlp": 0.5})
    assert (found["ratios"], found["diverged"]["hidden"]) == ({}, [105])
    finished = tmp_path / "runs" / "hidden-9-steps-seed-105" / "result.json"
    finished.write_text(
        json.dumps(json.loads(finished.read_text()) | {"diverged": False, "evaluation": {"fd": {"mlp": 1.0}}})
    )
    found = pairs.row("Z", tmp_path, {"plain": 9, "hidden": 9}, {"mlp": 0.5})
    assert found["ratios"]["mlp"]["values"] == pytest.approx([0.5, 2.0] + 15 * [0.5])
    assert found["seeds"] == [100, 101, *range(105, 120)]


@pytest.mark.parametrize("name", list(pairs.CONFIRMED))
def test_a_row_beside_another_trains_its_own_arm_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain trainings of the row that it stands beside are its own as well."""
    asked, kept = [], {}
    monkeypatch.setattr(pairs, "RUNS", tmp_path)
    monkeypatch.setattr(
        pairs, "train_all", lambda config, folder, steps: asked.append((config, folder)) or {"mlp": 0.5}
    )
    monkeypatch.setattr(pairs, "store", lambda part, row, value: kept.update({row: value}))
    cost = ArmCost(1.25, 1.0, 0.0, 0.0, 200)
    monkeypatch.setattr(pairs, "cost_beside", lambda config, folder, arm: cost)
    beside = pairs.ALL[name].beside
    steps = pairs.ALL[name].change["optimiser"]["steps"]
    for seed in pairs.ALL[beside].seeds:
        for arm, fd in (("plain", 2.5), ("hidden", 2.0), (pairs.ALL[name].arm, 1.5)):
            finished_run(tmp_path / "structure" / beside, arm, seed, fd, [1], steps=steps)
        finished_run(tmp_path / "structure" / beside, "hidden", seed, 3.5, [1], steps=int(steps / 1.25))
    for row_name in (beside, name):
        pairs.run_pairs(row_name)
    (first, folder), *_, (second, other) = asked
    assert folder == other == tmp_path / "structure" / beside
    assert (first.train, first.seeds, first.arms["plain"]) == (second.train, second.seeds, second.arms["plain"])
    assert kept[name]["ratios"]["mlp"]["values"] == pytest.approx([0.5] * len(first.seeds))
    assert kept[beside]["ratios"]["mlp"]["values"] == pytest.approx([0.75] * len(first.seeds))
    assert ("equal_cost" in kept[beside]) == pairs.ALL[beside].measured
    if pairs.ALL[beside].measured:
        at_cost = kept[beside]["equal_cost"]
        assert (at_cost["steps"], at_cost["step_ratio"]) == (int(steps / 1.25), 1.25)
        assert at_cost["ratios"]["mlp"]["values"] == pytest.approx([1.5] * len(first.seeds))


@pytest.mark.parametrize("name", list(pairs.ALL))
def test_every_pair_can_be_configured(name: str) -> None:
    recipe = pairs.ALL[name].recipe
    config = pinned_recipe(recipe, pairs.ALL[name].change)
    assert pairs.ALL[name].arm in pairs.PAIRED_ARMS
    assert (config != pinned_recipe(recipe)) == (
        bool(pairs.ALL[name].change) and name not in ("T600", "T600U")
    )  # as the recipe is
    assert name not in pairs.LENGTHS or f"T{config.optimiser.steps}" == name
    assert name not in {**pairs.SIZES_BEFORE, **pairs.LENGTHS_BEFORE} or pairs.ALL[name].beside == name[:-1]


def test_the_share_of_the_cost_includes_pretraining() -> None:
    cost = {"step_ratio": 1.25, "pretrain_cpu_seconds": 10.0, "steps_measured": 200}
    regime = {"cost": {"hidden": cost, "plain": {"cpu_seconds_per_step": 0.5}}}
    assert pairs.steps_at_share(regime, "hidden", 1000, 0.5) == (500 - 20) / 1.25


def test_where_the_default_reaches_plain_training_lies_between_the_shares_that_were_trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at = {"K70": (1.2, 1.2), "K85": (0.9, 0.9)}
    (tmp_path / "there").touch()
    monkeypatch.setattr(summary, "result_path", lambda benchmark, name: tmp_path / "there")
    monkeypatch.setattr(
        summary,
        "stored",
        lambda benchmark, name: {"ratios": comparison(at[name], at[name])["ratios"]["equal_cost"]["hidden"]},
    )
    found = summary.cost_to_plain(row("B", REGIMES["B"], comparison((0.8, 0.8), (0.8, 0.8))), "hidden")
    assert found is not None
    slope = math.log(0.85 / 0.7) / math.log(0.9 / 1.2)
    assert found["mlp"]["mean"] == pytest.approx(0.7 * math.exp(-slope * math.log(1.2)))
    assert summary.cost_to_plain(row("A", REGIMES["A"], comparison((0.8, 0.8), (0.8, 0.8))), "hidden") is None


def test_sizes_and_relations_are_shown(tmp_path: Path) -> None:
    ratios = {"mlp": {"mean": 0.9, "low": 0.8, "high": 1.0, "values": [0.9] * 3}}
    size = {
        "title": "small", "arm": "hidden", "seeds": [1, 2, 3], "ratios": ratios, "parameters": 260_000,
        "cpu_seconds": {"hidden": [11.0, 11.0], "plain": [10.0, 10.0]},
    }  # fmt: skip
    shown = "| small | 0.26 M | mlp | 3 | -10.0% | -20.0% to +0.0% | +10.0% |"
    assert page.size_lines([size])[-1] == f"{shown} not measured |  |"
    fewer = {"mlp": {"mean": 0.95, "low": 0.9, "high": 1.1, "values": [0.95] * 3}}
    size["equal_cost"] = {"steps": 9, "step_ratio": 1.1, "ratios": fewer}
    assert page.size_lines([size])[-1] == f"{shown} -5.0% | -10.0% to +10.0% |"
    table = {"seeds": [0, 1], "rows": [{"title": "few", "ratios": {"cosine": {"mlp": 1.1}, "rbf": {"mlp": None}}}]}
    assert page.relation_lines(table)[-1] == "| few | mlp | +10.0% | no ratio |"


def test_a_relation_is_compared_seed_by_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relations, "RUNS", tmp_path)
    monkeypatch.setattr(paired, "train_all", lambda config, folder, steps: {"mlp": 0.5})
    for seed in relations.SEEDS:
        for arm, fd in {"plain": 1.5, **dict.fromkeys(relations.RELATIONS, 1.0)}.items():
            gone = arm == "angles" and seed == 0
            finished_run(tmp_path / "structure" / "relations-C300", arm, seed, None if gone else fd, [], steps=600)
    found = relations.task_row("C300")["ratios"]
    assert found["rbf"] == {"mlp": pytest.approx(0.5)}
    assert found["angles"] == {"mlp": None}


def test_noisy_images_are_a_tenth_and_labels_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sadm.data import ImageSet, Split, open_source

    draws = torch.Generator().manual_seed(0)
    sets = [
        ImageSet(
            torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=draws),
            torch.arange(count) % 3,
            ("a", "b", "c"),
            tuple(map(str, range(count))),
            "made up",
        )
        for count in (50, 20)
    ]
    monkeypatch.setattr(noisy, "open_source", lambda source: Split(*sets))
    found = open_source(str(noisy.write_noisy(tmp_path / "noisy")))
    changed = (found.train.images != sets[0].images).flatten(1).any(1)
    assert int(changed.sum()) == 5
    blocks = found.train.images[changed].unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert torch.equal(blocks.amin(-1), blocks.amax(-1))
    assert torch.equal(found.train.labels, sets[0].labels)
    assert torch.equal(found.held_out.images, sets[1].images)


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

    regime = REGIMES[name]
    config = CompareConfig(
        train=pinned_recipe(regime.recipe, regime.change),
        arms={arm: ARMS[arm] for arm in regime.arms},
        samplers=regime.samplers,
    )
    assert config.treatment == "hidden"
    assert regime.runs_of is None or regime.judged_at in REGIMES[regime.runs_of].samplers


@pytest.mark.parametrize("name", list(search.CANDIDATES))
def test_every_candidate_can_be_configured(name: str) -> None:
    change = search.CANDIDATES[name]
    config = pinned_recipe("fashion_mnist_8", change)
    assert config.signal == change["signal"]
    for key, value in change.get("structure", {}).items():
        assert getattr(config.structure, key) == value


def test_solvers_are_shown_with_the_ratios_of_the_same_models() -> None:
    part = comparison((0.8, 0.8), (1.25, 1.25), "sadm")
    found = {"seeds": [0, 1], "rows": [solvers.row("Heun", part, part["floor"])]}
    assert "| Heun | 1.5 | -20.0% | 1.5 | +25.0% | 1.5 | +0.0% | 50.0% | 50.0% |" in solvers.section(found)


def test_a_line_through_sizes_is_least_squares_with_the_interval_of_one_more_network() -> None:
    """Against scipy's line, and by simulation: a further network lies within as often as promised."""
    parameters, at = [200_000, 700_000, 900_000, 2_000_000, 5_000_000], 100_000_000
    ratios = [0.9, 0.8, 0.85, 0.7, 0.75]
    found, line = extrapolated(parameters, ratios, at), stats.linregress(np.log10(parameters), np.log(ratios))
    assert found.mean == pytest.approx(math.exp(line.intercept + line.slope * 8))
    assert found.per_decade == pytest.approx(math.exp(line.slope))
    random, within = np.random.default_rng(0), 0
    for _ in range(2000):
        drawn = np.exp(-0.1 - 0.05 * np.log10([*parameters, at]) + random.normal(0, 0.1, 6))
        asked = extrapolated(parameters, drawn[:-1].tolist(), at)
        within += asked.low < drawn[-1] < asked.high
    assert within / 2000 == pytest.approx(0.95, abs=0.015)
    with pytest.raises(ValueError, match="at least three sizes"):
        extrapolated([1, 1, 2], [1.0, 1.0, 1.0], at)


def test_too_few_sizes_say_nothing_of_a_large_network_and_a_wide_interval_decides_nothing() -> None:
    rows = [{"parameters": 10**n, "ratios": {"mlp": {"mean": 0.9 - 0.1 * (n % 2)}}} for n in (5, 6, 7, 8)]
    assert extrapolation_lines(rows[:3], 10**9) == extrapolation_lines([], 10**9) == []
    assert "which decides nothing" in extrapolation_lines(rows, 10**9)[-1]
