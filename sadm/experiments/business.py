"""Hours, money and a stop/go line, from what a comparison measured and the prices that the user gave (docs/report.md).

Nothing is assumed: a number whose price or measurement is missing is left out. Every number goes into ``comparison.json``, from
where the report takes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sadm.experiments.config import CONTROL
from sadm.experiments.prices import BusinessConfig
from sadm.experiments.statistics import mean_interval

SECONDS, MILLISECONDS = 3600.0, 3.6e6  # of an hour
GOOD, OPEN, BAD = "good", "open", "bad"
GO, WAIT, STOP = "go", "wait", "stop"
_BOUNDS = ("mean", "low", "high")
Facts = dict[str, Any]
Estimate = Mapping[str, Any]  # mean, low, high: numbers or None


@dataclasses.dataclass(frozen=True)
class Gain:
    """What generated images add to a classifier that has all real ones; None = not measured.

    Attributes:
        accuracy: by how much larger the share of right answers is.
        accuracy_over_plain: the same, over images of plain training instead of over none.
        recall: by how much larger the share of defects found is.
        recall_over_plain: the same, over images of plain training instead of over none.
        images: the number of further real images that would do as much.
    """

    accuracy: Estimate | None = None
    accuracy_over_plain: Estimate | None = None
    recall: Estimate | None = None
    recall_over_plain: Estimate | None = None
    images: Estimate | None = None


def business_facts(comparison: Mapping[str, Any], prices: BusinessConfig) -> Facts:
    """Everything about hours and money, for ``comparison.json``.

    Args:
        comparison: what was measured.
        prices: what the user gave.
    """
    arm = comparison["verdict"]["treatment"]
    facts: Facts = {"prices": {key: value for key, value in prices.model_dump().items() if value not in (None, "")}}
    now = training_hours(comparison, arm)
    if now:
        facts["training"] = _priced({"hours": now}, prices.hour)
        if prices.volume is not None:
            yearly = {key: hours * prices.volume for key, hours in now.items()}
            facts["year"] = _priced({"trainings": prices.volume, "hours": yearly}, prices.hour)
    if prices.generated is not None and (hours := generation_hours(comparison, arm, prices.generated)):
        facts["generation"] = _priced({"images": prices.generated, "hours": hours}, prices.hour)
    spent = comparison_hours(comparison)
    if spent is not None:
        facts["comparison"] = _priced({"hours": {"whole": spent}}, prices.hour)
    saved = saving(comparison, arm)
    if saved:
        facts["saving"] = _saved(saved, prices, spent)
    gain = gain_of(comparison, arm, prices.defect_class)
    if gain is not None:
        worth = value_of(gain, prices, _yearly_cost(comparison, arm, prices), _cost_of_one(comparison, arm, prices))
        facts |= {"value": worth} if worth else {}
    sides = {"gain": gain_side(comparison, arm), "copies": copies_side(comparison, arm)}
    facts["decision"] = decision(comparison["verdict"]["outcome"], facts.get("value"), **sides)
    return facts


def training_hours(comparison: Mapping[str, Any], arm: str) -> dict[str, float]:
    """Processor hours of one training: plain, the arm's in as many steps, and the difference; empty where not measured.

    The arm's are plain training's times the cost ratio from interleaved slices, which a busy hour cannot distort.
    """
    seconds = comparison.get("arms", {}).get(CONTROL, {}).get("cpu_seconds")
    cost = comparison.get("cost", {}).get(arm, {})
    ratio = cost.get("total_ratio")
    if seconds is None or ratio is None or cost.get("steps_measured") == 0:  # an arm that diverged at once has no cost
        return {}
    plain = seconds / SECONDS
    return {"plain": plain, "own": plain * ratio, "extra": plain * (ratio - 1)}


def generation_hours(comparison: Mapping[str, Any], arm: str, images: float) -> dict[str, float]:
    """Processor hours for so many images: with plain training's models, and with the arm's."""
    arms = comparison.get("arms", {})
    found = {key: arms.get(name, {}).get("sample_ms_per_image") for key, name in (("plain", CONTROL), ("own", arm))}
    return {key: value * images / MILLISECONDS for key, value in found.items() if value is not None}


def comparison_hours(comparison: Mapping[str, Any]) -> float | None:
    """Processor hours of the whole comparison, at most: each session's minutes on all its processes.

    Where sessions were not counted one by one, all minutes are taken to have had the processes of the last.
    """
    spent = comparison.get("processor_minutes_total")
    if spent is not None:
        return float(spent) / 60
    minutes, processes = comparison.get("minutes_total"), comparison.get("provenance", {}).get("processes")
    return None if minutes is None or processes is None else minutes * processes / 60


def saving(comparison: Mapping[str, Any], arm: str) -> Facts | None:
    """Processor hours saved in a training that is as good as plain training, by the deciding judge that grants least.

    Both arms may be stopped early: what plain training itself could save is no saving of the arm's.

    Returns:
        None unless every deciding judge knows the share of plain training's cost, or that it lies below those measured. `sure`
        where every judge's interval lies above 0.
    """
    reached, judges = comparison.get("cost_to_plain", {}), comparison.get("judges", {})
    seconds = comparison.get("arms", {}).get(CONTROL, {}).get("cpu_seconds")
    found = []
    for judge, own in reached.get(arm, {}).items():
        if not judges.get(judge, {}).get("decides", True):
            continue
        plain = reached.get(CONTROL, {}).get(judge, {"mean": 1.0})
        if seconds is None or plain.get("mean") is None:
            return None
        below = own.get("outside") == "<"
        share = own.get("limit") if below else own.get("mean")
        if share is None:
            return None
        ends = (None if below else own.get("low"), own.get("high"))
        base, hours = plain["mean"], seconds / SECONDS
        low, high = (None if end is None else (base - end) * hours for end in reversed(ends))
        saved = {"mean": (base - share) * hours, "low": low, "high": high}
        found.append({"judge": judge, "share": share, "plain_share": base, "at_least": below, "hours": saved})
    if not found:
        return None
    sure = all((facts["hours"]["low"] or 0) > 0 for facts in found)
    return {**min(found, key=lambda facts: facts["hours"]["mean"]), "sure": sure}


def gain_of(comparison: Mapping[str, Any], arm: str, defect_class: str | None) -> Gain | None:
    """The downstream gain of an arm's images at equal cost, where one was measured and no training diverged."""
    measured = comparison.get("downstream") or {}
    if not measured or comparison.get("arms", {}).get(arm, {}).get("diverged"):
        return None
    mix = measured.get("headline")
    own, plain = ((measured.get("arms") or {}).get(name) or {} for name in (arm, CONTROL))
    recall, base = ((facts.get("recall") or {}).get(defect_class) for facts in (own, plain))
    seeds = [comparison.get("arms", {}).get(name, {}).get("seeds") for name in (arm, CONTROL)]
    return Gain(
        accuracy=_at(own, "gains", mix, "accuracy"),
        accuracy_over_plain=_at(measured, "differences", "equal_cost", arm, mix, "accuracy"),
        recall=recall,
        recall_over_plain=_difference(recall, base) if recall and base and seeds[0] == seeds[1] else None,
        images=_at(own, "worth", mix, "accuracy", "images"),
    )


