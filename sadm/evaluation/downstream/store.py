"""What long measurements have got so far, so that an interruption loses little."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from sadm.core.files import make_folder, read_json, write_atomically, write_json

_ABOUT = "about.json"


class Store:
    """Tensors by name in a folder; those of another measurement are removed.

    Args:
        folder: where they are kept; None = nowhere.
        about: what all of them depend on, for JSON.

    Raises:
        UserError: the folder can't be written.
    """

    def __init__(self, folder: Path | None, about: dict[str, Any]) -> None:
        self.folder = folder
        if folder is None:
            return
        path = folder / _ABOUT
        if path.exists() and read_json(path) != about:
            shutil.rmtree(folder)
        make_folder(folder)
        write_json(path, about)

    def get(self, name: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The tensor of this name, made if it is not there."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.safetensors"
        if path.exists():
            try:
                return load(path.read_bytes())[name]
            except (SafetensorError, KeyError):
                path.unlink()  # damaged: made anew
        tensor = make()
        write_atomically(path, save({name: tensor.contiguous()}))
        return tensor

    def clear(self) -> None:
        """Removes the folder."""
        if self.folder is not None and self.folder.exists():
            shutil.rmtree(self.folder)
