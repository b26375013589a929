"""From the stored results of a sweep to ``sweep.json``, its page, and the comparison that confirms what it found."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sadm.core.config import flatten
from sadm.core.files import write_atomically, write_json
from sadm.core.intervals import CONFIDENCE, Interval
from sadm.core.provenance import provenance
from sadm.data import Split
from sadm.evaluation import Evaluator
from sadm.experiments.config import CONTROL
from sadm.experiments.devices import at_a_time
from sadm.experiments.report.sweep_page import render_sweep, sweep_sentences
from sadm.experiments.runs import Runs
from sadm.experiments.summary import data_facts
from sadm.experiments.sweep.config import SweepConfig
from sadm.experiments.sweep.plan import Rung, rank, rungs
from sadm.experiments.tables import above, arm_facts
from sadm.experiments.yardstick import Yardstick

SWEEP, PAGE, CONFIRM = "sweep.json", "sweep.html", "confirm.yaml"
FOUND = "found"
CONFIRMING_SEEDS, FIRST_TO_CONFIRM = 5, 100


def summarise_sweep(config: SweepConfig, folder: Path, split: Split, evaluator: Evaluator) -> dict[str, Any]:
    """Everything that the page shows, from the stored results of a finished sweep."""
    yardstick = Yardstick.of(evaluator)
    *early, last = rungs(config, folder, yardstick)
    ranked = rank(config, folder, last, yardstick)
    base = next(runs for runs in ranked if runs.jobs[0].arm == config.first)
    confidence = _confidence(len(ranked))
    found = {
        "title": config.train.data.source,
        "data": data_facts(config, split),
        "judges": evaluator.describe(),
        "deciding": list(yardstick.deciding),
        "floor": dict(yardstick.floor),
        "vary": _values(config),
        "baseline": config.first,
        "seeds": config.seeds,
        "steps": last.steps,
        "settings": [
            {**_setting(config, runs, base, ranked[0], yardstick, confidence), "rank": place}
            for place, runs in enumerate(ranked, 1)
        ],
        "stopped": [line for rung in early for line in _stopped(config, folder, rung, yardstick)],
        "confidence_of_all_pairs": confidence,
        "confirm": _confirm(config, folder, ranked[0].jobs[0].arm),
        "protocol": flatten(config.train.model_dump(mode="json")),
        "provenance": {**provenance(), "threads": 1, "processes": at_a_time(config.train.device, config.jobs)},
    }
    found["sentences"] = sweep_sentences(found, "en")
    return found


def write_sweep(config: SweepConfig, folder: Path, found: Mapping[str, Any]) -> None:
    """Writes the numbers, the page, and the configuration of the comparison that confirms the winner."""
    write_json(folder / SWEEP, found)
    write_atomically(folder / PAGE, render_sweep(found, config.lang))
    if found["confirm"] is not None:
        best = found["settings"][0]["name"]
        arms = {CONTROL: dict(config.changes[config.first]), FOUND: dict(config.changes[best])}
        values = {
            "train": config.train.model_dump(mode="json"),
            "arms": arms,
            "seeds": found["confirm"]["seeds"],
            "groups": config.groups,
            "judges": config.judges,
            "jobs": config.jobs,
            "lang": config.lang,
            "business": config.business.model_dump(mode="json"),
        }
        write_atomically(folder / CONFIRM, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _confidence(count: int) -> float:
    """Of each pair's interval, so that all pairs of `count` settings hold together at 95 % (Bonferroni)."""
    pairs = max(1, count * (count - 1) // 2)
    return 1 - (1 - CONFIDENCE) / pairs


def _setting(
    config: SweepConfig, runs: Runs, base: Runs, best: Runs, yardstick: Yardstick, confidence: float
) -> dict[str, Any]:
    name = runs.jobs[0].arm
    apart = yardstick.ratio(runs, best, confidence)
    return {
        "name": name,
        "values": config.settings[name],
        **arm_facts(runs, yardstick.floor),
        "excess": {
            judge: runs.interval(above(floor, "evaluation", "fd", judge)) if runs.finished else None
            for judge, floor in yardstick.floor.items()
        },
        "ratio": yardstick.ratio(runs, base).as_dict(),
        "ratios": {
            judge: runs.against(base, above(floor, "evaluation", "fd", judge)).as_dict()
            for judge, floor in yardstick.floor.items()
        },
        "apart_from_best": isinstance(apart, Interval) and apart.low is not None and apart.low > 1,
    }


def _stopped(config: SweepConfig, folder: Path, rung: Rung, yardstick: Yardstick) -> list[dict[str, Any]]:
    places = {name: place for place, name in enumerate(rung.ranked, 1)}
    by_name = {name: Runs.read(folder, name, config.seeds, rung.steps) for name in rung.settings}
    return [
        {
            "name": name,
            "values": config.settings[name],
            "share": rung.share,
            "steps": rung.steps,
            "rank": places[name],
            "of": len(rung.settings),
            "ratio": yardstick.ratio(by_name[name], by_name[config.first]).as_dict(),
            "reason": reason,
        }
        for name, reason in rung.stopped.items()
    ]


def _values(config: SweepConfig) -> dict[str, list[Any]]:
    """By option, its values in the order of the grid."""
    columns: dict[str, list[Any]] = {key: [] for key in config.vary}
    for values in config.settings.values():
        for key, value in values.items():
            if value not in columns[key]:
                columns[key].append(value)
    return columns


def _confirm(config: SweepConfig, folder: Path, best: str) -> dict[str, Any] | None:
    """The comparison of the winner with the baseline on seeds that the search did not use; None where they are the same."""
    if best == config.first:
        return None
    start = max(FIRST_TO_CONFIRM, *(seed + 1 for seed in config.seeds))
    out = folder.parent / f"{folder.name}-confirmed"
    words = ["sadm", "compare", "--config", str(folder / CONFIRM), "--out", str(out)]
    return {"seeds": _seeds_from(start), "command": shlex.join(words)}


def _seeds_from(start: int) -> Sequence[int]:
    return list(range(start, start + CONFIRMING_SEEDS))
