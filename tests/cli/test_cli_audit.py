from __future__ import annotations

import json
import os
import re
import signal
from html.parser import HTMLParser

import pytest
import torch
from test_cli import refused

from sadm.cli.main import run
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.grids import write_png
from sadm.core.progress import Silent
from sadm.data import load_split, to_uint8
from sadm.experiments.auditing import audit_run, render_audit, texts
from sadm.experiments.auditing.drawing import drawn_images
from sadm.experiments.auditing.texts import TEXTS
from sadm.training.model_folder import load_model

SMALL = (
    "--signal none --net.patch=4 --net.width=16 --net.depth=1 --net.heads=2 --optimiser.steps=4 --optimiser.batch=8 "
    "--sampling.steps=2 --sampling.batch=16 --log.samples=0"
).split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on digits that has learned next to nothing."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    assert run(["train", "--recipe", "digits", "--out", str(out), *SMALL]) == 0
    return out


class Page(HTMLParser):
    """Pictures, and whatever would be loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.alternatives, self.outside, self.lang = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.lang = values.get("lang", self.lang) if tag == "html" else self.lang
        if tag == "img":
            self.alternatives.append(values.get("alt"))
        address = values.get("src") or values.get("href") or ""
        if address and not address.startswith("data:"):
            self.outside.append(address)


def test_audit_prints_and_writes_what_it_found(trained, capsys):
    assert run(["audit", str(trained), "--count", "40", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((trained / "audit.json").read_text(encoding="utf-8"))
    assert printed["images"] == 40
    assert printed["copies"] == round(40 * printed["copy_rate"])
    assert 0 <= printed["p_value"] <= 1
    page = Page((trained / "audit.html").read_text(encoding="utf-8"))
    assert page.lang == "en"
    assert page.outside == []
    assert len(page.alternatives) >= 3
    assert all(page.alternatives)


def test_audit_in_japanese_elsewhere(trained, capsys, tmp_path):
    out = tmp_path / "page"
    assert run(["audit", str(trained), "--count", "40", "--lang", "ja", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "学習画像" in said.splitlines()[0]
    text = (out / "audit.html").read_text(encoding="utf-8")
    assert 'lang="ja"' in text
    assert texts("ja")["heading_gallery"] in text
    assert not re.search(r"built-in|\{[a-z_]+\}", re.sub(r"(?s)<style>.*?</style>", "", text))


def test_training_images_given_as_generated_ones_are_found_out(trained, capsys, tmp_path):
    folder = tmp_path / "generated"
    split = load_split("digits", held_out=0.4)
    for position in range(60):
        write_png(
            folder / f"{position}.png", split.train.images[position].flip(-1).permute(1, 2, 0).contiguous().numpy()
        )
    write_png(folder / "grid.png", torch.zeros(8, 8, 1, dtype=torch.uint8).numpy())
    assert run(["audit", str(trained), "--images", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["copies"], found["verdict"]) == (60, 60, "copies")
    assert {pair["orientation"] for pair in found["pairs"]} <= {"mirrored", "same", "upside_down", "turned_180"}
    assert "copies" in found["sentence"]


def test_images_drawn_in_parts_are_those_that_are_drawn_at_once(trained, tmp_path):
    model = load_model(trained)
    drawn = drawn_images(trained, model, tmp_path / "parts", 40, 5, Silent())
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) == 3
    expected = to_uint8(model.sample(40, 5))
    assert int((drawn.images.int() - expected.int()).abs().max()) <= 1
    assert torch.equal(drawn.labels, model.training_labels(40, 5))


class Stopper(Silent):
    """Asks for a stop after the first part, as Ctrl-C does."""

    def update(self, task, done, total, note=""):
        if task == "drawing images" and done == 16:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stop_keeps_what_was_drawn(trained, tmp_path):
    model, folder = load_model(trained), tmp_path / "parts"
    with pytest.raises(InterruptedRun, match="16 of 40"):
        drawn_images(trained, model, folder, 40, 0, Stopper())
    first = folder / "00000000.safetensors"
    written = first.stat().st_mtime_ns
    drawn = drawn_images(trained, model, folder, 40, 0, Silent())
    assert (len(drawn), first.stat().st_mtime_ns) == (40, written)
    drawn_images(trained, model, folder, 40, 1, Silent())  # another seed: other images
    assert first.stat().st_mtime_ns != written


def test_mistakes_are_explained(trained, capsys, tmp_path):
    assert "holds no run" in refused(capsys, "audit", str(tmp_path / "nowhere"))
    assert "--count must be at least 2" in refused(capsys, "audit", str(trained), "--count", "1")
    assert "no-such-folder" in refused(capsys, "audit", str(trained), "--images", str(tmp_path / "no-such-folder"))
    with pytest.raises(UserError, match="expected one of en, ja"):
        texts("fr")


def test_changed_images_are_refused(class_folder, capsys, tmp_path):
    out = str(tmp_path / "run")
    options = ["--data", str(class_folder), "--data.resolution=8", "--data.held-out=0.5", *SMALL]
    assert run(["train", "--out", out, *options]) == 0
    assert run(["audit", out, "--count", "10"]) == 0
    next((class_folder / "good").iterdir()).unlink()
    assert "held-out images could be training images" in refused(capsys, "audit", out, "--count", "10")


def test_few_held_out_images_are_said_to_be_few(class_folder, tmp_path):
    out = tmp_path / "run"
    assert (
        run(
            [
                "train",
                "--data",
                str(class_folder),
                "--data.resolution=8",
                "--out",
                str(out),
                "--data.held-out=0.5",
                *SMALL,
            ]
        )
        == 0
    )
    audited = audit_run(out, 10, device="cpu")
    assert audited.facts["threshold"]["false_alarms"] > 0.1
    for lang, word in (("en", "cannot vouch"), ("ja", "保証できません")):
        assert word in render_audit(audited, lang)


def test_both_languages_have_the_same_texts_with_the_same_places():
    places = {
        lang: {key: set(re.findall(r"\{(\w+)\}", text)) for key, text in table.items()} for lang, table in TEXTS.items()
    }
    assert places["en"] == places["ja"]
