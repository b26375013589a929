"""Early stop of hopeless arms: how often it errs, what it depends on, and what a comparison looks like that stopped one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tiny_comparison import PLAIN, SADM, STEPS, WILD, results, tiny

from sadm.core.files import write_json
from sadm.core.progress import Silent
from sadm.experiments.compare import MAY_CHANGE, compare
from sadm.experiments.config import CompareConfig
from sadm.experiments.cost import ArmCost
from sadm.experiments.hopeless import (
    ERROR,
    FIRST_LOOK,
    WORSE,
    Course,
    Hopeless,
    Stop,
    confidence_after,
    most_seeds,
    stop_after,
)
from sadm.experiments.plan import RESULT, RunJob, expected_runs, planned_jobs
from sadm.experiments.runs import Runs
from sadm.experiments.yardstick import Yardstick

SEEDS = [100, 101, 102, 103, 104]
COST = ArmCost(2.0, 0.01, 0.0, 0.0, 20)
FLOOR = {"mlp": 1.0, "pixels": 0.1}
YARDSTICK = Yardstick(FLOOR, ("mlp", "pixels"))
LOOKS = range(FIRST_LOOK, 400)


# ---- the rule --------------------------------------------------------------------------------------------------------


def stopped_at(own: Mapping[str, Sequence[float]], control: Mapping[str, Sequence[float]], seeds: int) -> int | None:
    """The look that stops an arm."""
    for count in range(FIRST_LOOK, seeds + 1):
        stop = stop_after(*({j: values[:count] for j, values in side.items()} for side in (own, control)))
        if stop is not None:
            return stop.seeds
    return None


def share_stopped(shift: float, correlation: float, repeats: int = 2000, seeds: int = 8) -> float:
    """How often an arm whose log-ratio is normal about `shift`, with spread 0.1, is stopped."""
    draws = np.random.default_rng(int(1000 * (shift + correlation)))
    common, own = draws.normal(size=(repeats, 1, seeds)), draws.normal(size=(repeats, 2, seeds))
    logs = shift + 0.1 * (np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own)
    ones = dict.fromkeys(FLOOR, [1.0] * seeds)
    found = [stopped_at(dict(zip(FLOOR, np.exp(each).tolist(), strict=True)), ones, seeds) for each in logs]
    return sum(count is not None for count in found) / repeats


@pytest.mark.parametrize("correlation", [0.0, 1.0])
def test_an_arm_as_good_as_plain_training_is_hardly_ever_stopped(correlation: float) -> None:
    # Half of the error is on the worse side; with judges that agree wholly, one test decides.
    repeats, bound = 2000, ERROR / 2
    most = stats.binom.ppf(0.999, repeats, bound) / repeats
    assert share_stopped(0.0, correlation, repeats) <= most


def test_a_better_arm_is_not_stopped_and_a_hopeless_one_is() -> None:
    assert share_stopped(-0.05, 1.0, 1000) <= 0.002
    assert share_stopped(1.0, 0.5, 200) == 1.0


def test_the_errors_of_all_looks_add_up_to_one_error() -> None:
    errors = [1 - confidence_after(count) for count in LOOKS]
    assert errors == sorted(errors, reverse=True)
    assert ERROR * (1 - 1 / len(LOOKS)) < sum(errors) < ERROR


def test_the_rule_by_hand() -> None:
    control = {"mlp": [1.0, 1.0, 1.0], "pixels": [1.0, 1.0, 1.0]}
    own = {"mlp": [2.0, 2.1, 2.2], "pixels": [3.0, 3.1, 3.2]}
    stop = stop_after(own, control)
    assert stop is not None
    assert (stop.seeds, stop.reason, stop.confidence) == (3, WORSE, 1 - ERROR / 2)
    logs = np.log(own["mlp"])
    half = stats.t.ppf(1 - ERROR / 4, 2) * logs.std(ddof=1) / np.sqrt(3)
    assert stop.ratios["mlp"].low == pytest.approx(np.exp(logs.mean() - half))
    assert stop_after({**own, "pixels": [0.9, 3.1, 3.2]}, control) is None  # one judge leaves it open
    assert stop_after({**own, "pixels": [-0.1, 3.1, 3.2]}, control) is None  # one run at the floor
    assert stop_after({j: values[:2] for j, values in own.items()}, {j: v[:2] for j, v in control.items()}) is None


# ---- stored results --------------------------------------------------------------------------------------------------


def put(folder: Path, job: RunJob, factor: float | None) -> None:
    """A stored result whose FD - floor is `factor` in every judge; None = diverged."""
    target = job.folder(folder)
    target.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"seed": job.seed, "diverged": factor is None}
    if factor is not None:
        result["evaluation"] = {"fd": {judge: floor + factor for judge, floor in FLOOR.items()}}
    write_json(target / RESULT, result)


def jobs_of(config: CompareConfig, folder: Path) -> tuple[dict[str, Course], list[RunJob]]:
    courses = Hopeless(config, folder, YARDSTICK).courses({"sadm": COST, "good": COST})
    seeds = {arm: course.seeds for arm, course in courses.items()}
    return courses, planned_jobs(config, {"sadm": COST, "good": COST}, seeds)


def asked(**change: Any) -> CompareConfig:
    arms = {"plain": PLAIN, "sadm": SADM, "good": {"signal": "none", "optimiser": {"learning_rate": 1e-3}}}
    return tiny(arms=arms, seeds=SEEDS, stop_hopeless=True, **change)


FACTORS = {"plain": 1.0, "sadm": 2.0, "good": 0.95}


def play(folder: Path, order: int, factors: Mapping[str, float | None] = FACTORS) -> set[str]:
    """Carries out what is planned, one job at a time in some order, until nothing is left; the names of what was run."""
    config, draws, done = asked(), np.random.default_rng(order), set[str]()
    while True:
        left = [job for job in jobs_of(config, folder)[1] if job.name not in done]
        if not left:
            return done
        job = left[int(draws.integers(len(left)))]
        factor = factors[job.arm]
        put(folder, job, None if factor is None else factor * (1 + 0.01 * (job.seed - 100)))
        done.add(job.name)


def test_what_is_trained_does_not_depend_on_the_order_in_which_runs_end(tmp_path: Path) -> None:
    runs = [play(tmp_path / str(order), order) for order in range(6)]
    assert all(names == runs[0] for names in runs)
    assert {name for name in runs[0] if name.startswith("sadm")} == {
        f"sadm-{steps}-steps-seed-{seed}" for steps in (STEPS, STEPS // 2) for seed in SEEDS[:3]
    }
    assert len([name for name in runs[0] if name.startswith("good")]) == 2 * len(SEEDS)
    assert len([name for name in runs[0] if name.startswith("plain")]) == len(SEEDS)
    courses, _ = jobs_of(asked(), tmp_path / "0")
    assert courses["good"] == Course(tuple(SEEDS))
    assert courses["sadm"].seeds == tuple(SEEDS[:3])
    assert isinstance(courses["sadm"].stop, Stop)
    assert expected_runs(asked(), most_seeds(courses, len(SEEDS))) == len(runs[0])


def test_the_control_gets_no_seed_that_no_other_arm_gets(tmp_path: Path) -> None:
    names = play(tmp_path, 3, {"plain": 1.0, "sadm": 2.0, "good": 2.5})
    assert {name.rsplit("-", 1)[1] for name in names} == {"100", "101", "102"}
    courses, _ = jobs_of(asked(), tmp_path)
    assert courses["plain"] == Course(tuple(SEEDS[:3]))
    assert most_seeds(courses, len(SEEDS)) == dict.fromkeys(FACTORS, 3)


def test_no_further_seed_begins_before_the_look_at_those_before(tmp_path: Path) -> None:
    config = asked()
    _, planned = jobs_of(config, tmp_path)
    assert {job.seed for job in planned if job.arm == "sadm"} == set(SEEDS[:3])
    assert {job.seed for job in planned if job.arm == "plain"} == set(SEEDS[:3])
    assert [job.arm for job in planned[:3]] == ["plain", "sadm", "good"]
    assert planned[1].steps == STEPS // 2  # what decides comes first
    for seed in SEEDS[:3]:
        for arm, steps in (("plain", STEPS), ("sadm", STEPS // 2), ("good", STEPS // 2)):
            put(tmp_path, RunJob(arm, seed, steps), FACTORS["good"] if arm == "good" else 1.0 + 0.01 * (seed - 100))
    courses, _ = jobs_of(config, tmp_path)
    assert courses["sadm"].seeds == tuple(SEEDS[:4])  # it is no worse: on to the next look
    assert courses["good"].seeds == tuple(SEEDS[:4])


def test_more_seeds_change_no_earlier_decision_and_the_last_look_stops_nothing(tmp_path: Path) -> None:
    play(tmp_path, 0)
    short = asked().model_copy(update={"seeds": SEEDS[:3]})
    assert jobs_of(short, tmp_path)[0]["sadm"].stop is None  # there is nothing left to save
    longer = asked().model_copy(update={"seeds": [*SEEDS, 105, 106]})
    assert jobs_of(longer, tmp_path)[0]["sadm"] == jobs_of(asked(), tmp_path)[0]["sadm"]
    assert "stop_hopeless" in MAY_CHANGE


def test_an_arm_that_always_diverges_is_stopped_and_one_that_once_did_is_not(tmp_path: Path) -> None:
    play(tmp_path, 1, {**FACTORS, "sadm": None})
    courses, _ = jobs_of(asked(), tmp_path)
    assert courses["sadm"].seeds == tuple(SEEDS[:3])
    assert courses["sadm"].stop is not None
    assert courses["sadm"].stop.reason == "a run diverged"
    put(tmp_path, RunJob("sadm", 101, STEPS // 2), 2.0)
    assert jobs_of(asked(), tmp_path)[0]["sadm"].stop is None


def test_a_judge_that_joins_is_heard_before_an_arm_is_stopped(tmp_path: Path) -> None:
    play(tmp_path, 2)
    third = Yardstick({**FLOOR, "third": 0.0}, (*YARDSTICK.deciding, "third"))
    course = Hopeless(asked(), tmp_path, third).courses({"sadm": COST, "good": COST})["sadm"]
    assert course == Course(tuple(SEEDS[:3]))  # not judged by it yet


# ---- a whole comparison ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompareConfig, dict[str, Any]]:
    """Four seeds of plain training, of an arm that learns faster whatever its measured cost, and of one that diverges at once."""
    folder = tmp_path_factory.mktemp("hopeless") / "out"
    faster = {"signal": "none", "optimiser": {"learning_rate": 3e-3}}
    config = tiny(arms={"plain": PLAIN, "faster": faster, "wild": WILD}, seeds=SEEDS[:4], stop_hopeless=True)
    return folder, config, compare(config, folder)


def test_a_stopped_arm_has_fewer_seeds_and_the_others_all(
    stopped: tuple[Path, CompareConfig, dict[str, Any]],
) -> None:
    folder, _, comparison = stopped
    assert comparison["stopped"].keys() == {"wild"}
    assert comparison["stopped"]["wild"]["seeds"] == 3
    assert {result["seed"] for name, result in results(folder).items() if name.startswith("wild")} == set(SEEDS[:3])
    assert comparison["arms"]["wild"]["diverged"] == SEEDS[:3]
    for arm in ("plain", "faster"):
        assert comparison["arms"][arm]["seeds"] == SEEDS[:4]
    assert all(len(ratio["values"]) == 4 for ratio in comparison["ratios"]["equal_cost"]["faster"].values())
    assert json.loads((folder / "summary.json").read_text())["stopped"] == comparison["stopped"]
    assert "“wild” was stopped after 3 of 4 seeds" in (folder / "report.html").read_text()


def test_the_same_command_trains_nothing_and_without_the_option_all_seeds_are_trained(
    stopped: tuple[Path, CompareConfig, dict[str, Any]], tmp_path: Path
) -> None:
    source, config, before = stopped
    folder = tmp_path / "out"
    shutil.copytree(source, folder)
    times = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/result.json")}
    assert compare(config, folder, Silent())["stopped"] == before["stopped"]
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/result.json")} == times
    whole = compare(config.model_copy(update={"stop_hopeless": False}), folder)
    assert "stopped" not in whole
    assert whole["arms"]["wild"]["diverged"] == SEEDS[:4]
    assert whole["ratios"]["equal_cost"]["faster"] == before["ratios"]["equal_cost"]["faster"]


def test_an_arm_with_fewer_seeds_is_paired_with_the_same_seeds_of_the_control(tmp_path: Path) -> None:
    for seed in SEEDS:
        put(tmp_path, RunJob("plain", seed, STEPS), float(seed))
        put(tmp_path, RunJob("sadm", seed, STEPS), 2.0 * seed)
    put(tmp_path, RunJob("plain", SEEDS[-1], STEPS), None)
    control, own = Runs.read(tmp_path, "plain", SEEDS, STEPS), Runs.read(tmp_path, "sadm", SEEDS[:3], STEPS)

    def excess(result: dict[str, Any]) -> float:
        return float(result["evaluation"]["fd"]["mlp"]) - FLOOR["mlp"]

    ratio, difference = own.against(control, excess), own.beyond(control, excess)
    assert ratio.as_dict()["values"] == pytest.approx([2.0, 2.0, 2.0])
    assert difference.as_dict()["values"] == pytest.approx([100.0, 101.0, 102.0])
    whole = Runs.read(tmp_path, "sadm", SEEDS, STEPS)
    assert whole.against(control, excess).as_dict()["mean"] is None
