"""The losses in the encoder's eyes: point-wise features, and the classifier's labels."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from signal_steps import balanced_to_half, made_up, numerical_gradient
from torch import nn

from sadm.core.errors import UserError
from sadm.signals import Balancing, FeatureLoss, LabelLoss, embedding_of, feature_signal, label_signal, parts_of
from sadm.structure import ConvEncoder, uniform_weight

ALL_ALIKE = Balancing(fraction=1.0, noise_weight=uniform_weight)


def encoder(outputs: str = "embedding", dtype: torch.dtype = torch.float64) -> ConvEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConvEncoder(1, width=8, stages=2, embedding=6, outputs=outputs).to(dtype)


def distance_by_hand(first: torch.Tensor, second: torch.Tensor) -> float:
    """Squared distance of two normalised vectors, with Python numbers."""
    a, b = first.tolist(), second.tolist()
    size_a, size_b = (math.sqrt(sum(value * value for value in v)) for v in (a, b))
    return sum((x / size_a - y / size_b) ** 2 for x, y in zip(a, b, strict=True))


def features_by_hand(module: ConvEncoder, x0: torch.Tensor, x0_hat: torch.Tensor) -> list[float]:
    losses = []
    for image, image_hat in zip(x0, x0_hat, strict=True):
        with torch.no_grad():
            output, output_hat = module(image[None]), module(image_hat[None])
        pairs = (
            [(output, output_hat)] if isinstance(output, torch.Tensor) else list(zip(output, output_hat, strict=True))
        )
        stages = []
        for part, part_hat in pairs:
            places = zip(part[0].reshape(-1, part.shape[-1]), part_hat[0].reshape(-1, part.shape[-1]), strict=True)
            distances = [distance_by_hand(*place) for place in places]
            stages.append(sum(distances) / len(distances))
        losses.append(sum(stages) / len(stages))
    return losses


@pytest.mark.parametrize("outputs", ["embedding", "stages"])
def test_feature_losses_against_a_loop(outputs: str) -> None:
    module, (denoised, _) = encoder(outputs), made_up(dtype=torch.float64)
    losses = FeatureLoss(module)(denoised.x0, denoised.x0_hat, None)
    assert losses.tolist() == pytest.approx(features_by_hand(module, denoised.x0, denoised.x0_hat), rel=1e-12)
    assert min(losses.tolist()) > 0
    assert FeatureLoss(module)(denoised.x0, denoised.x0, None).abs().max() < 1e-15


@pytest.mark.parametrize("outputs", ["embedding", "stages"])
def test_the_feature_gradient_against_differences(outputs: str) -> None:
    module, (denoised, g_dsm) = encoder(outputs), made_up(batch=2, dtype=torch.float64)

    def mean_loss(x0_hat: torch.Tensor) -> float:
        return sum(features_by_hand(module, denoised.x0, x0_hat)) / 2

    raw = numerical_gradient(mean_loss, denoised.x0_hat)
    step = feature_signal(module, ALL_ALIKE)(denoised, g_dsm)
    assert float(step.log["features"]) == pytest.approx(mean_loss(denoised.x0_hat), rel=1e-12)
    torch.testing.assert_close(step.gradient, balanced_to_half(raw, g_dsm), rtol=1e-6, atol=1e-8)


def test_features_in_half_precision_images_stay_in_the_encoders_precision() -> None:
    module, (denoised, g_dsm) = encoder(dtype=torch.float32), made_up(dtype=torch.bfloat16)
    step = feature_signal(module, ALL_ALIKE)(denoised, g_dsm)
    assert step.gradient.dtype == torch.bfloat16
    reference = FeatureLoss(module)(denoised.x0.float(), denoised.x0_hat.float(), None).mean()
    assert float(step.log["features"]) == pytest.approx(float(reference), rel=1e-2)  # weights of bfloat16 noise levels


def linear_classifier() -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(20, 5)).double(), nn.Linear(5, 3).double()


def test_label_losses_and_gradients_against_closed_forms() -> None:
    body, head = linear_classifier()
    denoised, g_dsm = made_up(batch=4, dtype=torch.float64)
    slope = (head.weight @ body[1].weight).tolist()  # [3][20]: logits are affine in the pixels
    offset = (head.weight @ body[1].bias + head.bias).tolist()
    gradients, losses = [], []
    for pixels, label in zip(denoised.x0_hat.flatten(1).tolist(), denoised.label.tolist(), strict=True):
        logits = [
            sum(s * x for s, x in zip(row, pixels, strict=True)) + b for row, b in zip(slope, offset, strict=True)
        ]
        total = sum(math.exp(value) for value in logits)
        share = [math.exp(value) / total - (k == label) for k, value in enumerate(logits)]
        losses.append(math.log(total) - logits[label])
        gradients.append([sum(share[k] * slope[k][place] for k in range(3)) for place in range(20)])
    assert LabelLoss(body, head)(denoised.x0, denoised.x0_hat, denoised.label).tolist() == pytest.approx(
        losses, rel=1e-12
    )
    step = label_signal(body, head, ALL_ALIKE)(denoised, g_dsm)
    assert float(step.log["labels"]) == pytest.approx(sum(losses) / 4, rel=1e-12)
    raw = torch.tensor(gradients, dtype=torch.float64) / 4
    torch.testing.assert_close(step.gradient, balanced_to_half(raw, g_dsm))


def test_the_label_signal_counts_images_whose_label_the_network_does_not_see() -> None:
    denoised, g_dsm = made_up(dtype=torch.float64)
    assert int((denoised.cond.label == 3).sum()) == 3
    step = label_signal(*linear_classifier(), ALL_ALIKE)(denoised, g_dsm)
    assert bool((step.gradient.flatten(1).norm(dim=1) > 0).all())


def test_labels_without_labels_are_refused() -> None:
    denoised, g_dsm = made_up(dtype=torch.float64)
    unlabelled = dataclasses.replace(denoised, label=None)
    with pytest.raises(UserError, match="needs labelled images"):
        label_signal(*linear_classifier(), ALL_ALIKE)(unlabelled, g_dsm)


def test_parts_and_embeddings_of_what_encoders_return() -> None:
    flat, places = torch.randn(2, 3).half(), torch.randn(2, 4, 5, dtype=torch.float64)
    assert [part.dtype for part in parts_of((places, flat))] == [torch.float64, torch.float32]
    assert torch.equal(embedding_of(flat), flat.float())
    assert torch.equal(embedding_of((places, flat)), flat.float())
    assert torch.equal(embedding_of([flat, places]), flat.float())
    torch.testing.assert_close(embedding_of(places), sum(places[:, p] for p in range(4)) / 4)
