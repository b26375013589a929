"""`benchmarks.peers --verify`: the stored job with the stored steps, and what is said of it."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import common
from benchmarks.peers.plan import Job
from benchmarks.peers.study import settings_of
from benchmarks.peers.verifying import verify
from sadm.core.errors import UserError
from sadm.core.files import make_folder

SAMPLER = "dpmpp_2m 20"


class Again:
    """A study that gives what is stored, but for a factor on FD."""

    def __init__(self, folder: Path, results: list[dict[str, Any]]) -> None:
        self.setting = SimpleNamespace(folder=folder)
        self.results, self.factor, self.asked = results, 1.0, []

    def available(self, contestants: Any) -> None: ...

    def run(self, wanted: Any, costs: Any) -> dict[Job, Any]:
        self.asked.append((wanted, costs))
        (job,) = wanted
        make_folder(self.setting.folder / job.name)
        found = copy.deepcopy(next(one for one in self.results if one["job"] == job.as_dict()))
        for scores in found["judged"].values():
            scores["fd"] = {judge: self.factor * value for judge, value in scores["fd"].items()}
        return {job: found}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Again:
    """Two seeds of a contestant are stored, of which the second diverged."""
    monkeypatch.setattr(common, "ROOT", tmp_path)
    jobs = [Job("ours_plain", "small", 1e-3, seed, 600.0, ("Muon",)) for seed in (100, 101)]
    results = [
        {
            "job": job.as_dict(),
            "training": {"diverged": bool(place), "steps": 70 + place},
            "calibration": {"seconds_per_step": 0.5 + place},
            "judged": {} if place else {SAMPLER: {"fd": {"mlp": 2.0, "pixels": 1.0}}},
        }
        for place, job in enumerate(jobs)
    ]
    value = {"sampler": SAMPLER, "settings": [settings_of(job) for job in jobs], "results": results}
    common.store("peers", "ours_plain-10-minutes", value)
    return Again(tmp_path / "verify", results)


@pytest.mark.parametrize(("factor", "same", "within"), [(1.0, True, True), (1.05, False, True), (1.2, False, False)])
def test_fd_is_compared_with_what_is_stored(study: Again, factor: float, same: bool, within: bool) -> None:
    study.factor = factor
    found = verify(study, "ours_plain", 10.0)
    ((wanted, costs),) = study.asked
    ((job, samplers),) = wanted.items()
    assert (job.seed, samplers, costs[job]) == (100, [SAMPLER], {"seconds_per_step": 0.5})
    assert (found["same"], found["within"], found["steps"]) == (same, within, 70)
    assert found["judges"]["mlp"] == {"stored": 2.0, "now": 2.0 * factor}
    assert not (study.setting.folder / job.name).exists()  # the next one trains anew


def test_what_can_not_be_verified_is_said(study: Again) -> None:
    with pytest.raises(
        UserError, match=r"ours_plain-30-minutes.json is not stored: run python -m benchmarks.peers --run"
    ):
        verify(study, "ours_plain", 30.0)
    with pytest.raises(UserError, match="--seed 7 is not stored; there are 100, 101"):
        verify(study, "ours_plain", 10.0, 7)
    with pytest.raises(UserError, match="diverged, now or when it was stored"):
        verify(study, "ours_plain", 10.0, 101)
    before = common.stored("peers", "ours_plain-10-minutes")
    common.store("peers", "ours_plain-10-minutes", before | {"settings": []})
    with pytest.raises(UserError, match="the settings of ours_plain have changed"):
        verify(study, "ours_plain", 10.0)
