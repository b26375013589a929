"""The source model as an encoder: what it reads, what it owns."""

from __future__ import annotations

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.diffusion import EDMDenoiser
from sadm.models import DiT
from sadm.signals import FeaturesAtPlaces, Source, SourceEncoder
from sadm.structure import DenoiserFeatures

SIGMA = 0.3


def denoiser(**options) -> EDMDenoiser:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DiT((1, 8, 8), patch=4, width=8, depth=3, heads=2, num_classes=4, **options)
        for parameter in net.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return EDMDenoiser(net).eval().requires_grad_(False)


def bound(model: EDMDenoiser, outputs: str = "embedding") -> SourceEncoder:
    encoder = SourceEncoder("blocks.1", SIGMA, outputs)
    encoder.bind_source(Source(model, torch.arange(5)))
    return encoder


def images(seed: int = 0, count: int = 6) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def tokens_by_hand(model: EDMDenoiser, x: torch.Tensor) -> torch.Tensor:
    """The tokens [B, 4, 8] behind the second block, for images told as of SIGMA and the null class."""
    net, level = model.net, torch.full((len(x),), SIGMA)
    _, _, c_in, c_noise = model.coefficients(level)
    tokens = net.x_embedder(c_in.reshape(-1, 1, 1, 1) * x) + net.pos_embed
    if net.registers:
        tokens = torch.cat([tokens, net.register_tokens.expand(len(x), -1, -1)], dim=1)
    condition = net.t_embedder(c_noise * net.noise_scale) + net.y_embedder.embedding_table.weight[4]
    for block in net.blocks[:2]:
        tokens = block(tokens, torch.nn.functional.silu(condition))
    return tokens[:, :4]


@pytest.mark.parametrize("registers", [0, 3])
def test_it_reads_the_tokens_of_a_clean_image_of_no_class(registers: int) -> None:
    model, x = denoiser(registers=registers), images()
    expected = tokens_by_hand(model, x)
    places, pooled = bound(model, "stages")(x)
    target = FeaturesAtPlaces(bound(model), "places", (4, 4))
    for found, wanted in [(places, expected), (pooled, expected.mean(1)), (target(x), expected)]:
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(bound(model)(x), pooled)


def test_it_owns_no_weights_and_its_gradient_reaches_the_images() -> None:
    model = denoiser()
    encoder = bound(model)
    assert not encoder.state_dict()
    assert not list(encoder.parameters())
    x = images().requires_grad_()
    encoder(x).square().sum().backward()
    assert float(x.grad.abs().min()) > 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_each_image_is_seen_once() -> None:
    model, calls = denoiser(), []
    model.net.blocks[0].register_forward_hook(lambda *_: calls.append(1))
    target = FeaturesAtPlaces(bound(model), "places", (4, 4))
    first, second = target(images(), torch.arange(6)), target(images(), torch.arange(6))
    assert len(calls) == 1
    assert torch.equal(first, second)


def test_before_it_is_bound_it_says_so() -> None:
    with pytest.raises(ValueError, match="bind_source first"):
        SourceEncoder("blocks.1", SIGMA)(images())
    with pytest.raises(UserError, match=r"no module 'blocks\.9'; did you mean"):
        SourceEncoder("blocks.9", SIGMA).bind_source(Source(denoiser(), None))


def test_activations_at_places_are_those_whose_means_are_pooled() -> None:
    model, x = denoiser(registers=2), images()
    both = {"sigma": SIGMA, "cond": Cond(), "registers": 2}
    (places,) = DenoiserFeatures(model, ["net.blocks.1"], places=True, **both)(x)
    (pooled,) = DenoiserFeatures(model, ["net.blocks.1"], **both)(x)
    assert places.shape == (6, 4, 8)
    assert torch.equal(pooled, places.mean(1))
    maps = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3, padding=1)).eval()
    (places,) = DenoiserFeatures(maps, ["0"], SIGMA, places=True, call=lambda net, x, sigma: net(x))(x)
    seen = maps(x)
    for place, (row, column) in enumerate((row, column) for row in range(8) for column in range(8)):
        assert torch.equal(places[:, place], seen[:, :, row, column])
