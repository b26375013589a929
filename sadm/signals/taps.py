"""Hidden activations of a network, read through hooks that exist during the forward pass alone."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.diffusion import Denoised


class Recorded(dict[str, torch.Tensor]):
    """Activations of the patches by module name, in the network's graph.

    Args:
        of_patches: from a module's output, or a gradient there, to the patches' part of it.
    """

    def __init__(self, of_patches: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.of_patches, self.outputs = of_patches, dict[str, torch.Tensor]()

    def keep(self, name: str, output: torch.Tensor) -> None:
        """Adds what a module gave."""
        self.outputs[name], self[name] = output, self.of_patches(output)

    def reaching(self, name: str, x0_hat: torch.Tensor, at_output: torch.Tensor) -> torch.Tensor:
        """What a gradient at x0_hat [B, C, H, W] comes to at a tapped activation, of its shape; the graph stays.

        Raises:
            UserError: x0_hat does not depend on the module.
        """
        (found,) = torch.autograd.grad(x0_hat, self.outputs[name], at_output, retain_graph=True, allow_unused=True)
        if found is None:
            raise UserError(f"the network's output does not depend on its module '{name}'. Tap another one.")
        return self.of_patches(found)


class Taps:
    """Reads the outputs of chosen modules; the network itself is not changed.

    Of a network with register tokens, which has a method ``without_registers`` (as `DiT`, also inside an adapter), activations
    are those of the patches.

    Args:
        net: the network.
        names: of its modules, as `nn.Module.named_modules` spells them (``blocks.0``); repetitions are one.

    Raises:
        UserError: the network has no such module; the message names the nearest ones.
    """

    def __init__(self, net: nn.Module, names: Iterable[str]) -> None:
        modules = {name: module for name, module in net.named_modules() if name}
        self.modules: dict[str, nn.Module] = {}
        knowing: Iterator[Any] = (module for module in net.modules() if hasattr(module, "without_registers"))
        owner = next(knowing, None)
        self.of_patches: Callable[[torch.Tensor], torch.Tensor] = (
            (lambda output: output) if owner is None else owner.without_registers
        )
        for name in names:
            if name not in modules:
                raise UserError(_unknown(name, list(modules)))
            self.modules[name] = modules[name]

    @contextlib.contextmanager
    def recording(self) -> Iterator[Recorded]:
        """While open, a forward pass of the network fills the yielded dictionary, by name; still in the network's graph.

        Raises:
            UserError: a module gives something other than one tensor, or does not run exactly once.
        """
        activations = Recorded(self.of_patches)
        handles = [module.register_forward_hook(self._keep(name, activations)) for name, module in self.modules.items()]
        try:
            yield activations
        finally:
            for handle in handles:
                handle.remove()
        idle = self.modules.keys() - activations.keys()
        if idle:
            raise UserError(
                f"the network's module '{min(idle)}' did not run, so it has no activation. Tap another one."
            )

    def _keep(self, name: str, activations: Recorded) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, torch.Tensor):
                raise UserError(
                    f"the network's module '{name}' gives a {type(output).__name__}; expected one tensor. Tap another module."
                )
            if name in activations:
                raise UserError(
                    f"the network's module '{name}' runs more than once in a step; expected once. Tap another module."
                )
            activations.keep(name, output)

        return hook


def tapped(denoised: Denoised, name: str) -> torch.Tensor:
    """The activation of one module, detached, for a signal that named it in ``taps``.

    Raises:
        ValueError: the training loop did not provide it.
    """
    if name not in denoised.taps:
        raise ValueError(f"this signal needs the activation of '{name}' in denoised.taps; see Taps.recording")
    return denoised.taps[name].detach()


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    top = list(dict.fromkeys(module.partition(".")[0] for module in known))
    hint = f"did you mean {' or '.join(repr(match) for match in near)}?" if near else f"it is made of {', '.join(top)}."
    return f"the network has no module '{name}'; {hint}"
