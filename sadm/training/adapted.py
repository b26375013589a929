"""Fine-tuned models as folders: what learned, and which model it belongs to; put together again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from sadm.finetuning.config import MERGEABLE, FinetuneConfig
from sadm.finetuning.folder import read_adapter
from sadm.finetuning.tuning import learned, load_learned, merge, tune


@dataclasses.dataclass(frozen=True)
class AdapterFacts:
    """What a folder says about its adapter.

    Attributes:
        finetune: the method.
        base: folder of the model that was fine-tuned.
        base_hash: its `model_hash`.
        also: names of the modules that learned beside what the method adds.
        seed: of what new classes started from.
    """

    finetune: FinetuneConfig
    base: str
    base_hash: str
    also: tuple[str, ...]
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "finetune": self.finetune.model_dump(), "also": list(self.also)}

    @staticmethod
    def of(description: Mapping[str, Any]) -> AdapterFacts:
        """From a model's description.

        Raises:
            KeyError, TypeError, ValueError: it is damaged.
        """
        facts = dict(description["adapter"])
        return AdapterFacts(
            FinetuneConfig.model_validate(facts.pop("finetune")), also=tuple(facts.pop("also")), **facts
        )


def adapted(folder: Path, facts: AdapterFacts, net: nn.Module) -> tuple[nn.Module, bool]:
    """A fine-tuned network.

    Args:
        folder: of the adapter.
        facts: about it.
        net: the model that was fine-tuned, already fitted to the new images; changed in place.

    Returns:
        The network, and whether it has parts beside plain weights.

    Raises:
        UserError: the adapter belongs to another model.
        OSError, SafetensorError: its file is missing or damaged.
    """
    tune(net, facts.finetune, facts.also)
    load_learned(net, read_adapter(folder, facts.finetune, list(learned(net))), str(folder))
    if facts.finetune.method not in MERGEABLE:
        return net, True
    return merge(net).net, False
