"""The commands of docs/verify.md, docs/policy.md and docs/card.md, as they stand there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docs_page import commands_and_code
from sadm.cli.main import run
from sadm.core.config import write_yaml
from sadm.core.marking import read_mark
from sadm.evaluation.memorisation.threshold import share_interval
from sadm.training.config import NetConfig, SamplingConfig
from sadm.training.model_folder import save_model
from sadm.training.outputs import read_records
from sadm.training.reviews import add_review
from sadm.training.spec import ModelSpec
from tiny import tiny_config

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where we are there is runs/digits, a run that has drawn images."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "digits"
    spec = ModelSpec((1, 8, 8), NetConfig(patch=4, width=8, depth=1, heads=1), 0.5, ("0", "1"), (5, 5))
    data = {"source": "digits", "train_images": 10, "fingerprint": "f" * 64}
    save_model(
        folder / "model", spec, spec.build().net.state_dict(), SamplingConfig(steps=2), {"step": 3, "data": data}
    )
    write_yaml(folder / "config.yaml", tiny_config())
    assert run(["sample", str(folder), "--count", "3"]) == 0
    return folder / "generated"


def test_verify(generated: Path, tmp_path: Path) -> None:
    commands, code = commands_and_code((DOCS / "verify.md").read_text("utf-8"))
    assert [run(words[1:]) for words in commands] == [0, 0]  # the grid of all images is marked, too
    names: dict[str, Any] = {}
    (tmp_path / "image.png").write_bytes(next(generated.glob("0*.png")).read_bytes())
    exec(code, names)  # noqa: S102 - the page's own
    assert names["found"].verdict == "marked"
    assert read_mark(generated / "grid.png") is not None


def test_policy(generated: Path, tmp_path: Path) -> None:
    commands, policy = commands_and_code((DOCS / "policy.md").read_text("utf-8"))
    (generated.parent / "policy.yaml").write_text(policy, "utf-8")
    assert run(commands[0][1:]) == 0
    for name in list(read_records(generated))[:2]:
        add_review(generated, name, True)
    assert [run(words[1:]) for words in commands[1:]] == [0, 0]
    assert len(list((tmp_path / "shipped").glob("*.png"))) == 2
    assert (tmp_path / "models" / "digits" / "policy.yaml").read_text("utf-8") == policy
    page = (DOCS / "policy.md").read_text("utf-8")
    for images in (100, 1000):
        assert f"{100 * share_interval(0, images)[1]:.2g} %" in page


def test_card(generated: Path, tmp_path: Path) -> None:
    commands, about = commands_and_code((DOCS / "card.md").read_text("utf-8"))
    (tmp_path / "about.yaml").write_text(about, "utf-8")
    assert [run(words[1:]) for words in commands] == [0, 0, 0]
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "license: cc-by-nc-4.0\n" in card
    assert "# Digits, 8 × 8\n" in card
    assert (generated.parent / "card.ja.md").is_file()
