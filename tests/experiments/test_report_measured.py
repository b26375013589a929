"""Sections of the report about what is measured on request: said as it is, and only where it was measured."""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from measured_fixture import GAPS, PER_RUN, SPACES, around, audit, pairs_of, representation, structure_metric
from report_fixture import SEEDS, comparison, pictures, rich_comparison
from report_page import LANGUAGES, NOTHING, Page
from sadm.experiments.business import business_facts
from sadm.experiments.prices import BusinessConfig
from sadm.experiments.report import Pictures, downstream, meeting, memorisation, money, render_report, structure
from sadm.experiments.report.facts import palette, regimes
from sadm.experiments.report.formatting import number, points, share
from sadm.experiments.report.messages import MESSAGES
from sadm.experiments.run_audits import Pairs

MEASURED = ("structure_metric", "audit", "downstream", "representation")


def full(verdict: str = "clear", plain: str = "clear") -> dict[str, Any]:
    """A comparison with all that can be measured; SADM's images are arranged better, the frozen encoder's worse."""
    given = rich_comparison()
    given["structure_metric"] = structure_metric({"plain": 3.0, "sadm": 2.0, "frozen_encoder": 4.0})
    given["audit"] = audit({"plain": plain, "sadm": verdict, "frozen_encoder": "look"})
    given["representation"] = representation(("plain", "sadm", "frozen_encoder"))
    given["business"] = business_facts(given, BusinessConfig())
    return given


@functools.cache
def page(lang: str, verdict: str = "clear") -> Page:
    shown = pictures()
    return Page(render_report(full(verdict), dataclasses.replace(shown, neighbours={}, pairs=pairs_of(shown)), lang))


def found_in(given: dict[str, Any], lang: str = "en") -> list[Any]:
    return regimes(given, palette(given["arms"]), lang)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_what_was_not_measured_is_one_line_each(lang: str) -> None:
    message = MESSAGES[lang]
    bare = Page(render_report(comparison(), pictures(), lang)).text
    for name in MEASURED:
        assert message[f"unmeasured_{name}"] in bare
        assert message[f"unmeasured_{name}"] not in page(lang).text
        option = f"--{name.replace('_', '-')}"
        assert option in message[f"unmeasured_{name}"]
    for name in ("structure", "downstream", "representation"):
        assert message[f"heading_{name}"] not in bare
        assert message[f"heading_{name}"] in page(lang).text
    assert message["heading_unmeasured"] in bare
    assert message["heading_unmeasured"] not in page(lang).text


@pytest.mark.parametrize("lang", LANGUAGES)
def test_figures_of_gaps_are_described(lang: str) -> None:
    labels = [value for value in page(lang).values("aria-label") if MESSAGES[lang]["structure_mixing"] in value]
    assert len(labels) == 1
    for factor in (1, 3, 2, 4):
        assert number(factor * GAPS["mixing"]) in labels[0]


# ---- structure -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("difference", "own", "plain", "expected"),
    [
        (around(-0.1), 0.2, 0.3, "closer"),
        (around(0.1), 0.4, 0.3, "farther"),
        (around(-0.001, 0.1), 0.3, 0.3, "open"),
        ({"mean": -0.1, "low": None, "high": None}, 0.2, 0.3, "open"),
        (around(-0.1), -0.05, 0.05, "open"),  # plain training is no farther than real images already
        (around(0.05), 0.08, 0.03, "open"),  # nor is this arm
        ({"mean": None, "reason": "a run diverged"}, None, 0.3, "open"),
    ],
)
def test_a_gap_counts_only_above_what_real_images_score(
    difference: dict[str, Any], own: float | None, plain: float, expected: str
) -> None:
    assert structure.side(difference, own, plain, 0.1) == expected


@pytest.mark.parametrize("lang", LANGUAGES)
def test_gaps_are_counted_and_told_apart(lang: str) -> None:
    given = full()
    assert structure.sides(given, SPACES, "sadm") == {"closer": len(SPACES) * len(GAPS)}
    assert structure.sides(given, SPACES, "frozen_encoder") == {"farther": len(SPACES) * len(GAPS)}
    shown = structure.section(given, found_in(given, lang), lang)
    assert shown is not None
    assert "12" in shown["sentence"]
    assert shown["sentence"] in page(lang).text
    assert [group["title"] for group in shown["groups"]] == [MESSAGES[lang][f"structure_{gap}"] for gap in GAPS]
    ((_, cells), *_) = shown["groups"][0]["rows"]
    assert cells[0][0] == number(GAPS["distances"])
    assert cells[1][0] == number(3 * GAPS["distances"])
    assert cells[2][0].startswith("−")
    assert MESSAGES[lang]["structure_closer"] in cells[2][1]
    assert MESSAGES[lang]["structure_farther"] in cells[3][1]


