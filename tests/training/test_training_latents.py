"""Latents from a cache against diffusers' own posterior, image by image; the stream of draws against its definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from latent_setup import encoded, picture_set, tiny_autoencoder
from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import BatchStream, ImageSet, image_keys
from sadm.data.cache import TensorStore
from sadm.models import autoencoder_hash
from sadm.training.encoding import facts_of
from sadm.training.latents import KIND, LatentSet, LatentStream, open_stream
from sadm.training.moments import Layout

diffusers = pytest.importorskip("diffusers")

NONE = torch.empty(0, dtype=torch.int64)
DTYPES = [("float32", 1e-5), ("float16", 2**-10)]


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_autoencoder(tmp_path_factory.mktemp("models") / "vae")


@pytest.fixture(scope="module")
def mirrored(autoencoder: str, tmp_path_factory: pytest.TempPathFactory) -> LatentSet:
    return encoded(picture_set(), tmp_path_factory.mktemp("caches") / "flip", autoencoder, flip=True, dtype="float32")


@torch.no_grad()
def naive_moments(autoencoder: str, images: ImageSet, flip: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each image's latent, as diffusers gives them for it alone, scaled as its config says."""
    model = diffusers.AutoencoderKL.from_pretrained(autoencoder, low_cpu_mem_usage=False).eval()
    scale, shift = model.config.scaling_factor, model.config.shift_factor
    means, stds = [], []
    for pixels in images.images:
        x = pixels[None].float() / 127.5 - 1
        posterior = model.encode(x.flip(-1) if flip else x).latent_dist
        means.append((posterior.mean - shift) * scale)
        stds.append(posterior.std * scale)
    return torch.cat(means), torch.cat(stds)


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_moments_are_the_posteriors_of_each_image_alone(
    autoencoder: str, tmp_path: Path, dtype: str, tolerance: float
) -> None:
    images = picture_set(70)  # more than are encoded at a time
    latents = encoded(images, tmp_path / "cache", autoencoder, flip=True, dtype=dtype)
    assert latents.shape == (4, 4, 6)
    everything = torch.arange(70)
    for mirror in (False, True):
        found = latents.moments(everything, everything if mirror else NONE)
        mean, std = naive_moments(autoencoder, images, flip=mirror)
        assert found.mean.dtype == found.std.dtype == torch.float32
        torch.testing.assert_close(found.mean, mean, rtol=tolerance, atol=1e-6)
        torch.testing.assert_close(found.std, std, rtol=tolerance, atol=1e-6)


def test_a_mirror_images_latent_is_encoded_and_not_mirrored(mirrored: LatentSet) -> None:
    everything = torch.arange(10)
    plain, flipped = mirrored.moments(everything, NONE), mirrored.moments(everything, everything)
    assert not torch.allclose(flipped.mean, plain.mean.flip(-1), rtol=0.1, atol=0.1)
    some = mirrored.moments(everything, torch.tensor([3, 7]))
    for image in range(10):
        expected = flipped if image in (3, 7) else plain
        assert torch.equal(some.mean[image], expected.mean[image])
        assert torch.equal(some.std[image], expected.std[image])


