"""A denoiser's own activations as embeddings: values, gradients, and that the denoiser is left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from structure_oracles import images
from torch import nn

from sadm.core.conditions import Cond
from sadm.diffusion import EDMDenoiser
from sadm.models import DiT
from sadm.structure import DenoiserFeatures, StructureError, cosine_relations, parts_gap


class ConvDenoiser(nn.Module):
    """A denoiser of four layers that counts how often each runs."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.unused = nn.Linear(1, 1)
        self.seen: list[Any] = []
        for number, parameter in enumerate(self.parameters()):
            parameter.data = 0.4 * images(number, *parameter.shape)

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, cond: Any) -> torch.Tensor:
        self.seen = [sigma, cond]
        hidden = torch.tanh(self.down(x)) / (1 + sigma[:, None, None, None])
        for layer in self.middle:
            hidden = torch.tanh(layer(hidden))
        self.seen.append("end")
        return self.up(hidden)


def denoiser_of(dtype: torch.dtype = torch.float32) -> ConvDenoiser:
    return ConvDenoiser().to(dtype).eval()


def hooks_of(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def test_features_are_the_means_of_the_activations() -> None:
    denoiser, x = denoiser_of(), images(1, 3, 2, 8, 8)
    first = denoiser.down(x)
    second = denoiser.middle[0](torch.tanh(first) / 1.25)
    found = DenoiserFeatures(denoiser, ["middle.0", "down"], sigma=0.25, cond="known")(x)
    for part, expected in zip(found, (second, first), strict=True):
        torch.testing.assert_close(part, expected.mean((2, 3)), rtol=1e-6, atol=1e-7)
    assert denoiser.seen[0].tolist() == [0.25] * 3
    assert denoiser.seen[1] == "known"


def test_the_pass_ends_with_the_last_of_the_modules() -> None:
    denoiser, x = denoiser_of(), images(2, 3, 2, 8, 8)
    DenoiserFeatures(denoiser, ["down", "middle.0"], sigma=0.1)(x)
    assert len(denoiser.seen) == 2  # not the end
    DenoiserFeatures(denoiser, ["up"], sigma=0.1)(x)
    assert denoiser.seen[2] == "end"


def test_features_are_differentiable_in_the_images_and_leave_the_denoiser_alone() -> None:
    denoiser = denoiser_of(torch.float64)
    encoder = DenoiserFeatures(denoiser, ["down", "middle.1"], sigma=0.1)
    x0, x0_hat = images(3, 2, 3, 2, 4, 4, dtype=torch.float64)
    x0_hat.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: parts_gap(encoder(x0), encoder(x), cosine_relations), x0_hat)
    encoder.train().requires_grad_(False)
    assert not denoiser.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in denoiser.parameters())
    assert not list(encoder.parameters())
    assert not encoder.state_dict()


