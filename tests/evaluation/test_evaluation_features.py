"""Feature spaces made by networks: the layout of FID's InceptionV3, what users may name, and the cache of features."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sadm.core.errors import InterruptedRun, UserError
from sadm.data import ImageSet
from sadm.evaluation.features import (
    Extractor,
    InceptionV3,
    extract,
    identity_of,
    inception,
    load_inception,
    open_extractor,
)
from sadm.evaluation.features.resizing import resize_as_tensorflow_1


def image_set(count: int, channels: int = 3, side: int = 4) -> ImageSet:
    draws = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=draws)
    return ImageSet(pixels, None, (), tuple(map(str, range(count))), "made up")


class Means(nn.Module):
    """Mean and variance of each colour; counts what it is shown."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.seen, self.stop_at = 0, 0

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen += len(pixels)
        if self.stop_at and self.seen >= self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)
            self.stop_at = 0
        x = pixels.float() * self.scale
        return {"features": torch.cat([x.mean((2, 3)), x.var((2, 3))], dim=1), "spatial": x[:, :2]}


def extractor_of(network: nn.Module, batch: int = 5) -> Extractor:
    return Extractor("means", "means of colours", network, identity_of(network), torch.device("cpu"), batch)


@pytest.fixture(scope="module")
def network() -> InceptionV3:
    torch.manual_seed(0)
    made = InceptionV3().eval()
    nn.init.normal_(made.fc.bias)
    return made


@pytest.mark.parametrize("size", [(3, 4), (7, 5), (12, 12)])
def test_resizing_takes_the_four_nearest_pixels_from_the_corner(size: tuple[int, int]) -> None:
    side, (height, width) = 7, size
    x = torch.randn(2, 1, height, width)
    expected = torch.empty(2, 1, side, side)
    for row in range(side):
        for column in range(side):
            y, z = row * height / side, column * width / side
            top, left = int(y), int(z)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            a, b = y - top, z - left
            expected[..., row, column] = (
                (1 - a) * (1 - b) * x[..., top, left]
                + (1 - a) * b * x[..., top, right]
                + a * (1 - b) * x[..., below, left]
                + a * b * x[..., below, right]
            )
    torch.testing.assert_close(resize_as_tensorflow_1(x, side), expected, rtol=1e-5, atol=1e-6)


def test_resizing_to_the_same_size_changes_nothing() -> None:
    x = torch.randn(1, 3, 9, 9)
    assert torch.equal(resize_as_tensorflow_1(x, 9), x)


def test_inception_gives_what_the_metrics_need(network: InceptionV3) -> None:
    pixels = torch.randint(0, 256, (2, 3, 20, 30), dtype=torch.uint8)
    with torch.no_grad():
        found = network(pixels)
    assert {name: tuple(part.shape) for name, part in found.items()} == {
        "features": (2, 2048),
        "spatial": (2, 7, 17, 17),
        "logits": (2, 1008),
    }
    torch.testing.assert_close(found["logits"], network.fc(found["features"]) - network.fc.bias, rtol=1e-4, atol=1e-5)
    # 21.8 million parameters in its trunk, by the table of torchvision's documentation less the 1,000-class head.
    assert sum(p.numel() for name, p in network.named_parameters() if not name.startswith("fc.")) == 21_785_568


def test_averages_leave_out_what_lies_beyond_the_border(network: InceptionV3) -> None:
    block = network.Mixed_5b
    constant = torch.full((1, 192, 5, 5), 2.0)
    with torch.no_grad():
        pooled = block._pool(constant)
    assert torch.equal(pooled, pooled[:, :, :1, :1].expand_as(pooled))  # with zeros beyond, the rim would be darker


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_load_with_and_without_counters(network: InceptionV3, tmp_path: Path, ending: str) -> None:
    file, state = tmp_path / f"weights{ending}", network.state_dict()
    if ending == ".pth":
        torch.save(state | {"AuxLogits.fc.bias": torch.zeros(3)}, file)
    else:
        save_file({name: tensor for name, tensor in state.items() if "num_batches" not in name}, file)
    loaded = load_inception(file)
    assert not loaded.training
    assert identity_of(loaded) == identity_of(network)
    assert open_extractor(f"inception:{file}", "cpu").name == "inception"


