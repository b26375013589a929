"""What a fine-tuned model keeps in its folder: the parameters that learned, and nothing else.

LoRA and DoRA are written as peft writes them (adapter_config.json, adapter_model.safetensors), so that
``PeftModel.from_pretrained(net, folder)`` reads them; the other methods as adapter.safetensors, by the names of the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from sadm.core.files import write_json
from sadm.core.tensors import save_tensors
from sadm.finetuning.config import FinetuneConfig
from sadm.finetuning.lora import from_peft_names, peft_files

TENSORS, PEFT_TENSORS, PEFT_CONFIG = "adapter.safetensors", "adapter_model.safetensors", "adapter_config.json"
FILES = (TENSORS, PEFT_TENSORS, PEFT_CONFIG)
THROUGH_PEFT = ("lora", "dora")


def write_adapter(
    folder: Path, config: FinetuneConfig, tensors: Mapping[str, torch.Tensor], also: Sequence[str]
) -> None:
    """Writes an adapter's files.

    Args:
        folder: exists.
        config: the method.
        tensors: the parameters that learned, by their names in the network.
        also: the modules among them that learned beside what the method adds.
    """
    if config.method in THROUGH_PEFT:
        described, named = peft_files(config, dict(tensors), also)
        write_json(folder / PEFT_CONFIG, described)
        save_tensors(folder / PEFT_TENSORS, named)
    else:
        save_tensors(folder / TENSORS, tensors)


def read_adapter(folder: Path, config: FinetuneConfig, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """The tensors of an adapter, by the names of the network's parameters that learn.

    Args:
        folder: that `write_adapter` filled.
        config: the method.
        names: of the parameters that learn in the network as `tune` leaves it.

    Raises:
        OSError: a file is missing.
        SafetensorError: a file is damaged.
    """
    tensors = load_file(adapter_file(folder, config))
    return from_peft_names(tensors, names) if config.method in THROUGH_PEFT else tensors


def adapter_file(folder: Path, config: FinetuneConfig) -> Path:
    """The file of an adapter's tensors."""
    return folder / (PEFT_TENSORS if config.method in THROUGH_PEFT else TENSORS)
