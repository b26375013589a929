"""Networks of other signatures behind ours."""

from __future__ import annotations

import sys

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.diffusion import EDMDenoiser
from sadm.models.adapters import ModuleAdapter, UNetAdapter, channels_to_squares, squares_to_channels
from sadm.signals.taps import Taps

SIZES = {
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
}


def unet(num_classes: int = 0, **options: object) -> UNetAdapter:
    pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return UNetAdapter.build((3, 8, 12), num_classes, **{**SIZES, **options}).eval()  # type: ignore[arg-type]


X = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(1))
LEVELS = torch.tensor([0.25, -0.5])


@torch.no_grad()
@pytest.mark.parametrize("time_scale", [1.0, 1000.0])
def test_a_unet_gets_its_timestep_and_labels(time_scale: float) -> None:
    net = unet(3, time_scale=time_scale)
    label = torch.tensor([2, 0])
    expected = net.unet(X, LEVELS * time_scale, class_labels=label).sample
    assert torch.equal(net(X, LEVELS, Cond(label=label)), expected)
    assert not torch.allclose(net(X, LEVELS * 1.01, Cond(label=label)), expected)


@torch.no_grad()
def test_no_label_is_the_null_class_which_is_the_last_row() -> None:
    net = unet(3)
    assert net.null_label == 3
    assert net.unet.class_embedding.weight.shape[0] == 4
    expected = net.unet(X, LEVELS * 1000, class_labels=torch.tensor([3, 3])).sample
    assert torch.equal(net(X, LEVELS, Cond()), expected)
    assert not torch.allclose(net(X, LEVELS, Cond(label=torch.tensor([0, 0]))), expected)


@torch.no_grad()
def test_a_unet_without_classes() -> None:
    net = unet()
    assert net.null_label is None
    expected = net.unet(X, LEVELS * 1000).sample
    assert torch.equal(net(X, LEVELS, Cond()), expected)
    assert torch.equal(net(X, LEVELS, Cond(label=torch.tensor([0, 1]))), expected)


def test_a_signal_finds_the_parts_of_a_unet() -> None:
    denoiser = EDMDenoiser(unet(2))
    taps = Taps(denoiser.net, ["unet.mid_block", "unet.down_blocks.0.resnets.0"])
    with taps.recording() as activations:
        denoiser(X, LEVELS.exp(), Cond()).square().sum().backward()
    assert activations["unet.mid_block"].shape == (2, 16, 4, 6)
    assert activations["unet.down_blocks.0.resnets.0"].shape == (2, 8, 8, 12)
    assert activations["unet.mid_block"].requires_grad
    with pytest.raises(UserError, match=r"no module 'unet.mid_blok'; did you mean 'unet.mid_block'"):
        Taps(denoiser.net, ["unet.mid_blok"])


def test_unets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match=r"time_embedding_type='fourier', .* expected 'positional'"):
        unet(time_embedding_type="fourier")
    with pytest.raises(UserError, match="class_embed_type='timestep'; expected None"):
        unet(class_embed_type="timestep")
    with pytest.raises(UserError, match="2 levels needs images whose sides are divisible by 2; got 8x7"):
        UNetAdapter.build((3, 8, 7), **SIZES)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="2 levels on squares of 2x2 pixels needs .* divisible by 4; got 8x6"):
        UNetAdapter.build((3, 8, 6), patch=2, **SIZES)  # type: ignore[arg-type]


@pytest.mark.parametrize("side", [1, 2, 4])
def test_squares_are_those_of_torch_with_the_channels_innermost(side: int) -> None:
    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(2))
    theirs = torch.nn.functional.pixel_unshuffle(x, side).unflatten(1, (3, -1)).transpose(1, 2).flatten(1, 2)
    ours = squares_to_channels(x, side)
    assert torch.equal(ours, theirs)
    assert torch.equal(channels_to_squares(ours, side), x)


@torch.no_grad()
def test_a_unet_on_squares_computes_on_a_quarter_of_the_places() -> None:
    net = unet(3, patch=2)
    assert (net.unet.config.in_channels, tuple(net.unet.config.sample_size)) == (12, (4, 6))  # type: ignore[union-attr]
    label = torch.tensor([2, 0])
    rows = [X[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    predicted = net.unet(torch.cat(rows, 1), LEVELS * 1000, class_labels=label).sample
    found = net(X, LEVELS, Cond(label=label))
    for place, own in enumerate(predicted.chunk(4, 1)):
        assert torch.equal(found[:, :, place // 2 :: 2, place % 2 :: 2], own)


def test_without_diffusers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(
        UserError, match=r"UNet2DModel needs the package diffusers.*pip install 'sadm-diffusion\[diffusers\]'"
    ):
        UNetAdapter.build((3, 8, 8))


class Foreign(torch.nn.Module):
    """A network that wants its arguments in another order, a timestep and a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Conv2d(3, 3, 1)
        self.table = torch.nn.Embedding(4, 3)

    def forward(self, timestep: torch.Tensor, y: torch.Tensor, image: torch.Tensor) -> dict[str, torch.Tensor]:
        shift = self.table(y) * timestep[:, None]
        return {"sample": self.inner(image) + shift[:, :, None, None]}


def test_any_module_by_a_function() -> None:
    def call(module: torch.nn.Module, x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        label = cond.label if cond.label is not None else torch.full((len(x),), 3)
        return module(10 * c_noise, label, image=x)["sample"]

    foreign = Foreign()
    net = ModuleAdapter(foreign, call, null_label=3)
    assert net.null_label == 3
    assert ModuleAdapter(foreign, call).null_label is None
    label = torch.tensor([0, 2])
    by_hand = foreign.inner(X) + (foreign.table.weight[label] * 10 * LEVELS[:, None])[:, :, None, None]
    torch.testing.assert_close(net(X, LEVELS, Cond(label=label)), by_hand)
    denoiser = EDMDenoiser(net)
    with Taps(denoiser.net, ["module.inner"]).recording() as activations:
        denoiser(X, LEVELS.exp(), Cond()).sum().backward()
    assert activations["module.inner"].shape == X.shape
    assert foreign.inner.weight.grad is not None
    assert {name for name, _ in net.named_parameters()} == {f"module.{name}" for name, _ in foreign.named_parameters()}


def test_augmentation_that_a_network_would_overlook_is_refused() -> None:
    cond = Cond(augment=torch.ones(2, 1))

    def call(module: torch.nn.Module, x: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        return module(x) if cond.augment is None else module(x) * cond.augment[:, :, None, None]

    conv = torch.nn.Conv2d(3, 3, 1)
    assert torch.equal(ModuleAdapter(conv, call, takes_augment=True)(X, LEVELS, cond), conv(X))
    with pytest.raises(UserError, match=r"this network can't be told of augmentation .*takes_augment=True, or turn"):
        ModuleAdapter(conv, call)(X, LEVELS, cond)
    with pytest.raises(
        UserError, match=r"UNet2DModel can't be told of augmentation .*To train it, turn augmentation off"
    ):
        unet()(X, LEVELS, cond)
