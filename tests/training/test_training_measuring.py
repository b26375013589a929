"""Measurements of trained models: which images they use, and models that can't be measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import sadm.training.measuring
from sadm.core.errors import DivergedError, UserError
from sadm.core.progress import Silent
from sadm.data import Split, load_split
from sadm.evaluation import HeldOutParts
from sadm.training.measuring import Measuring
from sadm.training.model_folder import Model, load_model
from sadm.training.run import train
from tiny import tiny_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Split, Model]:
    folder, split = tmp_path_factory.mktemp("measuring") / "run", load_split("digits", held_out=0.4, limit=40)
    train(tiny_config(signal="none"), folder, images=split.train)
    return folder, split, load_model(folder)


def measuring(split: Split, monkeypatch: pytest.MonkeyPatch, **data: Any) -> Measuring:
    monkeypatch.setattr(sadm.training.measuring, "steps_for", lambda images: 2)
    return Measuring(tiny_config(data=data), split, "cpu", Silent(), classifiers=1)


def test_the_test_images_are_nobodys(trained: tuple[Path, Split, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, split, model = trained
    bench, parts = measuring(split, monkeypatch), HeldOutParts.of(split.held_out)
    assert set(bench.test.names) == set(parts.floor.names)
    assert not set(bench.test.names) & {*parts.judging.names, *parts.reference.names, *split.train.names}
    found = bench.downstream(model, folder, seed=0)
    assert (found["training_images"], found["held_out_images"]) == (40, len(parts.floor))
    assert bench.representation(model)["linear"]["block"] == "net.blocks.0"


def test_classifiers_mirror_images_where_the_model_may(
    trained: tuple[Path, Split, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, split, model = trained
    flips = [measuring(split, monkeypatch, flip=flip).downstream(model, folder, 0) for flip in (False, True)]
    assert [found["classifier"]["flip"] for found in flips] == [False, True]


def test_a_model_without_these_classes_is_refused(
    trained: tuple[Path, Split, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, split, model = trained
    bench = measuring(split, monkeypatch)
    unconditional = dataclasses.replace(model, spec=dataclasses.replace(model.spec, class_names=(), label_counts=()))
    with pytest.raises(UserError, match="this model's classes are none: it is unconditional; those of digits are 0, 1"):
        bench.downstream(unconditional, folder, 0)


def test_a_model_that_draws_nothing_finite_has_diverged(
    trained: tuple[Path, Split, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, split, _ = trained
    model = load_model(folder)
    for parameter in model.denoiser.parameters():
        parameter.fill_(torch.nan)
    with pytest.raises(DivergedError, match="draws NaN or infinite pixels"):
        measuring(split, monkeypatch).downstream(model, folder, 0)
