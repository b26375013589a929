"""How a fine-tuned model is kept near the one that it started from. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sadm.core.config import Config, Positive, Strength

ANCHOR_WEIGHT = 5.0


class AnchorConfig(Config):
    """The model that the training starts from as an anchor against forgetting: the images of a batch stay related as it relates
    them (2104.06820). Alone with --signal anchor, or beside another signal with a weight. structure.warmup and structure.end
    count here, too.
    """

    weight: Strength | None = None
    """Factor on the loss; None = 5 with --signal anchor, 0 with the other signals. 0 = off."""
    place: Literal["hidden", "output", "both"] = "hidden"
    """What is related: a hidden layer, the network's estimate x0_hat (2211.03264), or both."""
    tap: str | None = None
    """Module whose output is related, such as 'blocks.1'; None = the middle block."""
    relation: Literal["softmax", "cosine", "euclidean", "rbf", "tokens"] = "softmax"
    """softmax = cosines to all other images as a distribution, as in the paper; cosine, euclidean, rbf = squared differences of
    these relations; tokens = of the cosines between all tokens of all images.
    """
    fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of each batch, its noisiest images, that takes part; the source model runs for these alone."""
    every: Positive = 1
    """Take part in every k-th step only; 1 = in all."""
