"""docs/structure.md: its code runs from top to bottom, and its tables know every name."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from sadm.structure import PENALTIES, RELATIONS

PAGE = (Path(__file__).parents[2] / "docs" / "structure.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) >= 5
    script = tmp_path / "structure_page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    assert float(runpy.run_path(str(script))["gap"].detach()) > 0


def test_every_relation_and_gap_is_on_the_page() -> None:
    for name in (*RELATIONS, *PENALTIES):
        assert f"| `{name}` |" in PAGE
