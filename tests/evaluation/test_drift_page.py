"""docs/monitor.md: its code runs, and its numbers are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from sadm.data import load_split
from sadm.evaluation.drift import LEVEL, measure, power, relabelling, support
from sadm.experiments.monitoring import advice, fitness

PAGE = (Path(__file__).parents[2] / "docs" / "monitor.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs() -> None:
    split = load_split("digits", held_out=0.4, limit=200)
    order = split.held_out.images.sum((1, 2, 3)).argsort()  # the brightest images of all are no sample of them
    names = {
        "train": split.train,
        "held_out": split.held_out.subset(order[:600]),
        "new": split.held_out.subset(order[600:]),
    }
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(block, names)  # noqa: S102 - the page's own code
    assert names["found"].found
    assert names["found"].tests["brightness"].adjusted < LEVEL


def test_its_numbers_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert f"at most {measure.MOST:,} of each" in text
    assert f"{relabelling.RELABELLINGS:,} random relabellings" in text
    assert f"below {LEVEL:g} there is drift" in text
    assert f"k = ⌊{support.OUTSIDE:g} (n + 1)⌋" in text
    assert f"found in {power.SEEN:.0%} of {power.DRAWS} draws".replace("%", " %") in text
    assert f"at least {fitness.WORSE:g} times that to held-out ones" in text
    assert f"at least {advice.MANY_OUTSIDE:.0%} outside".replace("%", " %") in text
    assert f"fewer than {advice.FEW} independent new images" in text
