"""Several proposals for each of the user's images, as files: each from its own seed, gone on with where it was interrupted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sadm.core.errors import InterruptedRun, UserError
from sadm.core.grids import read_png
from sadm.core.progress import Reporter
from sadm.core.seeds import derive_seed
from sadm.core.stopping import StopRequest
from sadm.data import Fit, ImageSet, open_source, to_floats
from sadm.data.imageset import named_parts
from sadm.training.model_folder import Model
from sadm.training.outputs import GeneratedImages


@dataclasses.dataclass(frozen=True)
class Proposal:
    """One of the images that are made from one of the user's.

    Attributes:
        row: of the user's image in its set.
        number: of the proposal, from 0.
        seed: that its randomness comes from.
    """

    row: int
    number: int
    seed: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.row:06d}-{self.number:02d}.png"


def proposals_for(count: int, each: int, seed: int) -> list[Proposal]:
    """`each` proposals for each of `count` images; those of one image follow each other.

    Raises:
        UserError: none is asked for.
    """
    if each < 1:
        raise UserError(f"--proposals must be at least 1, got {each}.")
    return [
        Proposal(row, number, derive_seed(seed, "proposal", row, number))
        for row in range(count)
        for number in range(each)
    ]


def write_proposals(
    outputs: GeneratedImages,
    proposals: Sequence[Proposal],
    make: Callable[[Sequence[Proposal]], torch.Tensor],
    describe: Callable[[Proposal], Mapping[str, Any]],
    labels: Mapping[int, str],
    batch: int,
    reporter: Reporter,
    stop: StopRequest,
) -> None:
    """Makes and writes the proposals that are not there yet, a batch at a time.

    Args:
        outputs: the folder.
        proposals: all that there are to be.
        make: gives images [b, C, H, W], floating point in [-1, 1], of some of them.
        describe: what is written about one, for JSON.
        labels: name of the class that was asked for, by row.
        batch: proposals at a time.
        reporter: told about progress.
        stop: asked between batches.

    Raises:
        InterruptedRun: stopped between batches.
    """
    wanted = [proposal for proposal in proposals if not outputs.has(proposal.name)]
    for start in range(0, len(wanted), batch):
        some = wanted[start : start + batch]
        for proposal, image in zip(some, make(some), strict=True):
            outputs.add(
                proposal.name,
                image,
                seed=proposal.seed,
                label=labels.get(proposal.row),
                edited=True,
                details=describe(proposal),
            )
        reporter.update("images", len(proposals) - len(wanted) + start + len(some), len(proposals))
        if stop.requested:
            raise InterruptedRun(f"Stopped after {len(outputs)} images. To go on, run the same command.")


def rows_of(values: torch.Tensor, proposals: Iterable[Proposal]) -> torch.Tensor:
    """The entries of `values` [N, ...] for the images that proposals are made from."""
    return values[torch.tensor([proposal.row for proposal in proposals])]


def read_picture(path: Path) -> torch.Tensor:
    """An image that was written here: [C, H, W], float32 in [-1, 1]."""
    return to_floats(torch.from_numpy(read_png(path)).permute(2, 0, 1))


def images_to_edit(
    source: str, shape: tuple[int, int, int], resize: bool, limit: int | None, reporter: Reporter
) -> ImageSet:
    """The user's images, which must be of the expected size and channels: what is kept of them is kept to the bit.

    Args:
        source: see `open_source`; of one that comes divided, the training part.
        shape: (C, H, W) that is expected.
        resize: crop, resize and convert them instead.
        limit: the first so many; None = all.
        reporter: told about reading, and about what was left out.

    Raises:
        UserError: they can't be opened, or are of another size or other channels.
    """
    channels, height, width = shape

    def show(done: int, total: int) -> None:
        reporter.update("reading", done, total)

    if resize and height != width:
        raise UserError(f"--resize makes square images; this model's have {width}x{height} pixels. Leave it out.")
    fit = Fit(resolution=height, channels=channels) if resize else Fit()
    images = named_parts(open_source(source, fit=fit, fewest=1, progress=show))[0][1]
    for skipped in images.skipped:
        reporter.say(f"Left out {skipped.path}: {skipped.reason}")
    if images.shape != (channels, height, width):
        found = images.shape
        raise UserError(
            f"the images in {source} have {found[2]}x{found[1]} pixels and {_channels(found[0])}; this needs {width}x{height} "
            f"and {_channels(channels)}. Bring them to that size yourself, or add --resize."
        )
    if limit is None:
        return images
    if limit < 1:
        raise UserError(f"--limit must be at least 1, got {limit}.")
    return images.subset(torch.arange(min(limit, len(images))))


def _channels(count: int) -> str:
    return f"{count} channel{'s' * (count > 1)}"


def labels_of(model: Model, images: ImageSet, label: str | None) -> torch.Tensor | None:
    """Labels [N] for the network: the class that is asked for; else each image's own, where its set has the model's classes.

    Images whose class is not known get the null class.

    Raises:
        UserError: no such class, or a model without classes.
    """
    names = model.spec.class_names
    if label is not None:
        return torch.full((len(images),), class_index(label, names))
    if not names:
        return None
    if images.labels is None:
        return torch.full((len(images),), len(names))
    own = torch.tensor([names.index(name) if name in names else len(names) for name in images.class_names])
    return own[images.labels]


def refuse_idle_guidance(
    model: Model, labels: torch.Tensor | None, remedy: str = "Give one (--label CLASS), or use --guidance-scale 1"
) -> None:
    """Refuses guidance that would change nothing, since no image has a class to be guided to.

    Args:
        model: with the sampling that is asked for.
        labels: as of `labels_of`.
        remedy: what to do where the class of no image is known.

    Raises:
        UserError: a guidance scale other than 1, where no class is known.
    """
    scale = model.sampling.guidance_scale
    if scale == 1:
        return
    if labels is None:
        raise UserError(f"--guidance-scale {scale:g} needs classes, and this model knows none. Use --guidance-scale 1.")
    if bool((labels == len(model.spec.class_names)).all()):
        raise UserError(
            f"a guidance scale of {scale:g} guides towards a class, and the model knows the class of none of these images. "
            f"{remedy}."
        )


def class_index(label: str, names: Sequence[str], option: str = "--label") -> int:
    """Index of a class given by name or index; `option` is for messages.

    Raises:
        UserError: no such class, or an unconditional model.
    """
    if not names:
        raise UserError(f"{option} was given, but this model knows no classes. Leave {option} out.")
    if label in names:
        return list(names).index(label)
    if label.isdecimal() and int(label) < len(names):
        return int(label)
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    raise UserError(f"{option} '{label}' is no class of this model; there are {shown} (or 0 to {len(names) - 1}).")


def class_names_by_row(model: Model, labels: torch.Tensor | None) -> dict[int, str]:
    """Names of the classes that were asked for, by row; none for the null class."""
    names = model.spec.class_names
    values = [] if labels is None else labels.tolist()
    return {row: names[label] for row, label in enumerate(values) if label < len(names)}
