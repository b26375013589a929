"""Which images of a batch take part, against sorted lists; profiles of the ratio; and the balance over a batch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from structure_oracles import images
from structure_setup import SIGMA, D, column, game_of, play_once

from sadm.structure import CHOICES, StructureError, falling, growing, wiener_weight

levels_of = st.lists(st.integers(0, 1000), min_size=2, max_size=24, unique=True)
share = st.sampled_from([0.01, 0.2, 1 / 3, 0.5, 0.9, 1.0])


def ranked(levels: list[int], fraction: float) -> tuple[list[int], int]:
    """Images from the cleanest to the noisiest, and how many take part."""
    return sorted(range(len(levels)), key=levels.__getitem__), min(
        len(levels), max(2, math.ceil(round(fraction * len(levels), 6)))
    )


@given(levels=levels_of, fraction=share)
def test_choices_are_parts_of_the_sorted_list(levels: list[int], fraction: float) -> None:
    order, count = ranked(levels, fraction)
    before = (len(order) - count) // 2
    sigma = torch.tensor(levels, dtype=torch.float32)
    expected = {
        "noisiest": order[len(order) - count :],
        "cleanest": order[:count],
        "middle": order[before : before + count],
        "evenly": [order[math.floor((i + 0.5) * len(order) / count)] for i in range(count)],
    }
    assert CHOICES.keys() == expected.keys()
    for name, choose in CHOICES.items():
        assert choose(sigma, fraction).tolist() == sorted(expected[name]), name


def test_levels_of_zero_and_infinity_have_their_places() -> None:
    sigma = torch.tensor([1.0, math.inf, 0.0, 2.0])
    found = {name: choose(sigma, 0.5).tolist() for name, choose in CHOICES.items()}
    assert found == {"noisiest": [1, 3], "cleanest": [0, 2], "middle": [0, 3], "evenly": [0, 1]}


def test_profiles_share_the_ratio_between_them() -> None:
    sigma = torch.tensor([0.0, 0.25, 3.0, math.inf])
    torch.testing.assert_close(falling(0.6, 0.25)(sigma), 0.6 * wiener_weight(sigma, 0.25))
    assert falling(0.6, 0.25)(sigma)[1] == pytest.approx(0.3)
    torch.testing.assert_close(falling(0.6, 0.25)(sigma) + growing(0.6, 0.25)(sigma), torch.full((4,), 0.6))


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_a_game_moves_the_chosen_images_and_no_other(name: str) -> None:
    play = play_once(game_of(adversary="frozen", fraction=0.5, choose=name))
    moved = play.gradient.flatten(1).norm(dim=1).nonzero().flatten()
    assert moved.tolist() == CHOICES[name](SIGMA, 0.5).tolist()


def test_a_profile_pulls_each_image_by_its_noise() -> None:
    play = play_once(game_of(adversary="frozen", fraction=1.0, ratio=falling(0.5)))
    pulled = play.gradient.flatten(1).norm(dim=1) / images(91, 6, 2, 3, 3, dtype=D).flatten(1).norm(dim=1)
    torch.testing.assert_close(pulled, falling(0.5)(SIGMA), rtol=5e-3, atol=0)  # eps is a thousandth of the median


def test_over_the_batch_the_whole_gradient_has_the_ratio_and_directions_have_one_factor() -> None:
    g_dsm = images(91, 6, 2, 3, 3, dtype=D)
    each, whole = (play_once(game_of(adversary="frozen", fraction=1.0, balance=b)) for b in ("image", "batch"))
    assert whole.gradient.norm() / g_dsm.norm() == pytest.approx(0.5, rel=2e-3)
    assert whole.k.unique().numel() == 1
    raw = each.gradient / column(each.k)
    torch.testing.assert_close(whole.gradient, whole.k[0] * raw)
    shares = whole.gradient.flatten(1).norm(dim=1) / g_dsm.flatten(1).norm(dim=1)
    assert shares.max() > 0.55  # no bound on a single image
    assert (each.gradient.flatten(1).norm(dim=1) / g_dsm.flatten(1).norm(dim=1)).max() < 0.5


def test_unknown_names_are_refused() -> None:
    with pytest.raises(StructureError, match="unknown choice of images 'dirtiest'; expected one of noisiest, cleanest"):
        game_of(choose="dirtiest")
    with pytest.raises(StructureError, match="unknown balance 'sum'; expected one of image, batch"):
        game_of(balance="sum")
    with pytest.raises(StructureError, match="scale must be positive, got 0"):
        wiener_weight(SIGMA, 0)


def test_a_choice_of_ones_own() -> None:
    play = play_once(game_of(adversary="frozen", choose=lambda sigma, fraction: torch.tensor([0, 2, 5])))
    assert play.gradient.flatten(1).norm(dim=1).nonzero().flatten().tolist() == [0, 2, 5]


@pytest.mark.parametrize(
    "places",
    [[0, 2, 5], torch.tensor([2, 0]), torch.tensor([1, 1]), torch.tensor([3]), torch.tensor([0, 6]),
     torch.tensor([-1, 2]), torch.tensor([0.0, 1.0]), torch.tensor([[0, 1]])],
)  # fmt: skip
def test_an_impossible_choice_of_ones_own_is_refused(places) -> None:
    game = game_of(choose=lambda sigma, fraction: places)
    with pytest.raises(StructureError, match=r"choose must give int64 places of at least 2 of 6 images"):
        play_once(game)
    assert game.step == 0
