"""What the benchmarks share: where results are stored, and their command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from benchmarks.verifying import Claim

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "benchmarks"
DIGITS = 4
DECIDING = ("mlp", "pixels")
"""The judges that decide where images have labels."""
PLAIN_AND_GAME = {"plain": {"signal": "none"}, "sadm": {"signal": "structure"}}
"""Arms of the benchmarks that came before structure guidance in a hidden layer."""
SEARCHED_FROM = {"encoder_stride": 1, "encoder_steps": 150, "every": 1}
"""Structure options of the 8x8 recipe when the search began and the solvers were compared; it is leaner since."""


def relative(path: Path) -> str:
    """The path from here, where it is below: stored results name no folder of one machine."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def result_path(benchmark: str, name: str) -> Path:
    """Where a benchmark's result is stored."""
    return ROOT / "benchmarks" / "results" / benchmark / f"{name}.json"


def store(benchmark: str, name: str, value: Any) -> None:
    """Stores a result, to be committed."""
    from sadm.core.files import write_json

    write_json(result_path(benchmark, name), value)


def stored(benchmark: str, name: str) -> Any:
    """A stored result."""
    path = result_path(benchmark, name)
    if not path.exists():
        raise SystemExit(f"no stored result: run python -m benchmarks.{benchmark} --run")
    return json.loads(path.read_text(encoding="utf-8"))


def result_names(benchmark: str) -> list[str]:
    """Stored results of a benchmark that names them by device; see `result_name`."""
    return sorted(path.stem for path in result_path(benchmark, "result").parent.glob("result*.json"))


def result_name() -> str:
    """Under which name this machine's kind of result is stored."""
    from sadm.core.devices import resolve_device

    device = resolve_device("auto")
    return "result" if device.type == "cpu" else f"result-{device.type}"


def device_name(device: torch.device) -> str:
    """What a device is called in stored results."""
    import torch

    return torch.cuda.get_device_name() if device.type == "cuda" else device.type


def rounded(value: Any) -> Any:
    """Numbers at four significant digits, however deep they lie in mappings."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def change(ratio: float | None, missing: str = "at the floor") -> str:
    """A ratio as a change in percent; `missing` where there is none."""
    return missing if ratio is None else f"{ratio - 1:+.1%}"


def command_line(
    description: str | None,
    run: Callable[[], Any],
    summary: Callable[[], Any],
    quick: Callable[[], Any] | None = None,
    quick_help: str = "",
) -> None:
    """``--run`` measures or trains what is missing and stores the result, ``--summary`` prints the stored result as JSON.

    Args:
        description: of the benchmark, for ``--help``.
        run, summary, quick: what each option does; what it returns is printed as JSON. ``quick`` None = there is no ``--quick``.
        quick_help: what ``--quick`` prints.
    """
    actions = {
        "run": (run, "measure or train what is missing and store the result"),
        "summary": (summary, "print the stored result as JSON"),
    }
    if quick is not None:
        actions = {"quick": (quick, quick_help), **actions}
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options = parser.add_mutually_exclusive_group(required=True)
    for name, (_, text) in actions.items():
        options.add_argument(f"--{name}", action="store_const", dest="chosen", const=name, help=text)
    found = actions[parser.parse_args().chosen][0]()
    if found is not None:
        print(json.dumps(found, indent=1))


def command_line_of_parts(
    description: str | None,
    parts: Sequence[str],
    run: Callable[[list[str]], None],
    summary: Callable[[], Any],
    claim_of: Callable[[str, str | None], Claim] | None = None,
    verifiable: Sequence[str] = (),
) -> None:
    """``--run`` runs all parts, or those that ``--only`` names; ``--summary`` prints the stored results as JSON; ``--verify``
    trains what is behind a part anew, and says whether it gives what is stored.

    Args:
        description: of the benchmark, for ``--help``.
        parts: their names, in the order in which they run.
        run: runs the parts of these names; what is stored is not run again.
        summary: what the stored results say.
        claim_of: what is stored of an arm of a part.
        verifiable: parts of which it is.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--run", action="store_true", help="train what is missing and store the results; resumable")
    action.add_argument("--summary", action="store_true", help="print the stored results as JSON")
    if claim_of is not None:
        more = "; " + ", ".join(verifiable)
        action.add_argument(
            "--verify", metavar="PART", choices=verifiable, help="train a stored pair of it anew" + more
        )
        parser.add_argument("--arm", help="with --verify: of which arm; by default the one that the part is about")
        parser.add_argument("--seed", type=int, help="with --verify: of which seed; by default the first")
    parser.add_argument("--only", nargs="+", metavar="PART", choices=parts, help=f"of {', '.join(parts)}")
    options = parser.parse_args()
    if options.summary:
        print(json.dumps(summary(), indent=1))
    elif options.run:
        run(options.only or [*parts])
    elif claim_of is not None:
        sys.exit(_verify(lambda: claim_of(options.verify, options.arm), options.seed))


def _verify(claim: Callable[[], Claim], seed: int | None) -> int:
    """Prints what became of a claim; returns the exit code."""
    from benchmarks.verifying import verify
    from sadm.core.errors import InterruptedRun, UserError

    try:
        found = verify(claim(), seed)
    except (InterruptedRun, UserError) as error:
        print(error, file=sys.stderr)
        return 130 if isinstance(error, InterruptedRun) else 2
    print(json.dumps(found, indent=1))
    return 0 if found["within"] else 1
