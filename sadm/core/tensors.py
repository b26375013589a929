"""Tensors on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes tensors as safetensors.

    Raises:
        OSError: the disk is full, the folder read-only, …
    """
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))  # the system's error reaches us as text only
        if code is None:
            raise
        raise OSError(int(code.group(1)), str(error), str(path)) from error
