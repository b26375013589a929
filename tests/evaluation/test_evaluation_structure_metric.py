"""The structure metric against plain loops, and on sets whose arrangement is known to be wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sadm.core.errors import UserError
from sadm.evaluation import StructureGaps, mean_gaps, patch_gaps, patches, structure_gaps

CLASSES = 5
CENTRES = np.random.default_rng(0).standard_normal((CLASSES, 8)) * 3
GAPS = ("distances", "spectrum", "mixing", "classes")


def drawn(
    seed: int,
    count: int = 480,
    dropped: int | None = None,
    spread: float = 1.0,
    collapsed: int | None = None,
    shuffled: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters around fixed centres, and their labels."""
    draws = np.random.default_rng(seed)
    labels = draws.permutation(np.arange(count) % CLASSES)
    if dropped is not None:
        labels[labels == dropped] = (dropped + 1) % CLASSES
    values = CENTRES[labels] + spread * draws.standard_normal((count, 8))
    if collapsed is not None:
        values[labels == collapsed] = CENTRES[collapsed]
    return values, draws.permutation(labels) if shuffled else labels


# ---- against loops ---------------------------------------------------------------------------------------------------


def naive(x: np.ndarray, y: np.ndarray, x_labels: np.ndarray, y_labels: np.ndarray, k: int) -> dict[str, float]:
    count = len(x)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    scale = sum(math.dist(y[i], y[j]) for i, j in pairs) / len(pairs)
    ours, real = (sorted(math.dist(z[i], z[j]) / scale for i, j in pairs) for z in (x, y))
    spectra = []
    for z in (x, y):
        graph = [[math.exp(-((math.dist(a, b) / scale) ** 2) / 2) / count for b in z] for a in z]
        spectra.append(sorted(np.linalg.eigvals(np.array(graph)).real))
    union = [*x, *y]
    own = 0
    for i, point in enumerate(union):
        others = sorted((math.dist(point, other), j) for j, other in enumerate(union) if j != i)
        own += sum((j < count) == (i < count) for _, j in others[:k])
    chance = (count - 1) / (2 * count - 1)
    ratios = []
    for z, labels in ((x, x_labels), (y, y_labels)):
        within = [math.dist(z[i], z[j]) for i, j in pairs if labels[i] == labels[j]]
        between = [math.dist(z[i], z[j]) for i, j in pairs if labels[i] != labels[j]]
        ratios.append(sum(within) / len(within) / (sum(between) / len(between)))
    return {
        "distances": sum(abs(a - b) for a, b in zip(ours, real, strict=True)) / len(pairs),
        "spectrum": sum(abs(a - b) for a, b in zip(*spectra, strict=True)) / 2,
        "mixing": (own / (2 * count * k) - chance) / (1 - chance),
        "classes": abs(ratios[0] - ratios[1]),
    }


@settings(max_examples=25, deadline=None)
@given(n=st.integers(5, 12), length=st.integers(1, 4), k=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_gaps_equal_loops(n: int, length: int, k: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    x, y = draws.standard_normal((n, length)) * 1.3 + 0.5, draws.standard_normal((n, length))
    labels = [np.append([0, 0, 1, 1], draws.integers(0, 3, n - 4)) for _ in range(2)]
    assert vars(structure_gaps(x, y, *labels, neighbours=k)) == pytest.approx(naive(x, y, *labels, k), abs=1e-9)


def test_scale_and_order_play_no_part() -> None:
    (x, x_labels), (y, y_labels) = drawn(1), drawn(2)
    found = vars(structure_gaps(x, y, x_labels, y_labels))
    order = np.random.default_rng(3).permutation(len(x))
    assert vars(structure_gaps(7 * x[order] + 2, 7 * y + 2, x_labels[order], y_labels)) == pytest.approx(
        found, rel=1e-8
    )
    assert structure_gaps(x, y) == StructureGaps(found["distances"], found["spectrum"], found["mixing"], None)


def test_a_set_lies_at_no_distance_from_itself_and_mixing_tells_the_copies() -> None:
    x, labels = drawn(4)
    found = structure_gaps(x, x, labels, labels)
    assert (found.distances, found.spectrum, found.classes) == (0, 0, 0)
    assert found.mixing < -0.3


# ---- on sets whose arrangement is known ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def floors() -> dict[str, np.ndarray]:
    """Gaps of 20 real sets against another 20."""
    found = [structure_gaps(*_pair(drawn(1000 + i), drawn(2000 + i))) for i in range(20)]
    return {name: np.array([getattr(gaps, name) for gaps in found]) for name in GAPS}


def _pair(
    ours: tuple[np.ndarray, np.ndarray], real: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return ours[0], real[0], ours[1], real[1]


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ({"collapsed": 1}, ("distances", "spectrum", "mixing", "classes")),
        ({"dropped": 2}, ("distances", "spectrum", "mixing")),
        ({"spread": 0.6}, ("distances", "spectrum", "mixing", "classes")),
        ({"spread": 1.5}, ("distances", "spectrum", "mixing", "classes")),
        ({"shuffled": True}, ("classes",)),
    ],
    ids=str,
)
def test_faults_show_far_above_the_floor(
    floors: dict[str, np.ndarray], fault: dict[str, float], shown: tuple[str, ...]
) -> None:
    found = [structure_gaps(*_pair(drawn(i, **fault), drawn(5000 + i))) for i in range(5)]  # type: ignore[arg-type]
    for name in GAPS:
        values = np.array([getattr(gaps, name) for gaps in found])
        if name in shown:
            assert values.min() > floors[name].max(), name
            assert values.mean() - floors[name].mean() > 4 * floors[name].std(), name
    if fault.get("shuffled"):
        for name in ("distances", "spectrum", "mixing"):
            assert np.mean([getattr(gaps, name) for gaps in found]) < floors[name].max()


def test_at_the_floor_mixing_is_zero_on_average(floors: dict[str, np.ndarray]) -> None:
    values = floors["mixing"]
    assert abs(values.mean()) < 3 * values.std() / len(values) ** 0.5


def test_one_generated_image_over_and_over() -> None:
    y, labels = drawn(6)
    found = structure_gaps(np.repeat(y[:1], len(y), axis=0), y, labels, labels)
    assert found.distances == pytest.approx(1)
    assert found.spectrum > 0.3
    assert found.classes is not None
    assert found.classes > 0.3


# ---- patches ---------------------------------------------------------------------------------------------------------


def pictures(seed: int, count: int = 60, size: int = 8) -> torch.Tensor:
    """The same two patterns in different quarters, with noise: whole pictures have two classes, and so has each quarter."""
    source = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (count, 1, 1, 1), generator=source) * 2.0 - 1
    pattern = torch.linspace(-1, 1, size)[None, None, :, None].expand(1, 1, size, size)
    return (0.5 * signs * pattern + 0.1 * torch.randn(count, 1, size, size, generator=source)).clip(-1, 1)


