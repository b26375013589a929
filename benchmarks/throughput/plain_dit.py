"""The 14-line loop: a diffusion transformer and its training step written as one would without thinking of speed.

Peebles & Xie 2023, arXiv 2212.09748: noise prediction under a linear schedule of 1000 steps, averaged weights, guidance in
one batch of double size.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.throughput.shapes import Shape

TIMES = 1000
EMA_DECAY = 0.9999


class Block(nn.Module):
    """adaLN-Zero: the condition shifts, scales and gates attention and MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c).chunk(6, dim=1)  # each [B, D]
        x = x + gate1.unsqueeze(1) * self.attention(modulate(self.norm1(x), shift1, scale1))
        return x + gate2.unsqueeze(1) * self.mlp(modulate(self.norm2(x), shift2, scale2))

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, d))


def modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Shifts and scales tokens [B, T, D] by [B, D] each."""
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class PlainDiT(nn.Module):
    """noise_hat [B, C, H, W] from a noisy image, a time [B] and a class [B]; class `shape.classes` means none."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels, rows, columns = shape.image
        self.patch, self.channels = shape.patch, channels
        self.grid = (rows // shape.patch, columns // shape.patch)
        self.embed = nn.Conv2d(channels, shape.width, shape.patch, stride=shape.patch)
        self.positions = nn.Parameter(torch.randn(1, math.prod(self.grid), shape.width) * 0.02, requires_grad=False)
        self.time = nn.Sequential(nn.Linear(256, shape.width), nn.SiLU(), nn.Linear(shape.width, shape.width))
        self.label = nn.Embedding(shape.classes + 1, shape.width)
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(shape.width, 2 * shape.width))
        self.out = nn.Linear(shape.width, shape.patch**2 * channels)

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2) + self.positions  # [B, T, D]
        frequencies = torch.exp(-math.log(10000) * torch.arange(128, device=x.device) / 128)
        angles = t[:, None].float() * frequencies[None]
        c = self.time(torch.cat([angles.cos(), angles.sin()], dim=-1)) + self.label(y)  # [B, D]
        for block in self.blocks:
            x = block(x, c)
        shift, scale = self.modulation(c).chunk(2, dim=1)
        x = self.out(modulate(self.norm(x), shift, scale))  # [B, T, p p C]
        (rows, columns), p = self.grid, self.patch
        x = x.reshape(len(x), rows, columns, p, p, self.channels)
        return torch.einsum("nhwpqc->nchpwq", x).reshape(len(x), self.channels, rows * p, columns * p)


class PlainLoop:
    """Trains and samples with it.

    Args:
        shape: of network and images.
        images: [N, C, H, W] in [-1, 1].
        labels: [N].
    """

    name = "14-line loop"

    def __init__(self, shape: Shape, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.shape, self.images, self.labels = shape, images, labels
        self.device = images.device
        self.model = PlainDiT(shape).to(self.device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0, fused=True)
        self.alpha_bar = (1 - torch.linspace(1e-4, 0.02, TIMES)).cumprod(0).to(self.device)

    def train_step(self) -> None:
        """One batch: noise, prediction, mean squared error, step, averaged weights."""
        index = torch.randint(len(self.images), (self.shape.train_batch,), device=self.device)
        x0, y = self.images[index], self.labels[index]
        y = torch.where(torch.rand(len(y), device=self.device) < 0.1, self.shape.classes, y)
        t = torch.randint(TIMES, (len(x0),), device=self.device)
        loss = self.loss(x0, y, t, torch.randn_like(x0))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            for average, current in zip(self.ema.parameters(), self.model.parameters(), strict=True):
                average.mul_(EMA_DECAY).add_(current, alpha=1 - EMA_DECAY)

    def loss(self, x0: torch.Tensor, y: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the noise predicted for x0 [B, C, H, W] at times t [B], of classes y [B]."""
        signal = self.alpha_bar[t][:, None, None, None]
        return F.mse_loss(self.model(signal.sqrt() * x0 + (1 - signal).sqrt() * noise, t, y), noise)

    @torch.no_grad()
    def sample(self) -> torch.Tensor:
        """A batch of images by DDIM, guided in one batch of double size where guidance is on."""
        shape, count = self.shape, self.shape.sample_batch
        x = torch.randn(count, *shape.image, device=self.device)
        y = torch.arange(count, device=self.device) % shape.classes
        times = torch.linspace(TIMES - 1, 0, shape.sample_steps).round().long().tolist()
        for here, there in zip(times, [*times[1:], None], strict=True):
            noise_hat = self.noise_hat(x, torch.full((count,), here, device=self.device), y)
            signal = self.alpha_bar[here]
            following = torch.ones((), device=self.device) if there is None else self.alpha_bar[there]
            x0_hat = (x - (1 - signal).sqrt() * noise_hat) / signal.sqrt()
            x = following.sqrt() * x0_hat + (1 - following).sqrt() * noise_hat
        return x

    def noise_hat(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The averaged network's noise, guided."""
        if self.shape.guidance_scale == 1:
            return self.ema(x, t, y)
        none = torch.full_like(y, self.shape.classes)
        with_class, without = self.ema(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, none])).chunk(2)
        return without + self.shape.guidance_scale * (with_class - without)