def test_features_follow_the_denoiser_that_goes_on_changing() -> None:
    denoiser, x = denoiser_of(), images(4, 2, 2, 8, 8)
    encoder = DenoiserFeatures(denoiser, ["down"], sigma=0.1)
    (before,) = encoder(x)
    with torch.no_grad():
        denoiser.down.bias.add_(1)
    torch.testing.assert_close(encoder(x)[0], before + 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("fails", [False, True])
def test_no_hook_outlives_a_call(fails: bool) -> None:
    denoiser = denoiser_of()
    encoder = DenoiserFeatures(denoiser, ["down", "up"], sigma=0.1)
    assert hooks_of(denoiser) == 0
    if fails:
        with pytest.raises(RuntimeError, match="channels"):
            encoder(torch.zeros(1, 3, 8, 8))
    else:
        encoder(torch.zeros(1, 2, 8, 8))
    assert hooks_of(denoiser) == 0
    denoiser(torch.zeros(1, 2, 8, 8), torch.ones(1), None)
    assert denoiser.seen[2] == "end"


def test_tokens_of_this_packages_denoiser() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DiT((1, 8, 8), patch=4, width=8, depth=3, heads=2, num_classes=4)
    denoiser, x = EDMDenoiser(net).eval(), images(5, 3, 1, 8, 8)
    (found,) = DenoiserFeatures(denoiser, ["net.blocks.1"], sigma=0.05, cond=Cond())(x)
    kept = []
    handle = net.blocks[1].register_forward_hook(lambda module, inputs, output: kept.append(output))
    denoiser(x, torch.full((3,), 0.05), Cond())
    handle.remove()
    assert torch.equal(found, kept[0].mean(1))
    assert found.shape == (3, 8)


def test_a_denoiser_of_another_signature_is_called_as_told() -> None:
    class Timestep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Flatten()

        def forward(self, sample: torch.Tensor, timestep: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"sample": self.inner(sample * timestep[:, None, None, None])}

    x = images(6, 3, 1, 2, 2)
    encoder = DenoiserFeatures(
        Timestep().eval(), ["inner"], sigma=0.5, call=lambda net, x, sigma: net(sample=x, timestep=1000 * sigma)
    )
    torch.testing.assert_close(encoder(x)[0], 500 * x.flatten(1))


class Returns(nn.Module):
    """A denoiser whose only module returns, on its n-th call, the n-th of some values."""

    def __init__(self, *values: Any) -> None:
        super().__init__()
        self.only = nn.Identity()
        self.values = values

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, cond: Any) -> torch.Tensor:
        for value in self.values:
            self.only(value)
        return x


def test_of_a_tuple_and_of_several_calls_the_first_counts() -> None:
    first, second = images(7, 2, 3, 4)
    for values in ((first, second), ((first, second), second)):
        denoiser = Returns(*values).eval()
        assert torch.equal(DenoiserFeatures(denoiser, ["only", "only"], sigma=0.1)(torch.zeros(3, 1, 2, 2))[0], first)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, r"module 'only' gives a dict; expected a tensor"),
        ((), r"gives a tuple; expected a tensor"),
        (torch.zeros(5, 4), r"gives \(5, 4\) for 3 images"),
        (torch.zeros(3), r"gives \(3,\) for 3 images; expected \[B, d\], tokens \[B, T, D\] or a map"),
        (torch.tensor(1.0), r"gives \(\) for 3 images"),
        (torch.zeros(3, 1, 1, 1, 1), r"gives \(3, 1, 1, 1, 1\) for 3 images"),
    ],
)
def test_activations_of_another_kind_are_refused(value: Any, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        DenoiserFeatures(Returns(value).eval(), ["only"], sigma=0.1)(torch.zeros(3, 1, 2, 2))


def test_a_module_that_does_not_run_is_named() -> None:
    encoder = DenoiserFeatures(denoiser_of(), ["down", "unused"], sigma=0.1)
    with pytest.raises(StructureError, match=r"module 'unused' did not run"):
        encoder(torch.zeros(2, 2, 8, 8))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("midle.1", r"no module 'midle\.1'; did you mean 'middle\.1'"),
        ("Down", r"no module 'Down'; did you mean 'down'"),
        ("transformer", r"no module 'transformer'; its modules are down, middle, up, unused$"),
        ("", r"no module ''"),
    ],
)
def test_an_unknown_module_is_refused_with_the_nearest_names(name: str, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        DenoiserFeatures(denoiser_of(), ["down", name], sigma=0.1)


def test_other_misuse_is_refused() -> None:
    for sigma in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(StructureError, match="sigma must be positive and finite"):
            DenoiserFeatures(denoiser_of(), ["down"], sigma=sigma)
    for modules in ("down", []):
        with pytest.raises(StructureError, match="a list of at least one module name"):
            DenoiserFeatures(denoiser_of(), modules, sigma=0.1)
    encoder = DenoiserFeatures(denoiser_of().train(), ["down"], sigma=0.1)
    with pytest.raises(StructureError, match=r"in training mode.*EMA copy, in \.eval\(\)"):
        encoder(torch.zeros(2, 2, 8, 8))
