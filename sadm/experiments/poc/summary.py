"""From the stored comparisons to ``poc.json`` and its page."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sadm.core.files import write_atomically, write_json
from sadm.core.provenance import provenance
from sadm.experiments.business import comparison_hours
from sadm.experiments.config import CONTROL
from sadm.experiments.devices import at_a_time
from sadm.experiments.poc.config import PREPARED, PocConfig
from sadm.experiments.poc.domains import SHEET, Found
from sadm.experiments.poc.evidence import POWER, SPREAD_BOUND
from sadm.experiments.poc.page import poc_sentences, render_poc
from sadm.experiments.poc.plan import FIRST_SEED
from sadm.experiments.poc.ranking import MOST_TO_DECIDE, NOT, PAYS, Measured, Standing, facts_of, rank
from sadm.experiments.poc.state import State
from sadm.experiments.summary import REPORT

POC, PAGE = "poc.json", "poc.html"
CONFIRMING, FIRST_TO_CONFIRM = 5, 200
DECIDE, CONFIRM, STOP, REPEAT = "decide", "confirm", "stop", "repeat"
MINUTES = 60.0


def summarise_poc(
    config: PocConfig, state: State, failed: Mapping[str, str], minutes: float, processor_minutes: float
) -> dict[str, Any]:
    """Everything that the page shows.

    Args:
        config: of all domains.
        state: what was found and measured.
        failed: by domain, why its comparison could not be made.
        minutes: that all took so far.
        processor_minutes: the same, of all processes together.
    """
    results = {name: found for name in state.usable if (found := state.results(name))}
    standings = rank([_measured(name, found) for name, found in results.items()], config.matters)
    domains = [_domain(config, state, results, standing) for standing in standings]
    for place, facts in enumerate(domains, 1):
        facts["rank"] = place
    judges: dict[str, Any] = {}
    for found in results.values():
        judges |= {judge: facts for judge, facts in found["judges"].items() if facts["decides"]}
    found = {
        "domains": domains,
        "left_out": _left_out(config, state, {name: why for name, why in failed.items() if name not in results}),
        "stuck": {name: why for name, why in failed.items() if name in results},
        "waiting": [name for name in state.usable if name not in results and name not in failed],
        "judges": judges,
        "arm": config.arm,
        "minutes": {"budget": config.minutes, "spent": round(minutes, 2)},
        "business": _business(config, processor_minutes / MINUTES),
        "images": state.facts["images"],
        "share": (state.facts["images"] or 0) / config.whole,
        "recipe": config.recipe,
        "assumed": {
            "power": POWER,
            "spread_bound": SPREAD_BOUND,
            "matters": config.matters,
            "most": MOST_TO_DECIDE,
        },
        "provenance": {**provenance(), "threads": 1, "processes": at_a_time(config.train.device, config.jobs)},
    }
    found["sentences"] = poc_sentences(found, "en")
    return found


def write_poc(config: PocConfig, folder: Path, found: dict[str, Any]) -> None:
    """Writes the numbers and the page."""
    write_json(folder / POC, found)
    write_atomically(folder / PAGE, render_poc(found, folder, config.lang))


def _measured(name: str, comparison: Mapping[str, Any]) -> Measured:
    verdict = comparison["verdict"]
    deciding = [judge for judge, facts in comparison["judges"].items() if facts["decides"]]
    ratios = comparison["ratios"]["equal_cost"][verdict["treatment"]]
    logs = {judge: [math.log(value) for value in ratios[judge].get("values", ())] for judge in deciding}
    seeds = len(comparison["protocol"]["seeds"])
    return Measured(name, verdict["outcome"], logs if all(logs.values()) else {}, seeds)


def _domain(
    config: PocConfig, state: State, results: Mapping[str, dict[str, Any]], standing: Standing
) -> dict[str, Any]:
    name = standing.measured.name
    comparison, facts = results[name], state.usable[name]
    treatment = comparison["verdict"]["treatment"]
    ratios = comparison["ratios"]["equal_cost"][treatment]
    return {
        "name": name,
        "source": config.domains[name],
        "verdict": comparison["verdict"]["sentence"],
        **facts_of(standing),
        "ratios": {judge: ratios[judge] for judge, about in comparison["judges"].items() if about["decides"]},
        **_images(facts["summary"]),
        "steps": comparison["arms"][CONTROL]["steps"],
        "pretraining": _pretraining(comparison),
        "shape": comparison["data"]["shape"],
        "drawn": [arm for arm, about in comparison["arms"].items() if about["seeds"]],
        "minutes": comparison["minutes_total"],
        **_cost(config, _processor_hours(comparison)),
        "report": f"{name}/{REPORT}",
        "sheet": f"{PREPARED}/{name}/{SHEET}",
        "next": _next(config, state, comparison, standing),
    }


def _pretraining(comparison: Mapping[str, Any]) -> float:
    """Encoder pre-training as a share of the cost of one plain training."""
    cost, steps = comparison["cost"], comparison["arms"][CONTROL]["steps"]
    pretraining: float = cost[comparison["verdict"]["treatment"]]["pretrain_cpu_seconds"]
    return pretraining / (steps * float(cost[CONTROL]["cpu_seconds_per_step"]))


def _images(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Of the images: how many there are of what kind, and what is wrong with them."""
    return {
        "images": summary["images"],
        "train_images": summary["split"]["train"],
        "held_out_images": summary["split"]["held_out"],
        "classes": len(summary["classes"]["classes"]),
        "outcomes": summary["outcomes"],
        "near_duplicates": summary["near_duplicates"]["images"],
        "points": summary["points"],
    }


