"""From a listing to an image set: every record is decoded and fitted, in threads; what can't be used is said."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor

from sadm.core.errors import UserError
from sadm.data.assembling import Readable, class_names_of, fewest_channels, image_set
from sadm.data.decoding import Decoded, decode, pillow_settings
from sadm.data.fitting import Fit
from sadm.data.imageset import ImageSet, Skipped
from sadm.data.records import Listing, Progress, Record, Unreadable, examples, image_files

_MOST_THREADS = 32  # Pillow decodes without the interpreter's lock
_MOST_SCANS = 4  # threads that each hold a large scan, besides its tiles


def read_listing(
    listing: Listing, fit: Fit, strict: bool = False, fewest: int = 2, progress: Progress | None = None
) -> ImageSet:
    """Decodes a listing into an image set.

    With channels left open, the set is grey if no pixel of the fitted images carries colour, whatever the files' modes.

    Args:
        listing: from the source.
        fit: the shape that is asked for, and how it is reached.
        strict: refuse the source if anything in it is unusable, instead of listing that under `skipped`.
        fewest: images that there must be, 1 or 2.
        progress: called with (records done, records in all).

    Raises:
        UserError: there are not `fewest` usable images, a class has none, sizes differ and no resolution was given, or
            `strict` and an image is unusable.
    """
    results = _decode_all(listing, fit, progress)
    pairs = list(zip(listing.records, results, strict=True))
    bad = [Skipped(record.name, reason) for record, reason in pairs if isinstance(reason, str)]
    skipped = sorted(listing.skipped + bad, key=lambda skip: skip.path)
    if strict and skipped:
        raise UserError(
            f"{listing.source}: {image_files(len(skipped))} cannot be read: {examples(skipped)}. Mend or remove them, or "
            "read without the strict option to leave them out."
        )
    readable = Readable(
        listing,
        records=[record for record, result in pairs if not isinstance(result, str)],
        decoded=[result for result in results if not isinstance(result, str)],
        skipped=tuple(skipped),
        clean_class=fit.clean_class,
    )
    _check_enough(readable, fewest)
    return image_set(readable, fit.channels or fewest_channels(readable), class_names_of(readable), fit.frame)


def _check_enough(readable: Readable, fewest: int) -> None:
    listing, skipped = readable.listing, readable.skipped
    if not readable.records:
        raise UserError(
            f"{listing.source}: none of its {image_files(len(listing.records))} can be read: {examples(skipped)}. Check "
            "that they are whole images."
        )
    lost = {record.class_name for record in listing.records} - {record.class_name for record in readable.records}
    if lost:
        name = min(str(class_name) for class_name in lost)
        members = {record.name for record in listing.records if record.class_name == name}
        reasons = [skip for skip in skipped if skip.path in members]
        raise UserError(
            f"{listing.source}: no image of the class '{name}' can be read: {examples(reasons)}. Mend its images, or "
            "remove them all to leave the class out."
        )
    if len(readable.of_each) < fewest:
        unread = f" ({examples(skipped)} cannot be read)" if skipped else ""
        raise UserError(
            f"{listing.source} holds one readable image, '{readable.records[0].name}'{unread}; at least 2 are needed, since "
            "training relates images to each other. Add more images."
        )


def _decode_all(listing: Listing, fit: Fit, progress: Progress | None) -> list[Decoded | str]:
    """What each record gives, or the reason why not, in order."""

    def job(record: Record) -> Decoded | str:
        try:
            return decode(record, fit)
        except Unreadable as reason:
            return str(reason)

    results: list[Decoded | str] = []
    first: tuple[Record, Decoded] | None = None
    with contextlib.ExitStack() as stack:
        stack.enter_context(pillow_settings(fit))
        threads = min(os.cpu_count() or 1, _MOST_SCANS if fit.policy == "tiles" else _MOST_THREADS)
        pool = ThreadPoolExecutor(threads)
        stack.callback(pool.shutdown, cancel_futures=True)
        for record, result in zip(listing.records, pool.map(job, listing.records), strict=True):
            if not isinstance(result, str) and fit.policy != "buckets":
                first = first or (record, result)
                _check_same_size(listing, first, (record, result))
            results.append(result)
            if progress is not None:
                progress(len(results), len(listing.records))
    return results


def _check_same_size(listing: Listing, first: tuple[Record, Decoded], other: tuple[Record, Decoded]) -> None:
    sizes = [one.fitted.pixels.shape[1:3] for _, one in (first, other)]
    if sizes[0] != sizes[1]:
        a, b = (
            f"'{record.name}' is {width} x {height}"
            for (record, _), (height, width) in zip((first, other), sizes, strict=True)
        )
        raise UserError(
            f"{listing.source}: images differ in size: {a}, {b} pixels. Give --data.resolution (such as 64): each image is "
            "then cropped to its central square and resized, or as --data.fit says. Or bring the files to one size."
        )
