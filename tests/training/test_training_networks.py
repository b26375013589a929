"""A UNet in the trainer: what holds for the transformer holds for it, and signals take its maps."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from finetune_setup import start_for
from latent_setup import tiny_autoencoder
from sadm.core.conditions import Cond
from sadm.core.config import merge
from sadm.core.errors import InterruptedRun, UserError
from sadm.evaluation.representation import blocks_of
from sadm.training.config import TrainConfig, load_train_config
from sadm.training.model_folder import load_model
from sadm.training.net_config import NetConfig, UNetConfig, merge_training
from sadm.training.networks import NETWORKS
from sadm.training.run import train
from sadm.training.signal_config import Signal
from sadm.training.spec import ModelSpec
from tiny import TINY, Listener, equal_bits, tiny_images, tiny_learner, tiny_shaped

pytest.importorskip("diffusers")

SIZES: dict[str, Any] = {"channels": [8, 16], "layers": 1, "groups": 4}


def unet_config(**change: Any) -> TrainConfig:
    base = merge_training(TINY, {"signal": "none", "net": {"kind": "unet", "unet": SIZES}})
    return load_train_config(overrides=merge(base, change))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_unet_without_attention_learns(kind: str) -> None:
    """diffusers keeps None in its list of attentions then."""
    sizes = SIZES | {"attention": [], "middle_attention": False}
    config = unet_config(net={"kind": "unet", "unet": sizes}, optimiser={"kind": kind})
    learner = tiny_learner(config, tiny_images())
    before = [parameter.clone() for parameter in learner.denoiser.parameters()]
    learner.advance()
    learner.advance()
    moved = [not torch.equal(old, new) for old, new in zip(before, learner.denoiser.parameters(), strict=True)]
    assert all(moved)


def test_every_size_reaches_the_network() -> None:
    own = UNetConfig(
        channels=(8, 12, 16),
        layers=3,
        attention=(0, 1),
        middle_attention=False,
        head_width=4,
        groups=2,
        scale_shift=True,
        downsample_padding=0,
        cosine_first=False,
    )
    sizes = NetConfig(kind="unet", unet=own, norm_eps=1e-4, frequency_shift=1, noise_scale=7.0)
    net = ModelSpec((3, 8, 12), sizes, 0.5, ("a", "b"), (1, 1)).build().net
    assert (net.null_label, net.time_scale) == (2, 7.0)
    found = dict(net.unet.config)
    assert {key: found[key] for key in ("sample_size", "in_channels", "out_channels", "num_class_embeds")} == {
        "sample_size": (8, 12),
        "in_channels": 3,
        "out_channels": 3,
        "num_class_embeds": 3,
    }
    assert found["block_out_channels"] == (8, 12, 16)
    assert found["down_block_types"] == ("AttnDownBlock2D", "AttnDownBlock2D", "DownBlock2D")
    assert found["up_block_types"] == ("UpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D")
    told = ("layers_per_block", "attention_head_dim", "norm_num_groups", "norm_eps", "freq_shift", "downsample_padding")
    assert [found[key] for key in told] == [3, 4, 2, 1e-4, 1, 0]
    assert (found["flip_sin_to_cos"], found["resnet_time_scale_shift"], found["add_attention"]) == (
        False,
        "scale_shift",
        False,
    )
    assert found["dropout"] == 0


@torch.no_grad()
@pytest.mark.parametrize("process", [{}, {"kind": "vp"}, {"kind": "vp", "learned_variance": True}, {"kind": "flow"}])
def test_a_new_unet_answers_zero_as_a_new_transformer_does(process: dict[str, Any]) -> None:
    config = unet_config(process=process)
    z, level = torch.randn(2, 1, 8, 8), torch.tensor([0.3, 0.8])
    for net in (config.net, NetConfig()):
        network = ModelSpec((1, 8, 8), net, 0.5, (), (), config.process.denoiser).build().net
        channels = 2 if config.process.learned_variance else 1
        assert torch.equal(network(z, level, Cond()), torch.zeros(2, channels, 8, 8))
    assert network is not None


def test_it_learns_in_training_mode_and_draws_in_evaluation_mode() -> None:
    learner = tiny_learner(unet_config(optimiser={"steps": 200, "learning_rate": 4e-3}), tiny_images())
    assert learner.denoiser.net.unet.training
    losses = [float(learner.advance()["loss"]) for _ in range(200)]
    assert sum(losses[-30:]) < 0.75 * sum(losses[:30])
    assert not learner.ema.module.unet.training


@pytest.mark.parametrize("signal", ["none", "hidden", "structure"])
def test_a_run_goes_on_bit_for_bit(tmp_path: Path, signal: str) -> None:
    config, images = unet_config(signal=signal), tiny_images()
    train(config, tmp_path / "whole", images=images)
    with pytest.raises(InterruptedRun):
        train(config, tmp_path / "halves", Listener(stop_at=8), images)
    train(config, tmp_path / "halves", images=images)
    whole, halves = (load_model(tmp_path / name).denoiser.net.state_dict() for name in ("whole", "halves"))
    assert equal_bits(whole, halves)
    assert all(name.startswith("unet.") for name in whole)


def test_an_image_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    train(unet_config(optimiser={"learning_rate": 0.01}), tmp_path, images=tiny_images())
    model = load_model(tmp_path)
    assert not model.denoiser.training
    labels = torch.tensor([0, 1, 2, 0, 1])
    images = model.sample(5, seed=4, labels=labels)
    for i in range(5):
        alone = model.sample(1, seed=4, labels=labels[i : i + 1], first=i)
        torch.testing.assert_close(alone[0], images[i], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(images[0], images[3], atol=1e-2)  # of one class
    guided = model.sampling.model_copy(update={"guidance_scale": 3.0})
    assert not torch.allclose(model.sample(5, seed=4, labels=labels, sampling=guided), images, atol=1e-3)


@pytest.mark.parametrize("name", get_args(Signal))
def test_every_signal_works_with_a_unet(name: str, tmp_path: Path) -> None:
    start = start_for(name, unet_config(), tiny_images(), tmp_path / "start")
    learner = tiny_learner(unet_config(signal=name, control={"start": 0.0}, **start), tiny_images())
    for _ in range(3):
        log = learner.advance()
        assert all(bool(torch.isfinite(value).all()) for value in log.values())
    reached = {name} & {"hidden", "repa", "dispersive", "anchor"}
    assert list(learner.taps.modules) == ["unet.mid_block"] * len(reached)


@pytest.mark.parametrize(
    "tap", ["unet.mid_block", "unet.up_blocks.0", "unet.up_blocks.1", "unet.down_blocks.0.resnets.0"]
)
@pytest.mark.parametrize("encoder", [{"encoder_kind": "conv"}, {"encoder_kind": "vit", "encoder_width": 8}], ids=str)
def test_hidden_structure_at_any_map(tap: str, encoder: dict[str, Any]) -> None:
    """Places are those of the map, and there are as many features; the loss itself: tests/signals."""
    learner = tiny_learner(unet_config(signal="hidden", structure=encoder, control={"tap": tap}), tiny_images())
    (signal,) = learner.signals
    with learner.taps.recording() as activations:
        learner.denoiser(torch.randn(6, 1, 8, 8), torch.full((6,), 0.5), Cond())
    side = activations[tap].shape[2]
    assert signal.target.patch == (8 // side, 8 // side)
    assert signal.target(learner.inputs(0).x0).shape[1] == side * side
    assert "hidden" in learner.advance()


def test_signals_refuse_what_is_no_map() -> None:
    with pytest.raises(UserError, match=r"'unet.down_blocks.0' gives a tuple; expected one tensor"):
        tiny_learner(unet_config(signal="hidden", control={"tap": "unet.down_blocks.0"}), tiny_images())
    with pytest.raises(UserError, match=r"needs tokens or a map: expected \[B, 16, D\] .* 'unet.time_embedding'"):
        tiny_learner(unet_config(signal="repa", control={"tap": "unet.time_embedding"}), tiny_images())
    with pytest.raises(UserError, match="no module 'blocks.0'"):
        tiny_learner(unet_config(signal="hidden", control={"tap": "blocks.0"}), tiny_images())


def test_several_shapes(tmp_path: Path) -> None:
    config, images = unet_config(signal="hidden"), tiny_shaped()
    train(config, tmp_path, images=images)
    model = load_model(tmp_path)
    assert {tuple(image.shape[1:]) for image in model.sample_shapes(12, seed=1)} <= set(model.spec.shapes)
    assert model.sample(1, size=(6, 10)).shape == (1, 1, 6, 10)
    with pytest.raises(UserError, match="9x8 pixels were asked for, and can't be halved 1 times"):
        model.sample(1, size=(8, 9))
    three = unet_config(net={"unet": {"channels": [8, 8, 8, 8]}})
    with pytest.raises(UserError, match=r"sides of 4 pixels can't be halved 3 times.*\(net.unet.channels\)"):
        train(three, tmp_path / "three", images=images)


def test_a_unet_on_squares_of_pixels(tmp_path: Path) -> None:
    """Trained, kept, drawn, continued on other images; sides that do not fit are refused by the option's name."""
    config, images = unet_config(signal="hidden", net={"unet": {"patch": 2}}), tiny_images()
    train(config, tmp_path / "grey", images=images)
    model = load_model(tmp_path / "grey")
    assert model.denoiser.net.patch == 2
    side = images.shape[1]
    assert model.sample(2, seed=0).shape == (2, *images.shape)
    three = unet_config(net={"unet": {"patch": side}})
    with pytest.raises(
        UserError, match=rf"cut into squares of {side}x{side} and then be halved 1 times.*--net.unet.patch"
    ):
        train(three, tmp_path / "three", images=images)
    colour = dataclasses.replace(images, images=images.images.repeat(1, 3, 1, 1))
    going_on = unet_config(
        net={"unet": {"patch": 2}}, start_from=str(tmp_path / "grey"), process={"sigma_data": model.spec.sigma_data}
    )
    train(going_on, tmp_path / "colour", images=colour)
    assert load_model(tmp_path / "colour").denoiser.net.patch == 2


