"""Old and new images in one folder: classes, groups, sides, and the configuration that trains on them."""

from __future__ import annotations

import dataclasses

import torch

from sadm.core.progress import Silent
from sadm.data import ImageSet, load_split, open_source
from sadm.experiments.monitoring.together import write_together
from sadm.training.config import TrainConfig, load_train_config

ALL = load_split("digits", held_out=0.4)


def config(**data: object) -> TrainConfig:
    return load_train_config(None, None, {"data": {"source": "digits", "held_out": 0.4, **data}})


def sides(folder: str) -> dict[int, str]:
    joined = open_source(folder)
    assert isinstance(joined, ImageSet)
    assert joined.parts is not None
    return dict(zip(joined.keys.tolist(), joined.parts, strict=True))


def test_a_group_that_is_known_stays_on_its_side(tmp_path):
    train, held = ALL.train.subset(torch.arange(60)), ALL.held_out.subset(torch.arange(40))
    split = dataclasses.replace(
        ALL,
        train=dataclasses.replace(train, groups=tuple(f"a{i // 5}" for i in range(60))),
        held_out=dataclasses.replace(held, groups=tuple(f"b{i // 5}" for i in range(40))),
    )
    groups = ("a1",) * 10 + ("b2",) * 10 + tuple(f"c{i // 5}" for i in range(80))
    new = dataclasses.replace(ALL.train.subset(torch.arange(100, 200)), groups=groups)
    folder, _ = write_together(config(), split, new, tmp_path, Silent())
    found = sides(str(folder))
    keys = new.keys.tolist()
    assert {found[key] for key in keys[:10]} == {"train"}
    assert {found[key] for key in keys[10:20]} == {"held_out"}
    assert {found[key] for key in split.train.keys.tolist()} == {"train"}
    assert {found[key] for key in split.held_out.keys.tolist()} == {"held_out"}
    for start in range(20, 100, 5):
        assert len({found[key] for key in keys[start : start + 5]}) == 1
    assert 15 <= sum(found[key] == "held_out" for key in keys[20:]) <= 50


def test_a_few_images_are_trained_on(tmp_path):
    new = ALL.train.subset(torch.arange(3))
    split = dataclasses.replace(ALL, train=ALL.train.subset(torch.arange(10, 60)))
    folder, path = write_together(config(), split, new, tmp_path, Silent())
    found = sides(str(folder))
    assert {found[key] for key in new.keys.tolist()} == {"train"}
    again = load_train_config(None, path)
    assert again.data.source == str(folder)


def test_what_was_done_to_images_is_not_done_again(tmp_path):
    done = config(resolution=8, fit="tiles", overlap=0.5, limit=50, keep={"3": 0.5})
    small = dataclasses.replace(
        ALL, train=ALL.train.subset(torch.arange(50)), held_out=ALL.held_out.subset(torch.arange(20))
    )
    _, path = write_together(done, small, ALL.train.subset(torch.arange(100, 140)), tmp_path, Silent())
    data = load_train_config(None, path).data
    assert (data.fit, data.overlap, data.limit, data.keep, data.resolution, data.channels) == (
        "crop",
        0.0,
        None,
        {},
        8,
        1,
    )
    opened = open_source(data.source, resolution=8, channels=1)
    assert torch.isin(small.train.keys, opened.keys).all()
