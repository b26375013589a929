"""Variations of the user's images: as much change as a strength asks for, other classes and mixes, and images between two."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from sadm.applications.proposals import (
    Proposal,
    class_index,
    class_names_by_row,
    labels_of,
    proposals_for,
    read_picture,
    refuse_idle_guidance,
    rows_of,
    write_proposals,
)
from sadm.applications.spaces import Space
from sadm.applications.variety import measure_variety, root_mean_square
from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.core.files import write_json
from sadm.core.progress import Reporter, Silent
from sadm.core.stopping import StopRequest
from sadm.data import ImageSet, to_floats, to_uint8
from sadm.diffusion.editing import vary_images
from sadm.diffusion.generate import SamplerSettings
from sadm.diffusion.inversion import interpolate_images
from sadm.training.grid import write_grid
from sadm.training.model_folder import Model
from sadm.training.outputs import generated_images

MEASURED = "variations.json"
TOOL = "sadm vary"
_SHOWN = 8  # images in the overview


@dataclasses.dataclass(frozen=True)
class Wish:
    """What variations are asked for.

    Attributes:
        strength: share of the sampling steps that is taken, in (0, 1]: 0.2 changes details, 0.9 little is left.
        label: class by name or index; None = each image's own, where it is known.
        mix: weight of each class, by name or index; instead of a label.
        proposals: variations of each image.
        seed: of everything random.
    """

    strength: float = 0.5
    label: str | None = None
    mix: Mapping[str, float] = dataclasses.field(default_factory=dict)
    proposals: int = 4
    seed: int = 0

    def check(self) -> None:
        """Refuses what makes no sense for any model.

        Raises:
            UserError: what was given, and what was expected.
        """
        if not 0 < self.strength <= 1:
            raise UserError(f"--strength must be above 0 and at most 1, got {self.strength:g}.")
        if self.label is not None and self.mix:
            raise UserError("--label and --mix exclude each other. Leave one out.")

    def mixed(self, model: Model) -> tuple[list[int], torch.Tensor] | None:
        """Classes and their weights [1, K], which sum to 1; None without a mix.

        Raises:
            UserError: a class that the model does not know.
        """
        if not self.mix:
            return None
        classes = [class_index(name, model.spec.class_names, "--mix") for name in self.mix]
        weights = torch.tensor([list(self.mix.values())], dtype=torch.float64)
        return classes, weights / weights.sum()


def parse_mix(texts: Sequence[str]) -> dict[str, float]:
    """Weights by class, from such as ``round=2``.

    Raises:
        UserError: something else, a class twice, or a weight that is not above 0.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        try:
            weight = float(value)
        except ValueError:
            weight = math.nan
        if not equals or not name or not 0 < weight < math.inf:
            raise UserError(f"--mix has '{text}'; expected CLASS=WEIGHT with a weight above 0, such as round=2.")
        if name in found:
            raise UserError(f"--mix names '{name}' twice. Leave one out.")
        found[name] = weight
    return found


