"""What the trainer expects of a training signal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch

from sadm.diffusion import Denoised


@dataclasses.dataclass(frozen=True)
class SignalStep:
    """What a signal contributes to one step.

    Attributes:
        gradient: added to the denoising gradient at x0_hat [B, C, H, W]; None = nothing this time.
        log: scalars for the metrics, on any device.
        taps: gradients at hidden activations, by module name, each of its activation's shape.
        tap_ratio: bound on the norm of an image's gradient at a tap over that of what reaches the tap from x0_hat; the trainer
            scales down what is beyond. None = no bound.
    """

    gradient: torch.Tensor | None
    log: dict[str, torch.Tensor]
    taps: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    tap_ratio: float | None = None


class TrainingSignal(Protocol):
    """A signal sees detached tensors only; it may own parameters, an optimiser and state.

    A signal that needs hidden activations of the network names their modules in an attribute ``taps: tuple[str, ...]``
    (see `taps_of`) and finds them in ``denoised.taps``. One that has to run the network itself has a method
    ``bind(denoiser)``, which is called once before training; it may add to the weights' gradients. One that needs the
    model that the training started from has a method ``bind_source(source)``, called likewise (see `Source`); so may its encoder,
    which is then its attribute ``encoder``.
    """

    def __call__(self, denoised: Denoised, g_dsm: torch.Tensor) -> SignalStep:
        """One step, given the denoising gradient at x0_hat [B, C, H, W]; ``denoised.x0_hat`` is detached."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Nested dictionaries and lists of tensors and numbers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        ...


def users_of_source(signal: TrainingSignal) -> list[Any]:
    """What of a signal is to be given the model that the training started from: itself, its encoder, mostly nothing."""
    return [part for part in (signal, getattr(signal, "encoder", None)) if hasattr(part, "bind_source")]


def account_of(signals: Iterable[TrainingSignal]) -> list[str] | None:
    """What watchdogs of the signals did, in words (a signal's attribute ``account``); None where there is no watchdog."""
    accounts = [account for signal in signals if (account := getattr(signal, "account", None)) is not None]
    return [act for account in accounts for act in account] if accounts else None


def taps_of(signal: TrainingSignal) -> tuple[str, ...]:
    """Names of the modules whose activations a signal asks for; most signals ask for none."""
    return tuple(getattr(signal, "taps", ()))
