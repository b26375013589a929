"""Shapes of real defects, and where they are put: what is to be made, and where."""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

import torch
from torch.nn import functional

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import ImageSet
from sadm.data.preparation.duplicates import ORIENTATIONS
from sadm.evaluation.memorisation.copies import turn

ANYWHERE, AS_FOUND = "anywhere", "as-found"
MARKED = 128
"""Values of a mask from here on are marked."""


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """Where a defect is put.

    Attributes:
        kind: `ANYWHERE` in the region, turned and mirrored at random; `AS_FOUND`, where and as the real one was; or ``point``.
        x, y: of a point, in shares of width and height; the middle of the defect goes there.
        region: where its middle may be [1, H, W], uint8; None = all over the image.
    """

    kind: str = ANYWHERE
    x: float = 0.5
    y: float = 0.5
    region: torch.Tensor | None = None

    @staticmethod
    def parse(text: str, region: torch.Tensor | None = None) -> Place:
        """From ``anywhere``, ``as-found``, or ``X,Y`` in shares of width and height.

        Raises:
            UserError: something else, or a region for a place that needs none.
        """
        if region is not None and text != ANYWHERE:
            raise UserError(f"--region has a meaning with --place {ANYWHERE} alone, got '{text}'.")
        if text in (ANYWHERE, AS_FOUND):
            return Place(text, region=region)
        match = re.fullmatch(r"(\d*\.?\d+),(\d*\.?\d+)", text.strip())
        if match is None or not (0 <= float(match[1]) <= 1 and 0 <= float(match[2]) <= 1):
            raise UserError(
                f"--place is '{text}'; expected {ANYWHERE}, {AS_FOUND}, or X,Y in shares of width and height, such as 0.5,0.25."
            )
        return Place("point", float(match[1]), float(match[2]))


class Shape(NamedTuple):
    """The mask of a real defect.

    Attributes:
        mask: cut out [1, h, w], uint8.
        top, left: where it was, in pixels.
        severity: of that defect; NaN where it is not known.
        image: which of the training images it is from.
        edges: which sides of its image it reaches [1, 3, 3], uint8: 1 in the middle of that side.
    """

    mask: torch.Tensor
    top: int
    left: int
    severity: float
    image: int
    edges: torch.Tensor


