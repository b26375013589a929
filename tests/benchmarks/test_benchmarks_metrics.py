"""The benchmark of the metrics: its routes agree, a difference shows, and what is not installed is named."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import benchmarks.metrics.__main__ as command
from benchmarks.metrics import cases, packages, page
from benchmarks.metrics.frechet_cost import (
    by_eigenvalue_form,
    by_eigenvalues,
    by_square_root,
    compare,
    draw_few,
    draw_fits,
)
from sadm.evaluation import GaussianFit, frechet_distance


def test_all_routes_to_the_frechet_distance_agree() -> None:
    fits = draw_fits(300, 40)
    for route in (by_square_root, by_eigenvalues, by_eigenvalue_form):
        found = compare(fits, route, turns=1)
        assert found["relative_error"] < 1e-9
        assert found["speedup"] == found["other_cpu_seconds"] / found["cpu_seconds"]
    assert compare(draw_few(10, 40), by_eigenvalue_form, turns=1)["relative_error"] < 1e-6


def test_a_wrong_route_shows() -> None:
    def wrong(first: GaussianFit, second: GaussianFit) -> float:
        return 1.001 * frechet_distance(first, second)

    assert compare(draw_fits(300, 40), wrong, turns=1)["relative_error"] == pytest.approx(0.001 / 1.001)
    assert packages.deviation((1.1, 1.0)) == pytest.approx(0.1)
    assert packages.deviation((0.2, 0.0)) == 0.2


def test_quick_names_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(case: cases.Case) -> packages.Pairs:
        raise ImportError("nowhere")

    monkeypatch.setattr(command, "LENGTH", 32)
    monkeypatch.setattr(command, "QUICK_COUNT", 200)
    monkeypatch.setitem(packages.PACKAGES, "prdc", missing)
    found = command.quick()
    assert found.keys() == {"fd_relative_error", "fd_speedup_over_scipy_sqrtm", "largest_deviation", "absent"}
    assert found["fd_relative_error"] < 1e-9
    assert found["fd_speedup_over_scipy_sqrtm"] > 0
    assert found["largest_deviation"]["scipy"] < 1e-9
    assert "prdc" in found["absent"]
    assert found["largest_deviation"].keys() | set(found["absent"]) == packages.PACKAGES.keys()
    if importlib.util.find_spec("torchmetrics") is None:
        assert "torchmetrics" in found["absent"]


def test_cases_overlap_so_that_shares_tell_something() -> None:
    case = cases.draw_case(4)
    np.testing.assert_allclose(case.probabilities.sum(axis=1), 1)
    assert len(case.logits) % packages.SPLITS == 0
    assert case.features.min() == 0
    apart = (case.features.mean(axis=0) - case.reference.mean(axis=0)) / case.reference.std(axis=0)
    assert 0.01 < np.abs(apart).mean() < 0.5


def test_the_page_shows_the_stored_result() -> None:
    section = page.section()
    assert section is not None
    result = command.stored(page.NAME, "result")
    for package, metrics in result["largest_deviation"].items():
        assert section.count(f"| {package} | {result['packages'][package]} |") == len(metrics)
    assert f"{result['frechet']['scipy_sqrtm']['speedup']:.1f} |" in section
