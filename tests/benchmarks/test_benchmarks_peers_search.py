"""The search of benchmarks.peers beyond its grid's edge, and jobs whose names have come to mean something else."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_benchmarks_peers import Judged

from benchmarks import common
from benchmarks.peers import plan, search
from benchmarks.peers.contestant import find
from benchmarks.peers.pace import CALIBRATION
from benchmarks.peers.report import run_report
from benchmarks.peers.study import JOB, RESULT, Study, settings_of
from benchmarks.peers.training import TRAINING
from sadm.core.errors import UserError
from sadm.core.files import make_folder, read_json, write_json
from sadm.core.progress import Silent


@pytest.mark.parametrize(
    ("rates", "trials", "at_edge"),
    [
        ([1.5e-3], 9, False),
        ([5e-4], 10, False),
        ([4.5e-3, 1.35e-2], 11 + 2, False),
        ([5e-4, 1.67e-4, 5.56e-5], 12 + 2, False),
        ([4.5e-3, 1.35e-2, 4.05e-2, 0.121], 12 + 3, False),
        ([4.5e-3, 1.35e-2, 4.05e-2, 0.121, 0.364], 12 + 3, True),
    ],
)
def test_where_the_best_rate_is_at_the_edge_the_next_ones_are_tried_while_they_are_better(
    rates: list[float], trials: int, at_edge: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    study = Judged({("small", rate): (1.5 - 0.2 * place, 1.25 - 0.2 * place) for place, rate in enumerate(rates)})
    search.run_search(study, ["ours_plain"])
    one = common.stored("peers", "search")["contestants"]["ours_plain"]
    assert one["learning_rate"] == rates[-1]
    assert one["learning_rate_at_edge"] is at_edge
    assert len(one["rows"]) == trials + plan.VARIANTS


@pytest.mark.parametrize(
    ("better", "at_edge"),
    [(("small", 4.5e-3, "Muon"), True), (("large", 1.5e-3, "Muon"), False), (("medium", 4.5e-3, "Muon"), None)],
)
def test_what_a_choice_asks_for_is_looked_for_beside_it(
    better: tuple[Any, ...], at_edge: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    found = ("small", 1.5e-3, "Muon")
    study = Judged({("small", 1.5e-3): (2.5, 2.25), found: (1.5, 1.25), better: (1.0, 0.75)})
    search.run_search(study, ["ours_plain"])
    one = common.stored("peers", "search")["contestants"]["ours_plain"]
    tried = {(row["size"], row["learning_rate"]) for row in one["rows"] if row["variants"] == ["Muon"]}
    assert tried == {("small", 5e-4), ("small", 1.5e-3), ("small", 4.5e-3), ("medium", 1.5e-3), ("large", 1.5e-3)}
    asked = better if at_edge is not None else found  # one of another size and another rate is not looked for
    assert (one["size"], one["learning_rate"], *one["variants"]) == asked
    assert one["learning_rate_at_edge"] is bool(at_edge)
    assert one["grid"] == {"size": "small", "learning_rate": 1.5e-3}


def test_the_sampler_is_chosen_at_a_budget_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the search, and for a search from before that was so; nothing is done where nothing is missing or stored."""
    monkeypatch.setattr(common, "ROOT", tmp_path)
    study = Judged({("small", 1.5e-3): (1.0, 0.75)})
    search.run_samplers(study, ["ours_plain"])
    assert study.asked == []
    search.run_search(study, ["ours_plain"])
    found = common.stored("peers", "search")
    one = found["contestants"]["ours_plain"]
    last = study.asked[-1]
    assert (last.size, last.learning_rate, last.budget, last.seed) == ("small", 1.5e-3, 60 * plan.SAMPLER_BUDGET, 0)
    assert {job.budget for job in study.asked[:-1]} == {60 * plan.SEARCH_BUDGET}
    assert (one["sampler"], one["sampler_minutes"]) == ("heun 25", plan.SAMPLER_BUDGET)
    assert one["samplers"].keys() == find("ours_plain").samplers.keys()
    asked = len(study.asked)
    search.run_samplers(study, ["ours_plain", "ours_structure", "dit_loop"])
    assert len(study.asked) == asked
    before = {**one, "sampler": "guided 20"}
    del before["sampler_minutes"]
    common.store("peers", "search", {**found, "contestants": {"ours_plain": before}})
    search.run_samplers(study, ["ours_structure"])  # follows ours_plain
    assert set(study.asked[asked:]) == {last}
    assert common.stored("peers", "search")["contestants"]["ours_plain"] == one


