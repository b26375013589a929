"""`prepare`: one call from a source to a prepared folder."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sadm.core.errors import UserError
from sadm.core.files import locked, make_folder, refuse_foreign_folder, remove_leftovers, write_json
from sadm.core.progress import Reporter, Silent
from sadm.data.colour import FULL_16_BIT
from sadm.data.fitting import Fit
from sadm.data.preparation import leakage, manifest, outcomes, statistics
from sadm.data.preparation.advice import Advice, Recipe, Subject, Target, advise, choose_target
from sadm.data.preparation.clusters import Clusters
from sadm.data.preparation.duplicates import DISTANCE, Pair, exact_duplicates, near_duplicates
from sadm.data.preparation.facts import Facts
from sadm.data.preparation.journal import FILE
from sadm.data.preparation.listing import Place, listing_of
from sadm.data.preparation.outcomes import USABLE, Finding
from sadm.data.preparation.scanning import scan
from sadm.data.preparation.verdict import points, verdict
from sadm.data.records import Listing, Record
from sadm.data.splitting import check_share
from sadm.data.surfaces import is_surfaces, parse_settings

_MOST_DISTANCE = 32  # bits: half of a hash differs between unrelated images


@dataclasses.dataclass(frozen=True)
class Settings:
    """What may be asked for.

    Attributes:
        resolution: side in pixels that is meant, below which an image is too small; None = suggested.
        held_out: share of the images to hold out where the source does not say which.
        near_duplicates: bits of 64 by which the perceptual hashes of near duplicates may differ.
        max_megapixels: images with more are refused; None = Pillow's limit, 89.
        white_level: the value of 16-bit grey that becomes white.
        jobs: threads; None = one for each core.
        seed: of the split.

    Raises:
        UserError: a value outside what is possible.
    """

    resolution: int | None = None
    held_out: float = 0.2
    near_duplicates: int = DISTANCE
    max_megapixels: float | None = None
    white_level: int = FULL_16_BIT
    jobs: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_share(self.held_out)
        _check(self.resolution is None or self.resolution >= 1, "resolution", self.resolution, "a side such as 64")
        _check(self.jobs is None or self.jobs >= 1, "jobs", self.jobs, "a number of threads, at least 1")
        _check(
            0 <= self.near_duplicates <= _MOST_DISTANCE,
            "near-duplicates",
            self.near_duplicates,
            f"bits of the hash, from 0 (equal hashes alone) to {_MOST_DISTANCE}",
        )
        limit = self.max_megapixels
        _check(limit is None or limit > 0, "max-megapixels", limit, "a positive number, such as 120")
        levels = f"255 to {FULL_16_BIT}, such as 4095 for 12 bits"
        _check(255 <= self.white_level <= FULL_16_BIT, "white-level", self.white_level, levels)

    @property
    def fit(self) -> Fit:
        """How images are read."""
        return Fit(max_megapixels=self.max_megapixels, white_level=self.white_level)


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What was found in a source. Positions are those of `listing.records`.

    Attributes:
        listing: of the source.
        facts, findings: of each record.
        exact: clusters of exact duplicates.
        pairs: near duplicates among the usable images.
        leaks: what the source's own split tears apart.
        usable: positions of the images that remain.
        groups, parts: of each of these.
        advice: how to train.
        summary: all counts, as JSON has them.
    """

    listing: Listing
    facts: Sequence[Facts]
    findings: Sequence[Finding]
    exact: Sequence[Sequence[int]]
    pairs: Sequence[Pair]
    leaks: Sequence[leakage.Leak]
    usable: Sequence[int]
    groups: Sequence[str]
    parts: Sequence[str]
    advice: Advice
    summary: dict[str, Any]

    @functools.cached_property
    def usable_set(self) -> frozenset[int]:
        """The same positions, to look one up."""
        return frozenset(self.usable)

    @functools.cached_property
    def near(self) -> list[list[int]]:
        """Clusters of near duplicates."""
        return Clusters(len(self.facts), (pair.both for pair in self.pairs)).members()


