"""docs/metrics.md: its code runs, and it tells of every metric that `sadm evaluate --full` prints."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch

from sadm.cli.evaluate import METRICS
from sadm.data import ImageSet
from sadm.evaluation import GaussianFit, frechet_distance, read_statistics
from sadm.evaluation.features import FORMS, InceptionV3
from sadm.evaluation.frechet_limit import BLOCKS, PIECES
from sadm.evaluation.structure_spaces import MOST_FOR_STRUCTURE

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block for block in SNIPPETS if "inception" not in block]
    assert len(blocks) == 2
    script = tmp_path / "metrics_page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(script))
    fit, stored = GaussianFit.of(names["generated"]), read_statistics(tmp_path / "reference.npz").fit
    expected = frechet_distance(fit, GaussianFit.of(names["real"]))
    assert frechet_distance(fit, stored) == pytest.approx(expected, rel=1e-9)


def test_the_code_that_needs_networks_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (block for block in SNIPPETS if "inception" in block)
    torch.save(InceptionV3().state_dict(), tmp_path / "weights.pth")
    monkeypatch.chdir(tmp_path)
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (36, 1, 8, 8), dtype=torch.uint8, generator=draws)
    held_out = ImageSet(pixels, None, (), tuple(map(str, range(36))), "made up")
    given = {"images": held_out.subset(torch.arange(2)), "held_out": held_out, "generated": held_out.floats()[:12]}
    exec(block.replace('"inception"', '"inception:weights.pth"'), given)  # noqa: S102 - the page's own code
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_it_tells_of_every_metric() -> None:
    rows = {line.split(" | ")[0].removeprefix("| ") for line in PAGE.splitlines() if line.startswith("| ")}
    shown = {title.removeprefix("structure: ").removesuffix(" in its own classes") for title in METRICS.values()}
    assert shown | {"precision", "recall", "density", "coverage"} <= rows
    assert all(f"`{form.split('[')[0]}" in PAGE for form in FORMS)
    assert f"j = 1 to {PIECES}" in PAGE
    assert f"over {BLOCKS} blocks" in PAGE
    assert f"the first {MOST_FOR_STRUCTURE:,} of a group" in PAGE
