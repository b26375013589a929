"""The denoiser's own hidden activations as embeddings: no second network, no pre-training."""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from sadm.structure.errors import StructureError


class DenoiserFeatures(nn.Module):
    """Encoder [B, C, H, W] -> tuple of activations of named modules of a denoiser: pooled [B, d], or at places [B, P, d].

    The images go in as they are, with no noise added, as if their noise level were `sigma`: deterministic, and at a small
    sigma the denoiser can't tell. Activations are read by hooks that exist during a call alone, and the pass is broken off once
    all modules have answered. The result is differentiable in the images.

    The denoiser stays its owner's: it is no submodule here, so the game neither trains nor freezes nor saves it, and moving
    this module does not move it. Give it the averaged (EMA) copy of the network in training, which may go on changing. Without
    parameters of its own this encoder is for ``adversary="frozen"``.

    Args:
        denoiser: called as ``denoiser(x, sigma, cond)``; in evaluation mode, since dropout would make features random.
        modules: names as in `nn.Module.named_modules`, such as ``net.blocks.3``. Of an output [B, T, D] the mean over tokens
            is taken, of [B, C, H, W] the mean over places; [B, d] stays. Of a tuple the first entry counts, of several calls
            the first.
        sigma: noise level that the denoiser is told, in its own units, > 0.
        cond: what the denoiser is told besides, the same for all images.
        call: ``(denoiser, x [B, C, H, W], sigma [B])``, for a denoiser of another signature; replaces the call with `cond`.
        places: leave out the means: tokens stay [B, T, D], and maps become [B, H W, C].
        registers: tokens behind the others that are at no place of the image (arXiv 2309.16588); they are left out.

    Raises:
        StructureError: an unknown module, or a sigma out of range. On a call: a denoiser in training mode, a module that did
            not run, an activation of another shape.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        modules: Sequence[str],
        sigma: float,
        cond: Any = None,
        call: Callable[[nn.Module, torch.Tensor, torch.Tensor], Any] | None = None,
        places: bool = False,
        registers: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(modules, str) or not modules:
            raise StructureError(f"expected a list of at least one module name, got {modules!r}")
        if not 0 < sigma < math.inf:
            raise StructureError(f"sigma must be positive and finite, got {sigma}")
        for name in modules:
            _check_name(denoiser, name)
        self._borrowed = (denoiser,)  # in a tuple, or nn.Module would register it as its own
        self.names, self.sigma, self.cond = tuple(dict.fromkeys(modules)), float(sigma), cond
        self.call = call or (lambda module, x, level: module(x, level, self.cond))
        self.places, self.registers = places, registers

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (denoiser,) = self._borrowed
        if denoiser.training:
            raise StructureError(
                "the denoiser is in training mode, where dropout makes its features random; give its EMA copy, in .eval()"
            )
        with self._reading(denoiser) as activations, contextlib.suppress(_AllReadError):
            self.call(denoiser, x, x.new_full((len(x),), self.sigma))
        silent = [name for name in self.names if name not in activations]
        if silent:
            raise StructureError(f"the denoiser's module '{silent[0]}' did not run, so it has no activation")
        parts = (_at_places(activations[name], name, len(x), self.registers) for name in self.names)
        return tuple(part if self.places or part.ndim == 2 else part.mean(1) for part in parts)

    @contextlib.contextmanager
    def _reading(self, denoiser: nn.Module) -> Iterator[dict[str, Any]]:
        activations: dict[str, Any] = {}

        def reader(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def read(module: nn.Module, inputs: Any, output: Any) -> None:
                activations.setdefault(name, output)
                if len(activations) == len(self.names):
                    raise _AllReadError

            return read

        handles = [denoiser.get_submodule(name).register_forward_hook(reader(name)) for name in self.names]
        try:
            yield activations
        finally:
            for handle in handles:
                handle.remove()


class _AllReadError(Exception):
    """Ends a forward pass that has nothing more to tell."""


def _check_name(denoiser: nn.Module, name: str) -> None:
    known = [known for known, _ in denoiser.named_modules() if known]
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    top = dict.fromkeys(module.partition(".")[0] for module in known)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"its modules are {', '.join(top) or 'none'}"
    raise StructureError(f"the denoiser has no module {name!r}; {hint}")


def _at_places(activation: Any, name: str, batch: int, registers: int) -> torch.Tensor:
    """An activation as [B, d] or, at places, as [B, P, d]."""
    if isinstance(activation, tuple) and activation:
        activation = activation[0]
    if not isinstance(activation, torch.Tensor):
        raise StructureError(f"the denoiser's module '{name}' gives a {type(activation).__name__}; expected a tensor")
    if activation.ndim not in (2, 3, 4) or len(activation) != batch:
        raise StructureError(
            f"the denoiser's module '{name}' gives {tuple(activation.shape)} for {batch} images; expected [B, d], tokens "
            "[B, T, D] or a map [B, C, H, W]"
        )
    if activation.ndim == 4:
        return activation.flatten(2).mT
    return activation[:, : activation.shape[1] - registers] if activation.ndim == 3 else activation