def prepare(
    source: str,
    out: str | Path,
    settings: Settings | None = None,
    recipes: Sequence[Recipe] = (),
    reporter: Reporter | None = None,
) -> Preparation:
    """Finds out what is wrong with the images of a source, and writes a folder that training takes instead of it.

    Nothing of the source is changed. A scan that was stopped goes on when the same call is made again; images that have not
    changed since are not looked at again.

    Args:
        source: see `sadm.data.open_source`.
        out: the prepared folder, outside the source.
        settings: what is asked for.
        recipes: training recipes that there are, for the advice.
        reporter: where progress is shown.

    Raises:
        UserError: the source is unknown or holds no images, the folder is not ours or cannot be written.
        InterruptedRun: stopped by Ctrl-C or SIGTERM.
    """
    chosen, shown = settings or Settings(), reporter or Silent()
    folder, place = Path(os.path.expanduser(out)), Place.of(source)
    _refuse_inside(folder, place.path)
    refuse_foreign_folder(folder, FILE, "preparation", ignoring=(".lock",))
    listing, fingerprint = listing_of(source, lambda done, total: shown.update("listing", done, total))
    with locked(make_folder(folder), "preparing"):
        remove_leftovers(folder)
        facts = scan(
            listing,
            folder,
            str(place.path or source),
            chosen.fit,
            chosen.jobs,
            lambda done, total: shown.update("images", done, total),
        )
        shown.say("Comparing images.")
        found = examine(listing, facts, chosen, recipes, str(out), arrays=fingerprint is not None)
        if edited := manifest.keep_edited(folder):
            shown.say(f"{manifest.METADATA} was edited since it was written; the edited table is now {edited}.")
        _write(folder, found)
        left_out = [fact.name for fact, finding in zip(facts, found.findings, strict=True) if finding.outcome != USABLE]
        usable = [facts[i] for i in found.usable]
        manifest.write_prepared(folder, source, place, fingerprint, usable, left_out)
    return found


def examine(
    listing: Listing,
    facts: Sequence[Facts],
    settings: Settings,
    recipes: Sequence[Recipe],
    folder: str,
    arrays: bool = False,
) -> Preparation:
    """All that follows from the facts.

    Args:
        listing: of the source.
        facts: of each record.
        settings: what is asked for.
        recipes: training recipes that there are.
        folder: the prepared folder, as the user named it.
        arrays: the source is one of arrays.
    """
    records = listing.records
    size = parse_settings(listing.source).size if is_surfaces(listing.source) else None
    exact = exact_duplicates(facts)
    seen = [i for i, fact in enumerate(facts) if not fact.problem and not fact.flat]
    target = choose_target(
        [facts[i] for i in seen],
        [records[i].class_name for i in seen],
        settings.resolution or size,
        recipes,
        listing.source,
    )
    findings = outcomes.judge(records, facts, exact, target.resolution or 1)
    usable = [i for i, finding in enumerate(findings) if finding.outcome == USABLE]
    pairs = [
        dataclasses.replace(pair, first=usable[pair.first], second=usable[pair.second])
        for pair in near_duplicates(
            [facts[i] for i in usable], settings.near_duplicates, [records[i].class_name for i in usable]
        )
    ]
    groups = leakage.together(records, usable, exact, pairs)
    kept = [records[i] for i in usable]
    made = not leakage.assigns_split(records)
    parts, moved, why_not = _divided(kept, groups, settings, listing.source, made)
    subject = Subject(
        [facts[i] for i in usable],
        [record.class_name for record in kept],
        [part == leakage.TRAIN for part in parts],
        folder,
        str(Path("runs") / Path(folder).name),
        why_not,
        settings.max_megapixels,
        settings.white_level,
        arrays,
    )
    advice = advise(target, subject)
    leaks = leakage.leaks(records, exact, pairs)
    found = Preparation(listing, facts, findings, exact, pairs, leaks, usable, groups, parts, advice, {})
    summary = _summary(found, target, made, len(moved), why_not, settings.white_level)
    found_points = points(summary)
    summary.update(verdict=verdict(found_points), points=found_points)
    return dataclasses.replace(found, summary=summary)


