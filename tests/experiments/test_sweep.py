"""Sweeps: which settings there are, how they are ranked and stopped, what they leave, how they go on."""

from __future__ import annotations

import json
import math
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
import yaml
from scipy import stats
from tiny_comparison import TINY, results

from sadm.cli.main import run
from sadm.core.config import build_config
from sadm.core.errors import UserError
from sadm.core.files import write_json
from sadm.core.intervals import Interval
from sadm.experiments.config import CompareConfig
from sadm.experiments.devices import spread
from sadm.experiments.plan import RESULT, RunJob
from sadm.experiments.report.formatting import change
from sadm.experiments.report.sweep_page import render_sweep, sweep_sentences
from sadm.experiments.report.sweep_texts import SWEEP_ENGLISH, SWEEP_JAPANESE
from sadm.experiments.runs import Runs
from sadm.experiments.statistics import Missing
from sadm.experiments.sweep.config import SweepConfig, canonical_grid
from sadm.experiments.sweep.plan import expected_work, rungs
from sadm.experiments.sweep.running import sweep
from sadm.experiments.sweep.summary import _setting
from sadm.experiments.yardstick import NEAREST, Yardstick

RATES = {"optimiser.learning_rate": [1e-3, 4e-3]}
YARD = Yardstick({"a": 1.0, "b": 0.5, "c": 9.0}, ("a", "b"))


def sweep_config(**change: Any) -> SweepConfig:
    return build_config(
        SweepConfig, {"train": TINY["train"], "vary": RATES, "seeds": [0], "groups": 1, **change}, "sweep"
    )


# ---- settings --------------------------------------------------------------------------------------------------------


def test_settings_are_all_combinations_named_by_what_tells_them_apart() -> None:
    config = sweep_config(vary={"optimiser": {"learning-rate": ["1e-3", 0.002]}, "train.net.width": [16, 32]})
    assert list(config.settings) == [
        "learning_rate=0.001 width=16",
        "learning_rate=0.001 width=32",
        "learning_rate=0.002 width=16",
        "learning_rate=0.002 width=32",
    ]
    own = config.arm_config("learning_rate=0.002 width=16", 7)
    assert (own.optimiser.learning_rate, own.net.width, own.seed) == (0.002, 16, 7)
    assert config.first == "learning_rate=0.001 width=16"


