"""Training on latents: the run, its signals, what is refused, and that it resumes to the same bits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from finetune_setup import start_for
from latent_setup import picture_set, tiny_autoencoder
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.progress import Silent
from sadm.models import LatentCodec, autoencoder_hash
from sadm.training.config import TrainConfig, load_train_config
from sadm.training.encoding import encode_images
from sadm.training.journal import read_metrics
from sadm.training.model_folder import load_model
from sadm.training.moments import Layout
from sadm.training.run import train
from sadm.training.signal_config import Signal
from sadm.training.training_set import check_sizes, training_set
from tiny import equal_bits, tiny_config, tiny_images, tiny_learner

pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_autoencoder(tmp_path_factory.mktemp("models") / "vae")


def latent_config(autoencoder: str, data: dict[str, Any] | None = None, **change: Any) -> TrainConfig:
    """A run on the tiny images' latents [4, 4, 4]."""
    latents = {"autoencoder": autoencoder, **(data or {})}
    return tiny_config(**{"data": latents, "net": {"patch": 2}, "signal": "none", **change})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder).denoiser.net.state_dict()


class StopAt:
    """A reporter that asks for a stop, as Ctrl-C does, when a task has come so far; keeps what it is told."""

    def __init__(self, task: str, done: int) -> None:
        self.at, self.said = (task, done), ""

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == self.at:
            os.kill(os.getpid(), signal.SIGINT)

    def say(self, text: str) -> None:
        self.said += text


def test_a_run_on_latents_leaves_a_model_of_pixels(autoencoder: str, tmp_path: Path) -> None:
    images = tiny_images()
    train(latent_config(autoencoder), tmp_path / "run", images=images)
    assert (tmp_path / "run" / "latents" / "manifest.json").exists()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["data"]["fingerprint"] == images.fingerprint()
    assert facts["data"]["autoencoder"] == autoencoder_hash(autoencoder)
    shutil.move(tmp_path / "run" / "model", tmp_path / "alone")
    shutil.rmtree(tmp_path / "run")
    model = load_model(tmp_path / "alone")
    assert model.spec.shape == (4, 4, 4)
    assert autoencoder_hash(tmp_path / "alone" / "autoencoder") == autoencoder_hash(autoencoder)
    pixels = model.sample(5, seed=3)
    assert pixels.shape == (5, 1, 8, 8)
    assert float(pixels.abs().max()) <= 1


def test_sigma_data_is_measured_on_latents(autoencoder: str, tmp_path: Path) -> None:
    images, config = tiny_images(), latent_config(autoencoder)
    train(config, tmp_path, images=images)
    moments = LatentCodec.from_folder(autoencoder).encode_moments(images.floats())
    expected = (moments.mean.var(correction=0) + (moments.std**2).mean()) ** 0.5
    assert load_model(tmp_path).spec.sigma_data == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize(("task", "flip"), [("training", True), ("encoding", False)])