def _divided(
    kept: Sequence[Record], groups: Sequence[str], settings: Settings, source: str, made: bool
) -> tuple[list[str], list[int], str]:
    """The part of each record, made here or as the source has it; which were moved for that, and why there is none."""
    if made:
        parts, why_not = leakage.make_split(kept, groups, settings.held_out, settings.seed, source)
        return parts, [], why_not
    parts, moved = leakage.keep_split(kept, groups)
    return parts, moved, leakage.too_few(parts)


def _summary(
    found: Preparation, target: Target, made: bool, moved: int, why_not: str, white_level: int
) -> dict[str, Any]:
    records, usable = found.listing.records, [found.facts[i] for i in found.usable]
    labels = [records[i].class_name for i in found.usable]
    counts = Counter(finding.outcome for finding in found.findings)
    reasons = Counter(finding.reason for finding in found.findings if finding.reason)
    leaking = Counter(leak.kind for leak in found.leaks)
    near = found.near
    held_out = {label for label, part in zip(labels, found.parts, strict=True) if part == leakage.HELD_OUT}
    missing = sorted({label for label in labels if label is not None and label not in held_out})
    return {
        "source": found.listing.source,
        "images": len(records) + len(found.listing.skipped),
        "resolution": target.resolution,
        "outcomes": {
            "usable": counts[USABLE],
            "duplicate": counts[outcomes.DUPLICATE],
            "quarantined": counts[outcomes.QUARANTINED],
            "not_listed": len(found.listing.skipped),
        },
        "reasons": {key: reasons[key] for key in outcomes.REASONS if reasons[key]},
        "other_files": dict(found.listing.others),
        "exact_duplicates": {"clusters": len(found.exact), "images": sum(map(len, found.exact))},
        "near_duplicates": {
            "pairs": len(found.pairs),
            "clusters": len(near),
            "images": sum(map(len, near)),
            "with_other_labels": sum(
                records[pair.first].class_name != records[pair.second].class_name for pair in found.pairs
            ),
        },
        "leakage": {kind: leaking[kind] for kind in leakage.KINDS} | {"moved": moved},
        "split": {
            "made_here": made,
            "train": found.parts.count(leakage.TRAIN),
            "held_out": found.parts.count(leakage.HELD_OUT),
            "classes_not_held_out": [] if why_not else missing,
            "why_not": why_not,
        },
        "classes": statistics.balance(labels, [record.class_name for record in records]),
        "sizes": statistics.sizes(usable),
        "peculiarities": statistics.peculiarities(usable),
        "white_level": statistics.white_level(found.facts, white_level),
        "advice": found.advice.as_dict(),
    }


def _write(folder: Path, found: Preparation) -> None:
    usable = [found.listing.records[i] for i in found.usable]
    manifest.write_metadata(folder, usable, [found.facts[i] for i in found.usable], found.groups, found.parts)
    manifest.write_quarantine(
        folder,
        found.listing.records,
        found.findings,
        [(skipped.path, skipped.reason) for skipped in found.listing.skipped],
    )
    manifest.write_near(folder, found.listing.records, found.pairs)
    write_json(folder / manifest.SUMMARY, found.summary)


def _refuse_inside(folder: Path, place: Path | None) -> None:
    if place is not None and place.is_dir() and place in (folder.resolve(), *folder.resolve().parents):
        raise UserError(
            f"--out {folder} lies inside the source {place}, where it would be taken for images the next time. Choose a folder "
            "outside of it."
        )


def _check(fine: bool, option: str, value: Any, expected: str) -> None:
    if not fine:
        raise UserError(f"--{option} is {value}; expected {expected}.")
