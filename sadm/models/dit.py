"""A diffusion transformer (Peebles & Xie 2023, arXiv 2212.09748), with the parameter names of its published weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from sadm.core.conditions import Cond
from sadm.models.gelu import gelu_tanh
from sadm.models.modern import HeadNorm, Rope2d, SwiGlu
from sadm.models.positions import positions_like, sincos_positions
from sadm.models.told import check_columns, check_picture

Activation = Callable[[torch.Tensor], torch.Tensor]

# Below this many tokens the fused kernel's backward is slower on a CPU than two products and a softmax, and those need little
# memory yet.
FUSED_ATTENTION_FROM = 64

MODERN = ("qk_norm", "rope", "swiglu", "registers", "patch_bottleneck")
"""Options that the published networks don't have, all of them off by default."""

AUGMENT_TABLE = "augment_embedder.weight"
"""Name of the weights [width, augment_dims] of what the network is told of augmentation."""
ATTRIBUTE_TABLE = "attribute_embedder.weight"
"""Name of the weights [width, attribute_dims] of attributes."""
PICTURE_TABLE = "picture_embedder.weight"
"""Name of the weights [width, picture_channels, patch, patch] of an image to condition on."""


class DiT(nn.Module):
    """Transformer over image patches, conditioned on noise level, class, augmentation and attributes by adaptive layer norm
    (adaLN-Zero), and on an image by its patches.

    Args:
        shape: one image, (C, H, W); H and W may differ, each divisible by `patch`.
        patch: side of a patch, in pixels.
        width: channels of a token, divisible by `heads` and by 4 (two axes of sine and cosine positions).
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLP over `width`.
        num_classes: classes; 0 = unconditional. The null class is `num_classes` itself.
        noise_scale: factor between c_noise and the argument of the sinusoidal embedding, whose fastest period is 2 pi.
        out_channels: channels of the output; None = those of the image, twice as many = with a learned variance.
        frequency_shift: 0 = frequencies of the noise level as in the published weights, 1 = as in diffusers' networks.
        twice_differentiable: use torch's own GELU, which has second derivatives; slower on a CPU.
        qk_norm: normalise queries and keys; see `HeadNorm`.
        rope: turn queries and keys by row and column (see `Rope2d`) *instead of* adding sine-cosine positions to the tokens: with
            both, scores would depend on absolute places after all. `width / heads` must be divisible by 4.
        swiglu: gated MLPs with as many parameters; see `SwiGlu`.
        registers: learned tokens without a place, behind the patches and dropped before the output (Darcet et al. 2024, arXiv
            2309.16588). Attention does not look at the order of tokens; behind, a patch keeps its index.
        augment_dims: columns of `Cond.augment` that the network understands; 0 = it can't be told of augmentation. They are
            embedded linearly and without a bias (Karras et al. 2022, arXiv 2206.00364, F.2): of an image to which nothing was
            done, the network sees what it would see without this embedding.
        attribute_dims: columns of `Cond.attributes`, embedded in the same way; 0 = it can't be told of attributes. All zeros
            means "nothing is known".
        picture_channels: channels of `Cond.image`, whose patches are embedded, without a bias, and added to those of the image
            itself; 0 = it can't be told of an image. All zeros means "nothing is known".
        patch_bottleneck: channels that a patch is projected to before it becomes a token, without a bias or anything non-linear
            between; 0 = none. For large patches of pixels, whose values lie near few directions (JiT, arXiv 2511.13720).
        any_shape: take images of any height and width that `patch` divides, such as those of aspect buckets, instead of `shape`
            alone; sine-cosine positions are computed for each. Goes neither with `rope` nor with `registers`.

    Raises:
        ValueError: sizes that do not fit each other, or (on a call) images of another shape or augmentation of other columns.
    """

    pos_embed: torch.Tensor | None

    def __init__(
        self,
        shape: tuple[int, int, int],
        patch: int = 2,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        mlp_ratio: float = 4.0,
        num_classes: int = 0,
        noise_scale: float = 1000.0,
        out_channels: int | None = None,
        frequency_shift: float = 0.0,
        twice_differentiable: bool = False,
        qk_norm: bool = False,
        rope: bool = False,
        swiglu: bool = False,
        registers: int = 0,
        patch_bottleneck: int = 0,
        augment_dims: int = 0,
        attribute_dims: int = 0,
        picture_channels: int = 0,
        any_shape: bool = False,
    ) -> None:
        super().__init__()
        channels, height, columns = shape
        if height % patch or columns % patch:
            raise ValueError(f"an image of {height}x{columns} pixels can't be cut into patches of {patch}x{patch}")
        if width % heads or width % 4:
            raise ValueError(f"width {width} must be divisible by heads ({heads}) and by 4")
        if registers < 0:
            raise ValueError(f"registers must be at least 0, got {registers}")
        if patch_bottleneck < 0:
            raise ValueError(f"patch_bottleneck must be at least 0, got {patch_bottleneck}")
        if any_shape and (rope or registers):
            raise ValueError("any_shape needs added positions and no registers: leave rope and registers out")
        self.shape, self.patch, self.noise_scale = shape, patch, noise_scale
        self.out_channels = channels if out_channels is None else out_channels
        self.frequency_shift, self.any_shape = frequency_shift, any_shape
        self.qk_norm, self.rope, self.swiglu, self.registers = qk_norm, rope, swiglu, registers
        self.patch_bottleneck = patch_bottleneck
        self.null_label = num_classes if num_classes else None
        self.grid = (height // patch, columns // patch)
        self.x_embedder = PatchEmbedder(channels, patch, width, patch_bottleneck)
        self.t_embedder = NoiseLevelEmbedder(width, frequency_shift=frequency_shift)
        self.y_embedder = LabelEmbedder(num_classes, width) if num_classes else None
        turn = Rope2d(width // heads, self.grid, registers) if rope else None  # the same for all blocks
        self.register_buffer("pos_embed", None if rope else sincos_positions(width, self.grid).unsqueeze(0))
        activation = partial(F.gelu, approximate="tanh") if twice_differentiable else gelu_tanh
        self.blocks = nn.ModuleList(
            DiTBlock(width, heads, mlp_ratio, activation, qk_norm, turn, swiglu) for _ in range(depth)
        )
        self.final_layer = FinalLayer(width, patch, self.out_channels)
        self.register_tokens = nn.Parameter(0.02 * torch.randn(1, registers, width)) if registers else None
        self._initialise()
        # After all others, whose first weights are then those of a network without it. From zero it would learn late what it is
        # told, behind blocks that start at zero, too: a small network kept drawing mirror images for twice as many steps.
        self.augment_embedder = _embedder(augment_dims, width)
        self.attribute_embedder = _embedder(attribute_dims, width)
        self.picture_embedder: nn.Conv2d | None = None
        if picture_channels:
            self.picture_embedder = nn.Conv2d(picture_channels, width, patch, stride=patch, bias=False)
            nn.init.xavier_uniform_(self.picture_embedder.weight.data.flatten(1))

    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        grid = self._grid_of(x)
        self._check_told(cond, x)
        tokens = self._tokens(x, grid, cond.image)  # [B, T + registers, D]
        of_its_own = cond.augment is not None or cond.attributes is not None
        c_noise, label, rows = (c_noise, cond.label, None) if of_its_own else distinct_conditions(c_noise, cond.label)
        condition = self.t_embedder(c_noise * self.noise_scale)  # [K, D]
        if self.y_embedder is not None:
            condition = condition + self.y_embedder(label, c_noise.shape[0])  # [K, D]
        if self.augment_embedder is not None and cond.augment is not None:
            condition = condition + self.augment_embedder(cond.augment.to(condition.dtype))  # [B, D]
        if self.attribute_embedder is not None and cond.attributes is not None:
            condition = condition + self.attribute_embedder(cond.attributes.to(condition.dtype))  # [B, D]
        condition = F.silu(condition)  # shared by all blocks
        for block in self.blocks:
            tokens = block(tokens, condition, rows)  # [B, T + registers, D]
        patches = self.without_registers(tokens)  # [B, T, D]
        return self._unpatchify(self.final_layer(patches, condition, rows), grid)  # [B, out_channels, H, W]

    def _check_told(self, cond: Cond, x: torch.Tensor) -> None:
        """Refuses what the network would overlook, or could not read."""
        known = [0 if part is None else part.in_features for part in (self.augment_embedder, self.attribute_embedder)]
        check_columns("augmentation", cond.augment, known[0], "augment_dims", ", and would draw it")
        check_columns("attributes", cond.attributes, known[1], "attribute_dims")
        channels = 0 if self.picture_embedder is None else self.picture_embedder.in_channels
        check_picture(cond.image, channels, x)

    def without_registers(self, activation: torch.Tensor) -> torch.Tensor:
        """The T patches' part of a hidden activation [B, T + registers, D]; one of another shape as it is."""
        patches = self.grid[0] * self.grid[1]
        if not self.registers or activation.ndim != 3 or activation.shape[1] != patches + self.registers:
            return activation
        return activation[:, :patches]

    def _grid_of(self, x: torch.Tensor) -> tuple[int, int]:
        """Rows and columns of patches of images that this network takes."""
        if tuple(x.shape[1:]) == tuple(self.shape):
            return self.grid
        fits = x.ndim == 4 and x.shape[1] == self.shape[0] and not any(side % self.patch for side in x.shape[2:])
        if self.any_shape and fits:
            return x.shape[2] // self.patch, x.shape[3] // self.patch
        sides = f"H, W], both divisible by {self.patch}" if self.any_shape else f"{self.shape[1]}, {self.shape[2]}]"
        raise ValueError(f"this network expects images [B, {self.shape[0]}, {sides}, got {tuple(x.shape)}")

    def _tokens(self, x: torch.Tensor, grid: tuple[int, int], picture: torch.Tensor | None) -> torch.Tensor:
        tokens = self.x_embedder(x)  # [B, T, D]
        if self.picture_embedder is not None and picture is not None:
            tokens = tokens + self.picture_embedder(picture.to(x.dtype)).flatten(2).transpose(1, 2)
        if self.pos_embed is not None:
            tokens = tokens + (self.pos_embed if grid == self.grid else positions_like(self.pos_embed, grid))
        else:  # as the sum with positions would be: under autocast, a sum over all blocks should not be in half precision
            tokens = tokens.to(self.x_embedder.proj.weight.dtype)
        if self.register_tokens is not None:
            tokens = torch.cat(
                [tokens, self.register_tokens.expand(x.shape[0], -1, -1)], dim=1
            )  # [B, T + registers, D]
        return tokens

    def _unpatchify(self, tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        (rows, columns), p, c = grid, self.patch, self.out_channels
        batch = tokens.shape[0]  # len() would fix the size of the batch in an exported network
        patches = tokens.reshape(batch, rows, columns, p, p, c)
        return patches.permute(0, 5, 1, 3, 2, 4).reshape(batch, c, rows * p, columns * p)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.x_embedder.initialise()
        for weight in (p for p in self.t_embedder.mlp.parameters() if p.ndim == 2):
            nn.init.normal_(weight, std=0.02)
        # adaLN-Zero: every block starts as the identity, and the network as the zero function.
        for module in self.modules():
            if isinstance(module, (DiTBlock, FinalLayer)):
                for parameter in module.adaLN_modulation.parameters():
                    nn.init.zeros_(parameter)
        nn.init.zeros_(self.final_layer.linear.weight)


class PatchEmbedder(nn.Module):
    """Cuts an image into patches and projects each, in two steps with a bottleneck: [B, C, H, W] -> [B, T, D].

    Args:
        channels: C.
        patch: side of a patch.
        width: D.
        bottleneck: channels between the two projections; 0 = one projection.
    """

    def __init__(self, channels: int, patch: int, width: int, bottleneck: int = 0) -> None:
        super().__init__()
        self.patch = patch
        # Convolutions for the names and shapes of their weights.
        self.reduce = nn.Conv2d(channels, bottleneck, patch, stride=patch, bias=False) if bottleneck else None
        self.proj = nn.Conv2d(bottleneck, width, 1) if bottleneck else nn.Conv2d(channels, width, patch, stride=patch)

    def initialise(self) -> None:
        """Weights as those of linear layers on patches."""
        nn.init.xavier_uniform_(self.proj.weight.data.flatten(1))
        nn.init.zeros_(self.proj.get_parameter("bias"))
        if self.reduce is not None:
            nn.init.xavier_uniform_(self.reduce.weight.data.flatten(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        p = self.patch
        patches = x.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5)  # [B, h, w, C, p, p]
        # Matrix products: the same numbers as strided convolutions, without their set-up cost on small images.
        tokens = patches.reshape(b, -1, c * p * p)  # [B, T, C p p]
        if self.reduce is not None:
            tokens = F.linear(tokens, self.reduce.weight.flatten(1))  # [B, T, bottleneck]
        return F.linear(tokens, self.proj.weight.flatten(1), self.proj.bias)  # [B, T, D]


class NoiseLevelEmbedder(nn.Module):
    """Sinusoidal features of a scalar, then an MLP: [B] -> [B, D].

    Frequency i of `half` is ``10000 ** -(i / (half - frequency_shift))``.
    """

    frequencies: torch.Tensor

    def __init__(self, width: int, frequencies: int = 256, frequency_shift: float = 0.0) -> None:
        super().__init__()
        half = frequencies // 2
        exponents = torch.arange(half) / (half - frequency_shift)  # [half]
        self.register_buffer("frequencies", torch.exp(-math.log(10000.0) * exponents), persistent=False)
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        angles = t[:, None] * self.frequencies  # [B, half]
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=1))


class LabelEmbedder(nn.Module):
    """A table of class embeddings whose last row is the null class."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.embedding_table = nn.Embedding(num_classes + 1, width)
        nn.init.normal_(self.embedding_table.weight, std=0.02)

    def forward(self, label: torch.Tensor | None, batch: int) -> torch.Tensor:
        if label is None:  # unknown class
            return self.embedding_table.weight[self.num_classes].expand(batch, -1)
        return self.embedding_table(label)


class DiTBlock(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the condition."""

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float,
        activation: Activation = gelu_tanh,
        qk_norm: bool = False,
        rope: Rope2d | None = None,
        swiglu: bool = False,
    ) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(width, heads, qk_norm, rope)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = SwiGlu(width, hidden) if swiglu else Mlp(width, hidden, activation)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, tokens: torch.Tensor, condition: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        # `condition` [K, D] has passed its SiLU already: it is the same for every block.
        modulation = per_token(self.adaLN_modulation[1](condition), rows)  # [B, 1, 6 D]
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation.chunk(6, dim=2)
        tokens = torch.addcmul(tokens, gate_a, self.attn(torch.addcmul(shift_a, self.norm1(tokens), 1 + scale_a)))
        return torch.addcmul(tokens, gate_m, self.mlp(torch.addcmul(shift_m, self.norm2(tokens), 1 + scale_m)))


class Attention(nn.Module):
    """Multi-head self-attention [B, T, D] -> [B, T, D]; the kernel is chosen by the number of tokens."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False, rope: Rope2d | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.q_norm = HeadNorm(width // heads) if qk_norm else None
        self.k_norm = HeadNorm(width // heads) if qk_norm else None
        self.rope = rope

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        b, t, d = tokens.shape
        heads = self.qkv(tokens).reshape(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        fused = t >= FUSED_ATTENTION_FROM or tokens.is_cuda or not torch.is_grad_enabled()
        q, k, v = heads if fused else heads.reshape(3, b * self.heads, t, d // self.heads)  # each [..., T, d]
        q, k = self._placed(q, self.q_norm).to(v.dtype), self._placed(k, self.k_norm).to(v.dtype)
        if fused:
            mixed = F.scaled_dot_product_attention(q, k, v)  # [B, heads, T, d]
        else:
            scale = (d // self.heads) ** -0.5
            scores = torch.baddbmm(q.new_zeros(()), q, k.transpose(1, 2), beta=0, alpha=scale)  # [B heads, T, T]
            mixed = torch.bmm(scores.softmax(dim=-1), v).view(b, self.heads, t, -1)
        return self.proj(mixed.transpose(1, 2).reshape(b, t, d))

    def _placed(self, x: torch.Tensor, norm: HeadNorm | None) -> torch.Tensor:
        """Queries or keys [..., T, d], normalised and turned as far as this network does so."""
        x = x if norm is None else norm(x)
        return x if self.rope is None else self.rope(x)


class Mlp(nn.Module):
    """Two linear layers around a GELU (tanh form, as in the published weights)."""

    def __init__(self, width: int, hidden: int, activation: Activation = gelu_tanh) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(tokens)))


class FinalLayer(nn.Module):
    """Modulated norm and a projection to pixels: [B, T, D] -> [B, T, p p C]."""

    def __init__(self, width: int, patch: int, channels: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, patch * patch * channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, tokens: torch.Tensor, condition: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        shift, scale = per_token(self.adaLN_modulation[1](condition), rows).chunk(2, dim=2)  # each [B, 1, D]
        return self.linear(torch.addcmul(shift, self.norm_final(tokens), 1 + scale))


def distinct_conditions(
    c_noise: torch.Tensor, label: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """The distinct pairs of noise level and class where a sampler asks for few: what depends on them is computed once.

    Args:
        c_noise: [B].
        label: [B], or None.

    Returns:
        Noise levels [K], classes [K] or None, and for each image the row of its pair [B]; None where every image has its own,
        as in training.
    """
    if torch.is_grad_enabled() or c_noise.is_cuda or len(c_noise) < 2:
        return c_noise, label, None
    if not bool((c_noise == c_noise[0]).all()):
        return c_noise, label, None
    if label is None:
        return c_noise[:1], None, torch.zeros(len(c_noise), dtype=torch.int64)
    found, rows = label.unique(return_inverse=True)
    return c_noise[:1].expand(len(found)), found, rows


def _embedder(columns: int, width: int) -> nn.Linear | None:
    """What embeds numbers that are all 0 where there is nothing to tell; None where there are none."""
    if not columns:
        return None
    embedder = nn.Linear(columns, width, bias=False)
    nn.init.xavier_uniform_(embedder.weight)
    return embedder


def per_token(modulation: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
    """A modulation [K, m] for each image's tokens [B, 1, m]."""
    return (modulation if rows is None else modulation[rows]).unsqueeze(1)