def test_patches_are_cut_place_by_place() -> None:
    images = torch.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7).float()
    found = patches(images, 2)
    assert [part.shape for part in found] == [(2, 18)] * 4
    np.testing.assert_array_equal(found[1].reshape(2, 3, 2, 3), images[:, :, :2, 3:6].numpy())
    np.testing.assert_array_equal(found[2].reshape(2, 3, 2, 3), images[:, :, 2:4, :3].numpy())
    large = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert patches(large)[0].shape == (2, 64)
    assert patches(large)[0][0, 0] == pytest.approx(float(large[0, 0, :4, :4].double().mean()))


def test_gaps_of_patches_are_means_over_places() -> None:
    images, real = pictures(1), pictures(2)
    by_hand = [structure_gaps(x, y) for x, y in zip(patches(images), patches(real), strict=True)]
    found = patch_gaps(images, real)
    assert vars(found) == vars(mean_gaps(by_hand))
    assert found.distances == pytest.approx(sum(gaps.distances for gaps in by_hand) / 4)
    assert found.classes is None


def test_a_fault_in_one_quarter_shows_in_patches() -> None:
    real = pictures(3)
    good, wrong = pictures(4), pictures(5)
    wrong[..., :4, :4] = wrong[:1, :, :4, :4]
    floor, found = patch_gaps(good, real), patch_gaps(wrong, real)
    assert found.distances > 2 * floor.distances
    assert found.mixing > floor.mixing + 0.1


def test_an_empty_corner_is_left_out() -> None:
    images, real = pictures(6), pictures(7)
    images[..., :4, :4] = real[..., :4, :4] = -1
    rest = [structure_gaps(x, y) for x, y in list(zip(patches(images), patches(real), strict=True))[1:]]
    assert vars(patch_gaps(images, real)) == vars(mean_gaps(rest))
    with pytest.raises(UserError, match="equal in each patch"):
        patch_gaps(images, torch.zeros_like(images))


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_what_has_no_structure_is_refused() -> None:
    (x, labels), (y, _) = drawn(8, 40), drawn(9, 40)
    with pytest.raises(UserError, match="equal numbers of images, got 39 and 40"):
        structure_gaps(x[:39], y)
    with pytest.raises(UserError, match="structure with 3 neighbours needs .* at least 4 images"):
        structure_gaps(x[:3], y[:3])
    with pytest.raises(UserError, match="at least 4 images, got shape"):
        structure_gaps(x[:1], y[:1])
    with pytest.raises(UserError, match="all 40 real images have the same features"):
        structure_gaps(x, np.ones_like(y))
    with pytest.raises(UserError, match="NaN or infinite"):
        structure_gaps(x, np.where(y > 2, np.inf, y))
    with pytest.raises(UserError, match="different length"):
        structure_gaps(x, y[:, :3])
    for bad in (np.zeros(40, dtype=int), np.arange(40)):
        with pytest.raises(UserError, match="two classes at least, and two images of one"):
            structure_gaps(x, y, bad, labels)
    with pytest.raises(UserError, match=r"one label for each of 40 images, got shape \(7,\)"):
        structure_gaps(x, y, labels[:7], labels)
    with pytest.raises(UserError, match="images of different shape"):
        patch_gaps(pictures(1), pictures(1, size=6))
    with pytest.raises(UserError, match="at least 2x2 pixels"):
        patches(torch.zeros(4, 1, 1, 5))
