"""docs/your_loop.md shows code that runs: each of its snippets stands in an example, which another test runs."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "your_loop.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples").glob("*.py"))}


def holds(source: str, snippet: str) -> bool:
    """Whether the lines of the snippet stand in the source, one below the other, at one indentation."""
    wanted, lines = snippet.splitlines(), source.splitlines()
    windows = (lines[start : start + len(wanted)] for start in range(len(lines) - len(wanted) + 1))
    return any(textwrap.dedent("\n".join(window)).splitlines() == wanted for window in windows)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=[snippet.splitlines()[-1][:50] for snippet in SNIPPETS])
def test_a_snippet_stands_in_an_example(snippet: str) -> None:
    assert any(holds(source, snippet) for source in EXAMPLES.values()), f"in no example:\n{snippet}"


def test_every_block_of_the_page_was_looked_at() -> None:
    assert len(SNIPPETS) >= 6
    assert PAGE.count("```") == 2 * len(SNIPPETS)


def test_the_scripts_that_the_page_names_exist_and_say_how_to_run_them() -> None:
    named = set(re.findall(r"\(\.\./examples/(\w+\.py)\)", PAGE))
    assert named == set(EXAMPLES) - {"digits_setup.py"}
    for name in named:
        assert f"python examples/{name} --out " in EXAMPLES[name]


def test_a_changed_snippet_would_be_noticed() -> None:
    source = "def f():\n    a = 1\n    b = 2\n    return a\n"
    assert holds(source, "a = 1\nb = 2\n")
    assert not holds(source, "a = 1\nreturn a\n")
    assert not holds(source, "a = 1\n    b = 2\n")
