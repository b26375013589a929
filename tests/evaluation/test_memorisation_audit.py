from __future__ import annotations

import dataclasses
import functools
import json

import pytest
import torch

from benchmarks.audit.planting import KINDS, copies
from sadm.core.errors import UserError
from sadm.data import ImageSet, Split, load_split, to_uint8
from sadm.evaluation.memorisation import Audit, audit


@functools.cache
def digits() -> tuple[Split, ImageSet, ImageSet]:
    """Digits: a split, held-out images for the audit, and 300 fresh ones that it does not get."""
    split = load_split("digits", held_out=0.4)
    order = torch.randperm(len(split.held_out), generator=torch.Generator().manual_seed(7))
    return split, split.held_out.subset(order[300:]), split.held_out.subset(order[:300])


def bare(images: ImageSet) -> ImageSet:
    return ImageSet(images.images, images.labels, images.class_names, images.names, "generated")


@functools.cache
def audited(share: float) -> tuple[Audit, int]:
    """Fresh images, of which a share is replaced by copies of all kinds in turn."""
    split, held, fresh = digits()
    count = round(share * len(fresh))
    originals = split.train.floats(torch.arange(200, 200 + count))
    kinds = list(KINDS)
    planted = [copies(originals[i : i + 1], kinds[i % len(kinds)], i) for i in range(count)]
    images = torch.cat([*(to_uint8(image) for image in planted), fresh.images[count:]])
    labels = torch.cat([split.train.labels[200 : 200 + count], fresh.labels[count:]])
    return audit(dataclasses.replace(bare(fresh), images=images, labels=labels), split.train, held), count


def test_fresh_images_are_no_copies():
    found, _ = audited(0.0)
    assert found.verdict in ("clear", "look")
    assert found.copies.mean() <= 0.01
    assert found.closer.p_value > 0.01
    assert found.leaked == 0


@pytest.mark.parametrize("share", [0.005, 0.02, 0.05])
def test_planted_copies_are_found(share):
    found, count = audited(share)
    assert found.copies[:count].sum() >= 0.95 * count
    assert found.copies[count:].mean() <= 0.01
    assert found.nearest.index[:count].tolist() == list(range(200, 200 + count))
    assert set(found.order[:count].tolist()) == set(range(count))
    assert found.as_dict()["copied_training_images"] >= count


def test_five_per_cent_are_more_than_chance_explains_and_half_a_per_cent_is_not():
    many, few = (audited(share)[0].as_dict() for share in (0.05, 0.005))
    assert (many["verdict"], few["verdict"]) == ("copies", "look")
    assert many["copies_p_value"] < 0.01 < few["copies_p_value"]


def test_a_set_of_copies_is_closer_in_every_space_and_repeats_itself():
    split, held, _ = digits()
    originals = split.train.subset(torch.arange(40).repeat(3))
    found = audit(dataclasses.replace(bare(originals), images=(originals.images // 2 + 30)), split.train, held)
    facts = found.as_dict()
    assert facts["verdict"] == "copies"
    assert facts["copy_rate"] == 1.0
    assert facts["copied_training_images"] == 40
    assert all(space["p_value"] < 1e-6 for name, space in facts["spaces"].items() if name in ("registered",))
    assert facts["p_value"] < 1e-6
    assert facts["duplicates"]["generated"] == 120
    assert facts["duplicates"]["real"] <= 5
    assert len(found.closest(24)) == 24
    assert len(set(found.nearest.index[torch.from_numpy(found.closest(40))].tolist())) == 40


def test_blurred_fresh_images_are_not_accused():
    split, held, fresh = digits()
    blurred = torch.nn.functional.avg_pool2d(fresh.floats(), 3, 1, 1, count_include_pad=False)
    found = audit(dataclasses.replace(bare(fresh), images=to_uint8(blurred)), split.train, held)
    assert found.verdict in ("clear", "look")
    assert found.closer.p_value > 0.01


def test_held_out_images_that_are_in_training_are_reported():
    split, held, fresh = digits()
    leaking = dataclasses.replace(held, images=torch.cat([split.train.images[:60], held.images[60:]]))
    found = audit(bare(fresh), split.train, leaking)
    assert 5 <= found.leaked <= 60


def test_the_same_call_finds_the_same_and_json_has_all_of_it():
    split, held, fresh = digits()
    generated = bare(fresh.subset(torch.arange(60)))
    first, second = (audit(generated, split.train, held, seed=3).as_dict() for _ in range(2))
    assert first == second
    again = json.loads(json.dumps(first, allow_nan=False))
    assert {"copies", "copy_rate", "p_value", "verdict"} <= again.keys()
    assert sum(row["images"] for row in again["classes"].values()) == 60
    assert again["held_out"]["comparison"]["independent"] == again["threshold"]["units"]


def test_unlabelled_images_in_groups():
    split, held, fresh = digits()
    groups = tuple(f"writer {i // 5}" for i in range(len(held)))
    plain = [dataclasses.replace(part, labels=None, class_names=()) for part in (split.train, held, bare(fresh))]
    found = audit(plain[2], plain[0], dataclasses.replace(plain[1], groups=groups))
    assert found.threshold.units == len(set(found.parts.comparison.groups)) < len(found.parts.comparison)
    assert found.by_class() == {}
    assert set(found.spaces) == {"registered", "rms", "pixels", "random_conv"}


def test_what_does_not_fit_is_refused():
    split, held, fresh = digits()
    generated = bare(fresh)
    larger = dataclasses.replace(generated, images=torch.zeros(300, 1, 16, 16, dtype=torch.uint8))
    with pytest.raises(UserError, match="expected one shape"):
        audit(larger, split.train, held)
    with pytest.raises(UserError, match="expected the same, or no labels"):
        audit(dataclasses.replace(generated, class_names=tuple("abcdefghij")), split.train, held)
    with pytest.raises(UserError, match="at least 2 generated"):
        audit(generated.subset(torch.arange(1)), split.train, held)
    with pytest.raises(UserError, match="at least 12"):
        audit(generated, split.train, held.subset(torch.arange(8)))
    shared = [dataclasses.replace(part, groups=("one part",) * len(part)) for part in (split.train, held)]
    with pytest.raises(UserError, match="both training and held-out images"):
        audit(generated, *shared)
