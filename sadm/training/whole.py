"""Whether a model's tensors are still those that were written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sadm.core.errors import UserError
from sadm.core.files import sha256_of_file


def checksums_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of tensors in a folder and those below, by its path in there."""
    return {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in sorted(folder.rglob("*.safetensors"))}


def refuse_altered(folder: Path, checksums: object) -> None:
    """Refuses a model of which a file of tensors is not what was written.

    Args:
        folder: of the model.
        checksums: that `checksums_of` gave, as the model's description has them; empty for models that were written before there
            were any.

    Raises:
        UserError: a file is missing, truncated or altered, or these are no checksums.
    """
    if not isinstance(checksums, Mapping):
        raise UserError(
            f"the model in {folder} can't be loaded: its checksums are {type(checksums).__name__}, expected one for each file. "
            "Restore its description from a copy."
        )
    there = checksums_of(folder) if checksums else {}
    for name, checksum in checksums.items():
        if there.get(name) != checksum:
            raise UserError(
                f"the model in {folder} can't be loaded: {name} is missing, truncated or altered (its checksum differs). "
                "Restore it from a copy, or write it anew: sadm train with the same options in another --out."
            )
