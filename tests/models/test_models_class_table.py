"""Other classes for a network: which rows stay, which are drawn, what is reported."""

from __future__ import annotations

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.models import DiT
from sadm.models.weights import resize_class_table
from weights_setup import batch, small


def rows(net: DiT) -> torch.Tensor:
    return net.y_embedder.embedding_table.weight.detach().clone()  # type: ignore[union-attr]


def test_more_classes_keep_the_old_ones_and_the_null_class() -> None:
    net = small()
    old = rows(net)
    report = resize_class_table(net, 7)
    new = rows(net)
    assert new.shape == (8, 384)
    assert torch.equal(new[:5], old[:5])
    assert torch.equal(new[7], old[5])
    assert net.null_label == 7
    assert str(report).splitlines() == [
        "loaded 1 tensor with 2,304 values: y_embedder.embedding_table.weight [6x384] (rows 0-4, and the null class)",
        "re-initialised 1 tensor: y_embedder.embedding_table.weight [2x384] (rows 5-6, drawn around the mean of the old classes)",
        "ignored 0 tensors",
    ]


@torch.no_grad()
def test_a_mapping_reorders_classes_and_their_images() -> None:
    net, x, t = small(), *batch((4, 8, 8), 5)[:2]
    before = [net(x, t, Cond(label=torch.full((3,), label))) for label in (*range(5), 5)]
    report = resize_class_table(net, [4, None, 0])
    for new, old in ((0, 4), (2, 0), (3, 5)):
        assert torch.equal(net(x, t, Cond(label=torch.full((3,), new))), before[old])
    assert torch.equal(net(x, t, Cond()), before[5])
    assert report.loaded[0].note == "rows 0, 2, and the null class"
    assert (report.reinitialised[0].shape, report.ignored[0].note) == ((1, 384), "old rows 1-3")


def test_new_classes_have_the_mean_and_spread_of_the_old() -> None:
    net = small(width=768, heads=12, depth=1, num_classes=50)
    with torch.no_grad():
        table = net.y_embedder.embedding_table.weight  # type: ignore[union-attr]
        table.mul_(torch.linspace(1, 30, 768)).add_(torch.linspace(-2, 2, 768))
        table[50] = 1e6  # the null class is no class: it must not count
    old = rows(net)
    resize_class_table(net, [None] * 2000)
    new = rows(net)[:-1]
    error = old[:50].std(0) / 2000**0.5
    assert float(((new.mean(0) - old[:50].mean(0)) / error).abs().max()) < 5  # of 768 standard errors
    assert float((new.std(0) / old[:50].std(0)).log().abs().max()) < 0.1
    assert torch.equal(rows(net)[-1], old[50])


def test_the_seed_decides_the_draws() -> None:
    tables = []
    for seed in (1, 1, 2):
        net = small()
        resize_class_table(net, 9, seed)
        tables.append(rows(net))
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


def test_one_class_alone_has_no_spread_and_new_ones_differ_all_the_same() -> None:
    net = small(num_classes=1)
    resize_class_table(net, 3)
    new = rows(net)
    assert 0.015 < float((new[1] - new[0]).std()) < 0.025
    assert not torch.equal(new[1], new[2])


def test_the_table_stays_as_it_was_otherwise() -> None:
    net = small().double().train()
    net.y_embedder.requires_grad_(False)  # type: ignore[union-attr]
    resize_class_table(net, 2)
    weight = net.y_embedder.embedding_table.weight  # type: ignore[union-attr]
    assert (weight.dtype, weight.requires_grad, net.y_embedder.training) == (torch.float64, False, True)  # type: ignore[union-attr]
    x, t, _ = batch((4, 8, 8), 2)
    assert net(x.double(), t.double(), Cond(label=torch.tensor([0, 1, 2]))).shape == x.shape


def test_mistakes_are_explained() -> None:
    with pytest.raises(UserError, match="this network has no classes"):
        resize_class_table(small(num_classes=0), 3)
    for none in (0, []):
        with pytest.raises(UserError, match="needs at least 1; none were asked for"):
            resize_class_table(small(), none)
    for index in (5, -1):
        with pytest.raises(UserError, match=rf"{index} is no class of this network; expected 0 to 4, or None"):
            resize_class_table(small(), [0, index])
