"""Fine-tuning runs: what they keep, that they resume, that they go back to the model that they came from, and stack."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finetune_setup import config_for, other_images, trained, whole_and_in_parts
from sadm.core.conditions import Cond
from sadm.core.errors import InterruptedRun, UserError
from sadm.finetuning.config import METHODS
from sadm.training.config import load_train_config
from sadm.training.finetuning import LEARNING_RATES, WIDTH, finetune_config
from sadm.training.fitting import origins
from sadm.training.model_folder import load_model, model_hash
from sadm.training.run import train
from sadm.training.stacking import Adapter, save_merged, with_adapters
from tiny import Listener, change_weights, equal_bits, tiny_config, tiny_images, tiny_learner

PARTIAL = [method for method in METHODS if method != "full"]
TABLE = "y_embedder.embedding_table.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("base") / "run")


@pytest.mark.parametrize("method", METHODS)
def test_stopped_and_resumed_it_ends_at_the_same_weights(base: Path, method: str, tmp_path: Path) -> None:
    config = config_for(base, method)
    assert equal_bits(*whole_and_in_parts(config, other_images(), tmp_path))


@pytest.mark.parametrize("method", PARTIAL)
def test_only_what_learns_is_kept(base: Path, method: str, tmp_path: Path) -> None:
    train(config_for(base, method), tmp_path / "run", images=other_images())
    learner = tiny_learner(config_for(base, method), other_images())
    learns = {name for name, parameter in learner.denoiser.net.named_parameters() if parameter.requires_grad}
    stored = next((tmp_path / "run" / "model").glob("*.safetensors"))
    assert sum(tensor.numel() for tensor in load_file(stored).values()) == sum(
        parameter.numel() for parameter in learner.parameters
    )
    frozen = {name for name, _ in learner.denoiser.net.named_parameters()} - learns
    checkpoint = load_file(sorted((tmp_path / "run" / "checkpoints").glob("*/state.safetensors"))[-1])
    assert not any(name.endswith(f"/{part}") for name in checkpoint for part in frozen)
    moments = [tensor for name, tensor in checkpoint.items() if name.endswith("exp_avg")]
    assert sum(tensor.numel() for tensor in moments) == sum(parameter.numel() for parameter in learner.parameters)
    assert (
        learner.ema.module.get_parameter(min(frozen)).data_ptr()
        == learner.denoiser.net.get_parameter(min(frozen)).data_ptr()
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_stored_model_is_the_averaged_one(base: Path, method: str, tmp_path: Path) -> None:
    """Loaded from its folder and folded into plain weights, it computes what the averaged network did."""
    config, images = config_for(base, method), other_images()
    train(config, tmp_path / "run", images=images)
    learner = tiny_learner(config, images)
    for _ in range(config.optimiser.steps):
        learner.advance()
    x, noise, cond = torch.randn(4, 1, 8, 8), torch.linspace(-1, 1, 4), Cond(label=torch.tensor([0, 1, 2, 3]))
    with torch.no_grad():
        found = load_model(tmp_path / "run").denoiser.net(x, noise, cond)
        torch.testing.assert_close(found, learner.ema.module(x, noise, cond), rtol=1e-4, atol=1e-5)


def test_classes_of_the_same_name_and_renamed_ones_start_from_the_old_rows(base: Path) -> None:
    said = config_for(base, "lora", finetune={"method": "lora", "renamed": {"d": "a"}})
    learner = tiny_learner(said, other_images())
    old = load_model(base).denoiser.net.state_dict()["y_embedder.embedding_table.weight"]
    new = learner.denoiser.net.state_dict()["y_embedder.embedding_table.weight"]
    assert torch.equal(new, old[[1, 2, 0, 3]])
    with pytest.raises(UserError, match=r"finetune.renamed: 'x' is no class of the model; there are a, b, c"):
        origins(("a", "b", "c"), ("d",), {"d": "x"})
    with pytest.raises(UserError, match=r"finetune.renamed: 'x' is no class of the new images; there are d"):
        origins(("a", "b", "c"), ("d",), {"x": "a"})


def test_a_model_that_has_changed_or_gone_is_said(base: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(base, mine)
    config = config_for(mine, "bitfit")
    with pytest.raises(InterruptedRun):
        train(config, tmp_path / "run", Listener(stop_at=4), other_images())
    train(config_for(mine, "difffit"), tmp_path / "done", images=other_images())
    change_weights(mine / "model", lambda tensor: tensor + 0.01)
    with pytest.raises(UserError, match="another model than this training began with"):
        train(config, tmp_path / "run", images=other_images())
    with pytest.raises(UserError, match="fine-tuned from another model than the one in"):
        load_model(tmp_path / "done")
    shutil.rmtree(mine)
    with pytest.raises(UserError, match="which is not there any more. Restore it, or say where it is: sadm sample"):
        load_model(tmp_path / "done")
    assert load_model(tmp_path / "done", base=base).sample(2).shape == (2, 1, 8, 8)


def test_a_fine_tuned_model_is_a_start_in_turn(base: Path, tmp_path: Path) -> None:
    train(config_for(base, "lora"), tmp_path / "first", images=other_images())
    train(config_for(tmp_path / "first", "difffit"), tmp_path / "second", images=tiny_images())
    assert load_model(tmp_path / "second").sample(2).shape == (2, 1, 8, 8)
    assert model_hash(tmp_path / "second") != model_hash(tmp_path / "first")
    train(config_for(base, "vpt"), tmp_path / "beside", images=other_images())
    with pytest.raises(UserError, match="Start from the model that it was fine-tuned from"):
        train(config_for(tmp_path / "beside", "lora"), tmp_path / "third", images=other_images())


def test_low_rank_updates_add_up_and_weigh(base: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        train(config_for(base, "lora", seed=seed), tmp_path / f"{seed}", images=tiny_images())
    plain = load_model(base).denoiser.net.state_dict()
    first, second = (load_model(tmp_path / f"{seed}").denoiser.net.state_dict() for seed in (0, 1))
    both = with_adapters(base, [Adapter.parse(f"{tmp_path / '0'}:0.5"), Adapter.parse(str(tmp_path / "1"))])
    for name, tensor in both.denoiser.net.state_dict().items():
        expected = plain[name] + 0.5 * (first[name] - plain[name]) + (second[name] - plain[name])
        torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-6)
    alone = with_adapters(base, [Adapter(str(tmp_path / "0"))])
    assert equal_bits(alone.denoiser.net.state_dict(), first)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5,)], ids=str)
def test_what_a_fine_tuning_made_new_is_added_up_from_where_it_began(
    tmp_path: Path, weights: tuple[float, ...]
) -> None:
    train(tiny_config(signal="none"), tmp_path / "plain", images=tiny_images(labelled=False))
    tuned: list[dict[str, torch.Tensor]] = []
    for index in range(len(weights)):
        config = config_for(tmp_path / "plain", "lora", optimiser={"learning_rate": 1e-3 * (index + 1)})
        train(config, tmp_path / f"{index}", images=tiny_images())
        tuned.append(load_model(tmp_path / f"{index}").denoiser.net.state_dict())
    start = tiny_learner(config, tiny_images()).start.net.state_dict()[TABLE]
    adapters = [Adapter(str(tmp_path / f"{index}"), weight) for index, weight in enumerate(weights)]
    first, again = (with_adapters(tmp_path / "plain", adapters).denoiser.net.state_dict() for _ in range(2))
    assert equal_bits(first, again)
    expected = start + sum(weight * (one[TABLE] - start) for weight, one in zip(weights, tuned, strict=True))
    torch.testing.assert_close(first[TABLE], expected, rtol=0, atol=1e-6)


def test_adapters_that_do_not_go_together_are_refused(base: Path, tmp_path: Path) -> None:
    train(config_for(base, "lora"), tmp_path / "here", images=tiny_images())
    train(config_for(base, "lora"), tmp_path / "there", images=other_images())
    train(config_for(base, "vpt"), tmp_path / "beside", images=tiny_images())
    here, there, beside = (Adapter(str(tmp_path / name)) for name in ("here", "there", "beside"))
    with pytest.raises(UserError, match="class_names"):
        with_adapters(base, [here, there])
    with pytest.raises(UserError, match="can't be weighted or added up"):
        with_adapters(base, [here, beside])
    with pytest.raises(UserError, match="holds a whole model"):
        with_adapters(base, [Adapter(str(base))])
    with pytest.raises(UserError, match="fine-tuned from another model"):
        with_adapters(tmp_path / "here", [there])


def test_merged_it_needs_no_other_model(base: Path, tmp_path: Path) -> None:
    train(config_for(base, "dora"), tmp_path / "run", images=other_images())
    model = load_model(tmp_path / "run")
    save_merged(model, tmp_path / "merged")
    merged = load_model(tmp_path / "merged")
    assert equal_bits(merged.denoiser.net.state_dict(), model.denoiser.net.state_dict())
    assert merged.description["merged"]["finetune"]["method"] == "dora"
    assert torch.equal(merged.sample(2), model.sample(2))
    train(config_for(base, "adapter"), tmp_path / "beside", images=other_images())
    with pytest.raises(UserError, match="can't be merged"):
        save_merged(load_model(tmp_path / "beside"), tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_a_merged_model_still_says_how_it_learned(base: Path, tmp_path: Path) -> None:
    train(config_for(base, "bitfit", process={"label_dropout": 0.3}), tmp_path / "run", images=other_images())
    save_merged(load_model(tmp_path / "run"), tmp_path / "merged")
    assert finetune_config(tmp_path / "merged", "lora").process.label_dropout == 0.3


def test_without_a_model_there_is_nothing_to_tune() -> None:
    with pytest.raises(UserError, match="Give --start-from MODEL"):
        tiny_config(finetune={"method": "lora"})


def test_fewer_images_than_a_batch_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"6 training images, fewer than a batch of 8.*--optimiser.batch 3"):
        train(config_for(base, "lora"), tmp_path / "run", images=other_images(6))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_the_usual_configuration_fits_the_model(base: Path, tmp_path: Path) -> None:
    spec = load_model(base).spec
    for method in METHODS:
        config = finetune_config(base, method, {"data": {"source": "digits"}})
        assert config.net == spec.net
        assert config.process.sigma_data == spec.sigma_data
        assert config.optimiser.learning_rate == pytest.approx(
            LEARNING_RATES[method] * WIDTH / spec.net.width, rel=0.05
        )
        assert (config.data.channels, config.data.resolution) == (1, 8)
    with pytest.raises(UserError, match="unknown fine-tuning method 'lorra'"):
        finetune_config(base, "lorra")


@pytest.mark.parametrize("inside", ["", "model"])
def test_the_noise_levels_that_a_model_learned_at_go_along(tmp_path: Path, inside: str) -> None:
    learned = {"p_mean": -0.4, "p_std": 0.9, "label_dropout": 0.2}
    train(tiny_config(signal="none", process=learned), tmp_path / "run", images=tiny_images())
    config = finetune_config(tmp_path / "run" / inside, "lora")
    assert {key: getattr(config.process, key) for key in learned} == learned
    assert config.process.sigma_data == load_model(tmp_path / "run").spec.sigma_data


@pytest.mark.parametrize("said", [None, {"p_std": -1.0}])
def test_a_model_that_does_not_say_how_it_learned_goes_on_as_usual(base: Path, tmp_path: Path, said: Any) -> None:
    shutil.copytree(base, tmp_path / "model")
    path = next((tmp_path / "model").rglob("model.json"))
    description = json.loads(path.read_text())
    description.pop("learned", None)
    path.write_text(json.dumps(description if said is None else description | {"learned": said}))
    (tmp_path / "model" / "config.yaml").unlink(missing_ok=True)
    if said is None:
        assert finetune_config(tmp_path / "model", "lora").process.p_mean == load_train_config().process.p_mean
    else:
        with pytest.raises(UserError, match=r"model.json says how it learned, and.*\n.*p_std"):
            finetune_config(tmp_path / "model", "lora")


def test_a_damaged_adapter_is_said(base: Path, tmp_path: Path) -> None:
    train(config_for(base, "bitfit"), tmp_path / "run", images=other_images())
    (tmp_path / "run" / "model" / "adapter.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="can't be loaded"):
        load_model(tmp_path / "run")
