"""Copying named tensors into a network, all of them or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.models.weights.report import Entry, LoadReport

SHOWN = 3  # names in a message


def fill(
    net: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    source: str,
    reinitialised: Sequence[Entry] = (),
    ignored: Sequence[Entry] = (),
) -> LoadReport:
    """Copies `tensors` into the network's parameters and buffers of the same names.

    Args:
        net: the network.
        tensors: by the network's own names.
        source: what messages call the file.
        reinitialised: entries of the report; the network keeps its own tensors under these names.
        ignored: further entries of the report.

    Raises:
        UserError: a tensor is missing, too many, or of another shape; the network is left as it was.
    """
    own = net.state_dict()
    kept = {entry.name for entry in reinitialised}
    strange = [name for name in tensors if name not in own]
    if strange:
        raise UserError(
            f"{source} holds tensors that this network has no place for: {some(strange)}. Leaving them out would change what the "
            "network computes. Where they served training alone, name them in ignoring=(...)."
        )
    missing = [name for name in own if name not in tensors and name not in kept]
    if missing:
        raise UserError(f"{source} lacks tensors of this network: {some(missing)}. Is it whole, and of this network?")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise UserError(
                f"{name} in {source} has the shape {tuple(tensor.shape)}; this network needs {tuple(own[name].shape)}."
            )
    net.load_state_dict({**own, **tensors})
    loaded = tuple(Entry(name, tuple(tensor.shape)) for name, tensor in tensors.items())
    return LoadReport(loaded, tuple(reinitialised), tuple(ignored))


def some(names: Iterable[str]) -> str:
    """The first few of the names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
