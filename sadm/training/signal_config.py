"""What can be configured about training signals. Imports no torch, so that the command line answers at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sadm.core.config import Config, Count, Fraction, Positive, PositiveFloat, Strength

Signal = Literal[
    "none", "structure", "features", "labels", "dispersive", "contrastive", "repa", "hidden", "sampled", "anchor"
]

OF_PAIRS = ("structure", "dispersive", "contrastive", "hidden", "sampled", "anchor")
"""Signals that compare images with each other."""


class StructureConfig(Config):
    """The structure game, and what other signals share with it:
    --signal features and labels use its ratio, profile, balance, k-max, fraction, choose, noise-weight, warmup, end and every;
    --signal features, labels, repa, hidden and sampled use its encoder;
    --signal hidden uses its warmup, end and every; --signal sampled its every.
    """

    adversary: Literal["ascend", "classify", "frozen"] = "ascend"
    """How the discriminator plays: its encoder ascends the gap, a classifier of relations judges them, or it is frozen."""
    relation: Literal["cosine", "euclidean", "rbf", "angles"] = "cosine"
    """How images are related to each other."""
    target: Literal["images", "labels", "attributes"] = "images"
    """structure: what relations are held to: those of the real images, as the encoder sees them; 1 within a class and 0 across;
    or images alike in the numbers of metadata.csv belong together.
    """
    target_bandwidth: PositiveFloat = 1.0
    """attributes: difference, in standard deviations, at which two images' affinity has fallen to 0.61."""
    penalty: Literal["squared", "huber", "rank", "spectral"] = "squared"
    """How differences between relations are counted; without meaning for 'classify'."""
    ratio: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Norm of the signal's gradient over that of the denoising gradient, for each image; below 1."""
    profile: Literal["flat", "falling", "growing"] = "flat"
    """The ratio over noise levels: the same for all, times 1 / (1 + (sigma / noise_weight_scale)^2), or times what is left."""
    balance: Literal["image", "batch"] = "image"
    """What is held to the ratio: each image's gradient, or that of all images together (no bound on each then)."""
    k_max: PositiveFloat | None = None
    """Bound on the factor that brings about that ratio; 1 = clip only, None = no bound."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    """Share of each batch that takes part."""
    choose: Literal["noisiest", "cleanest", "middle", "evenly"] = "noisiest"
    """Which images these are, by their noise levels."""
    noise_weight: Literal["wiener", "uniform"] = "wiener"
    """Weight of those images in the gap by noise level: 1 / (1 + (sigma / noise_weight_scale)^2), or all equal."""
    noise_weight_scale: PositiveFloat = 0.5
    """Noise level at which 'wiener' gives one half, and profile 'falling' half of the ratio."""
    warmup: Fraction = 0.05
    """Share of the training over which the ratio grows to its value."""
    end: Fraction = 1.0
    """Share of the training after which the signal ends."""
    every: Positive = 1
    """Play in every k-th step only; 1 = in all."""
    memory: Count = 0
    """Past images kept as partners in relations, so that small batches have more pairs; 0 = none."""
    learning_rate: PositiveFloat | None = None
    """Learning rate of the adversary; None = 2e-5 for 'ascend', 1e-3 for 'classify'."""
    update_every: Positive = 1
    """The adversary learns in every k-th play only; 1 = in all."""
    pull: Strength = 0.0
    """Strength of the adversary's pull to the weights it started from."""
    r1: Strength = 0.0
    """Strength of the R1 penalty on the adversary (arXiv 1801.04406); 0 = off."""
    spectral_bound: Annotated[float, Field(ge=1)] | None = None
    """Bound on the spectral norms of the adversary's weights, relative to their start; None = no bound."""
    watchdog: bool = True
    """Watch the game and rein it in, step by step, when it diverges."""
    encoder_kind: Literal["conv", "vit"] = "conv"
    """A small convolutional network, or a small vision transformer."""
    encoder_width: Positive = 16
    """Channels of the encoder's first stage; of a token, for 'vit' (divisible by 4)."""
    encoder_stages: Positive = 2
    """Stages of the encoder, each at half the resolution of the one before; blocks, for 'vit'."""
    encoder_stride: Positive = 1
    """Step of the encoder's first layer in pixels; 2 is about four times cheaper. For 'vit', a quarter of the patch's side."""
    encoder_embedding: Positive = 64
    """Length of the embedding."""
    encoder_outputs: Literal["embedding", "stages"] = "embedding"
    """What is related: one embedding an image, or the features at each stage and place as well."""
    encoder_training: Literal["auto", "supervised", "views", "denoising", "source"] = "auto"
    """What the encoder learns: labels, to match two views of an image, to restore noise; source = nothing: it is the model that
    the training starts from, as it sees images without noise; auto = source with --signal hidden where there is such a model,
    else labels if any, else views.
    """
    encoder_tap: str | None = None
    """source: module of the network that is read, such as 'blocks.1'; None = the middle block."""
    encoder_sigma: PositiveFloat = 0.1
    """source: noise level that the model is told."""
    encoder_steps: Count = 400
    """Steps of pre-training on the training images; their cost is charged to the run. 0 = a random encoder."""
    encoder_batch: Annotated[int, Field(ge=2)] = 64
    """Batch size of the pre-training."""
    encoder_learning_rate: PositiveFloat = 2e-3
    """Peak learning rate of the pre-training."""
    encoder_balance: Fraction = 0.0
    """How far classes are shown alike where the encoder learns labels: 0 = as often as they have images, 1 = all alike."""

    @property
    def vit_patch(self) -> int:
        """Side of a patch of the encoder 'vit' in pixels."""
        return 4 * self.encoder_stride


class ControlConfig(Config):
    """What --signal dispersive, contrastive, repa, hidden and sampled need besides the structure options."""

    weight: Strength | None = None
    """Factor on the loss; None = the papers' (dispersive 0.5, contrastive 0.05, repa 0.5), 5 for hidden, 0.5 for sampled."""
    ratio: PositiveFloat | None = 0.25
    """hidden: bound on the norm of an image's gradient at the tapped activation over that of denoising there; None = no bound."""
    temperature: PositiveFloat = 0.5
    """dispersive: temperature of the repulsion."""
    tap: str | None = None
    """Module whose output is used, such as 'blocks.1'; None = the middle block, for hidden the last; of a UNet its middle."""
    sampler_steps: Positive = 4
    """sampled: steps of the sampler that is learned through; each costs about a training step."""
    start: Fraction = 0.5
    """sampled: share of the training before it begins."""
    projector_width: Positive = 256
    """repa: hidden width of the projector (2048 in the paper). It learns at optimiser.learning_rate."""
