"""Statements 2 and 3 of docs/theory.md: what a gap of zero says, and what the gap is under noise."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group
from theory_oracles import D, normal

from sadm.structure import PENALTIES, RELATIONS, structure_gap

PAGE = Path(__file__).resolve().parents[2] / "docs" / "theory.md"
B, LENGTH = 7, 4
IGNORES = {
    "cosine": {"rotation", "scale", "own scales"},
    "euclidean": {"rotation", "translation"},
    "rbf": {"rotation", "translation"},
    "angles": {"rotation", "translation", "scale"},
}
FREE = {"cosine": 6 + B, "euclidean": 6 + 4, "rbf": 6 + 4, "angles": 6 + 4 + 1}


def gap(relation: str, e: torch.Tensor, e_hat: torch.Tensor) -> float:
    return float(structure_gap(*RELATIONS[relation](e, e_hat)))


def changed(e: torch.Tensor) -> dict[str, torch.Tensor]:
    turn = torch.from_numpy(ortho_group.rvs(LENGTH, random_state=3))
    return {
        "rotation": e @ turn,
        "translation": e + torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=D),
        "scale": 0.4 * e,
        "own scales": e * torch.linspace(0.2, 3, len(e), dtype=D)[:, None],
    }


def test_the_page_speaks_of_every_relation_and_penalty() -> None:
    assert set(RELATIONS) == set(IGNORES)
    text = PAGE.read_text(encoding="utf-8")
    for name in [*RELATIONS, *PENALTIES]:
        assert f"| {name} |" in text, f"docs/theory.md says nothing about '{name}'"


@pytest.mark.parametrize("relation", IGNORES)
def test_a_relation_ignores_what_the_table_says_and_nothing_else(relation: str) -> None:
    e = normal(1, B, LENGTH)
    for name, e_hat in changed(e).items():
        found = gap(relation, e, e_hat)
        if name in IGNORES[relation]:
            assert found < 1e-24, name
        else:
            assert found > 1e-2, name


@pytest.mark.parametrize("relation", ["euclidean", "rbf"])
def test_a_common_scale_changes_no_gap(relation: str) -> None:
    e, e_hat = normal(1, B, LENGTH), normal(2, B, LENGTH)
    assert gap(relation, 30 * e, 30 * e_hat) == pytest.approx(gap(relation, e, e_hat), rel=1e-12)
    assert gap(relation, e, e_hat) > 0.01


@pytest.mark.parametrize("relation", IGNORES)
def test_the_ignored_directions_are_as_many_as_stated(relation: str) -> None:
    """By singular values of central differences, at a rotated and moved copy."""
    e = normal(1, B, LENGTH)
    at = changed(e)["rotation"]
    columns = []
    for i, k in itertools.product(range(B), range(LENGTH)):
        move = torch.zeros_like(at)
        move[i, k] = 1e-5
        sides = []
        for sign in (1, -1):
            real, denoised = RELATIONS[relation](e, at + sign * move)
            sides.append((real - denoised).flatten())
        columns.append((sides[0] - sides[1]) / 2e-5)
    values = np.linalg.svd(torch.stack(columns, 1).numpy(), compute_uv=False)
    assert int((values < 1e-7 * values[0]).sum()) == FREE[relation]


@pytest.mark.parametrize("relation", ["cosine", "euclidean"])
def test_embeddings_that_close_the_gap_are_copies_up_to_what_is_ignored(relation: str) -> None:
    """The other direction: descend the gap from a disturbed start, then look for the map by Procrustes."""
    e = normal(1, B, LENGTH)
    e_hat = (changed(e)["rotation"] + 0.3 * normal(2, B, LENGTH)).requires_grad_()
    optimiser = torch.optim.LBFGS(
        [e_hat], max_iter=400, tolerance_grad=1e-14, tolerance_change=1e-18, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = structure_gap(*RELATIONS[relation](e, e_hat))
        value.backward()
        return value

    optimiser.step(closure)
    found = e_hat.detach()
    assert gap(relation, e, found) < 1e-13
    assert float((found - changed(e)["rotation"]).norm()) > 0.1  # it is not simply the copy that it started from
    if relation == "cosine":
        a, b = F.normalize(e, dim=1), F.normalize(found, dim=1)
    else:
        a, b = e - e.mean(0), found - found.mean(0)
    turn, _ = orthogonal_procrustes(a.numpy(), b.numpy())
    assert np.abs(a.numpy() @ turn - b.numpy()).max() < 1e-5


def test_the_rank_penalty_ignores_an_increasing_map_with_a_constant_for_each_row() -> None:
    relation = normal(1, B, B)
    rows = normal(2, B, 1)
    assert float(structure_gap(relation, 3 * relation + rows, penalty="rank")) < 1e-12
    assert float(structure_gap(relation, relation * rows.exp(), penalty="rank")) > 1e-3
    assert float(structure_gap(relation, -relation, penalty="rank")) > 0.1


def test_the_spectral_penalty_ignores_which_image_is_which() -> None:
    e = normal(1, B, LENGTH)
    relation, _ = RELATIONS["rbf"](e, e)
    order = torch.tensor([4, 2, 0, 6, 1, 3, 5])
    permuted = relation[order][:, order]
    assert float(structure_gap(relation, permuted, penalty="spectral")) < 1e-24
    assert float(structure_gap(relation, 0.3 * relation, penalty="spectral")) < 1e-24
    assert float(structure_gap(relation, relation.square(), penalty="spectral")) > 1e-4
    assert float(structure_gap(relation, permuted)) > 1e-2


@pytest.mark.parametrize("relation", IGNORES)
def test_what_a_linear_encoder_does_not_see_leaves_the_gap_at_zero(relation: str) -> None:
    frame = torch.from_numpy(ortho_group.rvs(9, random_state=1))
    x0 = normal(1, B, 9)
    x0_hat = x0 + 100 * normal(2, B, 5) @ frame[4:]
    assert gap(relation, x0 @ frame[:4].T, x0_hat @ frame[:4].T) < 1e-20


# ---- under noise: a world of 5 images seen through a channel with 3 outputs ------------------------------------------


class Channel:
    """Joint odds of x0 and x_t, both from a short list; independent pairs."""

    def __init__(self, seed: int) -> None:
        self.joint = (2 * normal(seed, 5, 3)).flatten().softmax(0).reshape(5, 3)
        self.direction = F.normalize(normal(seed + 1, 5, 2) + torch.tensor([0.7, 0.0], dtype=D), dim=1)  # u(x0) [5, 2]
        self.arrival = self.joint.sum(0)  # [3]
        self.posterior = self.joint / self.arrival  # [5, 3]
        self.mean = self.posterior.T @ self.direction  # m [3, 2]

    def gap(self, u_hat: torch.Tensor) -> float:
        """``E (R_ij - R_hat_ij)^2`` of a denoiser whose embeddings have the directions u_hat [3, 2]."""
        total = 0.0
        for a, s, b, t in itertools.product(range(5), range(3), range(5), range(3)):
            odds = float(self.joint[a, s] * self.joint[b, t])
            total += odds * float(self.direction[a] @ self.direction[b] - u_hat[s] @ u_hat[t]) ** 2
        return total

    def floor(self) -> float:
        """``E Var[R_ij | x_t,i, x_t,j]``."""
        total = 0.0
        for s, t in itertools.product(range(3), repeat=2):
            moments = [0.0, 0.0]
            for a, b in itertools.product(range(5), repeat=2):
                odds = float(self.posterior[a, s] * self.posterior[b, t])
                cosine = float(self.direction[a] @ self.direction[b])
                moments = [moments[0] + odds * cosine, moments[1] + odds * cosine**2]
            total += float(self.arrival[s] * self.arrival[t]) * (moments[1] - moments[0] ** 2)
        return total


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_gap_of_any_denoiser_is_a_floor_plus_its_distance_from_the_mean_relation(seed: int) -> None:
    world = Channel(seed)
    u_hat = F.normalize(normal(seed + 7, 3, 2), dim=1)
    off = world.mean @ world.mean.T - u_hat @ u_hat.T
    excess = float(world.arrival @ off.square() @ world.arrival)
    assert world.gap(u_hat) == pytest.approx(world.floor() + excess, rel=1e-12)
    assert world.floor() > 0.05
    assert float(world.mean.norm(dim=1).max()) < 1


@pytest.mark.parametrize("seed", [1, 2])
def test_a_draw_from_the_posterior_has_twice_the_floor(seed: int) -> None:
    world, total = Channel(seed), 0.0
    for s, t in itertools.product(range(3), repeat=2):
        arrival = float(world.arrival[s] * world.arrival[t])
        for a, b, a_hat, b_hat in itertools.product(range(5), repeat=4):
            odds = math.prod(
                float(world.posterior[k, channel]) for k, channel in ((a, s), (b, t), (a_hat, s), (b_hat, t))
            )
            cosines = (world.direction[k] @ world.direction[m] for k, m in ((a, b), (a_hat, b_hat)))
            total += arrival * odds * float(next(cosines) - next(cosines)) ** 2
    assert total == pytest.approx(2 * world.floor(), rel=1e-12)


def test_distances_prefer_the_perfect_denoiser_at_low_noise_and_the_draw_at_high_noise() -> None:
    """Two Gaussian clusters on a line; the posterior by numbers on a grid."""
    draws = np.random.default_rng(0)
    grid = np.linspace(-4, 4, 801)
    prior = np.exp(-((grid - 2) ** 2) / 0.08) + np.exp(-((grid + 2) ** 2) / 0.08)
    gaps = {}
    for sigma in (0.3, 20.0):
        v = draws.choice([-2, 2], 400) + 0.2 * draws.standard_normal(400)
        x_t = v + sigma * draws.standard_normal(400)
        density = prior * np.exp(-((grid - x_t[:, None]) ** 2) / (2 * sigma**2))
        density /= density.sum(1, keepdims=True)
        drawn = grid[(density.cumsum(1) < draws.random((400, 1))).sum(1)]
        x0, mean, draw = (torch.from_numpy(w)[:, None] for w in (v, density @ grid, drawn))
        gaps[sigma] = gap("euclidean", x0, mean), gap("euclidean", x0, draw)
    assert gaps[0.3][0] < 0.7 * gaps[0.3][1]
    assert gaps[20.0][1] < 0.5 * gaps[20.0][0]


@pytest.mark.parametrize(
    ("odds", "draw_wins"),
    [([0.5, 0.5], None), ([0.8, 0.2], False), ([0.34, 0.33, 0.33], True), ([0.9, 0.05, 0.05], False)],
)
def test_without_information_cosines_prefer_the_draw_where_relations_vary_little(
    odds: list[float], draw_wins: bool | None
) -> None:
    """All x0_hat alike has R_hat = 1. The rule is (1 - |m|^2)^2 against Var R; None stands for equality."""
    count = len(odds)
    angle = torch.arange(count, dtype=D) * 2 * math.pi / count + 0.3
    direction = torch.stack([angle.cos(), angle.sin()], 1)
    pairs = [(odds[a] * odds[b], float(direction[a] @ direction[b])) for a in range(count) for b in range(count)]
    alike = sum(w * (cosine - 1) ** 2 for w, cosine in pairs)
    draw = sum(v * w * (one - two) ** 2 for v, one in pairs for w, two in pairs)
    mean = sum(w * cosine for w, cosine in pairs)
    variance = sum(w * (cosine - mean) ** 2 for w, cosine in pairs)
    m = (torch.tensor(odds, dtype=D)[:, None] * direction).sum(0)
    assert draw - alike == pytest.approx(variance - (1 - float(m @ m)) ** 2, abs=1e-12)
    if draw_wins is None:
        assert draw == pytest.approx(alike, rel=1e-12)
    else:
        assert (draw < alike) is draw_wins
