"""Files that Pillow can't write: 16-bit colour, odd TIFFs, colour profiles made to measure."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def png_16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits: [H, W] or [H, W, 2 | 3 | 4], uint16."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(values: np.ndarray, photometric: int, bits: int = 16, extra: int | None = None, data: bytes = b"") -> bytes:
    """An uncompressed little-endian TIFF of one strip: [H, W] or [H, W, C]; `data` instead of the values' bytes, if any."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    height, width = values.shape[:2]
    data = data or values.astype("<u2" if bits == 16 else "<u1").tobytes()
    fields = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * channels),
        (259, 3, [1]),
        (262, 3, [photometric]),
        (273, 4, [0]),  # where the strip begins: filled in below
        (277, 3, [channels]),
        (278, 4, [height]),
        (279, 4, [len(data)]),
        *([(338, 3, [extra])] if extra is not None else []),
    ]
    behind = 8 + 2 + 12 * len(fields) + 4
    long = b"".join(struct.pack(f"<{len(v)}H", *v) for _, kind, v in fields if kind == 3 and len(v) > 2)
    entries, used = b"", 0
    for tag, kind, numbers in fields:
        if tag == 273:
            numbers = [behind + len(long)]
        content = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(content) > 4:
            content, used = struct.pack("<I", behind + used), used + len(content)
        entries += struct.pack("<HHI", tag, kind, len(numbers)) + content.ljust(4, b"\0")
    header = b"II" + struct.pack("<HIH", 42, 8, len(fields))
    return header + entries + struct.pack("<I", 0) + long + data


_D50 = (0.9642, 1.0, 0.8249)
# Red, green and blue of sRGB, adapted to D50 (IEC 61966-2-1, Bradford).
_PRIMARIES = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))


def rgb_profile(order: tuple[int, int, int] = (0, 1, 2), gamma: float = 1.0) -> bytes:
    """A matrix profile with the primaries of sRGB in another order, and a power as its curve."""
    columns = {name: _xyz(_PRIMARIES[i]) for name, i in zip((b"rXYZ", b"gXYZ", b"bXYZ"), order, strict=True)}
    curves = {name: _curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return _profile(b"RGB ", b"XYZ ", columns | curves)


def grey_profile(gamma: float = 1.0) -> bytes:
    """A profile for grey with a power as its curve."""
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def cmyk_profile() -> bytes:
    """A profile of an odd press on which black ink alone is seen: L* falls from 100 to 0 with it."""
    ramp = bytes(range(256))
    corners = bytes(
        byte for corner in range(16) for byte in (0 if corner & 1 else 255, 128, 128)
    )  # the last channel, black, varies fastest
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + 4 * ramp + corners + 3 * ramp
    return _profile(b"CMYK", b"Lab ", {b"A2B0": table}, kind=b"prtr")


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    text = b"a test profile"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78)
    tags = {b"desc": described, b"cprt": b"text\0\0\0\0none\0", b"wtpt": _xyz(_D50), **tags}
    entries, content, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        entries += name + struct.pack(">II", offset + len(content), len(value))
        content += value.ljust(-(-len(value) // 4) * 4, b"\0")
    body = struct.pack(">I", len(tags)) + entries + content
    white = struct.pack(">3i", *(round(65536 * value) for value in _D50))
    header = struct.pack(
        ">I4s4s4s4s4s12s4s4s",
        128 + len(body),
        b"\0" * 4,
        b"\2\x10\0\0",
        kind,
        space,
        connection,
        struct.pack(">6H", 2020, 1, 1, 0, 0, 0),
        b"acsp",
        b"\0" * 4,
    )
    header += b"\0" * (68 - len(header)) + white
    return header.ljust(128, b"\0") + body


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * gamma))