def test_the_ladder_of_learning_rates_goes_both_ways() -> None:
    down = [5e-4, 1.67e-4, 5.56e-5, 1.85e-5]
    up = [4.5e-3, 1.35e-2, 4.05e-2, 0.121, 0.364]
    for ladder in (down[::-1], up):
        for low, high in itertools.pairwise(ladder):
            assert (search.next_rate(low, 1), search.next_rate(high, -1)) == (high, low)
            assert high / low == pytest.approx(3, rel=0.01)


def study_of(folder: Path, monkeypatch: pytest.MonkeyPatch, kept: str = "") -> tuple[Study, list[plan.Job]]:
    """A study whose pool stores a result for each job, and what it was asked to run."""
    ran: list[plan.Job] = []

    class Pool:
        def __init__(self, *args: Any) -> None: ...

        def run(self, missing: dict[plan.Job, Path], judge: Any) -> None:
            ran.extend(missing)
            for job, place in missing.items():
                cost = read_json(place / CALIBRATION) if (place / CALIBRATION).exists() else None
                write_json(place / RESULT, {"job": job.as_dict(), "training": {"diverged": True}, "calibration": cost})

    monkeypatch.setattr("benchmarks.peers.study.Pool", Pool)
    monkeypatch.setattr(Study, "write_data", lambda self: None)
    monkeypatch.setattr(Study, "_label_counts", property(lambda self: torch.ones(10, dtype=torch.int64)))
    return Study(plan.Setting(folder, 30, kept=kept), 1, Silent()), ran


def test_a_job_is_done_anew_when_its_settings_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, ran = study_of(tmp_path, monkeypatch)
    job = plan.Job("dit_loop", "small", 1e-3, 0, 60.0, ("warm-up",))
    wanted = {job: ["dpmpp 20, adapted"]}
    study.run(wanted)
    study.run(wanted)
    assert ran == [job]
    (make_folder(tmp_path / job.name) / "state").write_text("half a training")
    monkeypatch.setitem(find("dit_loop").variants, "warm-up", {"warmup": 0.2})
    study.run(wanted)
    assert ran == [job, job]
    assert not (tmp_path / job.name / "state").exists()
    assert read_json(tmp_path / job.name / JOB)["settings"] == settings_of(job)


def test_a_training_of_before_settings_were_noted_is_not_taken_for_one_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, ran = study_of(tmp_path, monkeypatch)
    job = plan.Job("dit_loop", "small", 1e-3, 0, 60.0)
    place = make_folder(tmp_path / job.name)
    write_json(place / JOB, {"job": dataclasses.asdict(job)})
    write_json(place / RESULT, {"training": {"diverged": True}})
    study.run({job: []})
    assert ran == [job]


def kept(folder: Path) -> list[str]:
    """Names of the jobs whose results are stored to be committed."""
    return sorted(path.stem for path in (folder / "benchmarks" / "results" / "peers" / "jobs").glob("*.json"))


def finished(job: plan.Job, *samplers: str) -> dict[str, Any]:
    """A result of a job, judged with these samplers."""
    return {"job": job.as_dict(), "training": {"diverged": False}, "judged": {name: {} for name in samplers}}


