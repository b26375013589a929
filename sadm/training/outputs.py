"""Images that a model made or changed, as files: each with its mark, and a table of all of them beside them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from sadm.core.errors import UserError
from sadm.core.files import (
    make_folder,
    read_object,
    refuse_foreign_folder,
    remove_leftovers,
    user_errors_for,
    write_atomically,
    write_json,
)
from sadm.core.marking import Mark, write_marked_png
from sadm.core.verifying import verify
from sadm.data import to_uint8
from sadm.training.model_folder import Model
from sadm.training.policy import Policy, enforce, enforce_count, leave_with_images, policy_of

RECORDS, ABOUT = "records.jsonl", "generated.json"


class GeneratedImages:
    """A folder of images that one model made or changed; see `generated_images`."""

    def __init__(self, folder: Path, model: Model, tool: str, policy: Policy | None = None) -> None:
        self.folder, self.model, self.tool, self.policy = folder, model, tool, policy
        self._records = read_records(folder)

    def __len__(self) -> int:
        return len(self._records)

    def has(self, name: str) -> bool:
        """Whether this image was written before: it need not be made again."""
        return name in self._records and (self.folder / name).is_file()

    def holds(self, name: str, mark: Mark) -> bool:
        """Whether this very image was written before: with such a mark as `mark` gives, and not changed since."""
        found = verify(self.folder / name) if self.has(name) else None
        if found is None or found.mark is None or found.verdict != "marked":
            return False
        return found.mark == dataclasses.replace(mark, pixels=str(self._records[name].get("pixels", "")))

    def record(self, name: str) -> dict[str, Any]:
        """What was written about an image."""
        return self._records[name]

    def add(
        self,
        name: str,
        image: torch.Tensor | np.ndarray,
        *,
        seed: int | None,
        label: str | None = None,
        edited: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> Path:
        """Writes one image with its mark, and a line about it.

        Args:
            name: of the file within the folder, ending in .png; parts are separated by "/".
            image: [C, H, W], floating point in [-1, 1] or uint8.
            seed: that its randomness comes from; None = it has none.
            label: class that was asked for.
            edited: a real image went in.
            details: further facts, for JSON.

        Raises:
            UserError: the file can't be written, pixels are NaN or infinite, or the usage policy allows no further image.
            ValueError: a name that leaves the folder.
        """
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or place.suffix != ".png":
            raise ValueError(f"expected a file name within the folder that ends in .png, got {name!r}")
        if name not in self._records:
            enforce_count(self.policy, len(self) + 1, self.folder)
        pixels = image if isinstance(image, torch.Tensor) else torch.from_numpy(image)
        pixels = pixels if pixels.dtype == torch.uint8 else to_uint8(pixels)
        mark = self.mark(seed, label, edited, details)
        path = self.folder / place
        written = write_marked_png(path, pixels.permute(1, 2, 0).contiguous().numpy(), mark)
        record = {"file": name, "seed": seed, "label": label, "edited": edited, "details": dict(mark.details)}
        self._append({**record, "pixels": written.pixels})
        return path

    def mark(
        self,
        seed: int | None,
        label: str | None = None,
        edited: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> Mark:
        """The mark of an image in this folder; arguments as of `add`."""
        data = str(self.model.description.get("data", {}).get("fingerprint", ""))
        return Mark(self.tool, edited, self.model.hash, data, seed, label or "", dict(details or {}))

    def _append(self, record: dict[str, Any]) -> None:
        append_record(self.folder, record)
        self._records[record["file"]] = record

    def tidy(self) -> None:
        """Brings the table into the order of the files' names, one line each."""
        write_atomically(self.folder / RECORDS, "".join(_line(self._records[name]) for name in sorted(self._records)))


