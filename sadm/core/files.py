"""Files that are there whole or not at all.

Everything is written beside its destination and renamed into place, so that a crash, a full disk or a second reader never
sees half a file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from sadm.core.errors import UserError

_REMEDIES = {
    errno.ENOSPC: "the disk is full. Free some space and run the same command again; what was saved before is intact",
    errno.EDQUOT: "the disk quota is used up. Free some space and run the same command again",
    errno.EFBIG: "the file is larger than this shell or disk allows (ulimit -f). Allow more and run the same command again",
    errno.EROFS: "the file system is read-only. Choose another folder",
    errno.EACCES: "permission denied. Choose a folder that you may write to",
    errno.EPERM: "permission denied. Choose a folder that you may write to",
    errno.ENOTDIR: "a part of this path is a file, not a folder. Choose another path",
    errno.EEXIST: "a file is in the way. Choose another path",
    errno.EISDIR: "a folder is in the way. Choose another path",
}
_OLD, _GONE = ".old.tmp", ".gone.tmp"  # what is put after a temporary folder's name
_POLL_SECONDS = 0.1
_held: set[int] = set()  # locks of this process, as file descriptors

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@contextlib.contextmanager
def user_errors_for(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns an operating-system error while writing `path` into a `UserError` that names the path and the remedy."""
    try:
        yield
    except OSError as error:
        code = error.errno if error.errno is not None else -1
        remedy = _REMEDIES.get(code)
        if remedy is None:
            raise
        raise UserError(f"cannot write {path}: {remedy}.") from error


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Creates the folder and its parents where missing.

    Raises:
        UserError: it cannot be created, with the reason.
    """
    folder = Path(path)
    with user_errors_for(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file whole or not at all (temporary sibling, fsync, rename).

    Raises:
        UserError: the disk is full, the folder read-only or forbidden; the old content stays.
    """
    target = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    make_folder(target.parent)
    with user_errors_for(target):
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        try:
            os.fchmod(handle, 0o644)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes JSON atomically; non-finite numbers are refused, since other readers reject them."""
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def parse_json(text: str | bytes) -> Any:
    """JSON of whatever origin.

    Raises:
        ValueError: it is none, is nested deeper than Python's stack, or holds half of a surrogate pair, which no file can.
    """
    try:
        value = json.loads(text)
        if _SURROGATE.search(text if isinstance(text, str) else text.decode("utf-8", "replace")):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads JSON.

    Raises:
        UserError: the file is missing, can't be read or is no JSON.
    """
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}). Delete it and run the same command again.") from error


def read_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        UserError: as of `read_json`, or it holds something else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__}; expected a JSON object. Restore or delete it.")
    return value


