"""What a page sends: images to work on, and masks that were painted."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sadm.core.errors import UserError
from sadm.core.files import make_folder
from sadm.core.grids import write_png
from sadm.data.decoding import EXTENSIONS
from sadm.studio.workspace import Workspace, plain_name
from sadm.training.description import model_spec


def keep_images(workspace: Workspace, files: Sequence[str] | None) -> Path:
    """Copies uploaded files into a folder of their own, which commands read as a source.

    Raises:
        UserError: there are none, or one has a name that no image has. (What is inside is checked by the command that reads it.)
    """
    if not files:
        raise UserError("no images were uploaded.")
    for file in files:
        if Path(file).suffix.lower() not in EXTENSIONS:
            raise UserError(
                f"{Path(file).name} is no image by its name; expected one of {', '.join(sorted(EXTENSIONS))}."
            )
    folder = make_folder(workspace.uploads / "images" / uuid.uuid4().hex[:12])
    for number, file in enumerate(files):
        path = Path(file)
        shutil.copyfile(path, folder / f"{number:03d}-{plain_name(path.stem)}{path.suffix.lower()}")
    return folder


def painted_mask(workspace: Workspace, painted: Mapping[str, Any] | None) -> Path | None:
    """What was painted over a picture, as a file: white where there is paint; None where nothing was painted.

    Args:
        workspace: where the file goes.
        painted: of Gradio's editor: ``layers``, each [H, W, 4], uint8.
    """
    layers = [np.asarray(layer) for layer in (painted or {}).get("layers") or [] if layer is not None]
    marked = [layer[..., 3] > 0 for layer in layers if layer.ndim == 3 and layer.shape[2] == 4]
    if not marked or not np.any(marked):
        return None
    mask = np.where(np.any(marked, axis=0), 255, 0).astype(np.uint8)
    path = workspace.uploads / "masks" / f"{uuid.uuid4().hex[:12]}.png"
    write_png(path, mask[..., None])
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


def fitted_mask(path: Path, size: tuple[int, int]) -> Path:
    """A painted mask brought to the size (width, height) of the images that it is for, in place."""
    with Image.open(path) as image:
        if image.size == size:
            return path
        resized = np.asarray(image.convert("L").resize(size, Image.Resampling.BOX))
    write_png(path, np.where(resized >= 128, 255, 0).astype(np.uint8)[..., None])
    return path
