"""Guidance against two separate calls, and images that depend on their own seed alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.core.seeds import derive_seed
from sadm.diffusion import ClassifierFreeGuidance, EDMDenoiser, SamplerSettings, generate, image_seeds
from sadm.models import DiT

SHAPE = (1, 8, 8)
SETTINGS = SamplerSettings(steps=5, batch=4)


def trained_like(num_classes: int = 3) -> EDMDenoiser:
    """A transformer whose every weight is non-zero, as training leaves it."""
    net = DiT(SHAPE, patch=2, width=32, depth=2, heads=2, num_classes=num_classes)
    source = torch.Generator().manual_seed(5)
    for parameter in net.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=source)
    return EDMDenoiser(net).eval()


class Recording:
    """A denoiser around a denoiser that remembers what it was asked, and may compute in another precision."""

    def __init__(self, denoiser: EDMDenoiser, dtype: torch.dtype = torch.float32) -> None:
        self.denoiser = denoiser.to(dtype)
        self.dtype = dtype
        self.calls: list[tuple[torch.Tensor, torch.Tensor, Cond]] = []

    def __call__(self, x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        self.calls.append((x_t, sigma, cond))
        return self.denoiser(x_t.to(self.dtype), sigma.to(self.dtype), cond).to(x_t.dtype)


def batch() -> tuple[torch.Tensor, torch.Tensor, Cond]:
    x_t = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1))
    return x_t, torch.tensor([0.1, 0.5, 2.0, 9.0]), Cond(label=torch.tensor([0, 2, 1, 0]))


# ---- guidance --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.5, 4.0])
@torch.no_grad()
def test_guidance_equals_two_separate_calls(scale: float) -> None:
    denoiser, (x_t, sigma, cond) = trained_like(), batch()
    conditional = denoiser(x_t, sigma, cond)
    unconditional = denoiser(x_t, sigma, Cond(label=torch.full((4,), 3)))
    assert not torch.allclose(conditional, unconditional, atol=1e-3)
    found = ClassifierFreeGuidance(denoiser, scale, 3)(x_t, sigma, cond)
    expected = scale * conditional + (1 - scale) * unconditional
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_scale_of_one_is_the_conditional_denoiser_bit_for_bit_at_its_price() -> None:
    recording, (x_t, sigma, cond) = Recording(trained_like()), batch()
    found = ClassifierFreeGuidance(recording, 1.0, 3)(x_t, sigma, cond)
    assert torch.equal(found, recording.denoiser(x_t, sigma, cond))
    assert [len(call[0]) for call in recording.calls] == [4]


@torch.no_grad()
def test_guidance_is_one_call_that_keeps_every_other_condition() -> None:
    x_t, sigma, _ = batch()
    cond = Cond(torch.arange(4), torch.ones(4, 2), torch.arange(8.0).reshape(4, 2), torch.full((4, 1, 2, 2), 3.0))
    seen: list[tuple[torch.Tensor, torch.Tensor, Cond]] = []

    def denoiser(x: torch.Tensor, levels: torch.Tensor, given_cond: Cond) -> torch.Tensor:
        seen.append((x, levels, given_cond))
        return x

    ClassifierFreeGuidance(denoiser, 2.0, 9)(x_t, sigma, cond)
    ((x, levels, doubled),) = seen
    assert torch.equal(x, x_t.repeat(2, 1, 1, 1))
    assert torch.equal(levels, sigma.repeat(2))
    assert doubled.label is not None
    assert doubled.label.tolist() == [0, 1, 2, 3, 9, 9, 9, 9]
    for name in ("augment", "attributes", "image"):
        part = getattr(cond, name)
        assert torch.equal(getattr(doubled, name), torch.cat([part, part]))


def test_guidance_without_a_null_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"guidance_scale 2\.0 needs a network with classes.*Use guidance_scale 1"):
        ClassifierFreeGuidance(trained_like(0), 2.0, None)
    ClassifierFreeGuidance(trained_like(0), 1.0, None)


# ---- generating ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_an_image_does_not_depend_on_the_batch_it_was_drawn_in(
    scale: float, dtype: torch.dtype, tolerance: float
) -> None:
    """Up to the order in which a matrix product sums, which a batch size may change: at sigma 80 that is 1e-5 in float32."""
    recording, labels = Recording(trained_like(), dtype), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    seeds = image_seeds(11, 7)

    def draw(size: int, part: slice = slice(None)) -> tuple[torch.Tensor, torch.Tensor]:
        recording.calls.clear()
        settings = dataclasses.replace(SETTINGS, batch=size, guidance_scale=scale)
        drawn = generate(recording, SHAPE, seeds[part], labels[part], 3, settings)
        first = [x_t for x_t, sigma, _ in recording.calls if float(sigma[0]) > 79.99]
        return drawn, torch.cat([x[: len(x) // (1 if scale == 1 else 2)] for x in first])

    images, noise = draw(7)
    assert float(images.std()) > 0.05
    assert float((images[0] - images[3]).abs().max()) > 0.05  # the same class, another seed
    for size in (1, 2, 3, 100):
        again, noise_again = draw(size)
        assert torch.equal(noise_again, noise)
        torch.testing.assert_close(again, images, rtol=0, atol=tolerance)
    alone, noise_alone = draw(4, slice(5, 6))
    assert torch.equal(noise_alone, noise[5:6])
    torch.testing.assert_close(alone, images[5:6], rtol=0, atol=tolerance)


def test_each_image_has_its_own_label() -> None:
    recording = Recording(trained_like())
    generate(
        recording, SHAPE, image_seeds(1, 5), torch.tensor([2, 1, 0, 2, 1]), 3, dataclasses.replace(SETTINGS, batch=2)
    )
    labels = [call[2].label.tolist() for call in recording.calls[:: SETTINGS.steps]]  # type: ignore[union-attr]
    assert labels == [[2, 1], [0, 2], [1]]


def test_without_labels_the_network_is_asked_unconditionally() -> None:
    denoiser = trained_like()
    images = generate(denoiser, SHAPE, image_seeds(1, 3), None, 3, SETTINGS)
    as_null = generate(denoiser, SHAPE, image_seeds(1, 3), torch.full((3,), 3), 3, SETTINGS)
    torch.testing.assert_close(images, as_null, rtol=0, atol=1e-5)


def test_images_are_clamped_and_progress_is_told() -> None:
    calls: list[tuple[int, int]] = []

    def far_out(x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
        return torch.full_like(x_t, 7.0)

    images = generate(
        far_out, SHAPE, image_seeds(1, 9), None, None, SETTINGS, progress=lambda *done: calls.append(done)
    )
    assert torch.equal(images, torch.ones(9, *SHAPE))
    assert calls == [(4, 9), (8, 9), (9, 9)]


def test_no_seeds_no_images() -> None:
    assert generate(trained_like(), SHAPE, [], None, 3, SETTINGS).shape == (0, *SHAPE)


def test_seeds_are_a_sequence_of_their_own() -> None:
    assert image_seeds(3, 4) == [derive_seed(3, "image", i) for i in range(4)]
    assert image_seeds(3, 2) == image_seeds(3, 4)[:2]
    assert not set(image_seeds(3, 100)) & set(image_seeds(4, 100))


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_no_images_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"batch must be at least 1, got {size}"):
        generate(trained_like(), SHAPE, image_seeds(1, 3), None, 3, dataclasses.replace(SETTINGS, batch=size))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_labels_that_are_not_one_for_each_image_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="3 images but labels of shape"):
        generate(trained_like(), SHAPE, image_seeds(1, 3), torch.zeros(count, dtype=torch.int64), 3, SETTINGS)


def test_generated_images_carry_no_graph() -> None:
    denoiser = trained_like()
    assert any(parameter.requires_grad for parameter in denoiser.parameters())
    images = generate(denoiser, SHAPE, [1, 2], torch.tensor([0, 1]), 3, SamplerSettings(steps=2))
    assert not images.requires_grad
