"""Weights for images of another domain: what a transferred network computes, against the network that it came from."""

from __future__ import annotations

import math

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.models import DiT, UNetAdapter
from sadm.models.positions import sincos_positions
from sadm.models.weights.transfer import positions_in, transfer_weights

SHAPE = (1, 8, 8)
KINDS = ("dit", "unet", "unet on squares")


def network(shape=SHAPE, classes: int = 3, seed: int = 0, kind: str = "dit", **options) -> DiT | UNetAdapter:
    torch.manual_seed(seed)
    if kind == "dit":
        net = DiT(shape, 2, 16, 2, 2, num_classes=classes, **options)
    else:
        pytest.importorskip("diffusers")
        net = UNetAdapter.build(
            shape,
            classes,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            patch=2 if kind == "unet on squares" else 1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            **options,
        )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


def moved(source: DiT | UNetAdapter, target: DiT | UNetAdapter, origins=()) -> DiT | UNetAdapter:
    target.load_state_dict(transfer_weights(source, target, origins).weights)
    return target


def draws(shape=SHAPE, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, *shape, generator=generator), torch.linspace(-1, 1, count)


@pytest.mark.parametrize("kind", KINDS)
def test_classes_of_an_old_one_compute_what_that_one_did(kind: str) -> None:
    source = network(kind=kind)
    net = moved(source, network(classes=2, seed=1, kind=kind), [2, None])
    x, noise = draws()
    torch.testing.assert_close(
        net(x, noise, Cond(label=torch.tensor([0, 0, 0]))), source(x, noise, Cond(label=torch.tensor([2, 2, 2])))
    )
    torch.testing.assert_close(net(x, noise, Cond()), source(x, noise, Cond()))


