"""Checkpoints: tensors as safetensors, everything else as JSON, a checksum for each file, written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sadm.core.errors import UserError
from sadm.core.files import folder_written_atomically, read_json, sha256_of_file, write_json
from sadm.core.tensors import save_tensors

TENSORS, VALUES, CHECKSUMS = "state.safetensors", "state.json", "checksums.json"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Writes nested dictionaries, lists, numbers, strings and tensors to `folder`, atomically.

    Raises:
        UserError: the disk is full or the folder can't be written; earlier checkpoints stay.
    """
    tensors: dict[str, torch.Tensor] = {}
    values = _detach_tensors(state, "", tensors)
    with folder_written_atomically(folder) as temporary:
        save_tensors(temporary / TENSORS, tensors)
        write_json(temporary / VALUES, values)
        write_json(temporary / CHECKSUMS, {name: sha256_of_file(temporary / name) for name in (TENSORS, VALUES)})


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Reads what `save_checkpoint` wrote.

    Raises:
        UserError: a file is missing, truncated or altered.
    """
    checksums = read_json(folder / CHECKSUMS)
    for name in (TENSORS, VALUES):
        path = folder / name
        if not path.exists() or checksums.get(name) != sha256_of_file(path):
            raise UserError(f"{path} is missing, truncated or altered (its checksum differs).")
    return _attach_tensors(read_json(folder / VALUES), load_file(folder / TENSORS))


def latest_checkpoint(folder: Path, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest checkpoint under `folder` that is whole; None where there is none.

    Args:
        folder: holds ``step-…`` folders.
        warn: told about each damaged checkpoint that is passed over.

    Raises:
        UserError: there are checkpoints, and all are damaged.
    """
    found = sorted(folder.glob("step-*"), reverse=True)
    for path in found:
        try:
            return load_checkpoint(path)
        except (UserError, OSError, SafetensorError, ValueError) as error:
            warn(f"Passing over a damaged checkpoint: {error}")
    if found:
        raise UserError(f"every checkpoint in {folder} is damaged. Delete the run folder and start again.")
    return None


def _detach_tensors(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[name] = value.clone()  # tensors that share memory would be refused
        return {"tensor": name}
    if isinstance(value, dict):
        return {"items": [[key, _detach_tensors(part, f"{name}/{key}", tensors)] for key, part in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_detach_tensors(part, f"{name}/{index}", tensors) for index, part in enumerate(value)]}
    return {"value": value}


def _attach_tensors(value: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "items" in value:
        return {key: _attach_tensors(part, tensors) for key, part in value["items"]}
    if "list" in value:
        return [_attach_tensors(part, tensors) for part in value["list"]]
    return value["value"]
