"""docs/networks.md: its code and its commands run, and its table has every size and its default."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from docs_page import commands_and_code
from sadm.cli.main import run
from sadm.training.net_config import UNetConfig
from unet_setup import published_unet, saved_pipeline

PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
SMALLER = {
    "train": "--optimiser.steps 2 --optimiser.batch 4 --structure.encoder-steps 2 --log.samples 0 --data.limit 40",
    "sample": "--steps 2",
}
ELSEWHERE = ("compare",)  # tests/cli/test_cli_unet.py


def test_the_code_and_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diffusers = pytest.importorskip("diffusers")
    diffusers.logging.set_verbosity_error()
    monkeypatch.chdir(tmp_path)
    saved_pipeline(tmp_path / "path" / "to" / "ddpm-cifar10-32", published_unet())
    lines, script = commands_and_code(PAGE)
    ran = []
    for words in lines:
        if words[1] not in ELSEWHERE:
            assert run([*words[1:], *SMALLER.get(words[1], "").split()]) == 0
            ran.append(words[1])
    assert ran == ["train", "sample", "train", "train", "plan", "convert", "sample", "convert"]
    (tmp_path / "page.py").write_text(script, encoding="utf-8")
    assert runpy.run_path(str(tmp_path / "page.py"))["images"].shape == (2, 3, 8, 8)


def test_every_size_is_on_the_page_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `--net\.unet\.([\w-]+)` \| (.*?) \|", PAGE, flags=re.MULTILINE))
    defaults = {name.replace("_", "-"): field.default for name, field in UNetConfig.model_fields.items()}
    shown = {
        name: " ".join(map(str, value)) if isinstance(value, tuple) else str(value) for name, value in defaults.items()
    }
    assert rows == shown
