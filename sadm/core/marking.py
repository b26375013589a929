"""Marks in images that a model made or changed: XMP with the IPTC's digital source type, the model, the data and the seed.

The properties ``Iptc4xmpExt:DigitalSourceType`` and its values are those of the IPTC Photo Metadata Standard, which other
programs read; what has no place there is under a name of our own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image, PngImagePlugin

from sadm import __version__
from sadm.core.errors import UserError
from sadm.core.files import parse_json, write_atomically
from sadm.core.grids import check_pictures

XMP_KEY = "XML:com.adobe.xmp"
"""Keyword of the PNG text chunk that holds XMP (XMP specification, part 3)."""
GENERATED, EDITED = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
"""Terms of the IPTC's list of digital source types: all of the image is a model's, or a part of a real one."""

_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "sadm": "urn:sadm:mark:1#",
}
_TEXTS = ("tool", "model", "data", "label", "pixels")
_LARGEST = 1 << 18  # bytes of XMP; ours takes about a thousand


@dataclasses.dataclass(frozen=True)
class Mark:
    """Where an image comes from.

    Attributes:
        tool: the command, such as "sadm sample".
        edited: a real image went in; otherwise all of it is the model's.
        model: hash of the model's weights (`sadm.training.model_folder.model_hash`); "" = not known.
        data: fingerprint of the images that it was trained on; "" = not known.
        seed: that the image's randomness comes from; None = it has none.
        label: class that was asked for; "" = none.
        details: what else is to be known, such as the strength of a change.
        pixels: hash of the pixels as written (`pixel_hash`), which tells whether they were changed since.
        version: of the program that wrote it.
    """

    tool: str
    edited: bool = False
    model: str = ""
    data: str = ""
    seed: int | None = None
    label: str = ""
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    pixels: str = ""
    version: str = __version__

    @property
    def source_type(self) -> str:
        """The IPTC's term for such an image."""
        return EDITED if self.edited else GENERATED

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"source_type": self.source_type, **dataclasses.asdict(self), "details": dict(self.details)}


def pixel_hash(image: np.ndarray) -> str:
    """Hexadecimal SHA-256 over size and bytes of an image, uint8 [H, W, C] with C = 1, 3 or 4."""
    check_pictures(image[None])
    digest = hashlib.sha256(json.dumps(list(image.shape)).encode("ascii"))
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def write_marked_png(path: str | Path, image: np.ndarray, mark: Mark) -> Mark:
    """Writes one image, uint8 [H, W, C] with C = 1, 3 or 4, as PNG with its mark, atomically.

    Returns:
        The mark as written, with the hash of the pixels.

    Raises:
        UserError: the file can't be written.
        ValueError: the image has another type or shape, or the details are no JSON.
    """
    written = dataclasses.replace(mark, pixels=pixel_hash(image))
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(XMP_KEY, to_xmp(written))
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG", pnginfo=chunks)
    write_atomically(path, buffer.getvalue())
    return written


def to_xmp(mark: Mark) -> str:
    """A mark as an XMP packet."""
    values = {
        "Iptc4xmpExt:DigitalSourceType": _SOURCE_TYPES + mark.source_type,
        "xmp:CreatorTool": f"SADM {mark.version}",
        **{f"sadm:{name}": getattr(mark, name) for name in _TEXTS if getattr(mark, name)},
        **({} if mark.seed is None else {"sadm:seed": str(mark.seed)}),
        **({"sadm:details": json.dumps(mark.details, sort_keys=True, allow_nan=False)} if mark.details else {}),
    }
    spaces = "".join(f' xmlns:{name}="{space}"' for name, space in _SPACES.items() if name != "rdf")
    properties = "".join(f"\n   {name}={quoteattr(_visible(text))}" for name, text in values.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f' <rdf:RDF xmlns:rdf="{_SPACES["rdf"]}">\n'
        f'  <rdf:Description rdf:about=""{spaces}{properties}/>\n'
        " </rdf:RDF>\n</x:xmpmeta>\n"
        '<?xpacket end="r"?>'
    )


