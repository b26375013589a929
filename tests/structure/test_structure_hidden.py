"""Structure in a hidden layer of a loop of one's own."""

from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from sadm.structure import (
    HiddenStructure,
    Schedule,
    StructureError,
    StructureGame,
    cosine_relations,
    hidden_gap,
    patch_grid,
    structure_gap,
)
from sadm.structure.grids import on_grid
from sadm.structure.surrogate import refuse_static_graph


class Net(nn.Module):
    """Patches of 2x2 as tokens, one hidden layer over them, and back; float64."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.block, self.last = nn.Linear(4, 7), nn.Linear(7, 4)
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [B, 1, 4, 6]
        tokens = nn.functional.unfold(x, 2, stride=2).mT  # [B, 6, 4]
        return nn.functional.fold(self.last(self.block(tokens).tanh()).mT, (4, 6), 2, stride=2)


unbounded = partial(HiddenStructure, ratio=None)


def encoder() -> nn.Module:
    """A map [B, 3, 2, 3] of images [B, 1, 4, 6]."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Conv2d(1, 3, 2, stride=2).double()


def images(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    x0 = torch.randn(5, 1, 4, 6, generator=draws, dtype=torch.float64)
    return x0, x0 + 0.5 * torch.randn(x0.shape, generator=draws, dtype=torch.float64)


def gap_by_hand(net: Net, features: nn.Module, x0: torch.Tensor, x_t: torch.Tensor) -> torch.Tensor:
    """The gap of two relations over all 30 places, built one by one."""
    tokens = nn.functional.unfold(x_t, 2, stride=2).mT
    hidden, seen = net.block(tokens).reshape(30, 7), features(x0).permute(0, 2, 3, 1).reshape(30, 3).detach()
    return structure_gap(cosine_relations(seen, seen)[0], cosine_relations(hidden, hidden)[0])


def test_one_added_line_gives_the_gradient_of_the_weighted_gap() -> None:
    net, (x0, x_t), features = Net(), images(), encoder()
    hidden = unbounded(features, net.block, weight=0.7)
    loss = (net(x_t) - x0).square().mean()
    added = hidden(x0)
    found = torch.autograd.grad(loss + added, list(net.parameters()))
    twin = copy.deepcopy(net)
    twin.block._forward_hooks.clear()
    gap = gap_by_hand(twin, features, x0, x_t)
    expected = torch.autograd.grad((twin(x_t) - x0).square().mean() + 0.7 * gap, list(twin.parameters()))
    assert float(hidden.last) == pytest.approx(float(gap.detach()), rel=1e-12)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_the_output_layer_and_the_encoder_feel_nothing() -> None:
    net, (x0, x_t), features = Net(), images(), encoder()
    hidden = unbounded(features, net.block)
    net(x_t)
    hidden(x0).backward()
    assert net.last.weight.grad is None
    assert net.block.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in features.parameters())


def test_training_with_it_arranges_the_hidden_layer() -> None:
    net, (x0, x_t), features = Net(), images(), encoder()
    hidden, optimiser = unbounded(features, net.block), torch.optim.Adam(net.parameters(), lr=0.03)
    gaps = []
    for _ in range(150):
        loss = (net(x_t) - x0).square().mean()
        optimiser.zero_grad()
        (loss + hidden(x0)).backward()
        optimiser.step()
        gaps.append(float(hidden.last))
    assert gaps[-1] < 0.35 * gaps[0]


def test_schedule_and_every_and_a_resumed_count() -> None:
    net, (x0, x_t) = Net(), images()
    hidden = unbounded(encoder(), net.block, schedule=Schedule(warmup=4, end=5), every=2, weight=1.0)
    values, lasts = [], []
    for _ in range(7):
        net(x_t)
        values.append(float(hidden(x0).detach()))
        lasts.append(hidden.last)
    gap = float(lasts[0])
    assert values == pytest.approx([gap * share for share in (0.25, 0, 0.75, 0, 1, 0, 0)], rel=1e-12)
    assert [last is not None for last in lasts] == [True, False, True, False, True, False, False]
    restored = unbounded(encoder(), net.block, schedule=Schedule(warmup=4, end=5), every=2)
    restored.load_state_dict(hidden.state_dict())
    assert restored.step == 7


