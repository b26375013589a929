"""Methods of fine-tuning against what they are defined to compute, and against peft's own loader."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.finetuning.branches import register_branch
from sadm.finetuning.config import MERGEABLE, METHODS, FinetuneConfig
from sadm.finetuning.folder import read_adapter, write_adapter
from sadm.finetuning.scales import Scaled
from sadm.finetuning.tuning import class_tables, learned, load_learned, merge, share_that_learns, tune
from sadm.models import DiT, UNetAdapter
from sadm.models.presets import dit_by_name

PARTIAL = [method for method in METHODS if method != "full"]


def small_dit(**options) -> DiT:
    """A network whose blocks are not the identity, as those of a trained one."""
    torch.manual_seed(0)
    net = DiT((1, 8, 8), 2, 16, 2, 2, num_classes=3, **options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


def inputs() -> tuple[torch.Tensor, torch.Tensor, Cond]:
    draws = torch.Generator().manual_seed(1)
    images = torch.randn(4, 1, 8, 8, generator=draws)
    return images, torch.linspace(-1, 1, 4), Cond(label=torch.tensor([0, 1, 2, 3]))


def tuned(net: nn.Module, method: str, trained: bool = True, **options) -> nn.Module:
    """A copy of a network with a method, whose learned parameters have moved."""
    net = copy.deepcopy(net)
    torch.manual_seed(2)
    tune(net, FinetuneConfig(method=method, rank=2, prompts=3, **options))
    if trained:
        with torch.no_grad():
            for parameter in learned(net).values():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return net


@pytest.mark.parametrize("method", [method for method in METHODS if method != "vpt"])
def test_a_network_computes_what_it_did_until_the_first_step(method: str) -> None:
    net = small_dit()
    torch.testing.assert_close(tuned(net, method, trained=False)(*inputs()), net(*inputs()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", PARTIAL)
def test_only_what_learns_gets_a_gradient_and_the_rest_stays(method: str) -> None:
    net = tuned(small_dit(), method, trained=False).train()
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    optimiser = torch.optim.SGD(learned(net).values(), lr=1.0)
    for _ in range(2):  # behind layers that start at zero, the first step moves nothing
        optimiser.zero_grad()
        net(*inputs()).square().sum().backward()
        optimiser.step()
    moved = {name for name, parameter in net.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == set(learned(net))


def test_bitfit_learns_the_biases_and_the_classes_alone() -> None:
    net = tuned(small_dit(), "bitfit")
    expected = {name for name, _ in net.named_parameters() if name.endswith("bias")} | {
        "y_embedder.embedding_table.weight"
    }
    assert set(learned(net)) == expected


def test_low_rank_updates_are_what_the_papers_say() -> None:
    """W + alpha / r B A (LoRA, equation 3), and m (W + B A) / ||W + B A|| over the inputs (DoRA, equation 5)."""
    plain = small_dit()
    weight, bias = plain.blocks[0].attn.qkv.weight, plain.blocks[0].attn.qkv.bias
    x = torch.randn(5, 16)
    for method in ("lora", "dora"):
        layer = tuned(plain, method, alpha=6.0).blocks[0].attn.qkv
        updated = weight + 3.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        if method == "dora":
            updated = (
                layer.lora_magnitude_vector["default"].weight[:, None] * updated / updated.norm(dim=1, keepdim=True)
            )
        torch.testing.assert_close(layer(x), x @ updated.T + bias, rtol=1e-5, atol=1e-5)


def test_learned_tokens_are_seen_by_the_images_tokens_and_dropped_behind_each_block() -> None:
    plain = small_dit()
    block, prompted = plain.blocks[1], tuned(plain, "vpt").blocks[1]
    tokens, condition = torch.randn(2, 16, 16), torch.randn(2, 16)
    wider = torch.cat([tokens, prompted.prompts.expand(2, -1, -1)], dim=1)
    torch.testing.assert_close(prompted(tokens, condition), block(wider, condition)[:, :16])


def test_an_adapter_adds_a_narrow_network_to_each_mlp() -> None:
    plain, net = small_dit(), tuned(small_dit(), "adapter", adapter_scale=0.5)
    x, own = torch.randn(5, 16), net.blocks[0].mlp
    narrow = (x @ own.down.weight.T + own.down.bias).clamp(min=0) @ own.up.weight.T + own.up.bias
    torch.testing.assert_close(own(x), plain.blocks[0].mlp(x) + 0.5 * narrow)


@pytest.mark.parametrize("method", MERGEABLE)
@pytest.mark.parametrize("options", [{}, {"swiglu": True, "qk_norm": True, "rope": True}])
def test_merging_gives_plain_weights_of_the_same_function_and_is_undone_exactly(method: str, options: dict) -> None:
    plain = small_dit(**options)
    net = tuned(plain, method)
    before, state = net(*inputs()), copy.deepcopy(net.state_dict())
    merged = merge(net)
    assert net.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(net(*inputs()), before, rtol=1e-4, atol=1e-5)
    assert not torch.equal(before, plain(*inputs()))
    merged.undo()
    assert net.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("method", ["vpt", "adapter"])
def test_what_can_not_be_folded_is_refused(method: str) -> None:
    with pytest.raises(UserError, match="can't be folded"):
        merge(tuned(small_dit(), method))


@pytest.mark.parametrize("method", PARTIAL)
def test_an_adapters_files_bring_back_what_learned(method: str, tmp_path) -> None:
    net, config = tuned(small_dit(), method), FinetuneConfig(method=method, rank=2, prompts=3)
    write_adapter(tmp_path, config, learned(net), class_tables(small_dit()))
    other = tuned(small_dit(), method, trained=False)
    load_learned(other, read_adapter(tmp_path, config, list(learned(other))), "it")
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in other.state_dict().items())


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_peft_loads_the_files_into_the_plain_network(method: str, tmp_path) -> None:
    from peft import PeftModel

    plain = small_dit()
    net, config = tuned(plain, method), FinetuneConfig(method=method, rank=2)
    write_adapter(tmp_path, config, learned(net), class_tables(plain))
    theirs = PeftModel.from_pretrained(copy.deepcopy(plain), tmp_path)
    images, noise, cond = inputs()
    torch.testing.assert_close(theirs(images, noise, cond), net(images, noise, cond))
    torch.testing.assert_close(theirs(images, noise, Cond()), net(images, noise, Cond()))


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("vpt", "adapter")])
def test_diffusers_unets_are_tuned_by_the_types_of_their_modules(method: str) -> None:
    torch.manual_seed(0)
    unet = UNetAdapter.build(
        (1, 8, 8),
        num_classes=3,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()
    start = unet(*inputs())
    net = tuned(unet, method, trained=False)
    torch.testing.assert_close(net(*inputs()), start, rtol=1e-4, atol=1e-5)
    net = tuned(unet, method)
    trained = net(*inputs())
    assert not torch.allclose(trained, start)
    merge(net)
    torch.testing.assert_close(net(*inputs()), trained, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("method", "message"), [("vpt", "no transformer blocks"), ("adapter", "no MLPs")])
def test_methods_that_a_unet_has_no_place_for_are_refused(method: str, message: str) -> None:
    unet = UNetAdapter.build(
        (1, 8, 8), block_out_channels=(8, 8), norm_num_groups=4, down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    with pytest.raises(UserError, match=message):
        tune(unet, FinetuneConfig(method=method))


def test_networks_of_other_makes_are_tuned_once_their_branches_are_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(4, 8), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.outer(self.inner(x).relu())

    net = nn.Sequential(Odd(), Odd())
    with pytest.raises(UserError, match="register_branch"):
        tune(net, FinetuneConfig(method="difffit"))
    register_branch(Odd, "outer", pointwise=True)
    tune(net, FinetuneConfig(method="difffit"))
    assert isinstance(net[0].outer, Scaled)


def test_a_network_without_anything_to_learn_is_refused() -> None:
    with pytest.raises(UserError, match="finds nothing"):
        tune(nn.Sequential(nn.Linear(2, 2, bias=False)), FinetuneConfig(method="bitfit"))


def test_rotary_positions_and_learned_tokens_do_not_go_together() -> None:
    with pytest.raises(UserError, match="rotary positions"):
        tune(small_dit(rope=True), FinetuneConfig(method="vpt"))


def test_an_adapter_of_another_network_is_refused() -> None:
    wider = DiT((1, 8, 8), 2, 32, 2, 2, num_classes=3)
    tune(wider, FinetuneConfig(method="bitfit"))
    net = tuned(small_dit(), "bitfit")
    with pytest.raises(UserError, match="has another size of"):
        load_learned(net, learned(wider), "it")
    with pytest.raises(UserError, match="lacks"):
        load_learned(net, {}, "it")
    with pytest.raises(UserError, match="has no place here for"):
        load_learned(net, {**learned(net), "x": torch.zeros(1)}, "it")


@pytest.mark.parametrize("method", ["difffit", "lora"])
def test_at_published_sizes_under_one_per_cent_of_the_parameters_learn(method: str) -> None:
    with torch.device("meta"):
        net = dit_by_name("DiT-XL/2", (4, 32, 32), num_classes=1000, out_channels=8)
        tune(net, FinetuneConfig(method=method))
    learns, there = share_that_learns(net)
    assert there > 670e6
    assert learns / there < 0.01
