"""What holds a training back from forgetting what it started from, and from learning its images by heart. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sadm.core.config import Config, Count, Positive, Strength

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


class PriorConfig(Config):
    """Prior preservation (2208.12242): images drawn from the model that the training starts from take part in every batch, so
    that it goes on knowing them.
    """

    images: Count = 0
    """Images drawn before the first step and kept in the run folder; 0 = none."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of each batch that is taken from them; a batch is no larger for it. Signals see the other images alone."""
    weight: Strength = 1.0
    """Factor on their denoising loss."""


class EarlyStopConfig(Config):
    """Early stopping: a share of the training images is held back, and the averaged weights are kept that denoise it best. The
    held-out images, by which the model is judged, have no part in it.
    """

    every: Count = 0
    """Steps between two looks at the images held back; 0 = no early stopping."""
    patience: Positive = 10
    """Looks in a row without a lower loss after which the training ends."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the training images held back, of each class alike; groups stay together."""
    draws: Positive = 16
    """Noise levels at which each of them is seen at a look, the same at every look."""
