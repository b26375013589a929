"""Structure and audits in comparisons: what is measured of each run, what is not done twice, how runs are taken together."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_comparison import STEPS, TINY, results, tiny

from sadm.core.errors import UserError
from sadm.core.intervals import mean_interval
from sadm.core.progress import Silent
from sadm.data import ImageSet, to_uint8
from sadm.evaluation import patch_gaps, structure_gaps
from sadm.evaluation.memorisation import audit, share_interval
from sadm.experiments import measured
from sadm.experiments.compare import MAY_CHANGE, compare
from sadm.experiments.config import CompareConfig
from sadm.experiments.cost import ArmCost, store_costs
from sadm.experiments.jobs import Laboratory
from sadm.experiments.plan import RunJob, missing_measurements, planned_jobs
from sadm.experiments.run_audits import PAIRS, SHOWN, read_pairs
from sadm.experiments.runs import Runs
from sadm.experiments.summary import short_summary, summarise
from sadm.training.model_folder import load_model
from sadm.training.run import split_for

DEAR = ArmCost(2.0, 0.01, 0.0, 0.0, 20)
SEEDS = [100, 101]
BOTH = {"structure_metric": True, "audit": True}
Finished = tuple[Path, dict[str, Any], dict[str, Any]]


def asked(**change: Any) -> CompareConfig:
    return tiny(seeds=SEEDS, **change)


def carry_out(config: CompareConfig, folder: Path) -> Laboratory:
    """All jobs, in this process."""
    laboratory = Laboratory(config, folder, Silent())
    for job in planned_jobs(config, {"sadm": DEAR}):
        if not job.is_complete(folder, config):
            laboratory.run(job)
    return laboratory


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A comparison that was finished without them, and then asked for them; its results before, and what is told after."""
    folder = tmp_path_factory.mktemp("measured")
    store_costs(folder, {"sadm": DEAR})
    carry_out(asked(), folder)
    before = results(folder)
    config = asked(**BOTH)
    assert not any(job.is_complete(folder, config) for job in planned_jobs(config, {"sadm": DEAR}))
    laboratory = carry_out(config, folder)
    comparison, pictures = summarise(config, folder, laboratory.split, laboratory.evaluator)
    assert pictures.neighbours == {}
    assert pictures.pairs.keys() == {"plain", "sadm"}
    return folder, before, comparison


def test_what_is_there_stays_and_what_lacks_is_added(finished: Finished) -> None:
    folder, before, _ = finished
    for name, after in results(folder).items():
        assert after.keys() - before[name].keys() == set(BOTH)
        assert all(after[key] == value for key, value in before[name].items() if key != "memory_mib")
        assert (folder / "runs" / name / PAIRS).exists()


def test_nothing_is_measured_twice(finished: Finished) -> None:
    folder, _, _ = finished
    times = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*.*")}
    carry_out(asked(**BOTH), folder)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*.*")} == times
    assert set(BOTH) <= set(MAY_CHANGE)


def test_gaps_and_audits_are_those_of_the_images_that_are_judged(finished: Finished) -> None:
    folder, _, _ = finished
    job = RunJob("sadm", 101, STEPS)
    config, result = asked(**BOTH), results(folder)[job.name]
    laboratory = Laboratory(config, folder, Silent())
    model, evaluator, split = load_model(job.folder(folder)), laboratory.evaluator, laboratory.split
    labels = model.training_labels(evaluator.group, job.seed)
    assert labels is not None
    images = model.sample_for_judging(evaluator.group, job.seed, labels, config.train.sampling)
    assert evaluator.evaluate(images, labels).fd == result["evaluation"]["fd"]
    names = tuple(str(index) for index in range(len(images)))
    generated = ImageSet(to_uint8(images), labels, split.train.class_names, names, "generated")
    real, gaps = evaluator.parts.reference, result["structure_metric"]["gaps"]
    assert real.labels is not None
    both = labels.numpy(), real.labels.numpy()
    for judge in evaluator.judges:
        found = structure_gaps(judge.features(generated), judge.features(real), *both)
        assert gaps[judge.name] == pytest.approx(vars(found))
    assert gaps["patches"] == pytest.approx(vars(patch_gaps(generated.floats(), real.floats(), *both)))
    alone = audit(generated, split.train, split.held_out)
    expected = alone.as_dict()
    assert result["audit"] == {**expected, "pairs": expected["pairs"][:8]}
    pairs, chosen = read_pairs(job.folder(folder), split.train), alone.closest(SHOWN)
    np.testing.assert_array_equal(
        pairs.generated, generated.images[torch.from_numpy(chosen)].permute(0, 2, 3, 1).numpy()
    )
    nearest = split.train.images[alone.nearest.index[torch.from_numpy(chosen)]]
    np.testing.assert_array_equal(pairs.training, nearest.permute(0, 2, 3, 1).numpy())
    assert pairs.scores == sorted(pairs.scores)


