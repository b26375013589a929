"""Three sentences for a meeting: each outcome said as it is, each in one sentence, with the comparison's own numbers."""

from __future__ import annotations

from typing import Any

import pytest

from report_fixture import SEEDS, comparison, pictures, rich_comparison
from sadm.experiments.business import business_facts
from sadm.experiments.prices import BusinessConfig
from sadm.experiments.report import meeting, money, render_report
from sadm.experiments.report.formatting import change
from sadm.experiments.report.messages import MESSAGES

LANGUAGES = ["en", "ja"]
STOPS = {"en": ".", "ja": "。"}


def outcome(state: str) -> dict[str, Any]:
    """A comparison in this state, with its hours."""
    given = comparison(state if state in ("better", "worse", "mixed") else "undecided")
    missing = {"diverged": "a run diverged", "floor": "at the floor"}
    ratios = given["ratios"]["equal_cost"]
    if state in missing:
        ratios["sadm"] = {judge: {"mean": None, "reason": missing[state]} for judge in given["floor"]}
    if state == "diverged":
        given["arms"]["sadm"] |= {"diverged": SEEDS[:2], "seeds": SEEDS[2:]}
    if state == "one_seed":
        ratios["sadm"] = {judge: {"mean": 0.9, "low": None, "high": None, "values": [0.9]} for judge in given["floor"]}
        given["protocol"]["seeds"] = SEEDS[:1]
    if state == "unmeasured":
        del ratios["sadm"]
    given["business"] = business_facts(given, BusinessConfig())
    return given


@pytest.mark.parametrize("state", meeting.STATES)
def test_states_are_told_apart(state: str) -> None:
    assert meeting.state(outcome(state)) == state


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("state", meeting.STATES)
def test_there_are_three_sentences_each_of_one_sentence(lang: str, state: str) -> None:
    found = meeting.sentences(outcome(state), lang)
    assert [key for key, *_ in found] == ["benefit", "cost", "risk"]
    for _, heading, sentence in found:
        assert heading
        assert sentence.endswith(STOPS[lang])
        assert sentence.count("。" if lang == "ja" else ". ") == (lang == "ja")
        assert "{" not in sentence
        assert "None" not in sentence
        assert "–" not in sentence, "no dash in place of a number"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_state_has_its_own_benefit_and_risk(lang: str) -> None:
    for say in (meeting.benefit, meeting.risk):
        assert len({say(outcome(state), lang) for state in meeting.STATES}) == len(meeting.STATES)


CLAIMS = {"en": "come closer to real ones at the same", "ja": "により生成画像は実画像に近づき"}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("state", meeting.STATES)
def test_only_a_proven_benefit_is_claimed(lang: str, state: str) -> None:
    assert (CLAIMS[lang] in meeting.benefit(outcome(state), lang)) == (state == "better")


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("state", ["better", "worse", "mixed", "undecided", "one_seed"])
def test_benefit_carries_the_judges_changes(lang: str, state: str) -> None:
    given = outcome(state)
    sentence = meeting.benefit(given, lang)
    for ratio in given["ratios"]["equal_cost"]["sadm"].values():
        assert change(ratio["mean"]) in sentence


@pytest.mark.parametrize("lang", LANGUAGES)
def test_cost_names_what_is_known(lang: str) -> None:
    given = outcome("better")
    bare = meeting.cost(given, lang)
    assert "1.20" in bare
    assert money.duration(51.2 / 3600, lang) in bare
    assert money.duration(51.2 * 1.2 / 3600, lang) in bare
    assert "EUR" not in bare
    given["business"] = business_facts(given, BusinessConfig(currency="EUR", hour=3600, volume=10))
    priced = meeting.cost(given, lang)
    for amount in ("51.2 EUR", "61.4 EUR", "102 EUR"):
        assert amount in priced
    assert "10" in priced
    less = comparison()
    less["cost"]["sadm"]["total_ratio"] = 0.9
    less["business"] = business_facts(less, BusinessConfig(volume=10))
    saved = MESSAGES[lang]["cost_clause_less"].format(count="10", amount=money.duration(51.2 / 3600, lang))
    assert saved in meeting.cost(less, lang)
    unmeasured = comparison()
    unmeasured["cost"]["sadm"]["steps_measured"] = 0
    unmeasured["business"] = business_facts(unmeasured, BusinessConfig())
    del given["cost"]["sadm"], given["business"]
    for without in (unmeasured, given):
        assert meeting.cost(without, lang) == MESSAGES[lang]["cost_sentence_unmeasured"].format(arm="SADM")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_savings_and_found_defects_are_claimed_only_when_sure(lang: str) -> None:
    given = rich_comparison()
    given["cost_to_plain"]["sadm"]["pixels"] = {"mean": 0.7, "outside": None, "limit": None, "low": 0.6, "high": 0.9}
    given["cost_to_plain"]["plain"] = dict.fromkeys(
        given["floor"], given["cost_to_plain"]["plain"]["mlp"] | {"mean": 0.94}
    )
    prices = BusinessConfig(defect_class="1")
    given["business"] = business_facts(given, prices)
    message = MESSAGES[lang]
    saved, found = message["benefit_clause_saving"], message["benefit_clause_recall"].split("{points}")[0]
    sentence = meeting.benefit(given, lang)
    assert saved.format(share="74\u00a0%") in sentence  # 0.7 of the 0.94 that plain training needs
    assert found in sentence
    given["cost_to_plain"]["sadm"]["pixels"]["high"] = 0.95
    given["downstream"]["arms"]["sadm"]["recall"]["1"]["low"] = -0.01
    given["business"] = business_facts(given, prices)
    unsure = meeting.benefit(given, lang)
    assert "74" not in unsure
    assert found not in unsure


