"""Encoders by name. The packages are stood in for by modules of their name, whose networks are real and small."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from structure_oracles import images
from torch import nn

from sadm.structure import StructureError, load_encoder

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


class Network(nn.Module):
    """Keeps what it was given; returns mean colours, or what `wrap` makes of the images."""

    def __init__(self, wrap: Any = None, **config: Any) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.config = types.SimpleNamespace(**config)
        self.wrap = wrap or (lambda x: x.mean((2, 3)))

    def forward(self, x: torch.Tensor) -> Any:
        self.given = x
        return self.wrap(self.dropout(x))


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands in for timm; the returned dictionary holds how it was called."""
    calls: dict[str, Any] = {}

    def create_model(name: str, **options: Any) -> nn.Module:
        if name == "missing":
            raise RuntimeError("Unknown model (missing)")
        calls.update(name=name, options=options)
        return Network()

    module = types.ModuleType("timm")
    config = {"mean": MEAN, "std": STD, "input_size": (3, 12, 12), "interpolation": "bicubic"}
    module.create_model = create_model
    module.data = types.SimpleNamespace(resolve_model_data_config=lambda network: config)
    monkeypatch.setitem(sys.modules, "timm", module)
    return calls


def transformers_with(monkeypatch: pytest.MonkeyPatch, network: nn.Module, **processor: Any) -> list[str]:
    names: list[str] = []

    def loads(thing: Any) -> Any:
        return types.SimpleNamespace(from_pretrained=lambda name: names.append(name) or thing)

    module = types.ModuleType("transformers")
    module.AutoModel = loads(network)
    module.AutoImageProcessor = loads(types.SimpleNamespace(**processor))
    monkeypatch.setitem(sys.modules, "transformers", module)
    return names


