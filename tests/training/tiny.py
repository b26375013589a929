"""A run that takes a second, and the images for it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from sadm.core.config import merge
from sadm.core.progress import Silent
from sadm.data import ImageSet
from sadm.data.ragged import Ragged
from sadm.data.resampling import resize_array
from sadm.training.config import TrainConfig, load_train_config
from sadm.training.learner import Learner
from sadm.training.signals import prepare_signals
from sadm.training.spec import spec_for
from sadm.training.whole import checksums_of

SIZES = ((8, 8), (4, 12), (12, 4), (8, 12))

TINY: dict[str, Any] = {
    "signal": "structure",
    "data": {"source": "digits"},
    "net": {"patch": 4, "width": 16, "depth": 1, "heads": 2},
    "optimiser": {"steps": 12, "batch": 8, "warmup_steps": 2},
    "structure": {
        "encoder_steps": 6,
        "encoder_width": 4,
        "encoder_embedding": 8,
        "encoder_batch": 8,
        "learning_rate": 1e-3,
    },
    "sampling": {"solver": "heun", "steps": 3},
    "log": {"every": 4, "checkpoint_every": 6, "samples": 4},
}


class Listener:
    """A reporter that remembers what was said, and may ask for a stop as Ctrl-C does."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.said: list[str] = []
        self.stop_at = stop_at

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        if task == "training" and done == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    def say(self, text: str) -> None:
        self.said.append(text)


def tiny_config(**change: Any) -> TrainConfig:
    """The tiny configuration with nested changes."""
    return load_train_config(overrides=merge(TINY, change))


def tiny_images(count: int = 24, labelled: bool = True) -> ImageSet:
    """Smooth random images [count, 1, 8, 8] of three classes: bright above, bright below, bright on both sides."""
    draws = torch.Generator().manual_seed(1)
    kinds = torch.arange(count) % 3
    bright = (
        torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]])[kinds].reshape(count, 1, 2, 1).repeat_interleave(2, 2)
    )
    coarse = 0.7 * torch.rand(count, 1, 4, 4, generator=draws) + 0.3 * bright
    pixels = (torch.nn.functional.interpolate(coarse, size=8, mode="bilinear") * 255).round().to(torch.uint8)
    labels = kinds if labelled else None
    names = tuple(f"image {index}" for index in range(count))
    return ImageSet(pixels, labels, ("a", "b", "c") if labelled else (), names, "tiny")


def tiny_shaped(count: int = 24, labelled: bool = True, sizes: tuple[tuple[int, int], ...] = SIZES) -> ImageSet:
    """`tiny_images` in these heights and widths: half in the first, the others in turn; class c has none of size c + 1."""
    images = tiny_images(count, labelled)
    pixels, which = [], []
    for i in range(count):
        others = [k for k in range(1, len(sizes)) if k != i % 3 + 1]
        which.append(others[i // 6 % len(others)] if i % 2 and others else 0)
        height, width = sizes[which[-1]]
        pixels.append(resize_array(images.images[i : i + 1], (width, height))[0])
    shaped = Ragged.of(pixels)
    return dataclasses.replace(images, images=shaped.resized((8, 8)), shaped=shaped)


def tiny_learner(config: TrainConfig, images: ImageSet) -> Learner:
    """A learner with the signals that `config` asks for."""
    spec = spec_for(images, config.net, config.process, config.data)
    return Learner(config, images, spec, prepare_signals(config, images, Silent()).signals)


def change_weights(model: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Changes the weights of a model folder, and says in its description that they are those."""
    weights = model / "model.safetensors"
    save_file({name: change(tensor) for name, tensor in load_file(weights).items()}, weights)
    described = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**described, "checksums": checksums_of(model)}))


def equal_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two state dictionaries hold the same tensors, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
