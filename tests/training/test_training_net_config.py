"""Sizes of networks: what goes together, and what another kind of network makes of a recipe's sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sadm.core.config import build_config, write_yaml
from sadm.core.errors import UserError
from sadm.experiments.config import CompareConfig
from sadm.experiments.sweep.config import SweepConfig
from sadm.models import DIT_NAMES, dit_by_name
from sadm.training.config import TrainConfig, load_train_config, recipe_names
from sadm.training.net_config import NetConfig, merge_training
from sadm.training.spec import ModelSpec

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kind": "unet", "patch": 4}, "net.patch has a meaning for net.kind 'dit' alone, got 'unet'"),
    ({"kind": "unet", "rope": True}, "net.rope has a meaning for net.kind 'dit' alone, got 'unet'"),
    ({"kind": "unet", "registers": 1}, "net.registers has a meaning for net.kind 'dit' alone"),
    ({"unet": {"layers": 3}}, "net.unet.layers has a meaning for net.kind 'unet' alone, got 'dit'"),
    ({"kind": "unet", "unet": {"channels": []}}, "at least one level"),
    ({"kind": "unet", "unet": {"channels": [20, 40]}}, r"net.unet.groups \(8\) must divide .* got 20"),
    ({"kind": "unet", "unet": {"channels": [3], "groups": 3}}, "first of net.unet.channels must be even, got 3"),
    ({"kind": "unet", "unet": {"attention": [2]}}, "names level 2; with 2 net.unet.channels there are 0 to 1"),
    ({"kind": "unet", "unet": {"head_width": 48}}, r"net.unet.head_width \(48\) must divide .* got 64"),
    ({"kind": "unet", "unet": {"width": 3}}, "unknown key 'net.unet.width'"),
    ({"kind": "mlp"}, "'dit' or 'unet'"),
    ({"named": "DiT-XXL/2"}, "'DiT-S/2', 'DiT-S/4'"),
    ({"named": "DiT-S/2", "width": 512}, "net.named DiT-S/2 has a net.width of 384, got 512. Leave one of the two out"),
    ({"kind": "unet", "named": "DiT-S/2"}, "net.named has a meaning for net.kind 'dit' alone, got 'unet'"),
]


@pytest.mark.parametrize(("net", "message"), REFUSED, ids=lambda value: str(value)[:50])
def test_sizes_that_make_no_sense_are_refused(net: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_config(TrainConfig, {"net": net}, "a.yaml")


def test_what_divides_an_image() -> None:
    dit, unet = NetConfig(patch=4), NetConfig(kind="unet", unet={"channels": (8, 8, 16)})  # type: ignore[arg-type]
    assert (dit.divisor, dit.division) == (4, "be cut into patches of 4x4")
    assert (unet.divisor, unet.division) == (4, "be halved 2 times, as a UNet of 3 levels does")
    assert unet.unet.levels_with_attention == (2,)


def test_augmentation_is_refused_where_the_network_is_not_told_of_it() -> None:
    augment = {"preset": "photos"}
    with pytest.raises(UserError, match=r"data.augment \(flip_x, .*data.flip"):
        load_train_config(overrides={"net": {"kind": "unet"}, "data": {"augment": augment}})
    load_train_config(overrides={"data": {"augment": augment}})
    load_train_config(overrides={"net": {"kind": "unet"}, "data": {"flip": True}})


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_recipe_with_a_unet_has_the_unets_own_sizes(recipe: str) -> None:
    config = load_train_config(recipe, overrides={"net": {"kind": "unet", "unet": {"layers": 1}}})
    assert config.net == NetConfig(kind="unet", unet={"layers": 1})  # type: ignore[arg-type]
    assert config.optimiser == load_train_config(recipe).optimiser


def test_only_another_kind_drops_sizes() -> None:
    base = {"net": {"patch": 4, "width": 8}, "seed": 1}
    assert merge_training(base, {"net": {"kind": "dit", "depth": 2}})["net"] == {
        "patch": 4,
        "width": 8,
        "kind": "dit",
        "depth": 2,
    }
    assert merge_training(base, {"seed": 2}) == {"net": {"patch": 4, "width": 8}, "seed": 2}
    assert merge_training(base, {"net": {"kind": "unet"}}) == {"net": {"kind": "unet"}, "seed": 1}
    unet = {"net": {"kind": "unet", "unet": {"layers": 1}}}
    assert merge_training(unet, {"net": {"kind": "dit", "patch": 4}}) == {"net": {"kind": "dit", "patch": 4}}
    assert merge_training(unet, {"net": {"unet": {"groups": 4}}})["net"]["unet"] == {"layers": 1, "groups": 4}


@pytest.mark.parametrize("name", DIT_NAMES)
def test_a_name_stands_for_the_published_sizes(name: str) -> None:
    net = build_config(TrainConfig, {"net": {"named": name, "rope": True}}, "a.yaml").net
    built = ModelSpec((4, 32, 32), net, 1.0, (), ()).network
    with torch.device("meta"):
        published = dit_by_name(name, (4, 32, 32), rope=True)
        shapes = {key: value.shape for key, value in built().state_dict().items()}
    assert shapes == {key: value.shape for key, value in published.state_dict().items()}


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_name_takes_the_place_of_a_recipes_sizes(recipe: str, tmp_path: Path) -> None:
    config = load_train_config(recipe, overrides={"net": {"named": "DiT-S/4"}})
    assert (config.net.patch, config.net.width, config.net.depth, config.net.heads) == (4, 384, 12, 6)
    assert config.optimiser == load_train_config(recipe).optimiser
    write_yaml(tmp_path / "config.yaml", config)
    assert load_train_config(config=tmp_path / "config.yaml") == config
    free = load_train_config(config=tmp_path / "config.yaml", overrides={"net": {"width": 192}})
    assert (free.net.named, free.net.width, free.net.depth) == (None, 192, 12)
    other = load_train_config(config=tmp_path / "config.yaml", overrides={"net": {"named": "DiT-B/2"}})
    assert (other.net.patch, other.net.width, other.net.depth, other.net.heads) == (2, 768, 12, 12)
    unet = load_train_config(config=tmp_path / "config.yaml", overrides={"net": {"kind": "unet"}})
    assert unet.net == NetConfig(kind="unet")


def test_arms_and_settings_may_differ_in_their_network() -> None:
    train = load_train_config("digits").model_dump(mode="json")
    arms = {"plain": {"signal": "none"}, "unet": {"signal": "none", "net": {"kind": "unet"}}}
    comparison = build_config(CompareConfig, {"train": train, "arms": arms}, "compare")
    assert comparison.arm_config("plain", 1).net.model_dump(mode="json") == train["net"]
    assert comparison.arm_config("unet", 1).net == NetConfig(kind="unet")
    sweep = build_config(SweepConfig, {"train": train, "vary": {"net.kind": ["dit", "unet"]}}, "sweep")
    assert [sweep.arm_config(name, 1).net.kind for name in sweep.settings] == ["dit", "unet"]
    sweep = build_config(SweepConfig, {"train": train, "vary": {"net.named": ["DiT-S/4", "DiT-B/4"]}}, "sweep")
    assert [sweep.arm_config(name, 1).net.width for name in sweep.settings] == [384, 768]


def test_configurations_of_before_there_were_kinds_are_transformers(tmp_path: Any) -> None:
    stored = yaml.safe_load("net: {patch: 4, width: 96, depth: 2, heads: 4}")
    assert build_config(TrainConfig, stored, "config.yaml").net.kind == "dit"
    config = load_train_config(overrides={"net": {"kind": "unet", "unet": {"channels": [8, 16], "attention": []}}})
    write_yaml(tmp_path / "config.yaml", config)
    assert build_config(TrainConfig, yaml.safe_load((tmp_path / "config.yaml").read_text()), "again") == config
