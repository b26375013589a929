"""What a proof of concept remembers between sessions, in ``plan.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sadm.core.files import read_json, write_json
from sadm.experiments.plan import RUNS
from sadm.experiments.poc.domains import Found
from sadm.experiments.poc.plan import Speed
from sadm.experiments.summary import COMPARISON

PLAN = "plan.json"


class State:
    """Everything that was found, measured and decided; written whenever it changes.

    Args:
        folder: of the proof of concept.

    Attributes:
        facts: as the file has it. ``domains``: by name, ``train`` and ``summary`` of `Found`, ``speed``, ``judged`` and, once
            trained, ``took`` (seconds) and ``planned`` for as many seeds; ``images`` and ``seeds`` once planned.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, path = folder, folder / PLAN
        self.facts: dict[str, Any] = read_json(path) if path.exists() else {"images": None, "seeds": 0, "domains": {}}
        self.unusable: dict[str, Found] = {}

    def save(self) -> None:
        """Writes the file."""
        write_json(self.folder / PLAN, self.facts)

    @property
    def usable(self) -> dict[str, dict[str, Any]]:
        """By name, the domains that can be trained on."""
        domains: dict[str, dict[str, Any]] = self.facts["domains"]
        return {name: facts for name, facts in domains.items() if name not in self.unusable}

    @property
    def speeds(self) -> dict[str, Speed]:
        """By name, what was measured."""
        return {name: Speed(**facts["speed"]) for name, facts in self.usable.items()}

    @property
    def slowness(self) -> dict[str, float]:
        """By name, seconds that trainings took over those planned."""
        return {
            name: facts["took"] / facts["planned"]
            for name, facts in self.usable.items()
            if facts.get("took") and facts["planned"]
        }

    def results(self, name: str) -> dict[str, Any] | None:
        """A domain's ``comparison.json``; None before there is one."""
        path = self.folder / name / COMPARISON
        return read_json(path) if path.exists() else None

    def seeds(self, name: str) -> int:
        """Paired seeds that a domain's comparison holds."""
        found = self.results(name)
        return 0 if found is None else len(found["protocol"]["seeds"])

    @property
    def done(self) -> dict[str, int]:
        """By name, `seeds` of each domain that can be trained on."""
        return {name: self.seeds(name) for name in self.usable}

    def trained(self, name: str) -> int:
        """Seeds of which a domain has trainings, finished or not."""
        return len({path.name.rpartition("-")[2] for path in (self.folder / name / RUNS).glob("*-seed-*")})
