"""The decision report: complete, self-contained, safe against odd names, and equally plain about every outcome."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import re
import string
from html.parser import HTMLParser
from importlib import resources
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from report_fixture import SEEDS, comparison, pictures, rich_comparison
from sadm.core.errors import UserError
from sadm.core.grids import grid_png
from sadm.experiments.report import Pictures, details, render_report, verdict_sentence
from sadm.experiments.report.facts import in_words, palette, ratio_groups, reading, regimes
from sadm.experiments.report.figures import _set_apart, _shortened, key_mark
from sadm.experiments.report.formatting import change, number
from sadm.experiments.report.messages import MESSAGES, term
from sadm.experiments.report.pictures import column_layout, thumbnails

LANGUAGES = ["en", "ja"]
OUTCOMES = ["better", "worse", "undecided", "mixed"]
VOID = {"meta", "img", "br", "hr", "link", "input"}
OPTIONAL = {
    "heading_classes",
    "heading_coverage",
    "heading_money",
    "heading_reach",
    "heading_samplers",
    "heading_worth",
}
NOTHING = Pictures({}, np.zeros((0, 8, 8, 1), np.uint8))


class Page(HTMLParser):
    """Collects tags and text, and fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.words.append(data)

    def values(self, *names: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags for name in names if name in attributes]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def spaced(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@functools.cache
def html_of(outcome: str = "better", lang: str = "en") -> str:
    return render_report(comparison(outcome), pictures(), lang)


@functools.cache
def rich_page(lang: str) -> Page:
    return Page(render_report(rich_comparison(), NOTHING, lang))


@pytest.fixture(params=LANGUAGES)
def rendered(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param, html_of(lang=request.param)


@pytest.fixture(params=LANGUAGES)
def rich(request: pytest.FixtureRequest) -> tuple[str, Page]:
    return request.param, rich_page(request.param)


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


def test_quality_shows_fd_floor_and_difference() -> None:
    given = comparison()
    page = Page(html_of())
    fd = given["arms"]["plain"]["fd"]["mlp"]["mean"]
    for value in (fd, given["floor"]["mlp"], fd - given["floor"]["mlp"]):
        assert number(value) in page.text
    assert "FD (classifier trained on other images)" in page.text


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


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_gets_the_same_page(outcome: str) -> None:
    ours, other = (Page(html_of(name)) for name in (outcome, "better"))

    def classes(page: Page) -> list[str]:
        return [value for value in page.values("class") if value != "key"]

    assert classes(ours) == classes(other)


@pytest.mark.parametrize(
    ("low", "high", "key"), [(0.7, 0.9, "side_better"), (1.1, 1.3, "side_worse"), (0.9, 1.1, "open_question")]
)
def test_reading_follows_the_interval(low: float, high: float, key: str) -> None:
    assert reading({"mean": (low + high) / 2, "low": low, "high": high}, "en") == MESSAGES["en"][key]
    assert reading({"mean": None, "reason": "at the floor"}, "en") == MESSAGES["en"]["open_question"]


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


def test_a_rich_comparison_has_every_section(rich: tuple[str, Page]) -> None:
    lang, page = rich
    for key in OPTIONAL:
        assert MESSAGES[lang][key] in page.text, key
    assert "frozen_encoder:" in page.text  # what it changes, in the protocol
    assert sum(a.get("role") == "img" for _, a in page.tags) == 6


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


def test_shares_of_the_cost_are_shown_with_what_lies_outside(rich: tuple[str, Page]) -> None:
    cells = [row for row in details.reach(rich_comparison(), rich[0])["rows"] if row[0] != "plain"]  # type: ignore[index]
    sadm, frozen = (row[2] for row in cells)
    between = MESSAGES[rich[0]]["interval_range"].format(low="55\u00a0%", high="81\u00a0%")
    assert sadm == [("62\u00a0%", between), ("< 50\u00a0%", "")]
    assert frozen[0] == ("90\u00a0%", "")
    assert frozen[1][0].startswith("–")
    assert all(spaced(cell[0]) in rich[1].text for cell in sadm)


def test_classes_come_rarest_first_with_recall() -> None:
    given = rich_comparison()
    found = regimes(given, palette(given["arms"]), "en")
    (first, second) = details.classes(given, found, "en")
    assert [name for name, *_ in first["rows"]] == ["1", "2", "0"]
    assert [count for _, count, _ in first["rows"]] == ["5", "40", "108"]
    assert [name for _, name in first["arms"]] == ["Plain training", "SADM", "frozen encoder"]
    cells = first["rows"][0][2]
    assert cells[0][0] == number(3.1 - given["floor"]["mlp"])
    ratios = given["ratios"]["equal_cost"]
    assert [cell[0] for cell in cells[1:3]] == [
        change(ratios[arm]["mlp"]["mean"]) for arm in ("sadm", "frozen_encoder")
    ]
    assert [cell[0] for cell in cells[3:]] == ["90\u00a0%", *["12\u00a0%"] * 3]
    assert first["judge"] != second["judge"]


def test_shares_of_images_end_at_zero_and_one() -> None:
    given = rich_comparison()
    given["arms"]["plain"]["recall"]["mlp"] = {"mean": 0.99, "low": 0.96, "high": 1.02, "values": []}
    table = details.coverage(given, regimes(given, palette(given["arms"]), "en"), "en")
    assert table is not None
    assert table["rows"][0][0] is None  # real images
    assert table["rows"][1][1][1] == ("99\u00a0%", "96\u00a0% to 100\u00a0%")


def test_samplers_show_every_arm_against_plain() -> None:
    given = rich_comparison()
    found = details.samplers(given, regimes(given, palette(given["arms"]), "en"), "en")
    assert found is not None
    ((name, rows),) = found["groups"]
    assert name == "5 NFE (5 network evaluations per image)"
    plain = given["samplers"]["5 NFE"]["arms"]["plain"]["fd"]["mlp"]["mean"] - given["floor"]["mlp"]
    assert rows[0][1][0][0] == number(plain)
    expected = [change(given["ratios"][b][a]["mlp"]["mean"]) for a, b in ARMS_AT[:3]]
    assert [cell[0] for cell in rows[0][1][1:4]] == expected
    assert rows[0][1][4][0] == "no ratio (a run diverged)"


ARMS_AT = [(arm, budget) for arm in ("sadm", "frozen_encoder") for budget in ("equal_cost", "equal_steps")]


def test_languages_have_the_same_keys_and_fields() -> None:
    english, *others = (MESSAGES[lang] for lang in LANGUAGES)
    for other in others:
        assert english.keys() == other.keys()
        for key, text in english.items():
            fields = [
                {name for _, name, _, _ in string.Formatter().parse(words) if name} for words in (text, other[key])
            ]
            assert fields[0] == fields[1], key
            assert other[key].strip(), key


def test_every_text_is_used() -> None:
    folder = resources.files("sadm.experiments.report")
    names = (
        "details.py",
        "facts.py",
        "meeting.py",
        "money.py",
        "naming.py",
        "render.py",
        "verdict.py",
        "template.html.j2",
    )
    sources = "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
    built = (
        "arm_",
        "at_",
        "benefit_",
        "cost_clause_",
        "curves_",
        "data_",
        "decision_",
        "explain_",
        "heading_",
        "meeting_",
        "money_generation",
        "money_training",
        "money_year",
        "protocol_",
        "provenance_",
        "risk_",
        "subtitle_",
        "unit_",
        "verdict_",
        "worth_",
    )
    assert [key for key in MESSAGES["en"] if not key.startswith(built) and key not in sources] == []


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


def test_japanese_page_translates_fixed_terms() -> None:
    text = Page(html_of(lang="ja")).text
    assert "別の画像で学習した分類器" in text
    assert "classifier trained on other images" not in text
    assert MESSAGES["en"]["subtitle_sadm"] not in text


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "columns", "scale"), [(1, 1, 1), (5, 3, 2), (6, 3, 7), (2, 4, 1)])
def test_grid_equals_a_naive_loop(channels: int, count: int, columns: int, scale: int) -> None:
    images = np.random.default_rng(count).integers(0, 256, (count, 5, 4, channels), dtype=np.uint8)
    image = Image.open(io.BytesIO(grid_png(images, columns, scale)))
    assert image.mode == {1: "LA", 3: "RGBA"}[channels]
    pixels = np.asarray(image)
    rows = -(-count // columns)
    assert pixels.shape == (rows * (5 * scale + 4) - 4, columns * (4 * scale + 4) - 4, channels + 1)
    expected = np.zeros_like(pixels)
    for index in range(count):
        for y in range(5 * scale):
            for x in range(4 * scale):
                place = (index // columns * (5 * scale + 4) + y, index % columns * (4 * scale + 4) + x)
                expected[place] = [*images[index, y // scale, x // scale], 255]
    np.testing.assert_array_equal(pixels, expected)


def test_grid_enlarges_small_images_only() -> None:
    for side, shown in ((8, 64), (28, 84), (64, 64), (96, 96)):
        image = Image.open(io.BytesIO(grid_png(np.zeros((1, side, side, 1), np.uint8), 1)))
        assert image.size == (shown, shown)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 8, 8, 1)),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((2, 8, 8, 2), np.uint8),
        np.zeros((0, 8, 8, 1), np.uint8),
        [[1]],
    ],
)
def test_grid_refuses_other_arrays(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 arrays \[n, H, W, C\]"):
        grid_png(images, 2)


def test_large_images_are_averaged_down() -> None:
    checks = np.indices((256, 512)).sum(axis=0) % 2 * np.uint8(200)  # [256, 512]
    small = thumbnails(np.stack([checks, checks])[..., None].astype(np.uint8))
    assert small.shape == (2, 64, 128, 1)
    np.testing.assert_array_equal(small, 100)


def test_columns_follow_the_classes() -> None:
    assert column_layout(["a", "b", "c"] * 4, 12) == (3, ["a", "b", "c"])
    assert column_layout(["a", "b", "c"], 12) == (3, ["a", "b", "c"])
    assert column_layout(["a"] * 4 + ["b"] * 4, 8) == (8, ["a"] * 4 + ["b"] * 4)
    assert column_layout([str(i) for i in range(40)], 40) == (10, [])
    assert column_layout(None, 4) == (4, [])


NUMBERS = {3.14159: "3.14", 0.0321: "0.0321", 301834: "301,834", 51.2: "51.2", 0: "0", -1.5: "−1.50", 2e-5: "2.0e−05"}


@pytest.mark.parametrize(("value", "shown"), [*NUMBERS.items(), (None, "–"), (float("inf"), "–"), (512.0, "512")])
def test_numbers(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_changes_and_ranges() -> None:
    assert [spaced(change(ratio)) for ratio in (0.81, 1.12, 1.0, 0.996)] == [
        "−19 %",
        "+12 %",
        "0 %",
        "−0.4 %",
    ]
    assert in_words([100, 101, 102, 103, 104], "en") == "100–104"
    assert in_words([100, 101, 103], "en") == "100, 101, 103"


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


def test_only_marks_at_the_same_cost_are_set_apart() -> None:
    assert _set_apart([51.2, 51.0, 61.4], gap=10) == [-5, 5, 0]
    assert _set_apart([20.0, 40.0]) == [0, 0]
    assert _set_apart([0.0, 0.0, 0.0], gap=10) == [-10, 0, 10]


def test_long_names_are_cut_in_figures() -> None:
    assert _shortened("short") == "short"
    assert _shortened("x" * 80) == "x" * 59 + "…"
    assert _shortened("画" * 40) == "画" * 29 + "…"