def value_of(gain: Gain, prices: BusinessConfig, yearly: float | None, once: float | None) -> Facts:
    """What a gain is worth, what is left after its cost, and from how many defects a year on it pays.

    Args:
        gain: as measured.
        prices: of a missed defect and of a real image.
        yearly: money that training and generating cost in a year; None where that is not known.
        once: money that one training costs, likewise.
    """
    measured = {field.name: getattr(gain, field.name) for field in dataclasses.fields(gain)}
    facts: Facts = {name: _bounds(found) for name, found in measured.items() if found is not None}
    if gain.recall is not None:
        if prices.defects is not None:
            facts["misses_avoided_a_year"] = _scaled(gain.recall, prices.defects)
        if prices.miss is not None:
            facts["money_a_defect"] = _scaled(gain.recall, prices.miss)
            if prices.defects is not None:
                facts["money_a_year"] = _scaled(gain.recall, prices.miss * prices.defects)
            if yearly is not None:
                facts["cost_a_year"] = yearly
                facts |= _break_even(gain.recall, prices.miss, yearly)
    if gain.images is not None and prices.image is not None:
        facts["money_images"] = _scaled(gain.images, prices.image)
        if once is not None:
            facts |= {"cost_of_one": once, "net_images": _shifted(facts["money_images"], -once)}
    if "money_a_year" in facts and yearly is not None:
        facts["net_a_year"] = _shifted(facts["money_a_year"], -yearly)
    return facts


def gain_side(comparison: Mapping[str, Any], arm: str) -> str | None:
    """On which side of 0 the accuracy gained by an arm's images at equal cost lies; None where it was not measured."""
    measured = comparison.get("downstream") or {}
    gained = _at(measured, "arms", arm, "gains", measured.get("headline"), "accuracy")
    if gained is None:
        return None
    return OPEN if comparison.get("arms", {}).get(arm, {}).get("diverged") else side_of(gained)


