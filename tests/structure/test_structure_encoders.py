"""The encoders of this package: shapes, what local outputs are, independence of images, a reference for the transformer."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from structure_oracles import images
from torch import nn

from sadm.structure import ConvEncoder, StructureError, ViTEncoder, cosine_relations, parts_gap

ENCODERS = {
    "conv": lambda **options: ConvEncoder(2, width=8, stages=2, embedding=6, **options),
    "conv, stride 2": lambda **options: ConvEncoder(2, width=8, stages=2, embedding=6, stride=2, **options),
    "vit": lambda **options: ViTEncoder(2, width=8, depth=2, heads=2, embedding=6, grid=4, **options),
    "vit, learned": lambda **options: ViTEncoder(
        2, width=8, depth=2, heads=2, embedding=6, grid=4, positions="learned", **options
    ),
}
EACH = pytest.mark.parametrize("kind", list(ENCODERS))


def built(kind: str, seed: int = 0, **options: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ENCODERS[kind](**options)


@EACH
@pytest.mark.parametrize("size", [(8, 8), (16, 16), (12, 20), (4, 28)])
def test_images_of_any_size_give_an_embedding(kind: str, size: tuple[int, int]) -> None:
    embedding = built(kind)(images(1, 3, 2, *size)).detach()
    assert embedding.shape == (3, 6)
    assert embedding.isfinite().all()
    assert float(embedding.std(dim=0).min()) > 1e-6  # images are told apart


@EACH
def test_images_do_not_see_each_other(kind: str) -> None:
    encoder = built(kind, outputs="stages").double()
    x = images(2, 4, 2, 16, 16, dtype=torch.float64)
    together, alone = encoder(x), [encoder(image[None]) for image in x]
    for number, part in enumerate(together):
        torch.testing.assert_close(part, torch.cat([parts[number] for parts in alone]), rtol=0, atol=1e-13)


@EACH
def test_stages_add_local_parts_to_the_same_embedding(kind: str) -> None:
    x = images(3, 4, 2, 16, 16)
    *local, embedding = (part.detach() for part in built(kind, outputs="stages")(x))
    assert torch.equal(embedding, built(kind)(x))
    assert len(local) == 2  # stages or blocks
    places = 4 if kind.startswith("conv") else 16
    lengths = (8, 16) if kind.startswith("conv") else (8, 8)
    assert [tuple(part.shape) for part in local] == [(4, places, length) for length in lengths]
    assert float(parts_gap((*local, embedding), (*local, embedding), cosine_relations)) == 0


@EACH
def test_the_gap_reaches_every_parameter(kind: str) -> None:
    encoder = built(kind, outputs="stages")
    gap = parts_gap(encoder(images(4, 4, 2, 16, 16)), encoder(images(5, 4, 2, 16, 16)), cosine_relations)
    for name, gradient in zip(
        dict(encoder.named_parameters()), torch.autograd.grad(gap, list(encoder.parameters())), strict=True
    ):
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


@EACH
def test_a_gradient_penalty_can_be_differentiated(kind: str) -> None:
    encoder = built(kind).double()
    x = images(6, 2, 2, 8, 8, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(encoder(x).square().sum(), x, create_graph=True)
    penalty = gradient.square().sum()
    parameter = next(encoder.parameters())
    (slope,) = torch.autograd.grad(penalty, parameter)
    step = 1e-6
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            parameter[0, 0, 0, 0] += sign * step
        (shifted,) = torch.autograd.grad(encoder(x).square().sum(), x)
        values.append(float(shifted.square().sum()))
        with torch.no_grad():
            parameter[0, 0, 0, 0] -= sign * step
    assert float(slope[0, 0, 0, 0]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


@EACH
@pytest.mark.parametrize("shape", [(3, 3, 8, 8), (3, 2, 8), (2, 8, 8), (3, 8, 8, 2)])
def test_images_of_another_shape_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(StructureError, match=r"expects \[B, 2, H, W\].*got \(\d"):
        built(kind)(torch.zeros(shape))


@EACH
def test_unknown_outputs_are_refused(kind: str) -> None:
    with pytest.raises(StructureError, match=r"unknown outputs 'patches'; expected one of embedding, stages"):
        built(kind, outputs="patches")


def test_places_of_the_conv_encoder_are_the_finest_pyramid_grid_in_reading_order() -> None:
    encoder = ConvEncoder(1, width=4, stages=2, pyramid=(1, 3), embedding=5, outputs="stages")
    x = images(7, 2, 1, 12, 12)
    first, second, _ = encoder(x)
    for part, layers, channels in ((first, 6, 4), (second, 12, 8)):
        features = encoder.trunk[:layers](x)  # [2, C', 12, 12], then [2, C', 6, 6]
        assert part.shape == (2, 9, channels)
        cell = features.shape[2] // 3
        for row in range(3):
            for column in range(3):
                patch = features[:, :, row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
                torch.testing.assert_close(part[:, 3 * row + column], patch.mean((2, 3)), rtol=0, atol=1e-6)


def test_the_stride_of_the_conv_encoder_only_thins_out_its_first_convolution() -> None:
    dense, thin = built("conv"), built("conv, stride 2")
    assert thin.state_dict().keys() == dense.state_dict().keys()
    x = images(8, 2, 2, 16, 16)
    torch.testing.assert_close(thin.trunk[0](x), dense.trunk[0](x)[:, :, ::2, ::2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("option", ["channels", "width", "stages", "embedding", "stride"])
def test_the_conv_encoder_refuses_sizes_below_one(option: str) -> None:
    with pytest.raises(StructureError, match="must be at least 1"):
        ConvEncoder(**{"channels": 1, option: 0})


def sincos_of(width: int, grid: int, rows: int, columns: int) -> torch.Tensor:
    """Positions [1, rows * columns, width], one number at a time."""
    quarter = width // 4
    table = torch.zeros(rows * columns, width, dtype=torch.float64)
    for row in range(rows):
        for column in range(columns):
            for half, place in enumerate(((row + 0.5) * grid / rows, (column + 0.5) * grid / columns)):
                for k in range(quarter):
                    angle = place / 10000 ** (k / quarter)
                    table[row * columns + column, half * 2 * quarter + k] = math.sin(angle)
                    table[row * columns + column, half * 2 * quarter + quarter + k] = math.cos(angle)
    return table[None]


def reference(encoder: ViTEncoder, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The same weights in torch's own pre-norm transformer layers."""
    patch, width = encoder.patch, encoder.width
    patches = F.unfold(x, patch, stride=patch).mT  # [B, P, C patch patch]
    tokens = F.linear(patches, encoder.embed.weight.flatten(1), encoder.embed.bias) + positions
    for block in encoder.blocks:
        layer = nn.TransformerEncoderLayer(
            width, block.heads, block.mlp[0].out_features, 0.0, "gelu", batch_first=True, norm_first=True
        ).to(x.dtype)
        names = {"norm1": block.norm1, "norm2": block.norm2, "linear1": block.mlp[0], "linear2": block.mlp[2]}
        state = {f"{name}.{key}": value for name, module in names.items() for key, value in module.state_dict().items()}
        state |= {f"self_attn.in_proj_{key}": value for key, value in block.qkv.state_dict().items()}
        state |= {f"self_attn.out_proj.{key}": value for key, value in block.proj.state_dict().items()}
        layer.load_state_dict(state)
        tokens = layer(tokens)
    pooled = F.layer_norm(tokens, (width,), encoder.norm.weight, encoder.norm.bias).mean(1)
    return F.silu(F.linear(pooled, encoder.project.weight, encoder.project.bias))