def read_mark(path: str | Path) -> Mark | None:
    """The mark of an image file of whatever origin; None where it has none of ours.

    PNG, JPEG, WebP and TIFF files are looked into, so that a mark is found that other programs have carried over.

    Raises:
        UserError: there is no such file, it is no image, or its mark is damaged.
    """
    return read_marked(path)[0]


def read_marked(path: str | Path) -> tuple[Mark | None, bool]:
    """As `read_mark`, and whether the pixels are those that were marked.

    Raises:
        UserError: as `read_mark`.
    """
    try:
        with warnings.catch_warnings(), Image.open(path, formats=("PNG", "JPEG", "WEBP", "TIFF")) as image:
            warnings.simplefilter("ignore")  # about odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image.load()
            packet = image.info.get("xmp") or image.info.get(XMP_KEY)
            pixels = np.asarray(image) if image.mode in ("L", "RGB", "RGBA") else None
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except Exception as error:  # damaged files make Pillow's decoders raise almost any type
        raise UserError(f"{path} can't be read as an image: {str(error) or type(error).__name__}.") from error
    if not packet:
        return None, False
    try:
        if not isinstance(packet, (bytes, str)):  # what a forged TIFF gives
            raise ValueError("its XMP is no text")
        mark = from_xmp(packet.encode("utf-8", "surrogatepass") if isinstance(packet, str) else packet)
    except ValueError as error:
        raise UserError(f"the mark of {path} is damaged: {error}.") from error
    if mark is None or pixels is None:
        return mark, False
    return mark, mark.pixels == pixel_hash(pixels[..., None] if pixels.ndim == 2 else pixels)


def from_xmp(packet: bytes) -> Mark | None:
    """The mark in an XMP packet of whatever origin; None where it has none of ours.

    Raises:
        ValueError: it is no XMP, declares entities, is too large, or a value of ours makes no sense.
    """
    if len(packet) > _LARGEST:
        raise ValueError(f"its XMP has {len(packet)} bytes; expected at most {_LARGEST}")
    # As text: a packet may declare another encoding, in which what follows would not be seen. Other programs' may be padded.
    text = packet.decode("utf-8").strip("\0")
    if "<!" in text:  # entities could stand for gigabytes; XMP has neither declarations nor comments of use here
        raise ValueError("its XMP holds declarations, which none needs")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without declarations there are no entities
    except ElementTree.ParseError as error:
        raise ValueError(f"its XMP can't be parsed ({error})") from error
    found = _properties(root)
    if "sadm:tool" not in found:
        return None
    source = found.get("Iptc4xmpExt:DigitalSourceType", "").removeprefix(_SOURCE_TYPES)
    if source not in (GENERATED, EDITED):
        raise ValueError(f"its digital source type is {source!r}; expected {GENERATED} or {EDITED}")
    seed, details = found.get("sadm:seed"), parse_json(found.get("sadm:details", "{}"))
    if not isinstance(details, dict):
        raise ValueError("its details are no JSON object")
    return Mark(
        edited=source == EDITED,
        seed=None if seed is None else int(seed),
        details=details,
        version=found.get("xmp:CreatorTool", "").removeprefix("SADM "),
        **{name: found.get(f"sadm:{name}", "") for name in _TEXTS},
    )


def _properties(root: ElementTree.Element) -> dict[str, str]:
    """Properties by prefixed name; XMP may write each as an attribute or as an element, and other programs rewrite it so."""
    prefixes = {f"{{{space}}}": f"{name}:" for name, space in _SPACES.items()}
    found: dict[str, str] = {}
    for description in root.iter(f"{{{_SPACES['rdf']}}}Description"):
        pairs = [*description.attrib.items(), *((child.tag, child.text or "") for child in description)]
        for name, text in pairs:
            space, _, local = name.rpartition("}")
            if f"{space}}}" in prefixes:
                found[prefixes[f"{space}}}"] + local] = text
    return found


def _visible(text: str) -> str:
    """Text without what XML has no way to write."""
    return "".join(
        c if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff") else "\ufffd"
        for c in text
    )
