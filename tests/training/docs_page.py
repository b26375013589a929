"""The commands and the code of a page of docs/."""

from __future__ import annotations

import re
import shlex


def commands_and_code(page: str) -> tuple[list[list[str]], str]:
    """The words of each command in blocks without a language, all of `sadm`, and the page's only block of code."""
    commands, code = [], []
    for language, block in re.findall(r"```(\w*)\n(.*?)```", page, flags=re.DOTALL):
        (code if language else commands).append(block)
    assert page.count("```") == 2 * (len(code) + len(commands))
    (script,) = code
    lines = [shlex.split(line) for line in "".join(commands).splitlines()]
    assert all(words[0] == "sadm" for words in lines)
    return lines, script