@pytest.mark.parametrize("size", [(16, 16), (8, 24)])
@pytest.mark.parametrize("positions", ["sincos", "learned"])
def test_the_transformer_equals_torchs_own_layers(size: tuple[int, int], positions: str) -> None:
    encoder = built("vit" if positions == "sincos" else "vit, learned").double()
    with torch.no_grad():
        for parameter in encoder.parameters():  # norms and biases too, which start at 1 and 0
            parameter.add_(0.3 * images(parameter.numel(), *parameter.shape, dtype=torch.float64))
    x = images(9, 3, 2, *size, dtype=torch.float64)
    rows, columns = size[0] // 4, size[1] // 4
    if positions == "sincos":
        table = sincos_of(8, 4, rows, columns)
    else:
        table = F.interpolate(encoder.table, (rows, columns), mode="bilinear").flatten(2).mT.detach()
    tolerance = 1e-12 if positions == "learned" else 1e-6  # sines are taken in float32
    torch.testing.assert_close(encoder(x), reference(encoder, x, table), rtol=0, atol=tolerance)


def test_the_transformer_tells_apart_where_things_are() -> None:
    for kind in ("vit", "vit, learned"):
        encoder = built(kind).double()
        x = images(10, 1, 2, 16, 16, dtype=torch.float64)
        moved = x.roll((4, 0), dims=(2, 3))  # the same patches in other places
        assert float((encoder(moved) - encoder(x)).detach().abs().max()) > 1e-5


def test_interpolated_positions_agree_at_shared_places() -> None:
    """The centre of a patch of an image of 2 x 2 patches is the corner of four patches of one of 4 x 4."""
    encoder = built("vit, learned")
    fine, coarse = encoder._positions(4, 4), encoder._positions(2, 2)
    torch.testing.assert_close(coarse, F.avg_pool2d(fine, 2), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "heads": 4}, r"width 10 must be divisible by heads \(4\)"),
        ({"width": 6, "heads": 2}, r"width 6 must be divisible by heads \(2\), and by 4 for sincos"),
        ({"positions": "rotary"}, r"unknown positions 'rotary'; expected one of sincos, learned"),
        ({"depth": 0}, r"must be at least 1"),
        ({"mlp_ratio": 0.0}, r"mlp_ratio above 0"),
    ],
)
def test_the_transformer_refuses_sizes_that_do_not_fit(options: dict[str, object], message: str) -> None:
    with pytest.raises(StructureError, match=message):
        ViTEncoder(1, **options)


def test_the_transformer_refuses_images_that_do_not_divide_into_patches() -> None:
    with pytest.raises(StructureError, match=r"divisible by its patch 4, got \(1, 2, 8, 10\)"):
        built("vit")(torch.zeros(1, 2, 8, 10))
    assert ViTEncoder(1, width=6, heads=2, positions="learned")(torch.zeros(1, 1, 8, 8)).shape == (1, 64)