def test_other_weights_are_refused(network: InceptionV3, tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save({"Mixed_5b.branch1x1.conv.weight": torch.zeros(64, 192, 1, 1)}, file)
    with pytest.raises(
        UserError, match=r"other\.pth holds other weights .* such as Conv2d_1a_3x3.conv.weight\. Give pt_inc"
    ):
        load_inception(file)
    torch.save(network.state_dict() | {"fc.weight": torch.zeros(1000, 2048)}, file)
    with pytest.raises(UserError, match=r"1 of \d+ tensors .* such as fc.weight"):
        load_inception(file)
    torch.save([1, 2], file)
    with pytest.raises(UserError, match="holds a list"):
        load_inception(file)
    with pytest.raises(UserError, match="nowhere"):
        load_inception(tmp_path / "nowhere.pth")


def test_weights_are_downloaded_once_and_checked(
    network: InceptionV3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = tmp_path / "release"
    release.mkdir()
    torch.save(network.state_dict(), release / "weights.pth")
    digest = hashlib.sha256((release / "weights.pth").read_bytes()).hexdigest()[:8]
    name = f"inception-{digest}.pth"
    (release / "weights.pth").rename(release / name)
    monkeypatch.setattr(inception, "RELEASE", release.as_uri())
    monkeypatch.setattr(inception, "FILE", name)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert identity_of(load_inception()) == identity_of(network)
    shutil.rmtree(release)
    assert identity_of(load_inception()) == identity_of(network)
    (tmp_path / "hub" / "checkpoints" / name).unlink()
    with pytest.raises(UserError, match=r"can't be downloaded .* Put inception-\w+\.pth .* into .*hub.*checkpoints"):
        load_inception()


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_becomes_three_equal_colours(channels: int) -> None:
    images = image_set(6, channels)
    found = extract(extractor_of(Means()), images)["features"]
    values = images.images.expand(-1, 3, -1, -1).double().flatten(2)
    expected = torch.cat([values.mean(2), values.var(2)], dim=1)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5)


def test_cached_features_are_the_same_and_computed_once(tmp_path: Path) -> None:
    images, network = image_set(2500), Means()
    expected = extract(extractor_of(network), images)
    network.seen = 0
    found = extract(extractor_of(network), images, tmp_path)
    assert network.seen == len(images) + 1  # one to learn the shapes
    again = extract(extractor_of(network), images, tmp_path)
    assert network.seen == len(images) + 2
    for name in ("features", "spatial"):
        assert np.array_equal(expected[name], found[name])
        assert np.array_equal(expected[name], again[name])


def test_the_cache_knows_networks_and_images_apart(tmp_path: Path) -> None:
    images = image_set(10)
    extract(extractor_of(Means()), images, tmp_path)
    other = extract(extractor_of(Means(2.0)), images, tmp_path)
    np.testing.assert_allclose(other["features"][:, :3], 2 * extract(extractor_of(Means()), images)["features"][:, :3])
    turned = images.subset(torch.arange(9, -1, -1))
    assert np.array_equal(
        extract(extractor_of(Means()), turned, tmp_path)["features"][::-1],
        extract(extractor_of(Means()), images, tmp_path)["features"],
    )
    assert len(list(tmp_path.iterdir())) == 3


def test_a_stop_keeps_what_was_computed(tmp_path: Path) -> None:
    images, network = image_set(3000), Means()
    network.stop_at = 1500
    with pytest.raises(InterruptedRun, match="Stopped after 2048 of 3000 images"):
        extract(extractor_of(network), images, tmp_path)
    network.seen = 0
    found = extract(extractor_of(network), images, tmp_path)
    assert network.seen == 3000 - 2048 + 1
    assert np.array_equal(found["features"], extract(extractor_of(network), images)["features"])


def test_damaged_features_are_computed_anew(tmp_path: Path) -> None:
    images, network = image_set(2000), Means()
    expected = extract(extractor_of(network), images, tmp_path)["features"]
    shard = min(tmp_path.rglob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-3] ^= 255
    shard.write_bytes(content)
    assert np.array_equal(extract(extractor_of(network), images, tmp_path)["features"], expected)


def test_images_and_outputs_that_do_not_fit() -> None:
    with pytest.raises(UserError, match=r"grey or colour .* got torch.uint8 \[3, 4, 4, 4\].*--data.channels"):
        extract(extractor_of(Means()), image_set(3, channels=4))
    with pytest.raises(UserError, match="gave NaN or infinite features"):
        extract(extractor_of(Means(float("nan"))), image_set(3))
    with pytest.raises(UserError, match=r"gave \[3, 3, 4, 4\] for 3 images; expected features \[3, d\]"):
        extract(extractor_of(nn.Identity()), image_set(3))


def features_of_mine() -> nn.Module:
    """What ``python:`` names in a test."""
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 5))


def not_a_network() -> int:
    return 3


def test_a_module_of_ones_own_sees_pixels_as_the_networks_do(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    extractor = open_extractor(f"python:{__name__}:features_of_mine", "cpu")
    torch.manual_seed(3)
    images, mine = image_set(4), features_of_mine()
    with torch.no_grad():
        expected = mine(images.floats())
    np.testing.assert_allclose(extract(extractor, images)["features"], expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resnet", r"unknown feature space 'resnet'; expected inception\[:FILE\]"),
        ("python:features", "names no function"),
        ("python:no_such_module_here:f", "No module named"),
        (f"python:{__name__}:nothing", "has no attribute 'nothing'"),
        (f"python:{__name__}:not_a_network", "returned a int"),
        ("timm:resnet18", "needs the package timm"),
        ("inception:nowhere.pth", "nowhere.pth"),
    ],
)
def test_what_cannot_be_opened_is_explained(text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not installed
    with pytest.raises(UserError, match=expected):
        open_extractor(text, "cpu")