@pytest.mark.parametrize("kind", KINDS)
def test_losing_all_classes_leaves_the_null_class(kind: str) -> None:
    source = network(kind=kind)
    net = moved(source, network(classes=0, seed=1, kind=kind))
    x, noise = draws()
    torch.testing.assert_close(net(x, noise, Cond()), source(x, noise, Cond()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_classes_change_nothing_for_images_without_one(kind: str) -> None:
    source = network(classes=0, kind=kind)
    net = moved(source, network(classes=4, seed=1, kind=kind), [None] * 4)
    x, noise = draws()
    torch.testing.assert_close(net(x, noise, Cond()), source(x, noise, Cond()))
    assert not torch.allclose(net(x, noise, Cond(label=torch.zeros(3, dtype=torch.int64))), source(x, noise, Cond()))


@pytest.mark.parametrize("kind", KINDS)
def test_grey_images_in_colour_become_what_they_became_in_grey(kind: str) -> None:
    source = network(kind=kind)
    net = moved(source, network((3, 8, 8), seed=1, kind=kind), [0, 1, 2])
    x, noise = draws()
    expected = source(x, noise, Cond()).expand(-1, 3, -1, -1)
    torch.testing.assert_close(net(x.expand(-1, 3, -1, -1), noise, Cond()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_colour_models_give_grey_images_their_mean_channel(kind: str) -> None:
    source = network((3, 8, 8), kind=kind)
    net = moved(source, network(seed=1, kind=kind), [0, 1, 2])
    x, noise = draws()
    expected = source(x.expand(-1, 3, -1, -1), noise, Cond()).mean(1, keepdim=True)
    torch.testing.assert_close(net(x, noise, Cond()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("old", "new"), [(6, 1), (2, 3), (6, 3)])
def test_a_learned_variance_goes_along_or_is_left_out(old: int, new: int, kind: str) -> None:
    """The first channels are the image's; their mean, or they themselves, arrive."""
    channels = 3 if old == 6 else 1
    target = (1 if new == 1 else 3, 8, 8)
    source = network((channels, 8, 8), out_channels=old, kind=kind)
    net = moved(source, network(target, seed=1, out_channels=new, kind=kind), [0, 1, 2])
    x, noise = draws()
    wide = source(x.expand(-1, channels, -1, -1), noise, Cond())[:, :channels]
    expected = wide.mean(1, keepdim=True).expand(-1, target[0], -1, -1) if channels != target[0] else wide
    torch.testing.assert_close(net(x.expand(-1, target[0], -1, -1), noise, Cond()), expected, rtol=1e-5, atol=1e-6)


def test_positions_of_more_patches_lie_among_the_old_ones() -> None:
    """A patch that covers a quarter of an old one sits a quarter of a patch beside its middle."""
    source, target = network((1, 8, 8)), network((1, 16, 16), seed=1)
    net = moved(source, target, [0, 1, 2])
    width, row, column = 16, 5, 2
    place = net.pos_embed[0, row * 8 + column]
    for half, coordinate in ((0, (column + 0.5) / 2 - 0.5), (1, (row + 0.5) / 2 - 0.5)):
        for channel in range(width // 4):
            angle = coordinate * 10000.0 ** -(channel / (width // 4))
            assert float(place[half * 8 + channel]) == pytest.approx(math.sin(angle), abs=1e-6)
            assert float(place[half * 8 + 4 + channel]) == pytest.approx(math.cos(angle), abs=1e-6)
    report = transfer_weights(source, target, [0, 1, 2])
    assert "places of 8x8 patches among the old 4x4" in str(report.report)
    assert report.changed == ()


@pytest.mark.parametrize("kept", [torch.float16, torch.bfloat16], ids=str)
def test_positions_that_were_kept_in_half_precision_are_computed_too(kept: torch.dtype) -> None:
    source, target = network((1, 8, 8)), network((1, 16, 16), seed=1)
    source.pos_embed.copy_(source.pos_embed.to(kept))
    expected = sincos_positions(16, (8, 8), over=(4, 4))
    torch.testing.assert_close(moved(source, target, [0, 1, 2]).pos_embed[0], expected, rtol=0, atol=1e-6)
    source.pos_embed.normal_(0, 0.02, generator=torch.Generator().manual_seed(1))
    assert float((moved(source, target, [0, 1, 2]).pos_embed[0] - expected).abs().max()) > 0.5


def test_learned_positions_are_interpolated() -> None:
    """Of a linear ramp, all places inside follow the ramp."""
    ramp = torch.arange(6.0)[:, None].expand(6, 6).reshape(1, 36, 1) * torch.ones(4)
    finer = positions_in(ramp, (6, 6), (12, 12)).reshape(12, 12, 4)
    expected = (torch.arange(12) + 0.5) / 2 - 0.5
    torch.testing.assert_close(finer[3:-3, 3, 0], expected[3:-3], rtol=0, atol=1e-5)


def test_what_has_to_learn_is_named() -> None:
    moved_there = transfer_weights(network(), network((3, 8, 8), seed=1), [0, 1, 2])
    assert moved_there.changed == ("x_embedder.proj", "final_layer.linear")
    assert "mean over 1 channels, for 3" in str(moved_there.report)
    moved_there = transfer_weights(network(kind="unet"), network((3, 8, 8), seed=1, kind="unet"), [0, 1, 2])
    assert moved_there.changed == ("unet.conv_in", "unet.conv_out")


@pytest.mark.parametrize(("there", "here"), [(1, 3), (3, 1)])
def test_channels_pass_through_a_bottleneck_of_patches(there: int, here: int) -> None:
    source = network((there, 8, 8), patch_bottleneck=3)
    target = network((here, 8, 8), seed=1, patch_bottleneck=3)
    assert transfer_weights(source, target, [0, 1, 2]).changed == ("x_embedder.reduce", "final_layer.linear")
    net, (x, noise) = moved(source, target, [0, 1, 2]), draws()
    expected = source(x.expand(-1, there, -1, -1), noise, Cond()).mean(1, keepdim=True).expand(-1, here, -1, -1)
    torch.testing.assert_close(net(x.expand(-1, here, -1, -1), noise, Cond()), expected, rtol=1e-5, atol=1e-6)


def test_a_unet_takes_its_weights_along_to_other_sizes() -> None:
    source = network(kind="unet")
    net = moved(source, network((1, 16, 12), seed=1, kind="unet"), [0, 1, 2])
    x, noise = draws((1, 16, 12))
    assert torch.equal(net(x, noise, Cond()), source(x, noise, Cond()))


def test_new_classes_of_a_unet_start_with_a_small_spread() -> None:
    source, target = network(classes=0, kind="unet"), network(classes=50, seed=1, kind="unet")
    table = transfer_weights(source, target, [None] * 50).weights["unet.class_embedding.weight"]
    assert float(table[:-1].std()) == pytest.approx(0.02, rel=0.1)
    assert not table[-1].any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_images_get_the_same_weights(kind: str) -> None:
    source = network(kind=kind)
    weights = transfer_weights(source, network(seed=1, kind=kind), [0, 1, 2]).weights
    assert all(torch.equal(tensor, weights[name]) for name, tensor in source.state_dict().items())
