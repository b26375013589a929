"""The page of a proof of concept, and its findings in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadm.core.pages import page_template
from sadm.data.preparation.sheet.render import point_text
from sadm.experiments.poc.pictures import strips
from sadm.experiments.poc.ranking import NOT, OPEN, PAYS
from sadm.experiments.poc.texts import poc_texts, reason_text
from sadm.experiments.report.formatting import DASH, bounds, change, finite, number, percent
from sadm.experiments.report.money import duration, money, time_and_money
from sadm.experiments.report.naming import arm_in_text, arm_name, judge_name
from sadm.experiments.report.verdict import range_text

_MINUTES = 60.0
_WHOLE = 0.999  # of the recipe's length
_FEW_SEEDS = 5


def render_poc(found: Mapping[str, Any], folder: Path, lang: str = "en") -> str:
    """Renders the page as one HTML file that loads nothing from anywhere.

    Args:
        found: as ``poc.json`` has it.
        folder: of the proof of concept, from which samples are taken.
        lang: "en" or "ja".

    Raises:
        UserError: there is no such language.
    """
    message = poc_texts(lang)
    headline, *notes = poc_sentences(found, lang)
    judges = list(found["judges"])
    domains = [_Shown(found, facts, lang) for facts in found["domains"]]
    assumed = found["assumed"]
    how = {
        key: message[key]
        for key in ("how_verdict", "how_ranking", "how_together", "how_expected", "how_power", "how_equal")
    }
    values = {
        "power": percent(assumed["power"]),
        "bound": percent(assumed["spread_bound"]),
        "matters": percent(assumed["matters"]),
    }
    return page_template(__package__).render(
        m=message,
        lang=lang,
        subtitle=message["subtitle"].format(
            arm=arm_name(found["arm"], lang), count=_count(found), budget=_duration(found["minutes"]["budget"], lang)
        ),
        headline=headline,
        notes=notes,
        judges=[judge_name(found, judge, lang) for judge in judges],
        rows=[shown.row(judges) for shown in domains],
        left_out=[_left_out(found, facts, message, lang) for facts in found["left_out"]],
        domains=[
            shown.block(strips(folder, facts, lang)) for shown, facts in zip(domains, found["domains"], strict=True)
        ],
        next_intro=message["next_intro"].format(jobs=found["provenance"]["processes"]),
        steps=[shown.step() for shown in domains],
        how=[text.format(**values) for text in how.values()],
    )


def poc_sentences(found: Mapping[str, Any], lang: str) -> list[str]:
    """The finding in one sentence, then what is to be kept in mind."""
    message, domains = poc_texts(lang), found["domains"]
    places = {place: [facts for facts in domains if facts["place"] == place] for place in (PAYS, OPEN, NOT)}
    fields = {"arm": arm_name(found["arm"], lang), "arm_in_text": arm_in_text(found["arm"], lang), "all": len(domains)}
    if not domains:
        headline = message["headline_none"]
    elif places[PAYS]:
        names = _names(places[PAYS], message)
        headline = message["headline_pays"].format(count=len(places[PAYS]), names=names, **fields)
    elif places[OPEN]:
        headline = message["headline_open"].format(count=len(places[OPEN]), **fields)
    else:
        headline = message["headline_not"].format(**fields)
    return [headline, *_notes(found, places, message, lang)]


def _notes(
    found: Mapping[str, Any], places: Mapping[str, list[Any]], message: Mapping[str, str], lang: str
) -> list[str]:
    domains, notes = found["domains"], []
    if not places[PAYS] and places[OPEN] and places[OPEN][0]["estimate"]:
        best = places[OPEN][0]
        key = "first_open" if best["estimate"]["mean"] < 1 else "first_open_none"
        notes.append(
            message[key].format(
                name=best["name"], change=change(best["estimate"]["mean"]), interval=_interval(best["estimate"], lang)
            )
        )
    notes += _together(found, places[PAYS], message)
    notes += _curse(domains, message)
    if domains and found["share"] < _WHOLE:
        pretraining = percent(max(facts["pretraining"] for facts in domains))
        images = number(found["images"])
        notes.append(message["short"].format(images=images, share=percent(found["share"]), pretraining=pretraining))
    seeds = min((facts["seeds"] for facts in domains), default=_FEW_SEEDS)
    if seeds < _FEW_SEEDS:
        notes.append(message["few_seeds"].format(seeds=seeds))
    if found["left_out"]:
        notes.append(message["left_out_note"].format(names=_names(found["left_out"], message)))
    notes += [message["stuck_note"].format(name=name, why=why) for name, why in found["stuck"].items()]
    if found["waiting"]:
        notes.append(message["waiting_note"].format(names=message["join"].join(found["waiting"])))
    spent, budget = found["minutes"]["spent"], found["minutes"]["budget"]
    both = time_and_money(spent / _MINUTES, found["business"].get("money"), found, lang)
    notes.append(message["spent"].format(spent=both, budget=_duration(budget, lang)))
    return notes


def _together(found: Mapping[str, Any], paying: Sequence[Mapping[str, Any]], message: Mapping[str, str]) -> list[str]:
    """What having looked at several domains means for the verdicts."""
    count = len(found["domains"])
    if count < 2:
        return []
    lines = [message["multiple"].format(all=count)]
    for key, chosen in (
        ("holds_all", [facts for facts in paying if facts["holds"]]),
        ("holds_not", [facts for facts in paying if not facts["holds"]]),
    ):
        if chosen:
            lines.append(message[key].format(names=_names(chosen, message), all=count))
    return lines


def _curse(domains: Sequence[Mapping[str, Any]], message: Mapping[str, str]) -> list[str]:
    if len(domains) < 2 or domains[0]["estimate"] is None or domains[0]["estimate"]["mean"] >= 1:
        return []
    best = domains[0]
    if best["expected"] is None:
        return [message["curse_two"]]
    likely = {key: change(best["expected"][of]) for key, of in (("likely", "mean"), ("low", "low"), ("high", "high"))}
    return [message["curse"].format(name=best["name"], seen=change(best["estimate"]["mean"]), **likely)]


class _Shown:
    """One domain in words."""

    def __init__(self, found: Mapping[str, Any], facts: Mapping[str, Any], lang: str) -> None:
        self.found, self.facts, self.lang, self.message = found, facts, lang, poc_texts(lang)

    def row(self, judges: Sequence[str]) -> dict[str, Any]:
        """Its line in the ranking."""
        facts, message = self.facts, self.message
        return {
            "rank": facts["rank"],
            "name": facts["name"],
            "source": facts["source"],
            "place": message[f"place_{facts['place']}"],
            "key": facts["place"],
            "cells": [self._change(facts["ratios"].get(judge)) for judge in judges],
            "together": self._holds(),
            "images": (number(facts["images"]), message["images_note"].format(train=number(facts["train_images"]))),
            "problems": problems(facts, message),
            "spent": (_duration(facts["minutes"], self.lang), self._spent()),
            "next": self._next(),
        }

    def block(self, pictures: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
        """Its part of the page: pictures, images, links."""
        facts, message = self.facts, self.message
        classes = message["facts_classes"].format(count=facts["classes"]) if facts["classes"] else ""
        return {
            "name": facts["name"],
            "place": message[f"place_{facts['place']}"],
            "key": facts["place"],
            "pictures": pictures,
            "facts": message["facts"].format(
                images=number(facts["images"]),
                train=number(facts["train_images"]),
                held_out=number(facts["held_out_images"]),
                classes=classes,
                height=facts["shape"][1],
                width=facts["shape"][2],
                steps=number(facts["steps"]),
                seeds=facts["seeds"],
                spent=self._cost(facts),
            ),
            "points": [point_text(dict(point), self.lang) for point in facts["points"]],
            "report": facts["report"],
            "sheet": facts["sheet"],
        }

    def step(self) -> dict[str, Any]:
        """What to do next, and the command."""
        step, message = self.facts["next"], self.message
        key = {
            "decide": f"say_decide_{step.get('basis')}",
            "confirm": "say_confirm_full" if step.get("steps") != self.facts["steps"] else "say_confirm",
            "stop": "say_stop_close" if "detectable" in step else "say_stop",
            "repeat": "say_repeat",
        }[step["kind"]]
        effects = message["join"].join(sorted({change(value) for value in step.get("effects", {}).values()}))
        text = message[key].format(
            further=step.get("further"),
            seeds=step.get("seeds"),
            steps=number(step.get("steps")),
            power=percent(self.found["assumed"]["power"]),
            effects=effects,
            cost=self._cost(step),
            most=self.found["assumed"]["most"],
            detectable=change(step.get("detectable")),
            pretraining=percent(self.facts["pretraining"]),
        )
        longer = step.get("longer")
        if longer is None:
            return {"name": self.facts["name"], "text": text, "command": step.get("command")}
        more = message["say_longer"].format(
            seeds=longer["seeds"], steps=number(longer["steps"]), cost=self._cost(longer)
        )
        joined = ("" if self.lang == "ja" else " ").join([text, more])
        return {"name": self.facts["name"], "text": joined, "command": longer["command"]}

    def _next(self) -> str:
        step = self.facts["next"]
        key = "stop_close" if step["kind"] == "stop" and "detectable" in step else step["kind"]
        if "longer" in step:
            return self.message["next_longer"].format(cost=self._cost(step["longer"]))
        fields = {"further": step.get("further"), "cost": self._cost(step), "most": self.found["assumed"]["most"]}
        return self.message[f"next_{key}"].format(**fields)

    def _cost(self, facts: Mapping[str, Any]) -> str:
        """Hours on this machine, with the money where it is known."""
        minutes = finite(facts.get("minutes"))
        return (
            DASH if minutes is None else time_and_money(minutes / _MINUTES, facts.get("money"), self.found, self.lang)
        )

    def _spent(self) -> str:
        seeds = self.message["seeds_note"].format(seeds=self.facts["seeds"])
        amount = self.facts.get("money")
        return seeds if amount is None else self.message["join"].join([money(amount, self.found), seeds])

    def _holds(self) -> str:
        facts = self.facts
        if facts["holds"] and len(self.found["domains"]) > 1:
            return self.message["holds"]
        p = facts["p_all"]
        return self.message["probability"].format(p=self.message["p_small"] if p < 0.001 else f"{p:.2g}")

    def _change(self, ratio: Mapping[str, Any] | None) -> tuple[str, str]:
        if ratio is None:
            return DASH, ""
        if finite(ratio["mean"]) is None:
            return DASH, self.message.get(ratio["reason"], ratio["reason"])
        ends = bounds(ratio)
        return change(ratio["mean"]), "" if ends is None else range_text(change(ends[0]), change(ends[1]), self.lang)


def problems(facts: Mapping[str, Any], message: Mapping[str, str]) -> list[str]:
    """What is wrong with images, in a few words."""
    outcomes = facts.get("outcomes", {})
    counts = {
        "quarantined": outcomes.get("quarantined", 0) + outcomes.get("not_listed", 0),
        "duplicate": outcomes.get("duplicate", 0),
        "near": facts.get("near_duplicates", 0),
    }
    found = [message[f"problem_{key}"].format(count=number(count)) for key, count in counts.items() if count]
    return found or [message["problems_none"]]


def _left_out(
    found: Mapping[str, Any], facts: Mapping[str, Any], message: Mapping[str, str], lang: str
) -> dict[str, Any]:
    return {
        "name": facts["name"],
        "source": facts["source"],
        "why": reason_text(facts["reason"], lang),
        "images": number(facts.get("images")),
        "problems": problems(facts, message) if "outcomes" in facts else [DASH],
        "sheet": facts["sheet"],
    }


def _interval(estimate: Mapping[str, Any], lang: str) -> str:
    ends = bounds(estimate)
    if ends is None:
        return ""
    return poc_texts(lang)["interval"].format(range=range_text(change(ends[0]), change(ends[1]), lang))


def _names(domains: Sequence[Mapping[str, Any]], message: Mapping[str, str]) -> str:
    return message["join"].join(facts["name"] for facts in domains)


def _count(found: Mapping[str, Any]) -> int:
    return len(found["domains"]) + len(found["left_out"]) + len(found["waiting"])


def _duration(minutes: float, lang: str) -> str:
    return duration(minutes / _MINUTES, lang)
