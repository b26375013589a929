"""Alignment of a hidden layer with an encoder's features, against loops over images and places."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from signal_steps import made_up
from torch import nn

from sadm.core.errors import UserError
from sadm.signals import FeaturesAtPlaces, RepaSignal, build_projector

PATCH = (1, 2)


class Encoder(nn.Module):
    """Gives, of an image [5, 4], a map [3, 5, 4], tokens of patches [1, 2], and the map's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(1, 3, 3, padding=1)
        self.tokens = nn.Identity()
        self.pooled = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.map(x)
        self.tokens(nn.functional.avg_pool2d(features, (1, 2)).flatten(2).mT)
        return self.pooled(features.mean((2, 3)))


def signal(features: str = "map", seed: int = 0, dtype: torch.dtype = torch.float64, **options) -> RepaSignal:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder, projector = Encoder().to(dtype), build_projector(4, 6, 3).to(dtype)
    return RepaSignal(FeaturesAtPlaces(encoder, features, PATCH), projector, "blocks.0", **options)


def step(seed: int = 0, dtype: torch.dtype = torch.float64):
    tokens = torch.randn(6, 10, 4, generator=torch.Generator().manual_seed(seed + 100), dtype=dtype)
    return made_up(seed=seed, dtype=dtype, **{"blocks.0": tokens})


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def loss_by_hand(repa: RepaSignal, x0: torch.Tensor, tokens: torch.Tensor) -> float:
    """Tokens are 5 rows of 2; each sees the map at its row and at two neighbouring columns."""
    total = 0.0
    with torch.no_grad():
        features, projected = repa.target.encoder.map(x0), repa.projector(tokens)
    for i in range(len(x0)):
        for row in range(5):
            for column in range(2):
                seen = [(features[i, c, row, 2 * column] + features[i, c, row, 2 * column + 1]) / 2 for c in range(3)]
                total += cosine(projected[i, 2 * row + column].tolist(), [float(value) for value in seen])
    return -total / (len(x0) * 10)


@pytest.mark.parametrize("features", ["map", "tokens"])
def test_value_and_gradient_against_a_loop(features: str) -> None:
    repa, (denoised, g_dsm) = signal(features, weight=0.25), step()
    tokens, projector = denoised.taps["blocks.0"], copy.deepcopy(repa.projector)
    expected = loss_by_hand(repa, denoised.x0, tokens)
    found = repa(denoised, g_dsm)
    assert found.gradient is None
    assert float(found.log["repa"]) == pytest.approx(expected, rel=1e-12)
    repa.projector = projector  # as it was before it learned
    for place in [(0, 0, 0), (2, 7, 3), (5, 9, 1)]:
        moved = [tokens.clone(), tokens.clone()]
        moved[0][place] += 1e-6
        moved[1][place] -= 1e-6
        slope = (loss_by_hand(repa, denoised.x0, moved[0]) - loss_by_hand(repa, denoised.x0, moved[1])) / 2e-6
        assert float(found.taps["blocks.0"][place]) == pytest.approx(0.25 * slope, rel=1e-5, abs=1e-10)


def test_features_without_places_are_matched_by_the_mean_token() -> None:
    repa, (denoised, g_dsm) = signal("pooled"), step()
    with torch.no_grad():
        target, projected = repa.target.encoder(denoised.x0), repa.projector(denoised.taps["blocks.0"].mean(1))
    expected = -sum(cosine(a.tolist(), b.tolist()) for a, b in zip(projected, target, strict=True)) / 6
    assert float(repa(denoised, g_dsm).log["repa"]) == pytest.approx(expected, rel=1e-12)


def test_features_coarser_than_tokens_are_repeated() -> None:
    denoised, g_dsm = step()
    encoder = nn.Sequential(nn.Conv2d(1, 3, (5, 4))).double()  # one place for the whole image
    repa = RepaSignal(FeaturesAtPlaces(encoder, "0", PATCH), signal().projector, "blocks.0")
    with torch.no_grad():
        target, projected = encoder(denoised.x0).flatten(1), repa.projector(denoised.taps["blocks.0"])
    expected = -sum(cosine(projected[i, t].tolist(), target[i].tolist()) for i in range(6) for t in range(10)) / 60
    assert float(repa(denoised, g_dsm).log["repa"]) == pytest.approx(expected, rel=1e-12)


