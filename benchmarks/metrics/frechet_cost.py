"""The Fréchet distance by several routes: how far apart, and at what cost."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy import linalg

from sadm.evaluation import GaussianFit, frechet_distance

Distance = Callable[[GaussianFit, GaussianFit], float]


def draw_fits(count: int, length: int, seed: int = 0) -> tuple[GaussianFit, GaussianFit]:
    """Fits to features of well-conditioned covariance, of other mean, spread and correlation each."""
    draws = np.random.default_rng(seed)
    mixing = np.eye(length) + 0.3 * draws.standard_normal((length, length)) / length**0.5
    first = draws.standard_normal((count, length)) @ mixing
    second = 1.2 * draws.standard_normal((count, length)) + 0.1
    return GaussianFit.of(first), GaussianFit.of(second)


def draw_few(count: int, length: int) -> tuple[GaussianFit, GaussianFit]:
    """Fits to features of fewer images than features."""
    first, second = (np.random.default_rng(seed).standard_normal((count, length)) + 0.1 * seed for seed in (0, 1))
    return GaussianFit.of(first), GaussianFit.of(second)


def by_square_root(first: GaussianFit, second: GaussianFit) -> float:
    """With scipy's square root of the product, as most packages had it."""
    return _apart(first, second) - 2 * float(np.trace(linalg.sqrtm(first.covariance @ second.covariance)).real)


def by_eigenvalue_form(first: GaussianFit, second: GaussianFit) -> float:
    """With the singular values of the product of both square roots, each from an eigendecomposition."""
    roots = []
    for fit in (first, second):
        values, vectors = linalg.eigh(fit.covariance)
        roots.append((vectors * np.sqrt(values.clip(min=0))) @ vectors.T)
    return _apart(first, second) - 2 * float(linalg.svdvals(roots[0] @ roots[1]).sum())


def by_eigenvalues(first: GaussianFit, second: GaussianFit) -> float:
    """With the eigenvalues of the product, as torch-fidelity and torchmetrics have it."""
    values = np.linalg.eigvals(first.covariance @ second.covariance).astype(complex)
    return _apart(first, second) - 2 * float(np.sqrt(values).real.sum())


def cost(distance: Distance, first: GaussianFit, second: GaussianFit) -> tuple[float, float]:
    """A distance and its CPU-seconds; fits come fresh, so that nothing is kept from an earlier call."""
    fresh = [GaussianFit(fit.mean, fit.covariance, fit.factor) for fit in (first, second)]
    start = time.process_time()
    value = distance(fresh[0], fresh[1])
    return value, time.process_time() - start


def compare(fits: tuple[GaussianFit, GaussianFit], other: Distance, turns: int = 3) -> dict[str, float]:
    """Ours beside another route, in turn.

    Args:
        fits: what is compared.
        other: the other route.
        turns: of the other; ours has three between any two of them.

    Returns:
        Relative error, median CPU-seconds of both, and their ratio.
    """
    ours, theirs, value, expected = [], [], 0.0, 0.0
    for _ in range(turns):
        expected, seconds = cost(other, *fits)
        theirs.append(seconds)
        for _ in range(3):
            value, seconds = cost(frechet_distance, *fits)
            ours.append(seconds)
    mine, other_seconds = float(np.median(ours)), float(np.median(theirs))
    return {
        "relative_error": abs(value - expected) / abs(expected),
        "cpu_seconds": mine,
        "other_cpu_seconds": other_seconds,
        "speedup": other_seconds / mine,
    }


def _apart(first: GaussianFit, second: GaussianFit) -> float:
    difference = first.mean - second.mean
    return float(difference @ difference + np.trace(first.covariance) + np.trace(second.covariance))
