from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from sadm.cli.main import run
from sadm.core.config import build_config
from sadm.core.errors import UserError
from sadm.experiments.compare import compare, planned_jobs
from sadm.experiments.config import CompareConfig
from sadm.experiments.cost import Cost, per_step
from sadm.experiments.jobs import RunJob

TINY = {
    "train": {
        "data": {"source": "digits", "held_out": 0.4},
        "net": {"patch": 4, "width": 16, "depth": 1, "heads": 2},
        "optimiser": {"steps": 60, "batch": 8, "warmup_steps": 2},
        "structure": {"encoder_steps": 2, "encoder_width": 4, "encoder_batch": 8},
        "sampling": {"steps": 2},
        "log": {"every": 10, "samples": 0},
    },
    "seeds": [100, 101],
    "groups": 1,
    "cost_steps": 20,
}


def tiny(**change) -> CompareConfig:
    return build_config(CompareConfig, {**TINY, **change}, "test")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("comparison") / "demo"
    compare(tiny(), folder)
    return folder


def results(folder: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("runs/*/result.json")}


def test_it_leaves_what_it_promises(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["arms"].keys() == {"plain", "sadm"}
    for arm in summary["arms"].values():
        assert {"fd", "kid", "cpu_seconds", "steps", "sample_ms_per_image", "seeds"} <= arm.keys()
        assert arm["fd"].keys() == summary["floor"].keys()
        for fd in arm["fd"].values():
            assert fd["low"] < fd["mean"] < fd["high"]
            assert len(fd["values"]) == 2
    assert summary["verdict"]
    assert summary["minutes_total"] > 0
    report = (finished / "report.html").read_text()
    assert summary["verdict"].split(".")[0] in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert (finished / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_equal_cost_is_what_the_stored_cost_says(finished):
    cost = json.loads((finished / "cost.json").read_text())
    summary = json.loads((finished / "summary.json").read_text())
    budget = 60 * cost["cpu_seconds_per_step"]["plain"]
    steps = summary["arms"]["sadm"]["steps"]
    per_step, pretraining = cost["cpu_seconds_per_step"]["sadm"], cost["pretrain_cpu_seconds"]["sadm"]
    assert steps == 1 or steps * per_step + pretraining <= budget < (steps + 1) * per_step + pretraining
    assert summary["equal_steps"]["sadm"]["steps"] == summary["arms"]["plain"]["steps"] == 60


def test_the_verdict_follows_from_the_stored_runs(finished):
    stored, summary = results(finished), json.loads((finished / "summary.json").read_text())
    steps = summary["arms"]["sadm"]["steps"]
    for judge, floor in summary["floor"].items():
        ratios = []
        for seed in (100, 101):
            plain = stored[f"plain-60-steps-seed-{seed}"]["evaluation"]["fd"][judge] - floor
            sadm = stored[f"sadm-{steps}-steps-seed-{seed}"]["evaluation"]["fd"][judge] - floor
            ratios.append(sadm / plain)
        assert summary["ratios"]["equal_cost"][judge]["values"] == pytest.approx(ratios)


def test_finished_runs_are_not_repeated_and_seeds_can_be_added(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/result.json")}
    comparison = compare(tiny(seeds=[100, 101, 102], lang="ja"), finished)
    after = {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/result.json")}
    assert {path: after[path] for path in before} == before
    assert len(after) > len(before)
    assert comparison["arms"]["plain"]["seeds"] == [100, 101, 102]
    assert 'lang="ja"' in (finished / "report.html").read_text()


def test_another_comparison_in_the_folder_is_refused(finished):
    with pytest.raises(UserError, match=r"holds another comparison \(groups: stored 1, given 2\)"):
        compare(tiny(groups=2), finished)


def test_a_run_does_not_depend_on_the_comparison_around_it(finished, tmp_path):
    compare(tiny(jobs=1), tmp_path / "again")
    first, second = results(finished), results(tmp_path / "again")
    shared = first.keys() & second.keys()
    assert {f"{arm}-60-steps-seed-{seed}" for arm in ("plain", "sadm") for seed in (100, 101)} <= shared
    for name in shared:
        assert first[name]["evaluation"] == second[name]["evaluation"]


def test_ctrl_c_keeps_everything_and_the_same_command_goes_on(tmp_path):
    path = tmp_path / "compare.yaml"
    train = {**TINY["train"], "optimiser": {"steps": 240, "batch": 8, "warmup_steps": 2}}
    path.write_text(yaml.safe_dump({**TINY, "train": train, "seeds": [7]}))
    command = [sys.executable, "-m", "sadm", "compare", "--config", str(path), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob("runs/*/metrics.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "out" / "report.html").exists()
    assert list((tmp_path / "out").glob("runs/*/checkpoints/step-*"))
    assert subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, check=False).stdout == b""
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert (tmp_path / "out" / "report.html").exists()


def test_a_failing_run_says_why(tmp_path, capsys):
    arguments = ["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"), "--seeds", "1"]
    assert run(["compare", *arguments]) == 2
    said = capsys.readouterr().err
    assert "nowhere" in said
    assert "Traceback" not in said


def test_equal_cost_steps_by_hand():
    cost = Cost({"plain": 0.5, "sadm": 0.6}, {"plain": 0.0, "sadm": 10.0}, 200)
    assert cost.equal_cost_steps("sadm", 100) == 66  # (50 - 10) / 0.6
    assert cost.equal_cost_steps("plain", 100) == 100
    assert cost.equal_cost_steps("sadm", 10) == 1  # the encoder alone costs more than that


def test_a_disturbed_slice_does_not_move_the_cost():
    slow = [0.5] * 20
    assert per_step({"plain": slow, "sadm": [0.6] * 20}) == {"plain": pytest.approx(0.1), "sadm": pytest.approx(0.12)}
    drifting = [0.5 * (1 + index / 10) for index in range(20)]
    costs = per_step({"plain": drifting, "sadm": [1.2 * t for t in drifting]})
    assert costs["sadm"] / costs["plain"] == pytest.approx(1.2)
    disturbed = per_step({"plain": [*slow[:-1], 9.0], "sadm": [0.6] * 19 + [7.0]})
    assert disturbed["sadm"] == pytest.approx(0.12)


def test_jobs_are_paired_and_named(tmp_path):
    jobs = planned_jobs(tiny(), tmp_path)
    assert jobs == [RunJob(arm, seed, 60) for seed in (100, 101) for arm in ("plain", "sadm")]
    assert len({job.name for job in jobs}) == 4


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seeds": [1, 1]}, "seeds must differ"),
        ({"seeds": []}, "seeds"),
        ({"arms": {"plain": {"signal": "none"}}}, "arms must be 'plain' and 'sadm'"),
        (
            {"arms": {"plain": {"signal": "none"}, "sadm": {"structur": {}}}},
            "unknown key 'structur'; did you mean 'structure'",
        ),
    ],
)
def test_bad_configurations(change, expected):
    with pytest.raises(UserError, match=expected):
        tiny(**change)