@pytest.mark.parametrize("lang", LANGUAGES)
def test_risk_counts_trainings_that_diverged(lang: str) -> None:
    sentence = meeting.risk(outcome("diverged"), lang)
    assert "2" in sentence
    assert "15" in sentence  # plain training, and SADM at two budgets
    given = outcome("better")
    given["equal_steps"]["sadm"] |= {"diverged": SEEDS[:1], "seeds": SEEDS[1:]}
    assert MESSAGES[lang]["risk_clause_diverged"].format(count=1, total=15) in meeting.risk(given, lang)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_risk_says_that_inspection_was_not_measured(lang: str) -> None:
    clause = MESSAGES[lang]["risk_clause_inspection"]
    assert clause in meeting.risk(outcome("better"), lang)
    assert clause not in meeting.risk(rich_comparison(), lang)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_sentences_follow_the_verdict_on_the_page(lang: str) -> None:
    page = render_report(rich_comparison(), pictures(), lang)
    places = [page.index(f'class="{name}"') for name in ("headline", "meeting", "decision", "cards")]
    assert places == sorted(places)
    shown = money.decision(rich_comparison(), lang)
    assert shown is not None
    assert shown["rule"] in page


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_says_how_prices_are_given(lang: str) -> None:
    given = outcome("better")
    said = money.cost_sentences(given, lang)
    assert said[-1] == MESSAGES[lang]["money_how"].format(options="--business.hour --business.volume")
    given["business"] = business_facts(given, BusinessConfig(currency="EUR", hour=1, volume=1))
    assert not any("--business" in sentence for sentence in money.cost_sentences(given, lang))


def test_durations_are_in_the_unit_that_reads_best() -> None:
    hours = {51.2 / 3600: "51.2 s", 0.5: "30.0 min", 2.0: "2.00 h", -0.5: "−30.0 min", 1500.0: "1,500 h", 0.0: "0 s"}
    for value, shown in hours.items():
        assert money.duration(value, "en") == shown
    assert money.duration(0.5, "ja") == "30.0 分"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_differences_carry_a_sign(lang: str) -> None:
    table = money.cost_table(rich_comparison(), lang)
    assert table is not None
    assert [cells[2][0] for _, cells in table["rows"]][:4] == ["+"] * 4
    assert len(table["rows"]) == 6
    assert [money.signed(text) for text in ("0 s", "−1 s", "2 s", "–")] == ["0 s", "−1 s", "+2 s", "–"]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_worth_is_shown_with_every_number_and_only_where_it_was_measured(lang: str) -> None:
    given = rich_comparison()
    rows = money.worth_rows(given, lang)
    assert len(rows) == len(given["business"]["value"])
    assert {name for name, *_ in rows} <= {
        text.format(name="1", defects="5,000") for key, text in MESSAGES[lang].items() if key.startswith("worth_")
    }
    assert all(value for _, value, _ in rows)
    net = given["business"]["value"]["net_a_year"]
    assert any(value == money.money(net["mean"], given) for _, value, _ in rows)
    assert money.worth_rows(outcome("better"), lang) == []
    assert MESSAGES[lang]["heading_worth"] not in render_report(outcome("better"), pictures(), lang)