def test_the_projector_learns_by_adam_on_the_plain_loss_and_nothing_else_changes() -> None:
    repa = signal(weight=0.1, learning_rate=0.01)
    encoder, twin = copy.deepcopy(repa.target.encoder.state_dict()), copy.deepcopy(repa.projector)
    optimiser = torch.optim.Adam(twin.parameters(), lr=0.01)
    for seed in range(3):
        denoised, g_dsm = step(seed)
        repa(denoised, g_dsm)
        target = nn.functional.avg_pool2d(repa.target.encoder.map(denoised.x0), (1, 2)).flatten(2).mT.detach()
        predicted = twin(denoised.taps["blocks.0"])
        unit = predicted / predicted.norm(dim=-1, keepdim=True), target / target.norm(dim=-1, keepdim=True)
        optimiser.zero_grad()
        (-(unit[0] * unit[1]).sum(-1).mean()).backward()
        optimiser.step()
    for found, expected in zip(repa.projector.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
        assert found.grad is None
    assert all(torch.equal(encoder[name], value) for name, value in repa.target.encoder.state_dict().items())
    assert not any(parameter.requires_grad for parameter in repa.target.encoder.parameters())


def test_aligning_a_free_activation_raises_its_cosine() -> None:
    repa, (denoised, g_dsm) = signal(), step()
    first = float(repa(denoised, g_dsm).log["repa"])
    for _ in range(100):
        found = repa(denoised, g_dsm)
        denoised.taps["blocks.0"].sub_(20 * found.taps["blocks.0"])
    assert float(found.log["repa"]) < first - 0.5


def test_a_restored_signal_goes_on_bit_for_bit() -> None:
    whole, first, restored = signal(), signal(), signal(seed=1)
    for seed in range(2):
        whole(*step(seed))
        first(*step(seed))
    restored.load_state_dict(copy.deepcopy(first.state_dict()))
    for seed in (2, 3):
        expected, found = whole(*step(seed)), restored(*step(seed))
        assert torch.equal(expected.taps["blocks.0"], found.taps["blocks.0"])
        assert torch.equal(expected.log["repa"], found.log["repa"])


def test_half_precision_activations_and_autocast() -> None:
    tokens = step(dtype=torch.float32)[0].taps["blocks.0"].bfloat16()
    half, wide = (made_up(**{"blocks.0": part}) for part in (tokens, tokens.float()))
    first, second = signal(dtype=torch.float32), signal(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = first(*half)
    expected = second(*wide)
    assert torch.equal(found.log["repa"], expected.log["repa"])
    assert torch.equal(found.taps["blocks.0"], expected.taps["blocks.0"].bfloat16())


def test_what_can_not_work_is_refused() -> None:
    with pytest.raises(UserError, match=r"expected \[B, 10, D\] or \[B, D, 5, 2\] from 'blocks\.0', got \[6, 4\]"):
        signal()(*made_up(dtype=torch.float64, **{"blocks.0": torch.zeros(6, 4)}))
    with pytest.raises(UserError, match=r"got \[6, 9, 4\].*Tap a block"):
        signal()(*made_up(dtype=torch.float64, **{"blocks.0": torch.zeros(6, 9, 4)}))
    with pytest.raises(UserError, match="no module 'maps'; did you mean 'map'"):
        signal("maps")
    with pytest.raises(UserError, match="weight >= 0, got -1"):
        signal(weight=-1)


def test_a_map_is_tokens_row_by_row() -> None:
    (tokens_step, g_dsm), (map_step, _) = step(), step()
    tokens = tokens_step.taps["blocks.0"]
    places = torch.empty(6, 4, 5, 2, dtype=torch.float64)
    for place in range(10):
        places[:, :, place // 2, place % 2] = tokens[:, place]
    map_step.taps["blocks.0"] = places
    of_tokens, of_map = signal()(tokens_step, g_dsm), signal()(map_step, g_dsm)
    torch.testing.assert_close(of_map.log["repa"], of_tokens.log["repa"])
    for place in range(10):
        torch.testing.assert_close(
            of_map.taps["blocks.0"][:, :, place // 2, place % 2], of_tokens.taps["blocks.0"][:, place]
        )
