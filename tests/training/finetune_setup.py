"""Fine-tunings that take a second: what they start from, and their images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from sadm.core.errors import InterruptedRun
from sadm.data import ImageSet
from sadm.training.config import TrainConfig
from sadm.training.model_folder import load_model
from sadm.training.run import train
from tiny import Listener, tiny_config, tiny_images


def trained(folder: Path) -> Path:
    """The folder of a model of the tiny images."""
    train(tiny_config(signal="none"), folder, images=tiny_images())
    return folder


def other_images(count: int = 24) -> ImageSet:
    """The tiny images, one of whose classes has another name."""
    return dataclasses.replace(tiny_images(count), class_names=("b", "c", "d"))


def config_for(base: Path, method: str, **change: Any) -> TrainConfig:
    """A fine-tuning of a model, with nested changes."""
    finetune = {"method": method, "rank": 2, "prompts": 2}
    return tiny_config(**{"signal": "none", "start_from": str(base), "finetune": finetune, **change})


def whole_and_in_parts(config: TrainConfig, images: ImageSet, folder: Path) -> list[dict[str, torch.Tensor]]:
    """The weights at the end of a training, and of one that was stopped and went on, in 'whole' and 'parts' there."""
    train(config, folder / "whole", images=images)
    with pytest.raises(InterruptedRun):
        train(config, folder / "parts", Listener(stop_at=4), images)
    train(config, folder / "parts", images=images)
    return [load_model(folder / run).denoiser.net.state_dict() for run in ("whole", "parts")]


def start_for(signal: str, plain: TrainConfig, images: ImageSet, folder: Path) -> dict[str, Any]:
    """What a configuration with this signal needs besides: a model to start from, where the signal compares with it."""
    if signal != "anchor":
        return {}
    train(plain, folder, images=images)
    return {"start_from": str(folder)}
