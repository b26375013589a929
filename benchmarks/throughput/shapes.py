"""The networks, images and batches that are timed."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Shape:
    """One setting, the same for every contestant.

    Attributes:
        image: one image, (C, H, W).
        patch: side of a patch.
        width: channels of a token.
        depth: blocks.
        heads: of attention.
        classes: of labels.
        train_batch: images a training step.
        sample_batch: images sampled together.
        sample_steps: network evaluations of an image.
        guidance_scale: of sampling; 1 = off.
        quick_batch: images a training step, and sampled together, where seconds count.
        quick_steps: network evaluations of an image there.
        quick_depth: blocks there; a step is made of equal blocks, so few of them keep its proportions.
    """

    image: tuple[int, int, int]
    patch: int
    width: int
    depth: int
    heads: int
    classes: int
    train_batch: int
    sample_batch: int
    sample_steps: int
    guidance_scale: float = 1.0
    quick_batch: int = 16
    quick_steps: int = 2
    quick_depth: int | None = None

    def quick(self) -> Shape:
        """The same with few images and evaluations, and few blocks where many are too slow."""
        return dataclasses.replace(
            self,
            train_batch=self.quick_batch,
            sample_batch=self.quick_batch,
            sample_steps=self.quick_steps,
            depth=self.quick_depth or self.depth,
        )

    def facts(self) -> dict[str, int]:
        """What a timing depends on besides the network's width."""
        return {
            "blocks": self.depth,
            "train_batch": self.train_batch,
            "sample_batch": self.sample_batch,
            "sample_steps": self.sample_steps,
        }


def recipe_shape(name: str, image: tuple[int, int, int], classes: int, steps: int, quick_batch: int) -> Shape:
    """The network and batch of a packaged recipe, as it stands."""
    from sadm.training.config import load_train_config

    config = load_train_config(name)
    net = config.net
    batches = config.optimiser.batch, config.sampling.batch
    return Shape(
        image,
        net.patch,
        net.width,
        net.depth,
        net.heads,
        classes,
        *batches,
        steps,
        quick_batch=quick_batch,
        quick_steps=4,
    )


def shapes() -> dict[str, Shape]:
    """By name; DiT-S/2 and B/4 on the latents of a 256-pixel image, and the small recipes."""
    latents = (4, 32, 32)
    return {
        "s2": Shape(latents, 2, 384, 12, 6, 1000, 16, 8, 4, 4.0, quick_batch=2, quick_steps=1, quick_depth=2),
        "b4": Shape(latents, 4, 768, 12, 12, 1000, 16, 8, 4, 4.0, quick_batch=2, quick_steps=1, quick_depth=2),
        "digits": recipe_shape("digits", (1, 8, 8), 10, 17, quick_batch=64),
        "fashion_mnist": recipe_shape("fashion_mnist", (1, 28, 28), 10, 5, quick_batch=8),
    }


QUICK = ("digits", "fashion_mnist", "s2")
