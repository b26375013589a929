"""Hooks read activations and leave no trace; gradients given at taps are those of an added loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from signal_steps import made_up
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.models import DiT, ModuleAdapter
from sadm.signals import StructureSignal, Taps, tapped, taps_of
from sadm.structure import ConvEncoder, StructureGame


def small_net(dtype: torch.dtype = torch.float32, **options: Any) -> DiT:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DiT((1, 8, 8), patch=4, width=16, depth=3, heads=2, num_classes=3, **options).to(dtype)
        for parameter in net.parameters():  # adaLN-Zero starts as zero, where nothing would depend on the blocks
            parameter.data += 0.1 * torch.randn_like(parameter)
    return net


def inputs(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, Cond]:
    draws = torch.Generator().manual_seed(1)
    return torch.randn(4, 1, 8, 8, generator=draws, dtype=dtype), torch.rand(4, dtype=dtype), Cond(torch.arange(4) % 3)


def test_it_records_what_the_modules_give_and_leaves_no_hook() -> None:
    net, (x, c_noise, cond) = small_net(), inputs()
    expected = net(x, c_noise, cond)
    taps = Taps(net, ["blocks.1", "blocks.0.attn", "blocks.1"])
    with taps.recording() as activations:
        output = net(x, c_noise, cond)
    assert torch.equal(output, expected)
    assert activations.keys() == {"blocks.1", "blocks.0.attn"}
    tokens = net.x_embedder(x) + net.pos_embed
    condition = torch.nn.functional.silu(net.t_embedder(c_noise * net.noise_scale) + net.y_embedder(cond.label, 4))
    for block in net.blocks[:2]:
        tokens = block(tokens, condition)
    assert torch.equal(activations["blocks.1"], tokens)
    assert not any(module._forward_hooks for module in net.modules())
    net(x, c_noise, cond)
    assert torch.equal(activations["blocks.1"], tokens)


@pytest.mark.parametrize("name", ["x_embedder", "blocks.0.mlp", "blocks.2", "final_layer", "t_embedder"])
def test_of_register_tokens_nothing_is_recorded(name: str) -> None:
    net, (x, c_noise, cond) = small_net(registers=3), inputs()
    kept = []
    net.get_submodule(name).register_forward_hook(lambda module, arguments, output: kept.append(output))
    with Taps(net, [name]).recording() as activations:
        net(x, c_noise, cond)
    with_registers = name.startswith("blocks")
    assert kept[0].shape[1] == {"t_embedder": 16}.get(name, 7 if with_registers else 4)
    assert torch.equal(activations[name], kept[0][:, :4] if with_registers else kept[0])


def test_a_gradient_at_the_patches_of_a_tap_is_that_of_an_added_loss() -> None:
    net, (x, c_noise, cond) = small_net(torch.float64, registers=3), inputs(torch.float64)
    outputs = []
    handle = net.blocks[1].register_forward_hook(lambda module, arguments, output: outputs.append(output))
    (net(x, c_noise, cond).square().sum() + outputs[0][:, :4].sin().sum()).backward()
    handle.remove()
    expected = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    with Taps(net, ["blocks.1"]).recording() as activations:
        output = net(x, c_noise, cond)
    tap = activations["blocks.1"]
    torch.autograd.backward([output, tap], [2 * output.detach(), tap.detach().cos()])
    for parameter, gradient in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-12)


def test_a_failing_pass_leaves_no_hook() -> None:
    net = small_net()
    with pytest.raises(ValueError, match="expects images"), Taps(net, ["blocks.0"]).recording():
        net(torch.zeros(1, 2, 8, 8), torch.zeros(1), Cond())
    assert not any(module._forward_hooks for module in net.modules())


def test_one_backward_from_output_and_taps_is_the_gradient_of_the_sum() -> None:
    net, (x, c_noise, cond) = small_net(torch.float64), inputs(torch.float64)
    parameters = list(net.parameters())

    def penalty(first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        return first.square().mean() + last.tanh().sum() / 7

    recorded: dict[str, torch.Tensor] = {}
    handles = [
        net.blocks[k].register_forward_hook(lambda _, __, out, k=k: recorded.update({str(k): out})) for k in (0, 2)
    ]
    loss = net(x, c_noise, cond).pow(3).mean() + penalty(recorded["0"], recorded["2"])
    expected = torch.autograd.grad(loss, parameters, allow_unused=True)
    for handle in handles:
        handle.remove()

    with Taps(net, ["blocks.0", "blocks.2"]).recording() as activations:
        output = net(x, c_noise, cond)
    leaf = output.detach().requires_grad_()
    (at_output,) = torch.autograd.grad(leaf.pow(3).mean(), leaf)
    leaves = {name: activation.detach().requires_grad_() for name, activation in activations.items()}
    at_taps = torch.autograd.grad(penalty(*leaves.values()), list(leaves.values()))
    torch.autograd.backward([output, *activations.values()], [at_output, *at_taps])
    for parameter, reference in zip(parameters, expected, strict=True):
        if reference is None:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, reference, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("block.1", r"no module 'block\.1'; did you mean 'blocks\.1'"),
        ("blocks.7", r"did you mean 'blocks\.\d' or"),
        ("encoder", "no module 'encoder'; .*it is made of x_embedder, t_embedder, y_embedder, blocks, final_layer"),
        ("", "no module ''"),
    ],
)
def test_unknown_modules_are_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Taps(small_net(), [name])


class Odd(nn.Module):
    """A network with parts that can't be tapped."""

    def __init__(self) -> None:
        super().__init__()
        self.idle, self.twice, self.pair = nn.Identity(), nn.Identity(), nn.LSTM(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.twice(self.twice(x)) + self.pair(x)[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("idle", "'idle' did not run"),
        ("twice", "'twice' runs more than once"),
        ("pair", "'pair' gives a tuple; expected one tensor"),
    ],
)
def test_modules_without_one_activation_are_refused(name: str, message: str) -> None:
    net = Odd()
    with pytest.raises(UserError, match=message), Taps(net, [name]).recording():
        net(torch.zeros(2, 3))
    assert not any(module._forward_hooks for module in net.modules())


def test_signals_without_taps_ask_for_none_and_a_missing_tap_is_said() -> None:
    assert taps_of(StructureSignal(StructureGame(ConvEncoder(1, width=4, stages=1)))) == ()
    activation = torch.ones(6, 2, requires_grad=True)
    denoised, _ = made_up(**{"blocks.0": activation})
    assert torch.equal(tapped(denoised, "blocks.0"), activation)
    assert not tapped(denoised, "blocks.0").requires_grad
    with pytest.raises(ValueError, match=r"needs the activation of 'blocks\.1'"):
        tapped(denoised, "blocks.1")


def test_registers_are_left_out_of_a_network_inside_an_adapter_too() -> None:
    net, given = small_net(registers=3), inputs()
    adapter = ModuleAdapter(net, lambda module, x, c_noise, cond: module(x, c_noise, cond))
    with Taps(adapter, ["module.blocks.0"]).recording() as inside:
        adapter(*given)
    with Taps(net, ["blocks.0"]).recording() as bare:
        net(*given)
    assert torch.equal(inside["module.blocks.0"], bare["blocks.0"])
