"""Planted copies are found, look-alikes are not taken for copies: against naive loops and on three kinds of pictures."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable

import imagehash
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy import ndimage

from parts_photos import encoded, part, scenes
from sadm.data.preparation import duplicates
from sadm.data.preparation.alignment import difference_in_register
from sadm.data.preparation.clusters import Clusters
from sadm.data.preparation.duplicates import (
    ORIENTATIONS,
    Pair,
    exact_duplicates,
    near_duplicates,
    turn,
    turned_hashes,
)
from sadm.data.preparation.facts import Facts, thumbs
from sadm.data.preparation.looking import look
from sadm.data.preparation.surroundings import Surroundings
from sadm.data.records import Record

Transpose = Image.Transpose
TURNS = (None, 0, 1, 3, 5, 4, 2, 6)
"""Pillow's transposition for each of `ORIENTATIONS`."""


def fact(image: Image.Image, kind: str = "PNG", **options: object) -> Facts:
    return look(Record("image", lambda: encoded(image, kind, **options)))


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality))).convert("RGB")


def trimmed(image: Image.Image) -> Image.Image:
    edge = round(0.03 * image.width)
    return image.crop((edge, edge, image.width - edge, image.height - edge))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": half,
    "half as large again": lambda image: image.resize((image.width * 3 // 2, image.height * 3 // 2)),
    "JPEG 85": lambda image: jpeg(image, 85),
    "JPEG 40": lambda image: jpeg(image, 40),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "grey": lambda image: image.convert("L"),
    "mirrored": lambda image: image.transpose(Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda image: image.transpose(Transpose.ROTATE_90),
    "upside down": lambda image: image.transpose(Transpose.FLIP_TOP_BOTTOM),
    "trimmed": trimmed,
}


Originals = tuple[list[Image.Image], list[Facts]]


def with_facts(pictures: list[Image.Image]) -> Originals:
    return pictures, [fact(picture) for picture in pictures]


def plant(originals: Originals, chosen: range, kind: str) -> tuple[float, int]:
    """Adds a copy of each chosen original: the share of them found, and pairs found that are none."""
    pictures, facts = originals
    copies = [fact(COPIES[kind](pictures[i])) for i in chosen]
    planted = {(i, len(pictures) + k) for k, i in enumerate(chosen)}
    found = {(pair.first, pair.second) for pair in near_duplicates([*facts, *copies])}
    return len(found & planted) / len(planted), len(found - planted)


# ---- recall and false alarms ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def varied() -> Originals:
    return with_facts(scenes())


@pytest.fixture(scope="module")
def alike() -> Originals:
    return with_facts([part(seed, 192) for seed in range(60)])


def test_nothing_is_found_where_there_is_no_copy(varied: Originals, alike: Originals) -> None:
    kinds = with_facts([part(seed, kind=kind) for kind in range(5) for seed in range(12)])
    for _, facts in (varied, alike, kinds):
        assert near_duplicates(facts) == []


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_scenes_are_found(varied: Originals, kind: str) -> None:
    recall, false = plant(varied, range(0, 48, 4), kind)
    assert recall >= (0.75 if kind in ("trimmed", "JPEG 40", "brighter", "darker") else 1)  # some tiles are empty sky
    assert false == 0


@pytest.mark.parametrize("kind", [kind for kind in COPIES if kind != "trimmed"])
def test_copies_of_parts_are_found_among_parts(alike: Originals, kind: str) -> None:
    recall, false = plant(alike, range(0, 60, 6), kind)
    assert recall >= (0.6 if kind == "JPEG 40" else 1)
    assert false == 0


def test_halves_of_small_parts_are_found_among_parts() -> None:
    assert plant(with_facts([part(seed) for seed in range(60)]), range(0, 60, 6), "half the size") == (1, 0)


def test_few_images_of_a_kind_are_told_apart_by_their_labels() -> None:
    pictures, labels = (
        [part(seed, kind=kind) for kind in range(12) for seed in range(4)],
        [str(i // 4) for i in range(48)],
    )
    facts = [fact(picture) for picture in pictures]
    assert near_duplicates(facts)  # the sixth nearest is of another kind
    assert near_duplicates(facts, labels=labels) == []
    copies = [fact(jpeg(pictures[i], 85)) for i in (5, 5 * 4, 5 * 4)]
    copies[2] = fact(half(pictures[5 * 4]))
    found = near_duplicates([*facts, *copies], labels=[*labels, "1", "5", "5"])
    assert {pair.both for pair in found} == {(5, 48), (20, 49), (20, 50), (49, 50)}


def test_a_class_of_one_image_and_its_copies_and_another(varied: Originals) -> None:
    copies = [fact(COPIES[kind](varied[0][20])) for kind in ("JPEG 85", "grey")]
    labels = ["rare", "rare", *"abcabcabcabcabcabc", "rare", "rare"]
    found = near_duplicates([*varied[1][20:40], *copies], labels=labels)
    assert {pair.both for pair in found} == {(0, 20), (0, 21), (20, 21)}


def test_how_a_copy_was_made_is_said(varied: Originals) -> None:
    originals = varied[0][10:30]
    copies = [COPIES[kind](originals[i]) for i, kind in ((3, "mirrored"), (9, "half the size"))]
    copies += [originals[15].transpose(Transpose.ROTATE_90), trimmed(originals[1])]
    found = near_duplicates([fact(picture) for picture in [*originals, *copies]])
    assert [(pair.first, pair.second, pair.orientation, pair.cropped) for pair in found] == [
        (1, 23, "same", True),
        (3, 20, "mirrored", False),
        (9, 21, "same", False),
        (15, 22, "turned_90", False),
    ]
    assert found[1].difference == 0


def test_many_copies_of_one_image_do_not_hide_each_other(varied: Originals) -> None:
    original = varied[0][15]
    faint = [COPIES[kind](original) for kind in ("brighter", "darker", "grey", "half as large again", "JPEG 85")]
    faint += [jpeg(original, quality) for quality in (92, 94, 96, 98)]
    clear = [jpeg(original, 40), jpeg(original, 60), half(original)]
    pictures = [*varied[0][10:30], *faint, *clear]
    clusters = Clusters(len(pictures))
    for pair in near_duplicates([fact(picture) for picture in pictures]):
        clusters.join((pair.first, pair.second))
    assert clusters.members() == [[5, *range(20, 32)]]


def test_another_colour_is_another_product(varied: Originals) -> None:
    def tinted(image: Image.Image, *gains: float) -> Image.Image:
        levels = np.asarray(image.convert("L"), dtype=np.float64)[..., None] * np.array(gains)
        return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))

    red, blue = tinted(varied[0][20], 0.9, 0.5, 0.5), tinted(varied[0][20], 0.5, 0.55, 1.0)
    others = varied[0][:10]
    assert near_duplicates([fact(picture) for picture in [*others, red, blue]]) == []
    grey = near_duplicates([fact(picture) for picture in [*others, red, varied[0][20].convert("L")]])
    assert [(pair.first, pair.second) for pair in grey] == [(10, 11)]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_images(count: int, varied: Originals) -> None:
    facts = varied[1][20 : 20 + count]
    assert near_duplicates(facts) == []
    if count:
        copied = near_duplicates([*facts, fact(jpeg(varied[0][20], 85))])
        assert [(pair.first, pair.second) for pair in copied] == [(0, count)]


def test_distance_bounds_the_candidates(varied: Originals) -> None:
    facts = [*varied[1][:24], *(fact(jpeg(picture, 30)) for picture in varied[0][:24])]
    distances = [len(near_duplicates(facts, distance)) for distance in (0, 4, 12)]
    assert distances[0] < distances[1] <= distances[2]
    assert all(pair.distance <= 4 for pair in near_duplicates(facts, 4))


# ---- against naive loops ---------------------------------------------------------------------------------------------


def test_turned_hashes_are_those_of_the_library(varied: Originals, alike: Originals) -> None:
    levels = [np.frombuffer(one.thumb, np.uint8).reshape(32, 32) for one in varied[1][:20] + alike[1][:20]]
    hashes = turned_hashes(np.stack(levels))
    for image, row in zip(levels, hashes, strict=True):
        for o, transposition in enumerate(TURNS):
            picture = Image.fromarray(image)
            picture = picture if transposition is None else picture.transpose(transposition)
            assert f"{row[o]:016x}" == str(imagehash.phash(picture)), ORIENTATIONS[o]


def test_turns_are_those_of_pillow() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    for o, transposition in enumerate(TURNS):
        picture = Image.fromarray(image)
        picture = picture if transposition is None else picture.transpose(transposition)
        assert np.array_equal(turn(image, o), np.asarray(picture)), ORIENTATIONS[o]


def naive_pairs(facts: list[Facts]) -> set[tuple[int, int]]:
    """The rule of the module in loops, for images that are not turned or cropped and of which none has many copies."""
    levels = [np.frombuffer(one.thumb, np.uint8).astype(float) for one in facts]
    differences = [[1 - np.corrcoef(a, b)[0, 1] for b in levels] for a in levels]
    around = [sorted(row)[6] for row in differences]  # the first is itself
    found = set()
    for i, j in itertools.combinations(range(len(facts)), 2):
        bits = imagehash.hex_to_hash(facts[i].phash) - imagehash.hex_to_hash(facts[j].phash)
        allowed = min(max(min(around[i], around[j]) / 12, 1e-4), 0.05)
        if bits <= 12 and differences[i][j] <= allowed:
            found.add((i, j))
    return found


def test_pairs_are_those_of_two_loops(varied: Originals, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0)
    noisy = [np.asarray(varied[0][i]) + draws.normal(0, 2 * i, (100, 100, 1)) for i in range(0, 40, 2)]
    copies = [Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)) for levels in noisy]
    facts = [*varied[1][:40], *(fact(picture) for picture in copies)]
    expected = naive_pairs(facts)
    assert 5 < len(expected) < 20
    whole = near_duplicates(facts)
    assert {(pair.first, pair.second) for pair in whole if not pair.cropped} == expected
    monkeypatch.setattr(duplicates, "_ROWS", 7)
    monkeypatch.setattr(duplicates, "_PAIRS", 5)
    assert near_duplicates(facts) == whole


