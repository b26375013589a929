"""Early stopping: what is held back, what is measured, which weights are kept, and that nothing else changes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from finetune_setup import config_for, other_images, trained, whole_and_in_parts
from latent_setup import tiny_autoencoder
from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.core.progress import Silent
from sadm.core.seeds import generator
from sadm.data import to_floats
from sadm.training.checkpoint import latest_checkpoint
from sadm.training.config import TrainConfig
from sadm.training.early_stop import EarlyStop, hold_back
from sadm.training.journal import read_metrics
from sadm.training.latents import part_of
from sadm.training.model_folder import load_model
from sadm.training.run import train
from sadm.training.trained import open_run
from sadm.training.training_set import training_set
from tiny import Listener, equal_bits, tiny_config, tiny_images, tiny_learner

LOOK = {"every": 1, "patience": 5, "share": 0.25, "draws": 3}
UNSTEADY = {"steps": 30, "learning_rate": 0.1, "decay": "constant", "ema_warmup": 0.01}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("base") / "run")


def looking(**change) -> TrainConfig:
    return tiny_config(**{"signal": "none", "early_stop": LOOK, "optimiser": UNSTEADY, **change})


def facts_of(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def test_each_class_is_held_back_alike_and_the_seed_decides() -> None:
    images = tiny_images()
    learned, held = hold_back(looking(), images)
    assert held.labels.bincount().tolist() == [2, 2, 2]
    assert sorted((*learned.names, *held.names)) == sorted(images.names)
    assert hold_back(looking(), images)[1].names == held.names != hold_back(looking(seed=1), images)[1].names
    assert hold_back(tiny_config(signal="none"), images) == (images, None)


def test_a_group_stays_together() -> None:
    groups = tuple(f"part {index // 3 % 4}-{index % 3}" for index in range(24))
    learned, held = hold_back(looking(), dataclasses.replace(tiny_images(), groups=groups))
    assert set(learned.groups).isdisjoint(held.groups)
    assert len(held) == 6


def test_too_few_images_are_said(base: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"--early-stop.every holds a share of 0.25 .* back, but tiny: 3 images .*Or train"
    ):
        train(looking(), tmp_path / "run", images=tiny_images(3))
    config = config_for(base, "lora", early_stop=LOOK)
    with pytest.raises(UserError, match=r"6 training images, fewer than a batch of 8.*--optimiser.batch 3"):
        train(config, tmp_path / "run", images=other_images(8))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_the_loss_is_that_of_the_averaged_network_on_each_image_held_back() -> None:
    """Image by image, with the levels and the noise drawn as the trainer draws its own."""
    config, images = looking(), tiny_images()
    learned, held = hold_back(config, images)
    learner = tiny_learner(config, learned)
    early = EarlyStop(config, held, learner)
    for _ in range(5):
        learner.advance()
    total, seen = 0.0, []
    for number in range(3):  # 6 images three times, 6 at a time
        batch = early.stream.batch(number)
        draws = generator(early.seed, "training", number)
        sigma = early.density.sample(6, draws)
        noise = torch.randn(batch.x0.shape, generator=draws)
        seen += [held.names[index] for index in batch.index.tolist()]
        for i, index in enumerate(batch.index.tolist()):
            x0 = to_floats(held.images[index : index + 1])
            with torch.no_grad():
                net = learner.spec.around(learner.ema.module)
                x0_hat = net(x0 + sigma[i] * noise[i], sigma[i : i + 1], Cond(label=held.labels[index : index + 1]))
            weight = float(net.loss_weight(sigma[i : i + 1]))
            total += weight * float((x0_hat - x0).square().mean()) / 18
    assert sorted(seen) == sorted(held.names * 3)
    assert early.loss() == pytest.approx(total, rel=1e-4)
    assert early.loss() == early.loss()


def test_it_ends_and_keeps_the_weights_of_the_best_step(tmp_path: Path) -> None:
    config, images, listener = looking(), tiny_images(), Listener()
    result = train(config, tmp_path / "run", listener, images)
    learned, held = hold_back(config, images)
    learner = tiny_learner(config, learned)
    early, losses, averaged = EarlyStop(config, held, learner), [], []
    while learner.step < 30:
        learner.advance()
        losses.append(early.loss())
        averaged.append({name: tensor.clone() for name, tensor in learner.ema.module.state_dict().items()})
    ends = [step for step in range(6, 30) if min(losses[step - 5 : step]) > min(losses[: step - 5])]
    assert 6 <= result.steps == ends[0] < 30
    best = min(range(result.steps), key=losses.__getitem__)
    assert facts_of(tmp_path / "run")["early_stop"] == {
        "best_step": best + 1, "best_loss": losses[best], "stopped": True,
    }  # fmt: skip
    model = load_model(tmp_path / "run")
    assert equal_bits(model.denoiser.net.state_dict(), averaged[best])
    assert model.description["step"] == best + 1
    assert (model.description["data"]["train_images"], model.description["data"]["held_back"]) == (24, 6)
    written = [line["validation_loss"] for line in read_metrics(tmp_path / "run")]
    assert written[0] == pytest.approx(sum(losses[:4]) / 4)
    assert f"denoised best at step {best + 1} (loss" in listener.said[-1]
    assert f"ended at step {result.steps}" in listener.said[-1]


def test_looking_changes_no_bit_of_the_training(tmp_path: Path) -> None:
    config, images = looking(early_stop={**LOOK, "patience": 99}), tiny_images()
    train(config, tmp_path / "looked", images=images)
    train(looking(early_stop={}), tmp_path / "plain", images=hold_back(config, images)[0])
    looked, plain = (latest_checkpoint(tmp_path / run / "checkpoints", print) for run in ("looked", "plain"))
    for part in ("net", "ema"):
        assert equal_bits(looked["learner"][part], plain["learner"][part])
    assert facts_of(tmp_path / "looked")["early_stop"]["stopped"] is False
    assert [line["loss"] for line in read_metrics(tmp_path / "looked")] == [
        line["loss"] for line in read_metrics(tmp_path / "plain")
    ]


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("early", [LOOK, {**LOOK, "every": 3, "patience": 99}], ids=["ends", "runs on"])
def test_stopped_and_resumed_it_keeps_the_same_weights(base: Path, method: str, early: dict, tmp_path: Path) -> None:
    config = config_for(base, method, early_stop=early, optimiser=UNSTEADY)
    assert equal_bits(*whole_and_in_parts(config, other_images(), tmp_path))
    whole, parts = ([facts_of(tmp_path / run)[key] for key in ("early_stop", "steps")] for run in ("whole", "parts"))
    assert whole == parts
    assert whole[0]["stopped"] == (early is LOOK)
    lines = [[line.get("validation_loss") for line in read_metrics(tmp_path / run)] for run in ("whole", "parts")]
    assert lines[0] == lines[1]


def test_a_run_killed_before_its_last_file_is_completed(tmp_path: Path) -> None:
    train(looking(), tmp_path / "run", images=tiny_images())
    before, facts = load_model(tmp_path / "run").denoiser.net.state_dict(), facts_of(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps({**facts, "finished": False}))
    shutil.rmtree(tmp_path / "run" / "model")
    assert train(looking(), tmp_path / "run", images=tiny_images()).steps == facts["steps"]
    assert equal_bits(before, load_model(tmp_path / "run").denoiser.net.state_dict())
    assert facts_of(tmp_path / "run")["early_stop"] == facts["early_stop"]


def test_the_judges_images_have_no_part_in_it(tmp_path: Path) -> None:
    """What is held back is taken from the training images, and the run still knows what it was trained on."""
    config = looking(data={"source": "digits", "limit": 40}, optimiser={"steps": 2})
    train(config, tmp_path / "run")
    _, _, split = open_run(tmp_path / "run", reporter=Silent())
    learned, held = hold_back(config, split.train)
    assert len(learned) + len(held) == len(split.train) == 40
    assert set(held.names).isdisjoint(split.held_out.names)


def test_latents_of_some_images_are_held_back(tmp_path: Path) -> None:
    """All are encoded once, and each of the two parts draws its own."""
    pytest.importorskip("diffusers")
    data = {"autoencoder": tiny_autoencoder(tmp_path / "vae")}
    config, images = looking(data=data, net={"patch": 2}), tiny_images()
    train(config, tmp_path / "run", images=images)
    assert facts_of(tmp_path / "run")["early_stop"]["best_step"] > 0
    learned, held = hold_back(config, images)
    whole = training_set(config, images, tmp_path / "run" / "latents", Silent())
    for pictures in (learned, held):
        latents, rows = part_of(whole, pictures), [images.names.index(name) for name in pictures.names]
        nothing = torch.zeros(0, dtype=torch.int64)
        found = latents.moments(torch.arange(len(rows)), nothing)
        assert torch.equal(found.mean, whole.moments(torch.tensor(rows), nothing).mean)