def test_intervals_and_differences_are_those_of_the_stored_runs(finished: Finished) -> None:
    folder, _, comparison = finished
    stored, found = results(folder), comparison["structure_metric"]

    def gaps(arm: str, steps: int, space: str, gap: str) -> list[float]:
        return [stored[f"{arm}-{steps}-steps-seed-{seed}"]["structure_metric"]["gaps"][space][gap] for seed in SEEDS]

    for space, gap in itertools.product(("mlp", "pixels", "patches"), ("distances", "spectrum", "mixing", "classes")):
        plain, sadm = gaps("plain", STEPS, space, gap), gaps("sadm", STEPS // 2, space, gap)
        assert found["arms"]["plain"][space][gap] == mean_interval(plain).as_dict()
        expected = mean_interval([a - b for a, b in zip(sadm, plain, strict=True)]).as_dict()
        assert found["differences"]["equal_cost"]["sadm"][space][gap] == expected
        assert 0 <= abs(found["real"][space][gap]) < min(plain)  # a tiny network draws noise
    audits = comparison["audit"]
    assert audits["arms"]["sadm"]["seeds"] == SEEDS
    own = [stored[f"sadm-{STEPS // 2}-steps-seed-{seed}"]["audit"] for seed in SEEDS]
    assert audits["arms"]["sadm"]["p_value"] == min(1.0, 2 * min(facts["p_value"] for facts in own))
    assert audits["images"] == own[0]["images"]
    summary = short_summary({**comparison, "minutes_total": 1.0})
    assert all(summary[name] == comparison[name] for name in BOTH)


def test_a_judge_that_joins_measures_structure_anew(finished: Finished) -> None:
    folder, _, _ = finished
    result = next(iter(results(folder).values()))
    assert missing_measurements(result, asked(**BOTH)) == []
    assert missing_measurements(result, asked(**BOTH, judges=["dinov2"])) == ["structure_metric"]
    assert missing_measurements(result, asked()) == []


def runs_with(*audits: dict[str, Any]) -> Runs:
    found = [
        {
            "seed": seed,
            "diverged": False,
            "audit": {"images": 500, "copy_rate": facts["copies"] / 500, "closer": {"probability": 0.5}, **facts},
        }
        for seed, facts in enumerate(audits)
    ]
    return Runs(tuple(RunJob("sadm", result["seed"], 1) for result in found), tuple(found))


def test_runs_are_not_pooled_and_the_worst_is_told() -> None:
    facts = measured.arm_audit(
        runs_with(
            {"copies": 0, "copies_p_value": 1.0, "p_value": 0.3},
            {"copies": 20, "copies_p_value": 0.001, "p_value": 0.2},
            {"copies": 1, "copies_p_value": 0.9, "p_value": 0.9},
        )
    )
    assert facts["copies"] == [0, 20, 1]
    assert facts["verdict"] == "copies"
    assert facts["verdicts"] == ["clear", "copies", "look"]
    assert (facts["worst"]["seed"], facts["worst"]["copy_rate"]) == (1, 0.04)
    assert (facts["worst"]["low"], facts["worst"]["high"]) == share_interval(20, 500, 1 - 0.05 / 3)
    assert (facts["copies_p_value"], facts["p_value"]) == (pytest.approx(0.003), pytest.approx(0.6))
    # What one run alone would prove may be chance among three.
    quiet = {"copies": 0, "copies_p_value": 1.0, "p_value": 0.5}
    alone, among = ({**quiet, "p_value": 0.004}, quiet, quiet), ({**quiet, "p_value": 0.003}, quiet, quiet)
    assert measured.arm_audit(runs_with(*alone))["verdict"] == "clear"
    assert measured.arm_audit(runs_with(*among))["verdict"] == "closer"
    assert measured.arm_audit(runs_with(alone[0]))["verdict"] == "closer"


def test_the_share_of_arms_falsely_accused_stays_below_the_level() -> None:
    draws = np.random.default_rng(0)
    shared = draws.random((1500, 1))  # runs share the fresh images, so that their tests are alike
    mixed = np.where(draws.random((1500, 5)) < 0.5, shared, draws.random((1500, 5)))
    accused = [
        measured.arm_audit(runs_with(*({"copies": 0, "copies_p_value": 1.0, "p_value": float(p)} for p in row)))
        for row in mixed
    ]
    assert np.mean([facts["verdict"] != "clear" for facts in accused]) <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 1500)


def test_images_without_classes_can_be_measured_and_audited(class_folder: Path, tmp_path: Path) -> None:
    data = {"source": str(class_folder / "good"), "resolution": 8, "held_out": 0.6}
    train = {**TINY["train"], "data": data, "optimiser": {"steps": 6, "batch": 4, "warmup_steps": 2}}
    comparison = compare(tiny(train=train, **BOTH), tmp_path / "out")
    assert comparison["audit"]["arms"]["plain"]["copies"]
    assert "classes" not in comparison["structure_metric"]["arms"]["sadm"]["pixels"]
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Pairwise distances" in report
    assert "Within and between classes" not in report
    assert "Most like a training image" in report


def test_an_audit_that_can_not_be_made_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shared(*arguments: Any) -> Any:
        split = split_for(*arguments)
        train = dataclasses.replace(split.train, groups=("part 1",) * len(split.train))
        parts = tuple(f"part {i % 4}" for i in range(len(split.held_out)))
        held_out = dataclasses.replace(split.held_out, groups=parts)
        return dataclasses.replace(split, train=train, held_out=held_out)

    monkeypatch.setattr("sadm.experiments.compare.split_for", shared)
    with pytest.raises(UserError, match="1 groups have both training and held-out images"):
        compare(tiny(audit=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()
