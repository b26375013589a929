"""Tensors of which each process holds a share, on disk: torch.distributed.checkpoint in safetensors files, and no pickle."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch

from sadm.core.files import user_errors_for
from sadm.training.parallel.engine import is_shared_out
from sadm.training.parallel.team import Team


@dataclasses.dataclass(frozen=True)
class Stored:
    """A tensor that lies in shares on disk and has not been read.

    Attributes:
        folder: of the shares.
        name: of the tensor in them.
    """

    folder: Path
    name: str


def write_shares(folder: Path, tensors: Mapping[str, torch.Tensor], team: Team) -> None:
    """Writes every process's shares, each to a file of its own.

    Raises:
        UserError: the disk is full, or can't be written to.
    """
    from torch.distributed import checkpoint as dcp

    with user_errors_for(folder):
        try:
            dcp.save(
                dict(tensors),
                storage_writer=dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True),
                process_group=team.control,
            )
        except dcp.CheckpointException as error:
            cause = next(iter(error.failures.values()))[0]  # every process has all failures
            raise cause if isinstance(cause, OSError) else error from error


def read_shares(stored: Mapping[str, Stored], targets: Mapping[str, torch.Tensor], team: Team) -> None:
    """Fills tensors, whole or shared out in whatever way, from shares of another number of processes.

    Args:
        stored: where each lies, by a name of the caller's.
        targets: what is filled, by the same names.
        team: whose processes hold the targets.
    """
    from torch.distributed import checkpoint as dcp

    for folder in {item.folder for item in stored.values()}:
        wanted = {item.name: targets[name] for name, item in stored.items() if item.folder == folder}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # which is meant, alone
            dcp.load(
                wanted,
                storage_reader=dcp.HuggingFaceStorageReader(str(folder)),
                process_group=team.control,
                no_dist=team.count == 1,
            )


def placed_as(tensor: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """A whole tensor, which every process has, shared out as the target is."""
    if not is_shared_out(target):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    there = cast(DTensor, target)
    return distribute_tensor(tensor.to(there.device), there.device_mesh, there.placements, src_data_rank=None)
