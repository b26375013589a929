"""A zip of images, read without unpacking it, from several threads at once."""

from __future__ import annotations

import lzma
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from sadm.core.errors import UserError
from sadm.core.unpacking import check_unpacking
from sadm.data.records import Unreadable
from sadm.data.sources.trees import Tree

_UTF8 = 0x800  # flag of a member whose name is UTF-8
_ENCRYPTED = 0x1
_HEADER = 30  # bytes of a member in front of its name
_MOST_BYTES = 1 << 30  # of a member; no image file that is accepted comes near
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, struct.error)


def holds_arrays(path: Path) -> bool:
    """Whether a zip is an .npz, told by its first member: the directory of a large zip takes seconds to read."""
    with open(path, "rb") as file:
        header = file.read(_HEADER)
        name = file.read(int.from_bytes(header[26:28], "little"))
    return name.endswith(b".npy")


def walk_zip(path: Path, source: str) -> Tree:
    """The files of a zip; where all lie in one folder, as when a folder was zipped, names start below it.

    Hidden files are ignored. Encrypted and damaged members, and members that would unpack to more than any image that is
    accepted, are refused when they are read.

    Raises:
        UserError: the zip is damaged.
    """
    archive, lock = _open(path), threading.Lock()
    # A forged member may have no name, which `ZipInfo.is_dir` is not made for.
    files = [info for info in archive.infolist() if info.filename and not info.filename.endswith("/")]
    members = {_name(info): info for info in files}
    names = [name for name in members if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]
    above = _common_folder(names)
    tree = Tree(source, str(path))
    for name in names:
        tree.add(name[len(above) :], _reader(archive, members[name], lock))
    return tree


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(f"{path} is a damaged zip ({error}). Copy or download it again.") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Check the file and its permissions.") from error


def _name(info: zipfile.ZipInfo) -> str:
    """The name in Unicode; tools that do not say so write UTF-8 (macOS) or CP932 (Windows in Japan)."""
    name = info.filename
    if not info.flag_bits & _UTF8:
        try:
            raw = name.encode("cp437")  # what zipfile decoded it with
        except UnicodeEncodeError:
            return name
        for codec in ("utf-8", "cp932"):
            try:
                return raw.decode(codec).replace("\\", "/")
            except UnicodeDecodeError:
                continue
    return name


def _common_folder(names: list[str]) -> str:
    """The folder that all files lie in, with a slash; "" where there is none."""
    tops = {name.split("/")[0] for name in names if "/" in name}
    only = len(tops) == 1 and all("/" in name for name in names)
    return f"{tops.pop()}/" if only else ""


def _reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo, lock: threading.Lock) -> Callable[[], bytes]:
    def read() -> bytes:
        if info.file_size > _MOST_BYTES:  # zipfile never unpacks more than this size says
            raise Unreadable(f"it unpacks to {info.file_size} bytes, more than any file that is accepted (a zip bomb?)")
        try:
            check_unpacking(info.compress_size, info.file_size)
        except ValueError as error:
            raise Unreadable(str(error)) from error
        if info.flag_bits & _ENCRYPTED:
            raise Unreadable("it is encrypted; unpack the zip with its password, and give the folder")
        try:
            with lock:  # the archive counts its open members, and not safely
                member = archive.open(info)
            try:
                return member.read()
            finally:
                with lock:
                    member.close()
        except NotImplementedError as error:
            raise Unreadable(f"{error}; zip the images with ordinary compression") from error
        except _DAMAGED as error:
            raise Unreadable(f"damaged in the zip ({error})") from error

    return read