@contextlib.contextmanager
def generated_images(
    out: str | Path,
    model: Model,
    tool: str,
    about: Mapping[str, Any] | None = None,
) -> Iterator[GeneratedImages]:
    """Opens a folder for images that a model makes or changes.

    Args:
        out: the folder; made where it is missing.
        model: what makes them; a policy that was given for it comes before that of its folder (see `policy_of`).
        tool: the command, for the marks.
        about: all that decides what is in the folder, for JSON. With it, a second call goes on where the first one stopped, and
            is refused where it would make other images; without, files of the same name are written over.

    Where nothing that lies in or above the folder would ask for the review that the model's policy asks for, a copy of the policy
    is laid into it, for `sadm export`.

    Raises:
        UserError: the folder holds something else, or can't be written; the policy forbids it.
    """
    rules = policy_of(model.folder, model.policy) if model.folder or model.policy is not None else None
    enforce(rules, model.folder, "draw", model.hash)
    folder = Path(out)
    if about is None:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file; --out must be a folder.")
        make_folder(folder)
    else:
        _begin(folder, json.loads(json.dumps({"tool": tool, "model": model.hash, **about}, allow_nan=False)))
    with user_errors_for(folder), tempfile.TemporaryFile(dir=folder):
        pass  # before the time is spent
    _remove_own_leftovers(folder)
    leave_with_images(rules, folder)
    outputs = GeneratedImages(folder, model, tool, rules)
    try:
        yield outputs
    finally:
        if len(outputs):
            outputs.tidy()


def read_records(folder: str | Path, table: str = RECORDS) -> dict[str, dict[str, Any]]:
    """Lines of a folder's table by file name; of several about one file, the last. A torn line is left out.

    Raises:
        UserError: the table is damaged.
    """
    path = Path(folder) / table
    if not path.is_file():
        return {}
    # Not splitlines(), which ends lines at U+2028 and others, too: they are allowed in JSON, and so in labels.
    lines = path.read_text(encoding="utf-8", errors="replace").removesuffix("\n").split("\n")
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            found[_checked(record["file"])] = record
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if number < len(lines):
                raise UserError(
                    f"{path}, line {number}, is no record of an image: {error}. Take that line out of the file, or restore it."
                ) from error
    return found


def append_record(folder: str | Path, record: dict[str, Any], table: str = RECORDS) -> None:
    """Adds a line to a folder's table. A line that a killed process left torn at the table's end is taken away first.

    Raises:
        UserError: it can't be written.
    """
    path = Path(folder) / table
    with user_errors_for(path), open(path, "a+b") as file:
        end = file.tell()
        file.seek(max(0, end - 1))
        if file.read() not in (b"", b"\n"):
            file.seek(0)
            torn = file.read().rpartition(b"\n")[2]
            if _is_record(torn):
                file.write(b"\n")
            else:
                file.truncate(end - len(torn))
        file.write(_line(record).encode())


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _checked(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of its file is {name!r}; expected a text")
    return name


def _remove_own_leftovers(folder: Path) -> None:
    """Removes what a killed process left half written, where it can't be of others who work in or below the folder."""
    if (folder / ABOUT).exists():
        remove_leftovers(folder, below=True)
    elif (folder / RECORDS).exists():
        for path in (*folder.glob(f".{RECORDS}.*.tmp"), *folder.glob(".*.png.*.tmp")):
            if path.is_file():
                path.unlink(missing_ok=True)


def _begin(folder: Path, about: dict[str, Any]) -> None:
    """Refuses a folder of other images, and says in a new one what it is to hold."""
    refuse_foreign_folder(folder, ABOUT, "images that were generated here")
    path = make_folder(folder) / ABOUT
    if not path.exists():
        write_json(path, about)
        return
    stored = read_object(path)
    changed = sorted(key for key in {*stored, *about} if stored.get(key) != about.get(key))
    if changed:
        raise UserError(
            f"{folder} holds images that were made otherwise (another {', '.join(changed)}). Choose another --out, or "
            "delete that folder."
        )


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
