"""The section of docs/results.md, and the summary."""

from __future__ import annotations

from typing import Any

from benchmarks.common import result_path, stored

NAME = "fuzz"
PROVENANCE = "provenance"
TEXT = """Readers of files from elsewhere are given mutations of valid files (bits flipped, bytes cut out, repeated or put in,
fields of JSON set to something odd) and random bytes behind a valid beginning. Each input must be taken, or refused with the
reader's own message, within ten seconds; anything else is a failure. All come from numbers that hypothesis draws from fixed
seeds."""


def results() -> dict[str, Any]:
    """The stored results, by target."""
    names = sorted(path.stem for path in result_path(NAME, "any").parent.glob("*.json"))
    return {name: stored(NAME, name) for name in names}


def section() -> str | None:
    """The stored results; None where there are none."""
    found = results()
    if not found:
        return None
    lines = [
        "## Are damaged and forged files refused?",
        "",
        "`python -m benchmarks.fuzz --run`, or `make fuzz`",
        "",
        TEXT,
        "",
    ]
    lines += ["| reader | inputs | taken | refused in words | failures |", f"|{' --- |' * 5}"]
    lines += [
        f"| {name.replace('_', ' ')} | {row['inputs']:,} | {row['accepted']:,} | {row['refused']:,} | {len(row['failures'])} |"
        for name, row in found.items()
    ]
    total, where = summary(), next(iter(found.values()))[PROVENANCE]
    lines += [
        f"| all | {total['inputs']:,} | {total['accepted']:,} | {total['refused']:,} | {total['failures']} |",
        "",
        f"Commit {where['commit']}, Python {where['python']}, torch {where['torch']}.",
        "",
    ]
    return "\n".join(lines)


def summary() -> dict[str, Any]:
    """Counts over all targets."""
    found = results().values()
    counts = {key: sum(row[key] for row in found) for key in ("inputs", "accepted", "refused")}
    return {"targets": len(found), **counts, "failures": sum(len(row["failures"]) for row in found)}
