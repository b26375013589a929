"""The classifier of relation matrices: symmetry, gradients against loops, learning to tell, and being fooled."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from structure_oracles import SmallEncoder, images, naive_cosine
from structure_setup import PIXELS, D, same, weights_of
from torch import nn

from sadm.structure import ClassifyingDiscriminator, ConvEncoder, RelationClassifier, StructureError, UpdateRule

SHAPE = (2, 3, 3)


def classifier_of(seed: int = 0, dtype: torch.dtype = D) -> RelationClassifier:
    torch.manual_seed(seed)
    return RelationClassifier(width=6).to(dtype)


def pair(seed: int, count: int = 7, dtype: torch.dtype = D) -> tuple[torch.Tensor, torch.Tensor]:
    x0, other = images(seed, 2, count, *SHAPE, dtype=dtype)
    return x0, x0 + 0.5 * other


def player_of(start: int = 0, dtype: torch.dtype = D, **options: object) -> ClassifyingDiscriminator:
    encoder = SmallEncoder(PIXELS, start, dtype)
    return ClassifyingDiscriminator(encoder, classifier=classifier_of(start, dtype), **options)


# ---- the module ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 8, 13])
def test_the_order_of_images_is_nothing_to_the_logit_and_carries_over_to_pairs(size: int) -> None:
    classifier = classifier_of()
    matrices = images(1, 4, size, size, dtype=D)  # not symmetric: a user's relation need not be
    order = torch.randperm(size, generator=torch.Generator().manual_seed(2))
    permuted = matrices[:, order][:, :, order]
    torch.testing.assert_close(classifier(permuted), classifier(matrices), rtol=0, atol=1e-12)
    pairs = images(3, 4, size, size, 6, dtype=D)
    for block in classifier.blocks:
        found, expected = block(pairs[:, order][:, :, order]), block(pairs)[:, order][:, :, order]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_it_is_no_function_of_the_entries_alone() -> None:
    """The same entries, permuted freely rather than as images are, give another logit."""
    classifier, matrix = classifier_of(), images(1, 1, 5, 5, dtype=D)
    shuffled = matrix.flatten()[torch.randperm(25, generator=torch.Generator().manual_seed(1))].reshape(1, 5, 5)
    assert abs(float((classifier(matrix) - classifier(shuffled)).detach())) > 1e-4
    assert abs(float((classifier(matrix) - classifier(matrix.mT)).detach())) > 1e-4


def test_matrices_do_not_influence_each_other() -> None:
    classifier, matrices = classifier_of(), images(1, 4, 5, 5, dtype=D)
    alone = torch.cat([classifier(matrix[None]) for matrix in matrices])
    torch.testing.assert_close(classifier(matrices), alone, rtol=0, atol=1e-13)


def test_its_gradient_is_that_of_finite_differences() -> None:
    classifier = classifier_of()
    assert torch.autograd.gradcheck(classifier, images(1, 2, 3, 3, dtype=D).requires_grad_())
    assert torch.autograd.gradgradcheck(classifier, images(1, 1, 3, 3, dtype=D).requires_grad_())  # R1 needs it


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 4), (2, 1, 1), (1, 2, 3, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(StructureError, match=r"expected relation matrices \[N, n, n\] of n >= 2 images, got"):
        classifier_of(dtype=torch.float32)(torch.zeros(shape))
    for width, blocks in ((0, 2), (4, 0)):
        with pytest.raises(StructureError, match="must be at least 1"):
            RelationClassifier(width, blocks)


def clustered(size: int, count: int, draws: torch.Generator) -> torch.Tensor:
    """Cosine similarities of points around two centres."""
    centres = torch.randn(count, 2, 6, generator=draws)
    member = torch.randint(0, 2, (count, size), generator=draws)
    points = centres.gather(1, member[..., None].expand(-1, -1, 6)) + 0.4 * torch.randn(count, size, 6, generator=draws)
    unit = F.normalize(points, dim=-1)
    return unit @ unit.mT


def without_structure(matrices: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """The same similarities between other images: whoever looks at entries one by one sees no difference."""
    size = matrices.shape[-1]
    i, j = torch.triu_indices(size, size, 1)
    values = matrices[:, i, j]
    values = values.gather(1, torch.rand(values.shape, generator=draws).argsort(1))
    shuffled = torch.eye(size).repeat(len(matrices), 1, 1)
    shuffled[:, i, j] = values
    shuffled[:, j, i] = values
    return shuffled


def test_it_learns_to_tell_structure_from_the_same_entries_without() -> None:
    torch.manual_seed(0)
    classifier = RelationClassifier()
    adam = torch.optim.Adam(classifier.parameters(), lr=3e-3)
    for step in range(120):
        draws = torch.Generator().manual_seed(step)
        real, other = clustered(8, 16, draws), without_structure(clustered(8, 16, draws), draws)
        loss = F.softplus(-classifier(real)).mean() + F.softplus(classifier(other)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        for size, least in ((8, 0.9), (13, 0.9)):  # and matrices of a size that it never saw
            draws = torch.Generator().manual_seed(10**6)
            real, other = clustered(size, 200, draws), without_structure(clustered(size, 200, draws), draws)
            right = (classifier(real) > 0).float().mean() + (classifier(other) < 0).float().mean()
            assert float(right) / 2 > least


# ---- the player -------------------------------------------------------------------------------------------------------------


def naive_losses(
    player: ClassifyingDiscriminator,
    encoder: nn.Module,
    classifier: nn.Module,
    x0: torch.Tensor,
    leaf: torch.Tensor,
    weight: list[float],
    r1: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the denoiser and the classifier descend, group by group."""
    similarity, similarity_hat = (
        torch.stack([torch.stack(row) for row in naive_cosine(encoder(x))]) for x in (x0, leaf)
    )
    fooled, told, total = 0.0, 0.0, 0.0
    for group in player._groups(len(x0)).tolist():
        share = sum(weight[i] for i in group) / len(group)
        real = similarity[group][:, group].detach().requires_grad_()
        logit, logit_hat = classifier(real[None]).squeeze(), classifier(similarity_hat[group][:, group][None]).squeeze()
        (slope,) = torch.autograd.grad(logit, real, create_graph=True)
        fooled = fooled - share * torch.log(torch.sigmoid(logit_hat))
        told = told - share * (torch.log(torch.sigmoid(logit)) + torch.log(1 - torch.sigmoid(logit_hat)))
        told = told + share * r1 / 2 * (slope**2).sum()
        total += share
    return fooled / total, told / total


