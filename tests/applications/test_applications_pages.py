"""Pages on applications: their commands and their code run."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import pytest

from docs_page import commands_and_code
from sadm.applications.augment import AugmentSettings
from sadm.applications.augment.settings import DRAWS
from sadm.applications.defects import gain
from sadm.cli.augment import AugmentOptions
from sadm.cli.main import run
from sadm.evaluation.coverage import NEIGHBOURS
from sadm.evaluation.detection import DetectorSettings
from sadm.evaluation.downstream.cross_fitted import FOLDS
from sadm.training.data_config import DataConfig

DOCS = Path(__file__).parents[2] / "docs"
SMALLER = {
    "train": "--optimiser.steps 2 --optimiser.batch 4 --net.width 8 --net.depth 1 --net.heads 1 --log.samples 0",
    "sample": "--steps 2",
    "defects": "--steps 2",
    "augment": "--strictness 0 --classifier-steps 5 --draw-at-most 20",
    "export": "",
    "inpaint": "--steps 2 --proposals 2",
    "vary": "--steps 2",
    "restore": "--steps 2 --proposals 2",
}


@pytest.mark.parametrize("name", ["telling", "defects", "augment", "inpaint", "vary", "restore"])
def test_the_code_and_the_commands_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = DetectorSettings(steps=2, batch=4, width=4)
    monkeypatch.setattr(gain, "DetectorSettings", lambda: quick)
    lines, script = commands_and_code((DOCS / f"{name}.md").read_text(encoding="utf-8"))
    for words in lines:
        assert run([*words[1:], *SMALLER[words[1]].split()]) == 0
    (tmp_path / "page.py").write_text(script, encoding="utf-8")
    found = runpy.run_path(str(tmp_path / "page.py"))
    if name == "augment":
        assert found["facts"]["classes"]["3"]["drawn"] == 20
    elif name == "telling":
        assert found["images"].shape == (4, 1, 16, 16)
    elif name == "defects":
        assert found["image"].shape == found["mask"].shape == (1, 16, 16)
    elif name == "inpaint":
        kept = ~found["masks"]
        assert bool((found["made"] == found["known"])[kept].all())
        assert not bool((found["made"] == found["known"])[~kept].all())
    elif name == "vary":
        assert found["facts"]["mean"]["distance"]["rms"] > 1
    else:
        assert len(found["gain"]["values"]) == 3


def test_options_of_augment_are_on_the_page_with_their_defaults() -> None:
    page, settings = (DOCS / "augment.md").read_text(encoding="utf-8"), AugmentSettings()
    options = {field.name.replace("_", "-"): field.default for field in dataclasses.fields(AugmentOptions)}
    for name in options.keys() - {"model", "out", "data", "classifier-steps", "device", "json"}:
        assert f"`--{name}`" in page, name
    assert (options["target"], options["strictness"]) == (settings.target, settings.strictness)
    assert f"see below ({settings.strictness:g})" in page
    assert f"with so many classifiers of each kind ({options['classifiers']})" in page
    assert (DRAWS, FOLDS, NEIGHBOURS, 1 / settings.strictness) == (10, 3, 3, 20)


def test_what_can_be_told_is_on_the_page() -> None:
    page = (DOCS / "telling.md").read_text(encoding="utf-8")
    (words,) = [field.annotation for name, field in DataConfig.model_fields.items() if name == "tell"]
    for word in words.__args__[0].__args__:
        assert f"| `{word}` |" in page
    assert f"(`--data.tell-dropout`, {DataConfig().tell_dropout})" in page
