"""Pages on applications: their commands and their code run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from docs_page import commands_and_code
from sadm.applications.defects import gain
from sadm.cli.main import run
from sadm.evaluation.detection import DetectorSettings
from sadm.training.data_config import DataConfig

DOCS = Path(__file__).parents[2] / "docs"
SMALLER = {
    "train": "--optimiser.steps 2 --optimiser.batch 4 --net.width 8 --net.depth 1 --net.heads 1 --log.samples 0",
    "sample": "--steps 2",
    "defects": "--steps 2",
}


@pytest.mark.parametrize("name", ["telling", "defects"])
def test_the_code_and_the_commands_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = DetectorSettings(steps=2, batch=4, width=4)
    monkeypatch.setattr(gain, "DetectorSettings", lambda: quick)
    lines, script = commands_and_code((DOCS / f"{name}.md").read_text(encoding="utf-8"))
    for words in lines:
        assert run([*words[1:], *SMALLER[words[1]].split()]) == 0
    (tmp_path / "page.py").write_text(script, encoding="utf-8")
    found = runpy.run_path(str(tmp_path / "page.py"))
    if name == "telling":
        assert found["images"].shape == (4, 1, 16, 16)
    else:
        assert found["image"].shape == found["mask"].shape == (1, 16, 16)


def test_what_can_be_told_is_on_the_page() -> None:
    page = (DOCS / "telling.md").read_text(encoding="utf-8")
    (words,) = [field.annotation for name, field in DataConfig.model_fields.items() if name == "tell"]
    for word in words.__args__[0].__args__:
        assert f"| `{word}` |" in page
    assert f"(`--data.tell-dropout`, {DataConfig().tell_dropout})" in page
