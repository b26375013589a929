"""Training on images of several shapes: what does not go with it, and what is said about it. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sadm.data import ImageSet
    from sadm.training.config import TrainConfig

OF_ENCODER = ("structure", "features", "labels", "repa", "hidden", "sampled")
"""Signals that train an encoder on the images."""


def why_not(config: TrainConfig) -> str:
    """Which option takes images of one shape alone, and what to do; empty where none does."""
    net, structure = config.net, config.structure
    if net.rope:
        return "net.rope has angles for one grid of patches. Leave it out: positions are then added to the tokens"
    if net.registers:
        return f"net.registers ({net.registers}) are not made for several grids of patches. Leave them out"
    if config.data.autoencoder is not None:
        return "data.autoencoder makes latents of one shape. Choose data.fit 'crop' or 'pad', or train on pixels without it"
    if config.signal in OF_ENCODER and structure.encoder_training == "denoising":
        return "structure.encoder_training 'denoising' restores images of one shape. Choose 'auto', 'supervised' or 'views'"
    tokens = structure.encoder_kind == "vit" and structure.encoder_outputs == "stages"
    if config.signal == "structure" and structure.memory and tokens:
        return (
            f"structure.memory ({structure.memory}) can't relate the places of images of several shapes. Set it to 0, or choose "
            "structure.encoder_outputs 'embedding' or structure.encoder_kind 'conv'"
        )
    return ""


def why_not_sides(config: TrainConfig, *sides: int) -> str:
    """What does not fit images whose sides are multiples of these, and what to do; empty where all do."""
    net, structure = config.net, config.structure
    wanted = {(net.division, net.divided_by): net.divisor}
    if config.signal in OF_ENCODER and structure.encoder_kind == "vit":
        patch = structure.vit_patch
        what = "the patch of structure.encoder_kind 'vit', four times structure.encoder_stride"
        wanted[f"be cut into patches of {patch}x{patch}", what] = patch
    for (division, what), divisor in wanted.items():
        for side in sides:
            if side % divisor:
                return (
                    f"sides of {side} pixels can't {division} ({what}): {divisor} does not divide {side}. Change either"
                )
    return ""


def describe_shapes(images: ImageSet, batch: int) -> str:
    """How many images have which shape, as a sentence; with a warning where a batch is larger than what there is of a shape.

    Args:
        images: in buckets.
        batch: images in a batch.
    """
    assert images.shaped is not None  # noqa: S101 - for the type checker
    shapes, which = images.shaped.shapes()
    counts = which.bincount().tolist()
    listed = ", ".join(
        f"{width}x{height} ({count})" for (height, width), count in zip(shapes.tolist(), counts, strict=True)
    )
    said = f"Training images by shape (width x height): {listed}."
    few = [count for count in counts if count < batch]
    if few:
        said += (
            f" Of {len(few)} of these {len(counts)} shapes there are fewer than a batch of {batch}, which then shows images more "
            "than once: a smaller --optimiser.batch or a larger --data.bucket-multiple (fewer shapes) helps."
        )
    return said
