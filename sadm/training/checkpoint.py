"""Checkpoints: tensors as safetensors, everything else as JSON, a checksum for each file, written whole or not at all.

Tensors that several processes hold in shares are written in shares, too, and can be read by any other number of processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sadm.core.errors import UserError
from sadm.core.files import folder_written_atomically, read_object, sha256_of_file, write_json
from sadm.core.tensors import save_tensors
from sadm.training.parallel.engine import is_shared_out
from sadm.training.parallel.shares import Stored, placed_as, read_shares, write_shares
from sadm.training.parallel.team import ALONE, Team

TENSORS, VALUES, CHECKSUMS, SHARES = "state.safetensors", "state.json", "checksums.json", "shares"


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A state as it was at one moment; what changes afterwards does not reach it.

    Attributes:
        values: the nested state as JSON, with the names of its tensors.
        tensors: copies, by name.
        shares: copies of this process's shares, by name.
    """

    values: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    shares: dict[str, torch.Tensor]


def snapshot(state: dict[str, Any]) -> Snapshot:
    """Copies nested dictionaries, lists, numbers, strings and tensors."""
    tensors: dict[str, torch.Tensor] = {}
    shares: dict[str, torch.Tensor] = {}
    return Snapshot(_detach_tensors(state, "", tensors, shares), tensors, shares)


def save_checkpoint(folder: Path, state: dict[str, Any] | Snapshot, team: Team = ALONE) -> None:
    """Writes a state to `folder`, atomically.

    Args:
        folder: of the checkpoint.
        state: nested dictionaries, lists, numbers, strings and tensors, or a copy of that.
        team: the processes, all of which call this; the first writes what all of them have.

    Raises:
        UserError: the disk is full or the folder can't be written; earlier checkpoints stay.
    """
    taken = state if isinstance(state, Snapshot) else snapshot(state)
    with contextlib.ExitStack() as stack:
        place = team.first_alone(lambda: str(stack.enter_context(folder_written_atomically(folder))))
        temporary = Path(team.told(place))
        if taken.shares:
            write_shares(temporary / SHARES, taken.shares, team)

        def complete() -> None:
            save_tensors(temporary / TENSORS, taken.tensors)
            write_json(temporary / VALUES, taken.values)
            files = [TENSORS, VALUES, *sorted(f"{SHARES}/{path.name}" for path in (temporary / SHARES).glob("*"))]
            write_json(temporary / CHECKSUMS, {name: sha256_of_file(temporary / name) for name in files})
            stack.close()

        team.first_alone(complete)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Reads what `save_checkpoint` wrote; tensors that lie in shares are named (`Stored`), not read (see `filled`).

    Raises:
        UserError: a file is missing, truncated or altered.
    """
    checksums = read_object(folder / CHECKSUMS)
    for name in {TENSORS, VALUES, *checksums}:
        path = folder / name
        if not path.is_file() or checksums.get(name) != sha256_of_file(path):
            raise UserError(f"{path} is missing, truncated or altered (its checksum differs).")
    try:
        values, tensors = read_object(folder / VALUES), load_file(folder / TENSORS)
        return dict(_attach_tensors(values, tensors, folder / SHARES))
    except (KeyError, TypeError, ValueError, RecursionError, OSError, SafetensorError) as error:
        raise UserError(f"{folder} holds no checkpoint ({type(error).__name__}: {error}).") from error


def latest_checkpoint(folder: Path, warn: Callable[[str], None], team: Team = ALONE) -> dict[str, Any] | None:
    """The newest checkpoint under `folder` that is whole; None where there is none.

    Args:
        folder: holds ``step-…`` folders.
        warn: told about each damaged checkpoint that is passed over.
        team: the processes; the first looks for all.

    Raises:
        UserError: there are checkpoints, and all are damaged.
    """
    newest = team.first_alone(lambda: _newest(folder, warn))
    name = team.told(None if newest is None else newest[0])
    if newest is not None:
        return newest[1]
    return None if name is None else load_checkpoint(folder / name)


def filled(state: dict[str, Any], like: dict[str, Any], team: Team = ALONE) -> dict[str, Any]:
    """A state that was read, with every tensor placed as that of a state which is there now.

    Args:
        state: from `load_checkpoint`, or a part of it.
        like: the same part of a state of now, so that shares can be read to where they belong; it is not changed.
        team: the processes.
    """
    targets: dict[str, torch.Tensor] = {}
    _detach_tensors(like, "", targets, targets)
    stored = {name: leaf for name, leaf in _leaves(state, "") if isinstance(leaf, Stored)}
    if stored:
        read_shares(stored, targets, team)

    def placed(name: str, leaf: Any) -> Any:
        if isinstance(leaf, Stored):
            return targets[name]
        return placed_as(leaf, targets[name]) if isinstance(leaf, torch.Tensor) and name in targets else leaf

    found: dict[str, Any] = _mapped(state, "", placed)
    return found


def holds_shares(state: Any) -> bool:
    """Whether some tensors of a state lie in shares and have not been read."""
    return any(isinstance(leaf, Stored) for _, leaf in _leaves(state, ""))


def _newest(folder: Path, warn: Callable[[str], None]) -> tuple[str, dict[str, Any]] | None:
    found = sorted(folder.glob("step-*"), reverse=True)
    for path in found:
        try:
            return path.name, load_checkpoint(path)
        except (UserError, OSError) as error:
            warn(f"Passing over a damaged checkpoint: {error}")
    if found:
        raise UserError(f"every checkpoint in {folder} is damaged. Delete the run folder and start again.")
    return None


def _detach_tensors(value: Any, name: str, tensors: dict[str, torch.Tensor], shares: dict[str, torch.Tensor]) -> Any:
    if is_shared_out(value):
        shares[name] = value.detach().clone()
        return {"shares": name}
    if isinstance(value, torch.Tensor):
        # Copies: tensors that share memory would be refused, and a training goes on.
        tensors[name] = value.detach().clone() if value.device.type == "cpu" else value.detach().cpu()
        return {"tensor": name}
    if isinstance(value, dict):
        items = [[key, _detach_tensors(part, f"{name}/{key}", tensors, shares)] for key, part in value.items()]
        return {"items": items}
    if isinstance(value, (list, tuple)):
        return {"list": [_detach_tensors(part, f"{name}/{index}", tensors, shares) for index, part in enumerate(value)]}
    return {"value": value}


def _attach_tensors(value: dict[str, Any], tensors: dict[str, torch.Tensor], shares: Path) -> Any:
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "shares" in value:
        return Stored(shares, value["shares"])
    if "items" in value:
        return {key: _attach_tensors(part, tensors, shares) for key, part in value["items"]}
    if "list" in value:
        return [_attach_tensors(part, tensors, shares) for part in value["list"]]
    return value["value"]


def _mapped(value: Any, name: str, function: Callable[[str, Any], Any]) -> Any:
    """Nested dictionaries and lists with every leaf replaced by ``function(name, leaf)``; names as in a checkpoint."""
    if isinstance(value, dict):
        return {key: _mapped(part, f"{name}/{key}", function) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(part, f"{name}/{index}", function) for index, part in enumerate(value)]
    return function(name, value)


def _leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    _mapped(value, name, lambda place, leaf: found.append((place, leaf)))
    return found
