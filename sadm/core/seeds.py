"""Randomness by construction: every draw has its own generator, seeded from (seed, purpose, step, …).

Nothing has to be stored to resume, and neither the batch size nor a second consumer of random numbers changes a draw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch


def derive_seed(*key: int | str) -> int:
    """A 63-bit seed from a key such as ``(seed, "noise", step)``; equal keys give equal seeds on every machine."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big") >> 1


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator seeded from `key` (see `derive_seed`)."""
    return torch.Generator().manual_seed(derive_seed(*key))


def noise_per_image(seeds: Sequence[int], shape: Sequence[int], purpose: str = "latent") -> torch.Tensor:
    """Unit Gaussian noise in which image i depends on its own seed alone.

    Args:
        seeds: one integer for each image.
        shape: of one image, (C, H, W).
        purpose: separates independent draws for one seed.

    Returns:
        [len(seeds), C, H, W], float32, on the CPU.
    """
    return torch.stack([torch.randn(*shape, generator=generator(seed, purpose)) for seed in seeds])
