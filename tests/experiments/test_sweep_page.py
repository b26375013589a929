"""What a sweep's page says about the best setting and the others."""

from __future__ import annotations

from typing import Any

import pytest

from sadm.experiments.report.sweep_page import sweep_sentences
from sadm.experiments.report.sweep_texts import SWEEP_ENGLISH, SWEEP_JAPANESE

Setting = tuple[str, bool, list[int]]
BEST: Setting = ("best", False, [])
BASE: Setting = ("base", True, [])
WILD: Setting = ("wild", False, [1])


def page_of(*settings: Setting, stopped: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a page's sentences are made of: by setting, whether it is told apart from the first, and seeds that diverged."""
    ratio = {"mean": 0.5, "low": 0.4, "high": 0.6}
    return {
        "settings": [
            {"name": name, "apart_from_best": apart, "diverged": diverged, "ratio": ratio}
            for name, apart, diverged in settings
        ],
        "stopped": [{"name": name} for name in stopped],
        "baseline": "base",
        "seeds": [0, 1],
        "steps": 40,
        "confirm": None,
    }


def test_better_than_every_other_setting_is_said_only_where_all_were_compared() -> None:
    def said(found: dict[str, Any]) -> str:
        return " ".join(sweep_sentences(found, "en"))

    claim = "better than every other setting"
    assert claim in said(page_of(BEST, BASE))
    assert "compared with" not in said(page_of(BEST, BASE))
    for found, others, names in (
        (page_of(BEST, BASE, WILD), 2, "since a training diverged: wild."),
        (
            page_of(BEST, BASE, stopped=("slow", "late")),
            3,
            "since they were stopped early (see the table): slow, late.",
        ),
    ):
        assert claim not in said(found)
        assert f"It was compared with 1 of the {others} other settings." in said(found)
        assert "better than all that it was compared with, all pairs taken together at 95 %" in said(found)
        assert f"Not compared, {names}" in said(found)
    alike = said(page_of(BEST, ("base", False, []), WILD))
    assert "can't be told apart from base." in alike
    assert "It is better than" not in alike
    alone = said(page_of(BEST, WILD, stopped=("base",)))
    assert "compared with 0 of the 2 other settings" in alone
    assert "It is better than" not in alone


@pytest.mark.parametrize("texts", [SWEEP_ENGLISH, SWEEP_JAPANESE])
def test_what_was_not_compared_is_named_in_both_languages(texts: dict[str, str]) -> None:
    lines = sweep_sentences(page_of(BEST, BASE, WILD, stopped=("slow",)), "en" if texts is SWEEP_ENGLISH else "ja")
    expected: dict[str, dict[str, Any]] = {"compared": {"count": 1, "all": 3}, "told_apart_compared": {}}
    expected |= {"diverged": {"names": "wild"}, "stopped": {"names": "slow"}}
    for key, values in expected.items():
        assert texts[key].format(**values) in lines
