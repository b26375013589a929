"""``sadm plan``: the table and its JSON, what is refused, and the commands of its page."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from sadm.cli.main import run

PAGE = Path(__file__).parents[2] / "docs" / "plan.md"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["plan", *arguments]) == 0
    return capsys.readouterr().out


def test_the_table_fits_100_columns_and_its_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--recipe", "digits", "--device", "h100", "--count", "8", "--price", "2", "--currency", "EUR")
    table = said(capsys, *options)
    assert max(map(len, table.splitlines())) <= 100
    facts = json.loads(said(capsys, *options, "--json"))
    assert f"{facts['counts']['parameters']:,}" in table
    assert facts["money"] == pytest.approx(2 * facts["device_hours"])
    assert facts["local_batch"] == 8
    assert facts["traffic"]["structure"] > 0
    assert "structure: networks" in table
    plain = said(capsys, *options, "--train.signal", "none")
    assert "structure: networks" not in plain
    assert "with structure" not in plain


def test_a_runs_configuration_is_planned(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    small = (
        "net: {patch: 4, width: 32, depth: 1, heads: 2}\noptimiser: {batch: 8}\ndata: {resolution: 16, channels: 3}\n"
    )
    (tmp_path / "config.yaml").write_text(small, encoding="utf-8")
    facts = json.loads(said(capsys, "--config", str(tmp_path / "config.yaml"), "--classes", "0", "--json"))
    assert (facts["shape"], facts["classes"], facts["batch"]) == ([3, 16, 16], 0, 8)


def test_a_network_by_its_published_name_is_planned_as_by_its_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    named, sizes = (
        json.loads(said(capsys, "--recipe", "digits", "--device", "h100", "--json", *net.split()))
        for net in ("--train.net.named DiT-S/4", "--train.net.width 384 --train.net.depth 12 --train.net.heads 6")
    )
    assert named == sizes


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--recipe", "digits", "--device", "x100"], r"unknown device 'x100'; there are v100, .*h200"),
        (["--recipe", "digits", "--count", "0"], "--count is 0; expected at least one device"),
        (["--recipe", "digits", "--count", "100"], "a batch of 64 can't be spread over 100 devices"),
        (["--recipe", "nothing"], "unknown recipe 'nothing'; there are digits"),
        (["--recipe", "digits", "--device", "here"], "--device here is measured: give --calibrate"),
        (["--recipe", "digits", "--device", "h100", "--calibrate"], "--calibrate measures this machine"),
        (["--recipe", "digits", "--price", "2"], "--price needs --currency"),
        (["--recipe", "digits", "--share", "1.5"], "--share is 1.5; expected a number above 0 and at most 1"),
        (
            ["--recipe", "digits", "--device", "v100", "--train.parallel.precision", "bfloat16"],
            "no tensor cores for bfloat16",
        ),
        (["--recipe", "food101", "--arm", "other"], "unknown arm 'other'"),
        (["--config", "nowhere.yaml"], "nowhere.yaml does not exist"),
    ],
)
def test_bad_input_is_refused_in_words(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", *arguments]) == 2
    message = capsys.readouterr().err
    assert re.search(expected, message)
    assert "Traceback" not in message


def test_the_commands_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    """But for the one that measures this machine for half a minute; see tests/experiments/planning."""
    block = re.search(r"```\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert block is not None
    commands = [shlex.split(line) for line in block[1].splitlines()]
    assert len(commands) == 5
    for words in commands:
        assert words[:2] == ["sadm", "plan"]
        if "--calibrate" not in words:
            assert "674,834,720" in said(capsys, *words[2:]) or "imagenet256_dit_xl2" not in words
