"""Damaged images restored, several times: what was measured is kept, what is missing is drawn, and the spread is shown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sadm.applications.proposals import (
    Proposal,
    class_names_by_row,
    labels_of,
    proposals_for,
    read_picture,
    refuse_idle_guidance,
    rows_of,
    write_proposals,
)
from sadm.applications.spaces import refuse_latents
from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.core.files import write_json
from sadm.core.marking import Mark, write_marked_png
from sadm.core.progress import Reporter, Silent
from sadm.core.stopping import StopRequest
from sadm.data import ImageSet, to_floats, to_uint8
from sadm.data.imageset import sha256_of
from sadm.diffusion.generate import SamplerSettings, generate
from sadm.diffusion.inpaint import inpaint_images
from sadm.diffusion.on_path import schedule_of
from sadm.diffusion.operators import Averaging, Blur, Grey, Masking, Operator
from sadm.diffusion.restore import restore_images
from sadm.training.grid import write_grid
from sadm.training.model_folder import Model
from sadm.training.outputs import GeneratedImages, generated_images
from sadm.training.telling import condition_of

MASK, LOWRES, BLUR, NOISE, GREY, UNKNOWN = "mask", "lowres", "blur", "noise", "grey", "unknown"
KINDS = (MASK, LOWRES, BLUR, NOISE, GREY, UNKNOWN)
MEASURED, MAPS, SHEETS = "restored.json", "uncertainty", "sheets"
WHITE_AT = 64
"""Standard deviation, in grey levels of 255, from which on a map of uncertainty is white."""
_DROWNED = 20.0
"""Noise level, in standard deviations of the data, at which an image says next to nothing of itself."""
_ROUNDING = 1 / 127.5 / math.sqrt(12)  # standard deviation of what bytes have lost, of pixels in [-1, 1]


@dataclasses.dataclass(frozen=True, eq=False)
class Injury:
    """What has happened to images.

    Attributes:
        kind: one of `KINDS`; ``unknown`` for a model that was trained with --data.tell damage.
        factor: ``lowres``: how many pixels along a side have become one.
        width: ``blur``: standard deviation of the Gaussian, in pixels of the sound image.
        noise: standard deviation of noise, in shares of the range from black to white.
        masks: ``mask``: [N, 1, H, W], bool; true where images are missing.
    """

    kind: str
    factor: int = 2
    width: float = 1.0
    noise: float = 0.0
    masks: torch.Tensor | None = None

    def check(self) -> None:
        """Refuses what makes no sense for any model.

        Raises:
            UserError: what was given, and what was expected.
        """
        if self.kind not in KINDS:
            raise UserError(f"--damage is '{self.kind}'; expected one of {', '.join(KINDS)}.")
        if self.factor < 2:
            raise UserError(f"--factor must be at least 2, got {self.factor}.")
        if not 0 < self.width <= 20:
            raise UserError(f"--blur must be above 0 and at most 20 pixels, got {self.width:g}.")
        if not 0 <= self.noise < 1:
            raise UserError(f"--noise must be at least 0 and below 1, got {self.noise:g}.")
        if self.kind == NOISE and not self.noise:
            raise UserError("--damage noise needs how much there is, in shares of the range: --noise 0.1")
        if self.kind == UNKNOWN and self.noise:
            raise UserError(
                "--noise has no meaning with --damage unknown: the model has learned what damage looks like."
            )

    def shape(self, sound: tuple[int, int, int]) -> tuple[int, int, int]:
        """(C, H, W) of damaged images, of that of sound ones.

        Raises:
            UserError: sound ones can't have this damage.
        """
        channels, height, width = sound
        if self.kind == GREY and channels != 3:
            raise UserError(f"--damage grey needs a model of colour; this one draws {channels} channel(s).")
        if self.kind == LOWRES and (height % self.factor or width % self.factor):
            raise UserError(f"--factor {self.factor} does not divide the model's {width}x{height} pixels.")
        if self.kind == LOWRES:
            return channels, height // self.factor, width // self.factor
        return (1 if self.kind == GREY else channels), height, width

    def operator(self, rows: Sequence[int]) -> Operator:
        """The linear map, for some of the images."""
        if self.kind == MASK:
            assert self.masks is not None  # noqa: S101 - it comes with them
            return Masking(self.masks[list(rows)])
        if self.kind == LOWRES:
            return Averaging(self.factor)
        if self.kind == GREY:
            return Grey()
        if self.kind == BLUR:
            return Blur.gaussian(self.width)
        return Masking(torch.zeros(1, 1, 1, 1))  # all is there, under the noise

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        masks = None if self.masks is None else sha256_of(self.masks.to(torch.uint8))
        return {**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}, "masks": masks}


class Restorer:
    """Restores images that have one injury.

    Args:
        model: of pixels.
        injury: what has happened.
        resample, jump: see `sadm.diffusion.held.visits`.

    Raises:
        UserError: a model of latents, or one that can't restore this.
    """

    def __init__(self, model: Model, injury: Injury, resample: int = 4, jump: int = 1) -> None:
        injury.check()
        refuse_latents(model, "what was measured is not linear in them")
        if min(resample, jump) < 1:
            raise UserError(f"--resample and --jump must be at least 1, got {resample} and {jump}.")
        injury.shape(model.spec.shape)
        if injury.kind == UNKNOWN:
            condition_of(model.spec, damaged=torch.zeros(1, *model.spec.shape))  # refuses one that was not shown damage
        self.model, self.injury, self.jump = model, injury, jump
        self.resample = 1 if injury.kind == NOISE else resample  # all is known: there is nothing to bring to agree
        self.settings: SamplerSettings = model.settings()

    def average(
        self, damaged: torch.Tensor, proposals: torch.Tensor, seeds: Sequence[int], labels: torch.Tensor | None
    ) -> torch.Tensor:
        """The mean of all that images may have been: sharp where the model is sure, blurred where it is not.

        Of a damage that is known, the mean of the proposals. Of an unknown one, what the network answers at the highest noise
        level: there z says nothing of the image, and the estimate of x0 is the mean over all that fits the damaged one, which no
        number of proposals has to approach.

        Args:
            damaged: [N, c, h, w], floating point in [-1, 1].
            proposals: for each [N, P, C, H, W].
            seeds: one for each image.
            labels: classes [N], or None.

        Returns:
            [N, C, H, W], float32 in [-1, 1], on the CPU.
        """
        if self.injury.kind != UNKNOWN:
            return proposals.mean(1)
        once = dataclasses.replace(self.settings, solver="ddim", eta=0.0, steps=1, guidance_scale=1.0)
        if schedule_of(self.model.denoiser) is not None:
            # Its network may predict the noise: an error of that counts sigma times in x0_hat.
            once = dataclasses.replace(once, grid="karras", sigma_max=_DROWNED * self.model.spec.sigma_data)
        return self._drawn(damaged, seeds, labels, once)

    def _drawn(
        self, damaged: torch.Tensor, seeds: Sequence[int], labels: torch.Tensor | None, settings: SamplerSettings
    ) -> torch.Tensor:
        """Images by a network that is shown the damaged ones."""
        model, told = self.model, condition_of(self.model.spec, damaged=damaged)
        return generate(
            model.denoiser, model.spec.shape, seeds, labels, model.null_label, settings, model.device, told=told
        )

    def __call__(
        self, damaged: torch.Tensor, rows: Sequence[int], seeds: Sequence[int], labels: torch.Tensor | None
    ) -> torch.Tensor:
        """One proposal for each damaged image.

        Args:
            damaged: [N, c, h, w], floating point in [-1, 1].
            rows: which of the injury's images these are.
            seeds: one for each.
            labels: classes [N], or None.

        Returns:
            [N, C, H, W], float32 in [-1, 1], on the CPU; for a mask without noise, what is known to the bit.
        """
        model, settings, cond = self.model, self.settings, Cond(label=labels)
        asked = (seeds, cond, model.null_label, settings)
        if self.injury.kind == UNKNOWN:
            return self._drawn(damaged, seeds, labels, settings)
        if self.injury.kind == MASK and not self.injury.noise:
            assert self.injury.masks is not None  # noqa: S101 - it comes with them
            masks = self.injury.masks[list(rows)]
            return inpaint_images(model.denoiser, damaged, masks, *asked, self.resample, self.jump, device=model.device)
        level = 2 * self.injury.noise
        return restore_images(
            model.denoiser,
            self.injury.operator(rows),
            damaged,
            model.spec.shape,
            *asked,
            max(level, _ROUNDING) if self.injury.kind == BLUR else level,
            model.spec.sigma_data,
            self.resample,
            self.jump,
            model.device,
        )


def write_restored(
    restorer: Restorer,
    images: ImageSet,
    out: str | Path,
    label: str | None = None,
    proposals: int = 4,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Writes proposals, maps of their spread, and sheets that show both; the same call goes on after an interruption.

    Args:
        restorer: for these images.
        images: damaged ones, N of them.
        out: the folder.
        label: class by name or index; None = each image's own, where it is known.
        proposals: for each image, at least 2.
        seed: of everything random.
        reporter: told about progress.

    Returns:
        What is in ``restored.json``: of each image, mean and maximum of its uncertainty.

    Raises:
        UserError: no such class, guidance without a class, fewer than 2 proposals, or the folder holds something else.
        InterruptedRun: stopped between batches.
    """
    if proposals < 2:
        raise UserError(
            f"--proposals must be at least 2, got {proposals}: what is uncertain is read off their differences."
        )
    model, injury = restorer.model, restorer.injury
    labels, wanted = labels_of(model, images, label), proposals_for(len(images), proposals, seed)
    refuse_idle_guidance(model, labels)

    def make(some: Sequence[Proposal]) -> torch.Tensor:
        own = None if labels is None else rows_of(labels, some)
        rows, seeds = [proposal.row for proposal in some], [proposal.seed for proposal in some]
        return restorer(to_floats(rows_of(images.images, some)), rows, seeds, own)

    def describe(proposal: Proposal) -> dict[str, Any]:
        return {"of": images.names[proposal.row], "proposal": proposal.number, "damage": injury.kind}

    about = {
        "data": images.fingerprint(),
        "damage": injury.as_dict(),
        "sampling": model.sampling.model_dump(),
        "label": label,
        "proposals": proposals,
        "resample": restorer.resample,
        "jump": restorer.jump,
        "seed": seed,
    }
    names, shown = class_names_by_row(model, labels), reporter or Silent()
    with StopRequest() as stop, generated_images(out, model, "sadm restore", about=about) as outputs:
        write_proposals(outputs, wanted, make, describe, names, restorer.settings.batch, shown, stop)
        facts = [
            _finish(restorer, outputs, images, row, wanted[row * proposals : (row + 1) * proposals], labels, names)
            for row in range(len(images))
        ]
        found = {
            "images": facts,
            "units": "standard deviation over proposals, in grey levels of 255",
            "white": WHITE_AT,
        }
        write_json(outputs.folder / MEASURED, found)
    return found


