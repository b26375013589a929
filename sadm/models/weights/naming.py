"""The same transformer under the names of diffusers' `DiTTransformer2DModel`, both ways.

Between the two stand, beside names: one matrix for queries, keys and values here and three there, in this order; one embedder
of noise level and class here and an equal copy in every block there; positions stored here and computed there. The order of
shift, scale and gate is the same, and so is that of shift and scale in front of the output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from sadm.core.errors import UserError
from sadm.models.dit import AUGMENT_TABLE, MODERN, DiT, DiTBlock, Mlp
from sadm.models.positions import are_sincos

NULL_ROW = 1000  # DiTPipeline takes this row of the class table as "no class", whatever the table

TABLE, THEIR_TABLE = "y_embedder.embedding_table.weight", "class_embedder.embedding_table.weight"
_OUTSIDE = {
    "x_embedder.proj": "pos_embed.proj",
    "final_layer.adaLN_modulation.1": "proj_out_1",
    "final_layer.linear": "proj_out_2",
}
_COPIED = {"t_embedder.mlp.0": "timestep_embedder.linear_1", "t_embedder.mlp.2": "timestep_embedder.linear_2"}
_IN_BLOCK = {
    "adaLN_modulation.1": "norm1.linear",
    "attn.proj": "attn1.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}
_QKV = ("attn1.to_q", "attn1.to_k", "attn1.to_v")
_WITHOUT_COUNTERPART = ("pos_embed", TABLE, AUGMENT_TABLE)  # computed there, put elsewhere, and left out


def to_diffusers_state_dict(net: DiT, null_at_1000: bool = False) -> dict[str, torch.Tensor]:
    """The weights by the names of a `DiTTransformer2DModel`; a network without classes becomes one of a single class.

    What the network is told of augmentation (`AUGMENT_TABLE`) is left out: samples are asked for without.

    Args:
        net: a network that diffusers can express; see `check_for_diffusers`.
        null_at_1000: the table gets 1,001 rows: the classes, the null class repeated, and the null class at row 1000, where
            `DiTPipeline` looks for it.

    Raises:
        UserError: diffusers has no such network, or there are more than 1,000 classes and `null_at_1000`.
    """
    check_for_diffusers(net)
    state = net.state_dict()
    table = class_table(net, null_at_1000)
    theirs: dict[str, torch.Tensor] = {}
    for name in (name for name in state if name not in _WITHOUT_COUNTERPART):
        for new, tensor in _to_theirs(name, state[name], len(net.blocks)).items():
            theirs[new] = tensor
    for block in range(len(net.blocks)):
        theirs[f"transformer_blocks.{block}.norm1.emb.{THEIR_TABLE}"] = table
    return theirs


def from_diffusers_state_dict(
    state: Mapping[str, torch.Tensor], source: str = "the state dict"
) -> dict[str, torch.Tensor]:
    """The weights by our names, without positions; names of no DiT stay as they are.

    Raises:
        UserError: the embedders of the blocks differ, as after training in diffusers; we have one for all blocks.
    """
    outside = {their: our for our, their in _OUTSIDE.items()}
    in_block = {their: our for our, their in _IN_BLOCK.items()}
    copied = {their: our for our, their in _COPIED.items()} | {THEIR_TABLE.removesuffix(".weight"): TABLE[:-7]}
    ours: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        stem, _, part = name.rpartition(".")
        inside = re.fullmatch(r"transformer_blocks\.(\d+)\.(.+)", stem)
        block, layer = inside.groups() if inside else ("", stem)
        if inside and layer.removeprefix("norm1.emb.") in copied:
            new = f"{copied[layer.removeprefix('norm1.emb.')]}.{part}"
            if new in ours and not torch.equal(ours[new], tensor):
                raise UserError(
                    f"{name} in {source} differs from its counterpart in another block, as after training in diffusers, where "
                    "every block has embedders of its own. Our network has one for all blocks and can't hold them."
                )
            ours[new] = tensor
        elif inside and layer == _QKV[0] and all(f"transformer_blocks.{block}.{qkv}.{part}" in state for qkv in _QKV):
            ours[f"blocks.{block}.attn.qkv.{part}"] = torch.cat(
                [state[f"transformer_blocks.{block}.{qkv}.{part}"] for qkv in _QKV]
            )
        elif inside and layer in in_block:
            ours[f"blocks.{block}.{in_block[layer]}.{part}"] = tensor
        elif name != "pos_embed.pos_embed" and not (inside and layer in _QKV[1:]):
            ours[f"{outside[stem]}.{part}" if stem in outside else name] = tensor
    return ours


def check_for_diffusers(net: DiT) -> None:
    """Refuses a network that `DiTTransformer2DModel` can't compute.

    Raises:
        UserError: which of its properties stands in the way, and what to do.
    """
    modern = [name for name in MODERN if getattr(net, name)]
    if modern:
        raise UserError(
            f"this network is built with {' and '.join(modern)}; diffusers' DiTTransformer2DModel has no such option. Keep it in "
            "a model folder, or train one without to save for diffusers."
        )
    if net.frequency_shift != 1:
        raise UserError(
            "this network embeds noise levels at the frequencies of facebookresearch/DiT (frequency_shift="
            f"{net.frequency_shift:g}); diffusers' DiTTransformer2DModel has others (frequency_shift=1), and no change of "
            "weights makes up for that: its images would differ. To save for diffusers, train or fine-tune a network built with "
            "frequency_shift=1; keep this one in a model folder."
        )
    _, rows, columns = net.shape
    if rows != columns:
        raise UserError(
            f"diffusers' DiTTransformer2DModel knows square images only; this network's are {rows}x{columns}."
        )
    for name, tensor in net.state_dict().items():
        if name not in _WITHOUT_COUNTERPART and not _to_theirs(name, tensor, len(net.blocks)):
            raise UserError(f"diffusers' DiTTransformer2DModel has no counterpart of this network's {name}.")
    positions = net.get_buffer("pos_embed")  # [1, T, D]
    width = positions.shape[2]
    if not are_sincos(positions, net.grid):
        raise UserError(
            "diffusers computes sine and cosine positions; this network's positions (pos_embed) are others."
        )
    hidden = {block.mlp.fc1.out_features for block in dit_blocks(net) if isinstance(block.mlp, Mlp)}
    if hidden != {4 * width}:
        raise UserError(
            f"diffusers' DiTTransformer2DModel has an MLP of 4 times the width ({4 * width}); this "
            f"network's has {min(hidden)}."
        )


def class_table(net: DiT, null_at_1000: bool) -> torch.Tensor:
    """The class table as diffusers wants it, the null class in its last row."""
    if net.y_embedder is None:
        table = torch.zeros(2, net.x_embedder.proj.out_channels)  # class 0 and the null class both add nothing
    else:
        table = net.y_embedder.embedding_table.weight.detach()  # [K + 1, D]
    if not null_at_1000:
        return table
    classes = len(table) - 1
    if classes > NULL_ROW:
        raise UserError(
            f"DiTPipeline looks for the null class at row {NULL_ROW} of the class table, which is a class of this network: it "
            f"has {classes}. Save with null_at_1000=False, and sample without guidance (guidance_scale=1) in that pipeline."
        )
    return torch.cat([table[:classes], table[classes:].expand(NULL_ROW + 1 - classes, -1)])  # [1001, D]


def dit_blocks(net: DiT) -> list[DiTBlock]:
    """The network's blocks, typed."""
    return [block for block in net.blocks if isinstance(block, DiTBlock)]


