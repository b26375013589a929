"""Low-rank updates through peft: LoRA (Hu et al. 2021, arXiv 2106.09685) and DoRA (Liu et al. 2024, arXiv 2402.09353)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sadm.core.optional import import_optional
from sadm.finetuning.branches import branches, matrices
from sadm.finetuning.config import FinetuneConfig

PREFIX = "base_model.model."  # of names in peft's files
SUFFIX = ".default"  # peft's name of an adapter's part, which its files leave out


def add_low_rank(net: nn.Module, config: FinetuneConfig) -> None:
    """Gives each matrix in a residual branch a low-rank update, zero at first.

    Raises:
        UserError: the network has no such branches, or peft is not installed.
    """
    names = [name for branch in branches(net) for name, _ in matrices(branch)]
    peft = _peft(config)
    peft.inject_adapter_in_model(_config(peft, config, names), net)


def peft_files(
    config: FinetuneConfig, tensors: dict[str, torch.Tensor], also: Sequence[str]
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What peft's own files hold, for ``PeftModel.from_pretrained``: the configuration, for JSON, and the tensors.

    Args:
        config: the method.
        tensors: all parameters that learned, by their names in the network.
        also: modules that learned beside the low-rank updates.
    """
    peft = _peft(config)
    targets = sorted({name.partition(".lora_")[0] for name in tensors if ".lora_" in name})
    described = _config(peft, config, targets, also).to_dict()
    described["inference_mode"] = True
    kept = {
        key: sorted(value) if isinstance(value, set) else getattr(value, "value", value)
        for key, value in described.items()
    }
    return kept, {PREFIX + _without_name(name): tensor for name, tensor in tensors.items()}


def from_peft_names(tensors: dict[str, torch.Tensor], names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Tensors of peft's file by the names of a network's parameters that have learned."""
    theirs = {PREFIX + _without_name(name): name for name in names}
    return {theirs.get(name, name): tensor for name, tensor in tensors.items()}


def is_low_rank(module: nn.Module) -> bool:
    """Whether a module is one of peft's layers."""
    return hasattr(module, "lora_A") and hasattr(module, "base_layer")


def merged_low_rank(layer: Any) -> nn.Module:
    """The plain layer that computes the same as one of peft's."""
    own = copy.deepcopy(layer)
    own.merge()
    plain: nn.Module = own.get_base_layer()
    return plain


def _config(peft: Any, config: FinetuneConfig, targets: Sequence[str], also: Sequence[str] = ()) -> Any:
    return peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha or config.rank,
        target_modules=list(targets),
        modules_to_save=list(also) or None,
        use_dora=config.method == "dora",
    )


def _peft(config: FinetuneConfig) -> Any:
    return import_optional("peft", "finetune", f"--finetune.method {config.method}")


def _without_name(name: str) -> str:
    """The name in a file: of ``a.lora_A.default.weight``, ``a.lora_A.weight``; of a magnitude, its vector's."""
    if ".lora_magnitude_vector" in name:
        return name.partition(SUFFIX)[0]
    return name.replace(f"{SUFFIX}.weight", ".weight") if ".lora_" in name else name
