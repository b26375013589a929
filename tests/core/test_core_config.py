"""Configurations: what is refused and in which words, and how mappings are joined and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, ValidationError, field_validator

from sadm.core.config import Config, build_config, differences, flatten, merge, parse_yaml, read_yaml, write_yaml
from sadm.core.errors import UserError


class Net(Config):
    width: int = Field(32, gt=0)
    kind: Literal["dit", "unet"] = "dit"

    @field_validator("width")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value


class Run(Config):
    seed: int
    steps: int = 100
    net: Net = Net()
    name: str | None = None


def test_valid_values_pass_and_defaults_fill_the_rest() -> None:
    run = build_config(Run, {"seed": 3, "net": {"width": 8}}, "x.yaml")
    assert run == Run(seed=3, steps=100, net=Net(width=8, kind="dit"), name=None)


def test_a_configuration_can_not_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Run(seed=1).seed = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": 1, "step": 5}, r"unknown key 'step'; did you mean 'steps'\?"),
        ({"seed": 1, "net": {"widht": 5}}, r"unknown key 'net\.widht'; did you mean 'width'\?"),
        ({"seed": 1, "net": {"qqqq": 5}}, r"unknown key 'net\.qqqq'; valid keys are width, kind"),
        ({"seed": 1, "zzzzzzz": 5}, "unknown key 'zzzzzzz'; valid keys are seed, steps, net, name"),
        ({"seed": "many"}, r"'seed': Input should be a valid integer.*\(given: 'many'\)"),
        ({"seed": 1.5}, r"'seed': .*\(given: 1\.5\)"),
        ({"seed": 1, "net": {"width": -4}}, r"'net\.width': Input should be greater than 0 \(given: -4\)"),
        ({"seed": 1, "net": {"width": 5}}, r"'net\.width': must be even \(given: 5\)"),
        ({"seed": 1, "net": {"kind": "mlp"}}, r"'net\.kind': Input should be 'dit' or 'unet' \(given: 'mlp'\)"),
        ({"seed": 1, "net": 7}, r"'net': .*\(given: 7\)"),
        ({}, r"'seed': Field required\.$"),
        ({"seed": 1, True: 2}, r"Keys should be strings"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_value(values: dict, message: str) -> None:
    with pytest.raises(UserError, match=rf"^x\.yaml: .*{message}"):
        build_config(Run, values, "x.yaml")


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        build_config(Run, {"step": 5, "net": {"width": "wide"}}, "x.yaml")
    text = str(caught.value)
    assert all(part in text for part in ("'step'", "'net.width'", "'seed'"))
    assert text.count(";") == 3


# ---- YAML ------------------------------------------------------------------------------------------------------------


def test_a_configuration_survives_a_round_trip(tmp_path: Path) -> None:
    run = Run(seed=3, net=Net(width=8, kind="unet"), name="部品: 1 # no comment")
    write_yaml(tmp_path / "config.yaml", run)
    assert build_config(Run, read_yaml(tmp_path / "config.yaml"), "config.yaml") == run
    lines = (tmp_path / "config.yaml").read_text(encoding="utf-8").splitlines()
    assert [line.split(":")[0] for line in lines if not line.startswith(" ")] == ["seed", "steps", "net", "name"]
    assert "部品" in lines[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "x.yaml holds a list; expected 'key: value' lines"),
        ("just words", "x.yaml holds a str; expected"),
        ("3", "x.yaml holds a int"),
        ("a: [1, 2", "x.yaml is not valid YAML"),
        ("a: b: c", "x.yaml is not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "x.yaml is not valid YAML"),
        ("!!python/object/new:type {}", "x.yaml is not valid YAML"),
        ("a: !mine 3", "x.yaml is not valid YAML"),
    ],
)
def test_anything_but_plain_mappings_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_yaml(text, "x.yaml")
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_yaml(tmp_path / "x.yaml")


def test_a_python_tag_runs_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        parse_yaml(f"a: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']", "x.yaml")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert parse_yaml(text, "x.yaml") == {}


def test_files_that_can_not_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.yaml does not exist"):
        read_yaml(tmp_path / "gone.yaml")
    with pytest.raises(UserError, match="cannot read"):
        read_yaml(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(UserError, match=r"cannot read .*x\.yaml"):
        read_yaml(tmp_path / "x.yaml")


# ---- mappings --------------------------------------------------------------------------------------------------------


def test_merging_goes_down_and_the_override_wins() -> None:
    base = {"a": 1, "net": {"width": 8, "deep": {"x": 1, "y": 2}}, "list": [1, 2], "mapping": {"k": 1}}
    override = {"b": 2, "net": {"width": 16, "deep": {"y": 3}}, "list": [3], "mapping": 5}
    expected = {"a": 1, "b": 2, "net": {"width": 16, "deep": {"x": 1, "y": 3}}, "list": [3], "mapping": 5}
    assert merge(base, override) == expected
    assert base["net"] == {"width": 8, "deep": {"x": 1, "y": 2}}  # neither is changed
    assert merge({"net": 1}, {"net": {"width": 2}}) == {"net": {"width": 2}}
    assert merge(base, {}) == base


def test_flattening_joins_names_with_dots() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [{"e": 2}]}, "f": None}) == {"a.b.c": 1, "a.d": [{"e": 2}], "f": None}


def test_differences_name_key_and_both_values() -> None:
    stored, given = Run(seed=1, net=Net(width=8)), Run(seed=2, net=Net(width=16, kind="unet"), steps=100)
    lines = ["net.kind: stored 'dit', given 'unet'", "net.width: stored 8, given 16", "seed: stored 1, given 2"]
    assert differences(given, stored) == lines
    assert differences(given, given) == []
    assert differences(given, stored, ("seed",)) == lines[:2]
    assert differences(given, stored, ("net.",)) == lines[2:]
    assert differences(given, stored, ("net",)) == lines  # a bare name is a key, not a prefix
    assert differences(given, stored, ("net.width", "seed")) == lines[:1]
