"""What a signal takes from an encoder's output: all of its parts, or one vector an image.

An encoder returns [B, d], [B, P, d] for P places, or a tuple or list of those, as `sadm.structure.parts_gap` takes them.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

from sadm.structure import Output


def dtype_of(encoder: nn.Module) -> torch.dtype:
    """The precision of an encoder's weights, or of its buffers where it has none of its own."""
    return next(itertools.chain(encoder.parameters(), encoder.buffers())).dtype


def parts_of(output: Output) -> list[torch.Tensor]:
    """The parts of an encoder's output, in at least float32: each [B, d] or [B, P, d]."""
    parts = [output] if isinstance(output, torch.Tensor) else list(output)
    return [part.to(torch.promote_types(part.dtype, torch.float32)) for part in parts]


def embedding_of(output: Output) -> torch.Tensor:
    """One vector an image [B, d]: the last global part, or the mean over places of the last part where all are local."""
    parts = parts_of(output)
    pooled = [part for part in parts if part.ndim == 2]
    return pooled[-1] if pooled else parts[-1].mean(1)
