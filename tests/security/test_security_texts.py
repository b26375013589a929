"""YAML and JSON of anybody's making: no objects, no bombs, and one kind of error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sadm.core.config import parse_yaml
from sadm.core.errors import UserError
from sadm.core.files import parse_json, read_json, read_object


def aliases(levels: int, line: str) -> str:
    """Each level names the one below nine times."""
    names = [f"n{i}" for i in range(levels)]
    below = zip(names[1:], names[:-1], strict=True)
    return f"{names[0]}: &{names[0]} {{x: 1}}\n" + "".join(
        f"{name}: &{name} " + line % ", ".join([f"*{other}"] * 9) + "\n" for name, other in below
    )


@pytest.mark.parametrize("line", ["[%s]", "{<<: [%s]}", "{a: [%s]}"])
def test_aliases_are_taken_until_they_stand_for_too_much(line: str) -> None:
    assert parse_yaml(aliases(4, line), "here")["n0"] == {"x": 1}
    with pytest.raises(UserError, match=r"here is not valid YAML: its aliases stand for more than 100000 values"):
        parse_yaml(aliases(40, line), "here")  # 9^39 values


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: !!python/object/apply:os.system [touch planted]", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("a: &a [*a]", "its aliases stand for more"),
        ("a: " + "[" * 2000, "nested too deeply"),
        ("a: 2001-99-99", "month must be in"),
        ("a: " + "9" * 5000, "digits"),
        ('a: !!int ""', "IndexError"),
        ("a: !!bool maybe", "KeyError"),
        ("a: !!timestamp never", "AttributeError"),
        ('a: "\\ud800"', "surrogates not allowed"),
        ("? [1]\n: 2", "unhashable key"),
        ("x" * 1_000_001, "expected at most 1000000"),
        ("[1]", "holds a list"),
    ],
)
def test_yaml_that_is_no_configuration(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"(?s)^here.*{problem}"):
        parse_yaml(text, "here")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "9" * 5000, '"\\ud83d"', '{"\\udBFF": 1}', "{", ""])
def test_json_that_is_none(text: str, tmp_path: Path) -> None:
    for given in (text, text.encode()):
        with pytest.raises(ValueError, match="."):
            parse_json(given)
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")


def test_whole_surrogate_pairs_are_letters() -> None:
    text = json.dumps("😀 良")
    assert "\\ud83d\\ude00" in text
    assert parse_json(text) == parse_json(text.encode()) == "😀 良"


@pytest.mark.parametrize("text", ["[]", "1", "null", '"x"', "NaN"])
def test_an_object_is_expected(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.json holds a \w+; expected a JSON object"):
        read_object(tmp_path / "a.json")
