"""Metrics against the public packages on the same features; needs `make test-reference`."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.metrics.cases import Case, draw_case
from benchmarks.metrics.frechet_cost import by_eigenvalue_form, by_square_root, draw_few, draw_fits
from benchmarks.metrics.packages import PACKAGES, deviation
from sadm.evaluation import frechet_distance, kernel_distance, kernel_distance_blocks

CASES = {
    "features of a network": draw_case(),
    "five neighbours": draw_case(seed=1, neighbours=5),
    "one neighbour, few features": draw_case(seed=2, count=120, length=3, neighbours=1),
    "many features": draw_case(seed=3, count=600, length=256),
}
LARGEST = 1e-9
SINGLE_PRECISION = 1e-7
"""torch-fidelity averages over images in single precision; one image more or less would be 1e-3."""


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_metrics_equal_the_packages(package: str, case: Case) -> None:
    pairs = PACKAGES[package](case)
    assert pairs
    for name, pair in pairs.items():
        single = package == "torch-fidelity" and name in ("precision", "recall")
        assert deviation(pair) < (SINGLE_PRECISION if single else LARGEST), (name, pair)


def test_the_comparison_would_see_a_difference() -> None:
    """The values compared are not the same number twice, and shares are neither 0 nor 1."""
    case = CASES["features of a network"]
    moved = dataclasses.replace(case, features=case.features * 1.01)
    for package, function in PACKAGES.items():
        before, after = function(case), function(moved)
        for name in before.keys() - {"inception_score", "inception_score_spread"}:
            assert before[name][1] != after[name][1], (package, name)
    for share in PACKAGES["prdc"](case).values():
        assert 0.01 < share[1] < 0.99 or share[1] > 1


def test_a_block_of_all_images_is_the_full_estimate() -> None:
    case = CASES["features of a network"]
    blocks = kernel_distance_blocks(case.features, case.reference, 1, len(case.features))
    assert blocks.mean == pytest.approx(kernel_distance(case.features, case.reference), rel=1e-12)


def test_the_frechet_distance_in_2048_dimensions() -> None:
    """With more and with fewer images than features."""
    first, second = draw_fits(count=4096, length=2048)
    assert frechet_distance(first, second) == pytest.approx(by_square_root(first, second), rel=1e-6)
    few = draw_few(count=300, length=2048)
    assert frechet_distance(*few) == pytest.approx(by_eigenvalue_form(*few), rel=1e-6)