@pytest.mark.parametrize("r1", [0.0, 2.0])
@pytest.mark.parametrize("group", [3, 8])
def test_both_players_get_the_gradients_of_their_losses(r1: float, group: int) -> None:
    player = player_of(rule=UpdateRule(0.01, r1=r1), group=group, seed=4)
    classifier = copy.deepcopy(player.classifier)
    adam = torch.optim.Adam(classifier.parameters(), lr=0.01)
    for step in range(3):
        x0, x0_hat = pair(step)
        weight = images(step + 40, 7, dtype=D).abs()
        leaf = x0_hat.clone().requires_grad_()
        fooled, told = naive_losses(player, player.encoder, classifier, x0, leaf, weight.tolist(), r1)
        (expected,) = torch.autograd.grad(fooled, leaf, retain_graph=True)
        found = player.gap_and_gradient(x0, x0_hat, weight)
        player.learn()
        assert float(found.gap) == pytest.approx(float(fooled.detach()), rel=1e-9)
        torch.testing.assert_close(found.gradient, expected, rtol=1e-7, atol=1e-13)
        adam.zero_grad()
        told.backward()
        adam.step()
        for own, other in zip(player.classifier.parameters(), classifier.parameters(), strict=True):
            # The last bias of real and denoised may cancel; Adam makes a step of its rounding errors' sign all the same.
            torch.testing.assert_close(own, other, rtol=0, atol=1e-6)


def test_an_untouched_pass_for_real_costs_ln_2() -> None:
    class Undecided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, relation: torch.Tensor) -> torch.Tensor:
            return self.weight * relation.mean((1, 2))

    player = ClassifyingDiscriminator(SmallEncoder(PIXELS), classifier=Undecided())
    assert float(player.gap_and_gradient(*pair(1, dtype=torch.float32)).gap) == pytest.approx(math.log(2), rel=1e-6)


def test_the_encoder_is_frozen_and_its_real_embeddings_can_be_cached() -> None:
    player = player_of(dtype=torch.float32)
    encoder, classifier = weights_of(player.encoder), weights_of(player.classifier)
    bare = copy.deepcopy(player)
    for step in range(3):
        x0, x0_hat = pair(1, dtype=torch.float32)
        found = player.gap_and_gradient(x0, x0_hat, index=torch.arange(7))
        assert torch.equal(found.gap, bare.gap_and_gradient(x0, x0_hat).gap)
        for each in (player, bare):
            each.learn()
        assert player.encoder.calls == 2 + step
    assert same(weights_of(player.encoder), encoder)
    assert not same(weights_of(player.classifier), classifier)


@pytest.mark.parametrize(("count", "group"), [(2, 8), (7, 8), (8, 8), (9, 4), (12, 4), (13, 8)])
def test_groups_hold_every_image_and_none_twice(count: int, group: int) -> None:
    player = player_of(group=group, seed=3)
    groups = player._groups(count)
    size = min(group, count)
    assert groups.shape == (math.ceil(count / size), size)
    assert set(groups.flatten().tolist()) == set(range(count))
    assert all(len(set(members)) == size for members in groups.tolist())


