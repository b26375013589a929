"""What the tests of loading share: networks without a zero weight, and the published forward pass restated."""

from __future__ import annotations

import math

import torch

from sadm.models import DiT

Tensors = dict[str, torch.Tensor]


def filled(net: torch.nn.Module, seed: int = 0, scale: float = 0.02) -> torch.nn.Module:
    """Normal draws in every parameter: a new DiT is the zero function, and all zero functions are equal."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, scale, generator=draws)
    return net.eval()


def small(**options: object) -> DiT:
    """Two blocks of 384 channels, a width whose heads are known, on latents of 4x8x8."""
    sizes = {"shape": (4, 8, 8), "patch": 2, "width": 384, "depth": 2, "heads": 6, "num_classes": 5, "noise_scale": 1.0}
    return filled(DiT(**{**sizes, **options}))  # type: ignore[arg-type, return-value]


def published_forward(weights: Tensors, heads: int, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The network of arXiv 2212.09748, section 3 and figure 3, from a state dict with its published names alone.

    One head and one pixel at a time where that is clearer; [B, C, H, W], [B], [B] -> [B, C', H, W].
    """

    def linear(values: torch.Tensor, name: str) -> torch.Tensor:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def silu(values: torch.Tensor) -> torch.Tensor:
        return values / (1 + torch.exp(-values))

    def normed(values: torch.Tensor) -> torch.Tensor:
        centred = values - values.mean(-1, keepdim=True)
        return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-6)

    def gelu(values: torch.Tensor) -> torch.Tensor:
        return values / 2 * (1 + torch.tanh((values + 0.044715 * values**3) * math.sqrt(2 / math.pi)))

    kernel = weights["x_embedder.proj.weight"]
    width, _, patch, _ = kernel.shape
    tokens = torch.nn.functional.conv2d(x, kernel, weights["x_embedder.proj.bias"], stride=patch)  # [B, D, h, w]
    rows, columns = tokens.shape[2:]
    tokens = tokens.flatten(2).transpose(1, 2) + weights["pos_embed"]  # [B, T, D]

    angles = torch.stack([t / 10000 ** (i / 128) for i in range(128)], dim=1)  # [B, 128]
    waves = torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)
    condition = linear(silu(linear(waves, "t_embedder.mlp.0")), "t_embedder.mlp.2")
    condition = silu(condition + weights["y_embedder.embedding_table.weight"][y])[:, None]  # [B, 1, D]

    for block in range(len({name.split(".")[1] for name in weights if name.startswith("blocks.")})):
        shift1, scale1, gate1, shift2, scale2, gate2 = linear(condition, f"blocks.{block}.adaLN_modulation.1").split(
            width, 2
        )
        q, k, v = linear(normed(tokens) * (1 + scale1) + shift1, f"blocks.{block}.attn.qkv").split(width, 2)
        mixed = []
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(width // heads)  # [B, T, T]
            mixed.append(torch.softmax(scores, -1) @ v[..., part])
        tokens = tokens + gate1 * linear(torch.cat(mixed, -1), f"blocks.{block}.attn.proj")
        hidden = gelu(linear(normed(tokens) * (1 + scale2) + shift2, f"blocks.{block}.mlp.fc1"))
        tokens = tokens + gate2 * linear(hidden, f"blocks.{block}.mlp.fc2")

    shift, scale = linear(condition, "final_layer.adaLN_modulation.1").split(width, 2)
    pixels = linear(normed(tokens) * (1 + scale) + shift, "final_layer.linear")  # [B, T, p p C']
    channels = pixels.shape[-1] // patch**2
    image = torch.empty(len(x), channels, rows * patch, columns * patch, dtype=pixels.dtype)
    for i in range(patch):
        for j in range(patch):
            of_pixel = pixels[..., (i * patch + j) * channels :][..., :channels]  # [B, T, C']
            image[:, :, i::patch, j::patch] = of_pixel.transpose(1, 2).unflatten(2, (rows, columns))
    return image


def batch(shape: tuple[int, int, int], classes: int, count: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images [B, C, H, W], steps [B] in 0 to 999, labels [B] of which the last is the null class."""
    draws = torch.Generator().manual_seed(7)
    x = torch.randn(count, *shape, generator=draws)
    t = torch.randint(0, 1000, (count,), generator=draws).float()
    y = torch.randint(0, max(classes, 1), (count,), generator=draws)
    y[-1] = classes
    return x, t, y
