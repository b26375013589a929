"""The filters of `sadm augment` on images that are known: real ones, of another class, noise, copies, and the same one twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from sadm.applications.augment.filters import COLUMNS, FILTERS, KEPT, Filters, Judged
from sadm.core.progress import Silent
from sadm.core.seeds import derive_seed, generator
from sadm.core.store import Store
from sadm.data import ImageSet, to_floats, to_uint8
from sadm.evaluation.downstream import ClassifierSettings
from sadm.evaluation.judges import PixelJudge, RandomConvJudge
from sadm.evaluation.memorisation import AuditParts, CopySearch

NAMES = ("a", "b")


def linear(shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))


def made_up(labels: torch.Tensor, seed: int) -> ImageSet:
    """Smooth random images, class b bright in the middle."""
    coarse = torch.randn(len(labels), 1, 6, 6, generator=generator(seed, "made up"))
    smooth = 0.25 * nn.functional.interpolate(coarse, size=12, mode="bilinear")
    smooth[:, :, 3:9, 3:9] += 0.8 * labels[:, None, None, None]
    pixels = to_uint8((smooth - 0.3).clamp(-1, 1))
    return ImageSet(pixels, labels, NAMES, tuple(f"image {i}" for i in range(len(labels))), "made up")


TRAINING = made_up(torch.tensor([0] * 50 + [1] * 30), 1)
FRESH = made_up(torch.arange(60) % 2, 2)
CANDIDATES = made_up(torch.ones(40, dtype=torch.int64), 3)


@pytest.fixture(scope="module")
def filters() -> Filters:
    classifier = ClassifierSettings(80, 32, 1e-2, shift=0.0, network=linear)
    return Filters(TRAINING, FRESH, classifier, 0.05, 0, "cpu", Silent(), Store(None, {}))


def judged(filters: Filters, images: torch.Tensor, kept: torch.Tensor | None = None) -> Judged:
    labels = torch.ones(len(images), dtype=torch.int64)
    given = dataclasses.replace(CANDIDATES, images=images, labels=labels, names=tuple(map(str, range(len(images)))))
    return filters.judge(given, 1, images[:0] if kept is None else kept)


def names_of(found: Judged) -> list[str]:
    return [(*FILTERS, "kept")[found.verdict(row)] for row in range(len(found.table))]


def test_most_fresh_images_of_the_class_pass(filters: Filters) -> None:
    found = names_of(judged(filters, CANDIDATES.images))
    assert found.count("kept") >= 26  # three filters, each of which may refuse a few
    assert found.count("repeat") <= 1


def test_each_filter_refuses_what_it_is_for(filters: Filters) -> None:
    passed = next(row for row in range(40) if names_of(judged(filters, CANDIDATES.images[row : row + 1])) == ["kept"])
    good = CANDIDATES.images[passed]
    noise = good.clone()
    noise[:, ::2, ::2], noise[:, 1::2, ::2] = 255, 0
    of_class = (TRAINING.labels == 1).nonzero().flatten()
    copy = next(
        TRAINING.images[row].flip(-1)
        for row in of_class.tolist()
        if names_of(judged(filters, TRAINING.images[row : row + 1].flip(-1)))[0] not in ("class", "quality")
    )
    images = torch.stack([good, TRAINING.images[0], noise, copy, good.flip(-2)])
    found = names_of(judged(filters, images))
    assert found[0] == "kept"
    assert found[1] == "class"
    assert found[2] in ("class", "quality")
    assert found[3] == "copy"
    assert found[4] in ("repeat", "class", "quality")  # upside down it may be a stranger
    assert names_of(judged(filters, torch.stack([good, good]))) == ["kept", "repeat"]
    assert names_of(judged(filters, good[None], kept=good[None].flip(-1))) == ["repeat"]


def test_what_is_said_is_what_is_computed_directly(filters: Filters) -> None:
    images = CANDIDATES.images[:12]
    found = judged(filters, images)
    members = TRAINING.subset((TRAINING.labels == 1).nonzero().flatten())
    parts = AuditParts.of(FRESH, derive_seed(0, "filters"), 600)
    judges = (PixelJudge(parts.fitting), RandomConvJudge(1))
    given = dataclasses.replace(CANDIDATES, images=images, labels=None, class_names=(), names=CANDIDATES.names[:12])
    spaces = [(judge.features(given), judge.features(members)) for judge in judges]
    outlying = [max(outlyingness(points[row], real) for points, real in spaces) for row in range(12)]
    real = [
        max(outlyingness(reals[row], np.delete(reals, row, axis=0)) for _, reals in spaces)
        for row in range(len(members))
    ]
    nearest = CopySearch(TRAINING.floats()).nearest(to_floats(images))
    apart = CopySearch(parts.measuring).nearest(to_floats(images)).distance
    for row in range(12):
        values = found.values(row)
        assert values["outlyingness"] == pytest.approx(outlying[row])
        assert values["quality"] == pytest.approx(np.mean([value >= outlying[row] - 1e-9 for value in real]))
        refused = values["class_share"] < 0.05 or values["quality"] < 0.05 or values["class_probability"] < 0.5
        assert refused == (found.verdict(row) in (FILTERS.index("class"), FILTERS.index("quality")))
        assert ("copy_score" in values) != refused
        if not refused:
            score = float(nearest.distance[row] / apart[row])
            assert values["copy_score"] == pytest.approx(score, rel=1e-4)
            assert int(values["nearest"]) == int(nearest.index[row])
            assert (found.verdict(row) == FILTERS.index("copy")) == (score < filters.copies.threshold.score)
    assert set(found.values(0)) <= set(COLUMNS)
    assert len(FILTERS) == KEPT


def outlyingness(point: np.ndarray, real: np.ndarray, neighbours: int = 3) -> float:
    """The least distance to a real feature, over the distance from that one to its third nearest other."""
    ratios = []
    for i, centre in enumerate(real):
        others = sorted(float(np.linalg.norm(centre - other)) for j, other in enumerate(real) if j != i)
        ratios.append(float(np.linalg.norm(point - centre)) / others[neighbours - 1])
    return min(ratios)


def test_few_real_images_judge_no_quality() -> None:
    few = TRAINING.subset(torch.cat([torch.arange(50), torch.arange(50, 54)]))
    classifier = ClassifierSettings(40, 32, 1e-2, shift=0.0, network=linear)
    filters = Filters(few, FRESH, classifier, 0.05, 0, "cpu", Silent(), Store(None, {}))
    assert filters.judges_quality(0)
    assert not filters.judges_quality(1)
    found = judged(filters, CANDIDATES.images)
    assert "quality" not in names_of(found)
    assert "outlyingness" not in found.values(0)