def _finish(
    restorer: Restorer,
    outputs: GeneratedImages,
    images: ImageSet,
    row: int,
    own: Sequence[Proposal],
    labels: torch.Tensor | None,
    names: Mapping[int, str],
) -> dict[str, Any]:
    """Writes what follows from the proposals for one image: their mean, its map and its sheet. Returns its facts."""
    damaged, seed = to_floats(images.images[row]), own[0].seed
    drawn = torch.stack([read_picture(outputs.folder / proposal.name) for proposal in own])
    (mean,) = restorer.average(damaged[None], drawn[None], [seed], None if labels is None else labels[row : row + 1])
    name = f"{row:06d}-mean.png"
    if not outputs.has(name):
        details = {"of": images.names[row], "proposal": "mean", "damage": restorer.injury.kind}
        outputs.add(name, mean, seed=seed, label=names.get(row), edited=True, details=details)
    mark = outputs.mark(seed, names.get(row), edited=True, details={"of": images.names[row], "proposals": len(own)})
    return {"of": images.names[row], **_write_maps(outputs.folder, row, damaged, drawn, mean, mark)}


def spread_of(proposals: torch.Tensor) -> torch.Tensor:
    """The standard deviation over proposals [P, C, H, W] in [-1, 1], largest over the channels: [1, H, W] in grey levels."""
    return 127.5 * proposals.std(dim=0).amax(dim=0, keepdim=True)


