"""The parts of the report that not every comparison has, and its tables."""

from __future__ import annotations

from report_fixture import comparison, rich_comparison
from report_page import Page, html_of, spaced
from sadm.experiments.report import details
from sadm.experiments.report.facts import palette, regimes
from sadm.experiments.report.formatting import change, number
from sadm.experiments.report.messages import MESSAGES


def test_quality_shows_fd_floor_and_difference() -> None:
    given = comparison()
    page = Page(html_of())
    fd = given["arms"]["plain"]["fd"]["mlp"]["mean"]
    for value in (fd, given["floor"]["mlp"], fd - given["floor"]["mlp"]):
        assert number(value) in page.text
    assert "FD (classifier trained on other images)" in page.text


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