def move_into_place(draft: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Puts a file that was written on the same disk where it belongs; what was there before is replaced.

    Raises:
        UserError: it can't be put there.
    """
    with user_errors_for(target):
        _sync(Path(draft))
        os.replace(draft, target)
        _sync(Path(target).parent)


@contextlib.contextmanager
def folder_written_atomically(path: str | os.PathLike[str], replacing: Collection[str] | None = None) -> Iterator[Path]:
    """Yields a temporary folder beside `path` that takes its place when the block ends well, and vanishes otherwise.

    Args:
        path: the folder; an old one is replaced.
        replacing: names of what belongs to an old folder; whatever else somebody laid into it stays. None = nothing stays.

    Raises:
        UserError: the disk is full, the parent is read-only or forbidden, or the folder is called by no name; an old folder at
            `path` stays.
    """
    target = Path(os.path.normpath(path))  # through itself and back, its own name would vanish on the way
    if target.name in ("", ".."):
        raise UserError(f"{path} is replaced as a whole. Give a folder with a name of its own.")
    make_folder(target.parent)
    with user_errors_for(target):
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        try:
            temporary.chmod(0o755)
            yield temporary
            for file in temporary.iterdir():
                _sync(file)
            if replacing is not None:
                _carry_over(target, temporary, replacing)
            _move_into_place(temporary, target)
            _sync(target.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def refuse_foreign_folder(folder: Path, marker: str, what: str, ignoring: tuple[str, ...] = ()) -> None:
    """Refuses an output folder that holds something else than what is kept there.

    Args:
        folder: where output is to go; may be missing or empty.
        marker: the file by which a folder of ours is known.
        what: the word for it, such as "run".
        ignoring: further names that do not count; temporary leftovers never do.

    Raises:
        UserError: it is a file, or a folder with other files and without the marker.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; --out must be a folder.")
    others = (path.name for path in folder.iterdir() if not path.name.endswith(".tmp"))
    if not (folder / marker).exists() and any(name not in ignoring for name in others):
        raise UserError(f"{folder} is not empty and holds no {what}. Choose another --out.")


@contextlib.contextmanager
def locked(folder: Path, doing: str, patience: float = 0.0) -> Iterator[None]:
    """Keeps a second process out of a folder; the lock goes with this process and those that it is given to, however they end.

    Args:
        folder: which exists.
        doing: what is done in there, for the message, such as "training".
        patience: seconds to wait for a process that may be about to end.

    Raises:
        UserError: another process has it, or it can't be written to.
    """
    path = folder / ".lock"
    with user_errors_for(path):
        file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - closed below; what is done in the folder has errors of its own
    with file:
        deadline = time.monotonic() + patience
        while not _locks(file.fileno()):
            if time.monotonic() >= deadline:
                raise UserError(f"another process is {doing} in {folder}. Wait for it, or choose another folder.")
            time.sleep(_POLL_SECONDS)
        _held.add(file.fileno())
        try:
            yield
        finally:
            _held.discard(file.fileno())


def is_locked(folder: Path) -> bool:
    """Whether a process has the lock of a folder (see `locked`); asking keeps nobody else from asking."""
    try:
        with open(folder / ".lock", encoding="utf-8") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def held_locks() -> tuple[int, ...]:
    """File descriptors of the locks that this process holds, for processes that work for it (``pass_fds``): a folder then stays
    locked until the last of them has ended.
    """
    return tuple(sorted(_held))


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def remove_leftovers(folder: str | os.PathLike[str], below: bool = False, of: str = "") -> None:
    """Removes the temporary siblings that a killed process left in `folder`.

    A folder that had stepped aside for a new one, which a kill then kept from taking its place, returns.

    Args:
        folder: which need not exist.
        below: also in all folders below it.
        of: those of the file or folder of this name alone, where others may be working in `folder`; "" = all.
    """
    pattern = f".{glob.escape(of)}.*.tmp" if of else ".*.tmp"
    found = Path(folder).rglob(pattern) if below else Path(folder).glob(pattern)
    for path in sorted(found):
        if not path.is_dir():
            path.unlink(missing_ok=True)
        elif path.name.endswith(_OLD) and not (target := _target_of(path)).exists():
            os.replace(path, target)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _carry_over(old: Path, new: Path, replacing: Collection[str]) -> None:
    """Gives a new folder what else an old one holds, which keeps it: whenever this ends, nothing is lost."""
    for entry in old.iterdir() if old.is_dir() else ():
        if entry.name in replacing or entry.name.endswith(".tmp") or (new / entry.name).exists():
            continue
        _link(entry, new / entry.name)


def _link(source: Path, target: Path) -> None:
    """Links a file, or all files below a folder; copies them where the file system has no hard links."""
    if source.is_dir() and not source.is_symlink():
        target.mkdir()
        for entry in source.iterdir():
            _link(entry, target / entry.name)
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _move_into_place(folder: Path, target: Path) -> None:
    """Renames `folder` to `target`; an old folder there steps aside first, and comes back if that fails."""
    if not target.exists():
        os.replace(folder, target)
        return
    if not target.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    aside, gone = folder.with_name(folder.name + _OLD), folder.with_name(folder.name + _GONE)
    os.replace(target, aside)
    try:
        os.replace(folder, target)
    except BaseException:
        os.replace(aside, target)
        raise
    os.replace(aside, gone)  # a half-emptied folder must not be taken for one that stepped aside
    shutil.rmtree(gone, ignore_errors=True)


def _target_of(aside: Path) -> Path:
    """Where a folder belongs that has stepped aside: ``.NAME.RANDOM.tmp.old.tmp``."""
    return aside.with_name(aside.name.removesuffix(_OLD)[1:].rsplit(".", 2)[0])


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
