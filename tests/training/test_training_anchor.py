"""The anchor through the trainer: the source that it sees, what is shared, off without a trace, resumed to the same bits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetune_setup import config_for, other_images, trained, whole_and_in_parts
from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.finetuning.config import METHODS
from sadm.training.config import TrainConfig, load_train_config
from sadm.training.model_folder import load_model
from sadm.training.net_config import merge_training
from sadm.training.run import train
from tiny import TINY, equal_bits, tiny_config, tiny_images, tiny_learner

ANCHOR = {"weight": 20.0, "fraction": 1.0}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("base") / "run")


def anchored(base: Path, method: str = "lora", **change) -> TrainConfig:
    return config_for(base, method, **{"signal": "anchor", "anchor": ANCHOR, **change})


def advanced(learner, steps: int):
    for _ in range(steps):
        learner.advance()
    return learner


@pytest.mark.parametrize("method", METHODS)
def test_the_source_computes_what_the_model_did_and_shares_what_is_frozen(base: Path, method: str) -> None:
    learner = advanced(tiny_learner(anchored(base, method), other_images()), 3)
    source, model = learner.signals[0].source, load_model(base).denoiser
    x_t, sigma = torch.randn(5, 1, 8, 8), torch.linspace(0.1, 3, 5)
    label = torch.tensor([0, 1, 2, 3, 0])  # b, c, d and the null class here: classes 1, 2 and none there
    with torch.no_grad():
        found = source.denoiser(x_t, sigma, source.cond(Cond(label=label)))
        expected = model(x_t, sigma, Cond(label=torch.tensor([1, 2, 3, 3, 1])))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    own = {parameter.data_ptr(): parameter for parameter in learner.denoiser.net.parameters()}
    for parameter in source.denoiser.net.parameters():
        assert not parameter.requires_grad
        assert parameter.data_ptr() not in own or not own[parameter.data_ptr()].requires_grad
    copied = sum(part.numel() for part in source.denoiser.net.parameters() if part.data_ptr() not in own)
    there = sum(parameter.numel() for parameter in model.net.parameters())
    tables = learner.denoiser.net.y_embedder.embedding_table.weight.numel()
    expected_copies = {"full": there, "lora": tables, "dora": tables, "vpt": tables, "adapter": tables}
    assert copied == expected_copies.get(method, copied) <= there
    assert method == "full" or copied < there / 2


@pytest.mark.parametrize("method", METHODS)
def test_it_trains_with_every_method_and_pulls(base: Path, method: str) -> None:
    plain = advanced(tiny_learner(anchored(base, method, signal="none", anchor={}), tiny_images()), 3)
    pulled = tiny_learner(anchored(base, method), tiny_images())
    first = float(pulled.advance()["anchor"])
    assert method == "vpt" or abs(first) < 1e-7  # learned tokens are seen from the first step on
    advanced(pulled, 2)
    assert not equal_bits(plain.denoiser.net.state_dict(), pulled.denoiser.net.state_dict())


def test_it_holds_the_relations_of_the_source(base: Path) -> None:
    """Trained on, a network strays from the source's relations, and less with the anchor."""
    strayed = []
    for weight in (1e-9, 100.0):
        change = {
            "anchor": {**ANCHOR, "weight": weight, "place": "output"},
            "optimiser": {"steps": 60, "decay": "constant"},
        }
        learner = advanced(tiny_learner(anchored(base, "full", **change), other_images()), 50)
        strayed.append(sum(float(learner.advance()["anchor"]) for _ in range(10)))
    assert strayed[1] < 0.5 * strayed[0]


@pytest.mark.parametrize("off", [{"anchor": {"weight": 0.0}}, {"structure": {"end": 0.0}}])
def test_off_it_changes_no_bit(base: Path, off: dict) -> None:
    plain = tiny_learner(anchored(base, signal="none", anchor={}), other_images())
    pulled = tiny_learner(anchored(base, **off), other_images())
    assert equal_bits(advanced(plain, 4).denoiser.net.state_dict(), advanced(pulled, 4).denoiser.net.state_dict())


