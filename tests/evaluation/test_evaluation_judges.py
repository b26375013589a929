"""Judges against other implementations of the same features, and the evaluator's parts, floor and refusals."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import ImageSet
from sadm.evaluation import (
    Evaluator,
    GaussianFit,
    HeldOutParts,
    MlpJudge,
    PixelJudge,
    RandomConvJudge,
    build_judges,
    frechet_distance,
    kernel_distance,
)


def image_set(count: int, seed: int = 0, classes: int = 3, channels: int = 1, size: int = 6) -> ImageSet:
    """Blurred stripes whose direction is the class, over noise."""
    source = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 120, (count, channels, size, size), generator=source)
    labels = torch.arange(count) % max(classes, 1)
    for i, label in enumerate(labels.tolist()):
        pixels[i, :, label::3, :] += 100
    return ImageSet(
        images=pixels.to(torch.uint8),
        labels=labels if classes else None,
        class_names=tuple("abc"[:classes]),
        names=tuple(str(i) for i in range(count)),
        source="stripes",
    )


def flat(images: ImageSet) -> np.ndarray:
    return images.images.numpy().reshape(len(images), -1).astype(np.float64) / 127.5 - 1


# ---- judges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_the_classifiers_features_lead_to_its_own_probabilities(classes: int) -> None:
    judge, images = MlpJudge(image_set(60, classes=classes), width=8), image_set(20, seed=1, classes=classes)
    features = judge.features(images)
    assert features.shape == (20, 8)
    assert features.dtype == np.float64
    assert (features >= 0).all()
    scores = features @ judge.model.coefs_[-1] + judge.model.intercepts_[-1]
    if classes == 2:
        probability = 1 / (1 + np.exp(-scores[:, 0]))
        expected = np.stack([1 - probability, probability], axis=1)
    else:
        expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(expected, judge.model.predict_proba(flat(images).astype(np.float32)), atol=1e-5)
    assert images.labels is not None
    assert judge.predict(images).tolist() == expected.argmax(1).tolist()
    assert judge.accuracy(images) == (expected.argmax(1) == images.labels.numpy()).mean()
    assert judge.accuracy(images) > 0.9


def test_the_classifier_names_classes_by_their_index_even_where_some_are_missing() -> None:
    images = image_set(60)
    part = images.subset((images.labels != 1).nonzero().flatten())  # type: ignore[union-attr]
    judge = MlpJudge(part, width=8)
    assert set(judge.predict(part).tolist()) == {0, 2}
    assert judge.accuracy(part) > 0.9


def test_a_second_fit_is_the_same_and_leaves_global_randomness_alone() -> None:
    images, other = image_set(40, channels=3), image_set(10, seed=1, channels=3)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    for build in (MlpJudge, PixelJudge, lambda _: RandomConvJudge(3)):
        assert np.array_equal(build(images).features(other), build(images).features(other))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])  # type: ignore[index]


def test_pixel_components_equal_a_singular_value_decomposition() -> None:
    images, other = image_set(50), image_set(12, seed=1)
    judge = PixelJudge(images, components=5)
    centre = flat(images).mean(0)
    _, sizes, directions = np.linalg.svd(flat(images) - centre, full_matrices=False)
    assert (np.diff(sizes[:6]) < -1e-3).all()  # distinct, so that the directions are determined
    expected = (flat(other) - centre) @ directions[:5].T
    found = judge.features(other)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found * np.sign((found * expected).sum(0)), expected, atol=1e-4)


@pytest.mark.parametrize(("count", "size", "expected"), [(10, 6, 10), (50, 6, 32), (50, 3, 9)])
def test_there_are_no_more_components_than_images_or_pixels(count: int, size: int, expected: int) -> None:
    assert PixelJudge(image_set(count, size=size)).features(image_set(4, size=size)).shape == (4, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_random_convolutions_equal_loops(channels: int) -> None:
    judge, images = RandomConvJudge(channels, width=3), image_set(2, channels=channels, size=4)

    def convolve(x: np.ndarray, kernels: np.ndarray) -> np.ndarray:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        out = np.zeros((len(kernels), *x.shape[1:]))
        for o, row, column in itertools.product(range(len(kernels)), range(x.shape[1]), range(x.shape[2])):
            out[o, row, column] = (padded[:, row : row + 3, column : column + 3] * kernels[o]).sum()
        return out

    x = flat(images)[1].reshape(channels, 4, 4)
    first, second = (w.double().numpy() for w in (judge.first, judge.second))
    response = convolve(np.maximum(convolve(x, first), 0), second).reshape(3, -1)
    expected = np.concatenate([response.mean(1), response.std(1, ddof=1)])
    np.testing.assert_allclose(judge.features(images)[1], expected, rtol=1e-5, atol=1e-6)


def test_random_convolutions_do_not_depend_on_chunks() -> None:
    judge, images = RandomConvJudge(1), image_set(520, size=4)
    found = judge.features(images)
    assert found.shape == (520, 64)
    for i in (0, 511, 512, 519):
        np.testing.assert_allclose(found[i], judge.features(images.subset(torch.tensor([i])))[0], rtol=1e-5, atol=1e-6)


def test_two_judges_decide_with_and_without_labels() -> None:
    def summary(images: ImageSet) -> list[tuple[str, bool, str]]:
        return [(judge.name, judge.decides, judge.kind) for judge in build_judges(images)]

    labelled = [("mlp", True, "label-based"), ("pixels", True, "label-free"), ("random_conv", False, "label-free")]
    free = [("pixels", True, "label-free"), ("random_conv", True, "label-free")]
    assert summary(image_set(30)) == labelled
    assert summary(image_set(30, classes=0)) == free
    assert summary(image_set(30, classes=1)) == free  # one class teaches a classifier nothing


# ---- the evaluator ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "most", "size"), [(12, 3000, 4), (14, 3000, 4), (100, 3000, 33), (100, 20, 20)])
def test_the_parts_share_nothing_and_are_of_equal_size(count: int, most: int, size: int) -> None:
    images = image_set(count)
    parts = HeldOutParts.of(images, most)
    names = [set(part.names) for part in (parts.judging, parts.reference, parts.floor)]
    assert [len(part) for part in names] == [size] * 3
    assert len(set.union(*names)) == 3 * size
    assert set.union(*names) <= set(images.names)
    again = HeldOutParts.of(images, most)
    assert [p.names for p in (again.judging, again.floor)] == [p.names for p in (parts.judging, parts.floor)]
    assert list(parts.reference.names) != sorted(parts.reference.names, key=int)  # shuffled: files often come by class


@pytest.mark.parametrize("count", [0, 1, 11])
def test_too_few_held_out_images_are_refused(count: int) -> None:
    with pytest.raises(UserError, match=rf"^{count} held-out images are too few.*at least 12.*--data\.held-out"):
        HeldOutParts.of(image_set(count))


def grouped(sizes: list[int]) -> ImageSet:
    """Images in groups of these sizes, in a seeded order."""
    names = [f"part {number}" for number, size in enumerate(sizes) for _ in range(size)]
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(5)).tolist()
    return dataclasses.replace(image_set(len(names)), groups=tuple(names[i] for i in order))


@pytest.mark.parametrize("most", [3000, 20])
@pytest.mark.parametrize("groups", [None, tuple(f"part {i}" for i in range(100))])
def test_images_that_are_groups_of_their_own_are_divided_as_ever(groups: tuple[str, ...] | None, most: int) -> None:
    order = torch.randperm(100, generator=generator("held-out parts", 100)).tolist()
    size = min(33, most)
    found = HeldOutParts.positions(dataclasses.replace(image_set(100), groups=groups), most)
    assert [part.tolist() for part in found] == [order[:size], order[33 : 33 + size], order[66 : 66 + size]]


@pytest.mark.parametrize(("sizes", "most"), [([10] * 12, 3000), ([1, 2, 3, 4, 5, 6, 7, 20] * 3, 3000), ([7] * 30, 25)])
def test_parts_of_groups_share_no_group_and_are_of_equal_size(sizes: list[int], most: int) -> None:
    images = grouped(sizes)
    found = HeldOutParts.of(images, most)
    parts = [found.judging, found.reference, found.floor]
    owners = [set(part.groups or ()) for part in parts]
    assert len(set.union(*owners)) == sum(map(len, owners))
    assert len({name for part in parts for name in part.names}) == sum(map(len, parts))
    assert len({len(part) for part in parts}) == 1
    # The part with the fewest images gets the next group, so that no two differ by more than the largest group.
    assert len(parts[0]) >= min(most, (sum(sizes) - 2 * max(sizes)) / 3)
    assert len(parts[0]) <= most
    again = HeldOutParts.of(images, most)
    assert again.floor.names == found.floor.names
    assert list(found.floor.names) != sorted(found.floor.names, key=int)
    assert len(set(found.floor.labels.tolist())) == 3  # type: ignore[union-attr]


def test_near_duplicates_in_groups_do_not_lower_the_floor() -> None:
    """Ten copies of each image in a group: the floor is as far away as distinct images are, and not as copies are."""
    single = image_set(60)
    copies = dataclasses.replace(single.subset(torch.arange(60).repeat(10)), names=tuple(map(str, range(600))))
    groups = tuple(f"part {i % 60}" for i in range(600))

    def nearest(images: ImageSet) -> float:
        parts = HeldOutParts.of(images)
        floor, reference = flat(parts.floor), flat(parts.reference)
        return float(np.mean([np.sqrt(((reference - row) ** 2).sum(1)).min() for row in floor]))

    expected = nearest(single)
    assert nearest(dataclasses.replace(copies, groups=groups)) == pytest.approx(expected, rel=0.15)
    assert nearest(copies) < 0.2 * expected  # nobody said that these belong together


@pytest.mark.parametrize("sizes", [[20], [10, 10]])
def test_fewer_than_three_groups_are_refused(sizes: list[int]) -> None:
    number = f"{len(sizes)} group{'s' if len(sizes) > 1 else ''}"
    with pytest.raises(UserError, match=rf"^the 20 held-out images belong to {number};.*at least 3.*--data\.held-out"):
        HeldOutParts.of(grouped(sizes))


def test_groups_that_leave_too_few_images_for_a_part_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"to 3 groups of up to 30 images;.*smallest has 3,.*at least 4.*--data\.held-out"
    ):
        HeldOutParts.of(grouped([30, 30, 3]))
    assert len(HeldOutParts.of(grouped([30, 30, 4])).floor) == 4


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(image_set(91))


def test_real_images_score_the_floor(evaluator: Evaluator) -> None:
    floor = evaluator.parts.floor
    found = evaluator.evaluate(floor.floats(), floor.labels)
    assert found.fd == evaluator.floor
    assert (found.images, found.group) == (30, 30)
    for judge in evaluator.judges:
        features, reference = judge.features(floor), judge.features(evaluator.parts.reference)
        expected = frechet_distance(GaussianFit.of(features), GaussianFit.of(reference))
        assert found.fd[judge.name] == pytest.approx(expected, rel=1e-9)
        assert found.kid[judge.name] == pytest.approx(kernel_distance(features, reference), rel=1e-9)
    assert found.label_accuracy == evaluator.judges[0].accuracy(floor)  # type: ignore[attr-defined]


def test_the_reference_itself_is_no_distance_away_and_noise_is_far(evaluator: Evaluator) -> None:
    reference = evaluator.parts.reference
    near = evaluator.evaluate(reference.floats()).fd
    far = evaluator.evaluate(torch.rand(30, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1).fd
    for name, floor in evaluator.floor.items():
        assert abs(near[name]) < 1e-4 * floor
        assert far[name] > 1.5 * floor


def test_several_groups_are_averaged(evaluator: Evaluator) -> None:
    first, second = evaluator.parts.floor, evaluator.parts.judging
    both = torch.cat([first.floats(), second.floats()])
    found = evaluator.evaluate(both)
    single = [evaluator.evaluate(part.floats()) for part in (first, second)]
    for name in found.fd:
        assert found.fd[name] == pytest.approx((single[0].fd[name] + single[1].fd[name]) / 2, rel=1e-12)
        assert found.kid[name] == pytest.approx((single[0].kid[name] + single[1].kid[name]) / 2, rel=1e-12)
    assert (found.images, found.group, found.label_accuracy) == (60, 30, None)


@pytest.mark.parametrize(
    "shape", [(0, 1, 6, 6), (29, 1, 6, 6), (31, 1, 6, 6), (45, 1, 6, 6), (30, 3, 6, 6), (30, 1, 6, 5)]
)
def test_another_number_or_shape_is_refused(evaluator: Evaluator, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"multiple of 30 images of shape \(1, 6, 6\), got \("):
        evaluator.evaluate(torch.zeros(shape))


def test_diverged_images_are_refused(evaluator: Evaluator) -> None:
    images = torch.zeros(30, 1, 6, 6)
    images[3, 0, 2, 2] = torch.nan
    with pytest.raises(UserError, match="1 of 1080 pixel values are NaN"):
        evaluator.evaluate(images)


def test_the_description_covers_every_judge(evaluator: Evaluator) -> None:
    facts = evaluator.describe()
    assert {name: (fact["dim"], fact["decides"]) for name, fact in facts.items()} == {
        "mlp": (64, True),
        "pixels": (30, True),
        "random_conv": (64, False),
    }
    assert facts["mlp"]["accuracy"] == evaluator.judges[0].accuracy(evaluator.parts.reference)  # type: ignore[attr-defined]
    assert "accuracy" not in facts["pixels"]


def test_without_labels_there_is_no_accuracy() -> None:
    found = Evaluator(image_set(36, classes=0)).evaluate(image_set(12, seed=2).floats(), None)
    assert found.label_accuracy is None
    assert set(found.fd) == set(found.kid) == {"pixels", "random_conv"}
    assert found.as_dict()["images"] == 12
