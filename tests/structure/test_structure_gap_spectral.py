"""The spectral gap against scipy's Laplacians and closed-form spectra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import laplacian
from structure_oracles import images

from sadm.structure import RELATIONS, spectral_gap, structure_gap


def spectral(relation: torch.Tensor, relation_hat: torch.Tensor, weight: torch.Tensor | None = None) -> float:
    return float(structure_gap(relation, relation_hat, weight, "spectral").detach())


def by_scipy(relation: torch.Tensor, weight: torch.Tensor) -> np.ndarray:
    affinity = np.maximum(0, (relation.numpy() + relation.numpy().T) / 2)
    np.fill_diagonal(affinity, 0)
    affinity *= np.sqrt(np.outer(weight.numpy(), weight.numpy()))
    return np.linalg.eigvalsh(laplacian(affinity, normed=True))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_it_equals_the_spectra_of_scipy(signed: bool, seed: int) -> None:
    relation, relation_hat = images(seed, 2, 7, 7, dtype=torch.float64)  # signed, and not symmetric
    if not signed:
        relation, relation_hat = relation.exp(), relation_hat.square()
    weight = images(seed + 10, 7, dtype=torch.float64).exp()
    expected = np.mean((by_scipy(relation, weight) - by_scipy(relation_hat, weight)) ** 2)
    assert spectral(relation, relation_hat, weight) == pytest.approx(expected, rel=1e-10)


def test_closed_forms() -> None:
    count = 6
    edgeless = -torch.ones(count, count, dtype=torch.float64)  # spectrum: 1, ..., 1
    complete = torch.ones(count, count, dtype=torch.float64)  # 0, then B / (B - 1)
    two_cliques = torch.block_diag(complete[:3, :3], complete[:3, :3])  # 0, 0, then 3 / 2
    full, half = [0.0] + [1.2] * 5, [0.0, 0.0] + [1.5] * 4
    for first, second, spectra in [
        (edgeless, complete, ([1.0] * 6, full)),
        (two_cliques, complete, (half, full)),
        (two_cliques, edgeless, (half, [1.0] * 6)),
        (complete, 37 * complete, (full, full)),
    ]:
        expected = sum((a - b) ** 2 for a, b in zip(*spectra, strict=True)) / count
        assert spectral(first, second) == pytest.approx(expected, rel=1e-12, abs=1e-25)


def test_which_image_is_which_does_not_matter() -> None:
    relation, relation_hat = images(1, 2, 8, 8, dtype=torch.float64).abs()
    order = torch.tensor([3, 0, 7, 5, 1, 4, 6, 2])
    expected = spectral(relation, relation_hat)
    assert spectral(relation, relation_hat[order][:, order]) == pytest.approx(expected, rel=1e-12)
    assert spectral(relation, relation[order][:, order]) < 1e-28


def test_the_scale_of_either_side_and_the_diagonal_do_not_matter() -> None:
    relation, relation_hat = images(2, 2, 6, 6, dtype=torch.float64).abs()
    expected = spectral(relation, relation_hat)
    assert spectral(relation * 100, relation_hat * 0.01) == pytest.approx(expected, rel=1e-12)
    assert spectral(relation, relation_hat.clone().fill_diagonal_(9.0)) == expected


def test_the_gradient_is_that_of_the_formula() -> None:
    relation, relation_hat = images(3, 2, 5, 5, dtype=torch.float64).abs()
    relation.requires_grad_()
    relation_hat.requires_grad_()
    weight = torch.tensor([1.0, 0.5, 0.0, 2.0, 0.1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: spectral_gap(a, b, weight), (relation, relation_hat))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["identical images", "two clusters", "no edges", "one image without edges"])
def test_repeated_eigenvalues_have_a_finite_gradient(dtype: torch.dtype, kind: str) -> None:
    relation = images(4, 6, 6, dtype=dtype).abs()
    relation_hat = torch.ones(6, 6, dtype=dtype)
    if kind == "two clusters":
        relation_hat = torch.block_diag(relation_hat[:3, :3], relation_hat[:3, :3])
    if kind == "no edges":
        relation_hat = torch.zeros(6, 6, dtype=dtype)
    if kind == "one image without edges":
        relation_hat[0], relation_hat[:, 0] = 0, 0
    relation_hat.requires_grad_()
    value = structure_gap(relation, relation_hat, penalty="spectral")
    (gradient,) = torch.autograd.grad(value, relation_hat)
    assert float(value.detach()) > 1e-4
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", list(RELATIONS))
def test_identical_images_beside_varied_ones_have_a_finite_gradient(name: str) -> None:
    e = images(5, 6, 4)
    e_hat = e[:1].repeat(6, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(structure_gap(*RELATIONS[name](e, e_hat), penalty="spectral"), e_hat)
    assert gradient.isfinite().all()


def test_descending_it_brings_the_spectra_together_with_the_images_in_any_order() -> None:
    e = torch.cat([images(6, 4, 3, dtype=torch.float64), images(7, 4, 3, dtype=torch.float64) + 4])  # two clusters
    e_hat = images(8, 8, 3, dtype=torch.float64).requires_grad_()  # one, and other images
    optimiser = torch.optim.Adam([e_hat], lr=0.05)
    gaps = []
    for _ in range(60):
        value = structure_gap(*RELATIONS["rbf"](e, e_hat), penalty="spectral")
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        gaps.append(float(value.detach()))
    assert gaps[-1] < 0.02 * gaps[0]