def _left_out(config: PocConfig, state: State, failed: Mapping[str, str]) -> list[dict[str, Any]]:
    """Domains without a result, each with its reason."""
    found = {name: about for name, about in state.unusable.items() if name in config.domains}
    found |= {
        name: Found.unusable({"key": "failed", "text": text}, state.usable[name]["summary"])
        for name, text in failed.items()
    }
    return [
        {
            "name": name,
            "source": config.domains[name],
            "reason": about.reason,
            "why": about.text,
            "sheet": None if about.summary is None else f"{PREPARED}/{name}/{SHEET}",
            **({} if about.summary is None else _images(about.summary)),
        }
        for name, about in found.items()
    ]


def _business(config: PocConfig, hours: float) -> dict[str, Any]:
    prices = {key: value for key, value in config.business.model_dump().items() if value not in (None, "")}
    return {"prices": prices, **_cost(config, hours)}


def _processor_hours(comparison: Mapping[str, Any]) -> float:
    hours = comparison_hours(comparison)
    assert hours is not None  # noqa: S101 - a finished comparison has counted its minutes
    return hours


def _cost(config: PocConfig, hours: float) -> dict[str, Any]:
    """Processor hours, and their price where it is known."""
    price = config.business.hour
    return {"processor_hours": hours, **({} if price is None else {"money": hours * price})}


def _next(config: PocConfig, state: State, comparison: Mapping[str, Any], standing: Standing) -> dict[str, Any]:
    """What to do next in a domain, what it takes, and the command."""
    name, seeds = standing.measured.name, standing.measured.seeds
    confirming = _confirm(config, state, comparison, standing.measured)
    short = confirming["steps"] > comparison["arms"][CONTROL]["steps"]
    longer = {"longer": confirming} if short else {}  # what a short training says need not hold for a long one
    if standing.place == NOT:
        return {"kind": STOP, **longer}
    if standing.place == PAYS:
        return confirming
    if standing.step is None:
        return {"kind": REPEAT}
    step = standing.step
    plan = {
        "basis": step.basis,
        "effects": {judge: math.exp(effect) for judge, effect in step.effects.items()},
        "spreads": step.spreads,
        "detectable": math.exp(-step.detectable),
    }
    if step.seeds is None:
        return {"kind": STOP, **plan, **longer}
    further = step.seeds - seeds
    return {
        "kind": DECIDE,
        **plan,
        "seeds": step.seeds,
        "further": further,
        "minutes": comparison["minutes_total"] / seeds * further,
        **_cost(config, _processor_hours(comparison) / seeds * further),
        "command": _command(state.folder / name, state.folder / name, range(FIRST_SEED, FIRST_SEED + step.seeds)),
    }


def _confirm(config: PocConfig, state: State, comparison: Mapping[str, Any], measured: Measured) -> dict[str, Any]:
    """Other seeds at the recipe's whole length: what was chosen for being good is judged by luck that did not choose it."""
    name = measured.name
    steps, batch = comparison["arms"][CONTROL]["steps"], state.usable[name]["train"]["optimiser"]["batch"]
    whole = max(steps, round(config.whole / batch))
    more = [] if whole == steps else ["--train.optimiser.steps", str(whole)]
    if more:
        more += ["--train.optimiser.warmup-steps", str(config.train.optimiser.warmup_steps)]
    target = state.folder / f"{name}-{'full' if more else 'confirmed'}"
    seeds = range(FIRST_TO_CONFIRM, FIRST_TO_CONFIRM + CONFIRMING)
    as_much = CONFIRMING / measured.seeds * whole / steps  # as the comparison, so many times
    return {
        "kind": CONFIRM,
        "seeds": CONFIRMING,
        "further": CONFIRMING,
        "steps": whole,
        "minutes": comparison["minutes_total"] * as_much,
        **_cost(config, _processor_hours(comparison) * as_much),
        "command": _command(state.folder / name, target, seeds, more),
    }


def _command(folder: Path, out: Path, seeds: range, more: list[str] | None = None) -> str:
    words = ["sadm", "compare", "--config", str(folder / "compare.yaml"), "--out", str(out)]
    return shlex.join([*words, *(more or []), "--seeds", *map(str, seeds)])
