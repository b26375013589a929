"""torchvision beside a torch that it has no binaries for."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import torch


def register_missing_operators() -> None:
    """Lets torchvision's build for CUDA be imported beside a torch without it; the operators themselves are not used."""
    with contextlib.suppress(ImportError, RuntimeError):
        importlib.import_module("torchvision")
    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            _LIBRARY.append(torch.library.Library("torchvision", "FRAGMENT"))
            _LIBRARY[-1].define(name + signature)


_LIBRARY: list[Any] = []  # a definition lasts as long as its library object
