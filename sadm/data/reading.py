"""From a listing to an image set: every record is decoded and fitted, in threads; what cannot be read is said."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.data.decoding import Unreadable, decode, is_grey, silence_pillow
from sadm.data.fitting import Fit
from sadm.data.imageset import ImageSet, Skipped
from sadm.data.records import Listing, Progress, Record, examples, image_files

_MOST_THREADS = 32  # Pillow decodes without the interpreter's lock


def read_listing(listing: Listing, fit: Fit, strict: bool = False, progress: Progress | None = None) -> ImageSet:
    """Decodes a listing into an image set.

    With channels left open, the set is grey if no pixel of the fitted images carries colour, whatever the files' modes.

    Args:
        listing: from the source.
        fit: resolution and channels.
        strict: refuse the source if anything in it is unreadable, instead of listing that under `skipped`.
        progress: called with (images done, images in all).

    Raises:
        UserError: there are not two readable images, a class has none, sizes differ and no resolution was given, or
            `strict` and an image is unreadable.
    """
    decoded = _decode_all(listing, fit, progress)
    pairs = list(zip(listing.records, decoded, strict=True))
    bad = [Skipped(record.name, reason) for record, reason in pairs if isinstance(reason, str)]
    skipped = sorted(listing.skipped + bad, key=lambda skip: skip.path)
    if strict and skipped:
        raise UserError(
            f"{listing.source}: {image_files(len(skipped))} cannot be read: {examples(skipped)}. Mend or remove them, or "
            "read without the strict option to leave them out."
        )
    records = [record for record, result in pairs if not isinstance(result, str)]
    pixels = [result for result in decoded if not isinstance(result, str)]
    del pairs, decoded  # so that `_stack` can free the images one by one
    _check_enough(listing, records, skipped)
    class_names, labels = _classes(listing, records)
    return ImageSet(
        images=_stack(pixels, fit.channels),
        labels=labels,
        class_names=class_names,
        names=tuple(record.name for record in records),
        source=listing.source,
        skipped=tuple(skipped),
        **_knowledge(records),
    )


def _classes(listing: Listing, records: Sequence[Record]) -> tuple[tuple[str, ...], torch.Tensor | None]:
    used = {record.class_name for record in records if record.class_name is not None}
    if not used:
        return (), None
    class_names = listing.class_names or tuple(sorted(used))
    number = {name: i for i, name in enumerate(class_names)}
    return class_names, torch.tensor([number[str(record.class_name)] for record in records], dtype=torch.int64)


def _knowledge(records: Sequence[Record]) -> dict[str, Any]:
    """Groups, parts and attributes, each only where a record has any."""
    known: dict[str, Any] = {}
    if any(record.group is not None for record in records):
        known["groups"] = tuple(record.name if record.group is None else record.group for record in records)
    if any(record.part for record in records):
        known["parts"] = tuple(record.part for record in records)
    names = tuple(dict.fromkeys(name for record in records for name in record.attributes))
    if names:
        rows = [[record.attributes.get(name, float("nan")) for name in names] for record in records]
        known.update(attributes=torch.tensor(rows, dtype=torch.float32), attribute_names=names)
    return known


def _check_enough(listing: Listing, readable: Sequence[Record], skipped: Sequence[Skipped]) -> None:
    if not readable:
        raise UserError(
            f"{listing.source}: none of its {image_files(len(listing.records))} can be read: {examples(skipped)}. Check "
            "that they are whole images."
        )
    lost = {record.class_name for record in listing.records} - {record.class_name for record in readable}
    if lost:
        name = min(str(class_name) for class_name in lost)
        members = {record.name for record in listing.records if record.class_name == name}
        reasons = [skip for skip in skipped if skip.path in members]
        raise UserError(
            f"{listing.source}: no image of the class '{name}' can be read: {examples(reasons)}. Mend its images, or "
            "remove them all to leave the class out."
        )
    if len(readable) < 2:
        unread = f" ({examples(skipped)} cannot be read)" if skipped else ""
        raise UserError(
            f"{listing.source} holds one readable image, '{readable[0].name}'{unread}; at least 2 are needed, since "
            "training relates images to each other. Add more images."
        )


def _decode_all(listing: Listing, fit: Fit, progress: Progress | None) -> list[np.ndarray | str]:
    """Pixels, or the reason why not, for each record in order."""

    def job(record: Record) -> np.ndarray | str:
        try:
            return decode(record.content, fit)
        except Unreadable as reason:
            return str(reason)

    results: list[np.ndarray | str] = []
    reference: tuple[Record, np.ndarray] | None = None
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        silence_pillow()
        Image.init()  # decoders register here, rather than in several threads at once
        pool = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))
        stack.callback(pool.shutdown, cancel_futures=True)
        for record, result in zip(listing.records, pool.map(job, listing.records), strict=True):
            if not isinstance(result, str):
                reference = reference or (record, result)
                _check_same_size(listing, reference, (record, result))
            results.append(result)
            if progress is not None:
                progress(len(results), len(listing.records))
    return results


def _check_same_size(listing: Listing, first: tuple[Record, np.ndarray], other: tuple[Record, np.ndarray]) -> None:
    if first[1].shape[:2] != other[1].shape[:2]:
        a, b = (f"'{record.name}' is {pixels.shape[1]} x {pixels.shape[0]}" for record, pixels in (first, other))
        raise UserError(
            f"{listing.source}: images differ in size: {a}, {b} pixels. Give --data.resolution (such as 64): each image is "
            "then cropped to its central square and resized. Or bring the files to one size."
        )


def _stack(pixels: list[np.ndarray], channels: int | None) -> torch.Tensor:
    """[N, C, H, W] uint8; empties `pixels` as it goes, so that the set is not held in memory twice."""
    if channels is None:
        channels = 1 if all(is_grey(image) for image in pixels) else 3
    height, width = pixels[0].shape[:2]
    stacked = torch.empty(len(pixels), channels, height, width, dtype=torch.uint8)
    for i in range(len(pixels) - 1, -1, -1):
        image = torch.from_numpy(np.array(pixels.pop()))
        if image.ndim == 3:
            stacked[i] = image.permute(2, 0, 1)[:channels]  # grey in RGB: any channel will do
        else:
            stacked[i] = image  # [H, W] fills every channel
    return stacked
