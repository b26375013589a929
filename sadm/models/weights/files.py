"""Opening files of weights without running anything that is in them, and saying in plain words what is wrong with one."""

from __future__ import annotations

import argparse
import codecs
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from sadm.core.errors import UserError
from sadm.models.weights.proportion import are_real

_LFS = b"version https://git-lfs.github.com/spec/"
_ZIP = b"PK\x03\x04"
_PICKLE, _TORCHS_PROTOCOL = b"\x80", b"\x02"
_TORCHS_PICKLE = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # what torch.save wrote first before it wrote archives


def read_weights(path: str | Path) -> Any:
    """The content of a file of weights: safetensors by its ending, otherwise what `torch.save` wrote.

    Only tensors, numbers, strings, containers and `argparse.Namespace` (in which training scripts keep their options) are
    accepted; nothing in the file is executed.

    Returns:
        What the file holds, tensors on the CPU; those of `torch.save` are mapped from the file, not copied.

    Raises:
        UserError: there is no such file, it is empty, cut short, a text, a git-lfs pointer, or holds Python code.
    """
    path = Path(path)
    head = _head_of_weights(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    archive = _is_archive(path)
    if not archive and head.startswith(_ZIP):
        raise UserError(
            f"{path} is cut short ({path.stat().st_size:,} bytes; its end is missing). Download or copy it again."
        )
    if head[:1] == _PICKLE and head[1:2] > _TORCHS_PROTOCOL and _TORCHS_PICKLE not in head:
        raise UserError(
            f"{path} is a pickle that torch.save did not write, and a pickle can run code on this machine. It was not opened. "
            "Ask its author for safetensors, or for a state dict saved with torch.save."
        )
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except Exception as error:  # of a file that isn't one, the unpickler raises almost anything
        raise UserError(_why_not_loaded(path, str(error))) from error
    parts = [content, *content.values()] if isinstance(content, Mapping) else []
    if not all(are_real(part) for part in parts if isinstance(part, Mapping)):
        raise UserError(f"{path} holds tensors that claim more numbers than the file does. Download or copy it again.")
    return content


def _is_archive(path: Path) -> bool:
    """Whether it is a zip from its beginning to its end, as `torch.save` writes them."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # it claims to be a part of several
        return False


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # SafetensorError, and of headers with odd types almost anything
        raise UserError(
            f"{path} is cut short or no safetensors file ({path.stat().st_size:,} bytes; {error}). Download or copy it again."
        ) from error


def _head_of_weights(path: Path) -> bytes:
    """The first bytes of a file that may hold weights."""
    if not path.exists():
        raise UserError(f"{path} does not exist; expected a file of weights (.pt or .safetensors).")
    if path.is_dir():
        raise UserError(
            f"{path} is a folder; expected a file of weights (.pt or .safetensors). A diffusers folder is loaded by "
            "load_diffusers_dit, a model folder of ours by load_model."
        )
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise UserError(f"{path} is empty; expected a file of weights. Download or copy it again.")
    if head.startswith(_LFS):
        raise UserError(
            f"{path} is a git-lfs pointer, not the weights themselves. Fetch them in that repository: git lfs pull"
        )
    if _is_text(head):
        first = head.decode("utf-8", errors="replace").splitlines()[0][:60]
        raise UserError(
            f"{path} is a text file that begins with {first!r}; expected weights (.pt or .safetensors). If it was downloaded, "
            "the server may have sent a page instead of the file."
        )
    return head


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # which may end within a character
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)


def _why_not_loaded(path: Path, error: str) -> str:
    foreign = re.search(r"(?:GLOBAL|Unsupported global:|function|class) ([A-Za-z_]\w*(?:\.\w+)+)", error)
    foreign = foreign or re.search(r"GLOBAL ([A-Za-z_]\w*)", error)  # a built-in function, such as eval
    if foreign is None:
        error = (
            error.partition("WeightsUnpickler error: ")[2] or error
        )  # without torch's advice to run what is in the file
        first = next(iter(error.split("\n")), "")[:120] or "no reason is known"
        return f"{path} is damaged or no file of torch.save ({first}). Download or copy it again."
    return (
        f"{path} holds more than tensors: it asks for {foreign.group(1)}, and a file that does can run code on this machine. It "
        "was not opened any further. Ask its author for safetensors, or for a state dict saved alone."
    )
