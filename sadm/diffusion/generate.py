"""Images from seeds: image i depends on its own seed and label alone, not on the batch it was drawn in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch

from sadm.core.conditions import Cond
from sadm.core.seeds import derive_seed
from sadm.diffusion.batching import ImageBatch, in_batches
from sadm.diffusion.classes import check_labels
from sadm.diffusion.clipped import Clipped
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.grids import Spacing, karras_sigmas, levels_within, schedule_sigmas, uniform_times
from sadm.diffusion.guidance import AutoGuidance, ClassifierFreeGuidance, Guidance
from sadm.diffusion.on_path import path_of, schedule_of
from sadm.diffusion.paths import Path, StraightLine, VarianceExploding
from sadm.diffusion.samplers import SOLVERS, Solver
from sadm.diffusion.starting import from_infinity

Grid = Literal["karras", "native"]


@dataclasses.dataclass(frozen=True)
class SamplerSettings:
    """A solver, its grid, and guidance.

    Attributes:
        solver: a name in `SOLVERS`.
        steps: sampling steps.
        guidance_scale: of classifier-free guidance; 1 = off.
        sigma_min, sigma_max, rho: of the grid 'karras' (see `karras_sigmas`).
        batch: images at a time.
        eta: share of noise drawn afresh by 'ddim', in [0, 1].
        grid: 'karras', EDM's noise levels, which every process understands within its range; or 'native', the process's own:
            timesteps of a VP schedule, uniform times of a path that ends in pure noise; EDM's own are 'karras'.
        spacing: which timesteps, for 'native' on a VP schedule (see `spaced_timesteps`).
        shift: factor on the noise levels, for 'native' on the straight line (see `uniform_times`); 1 = off.
        guidance_low: guide where sigma is above this.
        guidance_high: guide where sigma is at most this; None = no bound.
        clamp: bring the result into [-1, 1], where images are; latents have no bounds.
        clip: bring x0_hat into [-1, 1] at every step (see `Clipped`).
        from_infinity: start as if the sampler came from sigma = inf (see `starting.from_infinity`), not from noise alone;
            None = on a path that has no end, which is EDM's. Timesteps of a VP schedule have one, which others' samplers start
            from.
    """

    solver: str = "dpmpp_2m"
    steps: int = 20
    guidance_scale: float = 1.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    batch: int = 256
    eta: float = 0.0
    grid: Grid = "native"
    spacing: Spacing = "trailing"
    shift: float = 1.0
    guidance_low: float = 0.0
    guidance_high: float | None = None
    clamp: bool = True
    clip: bool = False
    from_infinity: bool | None = None

    def solver_on(self, path: Path) -> Solver:
        """The solver, with its start on that path."""
        solver = SOLVERS[self.solver]
        begins = math.isinf(path.end) if self.from_infinity is None else self.from_infinity
        return from_infinity(solver) if begins else solver

    def check(self) -> None:
        """Refuses what makes no sense for any denoiser.

        Raises:
            ValueError: what was given, and what was expected.
        """
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")
        if self.solver not in SOLVERS:
            raise ValueError(f"unknown solver {self.solver!r}; expected one of {', '.join(SOLVERS)}")
        if self.grid not in get_args(Grid):
            raise ValueError(f"unknown grid {self.grid!r}; expected one of {', '.join(get_args(Grid))}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be in [0, 1], got {self.eta}")
        if self.eta and not SOLVERS[self.solver].takes_eta:
            raise ValueError(f"eta {self.eta} has no meaning for solver {self.solver!r}; use solver 'ddim', or eta 0")
        if self.clip and not self.clamp:
            raise ValueError("clip brings images into [-1, 1], and latents have no bounds; leave clip out")

    @property
    def guidance_interval(self) -> tuple[float, float]:
        """Noise levels (low, high] that are guided."""
        return self.guidance_low, math.inf if self.guidance_high is None else self.guidance_high


def image_seeds(seed: int, count: int) -> list[int]:
    """Seeds of the first `count` images in the sequence that belongs to `seed`."""
    return [image_seed(seed, index) for index in range(count)]


def image_seed(seed: int, index: int) -> int:
    """Seed of one image, from 0, in the sequence that belongs to `seed`."""
    return derive_seed(seed, "image", index)


def sampling_times(denoiser: Denoiser, settings: SamplerSettings) -> torch.Tensor:
    """The settings' grid as times of the denoiser's path: [steps + 1], float64, falling to 0.

    Grid 'karras' keeps to the noise levels that a denoiser with a schedule was trained on.

    Raises:
        ValueError: a shift for another grid than the native one of the straight line, or a grid that makes no sense.
    """
    path, schedule = path_of(denoiser), schedule_of(denoiser)
    if settings.shift != 1 and (settings.grid != "native" or path != StraightLine()):
        raise ValueError(
            f"shift {settings.shift} applies to grid 'native' of a flow on straight lines; this is grid {settings.grid!r} on "
            f"{path}. Use shift 1"
        )
    if settings.grid == "karras" or path == VarianceExploding():
        low, high = levels_within(schedule, settings.sigma_min, settings.sigma_max)
        return path.time(karras_sigmas(settings.steps, low, high, settings.rho))
    if schedule is not None:
        return path.time(schedule_sigmas(schedule, settings.steps, settings.spacing))
    return uniform_times(settings.steps, settings.shift)


def prepare(
    denoiser: Denoiser,
    null_label: int | None,
    settings: SamplerSettings,
    weak: Denoiser | None = None,
    labels: torch.Tensor | None = None,
) -> tuple[Guidance | Clipped, torch.Tensor]:
    """The guided denoiser and its times (see `sampling_times`); asks no network. With `weak`, guidance is `AutoGuidance`.

    What is clipped is the guided answer.

    Raises:
        ValueError: settings that make no sense, alone or for this denoiser, or labels that its network has no class for.
    """
    settings.check()
    check_labels(denoiser, labels)
    scale, interval, times = settings.guidance_scale, settings.guidance_interval, sampling_times(denoiser, settings)
    guided: Guidance
    if weak is None:
        guided = ClassifierFreeGuidance(denoiser, scale, null_label, interval)
    else:
        _check_weak(weak, path_of(denoiser), times)
        guided = AutoGuidance(denoiser, weak, scale, interval)
    return Clipped(guided) if settings.clip else guided, times


def check_guided(settings: SamplerSettings, labels: torch.Tensor | None, weak: Denoiser | None = None) -> None:
    """Refuses guidance away from the null class where no class is given to guide to.

    Raises:
        ValueError: a guidance scale other than 1, without labels or a weak denoiser.
    """
    if labels is None and weak is None and settings.guidance_scale != 1:
        raise ValueError(f"guidance_scale {settings.guidance_scale} needs a label for each image; use guidance_scale 1")


def _check_weak(weak: Denoiser, path: Path, times: torch.Tensor) -> None:
    """Refuses noise levels at which the weak denoiser can't be asked."""
    sigmas, schedule = path.sigma(times[:-1]), schedule_of(weak)
    if path_of(weak) != path and not bool(torch.isfinite(sigmas).all()):
        raise ValueError(
            "this grid starts from pure noise (sigma = inf), where a weak denoiser of another process can't be asked. Use grid "
            "'karras', or a weak model of the same process"
        )
    if schedule is not None:
        try:
            schedule.timestep(sigmas)
        except ValueError as error:
            raise ValueError(f"the weak denoiser can't be asked on this grid: {error}") from error