@pytest.mark.parametrize("method", ["lora", "full"])
def test_stopped_and_resumed_it_ends_at_the_same_weights_and_keeps_no_source(
    base: Path, method: str, tmp_path: Path
) -> None:
    config = anchored(base, method)
    assert equal_bits(*whole_and_in_parts(config, other_images(), tmp_path))
    train(anchored(base, method, signal="none", anchor={}), tmp_path / "plain", images=other_images())
    sizes = [
        sum(
            tensor.numel()
            for tensor in load_file(sorted((tmp_path / run).glob("checkpoints/*/*.safetensors"))[-1]).values()
        )
        for run in ("whole", "plain")
    ]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("signal", ["hidden", "structure"])
def test_it_goes_together_with_another_signal(base: Path, signal: str) -> None:
    images = other_images()
    both = tiny_learner(anchored(base, signal=signal), images)
    assert [type(each).__name__ for each in both.signals][1:] == ["AnchorSignal"]
    alone = tiny_learner(anchored(base, signal=signal, anchor={}), images)
    assert len(alone.signals) == 1
    log = [both.advance() for _ in range(2)][-1]
    assert torch.isfinite(log["anchor"])
    assert ("gap" if signal == "structure" else "hidden") in log
    advanced(alone, 2)
    assert not equal_bits(both.denoiser.net.state_dict(), alone.denoiser.net.state_dict())


def test_images_without_classes_and_of_another_size(base: Path) -> None:
    for images in (tiny_images(labelled=False), other_images()):
        wide = dataclasses.replace(images, images=images.images.repeat(1, 1, 1, 2))
        learner = tiny_learner(anchored(base, anchor={**ANCHOR, "place": "both"}), wide)
        assert torch.isfinite(advanced(learner, 1).advance()["anchor"])


def test_options_reach_the_signal(base: Path) -> None:
    options = {"weight": 3.0, "place": "both", "relation": "rbf", "tap": "blocks.0.mlp", "fraction": 0.25, "every": 3}
    config = anchored(base, anchor=options, structure={"warmup": 0.5, "end": 0.75})
    (anchor,) = tiny_learner(config, other_images()).signals
    assert (anchor.weight, anchor.taps, anchor.output, anchor.relation) == (3.0, ("blocks.0.mlp",), True, "rbf")
    assert (anchor.fraction, anchor.every) == (0.25, 3)
    assert (anchor.schedule.warmup, anchor.schedule.end) == (6, 9)


def test_without_a_model_there_is_no_anchor(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"signal 'anchor' is about a trained model.*Give --start-from MODEL"):
        tiny_config(signal="anchor")
    with pytest.raises(UserError, match=r"anchor\.\* is about a trained model.*Give --start-from MODEL"):
        tiny_config(signal="none", anchor={"weight": 1.0})
    with pytest.raises(UserError, match=r"signal 'anchor' is about pairs of images.*got 1"):
        anchored(base, signal="none", optimiser={"batch": 1})
    with pytest.raises(UserError, match=r"no module 'blocks\.7'"):
        tiny_learner(anchored(base, anchor={**ANCHOR, "tap": "blocks.7"}), other_images())


UNET = {"kind": "unet", "unet": {"channels": (8, 16), "groups": 4, "layers": 1}}


@pytest.mark.parametrize("change", [
    {"signal": "anchor", "anchor": {**ANCHOR, "place": "both"}},
    {"signal": "anchor", "anchor": {**ANCHOR, "relation": "tokens"}},
    {"signal": "hidden", "structure": {"encoder_training": "source"}},
], ids=["both", "tokens", "source"])  # fmt: skip
def test_a_unet_is_held_in_its_middle(change: dict, tmp_path: Path) -> None:
    train(
        load_train_config(overrides=merge_training(TINY, {"signal": "none", "net": UNET})),
        tmp_path,
        images=tiny_images(),
    )
    tuning = {"start_from": str(tmp_path), "net": UNET, "finetune": {"method": "lora", "rank": 2}}
    held, plain = (
        tiny_learner(load_train_config(overrides=merge_training(TINY, {**tuning, **signal})), other_images())
        for signal in (change, {"signal": "none"})
    )
    logs = [held.advance() for _ in range(3)]
    assert all(torch.isfinite(log[change["signal"]]) for log in logs)
    assert held.taps.modules.keys() == {"unet.mid_block"}
    assert not equal_bits(held.denoiser.net.state_dict(), advanced(plain, 3).denoiser.net.state_dict())