def test_sampling_keeps_no_graph_and_a_removed_hook_sees_nothing() -> None:
    net, (x0, x_t) = Net(), images()
    hidden = unbounded(encoder(), net.block)
    with torch.no_grad():
        net(x_t)
    with pytest.raises(StructureError, match="call the network first, with gradients"):
        hidden(x0)
    net(x_t)
    hidden(x0)
    with pytest.raises(StructureError, match="has not run since the last call"):
        hidden(x0)
    hidden.remove()
    net(x_t)
    with pytest.raises(StructureError, match="has not run"):
        hidden(x0)


def test_maps_of_a_convolutional_network_and_vectors_of_an_encoder() -> None:
    draws = torch.Generator().manual_seed(0)
    convolution, x = nn.Conv2d(1, 8, 3, padding=1), torch.randn(4, 1, 6, 6, generator=draws)
    hidden = unbounded(nn.Conv2d(1, 3, 2, stride=2), convolution, weight=1.0)
    activation = convolution(x)
    found = hidden(x)  # 3x3 features, each repeated at four places
    features = hidden.features(x).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(found, hidden_gap(features.flatten(2).mT, activation.flatten(2).mT))
    vectors = unbounded(lambda images: images.flatten(1), convolution, weight=1.0)
    activation = convolution(x)
    torch.testing.assert_close(vectors(x), hidden_gap(x.flatten(1), activation.flatten(2).mT))


@pytest.mark.parametrize("grid", [None, (2, 3)])
def test_registers_behind_the_tokens_are_left_out(grid: tuple[int, int] | None) -> None:
    (x0, x_t), block = images(), nn.Linear(4, 7).double()
    hidden = unbounded(encoder(), block, weight=1.0, grid=grid, registers=2)
    tokens = nn.functional.unfold(x_t, 2, stride=2).mT  # [B, 6, 4]
    activation = block(torch.cat([tokens, torch.ones(5, 2, 4, dtype=torch.float64)], dim=1))
    found = hidden(x0)
    torch.testing.assert_close(found, hidden_gap(on_grid(encoder()(x0), (2, 3), (4, 6)), activation[:, :6]))


def test_what_can_not_work_is_refused() -> None:
    net, (x0, x_t) = Net(), images()
    for options, message in [
        ({"weight": -1.0}, "weight must be finite and at least 0"),
        ({"weight": math.inf}, "weight must be finite and at least 0"),
        ({"every": 0}, "every must be a whole"),
        ({"ratio": 0.0}, "ratio must be finite and above 0, or None, got 0.0"),
        ({"ratio": math.nan}, "ratio must be finite and above 0, or None, got nan"),
        ({"registers": -1}, "registers must be a whole"),
    ]:
        with pytest.raises(StructureError, match=message):
            HiddenStructure(encoder(), net.block, **options)
    hidden = unbounded(encoder(), net.block, grid=(2, 2))
    net(x_t)
    with pytest.raises(StructureError, match="a grid of 2 x 2 places does not fit 6 tokens"):
        hidden(x0)
    flat = unbounded(encoder(), linear := nn.Linear(4, 2).double())
    linear(x0[:, 0, :, :4].mean(1))
    with pytest.raises(StructureError, match=r"expected an activation \[B, T, D\].*got \(5, 2\)"):
        flat(x0)
    fewer = unbounded(encoder(), net.block)
    net(x_t)
    with pytest.raises(StructureError, match=r"same images and places, got \(3, 6, 3\) and \(5, 6, 7\)"):
        fewer(x0[:3])
    with pytest.raises(StructureError, match=r"expected features .* got \(5,\)"):
        on_grid(torch.zeros(5), (2, 2), (4, 4))


@pytest.mark.parametrize(
    ("patches", "image", "grid"),
    [(49, (28, 28), (7, 7)), (10, (5, 4), (5, 2)), (32, (8, 16), (4, 8)), (32, (16, 8), (8, 4))],
)
def test_patch_grids_follow_the_image(patches, image, grid) -> None:
    assert patch_grid(patches, image) == grid


