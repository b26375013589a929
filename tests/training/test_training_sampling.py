"""How a run is to be sampled is checked before it trains, and what can't be drawn afterwards costs no step of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.training.config import DenoiserConfig, NetConfig, SamplingConfig
from sadm.training.model_folder import Model, load_model
from sadm.training.run import train
from sadm.training.sampling import check_sampling
from sadm.training.spec import ModelSpec
from tiny import Listener, equal_bits, tiny_config, tiny_images


def spec(names: tuple[str, ...] = (), **process: Any) -> ModelSpec:
    net = NetConfig(patch=4, width=16, depth=1, heads=2)
    return ModelSpec((1, 8, 8), net, 0.5, names, (1,) * len(names), DenoiserConfig(**process))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"process": {"kind": "vp", "timesteps": 2}}, "sampling: expected 1 to 2 steps .* of 2 timesteps, got 3"),
        ({"sampling": {"shift": 3.0}}, "sampling: shift 3.0 applies to grid 'native' of a flow on straight lines"),
        ({"sampling": {"guidance_scale": 2.0}}, "guidance_scale 2.0 needs a network with classes"),
        (
            {"process": {"kind": "vp", "betas": [0.5, 0.9]}},
            r"betas \(0.5, 0.9\), timesteps 1000: expected alphas_cumprod",
        ),
    ],
)
def test_what_could_not_be_drawn_is_refused_before_anything_is_learned(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    listener = Listener()
    with pytest.raises(UserError, match=message):
        train(tiny_config(**change), tmp_path / "run", listener, tiny_images(labelled=False))
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not [text for text in listener.said if "encoder" in text]


def test_latents_can_not_be_clipped() -> None:
    assert check_sampling(spec(), SamplingConfig(clip=True), latents=False) == []
    with pytest.raises(UserError, match=r"sampling: clip brings images into \[-1, 1\], and latents have no bounds"):
        check_sampling(spec(), SamplingConfig(clip=True), latents=True)


@pytest.mark.parametrize(
    ("process", "sampling", "expected"),
    [
        ({}, {}, None),
        ({"kind": "flow"}, {}, None),
        ({"kind": "vp"}, {}, None),
        ({"kind": "vp", "schedule": "cosine"}, {}, "--sampling.clip True, --sampling.spacing leading, or train with"),
        ({"kind": "vp", "schedule": "cosine"}, {"clip": True}, None),
        ({"kind": "vp", "schedule": "cosine"}, {"spacing": "leading"}, None),
        ({"kind": "vp", "schedule": "cosine"}, {"grid": "karras"}, None),
        ({"kind": "vp", "schedule": "cosine", "prediction": "v"}, {}, None),
        ({"kind": "vp", "timesteps": 100}, {}, "ends at sigma 1.32, where much of an image is still to be seen"),
    ],
)
def test_what_will_disappoint_is_said(process: dict[str, Any], sampling: dict[str, Any], expected: str | None) -> None:
    said = check_sampling(spec(**process), SamplingConfig(**sampling), latents=False)
    assert len(said) == (expected is not None)
    assert expected is None or expected in said[0]


def test_of_latents_no_clipping_is_advised() -> None:
    (said,) = check_sampling(spec(kind="vp", schedule="cosine"), SamplingConfig(), latents=True)
    assert "clip" not in said
    assert "Add --sampling.spacing leading" in said


def test_a_run_says_what_will_disappoint(tmp_path: Path) -> None:
    listener = Listener()
    process = {"kind": "vp", "schedule": "cosine"}
    train(tiny_config(signal="none", process=process), tmp_path / "run", listener, tiny_images())
    assert [text for text in listener.said if "an error of the predicted noise counts" in text]


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), UserError("the autoencoder's folder is gone")])
def test_what_fails_after_training_costs_no_step(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, images = tiny_config(), tiny_images()
    train(config, tmp_path / "whole", images=images)

    def fails(*arguments: Any, **options: Any) -> list[torch.Tensor]:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(Model, "sample_shapes", fails)
        for step in (6, 12):
            with pytest.raises(type(error), match=str(error)):
                train(config, tmp_path / "run", images=images)
            assert (tmp_path / "run" / "checkpoints" / f"step-{step:08d}").is_dir()
    listener = Listener()
    train(config, tmp_path / "run", listener, images)
    assert "Going on from step 12 of 12." in listener.said
    first, second = (load_model(tmp_path / name).denoiser.net.state_dict() for name in ("whole", "run"))
    assert equal_bits(first, second)


def test_a_weak_model_must_have_been_told_the_same(tmp_path: Path) -> None:
    train(tiny_config(signal="none"), tmp_path / "run", images=tiny_images())
    model = load_model(tmp_path / "run")
    weak = dataclasses.replace(model, spec=dataclasses.replace(model.spec, pictures=("masks",)))
    sampling = model.sampling.model_copy(update={"guidance_scale": 2.0})
    assert model.sample(2, sampling=sampling, weak=weak).shape == (2, 1, 8, 8)
    with pytest.raises(UserError, match=r"the weak model has pictures \('masks',\), this one \(\)"):
        model.sample(2, sampling=sampling, weak=weak, told=Cond())


def test_models_from_before_sampling_came_from_infinity_are_drawn_as_they_were(tmp_path: Path) -> None:
    train(tiny_config(signal="none"), tmp_path, images=tiny_images())
    model, path = load_model(tmp_path), tmp_path / "model" / "model.json"
    description = json.loads(path.read_text())
    assert description["sampling"].pop("from_infinity") is None
    path.write_text(json.dumps(description))
    older = load_model(tmp_path)
    assert older.sampling.from_infinity is False
    assert not torch.equal(older.sample(2), model.sample(2))
    assert torch.equal(older.sample(2, sampling=model.sampling), model.sample(2))