def test_finished_jobs_go_on_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    here, ran = study_of(tmp_path / "here", monkeypatch, kept="jobs")
    jobs = [plan.Job(name, "small", 1e-3, 0, 60.0) for name in ("dit_loop", "ours_plain")]
    here.run({jobs[0]: []})
    assert kept(tmp_path) == []  # the pool of this test judges nothing
    done = here.run({job: [] for job in jobs})
    assert kept(tmp_path) == [jobs[0].name]  # found finished
    here.run({job: [] for job in jobs})
    assert kept(tmp_path) == sorted(job.name for job in jobs)

    there, ran = study_of(tmp_path / "there", monkeypatch, kept="jobs")
    assert there.run({job: [] for job in jobs}) == done
    assert ran == []
    monkeypatch.setattr(find("dit_loop"), "batch", 32)
    there.run({job: [] for job in jobs})
    assert ran == [jobs[0]]  # its name means something else by now

    there.forget("dit_loop")
    assert kept(tmp_path) == [jobs[1].name]


def test_a_kept_job_that_lacks_a_sampler_is_trained_where_its_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    job = plan.Job("dit_loop", "small", 1e-3, 0, 60.0)
    common.store("peers", f"jobs/{job.name}", {"settings": settings_of(job), "result": finished(job, "one")})
    study, ran = study_of(tmp_path / "there", monkeypatch, kept="jobs")
    assert study.run({job: ["one"]}) == {job: finished(job, "one")}
    assert ran == []
    study.run({job: ["one", "two"]})
    assert ran == [job]


COST = {"setup_seconds": 0.0, "seconds_per_step": 0.5, "steps": 200, "in_turns": True}


def report_on(names: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[plan.Job]]:
    """Contestants that can run, of which ours and `dit_loop` are searched; returns the jobs whose costs are asked for."""
    monkeypatch.setattr(common, "ROOT", folder)
    chosen = {"size": "small", "learning_rate": 1e-3, "variants": [], "sampler": "one"}
    common.store("peers", "search", {"contestants": dict.fromkeys(("ours_plain", "dit_loop"), chosen), "missing": {}})
    measured: list[list[plan.Job]] = []

    def measure(study: Study, jobs: list[plan.Job]) -> dict[str, Any]:
        measured.append(jobs)
        found = {job.contestant: {"settings": settings_of(job), "calibration": COST} for job in jobs}
        return {"contestants": found, "provenance": {}}

    monkeypatch.setattr("benchmarks.peers.report.measure", measure)
    monkeypatch.setattr(Study, "available", lambda self, asked: ([name for name in asked if name in names], {}))
    return measured


