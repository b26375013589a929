"""Options that published transformers don't have: each against a loop, all together, and none of them without a trace."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from sadm.core.conditions import Cond
from sadm.models import DiT, dit
from sadm.models.modern import HeadNorm, Rope2d, SwiGlu

ALL: dict[str, Any] = {"qk_norm": True, "rope": True, "swiglu": True, "registers": 3, "patch_bottleneck": 5}
COMBINATIONS = [
    {name: ALL[name] for name in names} for count in range(6) for names in itertools.combinations(ALL, count)
]


def draws(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def filled(**options: Any) -> DiT:
    """A network of 2 x 4 patches without a zero weight, in double precision."""
    net = DiT(**{"shape": (3, 4, 8), "patch": 2, "width": 16, "depth": 2, "heads": 4, "num_classes": 3, **options})
    for number, parameter in enumerate(net.parameters()):
        parameter.data = 0.3 * draws(number, *parameter.shape)
    return net.double()


def inputs(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor, Cond]:
    label = torch.arange(batch) % 4
    return draws(50, batch, 3, 4, 8), torch.linspace(-1, 1, batch, dtype=torch.float64), Cond(label=label)


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def normed(values: list[float], scale: list[float]) -> list[float]:
    root = math.sqrt(sum(v * v for v in values) / len(values) + 1e-6)
    return [v / root * s for v, s in zip(values, scale, strict=True)]


def turned(values: list[float], row: int, column: int) -> list[float]:
    """One head's channels at a place, pair by pair as complex numbers."""
    quarter, result = len(values) // 4, list(values)
    for start, coordinate in ((0, row), (2 * quarter, column)):
        for i in range(quarter):
            angle = coordinate / 10000 ** (i / quarter)
            number = complex(values[start + i], values[start + quarter + i])
            number *= complex(math.cos(angle), math.sin(angle))
            result[start + i], result[start + quarter + i] = number.real, number.imag
    return result


# ---- parts -----------------------------------------------------------------------------------------------------------