def test_features_that_mix_images_or_draw_numbers_are_refused() -> None:
    net, (x0, x_t) = Net(), images()
    never = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).double()
    with pytest.raises(StructureError, match="the encoder's module '1' is a BatchNorm2d without running statistics"):
        unbounded(never, net.block)
    features = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5)).double().train()
    hidden = unbounded(features, net.block)
    net(x_t)
    assert hidden(x0).requires_grad
    features.train()  # as net.train() does where the encoder is a part of the network
    net(x_t)
    with pytest.raises(StructureError, match="the encoder's module '1' is a BatchNorm2d in train mode"):
        hidden(x0)


def test_an_encoder_may_be_shared_with_a_game_that_goes_on_learning() -> None:
    net, (x0, x_t) = Net(), images()
    shared = nn.Sequential(encoder(), nn.Flatten())
    hidden, game = unbounded(shared[0], net.block), StructureGame(shared, fraction=1.0, learning_rate=0.1)
    before = shared[0].weight.clone()
    x0_hat = net(x_t)
    loss = (x0_hat - x0).square().mean()
    (loss + game(loss, x0, x0_hat, torch.ones(5)) + hidden(x0)).backward()
    assert not torch.equal(shared[0].weight, before)


def test_images_in_half_precision_are_seen_in_the_precision_of_the_weights() -> None:
    net, (x0, x_t) = Net(), images()
    whole, half = (unbounded(encoder(), net.block) for _ in range(2))
    net(x_t)
    torch.testing.assert_close(half(x0.to(torch.bfloat16)), whole(x0), rtol=2e-2, atol=0)


def test_features_that_are_not_a_tensor_or_not_finite_are_refused_and_identical_images_are_not() -> None:
    net, (x0, x_t) = Net(), images()
    pair = unbounded(lambda x: (x, x), net.block)
    net(x_t)
    with pytest.raises(StructureError, match=r"features must give a tensor .* they gave tuple"):
        pair(x0)
    hidden = unbounded(encoder(), net.block)
    net(x_t)
    with pytest.raises(StructureError, match="holds NaN or infinite values"):
        hidden(x0.fill_(math.nan))
    x0, x_t = images()
    net(x_t[:1].expand_as(x_t))
    gap = hidden(x0[:1].expand_as(x0))
    gap.backward()
    assert gap.isfinite()
    assert all(p.grad.isfinite().all() for p in net.block.parameters())


def bounded_by_hand(net: Net, x0: torch.Tensor, x_t: torch.Tensor, ratio: float) -> torch.Tensor:
    """The gradient that is to be added at the hidden layer's tokens [5, 6, 7], image by image."""
    tokens = nn.functional.unfold(x_t, 2, stride=2).mT
    hidden = net.block(tokens).detach().requires_grad_()
    out = nn.functional.fold(net.last(hidden.tanh()).mT, (4, 6), 2, stride=2)
    (reaching,) = torch.autograd.grad((out - x0).square().mean(), hidden)
    features = on_grid(encoder()(x0), (2, 3), (4, 6)).detach()
    (pull,) = torch.autograd.grad(5.0 * hidden_gap(features, hidden), hidden)
    factors = [min(1.0, ratio * float(r.norm()) / float(p.norm())) for p, r in zip(pull, reaching, strict=True)]
    assert min(factors) < 1
    return torch.stack([factor * p for factor, p in zip(factors, pull, strict=True)])


@pytest.mark.parametrize("ratio", [0.02, 0.3])
def test_within_a_ratio_no_image_is_pulled_harder_than_a_share_of_denoising(ratio: float) -> None:
    (x0, x_t), found, expected = images(), Net(), Net()
    hidden = HiddenStructure(encoder(), found.block, ratio=ratio)
    loss = (found(x_t) - x0).square().mean()
    (loss + hidden(x0, loss)).backward()
    pull = bounded_by_hand(expected, x0, x_t, ratio)
    tokens = nn.functional.unfold(x_t, 2, stride=2).mT
    plain = (expected(x_t) - x0).square().mean()
    (plain + (pull * expected.block(tokens)).sum()).backward()
    for own, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)
    assert hidden.last is not None