def test_a_batch_is_its_definition(mirrored: LatentSet) -> None:
    stream = LatentStream(mirrored, 7, seed=5, flip=True)
    for step in (0, 3):
        batch = stream.batch(step)
        coin = torch.rand(7, generator=generator(5, "flip", step)) < 0.5
        assert coin.any()
        assert not coin.all()
        for place in range(7):
            turn = torch.tensor([0]) if coin[place] else NONE
            mean, std = mirrored.moments(batch.index[place : place + 1], turn)
            noise = torch.randn(1, 4, 4, 6, generator=generator(5, "posterior", step, place))
            torch.testing.assert_close(batch.x0[place : place + 1], mean + std * noise, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("flip", [False, True])
def test_images_come_in_the_order_of_pixels_with_their_labels(mirrored: LatentSet, flip: bool) -> None:
    pixels = BatchStream(mirrored.images, 4, seed=2, flip=flip)
    latents = open_stream(mirrored, 4, seed=2, flip=flip)
    for step in (0, 2, 5):
        ours, theirs = latents.batch(step), pixels.batch(step)
        assert torch.equal(ours.index, theirs.index)
        assert ours.cond.label is not None
        assert theirs.cond.label is not None
        assert torch.equal(ours.cond.label, theirs.cond.label)
        assert ours.x0.dtype == torch.float32
        assert ours.x0.shape == (4, 4, 4, 6)
    assert pixels.changes_pixels is flip
    assert latents.changes_pixels


def test_each_use_is_another_draw_and_the_same_when_asked_again(mirrored: LatentSet) -> None:
    stream, again = LatentStream(mirrored, 10, seed=0), LatentStream(mirrored, 10, seed=0)
    first, second = stream.batch(0), stream.batch(1)
    assert torch.equal(again.batch(1).x0, second.x0)
    assert torch.equal(stream.batch(0).x0, first.x0)
    for image in range(10):
        one, other = (batch.x0[batch.index == image] for batch in (first, second))
        assert not torch.equal(one, other)


def test_draws_have_the_posteriors_mean_and_deviation(autoencoder: str, mirrored: LatentSet) -> None:
    """Of 2 x 96 numbers in 600 draws, and of diffusers' own draws beside them."""
    steps = 600
    stream = LatentStream(mirrored, 10, seed=1)
    draws: list[list[torch.Tensor]] = [[] for _ in range(2)]
    for step in range(steps):
        batch = stream.batch(step)
        for image in range(2):
            draws[image].append(batch.x0[batch.index == image])
    mean, std = naive_moments(autoencoder, mirrored.images)
    for image in range(2):
        z = (torch.cat(draws[image]) - mean[image]) / std[image]  # [steps, 4, 4, 6]
        assert float(z.mean(0).abs().max()) < 5 / steps**0.5
        assert float((z.std(0) - 1).abs().max()) < 5 / (2 * steps) ** 0.5


def test_the_standard_deviation_is_that_of_many_draws(mirrored: LatentSet) -> None:
    stream = LatentStream(mirrored, 10, seed=3)
    many = torch.cat([stream.batch(step).x0 for step in range(400)])
    assert mirrored.std() == pytest.approx(float(many.std()), rel=0.01)


def test_a_cache_of_more_images_serves_any_part_in_any_order(mirrored: LatentSet) -> None:
    chosen = torch.tensor([8, 1, 4])
    part = LatentSet(mirrored.store, mirrored.images.subset(chosen), {})
    assert len(part) == 3
    found = part.moments(torch.tensor([2, 0]), NONE)
    assert torch.equal(found.mean, mirrored.moments(torch.tensor([4, 8]), NONE).mean)
    mean, std = mirrored.moments(chosen, NONE)
    assert part.std() == pytest.approx(float((mean.var(correction=0) + (std**2).mean()) ** 0.5), rel=1e-5)


def test_images_that_are_not_there_are_named(mirrored: LatentSet) -> None:
    pixels = mirrored.images.images.clone()
    pixels[4, 0, 0, 0] ^= 1  # one bit of one pixel
    pixels[6] = 0
    changed = ImageSet(pixels, None, (), mirrored.images.names, "pictures")
    with pytest.raises(UserError) as refused:
        LatentSet(mirrored.store, changed, {})
    assert "lacks the latents of 2 of the 10 training images ('picture 4', 'picture 6'): images were changed" in str(
        refused.value
    )
    assert "delete this one to encode anew" in str(refused.value)


def test_another_cache_is_refused_with_its_keys(autoencoder: str, mirrored: LatentSet, tmp_path: Path) -> None:
    other = tiny_autoencoder(tmp_path / "other", seed=1)
    images = picture_set(size=(8, 8))
    wanted = facts_of(images, other, Layout(flip=True))
    with pytest.raises(UserError) as refused:
        LatentSet(mirrored.store, images, wanted)
    said = str(refused.value)
    ours, theirs = autoencoder_hash(autoencoder)[:12], autoencoder_hash(other)[:12]
    assert f"autoencoder: stored {ours}…, given {theirs}…; resolution: stored 12x8, given 8x8" in said
    assert "dtype: stored float32, given float16" in said
    assert "flip:" not in said
    assert "(--data.latents), or delete this one" in said


def test_the_autoencoders_hash_is_over_config_and_weights(tmp_path: Path) -> None:
    first, same, other = (tiny_autoencoder(tmp_path / name, seed) for name, seed in [("a", 0), ("b", 0), ("c", 1)])
    (tmp_path / "b" / "README.md").write_text("about it")
    assert autoencoder_hash(first) == autoencoder_hash(same) != autoencoder_hash(other)
    scaled = tiny_autoencoder(tmp_path / "d", scaling_factor=0.8)
    assert autoencoder_hash(scaled) != autoencoder_hash(first)


def test_keys_tell_images_apart_by_their_bytes() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    images[2, 0, 1, 1] = 1
    keys = image_keys(images)
    assert keys.dtype == torch.int64
    assert keys[0] == keys[1] != keys[2]
    strided = torch.zeros(2, 2, 3, 1, dtype=torch.uint8).permute(2, 3, 0, 1)
    assert torch.equal(image_keys(strided)[:2], keys[:2])  # however they lie in memory


def test_what_training_asks_of_images_latents_have_too(mirrored: LatentSet) -> None:
    images: Any = mirrored.images
    assert torch.equal(mirrored.labels, images.labels)  # type: ignore[arg-type]
    for name in ("class_names", "num_classes", "source"):
        assert getattr(mirrored, name) == getattr(images, name)
    assert isinstance(mirrored.store, TensorStore)
    assert mirrored.store.manifest.kind == KIND


@pytest.mark.parametrize("flip", [False, True])
def test_processes_together_draw_what_one_draws(mirrored: LatentSet, flip: bool) -> None:
    whole = open_stream(mirrored, 7, 3, flip=flip).batch(4)
    shares = [open_stream(mirrored, 7, 3, flip=flip, rank=rank, world=3).batch(4) for rank in range(3)]
    assert torch.equal(torch.cat([share.x0 for share in shares]), whole.x0)
    assert torch.equal(torch.cat([share.index for share in shares]), whole.index)
