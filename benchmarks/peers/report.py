"""The report: what the search chose for each contestant, at every budget and with every report seed."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.common import result_path, store, stored
from benchmarks.peers.plan import FOLLOWS, NAME, REPORT_SEEDS, STORED_SEARCH, Job, result_name
from benchmarks.peers.study import Study


def run_report(study: Study, contestants: Sequence[str], budgets: Sequence[float]) -> None:
    """Runs and stores; a shorter budget of everyone comes before a longer one of anyone.

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
        jobs = {
            Job(name, one["size"], one["learning_rate"], seed, 60 * minutes, tuple(one["variants"])): [one["sampler"]]
            for name, one in chosen.items()
            for seed in REPORT_SEEDS
        }
        results = study.run(jobs)
        for name in names:
            own = [results[job] for job in jobs if job.contestant == name]
            store(
                NAME,
                result_name(name, minutes),
                {
                    "contestant": name,
                    "budget_cpu_minutes": minutes,
                    "sampler": chosen[name]["sampler"],
                    "results": own,
                },
            )