def test_a_ratio_needs_a_loss_that_depends_on_the_layer() -> None:
    net, (x0, x_t) = Net(), images()
    hidden = HiddenStructure(encoder(), net.block, ratio=0.3)
    loss = (net(x_t) - x0).square().mean()
    with pytest.raises(
        StructureError, match=r"the denoising loss is needed for the bound: hidden\(x0, loss\); or give ratio=None"
    ):
        hidden(x0)
    net(x_t)
    with pytest.raises(StructureError, match="the loss does not depend on the tapped module's output"):
        hidden(x0, loss)  # of the pass before


def test_registers_count_neither_in_the_pull_nor_in_the_bound() -> None:
    (x0, x_t), block = images(), nn.Linear(4, 7).double()
    tokens = nn.functional.unfold(x_t, 2, stride=2).mT  # [B, 6, 4]
    found = []
    for extra in (0, 3):
        hidden = HiddenStructure(encoder(), block, ratio=0.05, registers=extra)
        output = block(torch.cat([tokens, torch.ones(5, extra, 4, dtype=torch.float64)], dim=1))
        loss = output[:, :6].square().mean() + 100 * output[:, 6:].square().sum()
        (added,) = torch.autograd.grad(hidden(x0, loss), output)
        assert not added[:, 6:].any()
        found.append(added[:, :6])
        hidden.remove()
    torch.testing.assert_close(*found)


class Deep(nn.Module):
    """Layers that autocast runs in half precision, in front of the tap, at it and behind it."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first, self.tap, self.last = (nn.Conv2d(a, b, 3, padding=1) for a, b in ((1, 16), (16, 16), (16, 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.tap(self.first(x).tanh()).tanh())


def pull_of(dtype: torch.dtype, scale: float, share: float) -> torch.Tensor:
    """What the bounded signal adds to the gradient of the layers up to the tap; the loss is `share` of the mean."""
    net, draws = Deep(), torch.Generator().manual_seed(4)
    x0 = torch.randn(16, 1, 32, 32, generator=draws)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        hidden = HiddenStructure(nn.Conv2d(1, 6, 4, stride=4), net.tap)
    with torch.autocast("cpu", torch.float16, enabled=dtype == torch.float16):
        x0_hat = net(x0 + 0.5 * torch.randn(x0.shape, generator=draws))
    loss = share * (x0_hat.float() - x0).square().mean()
    (scale * hidden(x0, loss)).backward()
    grads = [part.grad for part in (*net.first.parameters(), *net.tap.parameters()) if part.grad is not None]
    return torch.cat([grad.double().flatten() for grad in grads]) / scale


@pytest.mark.parametrize("share", [1.0, 0.01])
def test_in_half_precision_the_bounded_pull_is_neither_lost_nor_infinite(share: float) -> None:
    """With the scale that GradScaler starts with, since a gradient in float16 would be lost anyway without one."""
    expected, found = pull_of(torch.float32, 1.0, share), pull_of(torch.float16, 65536.0, share)
    assert expected.norm() > 0
    assert float(torch.cosine_similarity(expected, found, dim=0)) > 0.99
    assert float(found.norm() / expected.norm()) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("static", [True, False])
def test_a_loop_whose_gradients_would_never_be_averaged_is_refused(static: bool, tmp_path: Path) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        net = nn.parallel.DistributedDataParallel(Deep(), static_graph=static)
        loss = net(torch.zeros(2, 1, 8, 8)).square().mean()
        if static:
            with pytest.raises(StructureError, match=r"static_graph=True.* Use static_graph=False, or ratio=None"):
                refuse_static_graph(loss)
        else:
            refuse_static_graph(loss)
    finally:
        dist.destroy_process_group()


def test_a_network_compiled_as_a_whole_is_told_what_to_do() -> None:
    net, features = Deep(), nn.Conv2d(1, 6, 4, stride=4)
    hidden, (x0, x_t) = HiddenStructure(features, net.tap), torch.randn(2, 4, 1, 8, 8)
    compiled = torch.compile(net, backend="eager")
    net.tap(torch.zeros(4, 16, 8, 8))  # what a hook saw outside of the compiled graph
    with pytest.raises(StructureError, match=r"compile its blocks instead"):
        hidden(x0, compiled(x_t).detach().requires_grad_().square().mean())
