"""The report: what the search chose for each contestant, at every budget and with every report seed."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.common import result_path, store, stored
from benchmarks.peers.plan import FOLLOWS, NAME, REPORT_SEEDS, STORED_SEARCH, Job, result_name
from benchmarks.peers.study import Study, settings_of


def run_report(study: Study, contestants: Sequence[str], budgets: Sequence[float]) -> None:
    """Runs and stores; a shorter budget of everyone comes before a longer one of anyone, and one seed of everyone before the
    next, so that what is compared ran on one machine though all of it may take several sessions. What is stored is not run again.

    Raises:
        UserError: a contestant has not been searched.
    """
    from sadm.core.errors import UserError

    found = stored(NAME, STORED_SEARCH)["contestants"] if result_path(NAME, STORED_SEARCH).exists() else {}
    names, _ = study.available(contestants)
    unknown = [name for name in names if FOLLOWS.get(name, name) not in found]
    if unknown:
        raise UserError(
            f"no search is stored for {', '.join(unknown)}. First run: python -m benchmarks.peers --search --only "
            + " ".join(unknown)
        )
    chosen = {name: found[FOLLOWS.get(name, name)] for name in names}
    for minutes in sorted(budgets):
        wanted = {
            name: [
                Job(name, one["size"], one["learning_rate"], seed, 60 * minutes, tuple(one["variants"]))
                for seed in REPORT_SEEDS
            ]
            for name, one in chosen.items()
        }
        wanted = {name: jobs for name, jobs in wanted.items() if not _is_stored(jobs, chosen[name]["sampler"], minutes)}
        if not wanted:
            continue
        in_turn = [job for same_seed in zip(*wanted.values(), strict=True) for job in same_seed]
        results = study.run({job: [chosen[job.contestant]["sampler"]] for job in in_turn})
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


def _is_stored(jobs: Sequence[Job], sampler: str, minutes: float) -> bool:
    """Whether the results of these very jobs are stored."""
    name = result_name(jobs[0].contestant, minutes)
    if not result_path(NAME, name).exists():
        return False
    before = stored(NAME, name)
    same = [result["job"] for result in before["results"]] == [job.as_dict() for job in jobs]
    return same and before["sampler"] == sampler and before["settings"] == [settings_of(job) for job in jobs]