def test_the_report_goes_seed_by_seed_and_runs_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared, the contestants at one seed, runs in one session where everything does not."""
    names = ["ours_plain", "ours_structure", "dit_loop"]
    measured = report_on(names, tmp_path, monkeypatch)
    study, ran = study_of(tmp_path / "here", monkeypatch, kept="report_jobs")
    run_report(study, names, [30.0, 10.0])
    expected = [(minutes, seed, name) for minutes in (10.0, 30.0) for seed in plan.REPORT_SEEDS for name in names]
    assert [(job.budget / 60, job.seed, job.contestant) for job in ran] == expected
    assert [[(job.contestant, job.budget) for job in jobs] for jobs in measured] == [
        [(name, 60 * minutes) for name in names] for minutes in (10.0, 30.0)
    ]
    row = common.stored("peers", "ours_structure-10-minutes")
    assert [result["job"]["seed"] for result in row["results"]] == list(plan.REPORT_SEEDS)
    assert [result["calibration"] for result in row["results"]] == [COST, COST]
    shutil.rmtree(tmp_path / "here")  # folders of runs may be gone
    run_report(study, names, [10.0, 30.0])
    assert len(ran) == len(expected)
    assert len(measured) == 2


def test_costs_are_those_of_everyone_and_of_what_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["ours_plain", "dit_loop"]
    measured = report_on(names, tmp_path, monkeypatch)
    study, ran = study_of(tmp_path / "here", monkeypatch)
    run_report(study, ["dit_loop"], [10.0])
    assert [job.contestant for job in measured[0]] == names  # whoever is trained
    assert [(job.seed, job.contestant) for job in ran] == [(100, "dit_loop"), (101, "dit_loop")]
    monkeypatch.setattr(find("dit_loop"), "batch", 32)
    with pytest.raises(UserError, match=r"costs-10-minutes\.json holds no cost of a step of dit_loop with what"):
        run_report(study, names, [10.0])
    monkeypatch.setattr(find("dit_loop"), "batch", 64)
    names.append("ours_structure")  # it can run here by now
    run_report(study, names, [10.0])
    assert [job.contestant for job in measured[1]] == ["ours_plain", "ours_structure", "dit_loop"]
    assert [job.contestant for job in ran[2:]] == [
        "ours_plain",
        "ours_structure",
    ] * 2  # what is stored is not run again
    common.result_path("peers", "costs-10-minutes").unlink()
    monkeypatch.setitem(COST, "seconds_per_step", 0.25)
    run_report(study, names, [10.0])
    assert len(ran) == 6 + 2 * 3  # also what was stored: its budget buys other steps now
    names.append("diffusers_unet")
    with pytest.raises(UserError, match="no search is stored for diffusers_unet"):
        run_report(study, ["ours_plain"], [10.0])


def test_a_training_begun_at_another_cost_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, ran = study_of(tmp_path, monkeypatch)
    job = plan.Job("dit_loop", "small", 1e-3, 100, 60.0)
    study.run({job: []}, {job: COST})
    (tmp_path / job.name / "state").write_text("a training")
    study.run({job: []}, {job: dict(COST)})
    assert (tmp_path / job.name / "state").exists()
    assert ran == [job]
    study.run({job: []}, {job: {**COST, "seconds_per_step": 0.25}})
    assert ran == [job, job]
    assert not (tmp_path / job.name / "state").exists()
    assert read_json(tmp_path / job.name / CALIBRATION)["seconds_per_step"] == 0.25


def test_what_is_kept_for_one_budget_goes_when_that_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    study, _ = study_of(tmp_path / "here", monkeypatch, kept="jobs")
    jobs = [plan.Job("dit_loop", "small", 1e-3, 100, budget) for budget in (600.0, 1800.0)]
    for job in jobs:
        common.store("peers", f"jobs/{job.name}", {"settings": {}, "result": finished(job)})
    study.forget("dit_loop", 600.0)
    assert kept(tmp_path) == [jobs[1].name]
    study.forget("dit_loop")
    assert kept(tmp_path) == []


def test_nothing_is_kept_unless_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    study, ran = study_of(tmp_path / "here", monkeypatch)
    study.run({plan.Job("dit_loop", "small", 1e-3, 0, 60.0): []})
    assert len(ran) == 1
    assert kept(tmp_path) == []
    assert plan.SEARCH.kept
    assert plan.REPORT.kept not in ("", plan.SEARCH.kept)


class Heard(Silent):
    """A reporter that remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize(("interruptions", "said"), [(3.0, 0), (200.0, 1)])
def test_a_training_that_something_else_disturbed_is_said(
    interruptions: float, said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Study, "evaluator", SimpleNamespace(floor={}, judges=[]))
    study = Study(plan.Setting(tmp_path, 30), 1, Heard())
    write_json(tmp_path / TRAINING, {"diverged": True, "interruptions_a_second": interruptions})
    write_json(tmp_path / CALIBRATION, {})
    study._judge(plan.Job("dit_loop", "small", 1e-3, 0, 60.0), tmp_path, [])
    assert len(study.reporter.said) == said
    assert not said or "lost its processor 200 times in a second of its own" in study.reporter.said[0]
    assert read_json(tmp_path / RESULT)["training"]["interruptions_a_second"] == interruptions
