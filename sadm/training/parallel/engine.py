"""How a network runs in training: on one process or several, whole or in shares, in which precision."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from sadm.core.errors import UserError
from sadm.training.parallel.team import Team
from sadm.training.parallel_config import ParallelConfig

if TYPE_CHECKING:  # these take a second to import, and only processes that share weights out need them
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule


class Engine:
    """A network that is ready to train as `config` says.

    Args:
        net: on its device; changed in place, where weights are shared out or blocks are compiled.
        averaged: its averaged copy, which is shared out likewise.
        config: how.
        team: the processes.
        tapped: names of modules whose outputs signals read.

    Attributes:
        run: what a training step calls; its gradients are averaged over processes.
        sharded: whether each process holds its share alone.

    Raises:
        UserError: processes that do not form groups, a backend that does not exist, or signals that read inside what is compiled.
    """

    def __init__(
        self, net: nn.Module, averaged: nn.Module, config: ParallelConfig, team: Team, tapped: tuple[str, ...] = ()
    ) -> None:
        self.config, self.device = config, next(net.parameters()).device
        self.sharded = team.count > 1 and config.strategy != "ddp"
        blocks = blocks_of(net)
        if config.recompute:
            for block in blocks.values():
                block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
        if config.compile is not None:
            _compile(blocks, config.compile, tapped)
        self.run: nn.Module = net
        if self.sharded:
            mesh = _mesh(config, team, self.device)
            for module in (net, averaged):
                _share_out(module, mesh)
        elif team.count > 1:
            index = None if self.device.type == "cpu" else [self.device]
            with warnings.catch_warnings():
                # What is to take its place is not in torch 2.6 yet.
                warnings.filterwarnings("ignore", message="`broadcast_buffers`")
                self.run = DistributedDataParallel(net, device_ids=index, broadcast_buffers=False)

    @contextlib.contextmanager
    def passing(self, last: bool) -> Iterator[None]:
        """Around one micro-batch's forward and backward pass; gradients travel in the last one alone."""
        if isinstance(self.run, DistributedDataParallel):
            with contextlib.nullcontext() if last else self.run.no_sync():
                yield
            return
        if self.sharded:
            cast("FSDPModule", self.run).set_requires_gradient_sync(last)
        yield

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Around the network's forward pass."""
        if self.config.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def blocks_of(net: nn.Module) -> dict[str, nn.Module]:
    """The blocks that a network repeats: the members of its outermost lists of modules, by name."""
    found: dict[str, nn.Module] = {}
    lists = [name for name, module in net.named_modules() if isinstance(module, nn.ModuleList)]
    for name in lists:
        if any(name.startswith(f"{other}.") for other in lists if other != name):
            continue
        for index, block in enumerate(cast(nn.ModuleList, net.get_submodule(name))):
            # diffusers' lists hold None for no attention.
            if block is not None and any(True for _ in block.parameters()):
                found[f"{name}.{index}"] = block
    return found


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor, put together where processes hold shares of it; all of them must ask."""
    return cast(Any, tensor).full_tensor() if is_shared_out(tensor) else tensor


def local(tensor: torch.Tensor) -> torch.Tensor:
    """The share of a tensor that this process holds; changes in place reach it."""
    return cast(Any, tensor).to_local() if is_shared_out(tensor) else tensor


def is_shared_out(value: object) -> bool:
    """Whether this is a tensor of which processes hold shares (torch's DTensor)."""
    return hasattr(value, "full_tensor")


def _compile(blocks: dict[str, nn.Module], backend: str, tapped: tuple[str, ...]) -> None:
    if not blocks:
        raise UserError("--parallel.compile compiles repeated blocks, and this network has none. Leave it out.")
    inside = [name for name in tapped if any(name.startswith(f"{block}.") for block in blocks)]
    if inside:
        raise UserError(
            f"--parallel.compile: a signal reads the output of '{inside[0]}', inside a block that would be compiled. Tap the "
            "whole block, or leave --parallel.compile out."
        )
    try:
        for block in blocks.values():
            block.forward = torch.compile(block.forward, backend=backend)
    except Exception as error:  # torch raises kinds of its own for an unknown backend
        known = ", ".join(torch.compiler.list_backends())
        raise UserError(f"--parallel.compile {backend}: torch can't use it ({error}); there are {known}.") from error


def _mesh(config: ParallelConfig, team: Team, device: torch.device) -> DeviceMesh:
    from torch.distributed.device_mesh import init_device_mesh

    if config.strategy == "fsdp":
        return init_device_mesh(device.type, (team.count,))
    shard = config.shard or int(os.environ.get("LOCAL_WORLD_SIZE", team.count))
    if team.count % shard:
        raise UserError(
            f"--parallel.strategy hybrid with groups of {shard} processes: {team.count} processes are no multiple of that. Set "
            "--parallel.shard to a divisor."
        )
    return init_device_mesh(device.type, (team.count // shard, shard), mesh_dim_names=("replicate", "shard"))


def _share_out(net: nn.Module, mesh: DeviceMesh) -> None:
    from torch.distributed.fsdp import fully_shard

    for block in blocks_of(net).values():
        fully_shard(block, mesh=mesh)
    fully_shard(net, mesh=mesh, reshard_after_forward=True)  # also after a forward pass alone, such as sampling
