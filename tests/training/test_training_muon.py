"""Muon on a processor, against its iteration in float64, one matrix after the other."""

from __future__ import annotations

import inspect
import itertools

import pytest
import torch

from sadm.training import muon
from sadm.training.muon import StackedMuon, orthogonalised, scale_of
from tiny import equal_bits

A, B, C = COEFFICIENTS = (3.4445, -4.775, 2.0315)
SHAPES = [(5, 12), (12, 5), (5, 5), (5, 30), (7, 9), (1, 4)]


def draws(shapes: list[tuple[int, int]], seed: int = 0, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=source).to(dtype) for shape in shapes]


def by_a_loop(matrix: torch.Tensor, rounds: int, eps: float = 1e-7) -> torch.Tensor:
    """The iteration as it is written down, in float64."""
    x = matrix.double()
    x = x.T if len(x) > len(x.T) else x
    x = x / max(float(x.square().sum().sqrt()), eps)
    for _ in range(rounds):
        square = x @ x.T
        x = A * x + (B * square + C * square @ square) @ x
    return x.T if len(matrix) > len(matrix.T) else x


@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("most", [1, 30, 1 << 22])
def test_all_at_once_is_one_after_the_other(rounds: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "_MOST", most)
    matrices = draws(SHAPES)
    found = orthogonalised(matrices, COEFFICIENTS, rounds, 1e-7)
    for matrix, own in zip(matrices, found, strict=True):
        assert own.shape == matrix.shape
        assert (own - by_a_loop(matrix, rounds)).abs().max() < 1e-4
    alone = [orthogonalised([matrix], COEFFICIENTS, rounds, 1e-7)[0] for matrix in matrices]
    assert all((one - other).abs().max() < 1e-5 for one, other in zip(alone, found, strict=True))


@pytest.mark.parametrize(("dtype", "expected"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_it_is_computed_in_float32_at_least(dtype: torch.dtype, expected: torch.dtype) -> None:
    matrices = draws(SHAPES, 1, dtype)
    found = orthogonalised(matrices, COEFFICIENTS, 5, 1e-7)
    assert {own.dtype for own in found} == {expected}
    near = 1e-4 if expected == torch.float32 else 1e-9
    assert all((own - by_a_loop(each, 5)).abs().max() < near for own, each in zip(found, matrices, strict=True))


def test_of_few_directions_none_is_added_and_of_nothing_nothing_is_made() -> None:
    """Gradients of one direction, as of a batch of one image, and of none."""
    (left, right, _), none = draws([(6, 1), (1, 40), (1, 1)], 2), torch.zeros(6, 40)
    poor = left @ right
    found, nothing = orthogonalised([poor, none], COEFFICIENTS, 5, 1e-7)
    assert (found - by_a_loop(poor, 5)).abs().max() < 1e-4
    values = torch.linalg.svdvals(found)
    assert 0.65 < values[0] < 1.25
    assert values[1:].max() < 1e-2
    assert not nothing.any()


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_the_size_of_a_gradient_does_not_count(size: float) -> None:
    (matrix,) = draws([(8, 24)], 3)
    (expected,), (found,) = (orthogonalised([each], COEFFICIENTS, 5, 1e-30) for each in (matrix, size * matrix))
    assert (found - expected).abs().max() < 1e-4


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("scaled", ["original", "match_rms_adamw", None])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_are_those_of_torch_as_far_as_bfloat16_is_exact(nesterov: bool, scaled: str | None, decay: float) -> None:
    settings = {"lr": 0.02, "momentum": 0.9, "weight_decay": decay, "nesterov": nesterov, "adjust_lr_fn": scaled}
    ours, theirs = ([torch.nn.Parameter(matrix) for matrix in draws(SHAPES, 4)] for _ in range(2))
    optimisers = StackedMuon(ours, **settings), torch.optim.Muon(theirs, **settings)
    for step in range(3):
        gradients = draws(SHAPES, 5 + step)
        for matrices, optimiser in zip((ours, theirs), optimisers, strict=True):
            for matrix, gradient in zip(matrices, gradients, strict=True):
                matrix.grad = gradient.clone()
            matrices[0].grad = None if step == 1 else matrices[0].grad  # which then stays where it is
            optimiser.step()
    for start, own, other in zip(draws(SHAPES, 4), ours, theirs, strict=True):
        assert 0 < (own - other).abs().max() < 0.03 * (other - start).abs().max()
    own, other = (optimiser.state_dict() for optimiser in optimisers)
    for place in range(len(SHAPES)):
        assert equal_bits(own["state"][place], other["state"][place])  # momenta know nothing of bfloat16
    assert own["param_groups"] == other["param_groups"]


def test_one_goes_on_from_the_others_state() -> None:
    matrices = [torch.nn.Parameter(matrix) for matrix in draws(SHAPES, 6)]
    for matrix, gradient in zip(matrices, draws(SHAPES, 7), strict=True):
        matrix.grad = gradient
    theirs = torch.optim.Muon(matrices, lr=0.01)
    theirs.step()
    ours = StackedMuon(matrices, lr=0.5)
    ours.load_state_dict(theirs.state_dict())
    assert ours.param_groups[0]["lr"] == 0.01
    before = [ours.state[matrix]["momentum_buffer"].clone() for matrix in matrices]
    ours.step()
    for matrix, old in zip(matrices, before, strict=True):
        expected = old.lerp(matrix.grad, 0.05)
        assert torch.equal(ours.state[matrix]["momentum_buffer"], expected)


def test_settings_are_torchs() -> None:
    ours, theirs = (inspect.signature(one.__init__).parameters for one in (StackedMuon, torch.optim.Muon))
    assert [(each.name, each.default) for each in ours.values()] == [
        (each.name, each.default) for each in theirs.values()
    ]


@pytest.mark.parametrize("shape", [(6, 2, 3, 3), (20, 3, 1, 2), (5, 4, 1, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_is_moved_as_a_matrix(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    start, gradients = (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    kernel = torch.nn.Parameter(start.clone().contiguous(memory_format=layout))
    matrix = torch.nn.Parameter(start.flatten(1).clone())
    kernel.grad, matrix.grad = gradients.contiguous(memory_format=layout), gradients.flatten(1)
    for parameter in (kernel, matrix):
        StackedMuon([parameter], lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw").step()
    assert torch.equal(kernel, matrix.view(shape))
    assert not torch.equal(kernel, start)


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got parameters of shapes \[\(3,\)\]"):
        StackedMuon([torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(3))])


def test_a_closure_is_run_with_gradients() -> None:
    (matrix,) = (torch.nn.Parameter(each) for each in draws([(3, 4)], 8))
    before = matrix.detach().clone()

    def closure() -> torch.Tensor:
        loss = matrix.square().sum()
        loss.backward()
        return loss

    assert StackedMuon([matrix]).step(closure) == before.square().sum()
    assert not torch.equal(matrix, before)


def test_scales_are_torchs() -> None:
    from torch.optim._muon import _adjust_lr

    for shape, kind in itertools.product(SHAPES, ("original", "match_rms_adamw", None)):
        assert 0.3 * scale_of(shape, kind) == pytest.approx(_adjust_lr(0.3, kind, torch.Size(shape)))
