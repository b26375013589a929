"""What is printed: a terminal obeys nothing that a file's name holds."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path

import pytest
from rich.console import Console

from sadm.cli.main import main
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import printable

HOSTILE = "\x1b]0;owned\x07\x1b[2J[red]x[/nope]\u202egnp.exe\x9b31m\r\u2028\udc80"


def test_what_a_terminal_obeys_is_written_out_and_nothing_else() -> None:
    for number in range(0x11000):
        letter = chr(number)
        turns = unicodedata.bidirectional(letter) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        obeyed = unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} and letter not in "\n\t"
        assert (printable(letter) != letter) == (obeyed or turns), hex(number)
    assert printable("良品 é 😀 [red]\n\tend") == "良品 é 😀 [red]\n\tend"


def test_printed_json_says_the_same() -> None:
    value = {"name": HOSTILE.replace("\udc80", "")}
    assert json.loads(printable(json.dumps(value, ensure_ascii=False))) == value


def test_a_name_on_the_command_line_is_no_order(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(tmp_path / HOSTILE.replace("\udc80", "")), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr()
    assert r"\u001b]0;owned\u0007" in printed.err
    assert not set(printed.out + printed.err) & {"\x1b", "\x07", "\x9b", "\r", "\u202e"}


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_and_remarks_show_names_as_they_are(terminal: bool) -> None:
    reporter, told = ConsoleReporter(), io.StringIO()
    reporter.console = Console(file=told, force_terminal=terminal, width=200, color_system=None, highlight=False)
    with reporter:
        reporter.update(HOSTILE, 1, 2, HOSTILE)
        reporter.say(HOSTILE)
        reporter.update(HOSTILE, 2, 2, HOSTILE)
    text = told.getvalue()
    assert text.count("[red]x[/nope]") >= 2
    assert "\x1b]0" not in text
    assert "\x1b[2J" not in text
    assert not set(text) & {"\x07", "\x9b", "\u202e", "\udc80"}
