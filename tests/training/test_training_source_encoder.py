"""The model that a fine-tuning starts from as the structure encoder: every signal that has one, and what it may cost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetune_setup import config_for, other_images, trained, whole_and_in_parts
from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.core.progress import Silent
from sadm.signals.source import SourceEncoder
from sadm.training.config import TrainConfig
from sadm.training.model_folder import load_model
from sadm.training.run import train
from sadm.training.signals import prepare_signals
from tiny import equal_bits, tiny_config, tiny_images, tiny_learner

SIGNALS = ("structure", "features", "repa", "hidden", "sampled")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("base") / "run")


def seen_by_source(base: Path, signal: str, method: str = "lora", **structure) -> TrainConfig:
    settings = {"encoder_training": "source", "adversary": "frozen", "fraction": 1.0, **structure}
    return config_for(base, method, signal=signal, structure=settings, control={"start": 0.0})


@pytest.mark.parametrize("outputs", ["embedding", "stages"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_every_signal_with_an_encoder_trains(base: Path, signal: str, outputs: str) -> None:
    learner = tiny_learner(seen_by_source(base, signal, encoder_outputs=outputs), other_images())
    log = [learner.advance() for _ in range(2)][-1]
    assert torch.isfinite(log["gap" if signal == "structure" else signal])
    plain = tiny_learner(config_for(base, "lora"), other_images())
    for _ in range(2):
        plain.advance()
    assert not equal_bits(learner.denoiser.net.state_dict(), plain.denoiser.net.state_dict())


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_layer_is_held_to_what_the_model_saw_before_it_was_tuned(base: Path, method: str) -> None:
    learner = tiny_learner(seen_by_source(base, "hidden", method, encoder_sigma=0.4), other_images())
    for _ in range(3):
        learner.advance()
    model, x, kept = load_model(base).denoiser, torch.randn(5, 1, 8, 8), []
    model.net.blocks[0].register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.no_grad():
        model(x, torch.full((5,), 0.4), Cond())
    torch.testing.assert_close(learner.signals[0].target(x), kept[0], rtol=1e-5, atol=1e-6)


def test_a_hidden_layer_of_a_model_that_goes_on_is_seen_by_it_unless_asked_otherwise(base: Path) -> None:
    usual = config_for(base, "full", signal="hidden", structure={"encoder_steps": 3})
    assert isinstance(prepare_signals(usual, other_images(), Silent()).signals[0].encoder, SourceEncoder)
    told = usual.model_copy(update={"structure": usual.structure.model_copy(update={"encoder_training": "views"})})
    assert not isinstance(prepare_signals(told, other_images(), Silent()).signals[0].encoder, SourceEncoder)
    sharded = usual.model_copy(update={"parallel": usual.parallel.model_copy(update={"strategy": "fsdp"})})
    fresh, game = tiny_config(signal="hidden"), config_for(base, "full", signal="structure")
    assert [config.sees_with_source for config in (usual, told, sharded, fresh, game)] == [True, *[False] * 4]


def test_registers_are_no_places(tmp_path: Path) -> None:
    net = {"registers": 2}
    train(tiny_config(signal="none", net=net), tmp_path, images=tiny_images())
    learner = tiny_learner(config_for(tmp_path, "full", signal="hidden", net=net), other_images())
    assert torch.isfinite(learner.advance()["hidden"])


@pytest.mark.parametrize("signal", SIGNALS)
def test_nothing_is_pre_trained_or_charged(base: Path, signal: str) -> None:
    prepared = prepare_signals(seen_by_source(base, signal), other_images(), Silent())
    assert (prepared.pretrain_cpu_seconds, prepared.encoder_score) == (0.0, None)


@pytest.mark.parametrize("signal", ["hidden", "structure", "features"])
def test_stopped_and_resumed_it_ends_at_the_same_weights_and_keeps_no_source(
    base: Path, signal: str, tmp_path: Path
) -> None:
    assert equal_bits(*whole_and_in_parts(seen_by_source(base, signal, "full"), other_images(), tmp_path))
    stored = load_file(sorted((tmp_path / "whole").glob("checkpoints/*/*.safetensors"))[-1])
    assert not [name for name in stored if name.startswith("/learner/signals/0/") and "encoder" in name]


def test_a_game_is_played_by_a_classifier_alone(base: Path) -> None:
    with pytest.raises(
        UserError, match=r"leaves nothing that could play.*must be 'classify' or 'frozen', got 'ascend'"
    ):
        seen_by_source(base, "structure", adversary="ascend")
    log = tiny_learner(seen_by_source(base, "structure", adversary="classify"), other_images()).advance()
    assert torch.isfinite(log["gap"])


def test_what_can_not_work_is_refused(base: Path) -> None:
    with pytest.raises(UserError, match=r"encoder_training 'source' is about a trained model"):
        tiny_config(signal="hidden", structure={"encoder_training": "source"})
    with pytest.raises(UserError, match=r"must be 'supervised' or 'auto', got 'source'"):
        seen_by_source(base, "labels")
    for signal in ("hidden", "features"):
        with pytest.raises(UserError, match=r"no module 'blocks\.7'; did you mean"):
            tiny_learner(seen_by_source(base, signal, encoder_tap="blocks.7"), other_images())
