from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.structure import ConvEncoder, ViTEncoder
from sadm.training.pretraining import (
    TASKS,
    TEMPERATURE,
    VIEW_NOISE,
    build_encoder,
    pretrain_encoder,
    random_view,
    view_similarities,
    way_of_training,
)
from sadm.training.signal_config import StructureConfig
from tiny import equal_bits, tiny_config, tiny_images

CPU = torch.device("cpu")


def test_it_learns_labels_and_returns_the_classifier_that_it_learned_with():
    config = tiny_config(structure={"encoder_steps": 60, "encoder_width": 8}).structure
    images = tiny_images(count=48)
    result = pretrain_encoder(images, config, 3, CPU)
    assert result.score > 0.8
    assert result.cpu_seconds > 0
    with torch.no_grad():
        predicted = result.head(result.encoder(images.floats())).argmax(1)
    assert float((predicted == images.labels).float().mean()) > 0.8
    assert all(p.requires_grad and p.grad is None for p in [*result.encoder.parameters(), *result.head.parameters()])


@pytest.mark.parametrize("way", list(TASKS))
def test_every_way_repeats_itself_and_depends_on_the_seed(way):
    config, images = tiny_config(structure={"encoder_training": way}).structure, tiny_images()
    first, second, other = (pretrain_encoder(images, config, seed, CPU) for seed in (3, 3, 4))
    assert equal_bits(first.encoder.state_dict(), second.encoder.state_dict())
    assert first.score == second.score
    assert not equal_bits(first.encoder.state_dict(), other.encoder.state_dict())
    assert (first.head is not None) == (way == "supervised")


@pytest.mark.parametrize(("balance", "expected"), [(0.0, [40, 20, 4]), (1.0, [22, 21, 21]), (0.5, [32, 22, 10])])
def test_classes_are_shown_as_often_as_was_asked_for(balance, expected, monkeypatch):
    """In an epoch of 64 places: class sizes to the power 1 - balance, in proportion."""
    images = tiny_images(count=120).subset(torch.tensor([*range(0, 120, 3), *range(1, 60, 3), 2, 5, 8, 11]))
    seen = []
    learn = TASKS["supervised"].forward

    def watched(self, encoder, batch, draws, device):
        seen.extend(self.labels[batch.index].tolist())
        return learn(self, encoder, batch, draws, device)

    monkeypatch.setattr(TASKS["supervised"], "forward", watched)
    sizes = {"encoder_steps": 8, "encoder_batch": 8, "encoder_balance": balance}
    pretrain_encoder(images, tiny_config(structure=sizes).structure, 3, CPU)
    assert [seen.count(label) for label in range(3)] == pytest.approx(expected, abs=1)


def test_images_without_labels_are_shown_alike_whatever_the_balance():
    images = tiny_images(labelled=False)
    encoders = [
        pretrain_encoder(images, tiny_config(structure={"encoder_balance": balance}).structure, 3, CPU).encoder
        for balance in (0.0, 1.0)
    ]
    assert equal_bits(encoders[0].state_dict(), encoders[1].state_dict())


def test_without_labels_it_learns_to_match_views():
    images = tiny_images(count=32, labelled=False)
    config = tiny_config(structure={"encoder_batch": 16, "encoder_width": 8}).structure
    untrained = pretrain_encoder(images, config.model_copy(update={"encoder_steps": 1}), 0, CPU)
    trained = pretrain_encoder(images, config.model_copy(update={"encoder_steps": 80}), 0, CPU)
    chance = 1 / 31
    assert trained.score > untrained.score
    assert trained.score > 5 * chance


def explained(encoder: nn.Module, images) -> float:
    """Share of the variance of images that the best affine map of their embeddings explains, by least squares."""
    pixels = images.floats().flatten(1)
    with torch.no_grad():
        design = torch.cat([encoder(images.floats()), torch.ones(len(pixels), 1)], dim=1)
    rest = pixels - design @ torch.linalg.lstsq(design, pixels, driver="gelsd").solution
    return 1 - float(rest.square().sum() / (pixels - pixels.mean(0)).square().sum())


def test_by_denoising_it_learns_embeddings_that_images_can_be_restored_from():
    images = tiny_images(count=96, labelled=False)
    options = {"encoder_training": "denoising", "encoder_width": 8, "encoder_batch": 32, "encoder_learning_rate": 1e-2}
    config = tiny_config(structure=options).structure
    untrained, trained = (
        pretrain_encoder(images, config.model_copy(update={"encoder_steps": steps}), 0, CPU) for steps in (1, 100)
    )
    assert 0.4 < trained.score < 1
    assert explained(trained.encoder, images) > explained(untrained.encoder, images) + 0.1


