"""The published sizes: parameters and operations as in the paper."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.models import DIT_NAMES, DIT_SIZES, DiT, dit_by_name

LATENT = (4, 32, 32)

# Table 4 and figure 8 of arXiv 2212.09748: whole millions of parameters, and Gflops (multiply-adds) at 256x256 pixels.
PUBLISHED_PARAMETERS = {"DiT-S/2": 33, "DiT-B/2": 130, "DiT-L/2": 458, "DiT-XL/2": 675}
PUBLISHED_GFLOPS = {"DiT-S/2": 6.06, "DiT-B/2": 23.01, "DiT-L/2": 80.71, "DiT-XL/2": 118.64, "DiT-XL/4": 29.05}


def on_meta(name: str) -> DiT:
    with torch.device("meta"):
        return dit_by_name(name, LATENT, 1000, out_channels=8)


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_as_many_parameters_as_published(name: str) -> None:
    net = on_meta(name)
    count = sum(p.numel() for p in net.parameters())
    assert round(count / 1e6) == PUBLISHED_PARAMETERS[name]


@pytest.mark.parametrize("name", PUBLISHED_GFLOPS)
def test_as_many_operations_as_published(name: str) -> None:
    net = on_meta(name)
    with FlopCounterMode(display=False) as counter, torch.device("meta"), torch.no_grad():
        net(torch.empty(1, *LATENT), torch.empty(1), Cond(label=torch.empty(1, dtype=torch.int64)))
    multiply_adds = (
        counter.get_total_flops() / 2
    )  # torch counts both; element by element operations are in neither count
    assert multiply_adds / 1e9 == pytest.approx(PUBLISHED_GFLOPS[name], rel=2e-3)


@pytest.mark.parametrize("name", DIT_NAMES)
def test_a_name_says_size_and_patch(name: str) -> None:
    with torch.device("meta"):
        net = dit_by_name(name, (3, 32, 64), 7, noise_scale=1.0)
    size = DIT_SIZES[name[4:-2]]
    assert (len(net.blocks), net.blocks[0].attn.heads) == (size.depth, size.heads)
    assert net.x_embedder.proj.weight.shape == (size.width, 3, int(name[-1]), int(name[-1]))
    assert (net.null_label, net.noise_scale, net.shape) == (7, 1.0, (3, 32, 64))


def test_mistakes_are_explained() -> None:
    with pytest.raises(UserError, match="unknown network 'DiT-XXL/2'; expected one of DiT-S/2, DiT-S/4"):
        dit_by_name("DiT-XXL/2", LATENT)
    with pytest.raises(UserError, match="patches of 8x8, which 28x28 can't be cut into. Choose a smaller patch"):
        dit_by_name("DiT-S/8", (1, 28, 28))
