"""The verdict on the page: equally plain about every outcome."""

from __future__ import annotations

import json

import pytest

from report_fixture import SEEDS, comparison, rich_comparison
from report_page import LANGUAGES, NOTHING, OUTCOMES, Page, html_of, spaced
from sadm.experiments.report import render_report, verdict_sentence
from sadm.experiments.report.facts import cards, palette, ratio_groups, reading
from sadm.experiments.report.formatting import change
from sadm.experiments.report.messages import MESSAGES, term


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_verdict_sentence_says_outcome_and_numbers(lang: str, outcome: str) -> None:
    given = comparison(outcome)
    sentence = verdict_sentence(given, lang)
    headline = MESSAGES[lang][f"verdict_{outcome}"].format(arm="SADM")
    assert sentence.startswith(headline)
    for ratio in given["ratios"]["equal_cost"]["sadm"].values():
        for key in ("mean", "low", "high"):
            assert change(ratio[key]) in sentence
    assert MESSAGES[lang]["verdict_seed_many"].format(count=len(SEEDS)) in sentence
    help_words = {key: MESSAGES[lang][f"verdict_{key}_help"] for key in ("undecided", "mixed")}
    assert {key for key, words in help_words.items() if words in sentence} == {outcome} & set(help_words)
    if lang == "en":
        assert headline in Page(html_of(outcome)).text


def test_outcomes_have_different_sentences() -> None:
    for lang in LANGUAGES:
        assert len({verdict_sentence(comparison(outcome), lang) for outcome in OUTCOMES}) == len(OUTCOMES)


@pytest.mark.parametrize(
    ("low", "high", "key"), [(0.7, 0.9, "side_better"), (1.1, 1.3, "side_worse"), (0.9, 1.1, "open_question")]
)
def test_reading_follows_the_interval(low: float, high: float, key: str) -> None:
    assert reading({"mean": (low + high) / 2, "low": low, "high": high}, "en") == MESSAGES["en"][key]
    assert reading({"mean": None, "reason": "at the floor"}, "en") == MESSAGES["en"]["open_question"]


@pytest.mark.parametrize(
    ("interval", "told", "span"),
    [((1.1, 1.3), True, True), ((0.9, 1.4), False, True), ((None, None), False, False)],
)
def test_what_an_image_costs_has_its_interval(interval: tuple[float, float], told: bool, span: bool) -> None:
    """The noise of a machine is not shown as a difference."""
    given = comparison()
    given["cost"]["sadm"]["sampling_ratio"] = {"mean": 1.18, "low": interval[0], "high": interval[1]}
    (card,) = (card for card in cards(given, "en") if card["value"] == "×1.18")
    assert (card["note"] == "") == told
    assert ("×1.40" in card["detail"] or "×1.30" in card["detail"]) == span
    given["cost"]["sadm"]["sampling_ratio"] = {"mean": None, "reason": "a run diverged"}
    assert card["label"] not in {card["label"] for card in cards(given, "en")}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    ("reason", "key"), [("at the floor", "verdict_at_floor"), ("a run diverged", "verdict_diverged_help")]
)
def test_a_missing_ratio_is_said(lang: str, reason: str, key: str) -> None:
    given = comparison("undecided")
    given["ratios"]["equal_cost"]["sadm"] = {judge: {"mean": None, "reason": reason} for judge in given["floor"]}
    sentence = verdict_sentence(given, lang)
    assert MESSAGES[lang][key] in sentence
    assert MESSAGES[lang]["verdict_undecided_help"] not in sentence
    shown = [row for _, rows in ratio_groups(given, palette(given["arms"]), lang) for row in rows]
    missing = [text["change"] for drawn, text in shown if drawn.mark is None]
    assert missing == [f"{MESSAGES[lang]['no_value']} ({term(reason, lang)})"] * len(given["floor"])


def test_other_arms_stand_beside_the_treatment_as_controls(rich: tuple[str, Page]) -> None:
    lang, page = rich
    given, message = rich_comparison(), MESSAGES[lang]
    control = message["verdict_control"].split("{changes}")[0].format(arm="frozen encoder")
    assert control in page.text
    for ratio in given["ratios"]["equal_cost"]["frozen_encoder"].values():
        assert spaced(change(ratio["mean"])) in page.text[page.text.index(control) :]
    headline = message["verdict_better"].format(arm="SADM")
    assert page.text.index(headline) < page.text.index(control)
    regime = message["arm_regime"].format(arm="frozen encoder", regime=message["at_equal_steps"])
    assert message["verdict_diverged"].format(arm=regime, count=1, total=len(SEEDS)) in page.text
    assert message["cost_diverged"] in page.text


def test_without_sadm_the_page_names_the_arm_in_question() -> None:
    text = json.dumps(rich_comparison()).replace("sadm", "own").replace("frozen_encoder", "other")
    page = Page(render_report(json.loads(text), NOTHING)).text
    assert "own: is it worth it?" in page
    assert MESSAGES["en"]["verdict_better"].format(arm="own") in page
    assert MESSAGES["en"]["verdict_sampling_sadm"] not in page
    assert "SADM" not in page.replace("SADM version", "")


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_structure_in_hidden_layers_is_called_so(lang: str) -> None:
    text = json.dumps(rich_comparison()).replace("frozen_encoder", "hidden")
    given = json.loads(text)
    given["verdict"]["treatment"] = "hidden"
    page, message = Page(render_report(given, NOTHING, lang)).text, MESSAGES[lang]
    assert message["verdict_better"].format(arm=message["arm_hidden"]) in page
    assert message["verdict_sampling_hidden"] in page
    assert message["verdict_sampling_sadm"] not in page
    assert spaced(message["subtitle_hidden"]) in page
