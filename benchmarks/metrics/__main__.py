"""The command line of `benchmarks.metrics`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import benchmarks.metrics
from benchmarks.common import command_line, rounded, store, stored
from benchmarks.metrics.page import NAME

LENGTH = 2048
COUNT, QUICK_COUNT = 10_000, 4096
FEW = 500
SEEDS = range(5)


def on_one_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """`work`, with numpy's and scipy's threads limited, each of which has its own."""

    def limited() -> Any:
        import torch
        from threadpoolctl import threadpool_limits

        from benchmarks.metrics import frechet_cost  # noqa: F401 - limits hold for libraries that are loaded

        torch.set_num_threads(1)
        with threadpool_limits(1):
            return work()

    return limited


def quick() -> dict[str, Any]:
    """One turn of scipy's square root, and deviations from what is installed."""
    from benchmarks.metrics import frechet_cost

    largest, absent = deviations(1)
    frechet = frechet_cost.compare(frechet_cost.draw_fits(QUICK_COUNT, LENGTH), frechet_cost.by_square_root, turns=1)
    return rounded(
        {
            "fd_relative_error": frechet["relative_error"],
            "fd_speedup_over_scipy_sqrtm": frechet["speedup"],
            "largest_deviation": {package: max(found.values()) for package, found in largest.items()},
            "absent": absent,
        }
    )


def run() -> None:
    """Every route and package; needs them all."""
    from benchmarks.metrics import frechet_cost as cost

    largest, absent = deviations(len(SEEDS))
    if absent:
        sys.exit(f"{', '.join(absent)} not installed: run make benchmark-metrics")
    fits = cost.draw_fits(COUNT, LENGTH)
    routes = {
        "scipy_sqrtm": cost.compare(fits, cost.by_square_root),
        "eigenvalues_of_the_product": cost.compare(fits, cost.by_eigenvalues),
        "eigenvalue_form": cost.compare(fits, cost.by_eigenvalue_form),
        "eigenvalue_form_few_images": cost.compare(cost.draw_few(FEW, LENGTH), cost.by_eigenvalue_form),
    }
    conditions = {"length": LENGTH, "count": COUNT, "few": FEW, "seeds": len(SEEDS), **versions()}
    store(NAME, "result", rounded({"frechet": routes, "largest_deviation": largest, **conditions}))


def deviations(seeds: int) -> tuple[dict[str, dict[str, float]], list[str]]:
    """By package and metric, the largest relative deviation over cases; and what is not installed."""
    from benchmarks.metrics.cases import draw_case
    from benchmarks.metrics.packages import PACKAGES, deviation

    cases = [draw_case(seed) for seed in range(seeds)]
    found: dict[str, dict[str, float]] = {}
    absent = []
    for package, function in PACKAGES.items():
        try:
            pairs = [function(case) for case in cases]
        except ImportError:
            absent.append(package)
            continue
        found[package] = {name: max(deviation(part[name]) for part in pairs) for name in pairs[0]}
    return found, absent


def versions() -> dict[str, Any]:
    """Of the packages, and where it ran."""
    from importlib import metadata

    from benchmarks.metrics.packages import PACKAGES
    from sadm.core.provenance import provenance

    return {"packages": {name: metadata.version(name) for name in PACKAGES}, "provenance": provenance()}


if __name__ == "__main__":
    command_line(
        benchmarks.metrics.__doc__,
        on_one_thread(run),
        lambda: stored(NAME, "result"),
        on_one_thread(quick),
        "print error, speed and deviations as JSON, within 50 s",
    )