def norm_eps(net: DiT) -> float:
    """The epsilon of the norm in front of each MLP, the only one that diffusers can change: 1e-6 here, 1e-5 its default there."""
    return dit_blocks(net)[0].norm2.eps


def set_norm_eps(net: DiT, eps: float) -> None:
    """Sets what `norm_eps` gives, as networks from diffusers need; a parameter or buffer it is not, so no state dict has it."""
    for block in dit_blocks(net):
        block.norm2.eps = eps


def _to_theirs(name: str, tensor: torch.Tensor, blocks: int) -> dict[str, torch.Tensor]:
    """What one of our tensors becomes; nothing where diffusers has no place for it."""
    stem, _, part = name.rpartition(".")
    if stem in _OUTSIDE:
        return {f"{_OUTSIDE[stem]}.{part}": tensor}
    if stem in _COPIED:
        return {f"transformer_blocks.{block}.norm1.emb.{_COPIED[stem]}.{part}": tensor for block in range(blocks)}
    inside = re.fullmatch(r"blocks\.(\d+)\.(.+)", stem)
    if inside is None:
        return {}
    prefix = f"transformer_blocks.{inside.group(1)}"
    if inside.group(2) == "attn.qkv":
        return {f"{prefix}.{qkv}.{part}": rows for qkv, rows in zip(_QKV, tensor.chunk(3), strict=True)}
    layer = _IN_BLOCK.get(inside.group(2))
    return {f"{prefix}.{layer}.{part}": tensor} if layer else {}