def test_groups_come_from_seed_and_play() -> None:
    first, again, other = player_of(seed=3), player_of(seed=3), player_of(seed=4)
    assert torch.equal(first._groups(20), again._groups(20))
    assert not torch.equal(first._groups(20), other._groups(20))
    first.updates.step(None)
    assert not torch.equal(first._groups(20), again._groups(20))


def test_global_randomness_is_neither_used_nor_touched() -> None:
    encoder = SmallEncoder(PIXELS)
    torch.manual_seed(0)
    expected = torch.rand(3)
    players = []
    for global_seed in (0, 5):
        torch.manual_seed(global_seed)
        players.append(ClassifyingDiscriminator(encoder, seed=1))
        players[-1].gap_and_gradient(*pair(1, dtype=torch.float32))
        players[-1].learn()
        if global_seed == 0:
            assert torch.equal(torch.rand(3), expected)
    assert same(weights_of(players[0].classifier), weights_of(players[1].classifier))
    other = ClassifyingDiscriminator(encoder, seed=2)
    assert not same(weights_of(other.classifier), weights_of(players[0].classifier))


def test_every_part_of_an_encoder_gives_matrices_of_its_own() -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder(2, width=8, stages=2, embedding=6, outputs="stages")
    player = ClassifyingDiscriminator(encoder, group=4)
    seen = []
    player.classifier.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    found = player.gap_and_gradient(*pair(1, count=8, dtype=torch.float32))
    assert seen == [(9 * 2, 4, 4)] * 2  # two stages of four places and the embedding; two groups; both sides
    assert float(found.gradient.abs().max()) > 0


def structured(seed: int, count: int = 24) -> torch.Tensor:
    """Images of two classes [count, 1, 2, 3]."""
    draws = torch.Generator().manual_seed(seed)
    centres = torch.randn(2, 1, 2, 3, generator=draws)
    member = torch.randint(0, 2, (count,), generator=draws)
    return centres[member] + 0.3 * torch.randn(count, 1, 2, 3, generator=draws)


def test_it_learns_from_images_and_is_then_fooled_by_images_that_follow_its_gradient() -> None:
    torch.manual_seed(0)
    player = ClassifyingDiscriminator(nn.Flatten(), rule=UpdateRule(1e-2))
    for step in range(60):
        player.gap_and_gradient(structured(step), images(step, 24, 1, 2, 3))
        player.learn()
    told = float(player.gap_and_gradient(structured(999), images(999, 24, 1, 2, 3)).gap)
    assert told > 1.5  # a denoised matrix passes for real with a chance of exp(-1.5) at most; ln 2 = 0.69 is a toss-up
    x0_hat, gaps = images(999, 24, 1, 2, 3), []
    for _ in range(25):
        found = player.gap_and_gradient(structured(999), x0_hat)
        gaps.append(float(found.gap))
        x0_hat = x0_hat - 3 * found.gradient
        player.updates.step(None)  # other groups, no learning
    assert gaps[-1] < 0.4 * gaps[0]
    assert gaps[-1] < math.log(2)


@pytest.mark.parametrize("r1", [0.0, 0.5])
def test_a_restored_player_goes_on_bit_for_bit(r1: float) -> None:
    def advance(player: ClassifyingDiscriminator, steps: range) -> list[torch.Tensor]:
        gaps = []
        for step in steps:
            gaps.append(player.gap_and_gradient(*pair(step, dtype=torch.float32)).gap)
            player.learn()
        return gaps

    whole, first, restored = (
        player_of(
            start, torch.float32, rule=UpdateRule(0.01, r1=r1, pull=0.1, spectral_bound=1.1, every=2), memory=4, group=3
        )
        for start in (0, 0, 7)
    )
    advance(whole, range(3))
    advance(first, range(3))
    restored.load_state_dict(copy.deepcopy(first.state_dict()))
    assert same(advance(whole, range(3, 7)), advance(restored, range(3, 7)))
    assert same(weights_of(whole.classifier), weights_of(restored.classifier))


def test_what_it_can_not_use_is_refused() -> None:
    with pytest.raises(StructureError, match="'classify' can't use target affinities"):
        player_of().gap_and_gradient(*pair(1), target=torch.eye(7, dtype=D))
    with pytest.raises(StructureError, match="group must be a number of images, at least 2, got 1"):
        player_of(group=1)
    noisy = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(9, 1), nn.Flatten(0))
    player = ClassifyingDiscriminator(SmallEncoder(PIXELS), classifier=noisy, group=3)
    with pytest.raises(StructureError, match="'1' is a Dropout in train mode"):
        player.gap_and_gradient(*pair(1, dtype=torch.float32))
