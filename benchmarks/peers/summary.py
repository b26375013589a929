"""The stored results in one table; needs nothing but them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.common import result_path, stored
from benchmarks.peers.plan import BUDGETS, CONTESTANTS, NAME, OURS, STORED_SEARCH, result_name
from benchmarks.peers.scores import excess

Stored = dict[str, Any]


def summary() -> dict[str, Any]:
    """What the stored results say; what is missing is listed.

    Raises:
        SystemExit: nothing is stored.
    """
    rows = stored_rows()
    searched = stored(NAME, STORED_SEARCH) if result_path(NAME, STORED_SEARCH).exists() else None
    if not rows and searched is None:
        raise SystemExit("no stored result: run python -m benchmarks.peers --search, then --run")
    return summarise(rows) | {
        "missing": [
            result_name(name, minutes)
            for minutes in BUDGETS
            for name in CONTESTANTS
            if not result_path(NAME, result_name(name, minutes)).exists()
        ],
        "cannot_run": {} if searched is None else searched["missing"],
    }


def stored_rows() -> list[Stored]:
    """All stored results, in order of budget and contestant."""
    names = [result_name(name, minutes) for minutes in BUDGETS for name in CONTESTANTS]
    return [stored(NAME, name) for name in names if result_path(NAME, name).exists()]


def summarise(rows: Sequence[Stored]) -> dict[str, Any]:
    """By budget and contestant FD - floor with its interval over seeds; by budget our ratio to the best peer.

    Where both are stored, also our ratio at the shortest budget to the best peer at the longest.
    """
    budgets: dict[str, Any] = {}
    by_minutes = {
        minutes: [row for row in rows if row["budget_cpu_minutes"] == minutes]
        for minutes in dict.fromkeys(row["budget_cpu_minutes"] for row in rows)
    }
    for minutes, here in by_minutes.items():
        contestants = {row["contestant"]: contestant_summary(row) for row in here}
        budgets[f"{minutes:g} minutes"] = {"contestants": contestants, "fd_ratio_to_best_peer": ratios(here, here)}
    if len(by_minutes) < 2:
        return {"budgets": budgets}
    shortest, longest = min(by_minutes), max(by_minutes)
    crossed = ratios(by_minutes[shortest], by_minutes[longest])
    return {
        "budgets": budgets,
        "fd_ratio_at_less_cost": {"ours_minutes": shortest, "peers_minutes": longest, "ratios": crossed},
    }


def contestant_summary(row: Stored) -> dict[str, Any]:
    """One contestant at one budget."""
    from sadm.experiments.statistics import mean_interval

    results = row["results"]
    trainings = [result["training"] for result in results]
    by_seed = excess_by_judge(row)
    judged = [result["judged"].get(row["sampler"], {}) for result in results]
    return {
        "fd": None if by_seed is None else {judge: mean_interval(found).as_dict() for judge, found in by_seed.items()},
        "images_seen": [training["images_seen"] for training in trainings],
        "parameters": trainings[0]["parameters"],
        "milliseconds_per_step": [round(1000 * result["calibration"]["seconds_per_step"], 3) for result in results],
        "cpu_seconds": [training["cpu_seconds"] for training in trainings],
        "size": results[0]["job"]["size"],
        "learning_rate": results[0]["job"]["learning_rate"],
        "variants": results[0]["job"]["variants"],
        "sampler": judged[0].get("sampler"),
        "nfe": judged[0].get("nfe"),
        "label_accuracy": [scores.get("label_accuracy") for scores in judged],
        "seeds": [result["job"]["seed"] for result in results],
        "machines": [training["provenance"]["machine"] for training in trainings],
        "generated": results[0]["generated"],
    }


def excess_by_judge(row: Stored) -> dict[str, list[float]] | None:
    """FD - floor of each seed by deciding judge; None where one diverged."""
    found = [excess(result, row["sampler"]) for result in row["results"]]
    if any(one is None for one in found):
        return None
    return {judge: [one[judge] for one in found if one is not None] for judge in row["results"][0]["deciding"]}


def ratios(own_rows: Sequence[Stored], peer_rows: Sequence[Stored]) -> dict[str, Any]:
    """Each of our contestants against the peer that is best in a judge, ratio of FD - floor paired by seed, by judge.

    The best peer is chosen judge by judge, which favours the peers.
    """
    from sadm.experiments.statistics import mean_interval, paired_ratio

    def finished(rows: Sequence[Stored]) -> dict[str, dict[str, list[float]]]:
        values = {row["contestant"]: excess_by_judge(row) for row in rows}
        return {name: found for name, found in values.items() if found is not None}

    ours = finished(own_rows)
    peers = {name: found for name, found in finished(peer_rows).items() if name not in OURS}
    if not peers:
        return {}
    ratio: dict[str, Any] = {}
    for name in (name for name in OURS if name in ours):
        ratio[name] = {}
        for judge, own in ours[name].items():
            best = min(peers, key=lambda peer: mean_interval(peers[peer][judge]).mean)
            ratio[name][judge] = {"best_peer": best, **paired_ratio(own, peers[best][judge]).as_dict()}
    return ratio
