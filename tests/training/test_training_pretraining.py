from __future__ import annotations

import math

import torch

from sadm.training.pretraining import TEMPERATURE, VIEW_NOISE, pretrain_encoder, random_view, view_similarities
from tiny import equal_bits, tiny_config, tiny_images

CPU = torch.device("cpu")


def test_it_learns_labels_and_repeats_itself():
    config = tiny_config(structure={"encoder_steps": 60, "encoder_width": 8}).structure
    images = tiny_images(count=48)
    first, second = pretrain_encoder(images, config, 3, CPU), pretrain_encoder(images, config, 3, CPU)
    assert equal_bits(first.encoder.state_dict(), second.encoder.state_dict())
    assert first.score == second.score > 0.8
    assert first.cpu_seconds > 0
    other = pretrain_encoder(images, config, 4, CPU)
    assert not equal_bits(first.encoder.state_dict(), other.encoder.state_dict())


def test_without_labels_it_learns_to_match_views():
    images = tiny_images(count=32, labelled=False)
    config = tiny_config(structure={"encoder_batch": 16, "encoder_width": 8}).structure
    untrained = pretrain_encoder(images, config.model_copy(update={"encoder_steps": 1}), 0, CPU)
    trained = pretrain_encoder(images, config.model_copy(update={"encoder_steps": 80}), 0, CPU)
    chance = 1 / 31
    assert trained.score > untrained.score
    assert trained.score > 5 * chance


def test_no_steps_give_a_random_encoder_with_score_zero():
    result = pretrain_encoder(tiny_images(), tiny_config(structure={"encoder_steps": 0}).structure, 0, CPU)
    assert result.score == 0.0


def test_it_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    pretrain_encoder(tiny_images(), tiny_config().structure, 0, CPU)
    assert torch.equal(torch.randn(3), expected)


def test_view_similarities_against_a_loop():
    embedding = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    logits, target = view_similarities(embedding)
    rows = embedding.tolist()
    for i in range(8):
        assert target[i] == (i + 4) % 8
        for j in range(8):
            if i == j:
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
