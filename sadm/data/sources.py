"""From the words of a user to a data set: a built-in name or a folder, opened by the one file that knows its kind."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Callable
from pathlib import Path

from sadm.core.errors import UserError
from sadm.data.digits import open_digits
from sadm.data.fitting import Fit
from sadm.data.folders import list_folder
from sadm.data.idx import holds_idx, open_fashion_mnist, open_idx
from sadm.data.imageset import ImageSet, Split
from sadm.data.prepared import holds_prepared, holds_prepared_arrays, list_prepared, open_prepared_arrays
from sadm.data.reading import read_buckets, read_listing
from sadm.data.records import Listing, Progress
from sadm.data.splitting import check_share, keep_few, split_set, thin_classes
from sadm.data.surfaces import is_surfaces, open_surfaces

_BUILT_IN: dict[str, Callable[[Fit], ImageSet | Split]] = {
    "digits": open_digits,
    "fashion-mnist": open_fashion_mnist,
}

BUILT_IN_SOURCES = (*_BUILT_IN, "surfaces")


def open_source(
    source: str,
    *,
    resolution: int | None = None,
    channels: int | None = None,
    fit: Fit | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> ImageSet | Split:
    """Opens a data set.

    Args:
        source: a built-in name (see `BUILT_IN_SOURCES`), or a folder of images or of IDX files. A built-in name always
            means the built-in set; a folder of that name is ``./digits``. ``surfaces`` takes settings, as in
            ``surfaces:count=500,material=metal`` (see `sadm.data.surfaces`).
        resolution: side in pixels to crop and resize to; None keeps the images' own size.
        channels: 1, 3 or 4; None decides from the images.
        fit: instead of these two, all that can be said about how images are read and brought to one shape.
        strict: refuse a folder with unreadable files instead of leaving them out.
        progress: called with (images done, images in all) while a folder is read or surfaces are made.

    Returns:
        A `Split` where the source comes divided (IDX files with a t10k part), an `ImageSet` otherwise.

    Raises:
        UserError: the source is unknown or unfit, with what to do.
    """
    fit = _fit(fit, resolution, channels)
    if source in _BUILT_IN:
        return _BUILT_IN[source](fit)
    if is_surfaces(source):
        return open_surfaces(source, fit, progress)
    listing = list_source(source, progress)
    if listing is not None:
        return read_listing(listing, fit, strict=strict, progress=progress)
    folder = _folder(source)
    if holds_prepared(folder):
        return open_prepared_arrays(folder, source, open_source, functools.partial(open_source, fit=fit))
    return open_idx(folder, fit, source=source)


def list_source(source: str, progress: Progress | None = None) -> Listing | None:
    """Lists the encoded images of a source, before any is decoded; None where it holds arrays (`open_source` opens them).

    Args:
        source: see `open_source`.
        progress: called with (files or rows done, in all) while a large source is listed.

    Raises:
        UserError: the source is unknown or unfit, with what to do.
    """
    if source in _BUILT_IN or is_surfaces(source):
        return None
    folder = _folder(source)
    if holds_prepared(folder):
        return None if holds_prepared_arrays(folder) else list_prepared(folder, source, list_source)
    return None if os.path.isdir(folder) and holds_idx(folder) else list_folder(folder)


def open_buckets(
    source: str, fit: Fit, *, strict: bool = False, progress: Progress | None = None
) -> tuple[ImageSet, ...]:
    """Opens a folder of images in aspect buckets, for a `BucketedStream`.

    Args:
        source: the folder.
        fit: of policy "buckets".
        strict: see `open_source`, as is `progress`.

    Returns:
        A set for each shape that images got, from the tallest to the widest; all have the same channels and classes.

    Raises:
        UserError: the source is unknown, unfit or no folder of images, with what to do.
    """
    if fit.policy != "buckets":
        raise UserError(
            f"open_buckets needs a Fit of policy 'buckets', got '{fit.policy}'. Use open_source for others."
        )
    if source in _BUILT_IN or is_surfaces(source) or holds_idx(_folder(source)):
        raise UserError(f"{source} holds images of one shape, for which there is one bucket. Use open_source.")
    return read_buckets(list_folder(_folder(source)), fit, strict=strict, progress=progress)


def load_split(
    source: str,
    *,
    held_out: float,
    resolution: int | None = None,
    channels: int | None = None,
    fit: Fit | None = None,
    strict: bool = False,
    split_seed: int = 0,
    limit: int | None = None,
    keep: dict[str, float] | None = None,
    progress: Progress | None = None,
) -> Split:
    """Opens a data set and divides it into training and held-out images.

    Args:
        source: see `open_source`, as are `resolution`, `channels`, `fit`, `strict` and `progress`.
        held_out: share to hold out, strictly between 0 and 1. A source that comes divided, or says which images are held
            out, keeps its own division. Otherwise images of one group stay together.
        split_seed: decides the division and the choices of `keep` and `limit`.
        limit: at most this many training images, for learning from little data; the held-out part stays whole.
        keep: share of the training images of some classes, by name, that stays; see `thin_classes`. Applied before `limit`.

    Raises:
        UserError: the source is unknown or unfit, the share or the limit is out of range, or a part would have fewer
            than 2 images.
    """
    check_share(held_out)
    opened = open_source(source, fit=_fit(fit, resolution, channels), strict=strict, progress=progress)
    split = opened if isinstance(opened, Split) else split_set(opened, held_out, split_seed)
    for part, images in (("training", split.train), ("held-out", split.held_out)):
        if len(images) < 2:
            raise UserError(f"{source}: its {part} part holds {len(images)} image; expected at least 2. Add images.")
    if keep:
        split = Split(train=thin_classes(split.train, keep, split_seed), held_out=split.held_out)
    if limit is not None:
        split = Split(train=keep_few(split.train, limit, split_seed), held_out=split.held_out)
    return split


def _fit(fit: Fit | None, resolution: int | None, channels: int | None) -> Fit:
    if fit is None:
        return Fit(resolution, channels)
    if resolution is not None or channels is not None:
        raise UserError("give either `fit`, or `resolution` and `channels`: a Fit has both of these already.")
    return fit


def _folder(source: str) -> Path:
    folder = Path(os.path.expanduser(source))
    if not source.strip() or not os.path.exists(folder):
        raise UserError(_unknown(source))
    return folder


def _unknown(source: str) -> str:
    near = difflib.get_close_matches(source.lower().partition(":")[0], BUILT_IN_SOURCES, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    seen_from = "" if os.path.isabs(source) else f" (seen from {Path.cwd()})"
    return (
        f"'{source}' is neither a built-in data set ({', '.join(BUILT_IN_SOURCES)}) nor a folder: it does not "
        f"exist{seen_from}.{hint} Give one of these names, or the path of a folder with images."
    )
