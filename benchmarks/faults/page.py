"""The section of docs/results.md."""

from __future__ import annotations

from benchmarks.common import result_path, stored
from benchmarks.faults.summary import NAME, TITLES, table

DEFINITIONS = """Cases of the fault suite and how many came to what [faults.md](faults.md) promises. Commands run as processes of
their own on the smallest data and networks; what is compared are the bits of weights, pictures and logs, times left out."""


def section() -> str | None:
    """The stored result; None where there is none."""
    if not result_path(NAME, "result").exists():
        return None
    found = stored(NAME, "result")
    lines = [
        "## Is anything lost on the way?",
        "",
        "`python -m benchmarks.faults --run`",
        "",
        DEFINITIONS,
        "",
        *table(found),
        "",
    ]
    kills, memory, where = found["parts"].get("kills"), found.get("memory"), found["provenance"]
    if kills:
        phases = ", ".join(f"{phase} {count}" for phase, count in kills["by_phase"].items())
        lines += [f"What processes were doing when they were killed: {phases}.", ""]
    if memory:
        resident, files = memory["resident_mib"], memory["open_files"]
        lines += [
            f"A training of {memory['steps']:,} steps with checkpoints in one process: {resident['after_warm_up']} MiB "
            f"resident after a tenth of it, {resident['end']} MiB at its end; open files {files['after_warm_up']} and "
            f"{files['end']}.",
            "",
        ]
    for name, cases in found["failed"].items():
        lines += [f"- {TITLES[name]}, {case}: {failures[0].splitlines()[0][:160]}" for case, failures in cases.items()]
    if any(found["failed"].values()):
        lines.append("")
    if found.get("not_run"):
        lines += [f"This run was stopped before all was done: {found['not_run']}.", ""]
    lines += [f"Disks: {found['disks_by']}. Commit {where['commit']}, torch {where['torch']}, {where['machine']}.", ""]
    return "\n".join(lines)
