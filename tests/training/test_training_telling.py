"""Networks that are told of attributes and masks: trained, resumed, stored, asked, continued on other images."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from sadm.cli.main import run
from sadm.core.conditions import AttributeScale, Cond
from sadm.core.errors import InterruptedRun, UserError
from sadm.data import ImageSet
from sadm.diffusion import Centred, EDMDenoiser
from sadm.models.dit import ATTRIBUTE_TABLE, PICTURE_TABLE, DiT
from sadm.training.config import DenoiserConfig, NetConfig
from sadm.training.early_stop import EarlyStop, hold_back
from sadm.training.fitting import fit_network
from sadm.training.model_folder import load_model
from sadm.training.run import train
from sadm.training.spec import ModelSpec
from sadm.training.telling import condition, condition_of, parse_attributes
from tiny import Listener, equal_bits, tiny_config, tiny_images, tiny_learner

TELL = {"tell": ["attributes", "masks"], "tell_dropout": 0.25}


def marked_images() -> ImageSet:
    """Images of which the bright part is marked, and its share known."""
    images = tiny_images()
    masks = (images.images > 128).to(torch.uint8) * 255
    share = (masks > 0).float().flatten(1).mean(1, keepdim=True)
    return dataclasses.replace(images, masks=masks, attributes=share, attribute_names=("bright",))


def spec(**change: Any) -> ModelSpec:
    given = {"attributes": (AttributeScale("bright", 0.4, 0.2),), "pictures": ("masks",), **change}
    return ModelSpec((1, 8, 8), NetConfig(patch=4, width=16, depth=1, heads=2), 0.5, (), (), DenoiserConfig(), **given)


def shaken(net: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The network with weights that are nowhere zero."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in net.parameters():
            part.add_(torch.randn(part.shape, generator=draws), alpha=0.1)
    return net.double().eval()


def asked(net: torch.nn.Module, cond: Cond) -> torch.Tensor:
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        return net(x, torch.tensor([-0.5, 0.1, 0.7], dtype=torch.float64), cond)


def test_a_network_listens_and_zeros_tell_it_nothing() -> None:
    net = shaken(spec().network())
    values, picture = torch.randn(3, 2), torch.randn(3, 1, 8, 8)
    nothing = asked(net, Cond())
    for cond in (Cond(attributes=values), Cond(image=picture)):
        assert float((asked(net, cond) - nothing).abs().amax((1, 2, 3)).min()) > 1e-3
    zeros = Cond(attributes=torch.zeros(3, 2), image=torch.zeros(3, 1, 8, 8))
    assert torch.equal(asked(net, zeros), nothing)


def test_patches_of_a_picture_are_added_where_they_are() -> None:
    """Against an embedding by hand: one patch of the picture reaches the token of that patch alone."""
    net = shaken(spec().network())
    assert isinstance(net, DiT)
    assert net.picture_embedder is not None
    seen: list[torch.Tensor] = []
    net.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    picture = torch.zeros(3, 1, 8, 8, dtype=torch.float64)
    picture[:, :, 4:, :4] = torch.arange(16.0).view(4, 4)  # the third of four patches
    asked(net, Cond(image=picture))
    asked(net, Cond())
    change = seen[0] - seen[1]  # [B, T, D]
    expected = net.picture_embedder.weight.flatten(1) @ torch.arange(16.0, dtype=torch.float64)
    torch.testing.assert_close(change[:, 2], expected.expand(3, -1))
    assert float(change[:, [0, 1, 3]].abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("cond", "told", "message"),
    [
        (Cond(attributes=torch.zeros(3, 3)), True, r"expects attributes \[B, 2\]"),
        (Cond(attributes=torch.zeros(3, 2)), False, "can't be told of attributes"),
        (Cond(image=torch.zeros(3, 1, 4, 8)), True, r"of shape \[3, 1, 8, 8\]"),
        (Cond(image=torch.zeros(3, 1, 8, 8)), False, "can't be told of an image"),
    ],
)
def test_what_a_network_can_not_be_told_is_refused(cond: Cond, told: bool, message: str) -> None:
    net = (spec() if told else spec(attributes=(), pictures=())).network().double()
    with pytest.raises(ValueError, match=message):
        asked(net, cond)


def test_the_first_weights_are_those_of_a_network_that_is_told_nothing() -> None:
    nets = []
    for one in (spec(), spec(attributes=(), pictures=())):
        torch.manual_seed(0)
        nets.append(one.network().state_dict())
    extra = {ATTRIBUTE_TABLE, PICTURE_TABLE}
    assert nets[0].keys() - nets[1].keys() == extra
    assert equal_bits({name: nets[0][name] for name in nets[1]}, nets[1])


def test_training_uses_it_and_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    config, images = tiny_config(signal="none", data=TELL), marked_images()
    learner = tiny_learner(config, images)
    before = {name: part.clone() for name, part in learner.denoiser.net.state_dict().items()}
    for _ in range(3):
        learner.advance()
    after = learner.denoiser.net.state_dict()
    for name in (ATTRIBUTE_TABLE, PICTURE_TABLE):
        assert float((after[name] - before[name]).abs().max()) > 1e-4
    train(config, tmp_path / "whole", images=images)
    with pytest.raises(InterruptedRun):
        train(config, tmp_path / "parts", Listener(stop_at=4), images)
    train(config, tmp_path / "parts", images=images)
    whole, parts = (load_model(tmp_path / name) for name in ("whole", "parts"))
    assert equal_bits(whole.denoiser.net.state_dict(), parts.denoiser.net.state_dict())
    assert whole.spec.pictures == ("masks",)
    (scale,) = whole.spec.attributes
    known = images.attributes.double()  # type: ignore[union-attr]
    assert (scale.name, scale.mean) == ("bright", pytest.approx(float(known.mean()), abs=1e-5))


def test_training_without_it_is_as_before(tmp_path: Path) -> None:
    """What is there and not told changes no bit."""
    for name, images in (("marked", marked_images()), ("plain", tiny_images())):
        train(tiny_config(signal="none"), tmp_path / name, images=images)
    marked, plain = (load_model(tmp_path / name).denoiser.net.state_dict() for name in ("marked", "plain"))
    assert equal_bits(marked, plain)


def test_a_model_draws_what_it_is_told(tmp_path: Path) -> None:
    train(tiny_config(signal="none", data=TELL), tmp_path / "run", images=marked_images())
    model = load_model(tmp_path / "run")
    masks = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    masks[:, :, :4] = 255
    told = condition(model.spec, 4, {"bright": 0.9}, masks)
    drawn = model.sample(4, told=told)
    assert not torch.equal(drawn, model.sample(4))
    one_by_one = model.sampling.model_copy(update={"batch": 1})
    torch.testing.assert_close(model.sample(4, told=told, sampling=one_by_one), drawn, rtol=1e-4, atol=1e-4)
    for given, message in (
        ({"attributes": {"dark": 1.0}}, "'dark' is no attribute of this model; there are bright"),
        ({"masks": masks[:3]}, "3 masks were given for 4 images"),
        ({"masks": masks[..., :6]}, r"expected uint8 \[4, 1, 8, 8\]"),
    ):
        with pytest.raises(UserError, match=message):
            condition(model.spec, 4, **given)  # type: ignore[arg-type]
    bare = dataclasses.replace(model.spec, attributes=(), pictures=())
    for given in ({"attributes": {"bright": 1.0}}, {"masks": masks}):
        with pytest.raises(UserError, match="was trained without"):
            condition(bare, 4, **given)  # type: ignore[arg-type]


def test_another_scale_computes_the_same_for_every_value() -> None:
    """The values themselves are the oracle: the same ones in other units give the same answer."""
    there = spec(attributes=(AttributeScale("bright", 0.4, 0.2), AttributeScale("old", 0.0, 1.0)))
    here = spec(attributes=(AttributeScale("new", 1.0, 2.0), AttributeScale("bright", 0.7, 0.05)))
    source, net = shaken(there.network()), here.network().double()
    fitted = fit_network(net, source, there, here, {}, 0)
    assert fitted.said == ("Embedding of attributes: starts at zero for new and is left out for old.",)
    for value in (-1.0, 0.4, 0.7, 30.0, math.nan):
        given = {} if math.isnan(value) else {"bright": value}
        before, after = (condition(one, 3, given) for one in (there, here))
        torch.testing.assert_close(asked(net, after), asked(source, before), rtol=1e-6, atol=1e-6)
    without = spec(attributes=(), pictures=())
    back = without.network().double()
    assert fit_network(back, source, there, without, {}, 0).said == (
        "Embedding of attributes: is left out for bright, old.",
        "Embedding of pictures: is left out for masks.",
    )
    torch.testing.assert_close(asked(back, Cond()), asked(source, Cond()))
    again = there.network().double()
    fit_network(again, back, without, there, {}, 0)
    torch.testing.assert_close(asked(again, condition(there, 3, {"bright": 3.0})), asked(source, Cond()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"augment": {"rotation": 90.0}}, "its mask would stay"),
        ({"fit": "random-crop", "resolution": 8}, "data.fit must not be 'random-crop'"),
        ({"autoencoder": "vae"}, "needs a model of pixels"),
        ({"tell": ["masks", "masks"]}, "names something twice"),
        ({"tell": ["shapes"]}, "tell"),
    ],
)
def test_what_would_separate_a_mask_from_its_image_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises((ValidationError, UserError), match=message):
        tiny_config(data={**TELL, **change})
    tiny_config(data={**TELL, "augment": {"brightness": 0.1}})


def test_attributes_are_read_as_they_are_typed() -> None:
    assert parse_attributes(["a=0.5", "b=-1e3"]) == {"a": 0.5, "b": -1000.0}
    for text in ("a", "a=", "a=x", "a=nan", "a=inf"):
        with pytest.raises(UserError, match="expected NAME=NUMBER"):
            parse_attributes([text])
    with pytest.raises(UserError, match="gives a twice"):
        parse_attributes(["a=1", "a=2"])


def test_the_command_line_trains_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    options = (
        "--data=surfaces:count=24,size=16 --data.tell attributes masks --signal=none --net.patch=4 --net.width=8 --net.depth=1 "
        "--net.heads=1 --optimiser.steps=2 --optimiser.batch=4 --sampling.steps=2 --log.samples=4"
    ).split()
    assert run(["train", "--out", str(out), *options]) == 0
    assert [scale["name"] for scale in json.loads((out / "model" / "model.json").read_text())["attributes"]][
        -1
    ] == "severity"
    draw = ["sample", str(out), "--count", "2", "--label", "dent", "--out", str(tmp_path / "drawn")]
    assert run([*draw, "--attribute", "severity=0.9", "material_metal=1"]) == 0
    assert len(list((tmp_path / "drawn").glob("0*.png"))) == 2
    capsys.readouterr()
    assert run([*draw, "--attribute", "colour=1"]) == 2
    assert "there are material_metal, material_fabric, material_casting, severity" in " ".join(
        capsys.readouterr().err.split()
    )


# ---- damage ----------------------------------------------------------------------------------------------------------


def test_a_network_is_shown_damage_and_masks_side_by_side(tmp_path: Path) -> None:
    data = {"tell": ["damage", "masks"], "damage": ["tear", "fade"], "damage_strength": 0.5}
    train(tiny_config(signal="none", data=data), tmp_path / "run", images=marked_images())
    model = load_model(tmp_path / "run")
    assert model.spec.pictures == ("masks", "damage")
    assert isinstance(model.denoiser, Centred)
    assert model.spec.centred
    assert model.denoiser.net.picture_embedder.in_channels == 2  # type: ignore[union-attr]
    damaged, masks = torch.randn(3, 1, 8, 8).clamp(-1, 1), torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    told = condition_of(model.spec, damaged=damaged)
    assert told.image is not None
    assert torch.equal(told.image, torch.cat([torch.zeros(3, 1, 8, 8), damaged], dim=1))
    both = condition_of(model.spec, masks=masks, damaged=damaged).image
    assert torch.equal(both, torch.cat([-torch.ones(3, 1, 8, 8), damaged], dim=1))  # type: ignore[arg-type]
    assert not torch.equal(model.sample(3, told=told), model.sample(3))
    with pytest.raises(UserError, match=r"damage: .*expected floating point \[3, 1, 8, 8\]"):
        condition_of(model.spec, damaged=damaged[..., :4])
    with pytest.raises(UserError, match="a damaged image was given, but this model was trained without"):
        condition_of(dataclasses.replace(model.spec, pictures=("masks",)), damaged=damaged)


def test_a_model_that_was_told_of_damage_in_the_earlier_way_stays_as_it_was(tmp_path: Path) -> None:
    config = tiny_config(signal="none", data={"tell": ["damage"]})
    train(config, tmp_path / "run", images=marked_images())
    description = tmp_path / "run" / "model" / "model.json"
    facts = json.loads(description.read_text())
    del facts["centred"]
    description.write_text(json.dumps(facts))
    model = load_model(tmp_path / "run")
    assert not model.spec.centred
    assert isinstance(model.denoiser, EDMDenoiser)
    with pytest.raises(UserError, match="was told of damaged images in an earlier way"):
        train(
            config.model_copy(update={"start_from": str(tmp_path / "run")}), tmp_path / "more", images=marked_images()
        )
    description.write_text(json.dumps({**facts, "centred": True, "pictures": []}))
    with pytest.raises(UserError, match="damaged"):
        load_model(tmp_path / "run")


def test_pictures_keep_their_weights_in_a_network_that_is_shown_more() -> None:
    there, here = spec(attributes=()), spec(attributes=(), pictures=("masks", "damage"))
    source, net = shaken(there.network()), here.network().double()
    assert fit_network(net, source, there, here, {}, 0).said == ("Embedding of pictures: starts at zero for damage.",)
    masks = (torch.rand(3, 1, 8, 8) < 0.5).to(torch.uint8) * 255
    more = condition_of(here, masks=masks, damaged=torch.randn(3, 1, 8, 8))
    torch.testing.assert_close(asked(net, more), asked(source, condition_of(there, masks=masks)))
    back = there.network().double()
    assert fit_network(back, net, here, there, {}, 0).said == ("Embedding of pictures: is left out for damage.",)
    torch.testing.assert_close(asked(back, condition_of(there, masks=masks)), asked(net, more))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tell": [], "damage": ["tear"]}, "data.damage has a meaning with data.tell 'damage' alone"),
        ({"tell": ["masks"], "damage_strength": 0.5}, "data.damage_strength has a meaning"),
        ({"tell": ["damage"], "autoencoder": "vae"}, "needs a model of pixels"),
        ({"tell": ["damage"], "fit": "buckets", "resolution": 8}, "images of one shape"),
        ({"tell": ["damage"], "damage": ["rain"]}, "damage"),
    ],
)
def test_damage_that_has_no_meaning_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises((ValidationError, UserError), match=message):
        tiny_config(data=change)


def test_a_signal_that_knows_no_damaged_images_is_refused() -> None:
    with pytest.raises(UserError, match="'contrastive' knows no denoiser that starts from a damaged image"):
        tiny_config(signal="contrastive", data={"tell": ["damage"]})
    assert tiny_config(signal="contrastive", data={"tell": ["masks"]}).signal == "contrastive"


def test_early_stopping_judges_a_network_by_what_it_is_told() -> None:
    data = {"tell": ["attributes", "masks"], "tell_dropout": 0.5}
    config = tiny_config(signal="none", data=data, early_stop={"every": 2, "share": 0.25})
    learned, held = hold_back(config, marked_images())
    learner = tiny_learner(config, learned)
    early = EarlyStop(config, held, learner)
    for number in range(early.batches):
        cond = early.stream.batch(number).cond
        assert cond.image is not None
        assert cond.attributes is not None
        assert bool((cond.image.flatten(1).abs().sum(1) > 0).all())  # of all of them, whatever the training leaves out
        assert bool((cond.attributes.abs().sum(1) > 0).all())
    before = early.loss()
    with torch.no_grad():
        for part in learner.ema.module.picture_embedder.parameters():
            part.add_(1.0)
        learner.ema.module.final_layer.linear.weight.add_(0.1)
    assert early.loss() != before
