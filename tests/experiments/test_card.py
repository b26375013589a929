"""Model cards: what is in the files is on the card, what isn't is said, and nothing in it is markup."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sadm.cli.main import USER_ERROR, run
from sadm.core.config import write_yaml
from sadm.experiments.card import card_facts, render_card
from sadm.experiments.card.markdown import block, code, inline
from sadm.experiments.card.texts import ENGLISH, JAPANESE
from sadm.training.config import NetConfig, SamplingConfig
from sadm.training.model_folder import model_hash, save_model
from sadm.training.spec import ModelSpec
from tiny import tiny_config

EVALUATION = {
    "judges": {"classifier": {"title": "a classifier | of classes"}},
    "fd": {"classifier": 12.345},
    "floor": {"classifier": 2.5},
    "kid": {"classifier": 0.01},
    "label_accuracy": 0.875,
    "images": 400,
    "group": 100,
    "seed": 3,
}
AUDIT: dict[str, Any] = {
    "verdict": "copies",
    "images": 1000,
    "copies": 20,
    "copy_rate": 0.02,
    "copy_rate_interval": [0.0123, 0.0307],
    "p_value": 0.2,
    "closer": {"probability": 0.4},
    "threshold": {"score": 0.4, "units": 150, "false_alarms": 0.01},
    "held_out": {part: {"images": 50} for part in ("fitting", "reference", "fresh")},
    "training_images": 900,
    "leaked": 0,
    "drawn": True,
}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run folder without its weights' worth, with all that a card is made of but an audit."""
    folder = tmp_path / "parts"
    spec = ModelSpec((1, 8, 8), NetConfig(patch=4, width=8, depth=1, heads=1), 0.5, ("good", "scratch"), (30, 6))
    data = {"source": "/home/somebody/photos of parts", "train_images": 36, "fingerprint": "f" * 64, "held_back": 4}
    facts = {
        "step": 1200,
        "weights": "ema",
        "data": data,
        "provenance": {"sadm": "0.1.0", "commit": "abc", "torch": "2"},
    }
    save_model(folder / "model", spec, spec.build().net.state_dict(), SamplingConfig(), facts)
    write_yaml(folder / "config.yaml", tiny_config())
    (folder / "evaluation.json").write_text(json.dumps(EVALUATION))
    return folder


def audited(folder: Path, **change: Any) -> None:
    (folder / "audit.json").write_text(json.dumps(AUDIT | {"model": model_hash(folder)} | change))