class Shapes:
    """The masks of all real defects of one class.

    Args:
        images: training images with masks.
        defect: index of the class.
        severity: name of the attribute that says how severe a defect is; where there is none, shapes are drawn evenly.

    Raises:
        UserError: no masks, or no image of that class has anything marked.
    """

    def __init__(self, images: ImageSet, defect: int, severity: str = "severity") -> None:
        if images.masks is None or images.labels is None:
            raise UserError(
                f"{images.source} has no {'masks' if images.masks is None else 'classes'}: expected images in classes, and a "
                "mask for each defect (a column 'mask' in metadata.csv)."
            )
        names = images.attribute_names
        column = names.index(severity) if severity in names and images.attributes is not None else None
        self.size = (images.shape[1], images.shape[2])
        self.shapes: list[Shape] = []
        for image in (images.labels == defect).nonzero().flatten().tolist():
            marked = (images.masks[image, 0] >= MARKED).nonzero()
            if not len(marked):
                continue
            (top, left), (bottom, right) = marked.amin(0).tolist(), marked.amax(0).tolist()
            known = float("nan") if column is None else float(images.attributes[image, column])  # type: ignore[index]
            cut = images.masks[image, :, top : bottom + 1, left : right + 1]
            edges = torch.zeros(1, 3, 3, dtype=torch.uint8)
            edges[0, [0, 2], 1] = torch.tensor([top == 0, bottom == self.size[0] - 1], dtype=torch.uint8)
            edges[0, 1, [0, 2]] = torch.tensor([left == 0, right == self.size[1] - 1], dtype=torch.uint8)
            self.shapes.append(Shape((cut >= MARKED).to(torch.uint8) * 255, top, left, known, image, edges))
        if not self.shapes:
            raise UserError(
                f"no training image of class '{images.class_names[defect]}' in {images.source} has anything marked; at least one "
                "with a mask is needed."
            )

    def __len__(self) -> int:
        return len(self.shapes)

    def draw(self, place: Place, seed: int, severity: float | None = None) -> tuple[torch.Tensor, Shape]:
        """One shape, put in its place: a mask [1, H, W], uint8, and the real defect that it is from.

        Where a severity is wanted and known of real defects, the shape is one of the fifth of them that come nearest.
        """
        draws = generator(seed, "shape")
        candidates = self._near(severity)
        shape = candidates[int(torch.randint(len(candidates), (), generator=draws))]
        if place.kind == AS_FOUND:
            return self._pasted(shape.mask, shape.top, shape.left), shape
        orientation = int(torch.randint(len(ORIENTATIONS), (), generator=draws))
        mask, edges = turn(shape.mask, orientation), turn(shape.edges, orientation)
        height, width = self.size
        if place.kind == ANYWHERE:
            y, x = self._middle(place.region, mask.shape[1:], edges[0].bool(), draws)
        else:
            y, x = round(place.y * (height - 1)), round(place.x * (width - 1))
        return self._pasted(mask, y - mask.shape[1] // 2, x - mask.shape[2] // 2), shape

    def _near(self, severity: float | None) -> list[Shape]:
        known = [shape for shape in self.shapes if shape.severity == shape.severity]
        if severity is None or not known:
            return self.shapes
        known.sort(key=lambda shape: abs(shape.severity - severity))
        return known[: max(1, len(known) // 5)]

    def _middle(
        self, region: torch.Tensor | None, sides: torch.Size, edges: torch.Tensor, draws: torch.Generator
    ) -> tuple[int, int]:
        """A pixel (y, x) for the middle: all of the shape stays within the image wherever it can."""
        allowed = torch.ones(self.size, dtype=torch.bool) if region is None else region[0] >= MARKED
        inside = torch.zeros(self.size, dtype=torch.bool)
        rows = _middles(sides[0], self.size[0], bool(edges[0, 1]), bool(edges[2, 1]))
        columns = _middles(sides[1], self.size[1], bool(edges[1, 0]), bool(edges[1, 2]))
        inside[rows, columns] = True
        places = (allowed & inside).nonzero()
        places = places if len(places) else allowed.nonzero()
        y, x = places[int(torch.randint(len(places), (), generator=draws))].tolist()
        return y, x

    def _pasted(self, mask: torch.Tensor, top: int, left: int) -> torch.Tensor:
        """A cut-out mask [1, h, w] on an empty one [1, H, W]; what leaves the image is cut off."""
        height, width = self.size
        whole = torch.zeros(1, height, width, dtype=torch.uint8)
        rows = slice(max(0, top), min(height, top + mask.shape[1]))
        columns = slice(max(0, left), min(width, left + mask.shape[2]))
        whole[:, rows, columns] = mask[
            :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        return whole


def _middles(side: int, length: int, at_start: bool, at_end: bool) -> slice:
    """Where a shape's middle may be along one axis, so that all of it is within.

    A defect that reached one end of the axis probably went on beyond: cut off straight, it belongs at that end.
    """
    first, last = side // 2, length - 1 - (side - 1 - side // 2)
    if at_start != at_end:
        first, last = (first, first) if at_start else (last, last)
    return slice(first, last + 1)


def check_region(region: torch.Tensor, size: tuple[int, int]) -> None:
    """Refuses a region [1, H, W] of another size, or in which nothing is marked.

    Raises:
        UserError: with what was given and expected.
    """
    if tuple(region.shape[1:]) != size:
        raise UserError(
            f"--region has {region.shape[2]}x{region.shape[1]} pixels; expected {size[1]}x{size[0]}, as the model's images."
        )
    if not bool((region >= MARKED).any()):
        raise UserError("--region marks nothing: expected white where defects may be, on black.")


def grown(masks: torch.Tensor, margin: int) -> torch.Tensor:
    """Masks [B, 1, H, W], uint8, grown by `margin` pixels to every side."""
    if margin == 0:
        return masks
    return functional.max_pool2d(masks.float(), 2 * margin + 1, stride=1, padding=margin).to(torch.uint8)
