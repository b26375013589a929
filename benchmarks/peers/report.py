"""The report: what the search chose for each contestant, at every budget and with every report seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common import relative, result_path, store, stored
from benchmarks.peers.costs import joined, measure
from benchmarks.peers.pace import Calibration
from benchmarks.peers.plan import CONTESTANTS, FOLLOWS, NAME, REPORT_SEEDS, Job, costs_name, result_name
from benchmarks.peers.search import found_job, stored_search
from benchmarks.peers.study import Study, settings_of
from sadm.core.errors import UserError

Chosen = Mapping[str, Mapping[str, Any]]
"""By contestant what the search found."""


def run_report(study: Study, contestants: Sequence[str], budgets: Sequence[float]) -> None:
    """Runs and stores; a shorter budget of everyone comes before a longer one of anyone, and one seed of everyone before the
    next, so that what is compared ran on one machine though all of it may take several sessions. What is stored is not run again.

    Before a budget's first training, the cost of a step is measured of everyone who can run here, whoever is asked for.

    Raises:
        UserError: somebody who can run here has not been searched, or was not there when costs were measured.
    """
    found = stored_search()["contestants"]
    everyone, _ = study.available(CONTESTANTS)
    unknown = list(dict.fromkeys(FOLLOWS.get(name, name) for name in everyone if FOLLOWS.get(name, name) not in found))
    if unknown:
        raise UserError(
            f"no search is stored for {', '.join(unknown)}. First run: python -m benchmarks.peers --search --only "
            + " ".join(unknown)
        )
    chosen = {name: found[FOLLOWS.get(name, name)] for name in everyone}
    for minutes in sorted(budgets):
        wanted = {name: jobs_of(name, chosen[name], minutes) for name in everyone if name in contestants}
        costs = costs_at(study, minutes, chosen) if wanted else {}
        wanted = {
            name: jobs
            for name, jobs in wanted.items()
            if not _is_stored(jobs, chosen[name]["sampler"], minutes, costs[name])
        }
        if not wanted:
            continue
        in_turn = [job for same_seed in zip(*wanted.values(), strict=True) for job in same_seed]
        results = study.run(
            {job: [chosen[job.contestant]["sampler"]] for job in in_turn},
            {job: costs[job.contestant] for job in in_turn},
        )
        for name, jobs in wanted.items():
            value = {
                "contestant": name,
                "budget_cpu_minutes": minutes,
                "sampler": chosen[name]["sampler"],
                "settings": [settings_of(job) for job in jobs],
                "results": [results[job] for job in jobs],
            }
            store(NAME, result_name(name, minutes), value)
            study.forget(name, 60 * minutes)


def jobs_of(name: str, chosen: Mapping[str, Any], minutes: float) -> list[Job]:
    """A contestant's trainings at a budget, one for each seed of the report."""
    return [found_job(name, chosen, seed, minutes) for seed in REPORT_SEEDS]


def costs_at(study: Study, minutes: float, chosen: Chosen) -> dict[str, Calibration]:
    """What a step of each contestant costs; measured where that is not stored, as one of those that are (see `joined`).

    Raises:
        UserError: one was measured with other settings.
    """
    jobs = {name: jobs_of(name, one, minutes)[0] for name, one in chosen.items()}
    path = result_path(NAME, costs_name(minutes))
    before = stored(NAME, costs_name(minutes)) if path.exists() else {"contestants": {}}
    known = before["contestants"]
    other = [name for name in jobs if name in known and known[name]["settings"] != settings_of(jobs[name])]
    if other:
        raise UserError(
            f"{relative(path)} holds no cost of a step of {', '.join(other)} with what the search chose, and costs compare only "
            "where they were measured together. Remove it to measure and train everyone's anew at this budget."
        )
    if jobs.keys() - known.keys():
        before = joined(before, measure(study, list(jobs.values())))
        store(NAME, costs_name(minutes), before)
    return {name: before["contestants"][name]["calibration"] for name in jobs}


def _is_stored(jobs: Sequence[Job], sampler: str, minutes: float, cost: Calibration) -> bool:
    """Whether the results of these very jobs are stored."""
    name = result_name(jobs[0].contestant, minutes)
    if not result_path(NAME, name).exists():
        return False
    before = stored(NAME, name)
    same = [result["job"] for result in before["results"]] == [job.as_dict() for job in jobs]
    same = same and all(result["calibration"] == cost for result in before["results"])
    return same and before["sampler"] == sampler and before["settings"] == [settings_of(job) for job in jobs]
