"""Parts of the user's images made anew, several times: everything outside of the mask stays as it was to the bit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

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
from sadm.core.progress import Reporter, Silent
from sadm.core.seeds import generator
from sadm.core.stopping import StopRequest
from sadm.data import ImageSet, to_floats
from sadm.data.imageset import sha256_of
from sadm.data.masks import read_mask
from sadm.diffusion.inpaint import inpaint_images
from sadm.training.grid import write_grid
from sadm.training.model_folder import Model
from sadm.training.outputs import GeneratedImages, generated_images

OWN, BOX = "own", "box"
_SHOWN = 8  # images in the overview
_GREY = 128  # what is masked, in the overview


def masks_from(text: str, images: ImageSet, seed: int) -> torch.Tensor:
    """Masks [N, 1, H, W], bool, true where images are to be made.

    Args:
        text: ``own``, the masks that the images come with; ``box`` or ``box:SHARE``, a box somewhere in each image that covers so
            much of it; or a file, white where images are to be made.
        images: N of them.
        seed: of the boxes.

    Raises:
        UserError: the images have no masks, a share out of range, a file that is no mask or of another size, nothing is marked.
    """
    size = images.shape[1:]
    if text == OWN:
        if images.masks is None:
            raise UserError(
                f"{images.source} has no masks. Give a file (--mask FILE, white where images are to be made), or --mask {BOX}."
            )
        masks = images.masks >= 128
    elif text == BOX or text.startswith(f"{BOX}:"):
        masks = torch.stack([_box(size, _share(text), seed, row) for row in range(len(images))])
    else:
        mask = read_mask(text)
        if mask.shape[1:] != size:
            raise UserError(
                f"the mask {text} has {mask.shape[2]}x{mask.shape[1]} pixels, the images {size[1]}x{size[0]}; expected one size."
            )
        masks = (mask >= 128).expand(len(images), -1, -1, -1)
    empty = [images.names[row] for row, mask in enumerate(masks) if not bool(mask.any())]
    if len(empty) == len(images):
        raise UserError(f"nothing is marked in {text}: expected white where images are to be made.")
    if empty:
        raise UserError(
            f"nothing is marked for {len(empty)} of {len(images)} images, such as {empty[0]}. Leave them out."
        )
    return masks


def write_inpainted(
    model: Model,
    images: ImageSet,
    masks: torch.Tensor,
    out: str | Path,
    label: str | None = None,
    proposals: int = 4,
    resample: int = 4,
    jump: int = 1,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> int:
    """Writes proposals for what is under the masks, and ``overview.png``; the same call goes on after an interruption.

    Args:
        model: of pixels.
        images: N of them, in the model's shape.
        masks: [N, 1, H, W], bool; true where the image is to be made.
        out: the folder.
        label: class by name or index; None = each image's own, where it is known.
        proposals: for each image.
        resample, jump: see `sadm.diffusion.held.visits`.
        seed: of everything random.
        reporter: told about progress.

    Returns:
        How many images are in the folder.

    Raises:
        UserError: a model of latents, no such class, guidance without a class, numbers below 1, or a folder of something else.
        InterruptedRun: stopped between batches.
    """
    refuse_latents(model, "what is outside of a mask could not be kept to the bit")
    if min(resample, jump) < 1:
        raise UserError(f"--resample and --jump must be at least 1, got {resample} and {jump}.")
    labels, wanted = labels_of(model, images, label), proposals_for(len(images), proposals, seed)
    refuse_idle_guidance(model, labels)
    settings = model.settings()

    def make(some: Sequence[Proposal]) -> torch.Tensor:
        cond = Cond(label=None if labels is None else rows_of(labels, some))
        seeds = [proposal.seed for proposal in some]
        known, made = to_floats(rows_of(images.images, some)), rows_of(masks, some)
        return inpaint_images(
            model.denoiser, known, made, seeds, cond, model.null_label, settings, resample, jump, model.device
        )

    def describe(proposal: Proposal) -> dict[str, object]:
        return {
            "of": images.names[proposal.row],
            "proposal": proposal.number,
            "share": round(float(masks[proposal.row].float().mean()), 6),
        }

    about = {
        "data": images.fingerprint(),
        "masks": sha256_of(masks.to(torch.uint8)),
        "sampling": model.sampling.model_dump(),
        "label": label,
        "proposals": proposals,
        "resample": resample,
        "jump": jump,
        "seed": seed,
    }
    names = class_names_by_row(model, labels)
    with StopRequest() as stop, generated_images(out, model, "sadm inpaint", about=about) as outputs:
        write_proposals(outputs, wanted, make, describe, names, settings.batch, reporter or Silent(), stop)
        _write_overview(outputs, images, masks, proposals, seed)
    return len(wanted)


def _write_overview(outputs: GeneratedImages, images: ImageSet, masks: torch.Tensor, proposals: int, seed: int) -> None:
    """The first images, row by row: as it was, what was taken away, and the proposals."""
    tiles = []
    for row in range(min(_SHOWN, len(images))):
        before = images.images[row]
        holes = torch.where(masks[row], torch.full_like(before, _GREY), before)
        tiles += [to_floats(before), to_floats(holes)]
        tiles += [read_picture(outputs.folder / Proposal(row, number, 0).name) for number in range(proposals)]
    mark = outputs.mark(seed, edited=True, details={"images": len(images), "proposals": proposals})
    write_grid(outputs.folder / "overview.png", tiles, 2 + proposals, mark)


def _share(text: str) -> float:
    _, colon, value = text.partition(":")
    try:
        share = float(value) if colon else 0.2
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise UserError(f"--mask is '{text}'; expected {BOX} or {BOX}:SHARE with a share of the image between 0 and 1.")
    return share


def _box(size: tuple[int, int] | torch.Size, share: float, seed: int, row: int) -> torch.Tensor:
    """A mask [1, H, W] with one box, from square to twice as long as wide, as far as it fits."""
    height, width = size
    draws = torch.rand(3, generator=generator(seed, "box", row)).tolist()
    tall = 2 ** (2 * draws[0] - 1)
    h = min(height, max(1, round(math.sqrt(share * height * width * tall))))
    w = min(width, max(1, round(share * height * width / h)))
    top, left = round(draws[1] * (height - h)), round(draws[2] * (width - w))
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, top : top + h, left : left + w] = True
    return mask
