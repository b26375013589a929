"""What a diffusers scheduler folder says about the process that a network was trained with."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch

from sadm.core.errors import UserError

_MOST_STEPS = 1_000_000

# What a key means where a scheduler's file leaves it out.
_THEIR_DEFAULTS = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "trained_betas": None,
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
}
_THEIR_FURTHER_DEFAULTS: dict[str, dict[str, Any]] = {
    "DDIMScheduler": {"clip_sample": True},
    "DDPMScheduler": {"clip_sample": True, "variance_type": "fixed_small"},
}


@dataclasses.dataclass(frozen=True)
class SchedulerFacts:
    """A process in discrete time: ``x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise``, abar_t the product of 1 - beta up to t.

    Without arguments, the process of DiT (arXiv 2212.09748, section 4), for diffusers' DDIM scheduler.

    Attributes:
        class_name: diffusers' scheduler.
        num_train_timesteps: number of steps T.
        beta_schedule: ``linear``, ``scaled_linear`` (linear in the square root) or ``squaredcos_cap_v2``.
        beta_start: beta of the first step.
        beta_end: beta of the last step.
        trained_betas: the betas themselves, which then count instead of the schedule.
        prediction_type: what the network predicts: ``epsilon``, ``v_prediction`` or ``sample``.
        variance_type: of the reverse step (``learned_range``, ``fixed_small``, …); None = the scheduler has no such setting.
        clip_sample: whether x0_hat is clipped to [-1, 1], which latents must not be; None = the scheduler has no such setting.
        rescale_betas_zero_snr: whether the betas are rescaled so that nothing is left of x0 at the last step.
        other: further entries of the scheduler's file, kept as they are.
    """

    class_name: str = "DDIMScheduler"
    num_train_timesteps: int = 1000
    beta_schedule: str = "linear"
    beta_start: float = 0.0001
    beta_end: float = 0.02
    trained_betas: tuple[float, ...] | None = None
    prediction_type: str = "epsilon"
    variance_type: str | None = None
    clip_sample: bool | None = False
    rescale_betas_zero_snr: bool = False
    other: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def betas(self) -> torch.Tensor:
        """float64 [T].

        Raises:
            UserError: a schedule that we don't know.
        """
        steps = self.num_train_timesteps
        if self.trained_betas is not None:
            betas = torch.tensor(self.trained_betas, dtype=torch.float64)
        elif self.beta_schedule == "linear":
            betas = torch.linspace(self.beta_start, self.beta_end, steps, dtype=torch.float64)
        elif self.beta_schedule == "scaled_linear":
            betas = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, steps, dtype=torch.float64).square()
        elif self.beta_schedule == "squaredcos_cap_v2":  # Nichol & Dhariwal 2021, eq. 17
            time = torch.arange(steps + 1, dtype=torch.float64) / steps
            abar = ((time + 0.008) / 1.008 * math.pi / 2).cos().square()
            betas = (1 - abar[1:] / abar[:-1]).clamp(max=0.999)
        else:
            raise UserError(
                f"{self.class_name} with the beta_schedule {self.beta_schedule!r} is not known here; expected linear, "
                "scaled_linear, squaredcos_cap_v2 or trained_betas."
            )
        return _with_zero_terminal_snr(betas) if self.rescale_betas_zero_snr else betas

    def to_config(self) -> dict[str, Any]:
        """The content of a ``scheduler_config.json``."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del own["other"], own["class_name"]
        if self.trained_betas is not None:
            own["trained_betas"] = list(self.trained_betas)
        stated = {key: value for key, value in own.items() if value is not None}
        return {"_class_name": self.class_name, **stated, **self.other}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], source: str) -> SchedulerFacts:
        """Reads the content of a ``scheduler_config.json``; what it leaves out has diffusers' defaults.

        Raises:
            UserError: it has no noise schedule in betas, as those of flow matching.
        """
        name = config.get("_class_name", "")
        if not isinstance(name, str):
            raise UserError(f"{source}: _class_name is {str(name)[:40]}; expected the name of a scheduler.")
        if "beta_schedule" not in config and "beta_start" not in config and config.get("trained_betas") is None:
            raise UserError(
                f"{source} is of the scheduler {name or '(no name)'}, which has no betas; expected DDIM, DDPM or "
                "alike. The network alone loads from its own folder."
            )
        values = {"clip_sample": None, **_THEIR_DEFAULTS, **_THEIR_FURTHER_DEFAULTS.get(name, {}), **config}
        if isinstance(values["trained_betas"], list):
            values["trained_betas"] = tuple(values["trained_betas"])
        _check_numbers(values, source)
        own = {field.name for field in dataclasses.fields(cls)} - {"class_name", "other"}
        return cls(
            class_name=name,
            **{key: value for key, value in values.items() if key in own},
            other={key: value for key, value in config.items() if key not in own | {"_class_name"}},
        )


def _check_numbers(values: Mapping[str, Any], source: str) -> None:
    """Refuses what no schedule can be computed from."""
    betas, steps = values["trained_betas"], values["num_train_timesteps"]
    listed = betas is None or (isinstance(betas, tuple) and 0 < len(betas) <= _MOST_STEPS)
    numbers = (values["beta_start"], values["beta_end"], *(betas if listed and betas else ()))
    if not listed or not all(isinstance(number, int | float) and 0 <= number <= 1 for number in numbers):
        raise UserError(f"{source}: its betas are not all numbers from 0 to 1. Restore the file, or download it again.")
    if not isinstance(steps, int) or not 0 < steps <= _MOST_STEPS:
        raise UserError(f"{source}: num_train_timesteps is {str(steps)[:40]}; expected 1 to {_MOST_STEPS}.")
    texts = [values[name] for name in ("beta_schedule", "prediction_type")]
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{source}: beta_schedule and prediction_type are {texts}; expected their names.")


def _with_zero_terminal_snr(betas: torch.Tensor) -> torch.Tensor:
    """Betas whose last step keeps nothing of x0 (Lin et al. 2023, arXiv 2305.08891, algorithm 1)."""
    root = (1 - betas).cumprod(0).sqrt()  # sqrt(abar) [T]
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    abar = root.square()
    return 1 - torch.cat([abar[:1], abar[1:] / abar[:-1]])
