"""docs/downstream.md: its code runs, and its numbers are those of the code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from sadm.evaluation.downstream import DownstreamSettings, steps_for
from sadm.evaluation.downstream.worth import BOUND, NEGLIGIBLE
from sadm.evaluation.representation import CORRUPTIONS, PROBES, SIGMAS
from sadm.evaluation.representation.corruptions import BLUR, CONTRAST, NOISE, SHIFT
from sadm.evaluation.representation.measure import MOST, VALIDATION
from sadm.evaluation.representation.probes import NEIGHBOURS
from sadm.experiments.jobs import CLASSIFIERS

PAGE = (Path(__file__).parents[2] / "docs" / "downstream.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())


def test_the_code_of_the_page_runs(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    script = tmp_path / "downstream_page.py"
    script.write_text(block, encoding="utf-8")
    names = runpy.run_path(str(script))
    assert names["found"]["training_images"] == 100
    assert names["found"]["scores"]["with_2x"]["generated_images"] == 200


def test_its_numbers_are_those_of_the_code() -> None:
    assert f"at least {steps_for(1)} and at most {steps_for(10**9):,}" in TEXT
    assert f"`--classifiers` ({DownstreamSettings().seeds}; {CLASSIFIERS} for each run" in TEXT
    assert DownstreamSettings().fractions == (0.25, 0.5, 0.75)
    assert f"at {100 * BOUND:g} % each, give one" in TEXT
    assert (NEGLIGIBLE, VALIDATION, BLUR, SHIFT) == (1 / 10, 1 / 5, 1 / 16, 1 / 8)
    assert f"at most {MOST:,}" in TEXT
    assert f"vote of the {NEIGHBOURS} nearest" in TEXT
    assert f"sigma ({', '.join(f'{sigma:g}' for sigma in SIGMAS[:-1])} or {SIGMAS[-1]:g})" in TEXT
    assert f"Gaussian, {NOISE} of a range" in TEXT
    assert f"{CONTRAST} of it is left" in TEXT
    for name in (*PROBES, *(name for name in CORRUPTIONS if name != "clean")):
        assert f"| `{name}` |" in TEXT
