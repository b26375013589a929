"""The transformer: names and sizes of the published weights, and every part against a slow or built-in counterpart."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sadm.core.conditions import Cond
from sadm.models import DiT, dit


def draws(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def filled(**options: object) -> DiT:
    """A network without a zero weight, in double precision."""
    net = DiT(**{"shape": (3, 4, 8), "patch": 2, "width": 16, "depth": 2, "heads": 4, **options})  # type: ignore[arg-type]
    for number, parameter in enumerate(net.parameters()):
        parameter.data = 0.3 * draws(number, *parameter.shape)
    return net.double()


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


# ---- names and sizes -------------------------------------------------------------------------------------------------


def test_the_parameters_are_named_as_in_the_published_weights() -> None:
    block = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1"]
    linear = ["x_embedder.proj", "t_embedder.mlp.0", "t_embedder.mlp.2"]
    linear += [f"blocks.{i}.{name}" for i in range(2) for name in block]
    linear += ["final_layer.linear", "final_layer.adaLN_modulation.1"]
    expected = {"pos_embed", "y_embedder.embedding_table.weight"}
    expected |= {f"{name}.{part}" for name in linear for part in ("weight", "bias")}
    assert set(DiT((4, 8, 8), width=16, depth=2, heads=2, num_classes=10).state_dict()) == expected
    assert set(DiT((4, 8, 8), width=16, depth=2, heads=2).state_dict()) == expected - {
        "y_embedder.embedding_table.weight"
    }


def test_the_shapes_are_those_of_the_published_weights() -> None:
    shapes = {
        name: tuple(value.shape) for name, value in DiT((4, 32, 32), depth=1, num_classes=1000).state_dict().items()
    }
    d = 384
    assert shapes["pos_embed"] == (1, 256, d)
    assert shapes["x_embedder.proj.weight"] == (d, 4, 2, 2)
    assert shapes["t_embedder.mlp.0.weight"] == (d, 256)
    assert shapes["y_embedder.embedding_table.weight"] == (1001, d)
    assert shapes["blocks.0.attn.qkv.weight"] == (3 * d, d)
    assert shapes["blocks.0.mlp.fc1.weight"] == (4 * d, d)
    assert shapes["blocks.0.adaLN_modulation.1.weight"] == (6 * d, d)
    assert shapes["final_layer.linear.weight"] == (2 * 2 * 4, d)  # published: twice as many, for the variance
    assert shapes["final_layer.adaLN_modulation.1.weight"] == (2 * d, d)


def test_dit_s_2_has_as_many_parameters_as_published() -> None:
    """33 million in table 4 of the paper, which counts the fixed positions and eight output channels."""
    with torch.device("meta"):
        ours = sum(p.numel() for p in DiT((4, 32, 32), num_classes=1000).parameters())
    d = 384
    block = (3 + 1 + 4 + 4 + 6) * d * d + (3 + 1 + 4 + 1 + 6) * d
    embedders = (4 * 4 + 1) * d + (256 + 1 + d + 1) * d + 1001 * d
    final = (2 * d * d + 2 * d) + (d + 1) * 4 * 4
    assert ours == 12 * block + embedders + final
    published = ours + 256 * d + (d + 1) * 4 * 4
    assert round(published / 1e6) == 33


# ---- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "patch", "height", "width"), [(1, 2, 8, 8), (3, 2, 4, 10), (4, 4, 8, 12), (2, 1, 3, 5)]
)
def test_embedding_patches_equals_a_strided_convolution(channels: int, patch: int, height: int, width: int) -> None:
    embedder = dit.PatchEmbedder(channels, patch, 16).double()
    x = draws(1, 2, channels, height, width)
    expected = F.conv2d(x, embedder.proj.weight, embedder.proj.bias, stride=patch).flatten(2).transpose(1, 2)
    close(embedder(x), expected)


def test_tokens_become_pixels_where_their_patches_were() -> None:
    net = DiT((3, 4, 6), patch=2, width=16, depth=0, heads=2)
    x = draws(2, 2, 3, 4, 6)
    tokens = torch.empty(2, 6, 2 * 2 * 3, dtype=torch.float64)
    for image in range(2):
        for row in range(2):
            for column in range(3):
                patch = x[image, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                # Published layout of a token: pixel rows, pixel columns, channels.
                values = [patch[c, i, j] for i in range(2) for j in range(2) for c in range(3)]
                tokens[image, 3 * row + column] = torch.stack(values)
    assert torch.equal(net._unpatchify(tokens, net.grid), x)


@pytest.mark.parametrize("tokens", [1, 5, 63, 64, 70])
def test_both_attention_kernels_equal_a_loop_over_heads(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = dit.Attention(12, 3).double()
    x = draws(3, 2, tokens, 12)
    q, k, v = attention.qkv(x).split(12, dim=2)
    heads = []
    for h in range(3):
        part = slice(4 * h, 4 * h + 4)
        scores = torch.einsum("bid,bjd->bij", q[..., part], k[..., part]) / math.sqrt(4)
        heads.append(torch.exp(scores) / torch.exp(scores).sum(2, keepdim=True) @ v[..., part])
    expected = attention.proj(torch.cat(heads, dim=2))
    for threshold in (1, 10**9):
        monkeypatch.setattr(dit, "FUSED_ATTENTION_FROM", threshold)
        close(attention(x), expected)


def test_the_kernel_is_chosen_by_the_number_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = []
    real = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *qkv: fused.append(qkv[0].shape[2]) or real(*qkv))
    attention = dit.Attention(8, 2)
    for tokens in (63, 64, 65):
        attention(torch.zeros(1, tokens, 8))
    assert fused == [64, 65]


def test_the_noise_level_embedding_equals_a_loop() -> None:
    embedder = dit.NoiseLevelEmbedder(8, frequencies=6).double()
    seen = []
    embedder.mlp.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    embedder(torch.tensor([0.0, -3.5], dtype=torch.float64))
    for row, t in zip(seen[0].tolist(), (0.0, -3.5), strict=True):
        angles = [t / 10000 ** (i / 3) for i in range(3)]
        assert row == pytest.approx([math.cos(a) for a in angles] + [math.sin(a) for a in angles], abs=1e-6)


def test_a_block_equals_its_formula() -> None:
    block = filled().blocks[0]
    tokens, condition = draws(4, 2, 8, 16), draws(5, 2, 16)
    linear = block.adaLN_modulation[1]
    parts = (condition @ linear.weight.T + linear.bias).reshape(2, 6, 1, 16)
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (parts[:, i] for i in range(6))

    def normed(x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(2, keepdim=True)
        return centred / (centred.square().mean(2, keepdim=True) + 1e-6).sqrt()

    def gelu(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    expected = tokens + gate_a * block.attn(normed(tokens) * (1 + scale_a) + shift_a)
    hidden = gelu((normed(expected) * (1 + scale_m) + shift_m) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
    expected = expected + gate_m * (hidden @ block.mlp.fc2.weight.T + block.mlp.fc2.bias)
    close(block(tokens, condition), expected)


# ---- the whole -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 10), (4, 6, 2)])
@pytest.mark.parametrize("num_classes", [0, 5])
def test_a_new_network_is_the_zero_function(shape: tuple[int, int, int], num_classes: int) -> None:
    net = DiT(shape, patch=2, width=16, depth=2, heads=2, num_classes=num_classes)
    label = torch.tensor([0, 3]) if num_classes else None
    output = net(draws(6, 2, *shape, dtype=torch.float32), torch.tensor([-1.0, 1.0]), Cond(label=label))
    assert torch.equal(output, torch.zeros(2, *shape))
    assert not any(torch.equal(block.attn.qkv.weight, torch.zeros(48, 16)) for block in net.blocks)


def test_a_new_networks_every_block_is_the_identity() -> None:
    net = DiT((1, 8, 8), width=16, depth=2, heads=2)
    tokens = draws(7, 2, 16, 16, dtype=torch.float32)
    for block in net.blocks:
        assert torch.equal(block(tokens, draws(8, 2, 16, dtype=torch.float32)), tokens)


def test_a_new_network_learns_from_its_first_step() -> None:
    net = DiT((1, 4, 4), width=16, depth=1, heads=2)
    net(draws(9, 2, 1, 4, 4, dtype=torch.float32), torch.zeros(2), Cond()).sum().backward()
    assert float(net.final_layer.linear.weight.grad.abs().max()) > 0  # type: ignore[union-attr]


@torch.no_grad()
def test_label_position_and_noise_level_all_matter() -> None:
    net = filled(num_classes=3)
    x, levels = draws(10, 1, 3, 4, 8), torch.zeros(1, dtype=torch.float64)
    base = net(x, levels, Cond(label=torch.tensor([0])))
    assert float((net(x, levels, Cond(label=torch.tensor([1]))) - base).abs().max()) > 1e-2
    assert float((net(x, levels + 1e-3, Cond(label=torch.tensor([0]))) - base).abs().max()) > 1e-2
    swapped = net(x.roll(2, dims=3), levels, Cond(label=torch.tensor([0]))).roll(-2, dims=3)
    assert float((swapped - base).abs().max()) > 1e-2


def test_the_noise_scale_multiplies_the_level() -> None:
    x, levels = draws(10, 2, 3, 4, 8), torch.tensor([0.3, -0.2], dtype=torch.float64)
    close(filled(noise_scale=1000.0)(x, levels, Cond()), filled(noise_scale=10.0)(x, levels * 100, Cond()), 1e-9)


def test_images_of_a_batch_do_not_influence_each_other() -> None:
    net, x = filled(num_classes=3), draws(11, 3, 3, 4, 8)
    levels, label = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64), torch.tensor([0, 1, 2])
    together = net(x, levels, Cond(label=label))
    for i in range(3):
        part = slice(i, i + 1)
        close(net(x[part], levels[part], Cond(label=label[part])), together[part], 1e-11)


def test_no_label_is_the_null_class_which_is_the_last_row() -> None:
    net, x, levels = filled(num_classes=3), draws(12, 2, 3, 4, 8), torch.zeros(2, dtype=torch.float64)
    assert net.null_label == 3
    unknown = net(x, levels, Cond())
    assert torch.equal(unknown, net(x, levels, Cond(label=torch.tensor([3, 3]))))
    with torch.no_grad():
        net.y_embedder.embedding_table.weight[3] += 1  # type: ignore[union-attr]
    assert not torch.allclose(net(x, levels, Cond()), unknown)
    assert filled().null_label is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (1, 9, 8)}, "image of 9x8 pixels can't be cut into patches of 2x2"),
        ({"shape": (1, 8, 8), "patch": 3}, "image of 8x8 pixels can't be cut into patches of 3x3"),
        ({"shape": (1, 8, 6), "patch": 4}, "image of 8x6 pixels"),
        ({"shape": (1, 8, 8), "width": 20, "heads": 3}, r"width 20 must be divisible by heads \(3\) and by 4"),
        ({"shape": (1, 8, 8), "width": 18, "heads": 3}, "width 18 must be divisible"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiT(**options)


def test_an_image_of_another_size_is_refused() -> None:
    net = DiT((1, 8, 8), width=16, depth=1, heads=2)
    for shape in [
        (1, 4, 16),
        (1, 2, 2),
        (1, 16, 16),
        (2, 8, 8),
    ]:  # the first has as many patches, the second broadcasts
        with pytest.raises(ValueError, match=r"expects images \[B, 1, 8, 8\], got \(2, "):
            net(torch.zeros(2, *shape), torch.zeros(2), Cond())


def test_a_network_for_any_shape_is_the_plain_one_at_each_shape() -> None:
    options = {"patch": 2, "width": 16, "depth": 2, "heads": 2, "num_classes": 3}
    net = DiT((3, 8, 8), any_shape=True, **options)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))
    for shape in [(3, 8, 8), (3, 4, 16), (3, 12, 6), (3, 2, 2), (3, 4, 16)]:
        plain = DiT(shape, **options)
        weights = {name: tensor for name, tensor in net.state_dict().items() if name != "pos_embed"}
        plain.load_state_dict({**weights, "pos_embed": plain.pos_embed})
        x, c_noise, cond = draws(0, 2, *shape).float(), torch.tensor([0.1, -0.3]), Cond(label=torch.tensor([2, 0]))
        assert torch.equal(net(x, c_noise, cond), plain(x, c_noise, cond))


def test_a_network_for_any_shape_still_refuses_what_it_cannot_cut() -> None:
    net = DiT((1, 8, 8), width=16, depth=1, heads=2, any_shape=True)
    for shape in [(1, 7, 8), (3, 8, 8), (8, 8)]:
        with pytest.raises(ValueError, match=r"expects images \[B, 1, H, W\], both divisible by 2, got \(2, "):
            net(torch.zeros(2, *shape), torch.zeros(2), Cond())
    for option in ({"rope": True}, {"registers": 2}):
        with pytest.raises(ValueError, match="any_shape needs added positions and no registers"):
            DiT((1, 8, 8), width=16, depth=1, heads=2, any_shape=True, **option)


@pytest.mark.parametrize("label", [None, torch.tensor([2, 0, 2, 3, 0])])
def test_conditions_that_images_share_change_nothing(label: torch.Tensor | None) -> None:
    net = filled(num_classes=0 if label is None else 3)
    x, level, cond = draws(90, 5, 3, 4, 8), torch.full((5,), -0.3, dtype=torch.float64), Cond(label=label)
    together = net(x, level, cond).detach()  # with gradients, every image has its own row
    with torch.no_grad():
        torch.testing.assert_close(net(x, level, cond), together, rtol=1e-12, atol=1e-12)
        found, labels, rows = dit.distinct_conditions(level, label)
        assert len(found) == (1 if label is None else 3)
        assert rows is not None
        assert label is None or torch.equal(labels[rows], label)  # type: ignore[index]
        assert dit.distinct_conditions(torch.randn(5), label)[2] is None


# ---- augmentation ----------------------------------------------------------------------------------------------------


def test_the_first_weights_are_those_of_a_network_without_augmentation() -> None:
    nets = []
    for dims in (0, 3):
        torch.manual_seed(0)
        nets.append(DiT((3, 4, 8), width=16, depth=1, heads=2, num_classes=3, registers=1, augment_dims=dims))
    without, with_it = (net.state_dict() for net in nets)
    table = with_it.pop(dit.AUGMENT_TABLE)
    assert table.shape == (16, 3)
    assert 0.5 < float(table.abs().max()) < (6 / 19) ** 0.5
    assert without.keys() == with_it.keys()
    assert all(torch.equal(with_it[name], without[name]) for name in without)


def test_augmentation_is_added_to_the_condition_and_none_of_it_is_zero() -> None:
    net, x = filled(num_classes=3, augment_dims=2), draws(91, 2, 3, 4, 8)
    levels, label = torch.tensor([-0.3, 0.2], dtype=torch.float64), torch.tensor([2, 0])
    augment = torch.tensor([[0.5, -1.0], [0.0, 0.0]])
    seen = []
    net.blocks[0].adaLN_modulation[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    told, untold = net(x, levels, Cond(label=label, augment=augment)), net(x, levels, Cond(label=label))
    condition = net.t_embedder(1000 * levels) + net.y_embedder.embedding_table.weight[label]  # type: ignore[union-attr]
    close(seen[0], F.silu(condition + augment.double() @ net.augment_embedder.weight.T))  # type: ignore[union-attr]
    assert float((told[0] - untold[0]).detach().abs().max()) > 1e-2
    close(told[1], untold[1])
    close(net(x, levels, Cond(label=label, augment=torch.zeros(2, 2))), untold)


def test_rows_of_other_augmentation_are_other_conditions() -> None:
    """With one noise level and one class for all, as samplers ask, and without gradients."""
    net, x = filled(num_classes=3, augment_dims=2), draws(92, 4, 3, 4, 8)
    level, label = torch.full((4,), -0.3, dtype=torch.float64), torch.full((4,), 1)
    augment = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 2.0]])
    with torch.no_grad():
        together = net(x, level, Cond(label=label, augment=augment))
        for i in range(4):
            part = slice(i, i + 1)
            close(net(x[part], level[part], Cond(label=label[part], augment=augment[part])), together[part], 1e-11)
        assert dit.distinct_conditions(level, label)[2] is not None


def test_the_embedding_of_augmentation_learns() -> None:
    net = filled(augment_dims=2)
    with torch.no_grad():
        net.augment_embedder.weight.zero_()  # type: ignore[union-attr]
    x, level = draws(93, 2, 3, 4, 8), torch.zeros(2, dtype=torch.float64)
    net(x, level, Cond(augment=torch.tensor([[1.0, 0.0], [0.0, 0.0]]))).square().sum().backward()
    gradient = net.augment_embedder.weight.grad  # type: ignore[union-attr]
    assert float(gradient[:, 0].abs().max()) > 0
    assert torch.equal(gradient[:, 1], torch.zeros_like(gradient[:, 1]))  # of a column that was zero in all images


@pytest.mark.parametrize(
    ("dims", "augment", "message"),
    [
        (0, torch.zeros(2, 1), r"can't be told of augmentation \(augment_dims=0\), and would draw it; got \[2, 1\]"),
        (3, torch.zeros(2, 2), r"expects augmentation \[B, 3\] \(augment_dims\), got \[2, 2\]"),
        (3, torch.zeros(3), r"expects augmentation \[B, 3\] \(augment_dims\), got \[3\]"),
    ],
)
def test_augmentation_of_other_columns_is_refused(dims: int, augment: torch.Tensor, message: str) -> None:
    net = DiT((1, 4, 4), width=16, depth=1, heads=2, augment_dims=dims)
    with pytest.raises(ValueError, match=message):
        net(torch.zeros(2, 1, 4, 4), torch.zeros(2), Cond(augment=augment))


# ---- output channels and frequencies ---------------------------------------------------------------------------------


def test_more_output_channels_than_input_channels() -> None:
    net = filled(out_channels=5)
    tokens = draws(20, 2, 8, 2 * 2 * 5)
    image = net._unpatchify(tokens, net.grid)
    assert image.shape == (2, 5, 4, 8)
    for token, (row, column) in enumerate((r, c) for r in range(2) for c in range(4)):
        patch = image[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert torch.equal(patch.permute(0, 2, 3, 1).flatten(1), tokens[:, token])
    assert net(draws(21, 2, 3, 4, 8), torch.zeros(2, dtype=torch.float64), Cond()).shape == (2, 5, 4, 8)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_frequency_shift_reaches_the_slowest_frequency(shift: float) -> None:
    found = DiT((1, 4, 4), width=16, depth=1, heads=2, frequency_shift=shift).t_embedder.frequencies
    expected = [10000 ** -(i / (128 - shift)) for i in range(128)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert (float(found[-1]) == pytest.approx(1e-4, rel=1e-5)) == (shift == 1)
