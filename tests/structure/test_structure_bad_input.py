"""What can't be played is refused in words, before anything changes; what is odd but defined gives finite numbers."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from structure_oracles import SmallEncoder, images
from structure_setup import BATCH, PIXELS, SHAPE, D, batch_of, game_of, play_once, same, weights_of
from torch import nn

from sadm.structure import (
    RELATIONS,
    Schedule,
    StructureError,
    StructureGame,
    Watchdog,
    structure_gap,
    uniform_weight,
    wiener_weight,
)

ADVERSARIES = ["ascend", "classify", "frozen"]
FAST: dict[str, dict[str, object]] = {name: {} if name == "frozen" else {"learning_rate": 0.01} for name in ADVERSARIES}


def game_with(encoder: nn.Module, **options: object) -> StructureGame:
    return StructureGame(encoder, **{"watchdog": None, "fraction": 1.0, **options})


def assert_untouched(game: StructureGame, before: dict) -> None:
    after = game.state_dict()
    assert after["step"] == before["step"]
    found, expected = (list(flat(state["discriminator"])) for state in (after, before))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def flat(state: object):
    if isinstance(state, dict):
        state = list(state.values())
    if isinstance(state, (list, tuple)):
        for part in state:
            yield from flat(part)
    elif isinstance(state, torch.Tensor):
        yield torch.nan_to_num(state, nan=-7.0)
    else:
        yield torch.tensor(0.0 if state is None else float(state))


# ---- images and noise levels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["x0", "x0_hat", "g_dsm"])
def test_pixels_that_are_not_finite_are_an_error(watched: bool, bad: float, place: str) -> None:
    """With a watchdog as well: it is there for what the game does to itself."""
    game = game_of(watchdog=Watchdog() if watched else None)
    before = copy.deepcopy(game.state_dict())
    x0, x0_hat, sigma = batch_of(1)
    parts = {"x0": x0, "x0_hat": x0_hat, "g_dsm": torch.ones_like(x0)}
    parts[place].view(-1)[0] = bad
    with pytest.raises(StructureError, match=rf"^{place} holds NaN or infinite values; the game stops before"):
        game.play(parts["x0"], parts["x0_hat"], sigma, parts["g_dsm"])
    assert_untouched(game, before)


@pytest.mark.parametrize("bad", [math.nan, -1.0, -math.inf])
def test_impossible_noise_levels_are_an_error(bad: float) -> None:
    x0, x0_hat, sigma = batch_of(1)
    sigma = torch.cat([sigma[:-1], torch.tensor([bad], dtype=D)])
    with pytest.raises(StructureError, match=r"sigma holds NaN or negative values; noise levels lie in \[0, inf\]"):
        game_of().play(x0, x0_hat, sigma, torch.ones_like(x0))


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize("noise_weight", [wiener_weight, uniform_weight])
@pytest.mark.parametrize(
    "sigma",
    [
        torch.zeros(BATCH),
        torch.full((BATCH,), math.inf),
        torch.tensor([0.0, math.inf, 1.0, math.inf, 0.5, 1e-30]),
        torch.full((BATCH,), 1e30),
        torch.full((BATCH,), 300.0, dtype=torch.float16),
        torch.arange(BATCH),
    ],
    ids=["zero", "infinite", "both", "huge", "float16", "integers"],
)
def test_noise_levels_from_zero_to_infinity_give_finite_numbers(adversary: str, noise_weight, sigma) -> None:
    game, (x0, x0_hat, _) = game_of(adversary=adversary, fraction=1.0, noise_weight=noise_weight), batch_of(1)
    weight = noise_weight(sigma)
    assert weight.isfinite().all()
    assert weight.dtype == torch.float32
    play = game.play(x0, x0_hat, sigma, torch.ones_like(x0))
    assert play.gradient.isfinite().all()
    assert play.gap.isfinite()
    assert float(play.gap) >= 0
    assert (float(play.gap) > 0) is bool((weight > 0).sum() > 1)
    assert all(w.isfinite().all() for w in weights_of(game.discriminator.encoder))


def test_the_weight_at_the_ends_of_the_scale() -> None:
    assert wiener_weight(torch.tensor([0.0, 0.5, math.inf])).tolist() == [1.0, 0.5, 0.0]
    assert uniform_weight(torch.tensor([0.0, math.inf])).tolist() == [1.0, 1.0]
    assert float(wiener_weight(torch.tensor(300.0, dtype=torch.float16))) == pytest.approx(1 / (1 + 600**2), rel=1e-6)


@pytest.mark.parametrize(
    ("noise_weight", "message"),
    [
        (lambda sigma: sigma - 1, "finite weights of at least 0"),
        (lambda sigma: sigma / 0, "finite weights of at least 0"),
        (lambda sigma: sigma * math.nan, "finite weights of at least 0"),
        (lambda sigma: sigma[:2], r"a weight for each of 6 images, it gave \(2,\)"),
        (lambda sigma: 1.0, "a weight for each of 6 images, it gave float"),
    ],
)
def test_impossible_weights_of_ones_own_are_an_error(noise_weight, message: str) -> None:
    game = game_of(noise_weight=noise_weight, fraction=1.0)
    before = copy.deepcopy(game.state_dict())
    with pytest.raises(StructureError, match=f"noise_weight must give .*{message}"):
        play_once(game)
    assert_untouched(game, before)


@pytest.mark.parametrize(
    ("ratio", "message"),
    [
        (lambda sigma: torch.ones_like(sigma), r"ratio must lie in \[0, 1\), got \[1.0, 1.0"),
        (lambda sigma: -sigma, r"ratio must lie in \[0, 1\)"),
        (lambda sigma: sigma * math.nan, r"ratio must lie in \[0, 1\)"),
        (lambda sigma: torch.tensor(0.5), r"a ratio for each of 6 images .* shape \(\)"),
    ],
)
def test_impossible_ratios_of_ones_own_are_an_error_even_while_a_warm_up_shrinks_them(ratio, message: str) -> None:
    game = game_of(ratio=ratio, fraction=1.0, schedule=Schedule(warmup=100))
    before = copy.deepcopy(game.state_dict())
    with pytest.raises(StructureError, match=message):
        play_once(game)
    assert_untouched(game, before)


# ---- shapes ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_a_batch_of_one_has_no_pairs(adversary: str) -> None:
    x0 = images(1, 1, *SHAPE)
    with pytest.raises(StructureError, match=r"about pairs: the batch holds 1 image, at least 2.*larger batch"):
        game_of(adversary=adversary, dtype=torch.float32).play(x0, x0, torch.ones(1), x0)


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize("relation", ["cosine", "euclidean", "rbf"])
def test_two_images_are_enough(adversary: str, relation: str) -> None:
    x0, x0_hat, g_dsm = images(1, 3, 2, *SHAPE)
    play = game_of(adversary=adversary, relation=relation, dtype=torch.float32).play(x0, x0_hat, torch.ones(2), g_dsm)
    assert play.gradient.isfinite().all()
    assert float(play.spread) == 0  # one pair


@pytest.mark.parametrize(
    ("x0", "x0_hat", "sigma", "message"),
    [
        ((4, 2, 3, 3), (4, 1, 3, 3), (4,), r"equal shape.*\(4, 2, 3, 3\), \(4, 1, 3, 3\) and \(4,\)"),
        ((4, 2, 3, 3), (3, 2, 3, 3), (4,), r"equal shape"),
        ((4, 2, 3, 3), (4, 2, 3, 3), (3,), r"sigma \[B\].*and \(3,\)"),
        ((4, 2, 3, 3), (4, 2, 3, 3), (4, 1, 1, 1), r"sigma \[B\]"),
        ((4, 2, 3, 3), (4, 2, 3, 3), (), r"sigma \[B\]"),
        ((0, 2, 3, 3), (0, 2, 3, 3), (0,), r"holds 0 image"),
    ],
)
def test_batches_that_do_not_fit_are_refused(x0, x0_hat, sigma, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        game_of().play(torch.zeros(x0), torch.zeros(x0_hat), torch.ones(sigma), torch.zeros(x0_hat))


def test_a_denoising_gradient_of_another_shape_is_refused() -> None:
    game, (x0, x0_hat, sigma) = game_of(), batch_of(1)
    before = copy.deepcopy(game.state_dict())
    with pytest.raises(StructureError, match=r"g_dsm of shape \(6, 2, 3, 3\), got \(6, 1, 3, 3\)"):
        game.play(x0, x0_hat, sigma, torch.ones(6, 1, 3, 3))
    assert_untouched(game, before)


# ---- nothing to tell apart -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("which", ["real", "denoised", "both"])
def test_identical_images_have_distances_of_zero_and_finite_gradients(
    adversary: str, relation: str, which: str
) -> None:
    game = game_of(adversary=adversary, relation=relation, fraction=1.0, **FAST[adversary])
    x0, x0_hat, sigma = batch_of(1)
    x0 = x0[:1].expand_as(x0) if which != "denoised" else x0
    x0_hat = x0_hat[:1].expand_as(x0_hat) if which != "real" else x0_hat
    for _ in range(2):
        play = game.play(x0, x0_hat, sigma, torch.ones_like(x0))
        assert play.gradient.isfinite().all()
        assert play.gap.isfinite()
    assert all(w.isfinite().all() for w in weights_of(game.discriminator.encoder))


@pytest.mark.parametrize("adversary", ["ascend", "frozen"])
@pytest.mark.parametrize("relation", RELATIONS)
def test_where_denoised_images_are_the_real_ones_nothing_is_left_to_play_for(adversary: str, relation: str) -> None:
    game, (x0, _, sigma) = game_of(adversary=adversary, relation=relation, fraction=1.0), batch_of(1)
    before = weights_of(game.discriminator.encoder)
    play = game.play(x0, x0.clone(), sigma, torch.ones_like(x0))
    assert float(play.gap) == 0
    assert torch.equal(play.gradient, torch.zeros_like(x0))
    assert same(weights_of(game.discriminator.encoder), before)


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_constant_embeddings_give_finite_numbers(adversary: str, relation: str, value: float) -> None:
    encoder = SmallEncoder(PIXELS, dtype=D)
    with torch.no_grad():
        encoder.second.weight.zero_()
        encoder.second.bias.fill_(value)
    watchdog = Watchdog(window=2)
    game = game_with(encoder, adversary=adversary, relation=relation, watchdog=watchdog, **FAST[adversary])
    for seed in range(4):
        play = play_once(game, seed)
        assert not play.skipped
        assert play.gradient.isfinite().all()
        assert play.gap.isfinite()
    assert all(w.isfinite().all() for w in weights_of(game.discriminator.encoder))


# ---- precision ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 5e-3), (torch.bfloat16, 5e-2)])
def test_half_precision_images_are_served_in_the_encoders_precision(adversary: str, dtype, tolerance: float) -> None:
    gradients = []
    for kind in (dtype, torch.float32):
        play = play_once(game_of(adversary=adversary, dtype=torch.float32, fraction=1.0), dtype=kind)
        assert play.gradient.dtype == torch.float32
        assert play.gap.dtype == torch.float32
        gradients.append(play.gradient)
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < tolerance


# ---- encoders ----------------------------------------------------------------------------------------------------------------


class Returning(nn.Module):
    """Turns an embedding into something else."""

    def __init__(self, change) -> None:
        super().__init__()
        self.encoder, self.change = SmallEncoder(PIXELS, dtype=D), change

    def forward(self, x: torch.Tensor) -> object:
        return self.change(self.encoder(x))


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e[:, 0], r"expected embeddings \[B, d\] or.*the encoder gave \((6|12),\)"),
        (lambda e: e[:, :, None, None], r"expected embeddings \[B, d\].*\((6|12), 5, 1, 1\).*map\.flatten\(2\)\.mT"),
        (lambda e: e[:, :0], r"expected embeddings \[B, d\] or.*\((6|12), 0\)"),
        (lambda e: e.mean(0), r"was given \d+ images and returned \(5,\); expected embeddings \[B, d\]"),
        (lambda e: e[:-1], r"was given \d+ images and returned \(\d+, 5\).*with B = \d+"),
        (lambda e: e.sum(), r"was given \d+ images and returned \(\)"),
        (lambda e: (e, e[:-1]), r"was given \d+ images and returned \(\d+, 5\), \(\d+, 5\)"),
        (lambda e: {"embedding": e}, r"was given \d+ images and returned dict"),
        (lambda e: None, r"was given \d+ images and returned NoneType"),
        (lambda e: (), r"was given \d+ images and returned nothing"),
    ],
)
def test_an_output_of_another_shape_is_refused(adversary: str, change, message: str) -> None:
    game = game_with(Returning(change), adversary=adversary)
    with pytest.raises(StructureError, match=message):
        play_once(game)


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_an_encoder_that_ignores_its_input_is_refused(adversary: str) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(20, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.table[: len(x)]

    with pytest.raises(StructureError, match="the encoder's output does not depend on its input"):
        play_once(game_with(Constant(), adversary=adversary))


class DropPath(nn.Module):
    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


CULPRITS = {
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), "mixes real and denoised images"),
    "SyncBatchNorm": (lambda: nn.SyncBatchNorm(4), "mixes real and denoised images"),
    "Dropout": (lambda: nn.Dropout(0.1), "makes the gap random"),
    "Dropout2d": (lambda: nn.Dropout2d(0.1), "makes the gap random"),
    "AlphaDropout": (lambda: nn.AlphaDropout(0.1), "makes the gap random"),
    "RReLU": (lambda: nn.RReLU(), "makes the gap random"),
    "DropPath": (lambda: DropPath(0.1), "makes the gap random"),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 2, dropout=0.1), "makes the gap random"),
    "LSTM": (lambda: nn.LSTM(4, 4, num_layers=2, dropout=0.1), "makes the gap random"),
}
HARMLESS = [
    nn.Dropout(0.0),
    nn.InstanceNorm2d(4),
    nn.GroupNorm(2, 4),
    DropPath(0.0),
    nn.MultiheadAttention(4, 2),
    nn.GRU(4, 4),
]


class Mixing(nn.Module):
    """An encoder that owns a module; whether it calls it does not matter to its looks."""

    def __init__(self, culprit: nn.Module) -> None:
        super().__init__()
        self.encoder = SmallEncoder(PIXELS)
        self.trunk = nn.Sequential(nn.Identity(), culprit)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)


@pytest.mark.parametrize("kind", CULPRITS)
def test_modules_that_mix_images_or_draw_numbers_are_refused_in_train_mode(kind: str) -> None:
    build, harm = CULPRITS[kind]
    encoder = Mixing(build())
    message = rf"module 'trunk\.1' is a {kind} in train mode: it {harm}.*call its \.eval\(\), use group or layer norm"
    with pytest.raises(StructureError, match=message):
        game_with(encoder)
    assert encoder.training
    assert all(p.requires_grad for p in encoder.parameters())
    play_once(game_with(encoder.eval()), dtype=torch.float32)


@pytest.mark.parametrize("kind", CULPRITS)
@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_an_encoder_put_back_into_train_mode_is_noticed(kind: str, adversary: str) -> None:
    encoder = Mixing(CULPRITS[kind][0]()).eval()
    game = game_with(encoder, adversary=adversary)
    play_once(game, dtype=torch.float32)
    before = copy.deepcopy(game.state_dict())
    encoder.train()
    with pytest.raises(StructureError, match=rf"'trunk\.1' is a {kind} in train mode"):
        play_once(game, dtype=torch.float32)
    assert_untouched(game, before)
    encoder.eval()
    play_once(game, dtype=torch.float32)


@pytest.mark.parametrize("adversary", ["classify", "frozen"])
def test_a_frozen_encoder_is_put_into_eval_mode(adversary: str) -> None:
    encoder = Mixing(nn.BatchNorm2d(4)).train()
    play_once(game_with(encoder, adversary=adversary), dtype=torch.float32)
    assert not encoder.trunk[1].training


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_batch_norm_without_running_statistics_mixes_in_any_mode(adversary: str) -> None:
    encoder = Mixing(nn.BatchNorm2d(4, track_running_stats=False)).eval()
    with pytest.raises(
        StructureError, match="BatchNorm2d without running statistics: it mixes.*use group or layer norm"
    ):
        game_with(encoder, adversary=adversary)


@pytest.mark.parametrize("module", HARMLESS, ids=lambda module: type(module).__name__)
def test_modules_without_harm_may_be_in_train_mode(module: nn.Module) -> None:
    play_once(game_with(Mixing(module).train()), dtype=torch.float32)


def test_running_statistics_are_left_alone() -> None:
    encoder = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 5)).eval()
    game = game_with(encoder, learning_rate=0.01)
    before = [buffer.clone() for buffer in encoder.buffers()]
    for seed in range(3):
        play_once(game, seed, dtype=torch.float32)
    assert same(list(encoder.buffers()), before)


# ---- what comes with a batch, and what was saved -----------------------------------------------------------------------------


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize("shape", [(3, 3), (20, 20), (BATCH, 20), (BATCH,)])
def test_target_affinities_of_another_size_are_refused(adversary: str, shape: tuple[int, ...]) -> None:
    game = game_of(adversary=adversary)
    with pytest.raises(StructureError, match=rf"expected target affinities \[6, 6\].*got \({shape[0]}"):
        play_once(game, target=torch.rand(shape, dtype=D))
    assert game.step == 0


@pytest.mark.parametrize("count", [3, 50])
def test_an_index_of_another_size_is_refused(count: int) -> None:
    with pytest.raises(StructureError, match=rf"expected an index \[6\], one for each image, got \({count},\)"):
        play_once(game_of(adversary="frozen"), index=torch.arange(count))


def test_a_loss_for_each_image_is_refused() -> None:
    """The mean that is minimised has a gradient B times smaller, and the ratio would be B times what was asked for."""
    x0, x_t, sigma = batch_of(1)
    net = nn.Conv2d(2, 2, 1).double()
    x0_hat = net(x_t)
    each = (x0_hat - x0).square().flatten(1).mean(1)
    with pytest.raises(StructureError, match=r"expected a scalar loss, got shape \(6,\)"):
        game_of()(each, x0, x0_hat, sigma)
    assert game_of()(each.mean().reshape(1), x0, x0_hat, sigma).requires_grad


@pytest.mark.parametrize(("warmup", "end"), [(-3, None), (0, -1), (math.nan, None)])
def test_a_schedule_of_negative_steps_is_refused(warmup: int, end: int | None) -> None:
    with pytest.raises(StructureError, match="warmup and end are steps, at least 0"):
        Schedule(warmup, end)


@pytest.mark.parametrize(("saved", "other"), [("ascend", "frozen"), ("classify", "frozen"), ("frozen", "ascend")])
def test_the_state_of_another_kind_of_game_is_refused(saved: str, other: str) -> None:
    state, game = game_of(adversary=saved).state_dict(), game_of(adversary=other)
    before = copy.deepcopy(game.state_dict())
    with pytest.raises(StructureError, match="this is the state of a game in which"):
        game.load_state_dict(state)
    assert_untouched(game, before)


@pytest.mark.parametrize("penalty", ["squared", "huber", "rank", "spectral"])
def test_negative_weights_and_a_relation_without_a_spectrum_are_refused(penalty: str) -> None:
    relation = images(1, 4, 4, dtype=D)
    with pytest.raises(StructureError, match=r"weights must be at least 0, got \[1.0, -1.0"):
        structure_gap(relation, relation, torch.tensor([1.0, -1.0, 1.0, 1.0]), penalty)
    relation[0, 1] = math.nan
    if penalty == "spectral":
        with pytest.raises(StructureError, match="NaN or infinite values, and such a graph has no spectrum"):
            structure_gap(relation, relation, penalty=penalty)
    else:
        assert structure_gap(relation, relation, penalty=penalty).isnan()
