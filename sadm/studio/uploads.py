"""What a page sends: images to work on, and masks that were painted."""

from __future__ import annotations

import base64
import io
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from sadm.core.errors import UserError
from sadm.core.files import make_folder
from sadm.core.grids import write_png
from sadm.data.decoding import EXTENSIONS, check_size, opened, pillow_settings, reason_of, upright
from sadm.data.fitting import Fit
from sadm.studio.workspace import Workspace, plain_name
from sadm.training.description import model_spec

_PNG, _SIDE = "data:image/png;base64,", 512


def keep_images(workspace: Workspace, files: Sequence[str] | None) -> Path:
    """Copies uploaded files into a folder of their own, which commands read as a source.

    Raises:
        UserError: there are none, or one is no image that can be read.
    """
    if not files:
        raise UserError("no images were uploaded.")
    for file in files:
        picture_of(file)
    folder = make_folder(workspace.uploads / "images" / uuid.uuid4().hex[:12])
    for number, file in enumerate(files):
        path = Path(file)
        shutil.copyfile(path, folder / f"{number:03d}-{plain_name(path.stem)}{path.suffix.lower()}")
    return folder


def picture_of(file: str) -> Image.Image:
    """An uploaded image as it is seen: upright, in mode L, RGB or RGBA.

    Raises:
        UserError: it has a name that no image has, or can't be read; with the reason.
    """
    path = Path(file)
    if path.suffix.lower() not in EXTENSIONS:
        raise UserError(f"{path.name} is no image by its name; expected one of {', '.join(sorted(EXTENSIONS))}.")
    fit = Fit()
    try:
        with pillow_settings(fit), opened(path) as image:
            check_size(image)
            return upright(image, fit)[0]
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow's decoders raise almost any type
        raise UserError(f"{path.name} can't be used: {reason_of(error)}.") from error


def to_paint_on(files: Sequence[str] | None) -> dict[str, str]:
    """The first of the uploaded images, small, for the field to paint in; all of them are checked.

    Raises:
        UserError: one can't be read; with the reason.
    """
    pictures = [picture_of(file) for file in files or []]
    if not pictures:
        return {"picture": "", "mask": ""}
    side = min(pictures[0].size)
    square = ImageOps.fit(pictures[0], (min(side, _SIDE),) * 2)  # the part that a command takes which is told to resize
    buffer = io.BytesIO()
    square.save(buffer, "PNG")
    return {"picture": _PNG + base64.b64encode(buffer.getvalue()).decode("ascii"), "mask": ""}


def painted_mask(workspace: Workspace, painted: Mapping[str, Any] | None) -> Path | None:
    """What was painted, as a file: white where there is paint; None where nothing was painted.

    Args:
        workspace: where the file goes.
        painted: value of the field to paint in (sadm/studio/pages/painting.py): ``mask``, a PNG as a data URL, opaque where
            there is paint.

    Raises:
        UserError: it is no such thing.
    """
    sent = (painted or {}).get("mask") or ""
    if not sent:
        return None
    try:
        data = base64.b64decode(str(sent).removeprefix(_PNG), validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if max(image.size) > _SIDE:
                raise UserError(
                    f"the painted mask has {image.width} x {image.height} pixels; expected {_SIDE} at most."
                )
            paint = np.asarray(image.convert("RGBA"))[..., 3]  # [H, W]
    except (OSError, ValueError) as error:
        raise UserError(f"the painted mask can't be read ({error}). Paint it again.") from error
    if not np.any(paint >= 128):
        return None
    path = workspace.uploads / "masks" / f"{uuid.uuid4().hex[:12]}.png"
    write_png(path, np.where(paint >= 128, 255, 0).astype(np.uint8)[..., None])
    return path


def mask_for(workspace: Workspace, painted: Mapping[str, Any] | None, run: Path) -> Path | None:
    """What was painted, as a file of the size of a training's images; None where nothing was painted.

    Raises:
        UserError: the training has no model yet.
    """
    mask = painted_mask(workspace, painted)
    if mask is None:
        return None
    _, height, width = model_spec(run).shape
    return fitted_mask(mask, (width, height))


def draws_squares(run: Path) -> bool:
    """Whether a training's model draws square images, to which alone the commands bring others.

    Raises:
        UserError: the training has no model yet.
    """
    _, height, width = model_spec(run).shape
    return height == width


def fitted_mask(path: Path, size: tuple[int, int]) -> Path:
    """A painted mask brought to the size (width, height) of the images that it is for, in place."""
    with Image.open(path) as image:
        if image.size == size:
            return path
        resized = np.asarray(image.convert("L").resize(size, Image.Resampling.BOX))
    write_png(path, np.where(resized >= 128, 255, 0).astype(np.uint8)[..., None])
    return path
