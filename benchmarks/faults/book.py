"""Cases that were run, so that a stopped suite goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Case = dict[str, Any]
"""Outcome of a case: numbers that are added up, words that are counted, and under ``failures`` what went wrong, in words."""


class Book:
    """Outcomes by name, in a file.

    Args:
        path: of the file.
        say: told each new outcome.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path, self.say = path, say
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        self.cases: dict[str, Case] = {}
        for line in lines:
            entry = json.loads(line)
            self.cases[entry["name"]] = entry["case"]

    def case(self, name: str, run: Callable[[], Case]) -> Case:
        """The outcome of this name, or of running it now."""
        if name not in self.cases:
            self.cases[name] = run()
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"name": name, "case": self.cases[name]}) + "\n")
            failures = self.cases[name]["failures"]
            self.say(f"{name}: {'; '.join(failures) if failures else 'as promised'}")
        return self.cases[name]
