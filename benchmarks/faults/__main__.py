"""The command line of `benchmarks.faults`."""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import benchmarks.faults
from benchmarks.common import ROOT, RUNS, store, stored
from benchmarks.faults import clocks, damage, disks, kills, locks, memory, poison
from benchmarks.faults.book import Book, Case
from benchmarks.faults.command import Host, hosting
from benchmarks.faults.summary import NAME, counts, table, totals, with_fuzzing
from sadm.core.files import read_json, write_json
from sadm.core.provenance import provenance

Part = Callable[[Host, Path, Book], list[Case]]
PARTS: dict[str, Part] = {
    "kills": kills.run,
    "disks": disks.run,
    "damage": damage.run,
    "clocks": clocks.run,
    "locks": locks.run,
    "poison": poison.run,
}
"""Parts that consist of cases. A part of another kind (processes under torchrun) joins by a line here."""
MEMORY = "memory"
QUICK: dict[str, Part] = {
    "kills": functools.partial(kills.run, moments={"train": 3, "evaluate": 1, "encode": 1}),
    "clocks": functools.partial(clocks.run, names=()),
    "locks": functools.partial(locks.run, stops=1),
    "poison": functools.partial(poison.run, planted=poison.PLANTED[:2]),
}
QUICK_STEPS = 400


def run(parts: Sequence[str], folder: Path, kinds: dict[str, Part], steps: int = memory.STEPS) -> dict[str, Any]:
    """Runs what is missing of these parts, and counts."""
    found: dict[str, list[Case]] = {}
    with hosting(folder / "logs") as host:
        for name in parts:
            if name in kinds:
                book = Book(folder / f"{name}.jsonl", functools.partial(_say, name))
                found[name] = kinds[name](host, folder / name, book)
        long = folder / f"{MEMORY}.json"
        if MEMORY in parts and not long.exists():
            write_json(long, memory.measure(host, folder / MEMORY, steps, functools.partial(_say, MEMORY)))
    counted = {name: counts(cases) for name, cases in found.items()}
    grown = read_json(long) if MEMORY in parts else None
    return {
        "totals": totals(counted, grown),
        "parts": counted,
        "memory": grown,
        "failed": {name: _failed(folder / f"{name}.jsonl") for name in found},
        "disks_by": _disks_by(folder / "disks" / "disk"),
        "provenance": provenance(),
    }


def main() -> None:
    """Parses the arguments, runs, prints JSON and a table."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=benchmarks.faults.__doc__, formatter_class=formatter)
    action = parser.add_mutually_exclusive_group(required=True)
    for name, text in (
        ("run", "run what is missing and store the counts"),
        ("quick", "a few cases of each part; stores nothing"),
        ("summary", "print the stored counts as JSON"),
    ):
        action.add_argument(f"--{name}", action="store_const", dest="chosen", const=name, help=text)
    parser.add_argument("--only", nargs="+", choices=[*PARTS, MEMORY], help="these parts alone, of --run")
    options = parser.parse_args()
    if options.chosen == "summary":
        print(json.dumps(with_fuzzing(stored(NAME, "result")["totals"]), indent=1))
        return
    if options.chosen == "quick":
        with tempfile.TemporaryDirectory() as folder:
            found = run([*QUICK, MEMORY], Path(folder), QUICK, QUICK_STEPS)
    else:
        chosen = options.only or [*PARTS, MEMORY]
        found = run(chosen, RUNS / NAME, PARTS)
        if not options.only:
            store(NAME, "result", found)
            shutil.rmtree(RUNS / NAME)  # the next --run begins anew
    print(json.dumps(found["totals"] if options.chosen == "quick" else with_fuzzing(found["totals"]), indent=1))
    print("\n".join(table(found)))
    for name, cases in found["failed"].items():
        for case, failures in cases.items():
            print(f"{name}, {case}: {'; '.join(failures)}")
    sys.exit(1 if found["totals"]["failures"] else 0)


def _failed(book: Path) -> dict[str, list[str]]:
    """Failures by case; stored results name no folder of one machine."""
    text = book.read_text("utf-8") if book.exists() else ""
    entries = [json.loads(line) for line in text.replace(str(RUNS), "runs").replace(f"{ROOT}/", "").splitlines()]
    return {entry["name"]: entry["case"]["failures"] for entry in entries if entry["case"]["failures"]}


def _disks_by(folder: Path) -> str:
    small = "small tmpfs" if disks.may_mount(folder) else "no file system could be mounted"
    return f"errors injected at each kind of write, a limit on the size of files, {small}"


def _say(part: str, text: str) -> None:
    print(f"{part}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
