"""The folder that a studio works in: trainings, what they made, what was uploaded, and the jobs."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from sadm.core.errors import UserError
from sadm.core.files import make_folder
from sadm.experiments.config import CompareConfig
from sadm.experiments.plan import RUNS
from sadm.training.outputs import RECORDS
from sadm.training.run import CONFIG as RUN

REPORT = "report.html"
_NOT_PLAIN = re.compile(r"[^\w.-]+")
_LONGEST = 60  # characters of a name


class Workspace:
    """Where things are; nothing outside of it is written.

    Args:
        folder: made where it is missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = make_folder(Path(folder).resolve())
        self.runs_folder, self.out_folder = make_folder(self.folder / "runs"), make_folder(self.folder / "images")
        self.jobs_folder, self.uploads = self.folder / "jobs", make_folder(self.folder / "uploads")

    def runs(self) -> list[str]:
        """Names of the trainings, the newest last; those of a comparison are called ``COMPARISON/RUN``."""
        return _newest_last(self.runs_folder, f"*/{RUN}", f"*/{RUNS}/*/{RUN}")

    def comparisons(self) -> list[str]:
        """Names of the comparisons, the newest last."""
        return _newest_last(self.runs_folder, f"*/{CompareConfig.FILE}")

    def made(self) -> list[str]:
        """Names of the folders of generated images, the newest last."""
        return _newest_last(self.out_folder, f"*/{RECORDS}")

    def run(self, name: str | None) -> Path:
        """The folder of a training or comparison.

        Raises:
            UserError: none was chosen, or there is none of this name.
        """
        comparison, within, own = (name or "").partition("/")
        folder = self.runs_folder
        if within:
            folder, name = _within(folder, comparison, "training") / RUNS, own
        return _within(folder, name, "training")

    def images(self, name: str | None) -> Path:
        """A folder of generated images; errors as of `run`."""
        return _within(self.out_folder, name, "folder of images")

    def new_run(self, name: str) -> Path:
        """A folder for a training of this name; one that is there already may be gone on with.

        Raises:
            UserError: the name is empty.
        """
        return self.runs_folder / plain_name(name)

    def new_images(self, kind: str, run: str) -> Path:
        """A folder, not there yet, for images of a kind that a training makes."""
        end = f"-{kind}-{time.strftime('%m%d-%H%M%S')}"
        stem = plain_name(run)[: _LONGEST - len(end)] + end
        names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
        return next(self.out_folder / name for name in names if not (self.out_folder / name).exists())


def plain_name(text: str) -> str:
    """A name that every file system takes, of whatever a person typed.

    Raises:
        UserError: nothing is left of it.
    """
    name = _NOT_PLAIN.sub("-", text.strip())[:_LONGEST].strip("-.")
    if not name:
        raise UserError(f"the name is '{text}'; expected letters or digits.")
    return name


def chosen_of(names: Sequence[str], given: str | None = None) -> str | None:
    """What is chosen, if it is still there; else the newest, which is the last."""
    return given if given in names else next(reversed(names), None)


def _newest_last(folder: Path, *patterns: str) -> list[str]:
    """Folders that hold a file of one of the patterns, which stays as it is once they are complete, by its age. New ones come
    last: in a menu on a page each name keeps its place, by which the browser knows what was chosen."""
    found = [path for pattern in patterns for path in folder.glob(pattern)]
    names = {path: path.relative_to(folder).parent.as_posix().replace(f"/{RUNS}/", "/") for path in found}
    return [names[path] for path in sorted(found, key=lambda path: (path.stat().st_mtime, names[path]))]


def _within(folder: Path, name: str | None, what: str) -> Path:
    if not name:
        raise UserError(f"no {what} was chosen.")
    path = folder / name
    if Path(name).name != name or name in (".", "..") or not path.is_dir():
        raise UserError(f"there is no {what} '{name}'.")
    return path
