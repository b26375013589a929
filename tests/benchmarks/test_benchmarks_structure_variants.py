"""Tables of many arms, the verdicts on hypotheses, and the goals: from made-up and stored results to words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from benchmarks.common import stored
from benchmarks.paired import ratio, row_of_arm
from benchmarks.pinned import pinned_recipe
from benchmarks.structure import targets
from benchmarks.structure.regimes import REGIMES
from benchmarks.structure.summary import stored_rows
from benchmarks.structure.variants import CONFIRMED, HYPOTHESES, OPEN, REFUTED, TABLES, verdict
from benchmarks.structure.variants_page import variants_lines
from sadm.core.files import make_folder, write_json
from sadm.experiments.config import CompareConfig

JUDGES = ("mlp", "pixels", "random_conv")


def row(factor: float, spread: float = 0.01, seconds: float = 10.0) -> dict[str, Any]:
    values = [factor * (1 + spread * i) for i in (-1, 0, 1)]
    return {"excess": dict.fromkeys(JUDGES, values), "cpu_seconds": [seconds] * 3, "diverged": []}


@pytest.mark.parametrize("name", list(TABLES))
def test_every_arm_can_be_configured(name: str) -> None:
    table = TABLES[name]
    arms = {"plain": {"signal": "none"}, **table.arms}
    train = pinned_recipe(REGIMES["B"].recipe, table.change)
    config = CompareConfig(train=train, arms=arms, seeds=[*table.seeds])
    assert table.change in ({}, {"optimiser": {"kind": "muon"}})
    assert {config.arm_config(arm, 0).optimiser.kind for arm in arms} == {"muon" if table.change else "adamw"}
    trained = {str(config.arm_config(arm, 0).model_dump()) for arm in config.arms}
    assert len(trained) == len(table.arms) + 1  # no two alike


def test_the_hypotheses_are_about_arms_of_their_table() -> None:
    for hypothesis in HYPOTHESES:
        assert {hypothesis.better, hypothesis.worse} <= TABLES["hypotheses"].arms.keys()


def test_ratios_are_paired_and_verdicts_are_theirs() -> None:
    noise = {"excess": {"mlp": [0.5, 1.0, 2.0]}, "cpu_seconds": [1.0] * 3, "diverged": []}
    rows = {"a": row(0.8), "b": row(1.0), "c": noise, "gone": {"excess": {}, "cpu_seconds": [], "diverged": [1]}}
    better, worse = ratio(rows, "a", "b", "mlp"), ratio(rows, "b", "a", "mlp")
    assert better["mean"] == pytest.approx(0.8)
    assert better["values"] == pytest.approx([0.8] * 3)
    unsure, gone = ratio(rows, "c", "b", "mlp"), ratio(rows, "gone", "b", "mlp")
    assert gone == {"mean": None, "reason": "diverged"}
    assert verdict([better, better]) == CONFIRMED
    assert verdict([worse, worse]) == REFUTED
    assert verdict([better, worse]) == verdict([better, unsure]) == verdict([better, gone]) == OPEN


def test_a_row_is_what_the_runs_left(tmp_path) -> None:
    table = TABLES["options"]
    for seed, fd in zip(table.seeds, (1.5, 2.5), strict=True):
        result = {"seed": seed, "diverged": False, "cpu_seconds": 9.0, "pretrain_cpu_seconds": 1.0}
        folder = make_folder(tmp_path / "runs" / f"huber-600-steps-seed-{seed}")
        write_json(folder / "result.json", {**result, "evaluation": {"fd": {"mlp": fd}}})
    found = row_of_arm(tmp_path, "huber", table.seeds, 600, {"mlp": 0.5})
    assert found == {"excess": {"mlp": [1.0, 2.0]}, "cpu_seconds": [10.0, 10.0], "diverged": []}


def test_the_page_of_the_hypotheses_has_a_line_for_each_arm_and_claim() -> None:
    arms = TABLES["hypotheses"].arms
    rows = {"plain": row(1.0)} | {arm: row(1.0 + 0.1 * place, seconds=12.0) for place, arm in enumerate(arms)}
    lines = variants_lines("hypotheses", {"seeds": [1, 2, 3], "steps": 600, "rows": rows}, ["mlp", "pixels"])
    page = "\n".join(lines)
    assert "600 steps, equal steps, 3 pairs" in page
    assert sum(line.startswith(tuple(f"| {arm} |" for arm in arms)) for line in lines) == len(arms)
    assert "+20.0% |" in page
    claims = {h.claim: next(line for line in lines if line.startswith(f"| {h.claim} |")) for h in HYPOTHESES}
    # The first arms have the smallest FD here, so that claims about them come out right, and the last about itself wrong.
    assert [line.rsplit("| ", 1)[1] for line in claims.values()] == [f"{CONFIRMED} |"] * 6 + [f"{REFUTED} |"]
    assert "6 confirmed, 1 refuted, 0 open" in page


def test_goals_are_met_or_missed_as_the_stored_numbers_say(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = stored_rows()
    lines = targets.target_lines(rows)
    assert len(lines) == 4 + 10
    good = copy.deepcopy(rows)
    for one in good:
        for judge in one["deciding"]:
            found = one["ratios"]["equal_cost"]["hidden"][judge]
            found["values"] = [0.5 * (1 + 0.01 * seed) for seed in range(len(one["seeds"]))]
            found["mean"] = 0.5
    better = targets.target_lines(good)
    missed = [line.split(" | ")[0] for line in lines if line.endswith("missed |")]
    assert missed == [line.split(" | ")[0] for line in lines[4:8]]
    assert [line.endswith("| met |") for line in better[4:8]] == [True, True, False, True]
    monkeypatch.setattr(targets, "WORST", 1.0)
    assert targets.target_lines(rows)[9].endswith("missed |")
    assert stored("structure", "Z")["ratios"]["mlp"]["high"] < 1