def test_a_stopped_run_goes_on_to_the_same_bits(
    autoencoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, flip: bool
) -> None:
    monkeypatch.setattr("sadm.training.encoding.MOST_PER_SHARD", 8)
    config, images = latent_config(autoencoder, {"flip": flip}, signal="hidden"), tiny_images()
    train(config, tmp_path / "whole", images=images)
    with pytest.raises(InterruptedRun, match="run the same command"):
        train(config, tmp_path / "parts", StopAt(task, 8), images)
    train(config, tmp_path / "parts", images=images)
    assert equal_bits(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    losses = [[line["loss"] for line in read_metrics(tmp_path / name)] for name in ("whole", "parts")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", get_args(Signal))
def test_every_signal_works_on_latents(autoencoder: str, tmp_path: Path, name: str) -> None:
    images = tiny_images()
    start = start_for(name, latent_config(autoencoder, signal="none"), images, tmp_path / "start")
    config = latent_config(autoencoder, signal=name, control={"start": 0.0}, **start)
    latents = training_set(config, images, tmp_path / "latents", Silent())
    learner = tiny_learner(config, latents)
    log = [learner.advance() for _ in range(3)]
    assert all(bool(torch.isfinite(value).all()) for line in log for value in line.values())
    assert learner.spec.shape == (4, 4, 4)


@pytest.mark.parametrize("way", ["supervised", "views", "denoising"])
def test_encoders_are_trained_on_latents_in_every_way(autoencoder: str, tmp_path: Path, way: str) -> None:
    config = latent_config(autoencoder, signal="structure", structure={"encoder_training": way})
    latents = training_set(config, tiny_images(), tmp_path, Silent())
    assert "gap" in tiny_learner(config, latents).advance()


def test_frozen_encoders_look_at_every_draw(autoencoder: str, tmp_path: Path) -> None:
    """Epochs later, an image's latent is another; features kept for its index would be refused or wrong."""
    config, images = latent_config(autoencoder, signal="hidden"), tiny_images()
    kept = []
    for data in (images, training_set(config, images, tmp_path, Silent())):
        learner = tiny_learner(config, data)
        for _ in range(4):  # more than an epoch
            learner.advance()
        (hidden,) = learner.signals
        kept.append(len(hidden.target.cache))  # type: ignore[attr-defined]
    assert kept == [24, 0]


def test_a_cache_made_ahead_is_only_read(autoencoder: str, tmp_path: Path, small_disk: Path) -> None:
    """Of all images, with their mirror images, in a folder that can't be written to."""
    images, cache = tiny_images(), small_disk / "cache"
    encode_images(images, cache, autoencoder, Layout(flip=True), workers=1)
    subprocess.run([str(shutil.which("mount")), "-o", "remount,ro", str(small_disk)], check=True)
    part = images.subset(torch.arange(20))
    config = latent_config(autoencoder, {"latents": str(cache)})
    train(config, tmp_path / "ahead", images=part)
    train(latent_config(autoencoder), tmp_path / "own", images=part)
    assert equal_bits(weights(tmp_path / "ahead"), weights(tmp_path / "own"))
    assert not (tmp_path / "ahead" / "latents").exists()


def test_where_the_cache_lies_may_change(autoencoder: str, tmp_path: Path) -> None:
    images = tiny_images()
    with pytest.raises(InterruptedRun):
        train(latent_config(autoencoder), tmp_path / "run", StopAt("training", 4), images)
    shutil.move(tmp_path / "run" / "latents", tmp_path / "moved")
    moved = latent_config(autoencoder, {"latents": str(tmp_path / "moved")})
    assert train(moved, tmp_path / "run", images=images).steps == 12
    assert train(latent_config(autoencoder), tmp_path / "run", images=images).steps == 12  # finished: needs no cache
    assert not (tmp_path / "run" / "latents").exists()


def test_a_folder_that_changed_during_the_run_is_refused(autoencoder: str, tmp_path: Path) -> None:
    config, images = latent_config(autoencoder, {"latents": str(tmp_path / "cache")}), tiny_images()
    with pytest.raises(InterruptedRun):
        train(config, tmp_path / "run", StopAt("training", 4), images)
    changed = tiny_images()
    changed.images[5] = 255 - changed.images[5]
    with pytest.raises(UserError, match="run holds a run on other images"):
        train(config, tmp_path / "run", images=changed)
    with pytest.raises(UserError, match=r"cache lacks the latents of 1 of the 24 training images \('image 5'\)"):
        train(config, tmp_path / "another", images=changed)


def test_another_autoencoder_is_refused(autoencoder: str, tmp_path: Path) -> None:
    mine = tmp_path / "vae"
    shutil.copytree(autoencoder, mine)
    config, images = latent_config(str(mine)), tiny_images()
    with pytest.raises(InterruptedRun):
        train(config, tmp_path / "run", StopAt("training", 4), images)
    tiny_autoencoder(mine, seed=1)  # another one, under the same name
    with pytest.raises(
        UserError, match="a run on the latents of another autoencoder than the one that is in .*vae now"
    ):
        train(config, tmp_path / "run", images=images)
    cache = str(tmp_path / "run" / "latents")
    with pytest.raises(UserError, match=r"holds other latents \(autoencoder: stored .*…, given .*…\)"):
        train(latent_config(str(mine), {"latents": cache}), tmp_path / "another", images=images)


def test_an_incomplete_cache_of_other_images_is_not_touched(
    autoencoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sadm.training.encoding.MOST_PER_SHARD", 8)
    with pytest.raises(InterruptedRun):
        encode_images(
            picture_set(24, (8, 8)), tmp_path / "cache", autoencoder, Layout(), 1, reporter=StopAt("encoding", 8)
        )
    config = latent_config(autoencoder, {"latents": str(tmp_path / "cache")})
    with pytest.raises(UserError, match=r"cache is incomplete \(2 of 3 shards are missing\), and was begun for something "
                       r"else \(images: stored .*Finish it with the command that began it"):  # fmt: skip
        train(config, tmp_path / "run", images=tiny_images())


def test_a_run_mends_its_own_cache(autoencoder: str, tmp_path: Path) -> None:
    config, images = latent_config(autoencoder), tiny_images()
    train(config, tmp_path / "whole", images=images)
    with pytest.raises(InterruptedRun):
        train(config, tmp_path / "run", StopAt("training", 4), images)
    shard = tmp_path / "run" / "latents" / "shard-00000.safetensors"
    before = shard.read_bytes()
    shard.write_bytes(before[:100])
    train(config, tmp_path / "run", images=images)
    assert shard.read_bytes() == before
    assert equal_bits(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_sizes_that_do_not_fit_are_refused_before_encoding(autoencoder: str, tmp_path: Path) -> None:
    images = tiny_images()
    with pytest.raises(
        UserError,
        match="images of 8x8 pixels become latents of 4x4, which can't be cut into patches of 3x3.*that 6 divides",
    ):
        train(latent_config(autoencoder, net={"patch": 3}), tmp_path / "run", images=images)
    colour = tiny_autoencoder(tmp_path / "colour", channels=3)
    with pytest.raises(UserError, match=r"takes images of 3 channels; those of tiny have 1\. Give --data\.channels 3"):
        check_sizes(latent_config(colour), images)
    assert not (tmp_path / "run" / "latents").exists()
    with pytest.raises(UserError, match=r"give its folder as data\.autoencoder"):
        tiny_config(data={"latents": "somewhere"})


def test_an_autoencoder_that_vanishes_is_said(autoencoder: str, tmp_path: Path) -> None:
    mine = tmp_path / "vae"
    shutil.copytree(autoencoder, mine)

    class Thief(StopAt):
        def update(self, task: str, done: int, total: int, note: str = "") -> None:
            if task == "training":
                shutil.rmtree(mine, ignore_errors=True)

    with pytest.raises(UserError, match="the autoencoder's folder .*vae is gone. Restore it and run the same command"):
        train(latent_config(str(mine)), tmp_path / "run", Thief("", 0), tiny_images())
    shutil.copytree(autoencoder, mine)
    assert train(latent_config(str(mine)), tmp_path / "run", images=tiny_images()).steps == 12


def test_a_training_starts_from_a_model_of_the_same_latents_only(autoencoder: str, tmp_path: Path) -> None:
    images = tiny_images()
    train(latent_config(autoencoder), tmp_path / "first", images=images)
    start = {"start_from": str(tmp_path / "first")}
    train(latent_config(autoencoder, **start), tmp_path / "second", images=images)
    other = tiny_autoencoder(tmp_path / "other", seed=1)
    with pytest.raises(
        UserError, match=r"that model draws latents of another autoencoder\. Give --data\.autoencoder .*first"
    ):
        train(latent_config(other, **start), tmp_path / "third", images=images)
    train(tiny_config(signal="none"), tmp_path / "pixels", images=images)
    with pytest.raises(UserError, match=r"that model draws pixels\. Leave --data\.autoencoder out"):
        train(latent_config(autoencoder, start_from=str(tmp_path / "pixels")), tmp_path / "fourth", images=images)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"augment": {"preset": "photos"}}, r"data\.augment \(.*\) changes pixels.*data\.flip goes with both"),
        ({"fit": "random-crop", "resolution": 8}, r"'random-crop' draws other pixels.*Choose 'crop'"),
    ],
)
def test_what_changes_pixels_anew_each_time_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_train_config(overrides={"data": {"autoencoder": "vae", **data}})
