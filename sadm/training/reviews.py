"""Reviews of generated images, one by one, and the images that may leave."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sadm.core.errors import UserError
from sadm.core.files import (
    make_folder,
    move_into_place,
    refuse_foreign_folder,
    remove_leftovers,
    user_errors_for,
    write_atomically,
)
from sadm.core.verifying import verify
from sadm.training.outputs import ABOUT, RECORDS, append_record, read_records
from sadm.training.policy import POLICY, Policy, policy_of_images

REVIEWS, GRID = "reviews.jsonl", "grid.png"
_OURS = {REVIEWS, GRID, ABOUT, POLICY}  # beside images, and no tables of them


@dataclasses.dataclass(frozen=True)
class Review:
    """What somebody decided about one image.

    Attributes:
        approved: whether it may leave.
        reason: in words; may be empty.
        reviewer: who decided; may be empty.
        pixels: hash of the image that was looked at (`Mark.pixels`): another image of the same name is not approved.
    """

    approved: bool
    reason: str = ""
    reviewer: str = ""
    pixels: str = ""


@dataclasses.dataclass(frozen=True)
class Exported:
    """How many images were exported, and how many stay since they were not approved."""

    written: int
    left: int


def add_review(folder: str | Path, name: str, approved: bool, reason: str = "", reviewer: str = "") -> Review:
    """Writes down what somebody decided about an image of a folder of generated images; a later review replaces it.

    Raises:
        UserError: there is no such image, or the review can't be written.
    """
    record = read_records(folder).get(name)
    if record is None:
        raise UserError(f"{folder} has no generated image {name}.")
    review = Review(approved, reason, reviewer, str(record.get("pixels", "")))
    append_record(folder, {"file": name, **dataclasses.asdict(review)}, REVIEWS)
    return review


def read_reviews(folder: str | Path) -> dict[str, Review]:
    """The last review of each image by its name; images without one are not in it.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return {
            name: Review(
                record["approved"] is True,
                str(record.get("reason", "")),
                str(record.get("reviewer", "")),
                str(record.get("pixels", "")),
            )
            for name, record in read_records(folder, REVIEWS).items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{Path(folder) / REVIEWS} is damaged: {error}. Review the images again.") from error


def holds_generated(folder: str | Path) -> bool:
    """Whether this is a folder of images that a model made."""
    return (Path(folder) / RECORDS).is_file()


def export_generated(
    folder: str | Path, out: str | Path, policy: str | Path | None = None, approved_only: bool = False
) -> Exported:
    """Copies a folder of images that a model made, with their marks and what lies beside them (masks, tables, real images); where
    the policy asks for a review, the approved ones alone. What lies beside them tells of all, and leaves only with all.

    What an earlier call has delivered and this one does not, such as an image that was rejected since, is taken away first. A
    crash leaves no such image in the table of `out`.

    Args:
        folder: as `generated_images` writes it.
        out: where to write; the same call goes on where it stopped.
        policy: file of the usage policy; None = policy.yaml in the folder, or in that above, or of the model there.
        approved_only: leave the others behind, whether a policy asks for a review or not.

    Raises:
        UserError: an image has lost its mark or was changed since; none is approved, or not all are and there are tables of all;
            `out` holds something else, or images of another folder.
    """
    source, target = Path(folder), Path(out)
    records, rules = read_records(source), policy_of_images(source, policy)
    refuse_foreign_folder(target, RECORDS, "generated images")
    if target.resolve().is_relative_to(source.resolve()):
        raise UserError(f"--out is {out}, in the folder of the images itself. Choose another one.")
    before = _delivered(target, source, records)
    asked = rules is not None and rules.rules.require_review
    chosen, beside = sorted(records), _beside(source, set(records))
    if asked or approved_only:
        reviews = read_reviews(source)
        chosen = [name for name in chosen if _is_approved(records[name].get("pixels"), reviews.get(name))]
    if len(chosen) < len(records):
        of_all = sorted(set(beside) - _OURS)
        if not chosen or of_all:
            also = f"{target} still holds what was exported before: delete it, too." if before else ""
            raise _not_approved(rules if asked else None, source, (len(chosen), len(records)), of_all, also)
        beside = [name for name in beside if name != GRID]
    for name in chosen:
        _check(source, name, str(records[name].get("pixels", "")))
    gone = {*before, *records, GRID} - {*chosen, *beside}
    _begin_delivery(target, [records[name] for name in chosen], gone)
    for name in [*chosen, *beside]:
        _copy(source / name, target / name)
    return Exported(len(chosen), len(records) - len(chosen))


def _not_approved(
    rules: Policy | None, folder: Path, approved: tuple[int, int], of_all: list[str], also: str
) -> UserError:
    """The error, by the policy's rule where there is one that asks for a review; `approved` of how many."""
    found = f"none of the {approved[1]} images in {folder} is approved"
    remedy = "Review them first."
    if approved[0]:
        left = f"{approved[1] - approved[0]} of the {approved[1]} images in {folder}"
        found = f"{left} are not approved, and {of_all[0]} beside them is of all"
        remedy = "Review them, or make the folder again without those that were rejected."
    remedy = f"{remedy} {also}".strip()
    return UserError(f"{found}. {remedy}") if rules is None else rules.refuse("require_review", found, remedy)


def _is_approved(pixels: object, review: Review | None) -> bool:
    return review is not None and review.approved and review.pixels == pixels


def _beside(folder: Path, images: set[str]) -> list[str]:
    """The other files of a folder, without the table of records and what is hidden or half written."""
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    kept = (path for path in found if not any(part.startswith(".") for part in path.parts) and path.suffix != ".tmp")
    return [name for name in map(Path.as_posix, kept) if name not in images and name != RECORDS]


def _delivered(folder: Path, source: Path, records: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The records of what an earlier call has delivered, of which the images that are no longer chosen may be deleted.

    Raises:
        UserError: the folder holds images of another one.
    """
    before = read_records(folder)
    for name in records:
        _inside(source, name)
    same = (name in records and records[name].get("pixels") == one.get("pixels") for name, one in before.items())
    if before and not any(same):
        raise UserError(f"{folder} holds other images than {source} does. Choose another --out, or delete that folder.")
    return before


def _begin_delivery(folder: Path, records: Iterable[dict[str, Any]], gone: Iterable[str]) -> None:
    """Says in a folder what it is to hold, by which it is known when the same call goes on, and then deletes what is not."""
    places = [_inside(folder, name) for name in sorted(gone)]
    write_atomically(folder / RECORDS, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    remove_leftovers(folder, below=True)
    for place in places:
        with user_errors_for(place):
            place.unlink(missing_ok=True)


def _inside(folder: Path, name: str) -> Path:
    """The place of an image that the table of a folder names."""
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise UserError(f"{folder / RECORDS} names {name}, which leads out of its folder.")
    return folder / name


def _check(folder: Path, name: str, pixels: str) -> None:
    """Refuses an image that is not what its mark and its record say."""
    path = _inside(folder, name)
    found = verify(path)
    if found.verdict != "marked" or found.mark is None or found.mark.pixels != pixels:
        why = {"unmarked": "has no mark", "damaged": f"is damaged: {found.reason}"}
        raise UserError(
            f"{path} {why.get(found.verdict, 'was changed since it was made')}. Make it again, or take it out of "
            f"{folder / RECORDS}."
        )


def _copy(path: Path, target: Path) -> None:
    make_folder(target.parent)
    with user_errors_for(target):
        draft = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(path, draft)
        move_into_place(draft, target)
