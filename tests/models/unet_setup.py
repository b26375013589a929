"""What the tests of UNets share: a small one in the manner of the published DDPM networks, and its pipeline's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

PUBLISHED: dict[str, Any] = {
    # google/ddpm-cifar10-32, but narrower.
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "norm_num_groups": 4,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}


def published_unet(**options: Any) -> Any:
    """A `UNet2DModel` with random weights, in evaluation mode."""
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return diffusers.UNet2DModel(**{**PUBLISHED, **options}).eval()


def saved_pipeline(folder: Path, unet: Any, **scheduler: Any) -> Any:
    """Writes a `DDPMPipeline`, and gives it."""
    import diffusers

    pipeline = diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler(**scheduler))
    pipeline.save_pretrained(folder)
    return pipeline


def as_published_in_2022(folder: Path) -> None:
    """Turns a pipeline's folder into one of those days: all files in one place, a pickle, old names of attention layers."""
    from safetensors.torch import load_file

    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    old = {}
    for name, tensor in tensors.items():
        for new, former in names.items():
            name = name.replace(f".{new}.", f".{former}.")
        old[name] = tensor
    torch.save(old, folder / "diffusion_pytorch_model.bin")
    (folder / "unet" / "config.json").rename(folder / "config.json")
    (folder / "scheduler" / "scheduler_config.json").rename(folder / "scheduler_config.json")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet").rmdir()
    (folder / "scheduler").rmdir()


def edit(path: Path, **change: Any) -> None:
    """Changes entries of a JSON file; None takes one out."""
    content = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
