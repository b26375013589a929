"""The images that a comparison or a sweep was begun on: results on others do not belong beside its own."""

from __future__ import annotations

from pathlib import Path

from sadm.core.errors import UserError
from sadm.core.files import read_object
from sadm.data import Split
from sadm.experiments.plan import RUNS
from sadm.training.run import FACTS

IMAGES = "images.json"
TRAIN, HELD_OUT = "train", "held_out"
_NAMES = {TRAIN: "training images", HELD_OUT: "held-out images"}


def checked_fingerprints(folder: Path, kind: str, split: Split) -> dict[str, str]:
    """Fingerprints of the images, to be kept as `IMAGES`; those of other images than a folder was begun on are refused.

    Args:
        folder: of the comparison or sweep; may be missing. One that was begun before images were written down is known by the
            training images of its runs.
        kind: the word for it.
        split: the images.

    Returns:
        by part of the images, `TRAIN` and `HELD_OUT`.

    Raises:
        UserError: other images, with both fingerprints.
    """
    now = {TRAIN: split.train.fingerprint(), HELD_OUT: split.held_out.fingerprint()}
    for part, stored in _stored(folder):
        if stored != now[part]:
            raise UserError(
                f"{folder} holds a {kind} on other images: the {_NAMES[part]} of {split.train.source} have changed (fingerprint "
                f"{stored[:12]}, now {now[part][:12]}), and results on both can't be compared. Restore the images, or choose "
                "another --out."
            )
    return now


def _stored(folder: Path) -> list[tuple[str, str]]:
    """Fingerprints, each with the part of the images that it is of."""
    path = folder / IMAGES
    if path.exists():
        kept = read_object(path)
        return [(part, str(kept[part])) for part in _NAMES if part in kept]
    runs = [read_object(file) for file in sorted(folder.glob(f"{RUNS}/*/{FACTS}"))]
    return [(TRAIN, facts["data"]["fingerprint"]) for facts in runs]
