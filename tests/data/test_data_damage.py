"""Damage on sound images: by seed alone, within the range, each kind what it says, growing with strength."""

from __future__ import annotations

import math

import pytest
import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import BatchStream, ImageSet
from sadm.data.damage import KINDS, Damage, damage_seeds
from sadm.data.told import Told


def drawings(count: int, side: int = 24, channels: int = 1) -> torch.Tensor:
    """Dark strokes on white paper [count, C, side, side], in [-1, 1]."""
    x = torch.ones(count, channels, side, side)
    for i in range(count):
        x[i, :, 3 + i % 7 : 5 + i % 7, 2:-2] = -1
        x[i, :, 2:-2, 5 + i % 11] = -0.5
    return x


def applied(kind: str, x: torch.Tensor, much: float, seed: int) -> torch.Tensor:
    return KINDS[kind](x, much, generator(seed, "test"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_damaged_by_its_own_seed_alone(kind: str, channels: int) -> None:
    x, damage = drawings(12, channels=channels), Damage([kind])
    seeds = list(range(100, 112))
    whole = damage(x, seeds)
    assert whole.shape == x.shape
    assert float(whole.abs().max()) <= 1
    assert torch.equal(damage(x[5:7], seeds[5:7]), whole[5:7])
    untouched = (whole == x).flatten(1).all(1)
    assert 1 <= int(untouched.sum()) <= 11  # probability 1/2 each
    assert not torch.equal(damage(x, [seed + 50 for seed in seeds]), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_more_strength_is_more_damage(kind: str) -> None:
    x = (drawings(20) + 1) / 2
    mild, strong = (
        sum(float((applied(kind, image, much, seed) - image).abs().mean()) for seed, image in enumerate(x))
        for much in (0.25, 1.0)
    )
    assert strong > 1.3 * mild > 0


def test_fading_brings_everything_nearer_to_the_paper() -> None:
    x = (drawings(1)[0] + 1) / 2
    faded = applied("fade", x, 1.0, 0)
    assert float(faded.max()) <= 1
    assert bool((faded[x < 1] > x[x < 1]).all())
    assert torch.equal(faded[x == 1], x[x == 1])


def test_stains_swallow_light() -> None:
    x = (drawings(1)[0] + 1) / 2
    stained = applied("stain", x, 1.0, 1)
    assert bool((stained <= x + 1e-6).all())
    assert float((x - stained).max()) > 0.3


def test_blur_is_a_gaussian_by_hand() -> None:
    x = torch.rand(2, 20, 26, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma = 0.3 + (0.05 * 20 - 0.3) * 0.6
    reach = math.ceil(3 * sigma)
    weights = [math.exp(-((k / sigma) ** 2) / 2) for k in range(-reach, reach + 1)]
    y, c = 9, 12
    expected = (
        sum(
            weights[i + reach] * weights[j + reach] * float(x[1, y + i, c + j])
            for i in range(-reach, reach + 1)
            for j in range(-reach, reach + 1)
        )
        / sum(weights) ** 2
    )
    assert float(applied("blur", x, 0.6, 0)[1, y, c]) == pytest.approx(expected, rel=1e-9)


def test_a_tear_takes_a_share_of_the_image() -> None:
    x = torch.full((1, 40, 40), 0.3)
    for much in (0.0, 0.5, 1.0):
        gone = applied("tear", x, much, 3) != x
        assert float(gone.float().mean()) == pytest.approx(0.02 + 0.2 * much, abs=0.01)
        assert len(applied("tear", x, much, 3).unique()) == 2


def test_coarse_keeps_the_mean_and_loses_detail() -> None:
    x = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    coarse = applied("coarse", x, 1.0, 0)
    assert float(coarse.mean()) == pytest.approx(float(x.mean()), abs=0.02)
    assert float(coarse.std()) < 0.5 * float(x.std())


def test_folds_are_straight_and_cross_the_image() -> None:
    x = torch.full((1, 48, 48), 0.5)
    changed = (applied("fold", x, 0.2, 5) != x)[0].nonzero().double()
    centred = changed - changed.mean(0)
    along, across = torch.linalg.svdvals(centred)[:2] / math.sqrt(len(changed))
    assert float(across) < 1.5 < 8 < float(along)


@pytest.mark.parametrize("side", [4, 8])
def test_small_images_are_damaged_too(side: int) -> None:
    x = torch.zeros(30, 1, side, side)
    x[:, :, 1] = -1
    damaged = Damage()(x, list(range(30)))
    assert bool(torch.isfinite(damaged).all())
    assert int((damaged != x).flatten(1).any(1).sum()) > 25


def test_seeds_belong_to_places_of_the_whole_batch() -> None:
    whole = damage_seeds(3, 7, 10, slice(0, 10))
    assert len(set(whole)) == 10
    assert damage_seeds(3, 7, 10, slice(4, 10)) == whole[4:]
    assert damage_seeds(3, 8, 10, slice(0, 10)) != whole


def test_a_stream_shows_the_damaged_image_beside_the_sound_one() -> None:
    pixels = ((drawings(9) + 1) * 127.5).round().to(torch.uint8)
    images = ImageSet(pixels, None, (), tuple(map(str, range(9))), "drawings")
    stream = BatchStream(images, 6, 1, flip=True, told=Told(images, ("damage",), (), 0.0, seed=5))
    batch = stream.batch(4)
    expected = Damage()(batch.x0, damage_seeds(5, 4, 6, slice(0, 6)))
    assert torch.equal(batch.cond.image, expected)  # type: ignore[arg-type]


def test_bad_input() -> None:
    with pytest.raises(UserError, match="'rain' is no kind of damage; there are fade, stain"):
        Damage(["rain"])
    for strength in (0.0, 1.5):
        with pytest.raises(UserError, match="above 0 and at most 1"):
            Damage(strength=strength)
    with pytest.raises(ValueError, match="2 images but 1 seeds"):
        Damage()(drawings(2), [1])
