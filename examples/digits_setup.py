"""What a loop of your own has already: images, a network, an encoder, a checkpoint and a line of progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from sadm.data import BatchStream, load_split
from sadm.training.config import StructureConfig
from sadm.training.pretraining import pretrain_encoder


def digits(batch: int) -> BatchStream:
    """Scanned digits, 8x8 pixels in [-1, 1]; batch k is the same in every run."""
    return BatchStream(load_split("digits", held_out=0.2).train, batch, seed=0)


def digit_encoder(stream: BatchStream, steps: int, device: torch.device | str = "cpu") -> nn.Module:
    """Images [B, 1, 8, 8] to embeddings [B, 64]: the features of a small classifier of the training images."""
    return pretrain_encoder(stream.images, StructureConfig(encoder_steps=steps), 0, torch.device(device)).encoder


def small_unet() -> nn.Module:
    """A UNet2DModel for these images, as diffusers builds it."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )


def no_game(loss: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """In place of the game: plain training."""
    return loss.new_zeros(())


class Checkpoint:
    """All that the next step depends on, in one file.

    Args:
        path: of the file.
        parts: by name, whatever has a `state_dict` and a `load_state_dict`; anything else (such as `no_game`) is left out.
    """

    def __init__(self, path: Path, **parts: Any) -> None:
        self.path = path
        self.parts = {name: part for name, part in parts.items() if hasattr(part, "load_state_dict")}

    def load(self) -> int:
        """Restores the parts and returns the steps that they have seen; 0 where there is no file."""
        if not self.path.exists():
            return 0
        state = torch.load(self.path, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return state["step"]

    def save(self, step: int) -> None:
        """Saves the parts after `step` steps."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"step": step, **{name: part.state_dict() for name, part in self.parts.items()}}, self.path)


class Progress:
    """Prints the mean loss since the last line, every `every` steps."""

    def __init__(self, every: int = 20) -> None:
        self.every = every
        self.losses: list[float] = []

    def __call__(self, step: int, loss: torch.Tensor, game: Any) -> None:
        self.losses.append(float(loss))
        if step % self.every == 0:
            last = getattr(game, "last", None)  # a `Play` of the game, or the gap in a hidden layer
            gap = "" if last is None else f", structure gap {getattr(last, 'gap', last):.4f}"
            print(f"step {step}: loss {sum(self.losses) / len(self.losses):.4f}{gap}", flush=True)
            self.losses.clear()
