"""Defects drawn on real good images by masked diffusion; outside of what is drawn, the image stays as it was to the bit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import torch

from sadm.applications.defects.shapes import MARKED, Place, Shapes, grown
from sadm.applications.spaces import refuse_latents
from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed, generator
from sadm.data import ImageSet, to_floats, to_uint8
from sadm.data.told import MASKS
from sadm.diffusion.inpaint import inpaint_images
from sadm.training.model_folder import Model
from sadm.training.telling import condition_of

_ATTEMPTS = 4


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be drawn.

    Attributes:
        defect: name of its class.
        count: pairs of image and mask.
        severity: lowest and highest, from which each is drawn evenly; None = as the real defect whose shape is taken.
        place: where.
        margin: pixels around the mask that are drawn anew with it, so that the defect has an edge; they are not marked.
        resample: see `sadm.diffusion.held.visits`; more fits the surroundings better, and takes so many times as long.
        least_change: grey levels (of 255) by which a pair differs at least from its good image, in the mean over the mask; one
            that does not is drawn again, a few times.
        attribute: name of the attribute that means severity.
        seed: of everything random.
    """

    defect: str
    count: int
    severity: tuple[float, float] | None = None
    place: Place = dataclasses.field(default_factory=Place)
    margin: int = 1
    resample: int = 2
    least_change: float = 4.0
    attribute: str = "severity"
    seed: int = 0

    def check(self) -> None:
        """Refuses what makes no sense.

        Raises:
            UserError: what was given, and what was expected.
        """
        if self.count < 1:
            raise UserError(f"--count must be at least 1, got {self.count}.")
        if self.margin < 0 or self.resample < 1:
            raise UserError(
                f"--margin must be at least 0 and --resample at least 1, got {self.margin} and {self.resample}."
            )
        if not 0 <= self.least_change <= 255:
            raise UserError(f"--least-change is in grey levels from 0 to 255, got {self.least_change:g}.")
        if self.severity is not None and not self.severity[0] <= self.severity[1]:
            raise UserError(f"--severity goes from low to high, got {self.severity[0]:g}:{self.severity[1]:g}.")


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """A generated defect.

    Attributes:
        index: from 0.
        image: [C, H, W], uint8.
        mask: what was asked to be the defect [1, H, W], uint8, 0 or 255.
        defect: its class.
        severity: that was asked for; NaN where it was left open.
        good: name of the good image.
        shape_of: name of the training image whose defect gave the shape.
        seed: that it was drawn from.
        change: mean difference from the good image over the mask, in grey levels.
    """

    index: int
    image: torch.Tensor
    mask: torch.Tensor
    defect: str
    severity: float
    good: str
    shape_of: str
    seed: int
    change: float


def synthesise(
    model: Model,
    images: ImageSet,
    request: Request,
    good: str = "good",
    having: Callable[[int], bool] = lambda index: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Pair]:
    """Draws pairs; pair i depends on the seed and i alone.

    Args:
        model: of pixels, trained on classes of which `good` and the defect are two.
        images: what it was trained on, with masks: good images are drawn on, real defects give the shapes.
        request: what is wanted.
        good: name of the class without defects.
        having: says of an index that it need not be drawn.
        progress: called with (pairs done, pairs in all).

    Yields:
        Pairs in the order of their indices.

    Raises:
        UserError: the model draws latents or other images, there is no such class, no good image or no mask.
    """
    yield from Job(model, images, request, good).draw(having, progress)