def test_a_judge_for_information_is_left_out_of_the_gaps() -> None:
    given = full()
    given["judges"]["pixels"]["decides"] = False
    shown = structure.section(given, found_in(given), "en")
    assert shown is not None
    assert {len(group["rows"]) for group in shown["groups"]} == {len(SPACES) - 1}


# ---- memorisation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("verdict", ["copies", "closer", "look", "clear"])
def test_every_verdict_is_said_with_its_numbers(lang: str, verdict: str) -> None:
    given, message = full(verdict), MESSAGES[lang]
    shown = memorisation.section(given, NOTHING, found_in(given, lang), lang)
    assert shown is not None
    assert len(shown["verdicts"]) == 3
    (_, grave, sentence) = shown["verdicts"][1]
    assert grave == (verdict in ("copies", "closer"))
    assert f"{PER_RUN}" in sentence
    assert str(len(SEEDS)) in sentence
    rows = {regime.name: (word, cells) for regime, word, cells in shown["rows"]}
    assert len(rows) == 5  # plain training, and two arms at two budgets
    word, cells = rows[message["arm_regime"].format(arm="SADM", regime=message["at_equal_cost"])]
    assert word == message[f"audit_word_{verdict}"]
    assert cells[0][0] == ", ".join(map(str, given["audit"]["arms"]["sadm"]["copies"]))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_where_nothing_was_found_one_sentence_says_so(lang: str) -> None:
    given = full()
    given["audit"] = audit(dict.fromkeys(given["arms"], "clear"))
    shown = memorisation.section(given, NOTHING, found_in(given, lang), lang)
    assert shown is not None
    words = MESSAGES[lang]["audit_all_clear"].format(images=PER_RUN, high="4.7 %")
    assert shown["verdicts"] == [(None, False, words)]


def test_leaked_images_are_told() -> None:
    given = full()
    given["audit"]["leaked"] = 7
    shown = memorisation.section(given, NOTHING, found_in(given), "en")
    assert shown is not None
    assert MESSAGES["en"]["audit_leaked"].format(leaked=7) in shown["notes"]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_gallery_shows_pairs_in_place_of_the_nearest_images(lang: str) -> None:
    message, shown = MESSAGES[lang], page(lang)
    assert message["audit_gallery"] in shown.text
    assert message["neighbours_intro"] not in shown.text
    alt = [
        value
        for value in shown.values("alt")
        if value.startswith(message["audit_alt"].split("{scores}")[0].format(arm="SADM"))
    ]
    assert len(alt) == 1
    assert message["audit_copy_score"].format(score="0.03") in alt[0]
    assert message["audit_copy_score"].format(score="0.73") not in alt[0]
    assert "0.73" in alt[0]


def test_pairs_are_one_above_the_other_and_small() -> None:
    given, shown = full(), pictures()
    section = memorisation.section(given, dataclasses.replace(shown, pairs=pairs_of(shown)), found_in(given), "en")
    assert section is not None
    (strip,) = section["gallery"]
    image = Image.open(io.BytesIO(base64.b64decode(strip["uri"].split(",")[1])))
    assert image.size == (8 * 64 + 7 * 4, 2 * 64 + 4)


def test_the_page_can_be_mailed_even_with_large_pictures_of_noise() -> None:
    draws, given = np.random.default_rng(0), full()
    arms = ["plain", "sadm", "frozen_encoder"]

    def noise(count: int) -> np.ndarray:
        return draws.integers(0, 256, (count, 160, 160, 3), dtype=np.uint8)

    pairs = {arm: Pairs(noise(8), noise(8), [0.5] * 8, [False] * 8) for arm in arms}
    shown = Pictures({arm: noise(60) for arm in arms}, noise(60), pairs=pairs)
    assert 1_500_000 < len(render_report(given, shown).encode()) < 3_000_000


# ---- downstream gain and representation ------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_gain_is_told_with_and_without_generated_images(lang: str) -> None:
    given = full()
    measured = given["downstream"]
    gained, base = measured["arms"]["sadm"]["gains"]["with_1x"]["accuracy"], measured["real"]["accuracy"]["mean"]
    sentence = downstream.gain_sentence(given, "sadm", lang)
    for text in (points(gained["mean"]), points(gained["low"]), share(base), share(base + gained["mean"]), "1,078"):
        assert text in sentence
    assert MESSAGES[lang]["gain_good"] in sentence
    shown = downstream.gain(given, found_in(given, lang), lang)
    assert shown is not None
    assert [regime.arm for regime, _ in shown["rows"]] == ["plain", "sadm"]
    worth = measured["arms"]["sadm"]["worth"]["with_1x"]["accuracy"]["images"]
    assert shown["rows"][1][1][3][0] == number(round(worth["mean"]))
    assert [name for name, *_ in shown["classes"]] == ["1", "2", "0"]  # the rarest first
    assert len(shown["mixes"]) == 4


