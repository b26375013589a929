"""A last look before something is kept: no NaN or infinity ever gets into a checkpoint or a model."""

from __future__ import annotations

from typing import Any

import torch

from sadm.core.errors import DivergedError
from sadm.structure.players.discriminator import all_finite
from sadm.training.parallel.engine import local
from sadm.training.parallel.team import ALONE, Team


def first_not_finite(value: Any, name: str = "") -> str | None:
    """Where in nested dictionaries and lists the first tensor with NaN or infinite numbers is; None where all are finite."""
    if isinstance(value, torch.Tensor):
        return None if all_finite(local(value)) else name
    if isinstance(value, dict):
        parts = list(value.items())
    else:
        parts = list(enumerate(value)) if isinstance(value, (list, tuple)) else []
    found = (first_not_finite(part, f"{name}/{key}" if name else str(key)) for key, part in parts)
    return next((place for place in found if place is not None), None)


def refuse_not_finite(state: dict[str, Any], step: int, team: Team = ALONE) -> None:
    """Refuses to keep a state that nothing could go on from.

    Args:
        state: of a training, nested.
        step: that it has reached.
        team: the processes; what one of them finds in its shares is everybody's.

    Raises:
        DivergedError: a tensor holds NaN or infinite numbers; its place is named.
    """
    place = first_not_finite(state)
    if team.any(place is not None):
        raise DivergedError(
            f"{place or 'what another process has a share of'} holds NaN or infinite numbers after step {step}; stopped before "
            "they were saved. The last checkpoint is intact: run the same command to go on from there, or start again with a "
            "lower --optimiser.learning-rate.",
            step,
        )