def _write_maps(
    folder: Path, row: int, damaged: torch.Tensor, proposals: torch.Tensor, mean: torch.Tensor, mark: Mark
) -> dict[str, float]:
    """Writes an image's map, and its sheet: as it is, the proposals, the mean, and the map."""
    spread = spread_of(proposals)
    grey = (spread / WHITE_AT).clamp(0, 1) * 255  # [1, H, W]
    pixels = grey.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    write_marked_png(folder / MAPS / f"{row:06d}.png", pixels, mark)
    shape = proposals.shape[1:]
    before = enlarged(damaged, shape)
    write_grid(
        folder / SHEETS / f"{row:06d}.png",
        [before, *proposals, mean, (grey / 127.5 - 1).expand(shape)],
        len(proposals) + 3,
        mark,
    )
    return {"mean": round(float(spread.mean()), 3), "most": round(float(spread.max()), 3)}


def enlarged(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A damaged image [c, h, w] in the shape (C, H, W) of sound ones: pixels and channels repeated."""
    factor = shape[1] // image.shape[1]
    return image.expand(shape[0], -1, -1).repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def damage(sound: torch.Tensor, injury: Injury, noise: Callable[[Sequence[int]], torch.Tensor]) -> torch.Tensor:
    """Sound images [N, C, H, W] in [-1, 1] with an injury, as bytes would hold them [N, c, h, w]; masked pixels are grey.

    Args:
        sound: N images.
        injury: any but ``unknown``.
        noise: gives unit Gaussian noise of a shape.
    """
    y = injury.operator(range(len(sound)))(sound)
    if injury.noise:
        y = y + 2 * injury.noise * noise(y.shape)
    return to_floats(to_uint8(y))