def sections(card: str) -> dict[str, str]:
    """The text below each heading."""
    parts = re.split(r"^## (.*)$", card, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_what_lies_in_the_run_is_on_the_card(finished: Path, capsys: pytest.CaptureFixture) -> None:
    audited(finished)
    assert run(["card", str(finished), "--licence", "cc-by-4.0"]) == 0
    assert capsys.readouterr().out == f"Written: {finished / 'card.md'}\n"
    card = (finished / "card.md").read_text("utf-8")
    found = sections(card)
    assert "| good | 30 |\n| scratch | 6 |" in found["Training data"]
    assert "| Training images | 36 |" in found["Training data"]
    assert f"`{'f' * 64}`" in found["Training data"]
    assert "photos of parts" in found["Training data"]
    assert "somebody" not in card  # whose folder it was is nobody's business
    assert model_hash(finished) in found["Model"]
    assert "images of 8 × 8 pixels, grey" in found["Model"]
    assert "| `optimiser.steps` | `12` |" in found["Training"]
    assert r"| a classifier \| of classes | 12.3 | 2.50 | 0.0100 |" in found["Metrics"]
    assert "400 generated images" in found["Metrics"]
    assert "20 of 1,000 generated images" in found["Memorisation"].replace("\\", "")
    assert "1,200 (average" in found["Provenance"]
    assert found["Intended use"].strip() == found["Out of scope"].strip() == "not given"
    assert "sadm sample parts --count 16" in found["Drawing images"]


def test_the_front_matter_is_what_the_hub_reads(finished: Path) -> None:
    front = render_card(card_facts(finished, licence="mit"), "ja").split("---\n")[1]
    values = yaml.safe_load(front)
    assert (values["license"], values["language"], values["library_name"]) == ("mit", "ja", "sadm-diffusion")
    ((result,),) = [one["results"] for one in values["model-index"]]
    assert result["metrics"] == [{"type": "frechet-distance", "name": "FD (classifier)", "value": 12.345}]
    assert yaml.safe_load(render_card(card_facts(finished)).split("---\n")[1])["license"] == "unknown"


def test_what_people_say_comes_from_their_file_then_from_the_policy(finished: Path, tmp_path: Path) -> None:
    (finished / "policy.yaml").write_text(
        "owner: Works 2\ncontact: a@b.example\npermitted: [training detectors]\nmax_images: 500\nretention: two years\n"
    )
    about = tmp_path / "about.yaml"
    about.write_text("name: Parts\nowner: Works 1\nlicences: {photos: internal}\nlimitations: [no screws]\n")
    card = render_card(card_facts(finished, about))
    found = sections(card)
    assert "\n# Parts\n" in card
    assert "| Responsible | Works 1 |" in found["Model"]
    assert r"| Contact | a\@b\.example |" in found["Model"]
    assert found["Intended use"].strip() == "- training detectors"
    assert r"- photos\: internal" in found["Training data"]
    assert "- no screws" in found["Limitations"]
    assert "- `max_images`: `500`" in found["Usage policy"]
    assert "Retention: two years" in found["Usage policy"]


def test_what_is_missing_is_said(finished: Path) -> None:
    (finished / "evaluation.json").unlink()
    found = sections(render_card(card_facts(finished / "model")))
    assert "Not evaluated" in found["Metrics"]
    assert "Not audited" in found["Memorisation"]
    assert "There is no policy" in found["Usage policy"]
    (finished / "config.yaml").unlink()
    assert "Without a run folder" in sections(render_card(card_facts(finished / "model")))["Training"]


@pytest.mark.parametrize("change", [{"model": "0" * 64}, {"drawn": False}])
def test_an_audit_of_something_else_says_nothing(finished: Path, change: dict[str, Any]) -> None:
    audited(finished, **change)
    memorisation = sections(render_card(card_facts(finished)))["Memorisation"]
    assert "says nothing" in memorisation
    assert "20" not in memorisation


def test_a_card_in_japanese_has_every_section(finished: Path) -> None:
    audited(finished)
    assert run(["card", str(finished), "--lang", "ja"]) == 0
    found = sections((finished / "card.ja.md").read_text("utf-8"))
    assert set(found) == {text for key, text in JAPANESE.items() if key.startswith("heading_")}
    assert "学習画像を写しています" in found[JAPANESE["heading_memorisation"]]
    assert set(ENGLISH) == set(JAPANESE)
    for key, text in ENGLISH.items():
        fields = [sorted(re.findall(r"{(\w+)}", one)) for one in (text, JAPANESE[key])]
        assert fields[0] == fields[1], key


HOSTILE = "<script>x</script>\n# owned\n| a |\x1b[2J ![i](http://x.example/i) [l](javascript:x) `c` ---\u202e"


def test_no_text_is_markup(finished: Path, tmp_path: Path) -> None:
    about = tmp_path / "about.yaml"
    said = {
        "name": HOSTILE.replace("\x1b", ""),
        "permitted": [HOSTILE.replace("\x1b", "")],
        "licence": "x\n---\n# owned",
    }
    about.write_text(yaml.safe_dump(said))
    evaluation = EVALUATION | {"judges": {"classifier": {"title": HOSTILE}}}
    (finished / "evaluation.json").write_text(json.dumps(evaluation))
    card = render_card(card_facts(finished, about))
    front, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert "<script" not in body
    assert "](" not in body.replace("\\](", "").replace("\\]\\(", "")
    assert not set(card) & {"\x1b", "\u202e"}
    assert not [line for line in body.splitlines() if line.startswith("# owned")]
    assert yaml.safe_load(front)["license"] == "x --- # owned"


def test_inline_code_and_blocks_stay_closed() -> None:
    assert inline("a*b_c<d>&\n# e") == r"a\*b\_c&lt;d&gt;&amp; \# e"
    assert code("a `b` c") == "``a `b` c``"
    assert block(["a\n```\nb"]).splitlines()[0] == "````"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("about.yaml", "licens: mit", "unknown key 'licens'; did you mean 'licences'?"),
        ("about.yaml", "- a", "expected 'key: value' lines"),
        ("evaluation.json", "{}", "evaluation.json or audit.json) is damaged"),
        ("evaluation.json", "[", "is not valid JSON"),
        ("policy.yaml", "max_copy_rate: 2", "'max_copy_rate'"),
    ],
)
def test_mistakes(finished: Path, file: str, text: str, message: str, capsys: pytest.CaptureFixture) -> None:
    (finished / file).write_text(text)
    about = ["--about", str(finished / file)] if file == "about.yaml" else []
    assert run(["card", str(finished), *about]) == USER_ERROR
    assert message in capsys.readouterr().err
    assert not (finished / "card.md").exists()


def test_there_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["card", str(tmp_path)]) == USER_ERROR
    assert "no model in" in capsys.readouterr().err
