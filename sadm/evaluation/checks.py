"""What every metric asks of features."""

from __future__ import annotations

import numpy as np

from sadm.core.errors import UserError


def checked_features(features: np.ndarray, least: int, purpose: str) -> np.ndarray:
    """Features in float64.

    Args:
        features: [N, d].
        least: the fewest images that will do.
        purpose: what they are for, to begin the message with, such as "a Fréchet distance".

    Raises:
        UserError: another shape, fewer images, no feature at all, or values that are not finite.
    """
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or len(values) < least or values.shape[1] == 0:
        raise UserError(f"{purpose} needs features [N, d] of at least {least} images, got shape {tuple(values.shape)}.")
    refuse_non_finite(values)
    return values


def checked_pair(
    features: np.ndarray, reference: np.ndarray, least: int, purpose: str
) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features of one length, in float64; see `checked_features`.

    Raises:
        UserError: as there, or features of different length.
    """
    pair = checked_features(features, least, purpose), checked_features(reference, least, purpose)
    refuse_other_length(*pair)
    return pair


def refuse_non_finite(values: np.ndarray) -> None:
    """Raises `UserError` where there is NaN or infinity."""
    if not np.isfinite(values).all():
        raise UserError("features hold NaN or infinite values; check the images that they were computed from.")


def refuse_other_length(features: np.ndarray, reference: np.ndarray) -> None:
    """Raises `UserError` where two arrays differ in their last axis."""
    if features.shape[-1] != reference.shape[-1]:
        raise UserError(
            f"features of different length: {features.shape[-1]} and {reference.shape[-1]}. Compare features of one "
            "extractor."
        )