def normalised(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([((x[:, c] + 1) / 2 - MEAN[c]) / STD[c] for c in range(3)], dim=1)


def test_timm_gets_normalised_images_of_its_size_and_gives_pooled_features(timm: dict[str, Any]) -> None:
    encoder = load_encoder("timm:resnet18.a1_in1k")
    assert timm == {"name": "resnet18.a1_in1k", "options": {"pretrained": True, "num_classes": 0}}
    assert not encoder.network.training  # or dropout would be active
    x = images(1, 4, 3, 12, 12).clamp(-1, 1)
    torch.testing.assert_close(encoder(x), normalised(x).mean((2, 3)), rtol=0, atol=1e-6)
    torch.testing.assert_close(encoder.network.given, normalised(x), rtol=0, atol=1e-6)


def test_grey_images_are_shown_in_three_colours(timm: dict[str, Any]) -> None:
    x = images(2, 4, 1, 12, 12).clamp(-1, 1)
    encoder = load_encoder("timm:resnet18")
    assert torch.equal(encoder(x), encoder(x.repeat(1, 3, 1, 1)))


def test_images_are_resized_and_gradients_come_back(timm: dict[str, Any]) -> None:
    x = images(3, 2, 3, 24, 30).clamp(-1, 1).requires_grad_()
    for side, encoder in ((12, load_encoder("timm:resnet18")), (6, load_encoder("timm:resnet18", side=6))):
        (gradient,) = torch.autograd.grad(encoder(x).square().sum(), x)
        expected = F.interpolate(normalised(x.detach()), (side, side), mode="bilinear", antialias=True)
        torch.testing.assert_close(encoder.network.given.detach(), expected, rtol=0, atol=1e-5)
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize(
    ("wrap", "expected"),
    [
        (lambda x: types.SimpleNamespace(last_hidden_state=x.flatten(2).mT), lambda x: x.mean((2, 3))),  # tokens
        (lambda x: types.SimpleNamespace(last_hidden_state=x), lambda x: x.mean((2, 3))),  # a map
    ],
)
def test_transformers_give_the_mean_of_the_last_hidden_state(
    monkeypatch: pytest.MonkeyPatch, wrap: Any, expected: Any
) -> None:
    network = Network(wrap, image_size=8)
    names = transformers_with(monkeypatch, network, image_mean=MEAN, image_std=STD, size={"height": 5})
    encoder = load_encoder("transformers:someone/model:v2")
    assert names == ["someone/model:v2"] * 2
    assert encoder.side == 8
    x = images(4, 2, 3, 8, 8).clamp(-1, 1)
    torch.testing.assert_close(encoder(x), expected(normalised(x)), rtol=0, atol=1e-6)


def test_of_a_model_of_tokens_the_first_one_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Network(lambda x: types.SimpleNamespace(last_hidden_state=x.flatten(2).mT), image_size=8)
    transformers_with(monkeypatch, tokens, image_mean=MEAN, image_std=STD)
    x = images(4, 2, 3, 8, 8).clamp(-1, 1)
    found = load_encoder("transformers:dino", pooling="first")(x)
    torch.testing.assert_close(found, normalised(x)[:, :, 0, 0], rtol=0, atol=1e-6)
    maps = Network(lambda x: types.SimpleNamespace(last_hidden_state=x), image_size=8)
    transformers_with(monkeypatch, maps, image_mean=MEAN, image_std=STD)
    with pytest.raises(StructureError, match=r"model with tokens \[B, T, D\]; its last hidden state is \[2, 3, 8, 8\]"):
        load_encoder("transformers:resnet", pooling="first")(x)


def test_of_a_model_of_images_and_text_the_vision_part_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    both = nn.Module()
    both.vision_model = Network(lambda x: types.SimpleNamespace(last_hidden_state=x), image_size=8)
    transformers_with(monkeypatch, both, image_mean=None, image_std=None)
    x = images(5, 2, 3, 8, 8)
    torch.testing.assert_close(load_encoder("transformers:clip")(x), ((x + 1) / 2).mean((2, 3)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("processor", "side"),
    [
        ({"size": {"height": 7, "width": 7}}, 7),
        ({"size": {"shortest_edge": 9}}, 9),
        ({"size": {"shortest_edge": 9}, "crop_size": {"height": 6, "width": 6}}, 6),
        ({"crop_size": None, "size": {}}, None),
        ({}, None),
    ],
)
def test_without_a_size_of_the_model_the_processor_is_asked(
    monkeypatch: pytest.MonkeyPatch, processor: dict[str, Any], side: int | None
) -> None:
    network = Network(lambda x: types.SimpleNamespace(last_hidden_state=x))
    transformers_with(monkeypatch, network, image_mean=MEAN, image_std=STD, **processor)
    encoder = load_encoder("transformers:resnet")
    encoder(torch.zeros(1, 3, 10, 14))
    assert encoder.network.given.shape[2:] == ((side, side) if side else (10, 14))


def test_a_model_without_a_hidden_state_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    transformers_with(monkeypatch, Network(image_size=8), image_mean=MEAN, image_std=STD)
    with pytest.raises(StructureError, match=r"a last hidden state; it gives a Tensor"):
        load_encoder("transformers:other")(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("package", ["timm", "transformers"])
def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StructureError, match=rf"needs the package {package}, .*Install it: pip install {package}$"):
        load_encoder(f"{package}:resnet18")


def test_a_model_that_the_package_does_not_know_is_refused(timm: dict[str, Any]) -> None:
    with pytest.raises(StructureError, match=r"timm can't load the model 'missing': Unknown model \(missing\)"):
        load_encoder("timm:missing")


@pytest.mark.parametrize("name", ["resnet18", "timm:", "clip:model", "", "timm/resnet18"])
def test_names_of_another_form_are_refused(name: str) -> None:
    with pytest.raises(StructureError, match=r"unknown encoder '.*'; expected timm:MODEL or transformers:MODEL"):
        load_encoder(name)


def test_latents_and_sizes_below_a_pixel_are_refused(timm: dict[str, Any]) -> None:
    with pytest.raises(StructureError, match=r"grey or colour images .*got \(1, 4, 8, 8\)\. Latents need"):
        load_encoder("timm:resnet18")(torch.zeros(1, 4, 8, 8))
    with pytest.raises(StructureError, match="side must be at least 1"):
        load_encoder("timm:resnet18", side=0)
