"""The command line of `benchmarks.throughput`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import benchmarks.throughput
from benchmarks.common import device_name, result_name, result_path, rounded, store, stored
from benchmarks.throughput.page import NAME

if TYPE_CHECKING:
    import torch

    from benchmarks.throughput.measure import Effort, Manner
    from benchmarks.throughput.shapes import Shape


def main() -> None:
    """Parses and runs."""
    parser = argparse.ArgumentParser(
        description=benchmarks.throughput.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--quick", action="store_true", help="print ratios of small batches as JSON, within a minute")
    action.add_argument("--run", action="store_true", help="measure what is missing and store the result; resumable")
    action.add_argument("--summary", action="store_true", help="print the stored result as JSON")
    parser.add_argument("--compile", action="store_true", help="our network compiled by torch; a result of its own")
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="products in bfloat16 on the CPU, of all contestants; a result of its own",
    )
    options = parser.parse_args()
    from benchmarks.throughput.measure import Manner

    manner = Manner(options.compile, options.bfloat16)
    if options.summary:
        print(json.dumps(stored(NAME, result_name() + manner.suffix), indent=1))
    elif options.quick:
        print(json.dumps(quick(manner), indent=1))
    else:
        run(manner)


def quick(manner: Manner | None = None, chosen: Mapping[str, Shape] | None = None) -> dict[str, Any]:
    """Few turns of small batches; `chosen` None = the shapes for it."""
    from benchmarks.throughput.measure import AS_USUAL, Effort
    from benchmarks.throughput.shapes import QUICK, shapes

    every = shapes()
    chosen = chosen or {name: every[name].quick() for name in QUICK}
    manner = manner or AS_USUAL
    effort = Effort(turns=3, slice_seconds=0.1, warm_up=warm_up(manner), peak_seconds=0.1, peak_shapes=3)
    return measure_all(chosen, effort, {}, manner)


def run(manner: Manner) -> None:
    """Every shape at full length, each stored when it is there."""
    from benchmarks.throughput.measure import CONTESTANTS, Effort
    from benchmarks.throughput.memory import measured_apart
    from benchmarks.throughput.shapes import shapes

    name = result_name() + manner.suffix
    result = stored(NAME, name) if result_path(NAME, name).exists() else {}
    missing = {key: shape for key, shape in shapes().items() if key not in result.get("shapes", {})}

    def keep(found: dict[str, Any]) -> None:
        for key, shape in found["shapes"].items():
            if "peak_memory_mib" not in shape:
                shape["peak_memory_mib"] = {kind.name: measured_apart(kind.name, key, manner) for kind in CONTESTANTS}
        store(NAME, name, rounded(found))

    if missing:
        effort = Effort(turns=5, slice_seconds=2.0, seconds=60.0, warm_up=warm_up(manner))
        measure_all(missing, effort, result, manner, keep)


def warm_up(manner: Manner) -> int:
    """Untimed calls: where something is compiled or an accelerator has kernels to choose."""
    return 3 if manner.compiled or _device().type != "cpu" else 0


def measure_all(
    chosen: Mapping[str, Shape],
    effort: Effort,
    result: dict[str, Any],
    manner: Manner,
    keep: Callable[[dict[str, Any]], None] = lambda found: None,
) -> dict[str, Any]:
    """Adds shapes to `result`; the peak is the best ever seen, before, between and after them.

    Args:
        chosen: what to measure, by name.
        effort: how long.
        result: what is there already.
        manner: how they compute.
        keep: called after each shape.
    """
    import torch

    from benchmarks.throughput.measure import matmul_peak, measure, rate_against_peak
    from sadm.core.provenance import provenance

    torch.set_num_threads(1)
    device = _device()
    found = {"shapes": {}, "matmul_peak_gflops": 0.0, **result}
    dtype = manner.dtype(device)
    peaks = [found["matmul_peak_gflops"] * 1e9, matmul_peak(effort, device, dtype)]
    last = [*chosen][-1]
    for name, shape in chosen.items():
        measured = measure(shape, effort, device, manner)
        found["shapes"][name] = {
            **measured,
            "commit": provenance()["commit"],
        }  # shapes may be measured at different times
        if name == last or effort.turns > 3:
            peaks.append(matmul_peak(effort, device, dtype))
        for row in found["shapes"].values():
            rate_against_peak(row, max(peaks))
        found |= {"matmul_peak_gflops": max(peaks) / 1e9, **conditions(device, manner)}
        keep(found)
    return rounded(found)


def conditions(device: torch.device, manner: Manner) -> dict[str, Any]:
    """What the numbers depend on."""
    from importlib import metadata

    import torch

    from sadm.core.provenance import provenance

    cpu = device.type == "cpu"
    return {
        "clock": "CPU-seconds of one thread" if cpu else "elapsed seconds of finished work",
        "precision": "float32" if manner.dtype(device) == torch.float32 else "bfloat16 autocast",
        "compiled": manner.compiled,
        "device": device_name(device),
        "provenance": {**provenance(), "diffusers": metadata.version("diffusers")},
    }


def _device() -> torch.device:
    from sadm.core.devices import resolve_device

    return resolve_device("auto")


if __name__ == "__main__":
    main()