def test_surroundings_count_copies_once() -> None:
    draws = np.random.default_rng(1)
    images = draws.standard_normal((30, 4, 4)).astype(np.float32)
    images[10:18] = images[9] + 0.01 * draws.standard_normal((8, 4, 4))
    images -= images.mean(axis=(1, 2), keepdims=True)
    images /= np.sqrt((images**2).sum(axis=(1, 2), keepdims=True))
    cluster = np.arange(30)
    cluster[9:18] = 9
    found = Surroundings(images, 0).differing(cluster)
    for i in range(30):
        nearest: dict[int, float] = {}
        for j in range(30):
            if cluster[j] != cluster[i]:
                difference = 1 - float((images[i] * images[j]).sum())
                nearest[cluster[j]] = min(nearest.get(cluster[j], 9.0), difference)
        assert found[i] == pytest.approx(sorted(nearest.values())[5], abs=1e-5)
    assert (found <= Surroundings(images, 0).widest + 1e-6).all()


def test_a_shifted_and_scaled_image_is_brought_into_register() -> None:
    draws = np.random.default_rng(2)
    large = ndimage.gaussian_filter(draws.standard_normal((6, 400, 400)), (0, 12, 12))

    def fingerprint(window: np.ndarray) -> torch.Tensor:
        pictures = [
            Image.fromarray(image).resize((32, 32), Image.Resampling.BOX) for image in window.astype(np.float32)
        ]
        levels = np.stack([np.asarray(picture) for picture in pictures])
        levels -= levels.mean(axis=(1, 2), keepdims=True)
        return torch.from_numpy(levels / np.sqrt((levels**2).sum(axis=(1, 2), keepdims=True)))

    whole, window = fingerprint(large[:, :320, :320]), fingerprint(large[:, 8:312, 4:308])
    before = 1 - (whole * window).sum((1, 2))
    assert (before > 0.05).all()
    for found in (difference_in_register(whole, window), difference_in_register(window, whole)):
        assert (found < 0.02).all()
    others = difference_in_register(whole, window.roll(1, 0))
    assert (others > 0.2).all()
    assert len(difference_in_register(whole[:0], window[:0])) == 0


