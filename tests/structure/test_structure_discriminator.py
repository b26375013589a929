"""The discriminator: both players' gradients against an independent gap, and its own step against plain Adam."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from structure_oracles import SmallEncoder, images, naive_gap_of
from torch import nn

from sadm.structure import ConvEncoder, StructureDiscriminator, StructureError, cosine_relations

SHAPE = (5, 2, 3, 3)
PIXELS = 18


def pair(seed: int = 1, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    x0 = images(seed, *SHAPE, dtype=dtype)
    return x0, x0 + 0.5 * images(seed + 1, *SHAPE, dtype=dtype)


def weights(encoder: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in encoder.state_dict().values()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("adversary", ["ascend", "frozen"])
@pytest.mark.parametrize("relation", ["cosine", "euclidean"])
@pytest.mark.parametrize("penalty", ["squared", "huber"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gap_and_gradient_equal_the_independent_ones(
    adversary: str, relation: str, penalty: str, weighted: bool
) -> None:
    encoder = SmallEncoder(PIXELS, dtype=torch.float64)
    x0, x0_hat = pair(dtype=torch.float64)
    weight = [1.0, 0.25, 0.0, 2.0, 0.5] if weighted else None
    leaf = x0_hat.clone().requires_grad_()
    expected = naive_gap_of(copy.deepcopy(encoder), x0, leaf, weight, relation, penalty)
    (expected_gradient,) = torch.autograd.grad(expected, leaf)
    player = StructureDiscriminator(encoder, relation, penalty, adversary)
    gap, gradient = player.gap_and_gradient(x0, x0_hat, None if weight is None else torch.tensor(weight))
    assert float(gap) == pytest.approx(float(expected.detach()), rel=1e-12)
    assert not gap.requires_grad
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("pull", [0.0, 0.3])
def test_three_steps_of_ascent_equal_adam_on_the_negative_gap(pull: float) -> None:
    encoder = SmallEncoder(PIXELS, dtype=torch.float64)
    own = copy.deepcopy(encoder)
    start = [p.detach().clone() for p in own.parameters()]
    adam = torch.optim.Adam(own.parameters(), lr=0.01)
    player = StructureDiscriminator(encoder, learning_rate=0.01, pull=pull)
    gaps = []
    for step in range(3):
        x0, x0_hat = pair(step, torch.float64)
        loss = -naive_gap_of(own, x0, x0_hat)
        gaps.append(-float(loss.detach()))
        for p, s in zip(own.parameters(), start, strict=True):
            loss = loss + pull / 2 * (p - s).square().sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        gap, _ = player.gap_and_gradient(x0, x0_hat)
        player.ascend()
        assert float(gap) == pytest.approx(gaps[-1], rel=1e-8)
    for found, expected, before in zip(encoder.parameters(), own.parameters(), start, strict=True):
        # The bias of the last layer hardly moves the gap; Adam makes a step of its rounding errors' sign all the same.
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
        assert not torch.equal(found, before)
        assert found.grad is None


def test_the_ascent_enlarges_the_gap() -> None:
    player = StructureDiscriminator(SmallEncoder(PIXELS, dtype=torch.float64), learning_rate=1e-3)
    x0, x0_hat = pair(dtype=torch.float64)
    gaps = []
    for _ in range(20):
        gaps.append(float(player.gap_and_gradient(x0, x0_hat)[0]))
        player.ascend()
    assert all(later > earlier for earlier, later in pairwise(gaps))


def test_a_strong_pull_keeps_the_encoder_near_its_start() -> None:
    distances = []
    for pull in (0.0, 100.0):
        encoder = SmallEncoder(PIXELS)
        before = weights(encoder)
        player = StructureDiscriminator(encoder, learning_rate=0.01, pull=pull)
        for _ in range(30):
            player.gap_and_gradient(*pair())
            player.ascend()
        distances.append(sum(float((a - b).square().sum()) for a, b in zip(weights(encoder), before, strict=True)))
    assert distances[1] < 0.05 * distances[0]


def test_a_frozen_encoder_never_changes_and_asks_for_no_gradients() -> None:
    encoder = SmallEncoder(PIXELS).train()
    before = weights(encoder)
    player = StructureDiscriminator(encoder, adversary="frozen")
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    for _ in range(3):
        player.gap_and_gradient(*pair())
        player.ascend()
    assert same(weights(encoder), before)
    assert all(p.grad is None for p in encoder.parameters())


def test_measuring_without_ascending_changes_nothing() -> None:
    encoder = SmallEncoder(PIXELS)
    before = weights(encoder)
    player = StructureDiscriminator(encoder)
    first, again = player.gap_and_gradient(*pair()), player.gap_and_gradient(*pair())
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert same(weights(encoder), before)


def test_parameters_that_the_user_froze_stay() -> None:
    encoder = SmallEncoder(PIXELS)
    encoder.first.requires_grad_(False)
    fixed, moving = weights(encoder.first), weights(encoder.second)
    player = StructureDiscriminator(encoder, learning_rate=0.01)
    player.gap_and_gradient(*pair())
    player.ascend()
    assert same(weights(encoder.first), fixed)
    assert not same(weights(encoder.second), moving)


def test_the_graph_behind_x0_hat_is_left_alone() -> None:
    network = nn.Linear(3, 3)
    x0, x0_hat = pair()
    attached = network(x0_hat)
    StructureDiscriminator(SmallEncoder(PIXELS)).gap_and_gradient(x0, attached)
    assert network.weight.grad is None
    attached.sum().backward()  # the graph is still there
    assert network.weight.grad is not None


def test_it_plays_inside_no_grad() -> None:
    player = StructureDiscriminator(SmallEncoder(PIXELS))
    expected = player.gap_and_gradient(*pair())
    with torch.no_grad():
        found = player.gap_and_gradient(*pair())
    assert torch.equal(found[1], expected[1])


def test_autocast_stops_at_its_door() -> None:
    player = StructureDiscriminator(ConvEncoder(2, width=8, stages=2, embedding=8))
    expected = player.gap_and_gradient(*pair())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert player.encoder(pair()[0]).dtype == torch.bfloat16  # the region does what it should
        found = player.gap_and_gradient(*pair())
    assert found[0].dtype == torch.float32
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_a_double_precision_encoder_is_served_in_double_precision() -> None:
    encoder = SmallEncoder(PIXELS, dtype=torch.float64)
    x0, x0_hat = pair()
    gap, gradient = StructureDiscriminator(encoder).gap_and_gradient(x0, x0_hat)
    expected = naive_gap_of(copy.deepcopy(encoder), x0.double(), x0_hat.double()).detach()
    assert gap.dtype == gradient.dtype == torch.float64
    assert float(gap) == pytest.approx(float(expected), rel=1e-12)


def test_a_half_precision_encoder_is_compared_in_float32() -> None:
    encoder = SmallEncoder(PIXELS, dtype=torch.bfloat16)
    gap, gradient = StructureDiscriminator(encoder).gap_and_gradient(*pair())
    assert gap.dtype == torch.float32
    assert gradient.isfinite().all()


def test_a_relation_of_ones_own() -> None:
    def halved(e: torch.Tensor, e_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        real, denoised = cosine_relations(e, e_hat)
        return real / 2, denoised / 2

    whole = StructureDiscriminator(SmallEncoder(PIXELS)).gap_and_gradient(*pair())[0]
    half = StructureDiscriminator(SmallEncoder(PIXELS), relation=halved).gap_and_gradient(*pair())[0]
    assert float(half) == pytest.approx(float(whole) / 4, rel=1e-6)


class Mixing(nn.Module):
    def __init__(self, culprit: nn.Module) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), culprit, nn.Flatten(), nn.Linear(36, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.trunk(x)


CULPRITS = [
    (lambda: nn.BatchNorm2d(4), "BatchNorm2d"),
    (lambda: nn.SyncBatchNorm(4), "SyncBatchNorm"),
    (lambda: nn.Dropout(0.1), "Dropout"),
    (lambda: nn.Dropout2d(0.1), "Dropout2d"),
    (lambda: nn.AlphaDropout(0.1), "AlphaDropout"),
]


@pytest.mark.parametrize(("culprit", "kind"), CULPRITS)
def test_modules_that_mix_images_or_draw_numbers_are_refused_by_name(culprit, kind: str) -> None:
    encoder = Mixing(culprit())
    with pytest.raises(StructureError, match=rf"module 'trunk\.1' is a {kind}.*group or layer norm.*'frozen'"):
        StructureDiscriminator(encoder)
    assert encoder.training
    assert all(p.requires_grad for p in encoder.parameters())


def test_a_dropout_that_drops_nothing_is_no_matter() -> None:
    StructureDiscriminator(Mixing(nn.Dropout(0.0)))


@pytest.mark.parametrize("culprit", [nn.BatchNorm2d(4), nn.Dropout(0.9)])
def test_a_frozen_encoder_may_hold_them_since_it_is_in_eval_mode(culprit: nn.Module) -> None:
    encoder = Mixing(culprit)
    before = weights(encoder)
    player = StructureDiscriminator(encoder, adversary="frozen")
    x0, x0_hat = pair()
    first, second = player.gap_and_gradient(x0, x0_hat), player.gap_and_gradient(x0, x0_hat)
    assert torch.equal(first[1], second[1])
    assert same(weights(encoder), before)  # the running statistics too
    two = torch.tensor([0, 1])
    expected = naive_gap_of(encoder, x0[two], x0_hat[two]).detach()  # images do not influence each other
    assert float(player.gap_and_gradient(x0[two], x0_hat[two])[0]) == pytest.approx(float(expected), rel=1e-4)


def test_unknown_names_and_useless_encoders_are_refused() -> None:
    with pytest.raises(StructureError, match=r"unknown adversary 'descend'; expected one of ascend, frozen"):
        StructureDiscriminator(SmallEncoder(PIXELS), adversary="descend")
    with pytest.raises(StructureError, match=r"unknown relation 'angle'; expected one of cosine, euclidean, or a call"):
        StructureDiscriminator(SmallEncoder(PIXELS), relation="angle")
    with pytest.raises(StructureError, match=r"trainable parameters; use 'frozen'"):
        StructureDiscriminator(nn.Flatten())
    with pytest.raises(StructureError, match=r"unknown penalty 'cubic'"):
        StructureDiscriminator(SmallEncoder(PIXELS), penalty="cubic")


def test_an_encoder_without_parameters_can_be_frozen() -> None:
    gap, gradient = StructureDiscriminator(nn.Flatten(), adversary="frozen").gap_and_gradient(*pair())
    expected = naive_gap_of(nn.Flatten(), *pair())
    assert float(gap) == pytest.approx(float(expected), rel=1e-5)
    assert gradient.shape == SHAPE


def test_an_encoder_that_ignores_its_input_is_refused() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(10, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.table[: len(x)]

    with pytest.raises(StructureError, match="does not depend on its input"):
        StructureDiscriminator(Constant()).gap_and_gradient(*pair())


def test_an_encoder_that_keeps_the_image_shape_is_refused() -> None:
    with pytest.raises(StructureError, match=r"equal shape \[B, d\]"):
        StructureDiscriminator(nn.Conv2d(2, 2, 1)).gap_and_gradient(*pair())


@pytest.mark.parametrize("pull", [0.0, 0.5])
def test_a_restored_player_goes_on_bit_for_bit(pull: float) -> None:
    def new(seed: int) -> StructureDiscriminator:
        return StructureDiscriminator(SmallEncoder(PIXELS, seed), learning_rate=0.01, pull=pull)

    def play(player: StructureDiscriminator, steps: range) -> list[torch.Tensor]:
        gaps = []
        for step in steps:
            gaps.append(player.gap_and_gradient(*pair(step))[0])
            player.ascend()
        return gaps

    whole, first, restored = new(0), new(0), new(7)
    play(whole, range(3))
    play(first, range(3))
    restored.load_state_dict(copy.deepcopy(first.state_dict()))
    assert same(play(whole, range(3, 6)), play(restored, range(3, 6)))
    assert same(weights(whole.encoder), weights(restored.encoder))


class TestConvEncoder:
    @pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 7, 13), (4, 1, 1)])
    def test_any_image_size_gives_an_embedding(self, channels: int, height: int, width: int) -> None:
        encoder = ConvEncoder(channels, width=8, stages=2, embedding=6)
        assert encoder(torch.zeros(2, channels, height, width)).shape == (2, 6)

    def test_images_are_treated_independently(self) -> None:
        encoder = ConvEncoder(2, width=8, stages=3, embedding=6).double()
        x = images(1, 4, 2, 9, 9, dtype=torch.float64)
        together, alone = encoder(x), torch.cat([encoder(image[None]) for image in x])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-13)

    def test_it_may_ascend(self) -> None:
        StructureDiscriminator(ConvEncoder(1))

    def test_each_stage_halves_and_widens(self) -> None:
        encoder = ConvEncoder(3, width=8, stages=3, pyramid=(1, 2, 3), embedding=6)
        assert encoder.trunk(torch.zeros(1, 3, 16, 24)).shape == (1, 32, 4, 6)
        assert encoder.project.weight.shape == (6, 32 * (1 + 4 + 9))

    def test_pooling_keeps_places(self) -> None:
        encoder = ConvEncoder(1, width=8, stages=1, pyramid=(1, 2), embedding=6)
        x = images(2, 1, 1, 8, 8)
        assert not torch.allclose(encoder(x), encoder(x.flip(3)), atol=1e-3)

    def test_misfits_are_refused(self) -> None:
        with pytest.raises(StructureError, match=r"expects \[B, 3, H, W\], got \(2, 1, 8, 8\)"):
            ConvEncoder(3)(torch.zeros(2, 1, 8, 8))
        for change in ({"width": 0}, {"stages": 0}, {"embedding": 0}, {"pyramid": (1, 0)}):
            with pytest.raises(StructureError, match="at least 1"):
                ConvEncoder(3, **change)
