"""The page's numbers are the stored ones, and the closed forms behind them are right."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def theory(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    importlib.import_module("benchmarks.theory.mixtures")
    importlib.import_module("benchmarks.theory.page")
    return importlib.import_module("benchmarks.theory")


def test_the_page_holds_the_stored_numbers(theory: ModuleType) -> None:
    page = theory.page
    text = page.PAGE.read_text(encoding="utf-8")
    contents = page.blocks(page.stored(page.NAME, "summary"))
    assert page.filled(text, contents) == text, "run python -m benchmarks.docs"
    assert text.count("<!-- theory:") == 2 * len(contents)


def test_a_page_without_its_markers_is_refused(theory: ModuleType) -> None:
    with pytest.raises(SystemExit, match="needs the markers of 'theory:gaps' once, it has them 0 times"):
        theory.page.filled("no markers\n", {"gaps": "| a |\n"})


def test_cells(theory: ModuleType) -> None:
    cell = theory.page.cell
    assert [cell(v) for v in (3, "x", 0.123456, 1e-9, -2e-12, 1234.5, 6.1e-5)] == [
        "3", "x", "0.123", "0", "0", "1.23e+03", "6.1e-05"
    ]  # fmt: skip


@pytest.mark.parametrize("sigma", [0.2, 1.0, 6.0])
def test_the_mixtures_posterior_is_that_of_bayes_rule(theory: ModuleType, sigma: float) -> None:
    """Against sums over a fine grid of the plane; draws against the exact moments."""
    mixture = theory.mixtures.three_clusters()
    axis = np.linspace(-5, 6.5, 460)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    means, odds = mixture.means.numpy(), mixture.weights.numpy()
    prior = (odds * np.exp(-((grid[:, None] - means) ** 2).sum(-1) / (2 * 0.3**2))).sum(1)
    x_t = np.array([[0.4, 0.2], [-2.0, 1.0], [5.0, -3.0]])
    found = mixture.posterior_mean(torch.from_numpy(x_t), sigma).numpy()
    deviation = mixture.posterior_sd(torch.from_numpy(x_t), sigma).numpy()
    for point, mean, spread in zip(x_t, found, deviation, strict=True):
        exponent = -((grid - point) ** 2).sum(1) / (2 * sigma**2)
        density = prior * np.exp(exponent - exponent.max())
        density /= density.sum()
        expected = density @ grid
        np.testing.assert_allclose(mean, expected, atol=1e-6)
        assert spread == pytest.approx(math.sqrt(density @ ((grid - expected) ** 2).sum(1)), abs=1e-6)
    repeated = torch.from_numpy(x_t[:1]).repeat(20_000, 1)
    drawn = mixture.posterior_sample(repeated, sigma, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(drawn.mean(0).numpy(), found[0], atol=5 * deviation[0] / math.sqrt(20_000))
    assert float((drawn - drawn.mean(0)).square().sum(1).mean().sqrt()) == pytest.approx(deviation[0], rel=0.03)