def write_variations(
    model: Model, images: ImageSet, out: str | Path, wish: Wish, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Writes variations, ``overview.png``, and what was measured of them; the same call goes on after an interruption.

    Args:
        model: of pixels or latents.
        images: N of them, in the shape of the model's images.
        out: the folder.
        wish: what is asked for.
        reporter: told about progress.

    Returns:
        What is in ``variations.json`` (see `measure_variety`).

    Raises:
        UserError: the wish makes no sense for this model, or the folder holds something else.
        InterruptedRun: stopped between batches.
    """
    wish.check()
    space, shown = Space(model), reporter or Silent()
    labels, mix = labels_of(model, images, wish.label), wish.mixed(model)
    if mix is None:
        refuse_idle_guidance(model, labels)
    settings = model.settings()
    wanted = proposals_for(len(images), wish.proposals, wish.seed)

    def make(some: Sequence[Proposal]) -> torch.Tensor:
        cond = Cond(label=None if labels is None else rows_of(labels, some))
        z = vary_images(
            model.denoiser,
            space.into(to_floats(rows_of(images.images, some))),
            [proposal.seed for proposal in some],
            cond,
            model.null_label,
            settings,
            wish.strength,
            None if mix is None else (mix[0], mix[1].expand(len(some), -1)),
            model.device,
        )
        return space.out_of(z)

    def describe(proposal: Proposal) -> dict[str, Any]:
        facts = {"of": images.names[proposal.row], "proposal": proposal.number, "strength": wish.strength}
        return facts | ({"mix": dict(wish.mix)} if wish.mix else {})

    about = {"data": images.fingerprint(), "sampling": model.sampling.model_dump(), **dataclasses.asdict(wish)}
    names = {} if wish.mix else class_names_by_row(model, labels)
    with StopRequest() as stop, generated_images(out, model, TOOL, about=about) as outputs:
        write_proposals(outputs, wanted, make, describe, names, settings.batch, shown, stop)
        drawn = torch.stack([to_uint8(read_picture(outputs.folder / proposal.name)) for proposal in wanted])
        drawn = drawn.unflatten(0, (len(images), wish.proposals))  # [N, P, C, H, W]
        facts = measure_variety(images.images, drawn, images.names)
        write_json(outputs.folder / MEASURED, facts)
        rows = [to_floats(torch.cat([images.images[i : i + 1], drawn[i]])) for i in range(min(_SHOWN, len(images)))]
        mark = outputs.mark(wish.seed, edited=True, details={"images": len(images), "proposals": wish.proposals})
        write_grid(outputs.folder / "overview.png", [*torch.cat(rows)], 1 + wish.proposals, mark)
    return facts


def write_between(
    model: Model, images: ImageSet, pair: tuple[str, str], out: str | Path, count: int = 7
) -> dict[str, Any]:
    """Writes `count` images from one of the images to another, ``overview.png``, and how well the two themselves come back.

    Args:
        model: of pixels or latents.
        images: in the shape of the model's images.
        pair: names of two of them, or their numbers from 0.
        out: the folder.
        count: of images, the two included.

    Returns:
        What is in ``variations.json``.

    Raises:
        UserError: no such images, guidance without a class, fewer than 3 between them, or the folder holds something else.
    """
    if count < 3:
        raise UserError(f"--count must be at least 3, the two images included, got {count}.")
    rows, space = [find_row(images, name) for name in pair], Space(model)
    settings = model.settings()
    labels, null = labels_of(model, images, None), model.null_label
    own = None if labels is None else labels[torch.tensor(rows)]
    refuse_idle_guidance(model, own, "Use --guidance-scale 1")
    ends = images.images[torch.tensor(rows)]
    about = {
        "data": images.fingerprint(),
        "sampling": model.sampling.model_dump(),
        "between": [images.names[row] for row in rows],
        "count": count,
    }
    with generated_images(out, model, TOOL, about=about) as outputs:
        z = space.into(to_floats(ends))
        classes = None if own is None else (int(own[0]), int(own[1]))
        how = (_settings_between(settings), 40, model.device)
        drawn = to_uint8(space.out_of(interpolate_images(model.denoiser, z[0], z[1], count, classes, null, *how)))
        for index, image in enumerate(drawn):
            share = round(index / (count - 1), 6)
            details = {"between": about["between"], "share": share}
            outputs.add(f"{index:06d}.png", image, seed=None, edited=True, details=details)
        came_back = [root_mean_square(drawn[place], end) for place, end in zip((0, -1), ends, strict=True)]
        steps = [root_mean_square(here, there) for here, there in pairwise(drawn)]
        facts = {
            "between": about["between"],
            "count": count,
            "comes_back_within": [round(value, 3) for value in came_back],
            "apart": round(root_mean_square(*ends), 3),
            "steps": [round(value, 3) for value in steps],
            "units": "root mean square difference in grey levels of 255",
        }
        write_json(outputs.folder / MEASURED, facts)
        mark = outputs.mark(None, edited=True, details={"between": about["between"], "images": count})
        shown = to_floats(torch.cat([ends[:1], drawn, ends[1:]]))
        write_grid(outputs.folder / "overview.png", [*shown], count + 2, mark)
    return facts


def _settings_between(settings: SamplerSettings) -> SamplerSettings:
    return dataclasses.replace(settings, clip=False)  # what is clipped can't be gone back on


def find_row(images: ImageSet, name: str) -> int:
    """The place of an image that is called by its name, or by its number from 0.

    Raises:
        UserError: there is none.
    """
    if name in images.names:
        return images.names.index(name)
    if name.isdecimal() and int(name) < len(images):
        return int(name)
    shown = ", ".join(images.names[:5]) + (", …" if len(images) > 5 else "")
    raise UserError(
        f"--between '{name}' is no image of {images.source}; there are {shown} (or 0 to {len(images) - 1})."
    )