def test_the_norm_equals_a_loop_and_the_built_in_one() -> None:
    norm = HeadNorm(8).double()
    norm.weight.data = draws(1, 8)
    x = draws(2, 2, 3, 5, 8)
    found = norm(x)
    close(found, F.rms_norm(x, (8,), norm.weight, 1e-6))
    for index in itertools.product(range(2), range(3), range(5)):
        assert found[index].tolist() == pytest.approx(normed(x[index].tolist(), norm.weight.tolist()), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_norm_is_computed_in_single_precision(dtype: torch.dtype) -> None:
    norm, x = HeadNorm(16), (300 * draws(3, 4, 16)).to(dtype)  # squares beyond the range of float16
    found = norm(x)
    assert found.dtype == torch.float32
    close(found, F.rms_norm(x.float(), (16,), norm.weight, 1e-6), 1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(norm(x), found)


@pytest.mark.parametrize(("width", "grid", "registers"), [(4, (2, 3), 0), (8, (3, 2), 2), (12, (1, 5), 1)])
def test_turning_equals_a_loop_and_leaves_registers_alone(width: int, grid: tuple[int, int], registers: int) -> None:
    rope = Rope2d(width, grid, registers).double()
    assert not rope.state_dict()
    x = draws(4, 2, grid[0] * grid[1] + registers, width)
    found = rope(x)
    for image, row, column in itertools.product(range(2), range(grid[0]), range(grid[1])):
        token = row * grid[1] + column
        expected = turned(x[image, token].tolist(), row, column)
        assert found[image, token].tolist() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(found[:, grid[0] * grid[1] :], x[:, grid[0] * grid[1] :])
    close(found.norm(dim=-1), x.norm(dim=-1), 1e-6)


def test_scores_depend_on_offsets_alone() -> None:
    """One query and one key at every place: pairs of the same offset have the same score, others have not."""
    rows, columns = 4, 5
    rope = Rope2d(8, (rows, columns)).double()
    query, key = (rope(draws(seed, 8).expand(rows * columns, 8)) for seed in (5, 6))
    scores = (query @ key.T).reshape(rows, columns, rows, columns)
    by_offset: dict[tuple[int, int], list[float]] = {}
    for r, c, r2, c2 in itertools.product(range(rows), range(columns), range(rows), range(columns)):
        by_offset.setdefault((r2 - r, c2 - c), []).append(float(scores[r, c, r2, c2]))
    assert all(max(same) - min(same) < 1e-5 for same in by_offset.values())
    means = sorted(sum(same) / len(same) for same in by_offset.values())
    assert min(b - a for a, b in itertools.pairwise(means)) > 1e-4


def test_the_gated_mlp_equals_a_loop() -> None:
    mlp = SwiGlu(3, 12).double()
    x = draws(7, 2, 4, 3)

    def linear(layer: torch.nn.Linear, values: list[float]) -> list[float]:
        rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        return [sum(w * v for w, v in zip(row, values, strict=True)) + bias for row, bias in rows]

    for image, token in itertools.product(range(2), range(4)):
        values = x[image, token].tolist()
        gate, value = linear(mlp.w1, values), linear(mlp.w2, values)
        hidden = [g / (1 + math.exp(-g)) * v for g, v in zip(gate, value, strict=True)]
        assert mlp(x)[image, token].tolist() == pytest.approx(linear(mlp.w3, hidden), abs=1e-12)


@pytest.mark.parametrize(("plain", "hidden"), [(12, 8), (13, 16), (64, 48), (96, 64), (1536, 1024), (4608, 3072)])
def test_the_gated_mlp_has_the_parameters_of_the_plain_one(plain: int, hidden: int) -> None:
    gated = SwiGlu(64, plain)
    assert gated.w1.out_features == gated.w2.out_features == gated.w3.in_features == hidden
    matrices = sum(p.numel() for p in gated.parameters() if p.ndim == 2)
    assert 0 <= matrices - 2 * 64 * plain < 3 * 64 * 8


@pytest.mark.parametrize("bottleneck", [0, 3])
def test_patches_equal_strided_convolutions(bottleneck: int) -> None:
    embedder = dit.PatchEmbedder(2, 4, 8, bottleneck).double()
    x = draws(15, 3, 2, 8, 12)
    reduced = x if embedder.reduce is None else F.conv2d(x, embedder.reduce.weight, stride=4)  # [3, bottleneck, 2, 3]
    expected = F.conv2d(reduced, embedder.proj.weight, embedder.proj.bias, stride=1 if bottleneck else 4)
    close(embedder(x), expected.flatten(2).transpose(1, 2))


def test_a_bottleneck_tells_patches_apart_by_so_many_directions() -> None:
    tokens = dit.PatchEmbedder(1, 7, 16, 3).double()(draws(16, 40, 1, 7, 7))[:, 0]  # [40, 16]
    assert int(torch.linalg.matrix_rank(tokens - tokens.mean(0))) == 3


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("registers", [None, 0, 2])
def test_both_attention_kernels_equal_a_loop(
    qk_norm: bool, registers: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads, width, rows, columns = 2, 16, 2, 3
    rope = None if registers is None else Rope2d(8, (rows, columns), registers)
    attention = dit.Attention(width, heads, qk_norm, rope).double()
    if qk_norm:
        attention.q_norm.weight.data, attention.k_norm.weight.data = draws(8, 8), draws(9, 8)
    tokens = rows * columns + (registers or 0)
    x = draws(10, 2, tokens, width)

    def prepared(values: torch.Tensor, norm: HeadNorm | None, token: int) -> list[float]:
        result = values.tolist() if norm is None else normed(values.tolist(), norm.weight.tolist())
        patch = rope is not None and token < rows * columns
        return turned(result, token // columns, token % columns) if patch else result

    mixed = torch.zeros(2, tokens, width, dtype=torch.float64)
    for image, head in itertools.product(range(2), range(heads)):
        part = slice(8 * head, 8 * head + 8)
        q, k, v = (values[:, part] for values in attention.qkv(x[image]).split(width, dim=1))
        q = torch.tensor([prepared(q[i], attention.q_norm, i) for i in range(tokens)], dtype=torch.float64)
        k = torch.tensor([prepared(k[i], attention.k_norm, i) for i in range(tokens)], dtype=torch.float64)
        mixed[image, :, part] = torch.softmax(q @ k.T / math.sqrt(8), dim=1) @ v
    expected = attention.proj(mixed)
    for threshold in (1, 10**9):
        monkeypatch.setattr(dit, "FUSED_ATTENTION_FROM", threshold)
        close(attention(x), expected, 1e-12 if rope is None else 1e-6)


def test_registers_count_in_the_choice_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = []
    real = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *qkv: fused.append(qkv[0].shape[2]) or real(*qkv))
    for registers in (0, 1):
        net = DiT((1, 18, 14), width=16, depth=1, heads=2, **{**ALL, "registers": registers})  # 63 patches
        net(torch.zeros(1, 1, 18, 14), torch.zeros(1), Cond())
    assert fused == [64]


# ---- names and refusals ----------------------------------------------------------------------------------------------


def test_each_option_changes_the_names_of_its_own_weights_alone() -> None:
    plain = set(filled().state_dict())
    assert set(filled(**dict.fromkeys(ALL, 0)).state_dict()) == plain
    norms = {f"blocks.{i}.attn.{name}_norm.weight" for i in range(2) for name in "qk"}
    assert set(filled(qk_norm=True).state_dict()) == plain | norms
    assert set(filled(rope=True).state_dict()) == plain - {"pos_embed"}
    assert set(filled(registers=2).state_dict()) == plain | {"register_tokens"}
    assert set(filled(patch_bottleneck=2).state_dict()) == plain | {"x_embedder.reduce.weight"}
    old, new = (
        {f"blocks.{i}.mlp.{name}.{part}" for i in range(2) for name in names for part in ("weight", "bias")}
        for names in (("fc1", "fc2"), ("w1", "w2", "w3"))
    )
    assert set(filled(swiglu=True).state_dict()) == plain - old | new


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rope": True, "width": 24, "heads": 4}, r"rope .* \(width / heads\) must be divisible by 4, got 6"),
        ({"registers": -1}, "registers must be at least 0, got -1"),
        ({"patch_bottleneck": -1}, "patch_bottleneck must be at least 0, got -1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiT(**{"shape": (1, 8, 8), "width": 16, "heads": 4, **options})


# ---- the whole -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda options: " ".join(options) or "none")
def test_every_combination_learns_and_its_gradient_reaches_every_parameter(options: dict) -> None:
    fresh = DiT((3, 4, 8), width=16, depth=2, heads=4, num_classes=3, **options)
    x, levels, cond = inputs()
    assert torch.equal(fresh(x.float(), levels.float(), cond), torch.zeros(3, 3, 4, 8))
    net = filled(**options)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)

    def loss() -> torch.Tensor:
        return (net(x, levels, cond) - x).square().mean()

    before = loss()
    before.backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name
    optimiser.step()
    with torch.no_grad():
        assert float(loss()) < float(before.detach())


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda options: " ".join(options) or "none")
def test_conditions_that_images_share_change_nothing(options: dict) -> None:
    net, (x, _, cond) = filled(**options), inputs(5)
    level = torch.full((5,), -0.3, dtype=torch.float64)
    together = net(x, level, cond).detach()  # with gradients, every image has its own row
    with torch.no_grad():
        close(net(x, level, cond), together, 1e-9)


@torch.no_grad()
def test_places_matter_with_rotary_positions_alone() -> None:
    net, (x, levels, cond) = filled(rope=True), inputs()
    base = net(x, levels, cond)
    assert net.pos_embed is None
    for axis in (2, 3):
        swapped = net(x.roll(2, dims=axis), levels, cond).roll(-2, dims=axis)
        assert float((swapped - base).abs().max()) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("rope", [False, True])
def test_registers_take_part_and_have_no_order(rope: bool) -> None:
    net, (x, levels, cond) = filled(rope=rope, registers=3), inputs()
    base = net(x, levels, cond)
    net.register_tokens.data = net.register_tokens.data[:, [2, 0, 1]]
    close(net(x, levels, cond), base, 1e-9)
    net.register_tokens.data *= -1
    assert float((net(x, levels, cond) - base).abs().max()) > 1e-3


def test_registers_are_dropped_from_hidden_activations_alone() -> None:
    net = filled(registers=3)  # 8 patches
    hidden = draws(11, 2, 11, 16)
    assert torch.equal(net.without_registers(hidden), hidden[:, :8])
    for other in (draws(12, 2, 8, 16), draws(13, 2, 11), draws(14, 2, 4, 11, 4)):
        assert net.without_registers(other) is other
    assert filled().without_registers(hidden) is hidden


@pytest.mark.parametrize("options", [{}, {"rope": True}, ALL], ids=["plain", "rope", "all"])
def test_the_sum_over_blocks_stays_in_single_precision_under_autocast(options: dict) -> None:
    net, (x, levels, cond) = filled(**options).float(), inputs()
    seen = []
    net.blocks[-1].register_forward_hook(lambda module, arguments, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        output = net(x.float(), levels.float(), cond)
    assert seen == [torch.float32]
    exact = net(x.float(), levels.float(), cond).detach()
    assert float((output.detach().float() - exact).norm() / exact.norm()) < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_options_keep_the_dtype(dtype: torch.dtype) -> None:
    x, levels, cond = inputs()
    assert filled(**ALL).to(dtype)(x.to(dtype), levels.to(dtype), cond).dtype == dtype


def test_second_derivatives_with_all_options() -> None:
    net, (x, levels, cond) = filled(**ALL, twice_differentiable=True), inputs(2)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(net(x, levels, cond).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0
