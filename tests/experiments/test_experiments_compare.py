"""Whole comparisons, in worker processes: what they leave, what is not done twice, what may be added, how they stop."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny_comparison import FROZEN, PLAIN, SADM, STEPS, TINY, WILD, results, tiny

from sadm.cli.main import run
from sadm.core.config import write_yaml
from sadm.core.errors import UserError
from sadm.core.files import locked
from sadm.core.progress import Silent
from sadm.experiments.compare import compare
from sadm.experiments.cost import ArmCost, store_costs
from sadm.experiments.jobs import Laboratory
from sadm.experiments.plan import RunJob
from sadm.experiments.runs import gather
from tiny import change_weights

ARMS = {"plain": PLAIN, "sadm": SADM, "frozen encoder": FROZEN, "wild": WILD}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison") / "demo"
    compare(tiny(), folder)
    return folder


@pytest.fixture(scope="module")
def grown(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The finished comparison with everything added that can be."""
    folder = tmp_path_factory.mktemp("grown") / "demo"
    shutil.copytree(finished, folder)
    samplers = {"3 NFE": {"steps": 2}, "1 NFE": {"steps": 1}}
    more = tiny(arms=ARMS, seeds=[100, 101], samplers=samplers, per_class=True, cost_shares=[0.5], lang="ja")
    return folder, compare(more, folder)


