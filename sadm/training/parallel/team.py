"""The processes of one training: what only the first does, and what all must agree on."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch
from torch import distributed

from sadm.core.devices import resolve_device
from sadm.core.errors import InterruptedRun, UserError

T = TypeVar("T")
_WAIT = datetime.timedelta(days=1)  # for what the first process does alone, such as encoding a large set
_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_KINDS: dict[str, type[UserError | InterruptedRun]] = {"user": UserError, "interrupted": InterruptedRun}


@dataclasses.dataclass(frozen=True)
class Team:
    """The processes that train one model together.

    What travels between them by this class are numbers and JSON, over the CPU; gradients and weights go torch's own way.

    Attributes:
        rank: which of them this is, from 0.
        count: how many there are.
        control: the group over which they agree; None alone.
        saving: another one, for checkpoints that are written while the training goes on.
    """

    rank: int = 0
    count: int = 1
    control: Any = None
    saving: Any = None

    @property
    def first(self) -> bool:
        """Whether this process speaks for all: it writes the files, and reports."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        return bool(self.total(float(flag)))

    def total(self, number: float) -> float:
        """The sum of the processes' numbers."""
        if self.count == 1:
            return number
        shared = torch.tensor(number, dtype=torch.float64)
        distributed.all_reduce(shared, group=self.control)
        return float(shared)

    def told(self, value: Any) -> Any:
        """The first process's value, anything that JSON can hold."""
        if self.count == 1:
            return value
        text = json.dumps(value).encode() if self.first else b""
        size = torch.tensor(len(text))
        distributed.broadcast(size, 0, group=self.control)
        content = (
            torch.tensor(list(text), dtype=torch.uint8) if self.first else torch.empty(int(size), dtype=torch.uint8)
        )
        distributed.broadcast(content, 0, group=self.control)
        return json.loads(bytes(content.tolist()))

    def first_alone(self, function: Callable[[], T]) -> T | None:
        """The first process does something and has what came of it, the others wait and have None; its error is everybody's."""
        failed: tuple[str, str] | None = None
        found: T | None = None
        try:
            if self.first:
                found = function()
        except tuple(_KINDS.values()) as error:
            if self.count == 1:
                raise
            failed = next(kind for kind, known in _KINDS.items() if isinstance(error, known)), str(error)
        self._raise(self.told(failed))
        return found

    def first_then_all(self, function: Callable[[], T]) -> T:
        """The first process does something that leaves files, and then the others do, who find them there."""
        found = self.first_alone(function)
        return cast(T, found) if self.first else function()

    def copy_from_first(self, state: Any) -> None:
        """Gives every process the first one's tensors, in place, of nested dictionaries and lists that are alike."""
        if self.count == 1:
            return
        parts = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
        for part in parts:
            self.copy_from_first(part)
        if isinstance(state, torch.Tensor):
            distributed.broadcast(state.detach(), 0)

    def _raise(self, failed: list[str] | None) -> None:
        if failed is not None:
            kind, text = failed
            error = _KINDS[kind](text)
            error.said_by_another = not self.first
            raise error


ALONE = Team()


@contextlib.contextmanager
def team_for(device: str) -> Iterator[Team]:
    """The processes that torchrun has started for this training, joined while the context is open.

    Processes that were joined before are taken as they are.

    Args:
        device: as in `resolve_device`; of several accelerators, each process of a machine takes its own.

    Raises:
        UserError: several processes without what joins them.
    """
    if distributed.is_available() and distributed.is_initialized():
        yield _team()
        return
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    missing = [name for name in _NEEDED if name not in os.environ]
    if missing:
        raise UserError(
            f"WORLD_SIZE is {count}, but {', '.join(missing)} is not set; expected what torchrun sets. Start with: torchrun "
            f"--nproc-per-node {count} -m sadm train …, or unset WORLD_SIZE."
        )
    kind = resolve_device(device).type
    local = int(os.environ["LOCAL_RANK"])
    if kind != "cpu":
        there = torch.accelerator.device_count()
        if local >= there:
            raise UserError(
                f"{local + 1} or more processes were started on a machine with {there} of device '{kind}'; expected one process "
                f"for each. Give --nproc-per-node {there}, or --device cpu."
            )
        torch.accelerator.set_device_index(local)
    backend = {"cpu": "gloo", "cuda": "nccl"}.get(kind)  # None = torch's own choice
    _import_before_groups()
    store, rank, count = _fresh_store()
    distributed.init_process_group(backend, store=store, rank=rank, world_size=count)
    try:
        yield _team()
    finally:
        distributed.destroy_process_group()


def _import_before_groups() -> None:
    """Imports what would hold the default group for ever, were it imported once there is one.

    Its functions have the group of that moment as a default value, and DDP imports it. A group that is held still has threads
    when Python ends, and one that then lets go of a tensor ends the process by SIGABRT, after all work was done (torch 2.13).
    """
    importlib.import_module("torch.distributed.nn.functional")


def _fresh_store() -> tuple[Any, int, int]:
    """Where processes find each other, their rank and their number.

    torchrun (2.13) keeps one store over restarts, in which new processes would find the addresses of dead ones. On one machine
    the number of restarts tells them apart; on several, where machines count for themselves, only
    ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1`` for torchrun does, which gives every start a store of its own.
    """
    store, rank, count = next(distributed.rendezvous("env://"))
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT")
    if restarts is not None and os.environ.get("GROUP_WORLD_SIZE") == "1":
        store = distributed.PrefixStore(f"start {restarts}", store)
    return store, rank, count


def _team() -> Team:
    rank, count = distributed.get_rank(), distributed.get_world_size()
    if count == 1:
        return ALONE
    control, saving = (distributed.new_group(backend="gloo", timeout=_WAIT) for _ in range(2))
    return Team(rank, count, control, saving)
