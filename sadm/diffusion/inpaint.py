"""Masked diffusion: a part of an image is made anew so that it fits the rest, which is kept to the bit.

Source: Lugmayr et al. 2022, "RePaint", arXiv 2201.09865, algorithm 1; here on any path, between any two times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from sadm.core.conditions import Cond
from sadm.diffusion.batching import ImageBatch, in_batches
from sadm.diffusion.denoised import Denoiser
from sadm.diffusion.generate import SamplerSettings, check_guided, prepare
from sadm.diffusion.held import held_sampling
from sadm.diffusion.ode import CONTRACT
from sadm.diffusion.on_path import Draw
from sadm.diffusion.paths import Path


def inpaint(
    denoiser: Denoiser,
    noise: torch.Tensor,
    times: torch.Tensor,
    cond: Cond,
    path: Path = CONTRACT,
    draw: Draw | None = None,
    *,
    known: torch.Tensor,
    mask: torch.Tensor,
    resample: int = 1,
    jump: int = 1,
) -> torch.Tensor:
    """Draws what is under the mask; elsewhere the image is put back at each noise level, with that level's noise.

    Steps are those of `ddpm`. With enough resampling at small noise the samples are those of the conditional distribution; with
    little they fit the surroundings less than they should.

    Args:
        denoiser: the contract; put it in eval mode first.
        noise: unit Gaussian [B, C, H, W].
        times: falling times of the path [steps + 1], usually ending in 0.
        cond: conditioning of the batch.
        path: in whose coordinates z is kept.
        draw: ``draw(step) -> unit Gaussian [B, C, H, W]``; steps are counted on beyond those of the grid.
        known: the image [B, C, H, W]; what it holds under the mask has no effect.
        mask: [B or 1, 1 or C, H, W], 1 (or true) where the image is to be made, 0 elsewhere.
        resample: how often each stretch of steps is walked (see `visits`); 1 = once.
        jump: length of a stretch, in steps.

    Returns:
        z at the last time [B, C, H, W], in the dtype of `noise`, not clamped. When that is 0 it equals `known` bit for bit where
        the mask is 0.

    Raises:
        ValueError: shapes that don't fit, a mask of other values, no `draw`, and as `visits` and `ddpm`.
    """
    made, known = checked_mask(mask, noise), checked_known(known, noise)

    def put_back(z: torch.Tensor, time: float, fresh: Callable[[], torch.Tensor]) -> torch.Tensor:
        return torch.where(made, z, path.alpha(time) * known + path.beta(time) * fresh() if time > 0 else known)

    return held_sampling(denoiser, noise, times, cond, path, draw, put_back, resample, jump, "inpainting")


@torch.no_grad()
def inpaint_images(
    denoiser: Denoiser,
    known: torch.Tensor,
    mask: torch.Tensor,
    seeds: Sequence[int],
    cond: Cond,
    null_label: int | None,
    settings: SamplerSettings,
    resample: int = 1,
    jump: int = 1,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
    weak: Denoiser | None = None,
) -> torch.Tensor:
    """`inpaint` for images from seeds: image i depends on its own seed, image, mask and conditioning alone.

    The solver and eta of the settings are not used.

    Args:
        denoiser: in eval mode.
        known: images [N, C, H, W].
        mask: [N or 1, 1 or C, H, W], 1 where the image is to be made.
        seeds: one integer for each image.
        cond: conditioning of all images; `Cond()` for none.
        null_label: the network's null class, or None.
        settings: grid, guidance and batch size.
        resample, jump: see `visits`.
        device: where the denoiser is.
        progress: called with (images done, images in all).
        weak: guide by this denoiser of the same images (see `AutoGuidance`), rather than by the null class.

    Returns:
        [N, C, H, W], float32, on the CPU; `known` bit for bit outside of the mask, in [-1, 1] under it unless `settings.clamp` is
        off.

    Raises:
        ValueError: not one seed for each image, and as `inpaint` and `generate`.
    """
    guided, times = prepare(denoiser, null_label, settings, weak, cond.label)
    check_guided(settings, cond.label, weak)
    known = known.float().cpu()
    if len(known) != len(seeds):
        raise ValueError(f"{len(known)} images but {len(seeds)} seeds; expected one for each")
    made = checked_mask(mask.cpu(), known).expand_as(known)

    def drawn(some: ImageBatch) -> torch.Tensor:
        parts = {"known": known[some.rows].to(device), "mask": made[some.rows].to(device)}
        z = inpaint(guided, some.noise, times, some.cond, guided.path, some.draw, resample=resample, jump=jump, **parts)
        return z.clamp(-1, 1) if settings.clamp else z

    images = in_batches(drawn, known.shape[1:], seeds, cond, settings.batch, device, progress)
    return torch.where(made, images, known)  # also what of `known` clamping would have moved


def checked_mask(mask: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """A mask as bool, in a shape that broadcasts over images [B, C, H, W].

    Raises:
        ValueError: another shape than [B or 1, 1 or C, H, W], or other values than 0 and 1.
    """
    fits = mask.ndim == 4 and mask.shape[2:] == images.shape[2:]
    if not fits or mask.shape[0] not in (1, len(images)) or mask.shape[1] not in (1, images.shape[1]):
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} for images {tuple(images.shape)}; expected [B or 1, 1 or C, H, W]"
        )
    if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(
            f"a mask with values from {float(mask.min()):g} to {float(mask.max()):g}; expected 1 where the image is to be made, "
            "and 0 elsewhere"
        )
    return mask.bool().to(images.device)


def checked_known(known: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Known images, like the noise [B, C, H, W].

    Raises:
        ValueError: another shape.
    """
    if known.shape != noise.shape:
        raise ValueError(
            f"known images of shape {tuple(known.shape)}; expected that of the noise, {tuple(noise.shape)}"
        )
    return known.to(noise)
