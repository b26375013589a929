"""Trains cases with N processes and with one, side by side, and compares what came of them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT
from benchmarks.parallel.cases import STEPS, Case, reference

KINDS = {"loss": "loss", "gradient": "gradient", "weight": "weight", "average": "weight", "player": "player"}
"""What is compared as what: losses of all steps, first gradients, last weights and averages, the players' weights."""


def compared(cases: list[Case], processes: int) -> list[dict[str, Any]]:
    """Largest absolute differences by case.

    Raises:
        RuntimeError: a process failed; its error is shown.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "cases.json").write_text(json.dumps([dataclasses.asdict(case) for case in cases]))
        many, one = place / "many", place / "one"
        for out in (many, one):
            out.mkdir()
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        worker = [sys.executable, *command, "-m", "benchmarks.parallel.worker", str(place / "cases.json"), str(many)]
        with (
            open(place / "errors.txt", "w+") as errors,
            subprocess.Popen(worker, env=environment, stdout=errors, stderr=errors) as others,  # noqa: S603
        ):
            _alone([reference(case) for case in cases], one)
            if others.wait():
                raise RuntimeError(f"{processes} processes failed:\n{(place / 'errors.txt').read_text()[-4000:]}")
        return [
            {"processes": processes, **dataclasses.asdict(case), **_differences(one, many, number)}
            for number, case in enumerate(cases)
        ]


def _alone(cases: list[Case], out: Path) -> None:
    import torch

    from benchmarks.parallel.worker import run
    from sadm.training.parallel.team import ALONE

    usual = torch.get_default_dtype()
    try:
        run(cases, out, ALONE)
    finally:
        torch.set_default_dtype(usual)


def _differences(one: Path, many: Path, number: int) -> dict[str, Any]:
    from safetensors.torch import load_file

    expected, found = (load_file(folder / f"{number}.safetensors") for folder in (one, many))
    if expected.keys() != found.keys() or any(found[name].shape != part.shape for name, part in expected.items()):
        raise RuntimeError(f"case {number}: one process has other tensors than several")
    largest = dict.fromkeys(sorted(set(KINDS.values())), 0.0)
    for name, part in expected.items():
        if part.numel():
            kind = KINDS[name.partition("/")[0]]
            largest[kind] = max(largest[kind], float((part - found[name]).abs().max()))
    return {"steps": STEPS, **{f"{kind}_difference": value for kind, value in largest.items()}}


def largest(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The largest differences of all rows, by kind."""
    return {name: max(row[name] for row in rows) for name in rows[0] if name.endswith("_difference")}