def test_a_gain_counts_only_where_its_interval_is_above_zero() -> None:
    given = full()
    assert given["business"]["decision"]["gain"] == "good"
    assert MESSAGES["en"]["benefit_clause_accuracy"].format(points=share(0.0165)) in meeting.benefit(given, "en")
    given["downstream"]["arms"]["sadm"]["gains"]["with_1x"]["accuracy"]["low"] = -0.001
    facts = business_facts(given, BusinessConfig())
    assert facts["decision"]["gain"] == "open"
    assert facts["decision"]["say"] == "wait"
    assert "a classifier is right" not in meeting.benefit({**given, "business": facts}, "en")
    assert MESSAGES["en"]["gain_open"] in downstream.gain_sentence(given, "sadm", "en")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_loss_is_a_risk_and_stops(lang: str) -> None:
    given = full()
    own = given["downstream"]["arms"]["sadm"]
    own["gains"]["with_1x"]["accuracy"] = around(-0.03)
    given["business"] = business_facts(given, BusinessConfig())
    assert (given["business"]["decision"]["gain"], given["business"]["decision"]["say"]) == ("bad", "stop")
    assert MESSAGES[lang]["risk_clause_harm"].format(points=share(0.03)) in meeting.risk(given, lang)
    assert MESSAGES[lang]["gain_bad"] in downstream.gain_sentence(given, "sadm", lang)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_probes_stand_beside_pixels_and_plain_training(lang: str) -> None:
    given = full()
    shown = downstream.representation(given, found_in(given, lang), lang)
    assert shown is not None
    assert [len(rows) for _, rows in shown["groups"]] == [5, 5]
    cells = shown["groups"][0][1][0][1]
    assert [cell[0] for cell in cells] == [share(value) for value in (0.843, 0.871, 0.891, 0.891)]
    assert points(0.02) in cells[2][1]


# ---- what a meeting hears --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_copies_show_in_the_risk_and_stop(lang: str) -> None:
    given, message = full("copies"), MESSAGES[lang]
    decision = given["business"]["decision"]
    assert (decision["say"], decision["copies"]) == ("stop", "bad")
    assert message["risk_clause_copies"].format(copies=31, images=PER_RUN) in meeting.risk(given, lang)
    line = money.decision(given, lang)
    assert line is not None
    assert message["decision_copies_bad"] in line["why"]
    others = {verdict: full(verdict) for verdict in ("closer", "look", "clear")}
    sides = {verdict: other["business"]["decision"]["copies"] for verdict, other in others.items()}
    assert sides == {"closer": "open", "look": "open", "clear": "good"}
    assert others["clear"]["business"]["decision"]["say"] == "go"
    assert message["risk_clause_closer"] in meeting.risk(others["closer"], lang)
    for clause in ("copies", "closer", "look", "unaudited"):
        words = message[f"risk_clause_{clause}"].format(copies=0, images=PER_RUN)
        assert words not in meeting.risk(others["clear"], lang)


def test_copies_of_plain_training_alone_do_not_stop_the_other() -> None:
    decision = full("clear", plain="copies")["business"]["decision"]
    assert (decision["say"], decision["copies"]) == ("go", "good")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_that_nothing_was_audited_is_a_risk_of_a_winner(lang: str) -> None:
    clause = MESSAGES[lang]["risk_clause_unaudited"]
    assert clause in meeting.risk(comparison("better"), lang)
    assert clause not in meeting.risk(comparison("worse"), lang)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_an_arm_that_was_stopped_says_when_and_why(lang: str) -> None:
    given = full()
    ratio = {"mean": 2.2, "low": 1.5, "high": 3.2, "values": [2.1, 2.2, 2.3]}
    worse = {"seeds": 3, "reason": "worse in every deciding judge", "confidence": 0.995, "ratios": {"mlp": ratio}}
    wild = {"seeds": 4, "reason": "a run diverged", "confidence": 0.99833, "ratios": {}}
    given["stopped"] = {"frozen_encoder": worse, "sadm": wild}
    text, message = Page(render_report(given, NOTHING, lang)).text, MESSAGES[lang]
    assert message["stopped_diverged"].format(arm="SADM", seeds=4, total=len(SEEDS)) in text
    for words in ("frozen encoder", "+120 %", "+50 %", "99.5 %"):
        assert words in text.replace("\N{NO-BREAK SPACE}", " ")
    assert message["verdict_seed_many"].format(count=4) in text  # those of the arm in question
