"""Probes: simple classifiers that can find only what features show plainly."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LINEAR, NEAREST = "linear", "knn"
PROBES = (LINEAR, NEAREST)
NEIGHBOURS = 10
_ITERATIONS = 500


def fitted(kind: str, features: np.ndarray, labels: np.ndarray) -> Any:
    """A probe of `PROBES`: logistic regression, or a vote of the 10 nearest by cosine; features are standardised.

    Args:
        kind: which.
        features: [N, d].
        labels: class indices [N], of at least two classes.
    """
    if kind == LINEAR:
        probe: Any = LogisticRegression(max_iter=_ITERATIONS, tol=1e-3)
    else:
        probe = KNeighborsClassifier(min(NEIGHBOURS, len(features)), metric="cosine")
    return make_pipeline(StandardScaler(), probe).fit(features, labels)
