"""What long work has got so far, so that an interruption loses little."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from sadm.core.errors import UserError
from sadm.core.files import make_folder, read_json, remove_leftovers, write_atomically, write_json

ABOUT = "about.json"
_SUFFIX = ".safetensors"


class Store:
    """Tensors by name in a folder of their own; those of other work are removed, and nothing else ever is.

    Args:
        folder: where they are kept; None = nowhere.
        about: what all of them depend on, for JSON.

    Raises:
        UserError: the folder holds something else, or can't be written.
    """

    def __init__(self, folder: Path | None, about: dict[str, Any]) -> None:
        self.folder = folder
        if folder is None:
            return
        remove_leftovers(make_folder(folder))
        path = folder / ABOUT
        if not path.exists() and any(folder.iterdir()):
            raise UserError(
                f"{folder} is not empty and holds no parts that were kept here ({ABOUT} is missing). Move it away and run the "
                "same command again."
            )
        if path.exists() and _read(path) != about:
            self._remove_parts()
        write_json(path, about)

    def get(self, name: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The tensor of this name, made if it is not there or damaged."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}{_SUFFIX}"
        if path.exists():
            try:
                return load(path.read_bytes())[name]
            except (SafetensorError, KeyError):
                path.unlink()
        tensor = make()
        write_atomically(path, save({name: tensor.contiguous()}))
        return tensor

    def clear(self) -> None:
        """Removes the tensors, and the folder if it holds nothing else."""
        if self.folder is None or not self.folder.exists():
            return
        self._remove_parts()
        (self.folder / ABOUT).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what somebody else put there stays
            self.folder.rmdir()

    def _remove_parts(self) -> None:
        assert self.folder is not None  # noqa: S101 - for the type checker
        for path in self.folder.glob(f"*{_SUFFIX}"):
            path.unlink()


def _read(path: Path) -> Any:
    """What the parts are of; None where that is damaged."""
    try:
        return read_json(path)
    except UserError:
        return None
