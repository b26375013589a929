"""What each public package gives for the same features, beside what `sadm.evaluation` gives.

Every function takes a `Case` and returns pairs (ours, theirs) by metric, through the package's public interface. A package that
is not installed raises ImportError.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.metrics.cases import SPLITS, Case
from sadm.evaluation import (
    GaussianFit,
    Manifold,
    frechet_distance,
    inception_score,
    kernel_distance,
    kernel_distance_blocks,
    precision_recall,
)

Pairs = dict[str, tuple[float, float]]


def scipy_sqrtm(case: Case) -> Pairs:
    """The Fréchet distance by the square root of the product of covariances."""
    from scipy import linalg

    means = [values.mean(axis=0) for values in (case.features, case.reference)]
    first, second = (np.cov(values, rowvar=False) for values in (case.features, case.reference))
    cross = np.trace(linalg.sqrtm(first @ second)).real
    theirs = float(((means[0] - means[1]) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * cross)
    return {"fd": (_frechet(case), theirs)}


def torch_fidelity(case: Case) -> Pairs:
    """Distances, score, precision and recall; subsets and shuffles drawn as the package draws them."""
    from benchmarks.metrics.fidelity import calculate

    size = len(case.features) // 2
    found = calculate(case, isc_splits=SPLITS, kid_subsets=20, kid_subset_size=size, prc_neighborhood=case.neighbours)
    blocks = kernel_distance_blocks(case.features, case.reference, 20, size)
    score = inception_score(case.probabilities, SPLITS)
    coverage = precision_recall(case.features, Manifold(case.reference, case.neighbours))
    return {
        "fd": (_frechet(case), found["frechet_inception_distance"]),
        "kid": (blocks.mean, found["kernel_inception_distance_mean"]),
        "kid_spread": (blocks.spread, found["kernel_inception_distance_std"]),
        "inception_score": (score.mean, found["inception_score_mean"]),
        "inception_score_spread": (score.spread, found["inception_score_std"]),
        "precision": (coverage.precision, found["precision"]),
        "recall": (coverage.recall, found["recall"]),
    }


def torchmetrics(case: Case) -> Pairs:
    """Distances and score, with identities for networks; its draws come from torch's global generator."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    count, subsets, size = len(case.features), 8, len(case.features) // 2
    x, y, logits = (torch.from_numpy(values) for values in (case.features, case.reference, case.logits))
    identity: Any = torch.nn.Identity()
    identity.num_features = x.shape[1]
    distance = FrechetInceptionDistance(feature=identity).set_dtype(torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that they keep all features in memory
        kernel = KernelInceptionDistance(feature=identity, subsets=subsets, subset_size=size)
        score = InceptionScore(feature=identity, splits=SPLITS)
    for metric in (distance, kernel):
        metric.update(y, real=True)
        metric.update(x, real=False)
    score.update(logits)
    theirs = {"fd": float(distance.compute())}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        theirs["kid"], theirs["kid_spread"] = (float(value) for value in kernel.compute())
        theirs["inception_score"], theirs["inception_score_spread"] = (float(value) for value in score.compute())
        torch.manual_seed(1)
        values = []
        for _ in range(subsets):
            real, generated = torch.randperm(count)[:size], torch.randperm(count)[:size]
            values.append(kernel_distance(case.features[generated.numpy()], case.reference[real.numpy()]))
        order = torch.randperm(count).numpy()
    ours = inception_score(case.probabilities[order], SPLITS, seed=None)
    # Its spread divides by one less than the number of splits.
    spread = ours.spread * (SPLITS / (SPLITS - 1)) ** 0.5
    mine = {
        "fd": _frechet(case),
        "kid": float(np.mean(values)),
        "kid_spread": float(np.std(values)),
        "inception_score": ours.mean,
        "inception_score_spread": spread,
    }
    return {name: (mine[name], theirs[name]) for name in mine}


def prdc(case: Case) -> Pairs:
    """Precision, recall, density and coverage."""
    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):  # it prints numbers of images
        theirs = compute_prdc(case.reference, case.features, case.neighbours)
    manifold = Manifold(case.reference, case.neighbours)
    ours = {**vars(precision_recall(case.features, manifold)), **vars(manifold.density_coverage(case.features))}
    return {name: (ours[name], float(theirs[name])) for name in ("precision", "recall", "density", "coverage")}


PACKAGES: dict[str, Callable[[Case], Pairs]] = {
    "scipy": scipy_sqrtm,
    "torch-fidelity": torch_fidelity,
    "torchmetrics": torchmetrics,
    "prdc": prdc,
}
"""By distribution name."""


def deviation(pair: tuple[float, float]) -> float:
    """Relative to the package's value; absolute where that is 0."""
    ours, theirs = pair
    return abs(ours - theirs) / abs(theirs) if theirs else abs(ours)


def _frechet(case: Case) -> float:
    return frechet_distance(GaussianFit.of(case.features), GaussianFit.of(case.reference))
