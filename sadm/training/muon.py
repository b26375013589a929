"""Muon for a processor: in float32, and with one product for all matrices of a network instead of many small ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

Coefficients = tuple[float, float, float]
_MOST = 1 << 22  # numbers of a stack of square matrices: what a processor's caches hold, and no surprise for its memory


class StackedMuon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) with `orthogonalised` for its iteration; settings and state are those of `torch.optim.Muon`.

    torch's, which it has had since 2.9, turns one matrix after the other, in bfloat16. That suits an accelerator; many processors
    have no arithmetic for bfloat16, and for the matrices of a small network the calls cost more than the products. A convolution
    [out, in, h, w], which torch's refuses, is moved as the matrix [out, in * h * w] that it is for each place.

    Args:
        params: matrices, each [r, c], or convolutions.
        lr: learning rate.
        weight_decay: decoupled, in units of the learning rate.
        momentum: share of the momentum that a step keeps.
        nesterov: look ahead by one step.
        ns_coefficients: a, b and c of the iteration.
        eps: the least norm that a matrix is divided by.
        ns_steps: rounds of the iteration.
        adjust_lr_fn: see `scale_of`.

    Raises:
        ValueError: a parameter is neither.
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: Coefficients = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        settings = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, settings)
        other = [tuple(each.shape) for group in self.param_groups for each in group["params"] if each.ndim < 2]
        if other:
            raise ValueError(f"Muon moves matrices and convolutions, got parameters of shapes {other}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all matrices that have a gradient; returns what `closure` does, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
            if matrices:
                self._step(matrices, group)
        return loss

    def _step(self, matrices: list[torch.Tensor], group: dict[str, Any]) -> None:
        gradients: list[Any] = [matrix.grad for matrix in matrices]
        for matrix in matrices:
            if not self.state[matrix]:
                self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
        momenta = [self.state[matrix]["momentum_buffer"] for matrix in matrices]
        rate, kept = float(group["lr"]), group["momentum"]
        torch._foreach_lerp_(momenta, gradients, 1 - kept)
        wanted = torch._foreach_lerp(gradients, momenta, kept) if group["nesterov"] else momenta
        flat = [each.flatten(1) for each in wanted]
        turned = orthogonalised(flat, group["ns_coefficients"], group["ns_steps"], group["eps"])
        if group["weight_decay"]:
            torch._foreach_mul_(matrices, 1 - rate * group["weight_decay"])
        for matrix, update in zip(matrices, turned, strict=True):
            matrix.add_(update.reshape(matrix.shape), alpha=-rate * scale_of(update.shape, group["adjust_lr_fn"]))


def scale_of(shape: Sequence[int], kind: str | None) -> float:
    """Factor on the learning rate for a matrix of this shape, as `torch.optim.Muon` names its ways (``adjust_lr_fn``)."""
    rows, columns = shape
    if kind == "match_rms_adamw":  # arXiv 2502.16982, section 2.2
        return 0.2 * max(rows, columns) ** 0.5
    return max(1, rows / columns) ** 0.5


def orthogonalised(
    matrices: Sequence[torch.Tensor], coefficients: Coefficients, rounds: int, eps: float
) -> list[torch.Tensor]:
    """Each matrix X with its singular values brought near 1 by rounds of ``X <- (a + b A + c A^2) X``, A = X X^T.

    The iteration is Muon's (Jordan et al. 2024), from ``X / |X|``. Each factor Q = a + b A + c A^2 is a polynomial in A, and so
    commutes with it: A becomes Q A Q. So the rounds are done on the square matrices A, whose sides are X's shorter ones, for all
    matrices of one such side at once, and X is multiplied once, by the product of all Q.

    Args:
        matrices: [r, c], of any sides.
        coefficients: a, b and c.
        rounds: at least 1.
        eps: the least norm that X is divided by.

    Returns:
        As `matrices`, at least float32.
    """
    wide = [each.T if each.shape[0] > each.shape[1] else each for each in matrices]
    wide = [each.to(torch.promote_types(each.dtype, torch.float32)) for each in wide]  # [m, n], m <= n
    alike: dict[Any, list[int]] = defaultdict(list)
    for place, each in enumerate(wide):
        alike[len(each), each.dtype, each.device].append(place)
    found: dict[int, torch.Tensor] = {}
    for (side, *_), places in alike.items():
        most = max(1, _MOST // side**2)
        for first in range(0, len(places), most):
            some = places[first : first + most]
            factors = _factors([wide[place] for place in some], coefficients, rounds, eps)  # [k, m, m]
            found.update({place: factor @ wide[place] for place, factor in zip(some, factors, strict=True)})
    return [found[place].T if each.shape[0] > each.shape[1] else found[place] for place, each in enumerate(matrices)]


def _factors(wide: Sequence[torch.Tensor], coefficients: Coefficients, rounds: int, eps: float) -> torch.Tensor:
    """What each of k matrices [m, n] is to be multiplied by: [k, m, m]."""
    a, b, c = coefficients
    square = torch.stack([each @ each.T for each in wide])  # [k, m, m]
    norms = square.diagonal(dim1=1, dim2=2).sum(1).sqrt().clamp(min=eps)[:, None, None]
    square /= norms.square()
    product = 1 / norms
    for number in range(rounds):
        factor = torch.baddbmm(square, square, square, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = torch.bmm(factor, product) if number else factor * product
        if number < rounds - 1:
            square = torch.bmm(torch.bmm(factor, square), factor)
    return product