@pytest.mark.parametrize("way", list(TASKS))
def test_a_batch_larger_than_the_set_repeats_images_and_learns_all_the_same(way):
    options = {"encoder_training": way, "encoder_batch": 20, "encoder_steps": 60, "encoder_learning_rate": 0.02}
    result = pretrain_encoder(tiny_images(count=6), tiny_config(structure=options).structure, 0, CPU)
    assert result.score > 0.3


@pytest.mark.parametrize(
    ("asked", "labelled", "way"),
    [
        ("auto", True, "supervised"),
        ("auto", False, "views"),
        ("supervised", True, "supervised"),
        ("views", True, "views"),
        ("denoising", True, "denoising"),
    ],
)
def test_ways_of_training(asked, labelled, way):
    assert way_of_training(tiny_images(labelled=labelled), StructureConfig(encoder_training=asked)) == way


def test_images_that_can_not_be_learned_from_are_refused():
    supervised, views = (StructureConfig(encoder_training=way) for way in ("supervised", "views"))
    images = tiny_images()
    with pytest.raises(
        UserError, match="supervised needs at least two classes, but tiny has no labels. Use auto, views"
    ):
        pretrain_encoder(tiny_images(labelled=False), supervised, 0, CPU)
    one_class = images.subset((images.labels == 2).nonzero().flatten())
    with pytest.raises(UserError, match="tiny has only images of 'c'"):
        pretrain_encoder(one_class, supervised, 0, CPU)
    assert way_of_training(one_class, StructureConfig()) == "views"
    with pytest.raises(UserError, match="tells images apart, but tiny has only 1"):
        pretrain_encoder(images.subset(torch.tensor([0])), views, 0, CPU)


def test_encoders_of_both_kinds_with_embeddings_or_stages():
    for kind, expected in (("conv", ConvEncoder), ("vit", ViTEncoder)):
        for outputs in ("embedding", "stages"):
            config = StructureConfig(encoder_kind=kind, encoder_outputs=outputs, encoder_width=8, encoder_embedding=5)
            encoder, length = build_encoder((3, 8, 12), config)
            assert type(encoder) is expected
            assert length == 5
            assert isinstance(encoder(torch.zeros(2, 3, 8, 12)), tuple) == (outputs == "stages")
    half = StructureConfig(encoder_kind="vit", encoder_stride=2)
    assert (
        build_encoder((1, 16, 16), half)[0].patch
        == 2 * build_encoder((1, 16, 16), StructureConfig(encoder_kind="vit"))[0].patch
    )
    with pytest.raises(UserError, match=r"can't be used for images of shape \[1, 9, 9\].*divisible by its patch 4"):
        build_encoder((1, 9, 9), StructureConfig(encoder_kind="vit"))


def test_no_steps_give_a_random_encoder_with_score_zero():
    result = pretrain_encoder(tiny_images(), tiny_config(structure={"encoder_steps": 0}).structure, 0, CPU)
    assert result.score == 0.0


def test_it_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    pretrain_encoder(tiny_images(), tiny_config().structure, 0, CPU)
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize("index", [[0, 1, 2, 3], [5, 7, 5, 7], [4, 4, 4, 1]], ids=["all new", "twice", "three times"])
def test_view_similarities_against_a_loop(index):
    embedding = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    logits, target = view_similarities(embedding, torch.tensor(index))
    rows = embedding.tolist()
    for i in range(8):
        other = (i + 4) % 8
        assert target[i] == other
        for j in range(8):
            if j != other and index[i % 4] == index[j % 4]:
                assert logits[i, j] == -math.inf
                continue
            dot = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
            size = math.sqrt(sum(a * a for a in rows[i]) * sum(b * b for b in rows[j]))
            assert abs(logits[i, j].item() - dot / size / TEMPERATURE) < 1e-5


def test_random_view_shifts_within_an_eighth_with_repeated_edges():
    x0 = torch.arange(64.0).reshape(1, 1, 8, 8).expand(200, 1, 8, 8) * 10
    views = random_view(x0, torch.Generator().manual_seed(0))
    seen = set()
    for view in views:
        matches = []
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                rows = (torch.arange(8) + down).clamp(0, 7)
                columns = (torch.arange(8) + across).clamp(0, 7)
                shifted = x0[0, 0][rows][:, columns]
                if (view[0] - shifted).abs().max() < 6 * VIEW_NOISE:
                    matches.append((down, across))
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 9