def test_it_leaves_what_it_promises(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["arms"].keys() == {"plain", "sadm"}
    for arm in summary["arms"].values():
        assert {"fd", "kid", "cpu_seconds", "steps", "sample_ms_per_image", "seeds"} <= arm.keys()
        assert arm["fd"].keys() == summary["floor"].keys()
        for fd in arm["fd"].values():
            assert fd["values"] == [fd["mean"]]
    assert summary["verdict"]
    assert summary["decision"] == {"say": "wait", "quality": "open"}  # one seed decides nothing
    assert summary["minutes_total"] > 0
    report = (finished / "report.html").read_text()
    assert summary["verdict"].split(".")[0] in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert (finished / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_equal_cost_is_what_the_stored_cost_says(finished: Path) -> None:
    cost = json.loads((finished / "cost.json").read_text())["sadm"]
    summary = json.loads((finished / "summary.json").read_text())
    budget = STEPS * cost["control_cpu_seconds_per_step"]
    steps = summary["arms"]["sadm"]["steps"]
    per_step, pretraining = cost["step_ratio"] * cost["control_cpu_seconds_per_step"], cost["pretrain_cpu_seconds"]
    assert steps == 1 or steps * per_step + pretraining <= budget < (steps + 1) * per_step + pretraining
    assert summary["equal_steps"]["sadm"]["steps"] == summary["arms"]["plain"]["steps"] == STEPS


def test_the_verdict_follows_from_the_stored_runs(grown: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = grown
    stored, summary = results(folder), json.loads((folder / "summary.json").read_text())
    assert summary["treatment"] == "sadm"
    for budget, steps in (("equal_cost", summary["arms"]["sadm"]["steps"]), ("equal_steps", STEPS)):
        for judge, floor in summary["floor"].items():
            ratios = []
            for seed in (100, 101):
                plain = stored[f"plain-{STEPS}-steps-seed-{seed}"]["evaluation"]["fd"][judge] - floor
                sadm = stored[f"sadm-{steps}-steps-seed-{seed}"]["evaluation"]["fd"][judge] - floor
                ratios.append(sadm / plain)
            found = summary["ratios"][budget]["sadm"][judge]
            assert found["values"] == pytest.approx(ratios)
            assert found["low"] < found["mean"] < found["high"]
    assert summary["arms"]["sadm"]["seeds"] == [100, 101]
    steps = summary["arms"]["sadm"]["steps"]
    drawn = [
        stored[f"sadm-{steps}-steps-seed-{seed}"]["sample_ms_per_image"]
        / stored[f"plain-{STEPS}-steps-seed-{seed}"]["sample_ms_per_image"]
        for seed in (100, 101)
    ]
    sampling = json.loads((folder / "comparison.json").read_text())["cost"]["sadm"]["sampling_ratio"]
    assert sampling["values"] == pytest.approx(drawn)
    assert sampling["low"] < sampling["mean"] < sampling["high"]


def test_a_run_does_not_depend_on_the_comparison_around_it(finished: Path, tmp_path: Path) -> None:
    laboratory = Laboratory(tiny(seeds=[7, 100], groups=1), tmp_path, Silent())
    laboratory.run(RunJob("sadm", 100, STEPS))
    (name,) = results(tmp_path)
    assert results(tmp_path)[name]["evaluation"] == results(finished)[name]["evaluation"]


def test_a_model_that_draws_nothing_finite_has_diverged(tmp_path: Path) -> None:
    laboratory, job = Laboratory(tiny(), tmp_path, Silent()), RunJob("plain", 100, 2)
    laboratory.run(job)
    assert results(tmp_path)[job.name]["diverged"] is False
    (job.folder(tmp_path) / "result.json").unlink()
    change_weights(job.folder(tmp_path) / "model", lambda tensor: torch.full_like(tensor, torch.nan))
    laboratory.run(job)
    found = results(tmp_path)[job.name]
    assert (found["diverged"], found["diverged_at"]) == (True, 2)
    assert "evaluation" not in found


def test_classes_can_not_be_judged_where_there_are_none(class_folder: Path, tmp_path: Path) -> None:
    train = {**TINY["train"], "data": {"source": str(class_folder / "good"), "resolution": 8, "held_out": 0.6}}
    with pytest.raises(UserError, match="good has no classes, so nothing can be judged class by class"):
        compare(tiny(train=train, per_class=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_arm_that_can_not_be_built_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="8x8 pixels can't be cut into patches of 3x3"):
        compare(tiny(arms={"plain": PLAIN, "coarse": {"net": {"patch": 3}}}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_finished_is_not_trained_again(finished: Path, grown: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = grown
    for name, before in results(finished).items():
        after = results(folder)[name]
        assert after["cpu_seconds"] == before["cpu_seconds"]
        assert after["evaluation"]["fd"] == before["evaluation"]["fd"]
        for file in ("metrics.jsonl", "model/model.safetensors"):
            paths = [each / "runs" / name / file for each in (finished, folder)]
            assert paths[0].read_bytes() == paths[1].read_bytes()
    assert (
        json.loads((folder / "cost.json").read_text())["sadm"]
        == json.loads((finished / "cost.json").read_text())["sadm"]
    )


def test_an_added_arm_is_compared_at_its_own_cost(grown: tuple[Path, dict[str, Any]]) -> None:
    folder, comparison = grown
    costs = json.loads((folder / "cost.json").read_text())
    assert costs.keys() == {"sadm", "frozen encoder", "wild"}
    assert costs["frozen encoder"]["steps_measured"] == 20
    assert comparison["arms"].keys() == ARMS.keys()
    assert comparison["equal_steps"].keys() == comparison["ratios"]["equal_cost"].keys() == ARMS.keys() - {"plain"}
    assert comparison["arms"]["frozen encoder"]["steps"] != STEPS
    assert comparison["verdict"]["treatment"] == "sadm"
    report = (folder / "report.html").read_text()
    assert 'lang="ja"' in report
    assert "frozen encoder" in report


def test_a_training_that_diverges_is_a_result(grown: tuple[Path, dict[str, Any]]) -> None:
    folder, comparison = grown
    runs = [result for name, result in results(folder).items() if name.startswith("wild")]
    assert runs
    assert all(result["diverged"] and result["diverged_at"] < 5 for result in runs)
    assert comparison["arms"]["wild"]["diverged"] == [100, 101]
    assert comparison["arms"]["wild"]["fd"] == {}
    assert comparison["arms"]["plain"]["diverged"] == []
    for ratio in comparison["ratios"]["equal_cost"]["wild"].values():
        assert ratio == {"mean": None, "reason": "a run diverged"}
    assert comparison["cost_to_plain"]["wild"]["pixels"] == {"mean": None, "reason": "a run diverged"}
    assert "学習が発散" in (folder / "report.html").read_text()


def test_samplers_judge_the_same_models_from_the_same_noise(grown: tuple[Path, dict[str, Any]]) -> None:
    folder, comparison = grown
    stored, floor = results(folder), comparison["floor"]
    assert comparison["samplers"]["1 NFE"]["nfe"]["sadm"] == 1
    for name, result in stored.items():
        if not result["diverged"]:
            main, same, other = result["evaluation"], result["evaluations"]["3 NFE"], result["evaluations"]["1 NFE"]
            assert same["fd"] == main["fd"], name  # the settings of the main sampler by another name
            assert other["fd"] != main["fd"]
    for judge in floor:
        expected = [
            (stored[f"sadm-{STEPS}-steps-seed-{seed}"]["evaluations"]["1 NFE"]["fd"][judge] - floor[judge])
            / (stored[f"plain-{STEPS}-steps-seed-{seed}"]["evaluations"]["1 NFE"]["fd"][judge] - floor[judge])
            for seed in (100, 101)
        ]
        found = comparison["samplers"]["1 NFE"]["ratios"]["equal_steps"]["sadm"][judge]["values"]
        assert found == pytest.approx(expected)


def test_classes_are_judged_one_by_one(grown: tuple[Path, dict[str, Any]]) -> None:
    folder, comparison = grown
    found, stored = comparison["per_class"], results(folder)
    assert list(found["classes"]) == [str(digit) for digit in range(10)]
    assert sum(facts["train_images"] for facts in found["classes"].values()) == comparison["data"]["train_images"]
    for name, by in found["arms"]["sadm"].items():
        values = by["recall"]["mlp"]["values"]
        steps = comparison["arms"]["sadm"]["steps"]
        runs = [stored[f"sadm-{steps}-steps-seed-{seed}"] for seed in (100, 101)]
        assert values == [result["evaluation"]["classes"][name]["recall"]["mlp"] for result in runs]
        assert 0 <= found["real"][name]["precision"]["pixels"] <= 1
        ratio = found["ratios"][name]["equal_cost"]["sadm"]["pixels"]
        floor = found["real"][name]["fd"]["pixels"]
        plain = [v - floor for v in found["arms"]["plain"][name]["fd"]["pixels"]["values"]]
        own = [v - floor for v in by["fd"]["pixels"]["values"]]
        assert ratio["values"] == pytest.approx(np.array(own) / np.array(plain))
    for metric in ("precision", "recall"):
        assert comparison["real"][metric].keys() == comparison["floor"].keys()
        assert 0 <= comparison["arms"]["plain"][metric]["mlp"]["mean"] <= 1


def test_shares_of_the_cost_are_trained_for_every_arm(grown: tuple[Path, dict[str, Any]]) -> None:
    folder, comparison = grown
    points = {arm: [point["share"] for point in found] for arm, found in comparison["cost_points"].items()}
    assert points["plain"] == [0.5, 1.0]
    for arm in ("sadm", "frozen encoder"):
        assert points[arm] == sorted(points[arm])
        assert points[arm][0] <= 0.5 or comparison["cost_points"][arm][0]["steps"] == 1
    for judge in comparison["floor"]:
        plain = comparison["cost_to_plain"]["plain"][judge]
        assert plain["outside"] == "<" or plain["mean"] <= 1.0
    half = results(folder)[f"plain-{STEPS // 2}-steps-seed-100"]
    assert half["steps"] == STEPS // 2


JUDGE = """
import torch
from torch import nn

def brightness():
    print("a judge that talks")
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(12, 3))
"""


def test_a_judge_may_join_a_finished_comparison(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(finished, folder)
    (tmp_path / "my_judges.py").write_text(JUDGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    trained = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/metrics.jsonl")}
    name = "python:my_judges:brightness"
    comparison = compare(tiny(judges=[name]), folder)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/metrics.jsonl")} == trained
    before, after = results(finished), results(folder)
    for run_name, result in after.items():
        fd = result["evaluation"]["fd"]
        assert fd.pop(name) >= 0
        assert fd == before[run_name]["evaluation"]["fd"]
    assert comparison["judges"][name]["decides"]
    assert "a judge that talks" in (folder / "logs" / "worker-0.log").read_text()
    report = (folder / "report.html").read_text()
    assert "not known to this program, so they may share training images or weights" in report
    assert "my_judges:brightness" in report
    assert "No judge shares" in (finished / "report.html").read_text()


def test_prices_may_be_given_later_without_training_anew(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "priced"
    shutil.copytree(finished, folder)
    bare = json.loads((folder / "comparison.json").read_text())["business"]
    assert bare["prices"] == {}
    assert "money" not in bare["training"]
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/**/*") if path.is_file()}
    assert before
    comparison = compare(tiny(business={"currency": "EUR", "hour": 3, "volume": 12}), folder)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/**/*") if path.is_file()} == before
    assert comparison["business"]["training"]["hours"] == bare["training"]["hours"]
    plain = comparison["arms"]["plain"]["cpu_seconds"] / 3600 * 3
    assert comparison["business"]["training"]["money"]["plain"] == pytest.approx(plain)
    assert comparison["business"]["year"]["money"]["plain"] == pytest.approx(12 * plain)
    assert json.loads((folder / "comparison.json").read_text())["business"] == comparison["business"]
    assert "EUR" in (folder / "report.html").read_text()


def test_defects_must_be_a_class_of_the_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'scratch' is no class of digits; its classes are 0, 1"):
        compare(tiny(business={"defect_class": "scratch"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_judge_that_can_not_be_used_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown feature space 'resnet'; expected inception"):
        compare(tiny(judges=["resnet"]), tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_nothing_that_is_stored_may_change_or_go(finished: Path, grown: tuple[Path, dict[str, Any]]) -> None:
    samplers = {"3 NFE": {"steps": 2}, "1 NFE": {"steps": 1}}
    refused = {
        r"groups: stored 1, given 2": tiny(arms=ARMS, samplers=samplers, groups=2),
        r"arms.frozen encoder.structure.adversary: stored 'frozen', given 'ascend'": tiny(
            arms={**ARMS, "frozen encoder": SADM}, samplers=samplers
        ),
        r"arms: stored with 'frozen encoder', given without": tiny(samplers=samplers),
        r"samplers: stored with '1 NFE', given without": tiny(arms=ARMS, samplers={"3 NFE": {"steps": 2}}),
        r"samplers.1 NFE.steps: stored 1, given 4": tiny(arms=ARMS, samplers={**samplers, "1 NFE": {"steps": 4}}),
    }
    for message, config in refused.items():
        with pytest.raises(UserError, match=rf"holds another comparison \({message}[;)]"):
            compare(config, grown[0])
    with pytest.raises(UserError, match=r"holds no result of plain-40-steps-seed-9\. Run the same command again"):
        gather(tiny(seeds=[100, 9]), finished)


def test_ctrl_c_keeps_everything_and_the_same_command_goes_on(tmp_path: Path) -> None:
    path, out = tmp_path / "compare.yaml", tmp_path / "out"
    train = {**TINY["train"], "optimiser": {"steps": 60, "batch": 8, "warmup_steps": 2}}
    arms = {"plain": PLAIN, "pointed": FROZEN, "sadm": SADM}
    path.write_text(yaml.safe_dump({**TINY, "train": train, "seeds": [7], "arms": arms}))
    arguments = ["compare", "--config", str(path), "--out", str(out)]
    command = [sys.executable, "-m", "sadm", *arguments, "--jobs", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("runs/*/metrics.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command" in errors
    assert "Traceback" not in errors
    assert not (out / "report.html").exists()
    assert list(out.glob("runs/*/checkpoints/step-*"))
    assert subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, check=False).stdout == b""
    assert run(arguments) == 0
    assert (out / "report.html").exists()
    assert json.loads((out / "summary.json").read_text())["arms"].keys() == arms.keys()


def test_after_kill_9_workers_end_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """The worker of a killed comparison saves and ends by itself, and holds the folder until then."""
    path, out = tmp_path / "compare.yaml", tmp_path / "out"
    train = {**TINY["train"], "optimiser": {"steps": 10**6, "batch": 8, "warmup_steps": 2}}
    (out / "runs").mkdir(parents=True)
    (out / ".comparison.json.abc.tmp").write_text("half")
    (out / "runs" / ".x.abc.tmp").write_text("half")
    write_yaml(out / "compare.yaml", tiny(train=train))
    store_costs(out, {"sadm": ArmCost(1.0, 1.0, 0.0, 0.0, 20)})  # nothing to be measured first
    path.write_text(yaml.safe_dump({**TINY, "train": train}))
    command = [sys.executable, "-m", "sadm", "compare", "--config", str(path), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not list(out.glob("runs/*/metrics.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    assert not list(out.rglob("*.abc.tmp"))
    process.kill()
    process.communicate(timeout=60)
    with locked(out, "comparing", patience=240):  # the worker had it until it had saved
        (run_folder,) = (folder for folder in (out / "runs").iterdir() if (folder / "metrics.jsonl").exists())
        with locked(run_folder, "training"):
            assert len(list(run_folder.glob("checkpoints/step-*"))) >= 1
        again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        assert again.returncode == 2
        assert "another process is comparing in" in again.stderr


def test_a_failing_run_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"), "--seeds", "1"]
    assert run(["compare", *arguments]) == 2
    said = capsys.readouterr().err
    assert "nowhere" in said
    assert "Traceback" not in said
