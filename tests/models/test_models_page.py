"""docs/weights.md: its code runs from top to bottom."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    diffusers = pytest.importorskip("diffusers")
    diffusers.logging.set_verbosity_error()
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 4
    assert PAGE.count("```") == 2 * (len(blocks) + 1)  # and the commands: tests/cli/test_cli_convert.py
    script = tmp_path / "weights_page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(script))
    assert names["images"].shape == (1, 8, 8, 3)
    assert names["facts"].class_names == {0: "bolt", 1: "nut", 2: "washer"}
    printed = capsys.readouterr().out
    assert printed.startswith("loaded 132 tensors with ")
    assert "(4, 8, 8) 1000 True" in printed
    assert "rows 0-1, and the null class" in printed
