"""docs/finetuning.md: its code and its commands run, and its tables have every option and its default."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from docs_page import commands_and_code
from sadm.cli.main import run
from sadm.data import to_floats
from sadm.finetuning.config import METHODS, FinetuneConfig
from sadm.training.grid import write_grid
from sadm.training.restraint_config import ANCHOR_WEIGHT, AnchorConfig, EarlyStopConfig, PriorConfig
from tiny import tiny_images

PAGE = (Path(__file__).parents[2] / "docs" / "finetuning.md").read_text(encoding="utf-8")
SMALLER = {
    "train": "--optimiser.steps 2 --log.samples 0 --data.limit 100 --net.width 16 --net.depth 2",
    "finetune": "--optimiser.steps 2 --optimiser.batch 6 --log.samples 0 --prior.images 8",
    "sample": "--steps 2",
    "audit": "--count 100",
}


def images_in(folder: Path) -> None:
    """72 images of a bolt and a nut, as files."""
    for number, image in enumerate(to_floats(tiny_images(72).images)):
        name = "bolt" if number % 2 else "nut"
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_grid(folder / name / f"{number}.png", [image])


def test_the_code_and_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images_in(tmp_path / "path" / "to" / "images")
    lines, script = commands_and_code(PAGE)
    ran = []
    for words in lines:
        prior = words[1] == "finetune" and "--prior.images" not in words
        smaller = SMALLER.get(words[1], "").replace("--prior.images 8", "" if prior else "--prior.images 8")
        assert run([*words[1:], *smaller.split()]) == 0, words
        ran.append(words[1])
    assert ran.count("finetune") == 8
    (tmp_path / "page.py").write_text(script, encoding="utf-8")
    assert runpy.run_path(str(tmp_path / "page.py"))["tuned"].peft_config
    assert (tmp_path / "runs" / "kept" / "prior").is_dir()


@pytest.mark.parametrize(
    ("prefix", "kind"),
    [("finetune", FinetuneConfig), ("anchor", AnchorConfig), ("early-stop", EarlyStopConfig), ("prior", PriorConfig)],
)
def test_every_option_is_on_the_page_with_its_default(prefix: str, kind: type) -> None:
    rows = dict(re.findall(rf"^\| `--{prefix}\.([\w-]+)` \| (.*?) \|", PAGE, flags=re.MULTILINE))
    fields = {name: field for name, field in kind.model_fields.items() if name != "method"}
    assert rows == {name.replace("_", "-"): str(field.default) for name, field in fields.items()}
    assert f"None = {ANCHOR_WEIGHT:g} with" in PAGE


def test_every_method_is_on_the_page() -> None:
    assert tuple(re.findall(r"^\| `(\w+)`", PAGE, flags=re.MULTILINE)) == METHODS