def test_a_training_goes_on_from_a_unet_and_not_from_a_transformer(tmp_path: Path) -> None:
    images, fixed = tiny_images(), {"process": {"sigma_data": 0.5}}
    train(unet_config(**fixed), tmp_path / "unet", images=images)
    still = {**fixed, "optimiser": {"steps": 1, "learning_rate": 1e-30}}
    train(unet_config(start_from=str(tmp_path / "unet"), **still), tmp_path / "on", images=images)
    first, second = (load_model(tmp_path / name).denoiser.net.state_dict() for name in ("unet", "on"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=1e-20)
    other = dataclasses.replace(images, class_names=("b", "c", "d"), images=images.images.repeat(1, 3, 1, 1))
    tuned = unet_config(start_from=str(tmp_path / "unet"), finetune={"method": "difffit"}, **fixed)
    listener = Listener()
    train(tuned, tmp_path / "tuned", listener, images=other)
    said = "\n".join(listener.said)
    assert "unet.conv_in.weight [8x3x3x3] (mean over 1 channels, for 3)" in said
    assert "unet.class_embedding.weight [1x32] (rows 2, drawn around the mean of the old classes)" in said
    assert load_model(tmp_path / "tuned").sample(2, seed=1).shape == (2, 3, 8, 8)
    dit = load_train_config(overrides=merge(TINY, {"signal": "none", "start_from": str(tmp_path / "unet"), **still}))
    with pytest.raises(UserError, match="that model can't be continued here: net"):
        train(dit, tmp_path / "dit", images=images)


def test_latents(tmp_path: Path) -> None:
    data = {"data": {"autoencoder": tiny_autoencoder(tmp_path / "vae")}}
    train(unet_config(**data), tmp_path / "run", images=tiny_images())
    model = load_model(tmp_path / "run")
    assert model.spec.shape == (4, 4, 4)
    assert model.sample(3, seed=1).shape == (3, 1, 8, 8)
    clipped = model.sampling.model_copy(update={"clip": True})
    with pytest.raises(UserError, match="sampling: clip brings images into .* latents have no bounds"):
        model.sample(3, sampling=clipped)
    four = unet_config(net={"unet": {"channels": [8, 8, 8, 8]}}, **data)
    with pytest.raises(UserError, match="become latents of 4x4, which can't be halved 3 times.*that 16 divides"):
        train(four, tmp_path / "four", images=tiny_images())


def test_sides_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = unet_config(net={"unet": {"channels": [8, 8, 8, 8, 8]}})
    with pytest.raises(
        UserError, match=r"8x8 pixels can't be halved 4 times, as a UNet of 5 levels does.*that 16 divides"
    ):
        train(config, tmp_path / "run", images=tiny_images())
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_without_diffusers_the_extra_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"pip install 'sadm-diffusion\[diffusers\]'"):
        train(unet_config(), tmp_path / "run", images=tiny_images())
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_model_folder_without_a_kind_holds_a_transformer(tmp_path: Path) -> None:
    config, images = load_train_config(overrides=merge(TINY, {"signal": "none"})), tiny_images()
    train(config, tmp_path, images=images)
    path = tmp_path / "model" / "model.json"
    description = json.loads(path.read_text())
    del description["net"]["kind"], description["net"]["unet"]
    path.write_text(json.dumps(description))
    assert load_model(tmp_path).spec.net == config.net


def test_features_are_read_from_the_middle_to_the_end() -> None:
    denoiser = ModelSpec((1, 8, 8), unet_config().net, 0.5, (), ()).build()
    assert blocks_of(denoiser) == ["net.unet.mid_block", "net.unet.up_blocks.0", "net.unet.up_blocks.1"]


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_has_its_own_tap(kind: str) -> None:
    sizes = unet_config().net if kind == "unet" else NetConfig(width=8, heads=2, depth=3)
    names = [name for name, _ in ModelSpec((1, 8, 8), sizes, 0.5, (), ()).build().net.named_modules()]
    assert all(NETWORKS[kind].tap(sizes, at_the_end) in names for at_the_end in (False, True))