def test_options_of_one_name_are_told_apart_and_odd_values_make_safe_names() -> None:
    config = sweep_config(vary={"net.mlp_ratio": [2.0], "structure.ratio": [0.1], "structure.encoder_batch": [8]})
    assert list(config.settings) == ["mlp_ratio=2.0 ratio=0.1 encoder_batch=8"]
    both = sweep_config(vary={"start_from": ["a/b", "a:b", "c" * 300]})
    assert len(both.settings) == 3
    for name in both.settings:
        assert "/" not in name
        assert len(f"{name}-600-steps-seed-100") < 200


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"vary": {"optimiser.learning_rate": []}}, "'optimiser.learning_rate' has no values"),
        (
            {"vary": {"optimiser.learning_rat": [1]}},
            "unknown key 'optimiser.learning_rat'; did you mean 'learning_rate'?",
        ),
        ({"vary": {"optimizer.learning_rate": [1]}}, "unknown key 'optimizer'; did you mean 'optimiser'?"),
        ({"vary": {"optimiser.learning_rate": ["fast"]}}, "'optimiser.learning_rate': .*valid number.*given: 'fast'"),
        ({"vary": {"optimiser": [3]}}, "'optimiser' is a group of options; vary one of them: 'optimiser.steps'"),
        ({"vary": {"seed": [1, 2]}}, "'seed' can't vary in a sweep: seeds are paired"),
        ({"vary": {"data.held_out": [0.1, 0.2]}}, "'data.held_out' can't vary.*judged by the same held-out ones"),
        ({"vary": {"optimiser.steps": [10, 20]}}, "'optimiser.steps' can't vary.*after equal steps"),
        ({"vary": {"sampling.steps": [1, 2]}}, "'sampling.steps' can't vary.*several samplers"),
        ({"vary": {"device": ["cpu"]}}, "'device' can't vary"),
        ({"vary": {"net.width": [16, "16"]}}, "a value is given twice"),
        ({"baseline": "x"}, "there is no setting 'x'; there are 'learning_rate=0.001'"),
        ({"seeds": [1, 1]}, "seeds must differ"),
        ({"early_stop": [0.5, 0.25]}, "early_stop must rise"),
        ({"early_stop": [1.0]}, "early_stop.0"),
    ],
)
def test_bad_configurations(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        sweep_config(**change)


def test_a_grid_may_come_after_the_other_options_but_not_be_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing varies: give --vary"):
        sweep(sweep_config(vary={}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_augmentation_may_vary_since_the_images_stay_the_same() -> None:
    config = sweep_config(vary={"data.augment.preset": ["none", "photos"]})
    assert list(config.settings) == ["preset=none", "preset=photos"]


def test_a_key_is_one_key_however_it_is_written() -> None:
    with pytest.raises(UserError, match="'optimiser.learning_rate' is given twice"):
        canonical_grid({"optimiser": {"learning_rate": [1]}, "optimiser.learning-rate": [2]})


# ---- devices ---------------------------------------------------------------------------------------------------------


def test_an_accelerator_serves_one_worker_and_the_processor_all() -> None:
    assert spread("auto", 5, "cuda", 2) == ["cuda:0", "cuda:1"]
    assert spread("cuda", 2, "cuda", 4) == ["cuda:0", "cuda:1"]
    assert spread("cuda", 4, "cuda", 1) == ["cuda"]
    assert spread("cuda:1", 2, "cuda", 4) == ["cuda:1"]
    assert spread("auto", 2, "mps", 1) == ["auto"]
    assert spread("cpu", 3, "cuda", 4) == ["cpu"] * 3
    assert spread("auto", 2, None, 0) == ["auto"] * 2


# ---- ranking and stopping --------------------------------------------------------------------------------------------


def runs(name: str, values: list[tuple[float, float] | None]) -> Runs:
    """Runs with these FD - floor in judges a and b; None = diverged."""
    jobs = tuple(RunJob(name, seed, 10) for seed in range(len(values)))
    return Runs(jobs, tuple(stored(seed, value) for seed, value in enumerate(values)))


def stored(seed: int, value: tuple[float, float] | None) -> dict[str, Any]:
    if value is None:
        return {"seed": seed, "diverged": True}
    fd = {"a": value[0] + 1.0, "b": value[1] + 0.5, "c": 1000.0}
    return {"seed": seed, "diverged": False, "evaluation": {"fd": fd}}


def test_the_ratio_by_hand() -> None:
    base, own = runs("x", [(2.0, 8.0), (4.0, 2.0), (1.0, 1.0)]), runs("y", [(1.0, 2.0), (2.0, 2.0), (0.5, 1.0)])
    logs = np.array([(math.log(1 / 2) + math.log(2 / 8)) / 2, math.log(1 / 2) / 2, math.log(1 / 2) / 2])
    low, high = stats.t.interval(0.95, 2, loc=logs.mean(), scale=stats.sem(logs))
    found = YARD.ratio(own, base)
    assert isinstance(found, Interval)
    assert found.mean == pytest.approx(math.exp(logs.mean()))
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert YARD.score(own) - YARD.score(base) == pytest.approx(logs.mean())
    wider = YARD.ratio(own, base, 0.99)
    assert isinstance(wider, Interval)
    assert (wider.low, wider.high) == pytest.approx(
        tuple(np.exp(stats.t.interval(0.99, 2, loc=logs.mean(), scale=stats.sem(logs))))
    )


def test_what_has_no_ratio_has_a_place() -> None:
    good, floor, bad = runs("x", [(1.0, 1.0)]), runs("y", [(-0.1, 5.0)]), runs("z", [None])
    assert YARD.score(floor) < YARD.score(good) < YARD.score(bad)
    assert YARD.ratio(floor, good) == Missing("at the floor")
    assert YARD.ratio(bad, good) == Missing("a run diverged")


@pytest.mark.parametrize("lucky", [-0.3, 0.0, 1e-9, 0.01])
def test_one_seed_at_the_floor_of_one_judge_wins_nothing_by_itself(lucky: float) -> None:
    good = runs("x", [(0.2, 0.2)] * 3)
    luck = runs("y", [(lucky, 0.9), (1.0, 0.9), (1.1, 0.9)])
    assert YARD.score(good) < YARD.score(luck)
    assert YARD.score(luck) == pytest.approx(
        (math.log(NEAREST * YARD.floor["a"]) + math.log(1.1) + 3 * math.log(0.9)) / 6
    )


def test_a_judge_whose_floor_is_0_has_a_nearest_distance_too() -> None:
    bare = Yardstick({"a": 0.0, "b": 0.5}, ("a", "b"))
    assert math.isfinite(bare.score(runs("x", [(-1.0, 1.0)])))  # an FD of 0


def halving(folder: Path, **change: Any) -> SweepConfig:
    """Six settings with stored results: at 10 steps the widths from 16 to 56 get better and better, 64 diverged."""
    widths = [16, 24, 32, 40, 56, 64]
    config = sweep_config(vary={"net.width": widths}, seeds=[0, 1], early_stop=[0.25, 0.5], keep=0.5, **change)
    for place, name in enumerate(config.settings):
        for seed in (0, 1):
            store(folder, RunJob(name, seed, 10), None if place == 5 else (6.0 - place, 6.0 - place + seed))
    return config


def store(folder: Path, job: RunJob, value: tuple[float, float] | None) -> None:
    write_json(
        job.folder(folder) / RESULT, {**stored(job.seed, value), "arm": job.arm, "steps": job.steps, "judges": []}
    )


def test_the_worse_half_is_stopped_at_each_rung_and_the_baseline_stays(tmp_path: Path) -> None:
    config = halving(tmp_path)
    first, second = rungs(config, tmp_path, YARD)
    assert (first.steps, second.steps) == (10, 20)
    assert first.ranked == tuple(f"width={width}" for width in (56, 40, 32, 24, 16, 64))
    assert first.stopped == {"width=24": "ranked too low", "width=64": "a run diverged"}
    assert second.settings == ("width=16", "width=32", "width=40", "width=56")  # 16 is the baseline
    assert second.ranked == ()
    for job in second.jobs([0, 1]):
        store(tmp_path, job, {"width=16": (1.0, 1.0), "width=32": (2.0, 2.0)}.get(job.arm, (3.0, 3.0)))
    *_, second, last = rungs(config, tmp_path, YARD)
    assert second.ranked == ("width=16", "width=32", "width=40", "width=56")  # equals in the order of the grid
    assert last.settings == ("width=16", "width=32")
    assert last.steps == TINY["train"]["optimiser"]["steps"]
    assert expected_work(config) == [(12, 0.25), (8, 0.5), (6, 1.0)]


def test_who_is_stopped_is_known_only_when_all_seeds_of_a_rung_are_there(tmp_path: Path) -> None:
    config = halving(tmp_path)
    RunJob("width=16", 1, 10).folder(tmp_path).joinpath(RESULT).unlink()
    (only,) = rungs(config, tmp_path, YARD)
    assert (only.stopped, len(only.settings)) == ({}, 6)


# ---- the page --------------------------------------------------------------------------------------------------------


def test_both_languages_have_the_same_texts() -> None:
    import string

    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert SWEEP_ENGLISH.keys() == SWEEP_JAPANESE.keys()
    for key, text in SWEEP_ENGLISH.items():
        assert fields(text) == fields(SWEEP_JAPANESE[key]), key


def test_a_setting_with_a_seed_that_diverged_was_not_compared_with_the_best() -> None:
    config = sweep_config(seeds=[0, 1])
    first, second = config.settings
    best, wild = runs(first, [(1.0, 1.0)] * 2), runs(second, [None] * 2)
    facts = _setting(config, wild, best, best, YARD, 0.95)
    assert (facts["apart_from_best"], facts["diverged"]) == (False, [0, 1])


# ---- whole sweeps ----------------------------------------------------------------------------------------------------


def arguments(folder: Path, out: Path, *more: str, rates: str = "1e-3,4e-3", steps: int = 40) -> list[str]:
    train = {**TINY["train"], "optimiser": {"steps": steps, "batch": 8, "warmup_steps": 2}, "signal": "none"}
    (folder / "train.yaml").write_text(yaml.safe_dump(train))
    config = ["--config", str(folder / "train.yaml"), "--out", str(out), "--groups", "1"]
    return ["sweep", *config, f"--vary=optimiser.learning-rate={rates}", *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    assert run(arguments(folder, folder / "out", "--seeds", "0", "1")) == 0
    return folder / "out"


def test_it_leaves_what_it_promises(finished: Path) -> None:
    found, kept = json.loads((finished / "sweep.json").read_text()), results(finished)
    assert len(kept) == 4
    assert [setting["rank"] for setting in found["settings"]] == [1, 2]
    assert found["baseline"] == "learning_rate=0.001"
    assert set(found["deciding"]) == {name for name, judge in found["judges"].items() if judge["decides"]}
    other = next(setting for setting in found["settings"] if setting["name"] == "learning_rate=0.004")
    logs = []
    for seed in (0, 1):
        fd = [kept[f"learning_rate={rate}-40-steps-seed-{seed}"]["evaluation"]["fd"] for rate in ("0.004", "0.001")]
        logs.append(
            np.mean(
                [math.log((fd[0][j] - found["floor"][j]) / (fd[1][j] - found["floor"][j])) for j in found["deciding"]]
            )
        )
    assert other["ratio"]["mean"] == pytest.approx(math.exp(np.mean(logs)))
    assert (other["rank"] == 1) == (np.mean(logs) < 0)
    for lang in ("en", "ja"):
        page = render_sweep(found, lang)
        assert f'lang="{lang}"' in page
        assert change(other["ratio"]["mean"]) in page
        assert page.count('<svg class="figure"') == 1
        assert "http://" not in page.replace("http://www.w3.org", "")
        assert "https://" not in page
    assert (finished / "sweep.html").read_text() == render_sweep(found, "en")


def test_the_winner_is_confirmed_on_other_seeds(finished: Path) -> None:
    found = json.loads((finished / "sweep.json").read_text())
    best = found["settings"][0]
    assert best["name"] == "learning_rate=0.004"  # 40 steps are few: the faster one is ahead by far
    config = build_config(CompareConfig, yaml.safe_load((finished / "confirm.yaml").read_text()), "confirm")
    assert config.seeds == found["confirm"]["seeds"] == [100, 101, 102, 103, 104]
    assert config.treatment == "found"
    assert config.arm_config("found", 100).optimiser.learning_rate == 4e-3
    assert config.arm_config("plain", 100).optimiser.learning_rate == 1e-3
    assert f"{finished}/confirm.yaml" in found["confirm"]["command"]
    assert found["confirm"]["command"] in found["sentences"][-1]


def test_it_says_what_can_not_be_told_apart(finished: Path) -> None:
    found = json.loads((finished / "sweep.json").read_text())
    for setting in found["settings"][1:]:
        setting["apart_from_best"] = False
    assert "It can't be told apart from learning_rate=0.001." in sweep_sentences(found, "en")
    for setting in found["settings"][1:]:
        setting["apart_from_best"] = True
    assert any("better than every other setting" in line for line in sweep_sentences(found, "en"))
    assert any("looks better than it is" in line for line in sweep_sentences(found, "en"))
    found["seeds"] = [0]
    assert any("With one seed there are no intervals" in line for line in sweep_sentences(found, "en"))


def test_values_seeds_and_early_stops_may_be_added_and_nothing_is_trained_again(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/metrics.jsonl")}
    more = arguments(tmp_path, out, "--seeds", "0", "1", "2", "--lang", "ja", "--jobs", "1", rates="2e-3,1e-3,4e-3")
    assert run(more) == 0
    found = json.loads((out / "sweep.json").read_text())
    assert len(results(out)) == 9
    assert found["baseline"] == "learning_rate=0.002"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert 'lang="ja"' in (out / "sweep.html").read_text()
    assert run([*more, "--early-stop", "0.25", "--keep", "0.3", "--baseline", "learning_rate=0.001"]) == 0
    found = json.loads((out / "sweep.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {line["steps"] for line in found["stopped"]} == {10}
    named = [line["name"] for line in (*found["settings"], *found["stopped"])]
    assert sorted(named) == ["learning_rate=0.001", "learning_rate=0.002", "learning_rate=0.004"]
    assert "途中で打ち切った設定" in (out / "sweep.html").read_text()


def test_nothing_that_is_stored_may_change_or_go(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, expected in {
        ("1e-3",): "settings: stored with 'learning_rate=0.004', given without",
        ("1e-3,4e-3", "--vary", "net.width=16,32"): "varies: stored optimiser.learning_rate, given",
        ("1e-3,4e-3", "--train.optimiser.batch", "16"): "train.optimiser.batch: stored 8, given 16",
    }.items():
        assert run(arguments(tmp_path, finished, *given[1:], rates=given[0])) == 2
        said = capsys.readouterr().err
        assert f"holds another sweep ({expected}" in said


def test_prices_may_be_given_and_taken_back_and_go_into_the_comparison_that_confirms(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    again = arguments(tmp_path, out, "--seeds", "0", "1")
    assert run([*again, "--business.defect-class", "scratch"]) == 2
    assert "'scratch' is no class of digits" in capsys.readouterr().err
    assert run([*again, "--business.hour", "2", "--business.currency", "EUR"]) == 0
    config = build_config(CompareConfig, yaml.safe_load((out / "confirm.yaml").read_text()), "confirm")
    assert (config.business.hour, config.business.currency) == (2, "EUR")
    assert run(again) == 0
    config = build_config(CompareConfig, yaml.safe_load((out / "confirm.yaml").read_text()), "confirm")
    assert config.business.hour is None


def test_the_number_of_jobs_changes_no_result(finished: Path, tmp_path: Path) -> None:
    assert run(arguments(tmp_path, tmp_path / "out", "--seeds", "0", "--jobs", "1")) == 0
    for name, result in results(tmp_path / "out").items():
        assert result["evaluation"] == results(finished)[name]["evaluation"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_sweep_goes_on_with_the_same_command(tmp_path: Path, how: signal.Signals) -> None:
    out = tmp_path / "out"
    command = arguments(tmp_path, out, "--seeds", "0", "1", "--jobs", "1", steps=60)
    process = subprocess.Popen(
        [sys.executable, "-m", "sadm", *command], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (results(out) and len(list(out.glob("runs/*/metrics.jsonl"))) > 1):  # one is finished, one in training
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert not (out / "sweep.json").exists()
    assert "Traceback" not in errors
    if how == signal.SIGINT:
        assert "run the same command" in errors
    while subprocess.run(["pgrep", "-f", str(out)], capture_output=True, check=False).stdout:
        assert time.monotonic() < deadline + 60
        time.sleep(0.05)
    before = {name: result["cpu_seconds"] for name, result in results(out).items()}
    assert run(command) == 0
    after = results(out)
    assert len(after) == 4
    assert {name: after[name]["cpu_seconds"] for name in before} == before


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], "nothing varies: give --vary KEY=VALUE,VALUE such as"),
        (["--vary", "optimiser.learning-rate"], "--vary optimiser.learning-rate: expected KEY=VALUE,VALUE"),
        (["--vary"], "--vary needs a value"),
        (["--vary", "optimiser.learning-rate=fast"], "valid number"),
        (["--vary", "net.width=16", "--vary", "net.width=32"], "'net.width' is given twice"),
        (["--grid", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["--vary", "net.width=16,32"], "--out is missing"),
    ],
)
def test_mistakes_on_the_command_line(given: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sweep", "--recipe", "digits", *given]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert "Traceback" not in said