def test_exact_duplicates_are_clusters_of_equal_pixels() -> None:
    pictures = [part(0), part(1), part(0).copy(), part(2), part(1), part(1)]
    facts = [
        fact(picture, kind) for picture, kind in zip(pictures, ("PNG", "PNG", "BMP", "PNG", "TIFF", "PNG"), strict=True)
    ]
    broken = look(Record("broken", lambda: b"text"))
    assert exact_duplicates([*facts, broken, broken]) == [[0, 2], [1, 4, 5]]


def test_clusters_join_what_is_joined_in_any_order() -> None:
    clusters = Clusters(7)
    clusters.join((5, 6))
    clusters.join((1, 2))
    clusters.join((6, 2))
    clusters.join((3,))
    assert clusters.members() == [[1, 2, 5, 6]]
    assert clusters.roots() == [0, 1, 1, 3, 4, 1, 1]


def test_pairs_are_ordered_and_unique(alike: Originals) -> None:
    whole = Image.fromarray((np.hypot(*np.mgrid[-48:48, -48:48]) * 4).clip(0, 255).astype(np.uint8))
    found = near_duplicates([fact(whole), *alike[1][:10], fact(half(whole))])
    assert found == [Pair(0, 11, found[0].distance, found[0].difference)]


def test_fingerprints_have_no_mean_and_unit_norm(varied: Originals) -> None:
    found = thumbs(varied[1][:5])
    assert np.allclose(found.mean(axis=(1, 2)), 0, atol=1e-6)
    assert np.allclose((found**2).sum(axis=(1, 2)), 1, atol=1e-5)