class Job:
    """What is the same for all pairs of a request; arguments and errors are those of `synthesise`."""

    def __init__(self, model: Model, images: ImageSet, request: Request, good: str) -> None:
        request.check()
        check_fit(model, images, (good, request.defect))
        assert images.labels is not None  # noqa: S101 - checked
        self.model, self.images, self.request = model, images, request
        self.label, self.settings = model.spec.class_names.index(request.defect), model.settings()
        self.shapes = Shapes(images, images.class_names.index(request.defect), request.attribute)
        self.good = (images.labels == images.class_names.index(good)).nonzero().flatten()
        if not len(self.good):
            raise UserError(f"{images.source} has no training image of class '{good}' that a defect could be put on.")
        order = torch.randperm(len(self.good), generator=generator(request.seed, "good images", request.defect))
        self.good = self.good[order]
        names = [scale.name for scale in model.spec.attributes]
        if request.severity is not None and request.attribute not in names:
            raise UserError(
                f"--severity needs a model that was told of attribute '{request.attribute}' in training (--data.tell "
                f"attributes); this one was told of {', '.join(names) or 'none'}."
            )

    def draw(self, having: Callable[[int], bool], progress: Callable[[int, int], None]) -> Iterator[Pair]:
        """Draws the pairs; see `synthesise`."""
        count, batch = self.request.count, self.model.sampling.batch
        wanted = [index for index in range(count) if not having(index)]
        for start in range(0, len(wanted), batch):
            yield from self.pairs(wanted[start : start + batch])
            progress(count - len(wanted) + min(start + batch, len(wanted)), count)

    def pairs(self, indices: Sequence[int]) -> list[Pair]:
        """The pairs of these indices; those that hardly show anything are drawn again."""
        open_ = list(indices)
        found: dict[int, Pair] = {}
        for attempt in range(_ATTEMPTS):
            for pair in self._drawn(open_, attempt):
                best = found.get(pair.index)
                if best is None or pair.change > best.change:
                    found[pair.index] = pair
            open_ = [index for index in indices if found[index].change < self.request.least_change]
            if not open_:
                break
        return [found[index] for index in indices]

    def _drawn(self, indices: Sequence[int], attempt: int) -> list[Pair]:
        request, count = self.request, len(indices)
        seeds = [derive_seed(request.seed, "defect", request.defect, index, attempt) for index in indices]
        severities = [self._severity(seed) for seed in seeds]
        drawn = [
            self.shapes.draw(request.place, seed, severity) for seed, severity in zip(seeds, severities, strict=True)
        ]
        masks, origins = torch.stack([mask for mask, _ in drawn]), [shape for _, shape in drawn]
        wanted = [
            origin.severity if severity is None else severity
            for severity, origin in zip(severities, origins, strict=True)
        ]
        rows = torch.stack([self.good[index % len(self.good)] for index in indices])
        background = self.images.images[rows]  # [B, C, H, W], uint8
        made = inpaint_images(
            self.model.denoiser,
            to_floats(background),
            (grown(masks, request.margin) >= MARKED).float(),
            seeds,
            self._cond(rows, wanted, masks),
            self.model.null_label,
            self.settings,
            request.resample,
            device=self.model.device,
        )
        images = to_uint8(made)
        return [
            Pair(
                indices[i],
                images[i],
                masks[i],
                request.defect,
                wanted[i],
                self.images.names[int(rows[i])],
                self.images.names[origins[i].image],
                seeds[i],
                change_within(images[i], background[i], masks[i]),
            )
            for i in range(count)
        ]

    def _severity(self, seed: int) -> float | None:
        if self.request.severity is None:
            return None
        low, high = self.request.severity
        return low + (high - low) * float(torch.rand((), generator=generator(seed, "severity")))

    def _cond(self, rows: torch.Tensor, severities: Sequence[float], masks: torch.Tensor) -> Cond:
        """The class, the numbers of the good image with another severity, and the mask, as far as the model is told of these."""
        spec, label = self.model.spec, torch.full((len(rows),), self.label)
        values = None
        if spec.attributes:
            values = torch.full((len(rows), len(spec.attributes)), math.nan)
            for column, scale in enumerate(spec.attributes):
                if scale.name == self.request.attribute:
                    values[:, column] = torch.tensor(severities)
                elif self.images.attributes is not None and scale.name in self.images.attribute_names:
                    values[:, column] = self.images.attributes[rows, self.images.attribute_names.index(scale.name)]
        told = condition_of(spec, values, masks if MASKS in spec.pictures else None)
        return dataclasses.replace(told, label=label)


def change_within(image: torch.Tensor, before: torch.Tensor, mask: torch.Tensor) -> float:
    """Mean difference of two images [C, H, W], uint8, over what a mask [1, H, W] marks, in grey levels; 0 without a mark."""
    marked = (mask >= MARKED).expand_as(image)
    difference = (image.float() - before.float()).abs()[marked]
    return float(difference.mean()) if len(difference) else 0.0


def check_fit(model: Model, images: ImageSet, classes: tuple[str, str]) -> None:
    """Refuses a model that can't draw these defects on these images.

    Raises:
        UserError: with what was given, and what was expected.
    """
    refuse_latents(model, "squares of pixels can't be kept to the bit around a defect")
    if model.spec.shape != images.shape:
        shapes = " and ".join(
            f"{w}x{h} with {c} channel{'s' * (c > 1)}" for c, h, w in (model.spec.shape, images.shape)
        )
        raise UserError(f"model and images differ: {shapes}. Give the images that it was trained on.")
    for name in classes:
        for known, where in ((model.spec.class_names, "the model"), (images.class_names, images.source)):
            if name not in known:
                raise UserError(f"'{name}' is no class of {where}; there are {', '.join(known) or 'none'}.")
