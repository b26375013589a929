"""Counts of all parts, as JSON and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.faults.book import Case

NAME = "faults"
TITLES = {
    "kills": "kill -9",
    "disks": "no space, no permission",
    "damage": "damaged files",
    "clocks": "clocks that jump",
    "locks": "two runs, SIGTERM",
    "poison": "NaN and infinity",
}
"""Parts that consist of cases, and what they are called. Processes under torchrun join here."""
_WORDS = ("phase", "victim")


def counts(cases: Sequence[Case]) -> dict[str, Any]:
    """Sums of a part's numbers, how often each phase and victim came up, and what failed."""
    sums: Counter[str] = Counter()
    words: dict[str, Counter[str]] = {}
    for case in cases:
        for name, value in case.items():
            if name in _WORDS:
                words.setdefault(name, Counter())[value] += 1
            elif name == "seconds_to_end":
                sums[name] = max(sums[name], value)
            elif name != "failures":
                sums[name] += value
    failed = sum(1 for case in cases if case["failures"])
    found: dict[str, Any] = {"cases": len(cases), **sums, "failures": failed}
    return {**found, **{f"by_{name}": dict(counter.most_common()) for name, counter in words.items()}}


def totals(parts: Mapping[str, Mapping[str, Any]], memory: Mapping[str, Any] | None) -> dict[str, int]:
    """The counts that the suite promises."""

    def added(key: str, *names: str) -> int:
        return sum(int(parts[name].get(key, 0)) for name in names or parts if name in parts)

    grew = int(bool(memory and memory["grew"]))
    return {
        "kills": added("kills"),
        "resumes": added("resumes"),
        "bit_equal": added("bit_equal"),
        "damaged": added("damaged"),
        "detected": added("detected"),
        "disk_full": added("full"),
        "injected_nan": added("injected"),
        "second_runs_refused": added("refused", "locks"),
        "terminated": added("terminated"),
        "clocks": added("clocks"),
        "steps_in_memory_test": 0 if memory is None else int(memory["steps"]),
        "failures": added("failures") + grew,
    }


def with_fuzzing(found: Mapping[str, int]) -> dict[str, int]:
    """The counts, with those of the stored results of `benchmarks.fuzz`, which is run by itself."""
    from benchmarks.fuzz.page import summary

    fuzzed = summary()
    return {**found, "fuzz_inputs": fuzzed["inputs"], "failures": found["failures"] + fuzzed["failures"]}


def table(found: Mapping[str, Any]) -> list[str]:
    """A Markdown table: a line for each part."""
    lines = ["| part | cases | came to what was promised | numbers |", "| --- | --- | --- | --- |"]
    for name, part in found["parts"].items():
        numbers = ", ".join(
            f"{value} {key.replace('_', ' ')}"
            for key, value in part.items()
            if key not in ("cases", "failures") and not key.startswith("by_")
        )
        lines.append(f"| {TITLES.get(name, name)} | {part['cases']} | {part['cases'] - part['failures']} | {numbers} |")
    return lines
