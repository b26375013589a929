"""From the words of a user to a data set: built-in, a path or a name of the hub, opened by the file that knows its kind."""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
from collections.abc import Callable
from pathlib import Path

from sadm.core.errors import UserError
from sadm.data.fitting import Fit
from sadm.data.imageset import ImageSet, Split
from sadm.data.pages import with_pages
from sadm.data.reading import read_listing
from sadm.data.records import Listing, Progress
from sadm.data.sources.address import Address, parse_address
from sadm.data.sources.digits import open_digits
from sadm.data.sources.idx import open_fashion_mnist
from sadm.data.sources.kinds import Kind, find_kind, kinds_with_examples
from sadm.data.sources.prepared import holds_prepared, holds_prepared_arrays, list_prepared, open_prepared_arrays
from sadm.data.sources.shards import is_pattern
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
    fewest: int = 2,
    progress: Progress | None = None,
) -> ImageSet | Split:
    """Opens a data set.

    Args:
        source: a built-in name (see `BUILT_IN_SOURCES`), ``hub:OWNER/NAME``, or the path of any of `kinds.KINDS`, with
            options behind a question mark (see `parse_address`). A built-in name always means the built-in set; a folder
            of that name is ``./digits``. ``surfaces`` takes settings, as in ``surfaces:count=500,material=metal`` (see
            `sadm.data.surfaces`).
        resolution: side in pixels to crop and resize to; None keeps the images' own size.
        channels: 1, 3 or 4; None decides from the images.
        fit: instead of these two, all that can be said about how images are read and brought to one shape.
        strict: refuse a source with unreadable files instead of leaving them out.
        fewest: images that encoded ones must yield: 2 for training, 1 where each image is worked on alone.
        progress: called with (images done, images in all) while images are read or made.

    Returns:
        A `Split` where the source comes as two sets (IDX files with a t10k part), an `ImageSet` otherwise; where the source
        says which images are held out, `ImageSet.parts` has it.

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
        return read_listing(listing, fit, strict=strict, fewest=fewest, progress=progress)
    if holds_prepared(folder := Path(os.path.expanduser(source))):
        return open_prepared_arrays(folder, source, open_source, functools.partial(open_source, fit=fit))
    address, kind = _found(source)
    assert kind.opens is not None  # noqa: S101 - a kind lists or opens
    return kind.opens(address, fit)


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
    if holds_prepared(folder := Path(os.path.expanduser(source))):
        return None if holds_prepared_arrays(folder) else list_prepared(folder, source, list_source)
    address, kind = _found(source)
    return None if kind.lists is None else _listed(address, kind, progress)


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


def _found(source: str) -> tuple[Address, Kind]:
    address = parse_address(source)
    if not address.hub and not is_pattern(address.place) and (not source.strip() or not os.path.exists(address.place)):
        raise UserError(_unknown(address.place))
    return address, find_kind(address)


def _listed(address: Address, kind: Kind, progress: Progress | None) -> Listing:
    assert kind.lists is not None  # noqa: S101 - a kind lists or opens
    listing = kind.lists(address, progress)
    listing.records = with_pages(listing.records)
    return listing


def _unknown(place: str) -> str:
    near = difflib.get_close_matches(place.lower().partition(":")[0], BUILT_IN_SOURCES, n=1, cutoff=0.5)
    near = near or _neighbours(Path(place))
    hint = f" Did you mean '{near[0]}'?" if near else ""
    seen_from = "" if os.path.isabs(place) else f" (seen from {Path.cwd()})"
    return (
        f"'{place}' is neither a built-in data set ({', '.join(BUILT_IN_SOURCES)}) nor a path: it does not exist{seen_from}."
        f"{hint} Give one of these names, or for example:\n{kinds_with_examples()}"
    )


def _neighbours(path: Path) -> list[str]:
    """What lies beside a path that does not exist, and is called almost so."""
    with contextlib.suppress(OSError, ValueError):
        return [
            str(path.with_name(name)) for name in difflib.get_close_matches(path.name, os.listdir(path.parent), n=1)
        ]
    return []
