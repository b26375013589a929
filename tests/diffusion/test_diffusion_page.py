"""docs/processes.md: its code runs from top to bottom, and its tables know every name."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from sadm import diffusion
from sadm.diffusion import SOLVERS

PAGE = (Path(__file__).parents[2] / "docs" / "processes.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 4
    script = tmp_path / "processes_page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    found = runpy.run_path(str(script))
    assert float(found["loss"].detach()) > 0
    assert found["images"].shape == found["samples"].shape == (4, 3, 8, 8)
    assert bool(found["samples"].isfinite().all())


def test_every_solver_is_on_the_page_with_what_is_known_of_it() -> None:
    for name, solver in SOLVERS.items():
        (row,) = re.findall(rf"^\| `{name}` \| (.*?) \| (.*?) \| (.*?) \|", PAGE, flags=re.MULTILINE)
        fresh = "if `eta` > 0" if solver.takes_eta else "yes" if solver.stochastic else "no"
        assert row == ({1: "N", 2: "2 N - 1"}[solver.evaluations], str(solver.order), fresh)


def test_every_process_weighting_and_density_is_on_the_page() -> None:
    kinds = [name for name in diffusion.__all__ if re.search("(Denoiser|Weighting|Guidance|Sigma|Time)$", name)]
    abstract = {"Denoiser", "PathDenoiser", "Weighting"}
    assert len(kinds) > 10
    for name in (*set(kinds) - abstract, "Stratified", "StraightLine", "VarianceExploding", "VariancePreserving"):
        assert f"`{name}" in PAGE, name
