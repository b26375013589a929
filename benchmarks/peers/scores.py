"""What is read off a stored result of a job."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Result = dict[str, Any]


def excess(result: Result, sampler: str) -> dict[str, float] | None:
    """FD - floor by deciding judge with one sampler; None where the training or its images diverged."""
    if result["training"]["diverged"] or result["judged"][sampler]["fd"] is None:
        return None
    fd = result["judged"][sampler]["fd"]
    return {judge: fd[judge] - result["floor"][judge] for judge in result["deciding"]}


def score(values: Mapping[str, float] | None) -> float:
    """Mean logarithm of FD - floor over judges, the smaller the better; infinite without one, -infinite at the floor."""
    if values is None:
        return math.inf
    return sum(math.log(value) if value > 0 else -math.inf for value in values.values()) / len(values)