def copies_side(comparison: Mapping[str, Any], arm: str) -> str | None:
    """What the audits of an arm's models at equal cost say: copies are bad, suspicions open; None where there was no audit."""
    facts = ((comparison.get("audit") or {}).get("arms") or {}).get(arm)
    return {"copies": BAD, "clear": GOOD}.get(facts["verdict"], OPEN) if facts else None


def decision(
    outcome: str, value: Mapping[str, Any] | None, gain: str | None = None, copies: str | None = None
) -> Facts:
    """Go, stop or wait, by a rule fixed beforehand.

    Go: all that was measured is good, that is the verdict at equal cost and, where there is one, the net value (of avoided
    misses, else of replaced images), the downstream gain and the audit. Stop: one of them is bad. Wait: neither.

    Args:
        outcome: of the verdict.
        value: what the gain is worth.
        gain: see `gain_side`.
        copies: see `copies_side`.
    """
    quality = {"better": GOOD, "worse": BAD}.get(outcome, OPEN)
    net = (value or {}).get("net_a_year") or (value or {}).get("net_images")
    found = {"quality": quality, "value": side_of(net) if net else None, "gain": gain, "copies": copies}
    sides = {name: side for name, side in found.items() if side is not None}
    say = STOP if BAD in sides.values() else GO if set(sides.values()) == {GOOD} else WAIT
    return {"say": say, **sides}


def side_of(money: Estimate) -> str:
    """Whether an interval lies above 0 (good), below 0 (bad), or neither (open, as it is without an interval)."""
    low, high = money.get("low"), money.get("high")
    if low is None or high is None:
        return OPEN
    return GOOD if low > 0 else BAD if high < 0 else OPEN


def _saved(saved: Facts, prices: BusinessConfig, spent: float | None) -> Facts:
    hours = saved["hours"]
    if prices.hour is not None:
        saved["money"] = _scaled(hours, prices.hour)
    if prices.volume is not None:
        saved["hours_a_year"] = _scaled(hours, prices.volume)
        if prices.hour is not None:
            saved["money_a_year"] = _scaled(hours, prices.volume * prices.hour)
    if spent is not None and hours["mean"] > 0:
        saved["break_even_trainings"] = spent / hours["mean"]
    return saved


def _break_even(recall: Estimate, miss: float, yearly: float) -> Facts:
    """Defects a year whose avoided misses pay for training and generating; the bounds from the gain's interval."""
    if recall["mean"] <= 0:
        return {}
    low, high = (recall.get(key) for key in ("low", "high"))
    of = {
        "mean": yearly / (recall["mean"] * miss),
        "low": None if high is None else yearly / (high * miss),
        "high": yearly / (low * miss) if low is not None and low > 0 else None,
    }
    return {"break_even_defects": of}


def _cost_of_one(comparison: Mapping[str, Any], arm: str, prices: BusinessConfig) -> float | None:
    """Money that one training of the arm at equal cost costs."""
    seconds = comparison.get("arms", {}).get(arm, {}).get("cpu_seconds")
    return None if seconds is None or prices.hour is None else seconds / SECONDS * prices.hour


def _yearly_cost(comparison: Mapping[str, Any], arm: str, prices: BusinessConfig) -> float | None:
    """Money that trainings of the arm at equal cost and, where their number was given, generated images cost in a year."""
    once = _cost_of_one(comparison, arm, prices)
    if once is None or prices.hour is None or prices.volume is None:
        return None
    generated = generation_hours(comparison, arm, prices.generated or 0.0).get("own", 0.0)
    return once * prices.volume + generated * prices.hour


def _priced(facts: Facts, hour: float | None) -> Facts:
    """Adds money beside hours where an hour has a price."""
    return facts if hour is None else {**facts, "money": {key: value * hour for key, value in facts["hours"].items()}}


def _at(holder: Mapping[str, Any], *keys: Any) -> Estimate | None:
    """The estimate at these keys; None where there is none, or one without a mean."""
    found: Any = holder
    for key in keys:
        found = (found or {}).get(key)
    return found if found and found.get("mean") is not None else None


def _difference(own: Estimate, other: Estimate) -> Estimate | None:
    pairs = list(zip(own.get("values") or [], other.get("values") or [], strict=False))
    return mean_interval([a - b for a, b in pairs]).as_dict() if pairs else None


def _bounds(estimate: Estimate) -> Facts:
    return {key: estimate.get(key) for key in _BOUNDS}


def _scaled(estimate: Estimate, factor: float) -> Facts:
    """An estimate times a factor above 0."""
    return {key: None if value is None else value * factor for key, value in _bounds(estimate).items()}


def _shifted(estimate: Estimate, by: float) -> Facts:
    return {key: None if value is None else value + by for key, value in _bounds(estimate).items()}
