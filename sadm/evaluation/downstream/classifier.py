"""A small classifier with a fixed budget: whatever images it is given, it makes the same number of steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from sadm.core.devices import one_thread
from sadm.core.seeds import derive_seed
from sadm.data import Augmentation, Augmenter, BatchStream, ImageSet
from sadm.structure.encoders.conv import ConvEncoder

Network = Callable[[tuple[int, int, int], int], nn.Module]
"""From the shape of an image and the number of classes to a network [B, C, H, W] -> logits [B, K]."""

_EPOCHS, _FEWEST, _MOST = 32, 300, 3000
_AT_A_TIME = 512


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """How classifiers are trained.

    Attributes:
        steps: of the optimiser; there is no early stopping, whose choice could be gamed.
        batch: images a step.
        learning_rate: of AdamW; falls in a straight line to 0.
        weight_decay: likewise.
        shift: images are moved by up to this share of their sides; 0 = not.
        flip: mirror every second image left to right.
        network: another network than `small_network`.
    """

    steps: int
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    shift: float = 0.125
    flip: bool = False
    network: Network | None = None

    def build(self, images: ImageSet) -> nn.Module:
        """An untrained network for images of this shape and these classes."""
        return (self.network or small_network)(images.shape, images.num_classes)

    def as_dict(self) -> dict[str, float | str]:
        """For JSON."""
        values = {name: value for name, value in vars(self).items() if name != "network"}
        return {**values, "network": getattr(self.network or small_network, "__qualname__", repr(self.network))}


def steps_for(images: int, batch: int = 64) -> int:
    """Steps in which real images alone are seen 32 times, but at least 300 and at most 3,000."""
    return max(_FEWEST, min(_MOST, round(_EPOCHS * images / batch)))


def small_network(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A convolutional network whose last map is about 4 pixels wide, of 16 channels at first and at most 128."""
    side = min(shape[1:])
    stride = 1 if side < 32 else 2
    stages = max(1, min(4, round(math.log2(max(side // stride, 4))) - 1))
    encoder = ConvEncoder(shape[0], width=16, stages=stages, stride=stride)
    return nn.Sequential(encoder, nn.Linear(encoder.project.out_features, classes))


def trained_network(
    images: ImageSet, settings: ClassifierSettings, seed: int, device: torch.device | str = "cpu"
) -> nn.Module:
    """Trains a classifier from scratch.

    One thread; equal arguments give equal bits on one CPU.

    Args:
        images: to train on, labelled.
        settings: the network and its training.
        seed: of first weights, of the order of images, and of what is done to them.
        device: where it is trained.

    Returns:
        The network in eval mode, [B, C, H, W] -> logits [B, K].
    """
    augmenter = Augmenter(Augmentation(1.0, shift=settings.shift), images.shape[0]) if settings.shift else None
    stream = BatchStream(images, settings.batch, derive_seed(seed, "classifier"), settings.flip, augmenter=augmenter)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "classifier weights"))
        network = settings.build(images).to(device).train()
        parameters = list(network.parameters())
        optimiser = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
        for step in range(settings.steps):
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * (1 - step / settings.steps)
            batch = stream.batch(step)
            assert batch.cond.label is not None  # noqa: S101 - for the type checker; callers have checked
            loss = F.cross_entropy(network(batch.x0.to(device)), batch.cond.label.to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    return network.eval()


@torch.no_grad()
def logits_of(network: nn.Module, images: ImageSet, device: torch.device | str = "cpu") -> torch.Tensor:
    """A classifier's logits [len(images), K], float32, on the CPU; one thread."""
    with one_thread():
        parts = torch.arange(len(images)).split(_AT_A_TIME)
        return torch.cat([network(images.floats(part).to(device)).float().cpu() for part in parts])


def class_logits(
    images: ImageSet,
    test: ImageSet,
    settings: ClassifierSettings,
    seed: int,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Trains a classifier from scratch (see `trained_network`) and asks it about other images.

    Returns:
        Logits [len(test), K], float32, on the CPU.
    """
    return logits_of(trained_network(images, settings, seed, device), test, device)
