"""Options of the network, from a configuration or the command line to a model folder and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from sadm.cli.main import run
from sadm.core.conditions import Cond
from sadm.training.config import NetConfig
from sadm.training.model_folder import load_model
from sadm.training.run import train
from sadm.training.spec import ModelSpec
from tiny import equal_bits, tiny_config, tiny_images

OPTIONS = {"qk_norm": True, "rope": True, "swiglu": True, "registers": 2, "patch_bottleneck": 3}


@pytest.mark.parametrize(("name", "value"), OPTIONS.items())
def test_each_option_reaches_the_network(name: str, value: int) -> None:
    sizes = {"patch": 4, "width": 16, "depth": 1, "heads": 2}
    net = ModelSpec((1, 8, 8), NetConfig(**sizes, **{name: value}), 0.5, ("a", "b"), (1, 1)).build().net
    assert {option: getattr(net, option) for option in OPTIONS} == {**dict.fromkeys(OPTIONS, 0), name: value}
    assert net.null_label == 2


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"net\.rope needs a width of heads .* that 4 divides, got 24 / 4 = 6"):
        NetConfig(width=24, heads=4, rope=True)
    NetConfig(width=24, heads=4)
    NetConfig(width=24, heads=3, rope=True)
    with pytest.raises(ValueError, match="registers"):
        NetConfig(registers=-1)


def test_the_command_line_takes_the_options_and_samples_from_the_model(tmp_path: Path) -> None:
    out = tmp_path / "run"
    sizes = "--net.patch=4 --net.width=16 --net.depth=1 --net.heads=2 --optimiser.steps=4 --optimiser.batch=6"
    options = "--net.qk-norm --net.rope --net.swiglu --net.registers=2 --net.patch-bottleneck=3"
    short = "--structure.encoder-steps=2 --sampling.steps=2"
    assert run(["train", "--data", "digits", "--out", str(out), *f"{sizes} {options} {short}".split()]) == 0
    net = json.loads((out / "model" / "model.json").read_text())["net"]
    assert {name: net[name] for name in OPTIONS} == OPTIONS
    assert load_model(out).denoiser.net.registers == 2
    assert run(["sample", str(out), "--count", "2"]) == 0


def test_models_and_runs_stored_without_the_options_are_still_read(tmp_path: Path) -> None:
    config, images, folder = tiny_config(signal="none"), tiny_images(), tmp_path / "run"
    result = train(config, folder, images=images)
    before = load_model(folder).denoiser.net.state_dict()
    description, stored = folder / "model" / "model.json", folder / "config.yaml"
    facts, settings = json.loads(description.read_text()), yaml.safe_load(stored.read_text())
    for name in OPTIONS:
        del facts["net"][name], settings["net"][name]
    description.write_text(json.dumps(facts))
    stored.write_text(yaml.safe_dump(settings))
    assert equal_bits(load_model(folder).denoiser.net.state_dict(), before)
    assert train(config, folder, images=images) == result


def test_a_model_with_all_options_comes_back_from_its_folder(tmp_path: Path) -> None:
    train(tiny_config(signal="none", net=OPTIONS), tmp_path / "run", images=tiny_images())
    first, again = (load_model(tmp_path / "run").denoiser for _ in range(2))
    x, sigma, cond = torch.randn(2, 1, 8, 8), torch.tensor([0.5, 2.0]), Cond(torch.tensor([0, 2]))
    assert torch.equal(first(x, sigma, cond), again(x, sigma, cond))
    assert "register_tokens" in first.net.state_dict()
