"""The decision report: complete, self-contained, safe against odd names."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import pytest

from report_fixture import comparison, pictures, rich_comparison
from report_page import NOTHING, OUTCOMES, Page, html_of
from sadm.core.errors import UserError
from sadm.experiments.report import render_report, verdict_sentence
from sadm.experiments.report.figures import key_mark
from sadm.experiments.report.messages import MESSAGES

OPTIONAL = {
    "heading_classes",
    "heading_coverage",
    "heading_downstream",
    "heading_money",
    "heading_reach",
    "heading_representation",
    "heading_samplers",
    "heading_structure",
    "heading_worth",
}


def test_page_holds_every_section(rendered: tuple[str, str]) -> None:
    lang, html = rendered
    page, message = Page(html), MESSAGES[lang]
    assert ("html", {"lang": lang}) in page.tags
    for key in (key for key in message if key.startswith("heading_")):
        assert (message[key] in page.text) == (key not in OPTIONAL), key
    for key in ("explain_fd", "explain_floor", "explain_interval", "explain_judge"):
        assert message[key] in page.text
    assert "FID" not in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 5  # three grids, two strips of neighbours
    assert sum(a.get("role") == "img" for _, a in page.tags) == 6  # two judges, ratios, three curves


def test_verdict_stands_before_everything_else(rendered: tuple[str, str]) -> None:
    lang, html = rendered
    body = html[html.index("<main>") :]
    assert body.index('class="headline"') < min(body.index("<table"), body.index("<img"), body.index('class="cards"'))
    assert MESSAGES[lang]["verdict_better"].format(arm="SADM") in Page(html).text


def test_page_loads_nothing(rendered: tuple[str, str]) -> None:
    page = Page(rendered[1])
    assert not re.search(r"https?://|//[a-z]", re.sub(r'"data:[^"]*"', "", rendered[1]))
    assert all(value.startswith("data:image/png;base64,") for value in page.values("src"))
    assert all(value.startswith("#") for value in page.values("href", "xlink:href"))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "@import" not in rendered[1]
    assert set(re.findall(r"url\((.)", rendered[1])) <= {"#"}


def test_ids_are_unique_and_references_resolve(rendered: tuple[str, str]) -> None:
    page = Page(rendered[1])
    ids = page.values("id")
    assert len(ids) > 50
    assert len(ids) == len(set(ids))
    used = {value[1:] for value in page.values("href")} | set(re.findall(r"url\(#([^)]*)\)", rendered[1]))
    assert used
    assert used <= set(ids)


def test_figures_are_described_and_follow_the_page(rendered: tuple[str, str]) -> None:
    figures = re.findall(r'<svg class="figure".*?</svg>', rendered[1], flags=re.DOTALL)
    for text in figures:
        root = ElementTree.fromstring(text)  # noqa: S314 - our own text
        assert root.get("aria-label") == root[0].text
        assert len(root.get("aria-label") or "") > 20
        assert not re.search(r"(fill|stroke): #", text), "a fixed colour is illegible on one of the two backgrounds"
        assert any(element.tag == "text" for element in root.iter()), "text must stay text"
    assert all(attributes["alt"] for tag, attributes in Page(rendered[1]).tags if tag == "img")


def test_rendering_is_deterministic() -> None:
    assert render_report(comparison(), pictures()) == html_of()


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_gets_the_same_page(outcome: str) -> None:
    ours, other = (Page(html_of(name)) for name in (outcome, "better"))

    def classes(page: Page) -> list[str]:
        return [value for value in page.values("class") if value != "key"]

    assert classes(ours) == classes(other)


def test_a_rich_comparison_has_every_section(rich: tuple[str, Page]) -> None:
    lang, page = rich
    for key in OPTIONAL - {"heading_representation", "heading_structure"}:  # test_report_measured.py
        assert MESSAGES[lang][key] in page.text, key
    assert "frozen_encoder:" in page.text  # what it changes, in the protocol
    assert sum(a.get("role") == "img" for _, a in page.tags) == 6


def test_names_cannot_become_markup() -> None:
    evil = '<script>alert("1")</script>$x^2$'
    given, shown = comparison(), pictures()
    for key in ("arms", "curves"):
        given[key] = {"plain": given[key]["plain"], evil: given[key]["sadm"], "sadm": given[key]["sadm"]}
    given["title"] = given["data"]["source"] = evil
    given["judges"]["mlp"]["title"], given["judges"]["pixels"]["title"] = evil, "x" * 300
    given["protocol"][evil] = {evil: [evil]}
    given["ratios"]["equal_cost"]["sadm"]["pixels"] = {"mean": None, "reason": evil}
    given["ratios"]["equal_cost"][evil] = given["ratios"]["equal_cost"]["sadm"]
    labels = [evil, *(shown.labels or [])[1:10]] * 4
    samples = {evil: shown.samples["plain"], **shown.samples}
    page_text = render_report(
        given, dataclasses.replace(shown, samples=samples, labels=labels, neighbours={evil: shown.neighbours["sadm"]})
    )
    page = Page(page_text)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script" not in page_text
    assert evil in page.text, "the name itself is shown, as text"
    assert "x" * 300 in page.text, "a long name is cut in figures only"


PARTS = list(rich_comparison())


@pytest.mark.parametrize("missing", [PARTS, PARTS[0::2], PARTS[1::2]])
def test_missing_parts_are_left_out(missing: list[str]) -> None:
    given = {key: value for key, value in rich_comparison().items() if key not in missing}
    Page(render_report(given, NOTHING, "en"))
    assert verdict_sentence(given)


def test_missing_numbers_inside_parts_are_left_out() -> None:
    given = comparison()
    for arm in (given["arms"]["sadm"], given["arms"]["plain"]):
        for key in ("kid", "sample_ms_per_image", "parameters", "pretrain_cpu_seconds", "seeds"):
            del arm[key]
    given["arms"]["sadm"]["fd"]["mlp"] = {"mean": float("nan"), "values": [None]}
    given["arms"]["plain"]["fd"]["mlp"] = {"mean": 2.0}
    given["floor"] = {"mlp": 0.4}
    given["ratios"]["equal_cost"]["sadm"]["mlp"] = {"mean": 0.9, "low": None, "high": None, "values": [0.9]}
    given["curves"]["sadm"] = {"step": [1, 2, 3], "loss": [1.0, float("nan"), None], "g_structure": [0.0, 0.0, 0.0]}
    given["judges"]["pixels"] = None
    page = Page(render_report(given, NOTHING))
    assert not re.search(r"\bnan\b", page.text, flags=re.IGNORECASE)
    assert "None" not in page.text


def test_unknown_language_is_refused() -> None:
    with pytest.raises(UserError, match="expected one of en, ja"):
        render_report(comparison(), NOTHING, "fr")


def test_an_arm_has_one_colour_in_every_figure(rendered: tuple[str, str]) -> None:
    html = rendered[1]
    figures = dict(re.findall(r'<svg class="figure".*?id="([a-z0-9]+)-figure_1"(.*?)</svg>', html, flags=re.DOTALL))
    used = {name: set(re.findall(r"var\(--arm(\d)\)", text)) for name, text in figures.items()}
    assert used == {
        "quality0": {"0", "1"},
        "quality1": {"0", "1"},
        "ratio": {"1"},
        "loss": {"0", "1"},
        "gap": {"1"},
        "gradient": {"1"},
    }
    assert "var(--arm1)" in key_mark(1)
