"""docs/metrics.md: its code runs, and it tells of every metric that `sadm evaluate --full` prints."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from sadm.cli.evaluate import METRICS
from sadm.evaluation import GaussianFit, frechet_distance, read_statistics
from sadm.evaluation.frechet_limit import BLOCKS, PIECES
from sadm.evaluation.full import MOST_FOR_STRUCTURE

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 2
    script = tmp_path / "metrics_page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(script))
    fit, stored = GaussianFit.of(names["generated"]), read_statistics(tmp_path / "reference.npz").fit
    expected = frechet_distance(fit, GaussianFit.of(names["real"]))
    assert frechet_distance(fit, stored) == pytest.approx(expected, rel=1e-9)


def test_it_tells_of_every_metric() -> None:
    rows = {line.split(" | ")[0].removeprefix("| ") for line in PAGE.splitlines() if line.startswith("| ")}
    shown = {title.removeprefix("structure: ").removesuffix(" in its own classes") for title in METRICS.values()}
    assert shown | {"precision", "recall", "density", "coverage"} <= rows
    assert f"j = 1 to {PIECES}" in PAGE
    assert f"over {BLOCKS} blocks" in PAGE
    assert f"the first {MOST_FOR_STRUCTURE:,} of a group" in PAGE