@torch.no_grad()
def generate(
    denoiser: Denoiser,
    shape: Sequence[int],
    seeds: Sequence[int],
    labels: torch.Tensor | None,
    null_label: int | None,
    settings: SamplerSettings,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
    weak: Denoiser | None = None,
    told: Cond | None = None,
) -> torch.Tensor:
    """Draws one image for each seed, in the coordinates of the denoiser's own path.

    The noise of stochastic solvers comes from the image's seed and the step.

    Args:
        denoiser: in eval mode.
        shape: of one image, (C, H, W).
        seeds: one integer for each image.
        labels: class indices [N], or None.
        null_label: the network's null class, or None.
        settings: sampler, guidance and batch size.
        device: where the denoiser is.
        progress: called with (images done, images in all).
        weak: guide by this denoiser of the same images (see `AutoGuidance`), rather than by the null class.
        told: what the denoiser is told besides labels, for all N images.

    Returns:
        [N, C, H, W], float32, on the CPU; in [-1, 1] unless `settings.clamp` is off.

    Raises:
        ValueError: settings that make no sense, alone or for this denoiser, not one label for each seed, labels that the network
            has no class for, or guidance away from the null class without labels.
    """
    guided, times = prepare(denoiser, null_label, settings, weak, labels)
    check_guided(settings, labels, weak)
    solver = settings.solver_on(guided.path)
    options: dict[str, Any] = {"eta": settings.eta} if solver.takes_eta else {}

    def drawn(some: ImageBatch) -> torch.Tensor:
        images = solver(guided, some.noise, times, some.cond, guided.path, some.draw, **options)  # [b, C, H, W]
        return images.clamp(-1, 1) if settings.clamp else images

    cond = dataclasses.replace(told or Cond(), label=labels)
    return in_batches(drawn, shape, seeds, cond, settings.batch, device, progress)
