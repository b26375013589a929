"""Marks in images: written, read by another reader, carried over, damaged, hostile."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sadm.core.errors import UserError
from sadm.core.marking import EDITED, GENERATED, Mark, from_xmp, pixel_hash, read_mark, to_xmp, write_marked_png

PIXELS = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
MARK = Mark("sadm sample", True, "ab" * 32, "cd" * 32, 17, 'a "class" & <more>', {"strength": 0.4, "steps": 3})


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG, read without Pillow; their checksums must be right."""
    found, place = [], 8
    while place < len(png):
        size = int.from_bytes(png[place : place + 4], "big")
        kind, body = png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        assert zlib.crc32(kind + body) == int.from_bytes(png[place + 8 + size : place + 12 + size], "big")
        found.append((kind, body))
        place += size + 12
    return found


def test_a_mark_comes_back_and_pixels_are_untouched(tmp_path: Path) -> None:
    written = write_marked_png(tmp_path / "a.png", PIXELS, MARK)
    assert read_mark(tmp_path / "a.png") == written
    assert written.pixels == pixel_hash(PIXELS)
    with Image.open(tmp_path / "a.png") as image:
        assert (np.asarray(image) == PIXELS).all()


def test_another_reader_finds_the_digital_source_type(tmp_path: Path) -> None:
    write_marked_png(tmp_path / "a.png", PIXELS, MARK)
    texts = [body for kind, body in chunks((tmp_path / "a.png").read_bytes()) if kind == b"iTXt"]
    assert len(texts) == 1
    keyword, rest = texts[0].split(b"\0", 1)
    assert keyword == b"XML:com.adobe.xmp"
    assert rest[:4] == b"\0\0\0\0"  # not compressed, no language: what the XMP specification asks for
    xml = rest[4:].decode("utf-8")
    found = re.search(r'Iptc4xmpExt:DigitalSourceType="([^"]*)"', xml)
    assert found is not None
    assert found[1] == "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    assert 'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"' in xml


def test_what_was_generated_and_what_was_edited_differ() -> None:
    assert (Mark("x").source_type, Mark("x", edited=True).source_type) == (GENERATED, EDITED)


@given(label=st.text(max_size=30), key=st.text(max_size=10), value=st.text(max_size=30))
def test_any_text_makes_readable_xmp(label: str, key: str, value: str) -> None:
    mark = from_xmp(to_xmp(Mark("sadm sample", label=label, details={key: value})).encode("utf-8"))
    assert mark is not None
    assert mark.details == {key: value}  # JSON writes what XML can't
    if label.isprintable():
        assert mark.label == label


def test_a_mark_that_another_program_wrote_as_elements_is_found() -> None:
    xml = to_xmp(MARK)
    start = xml.index("<rdf:Description")
    space = xml[start : xml.index("\n", start)]
    body = "".join(
        f"<{name}>{value}</{name}>"
        for name, value in re.findall(r'\n   (\S+)=["\']([^"\']*)["\']', to_xmp(Mark("sadm sample")))
    )
    rewritten = f"{xml[:start]}{space}>{body}</rdf:Description></rdf:RDF></x:xmpmeta>"
    assert from_xmp(rewritten.encode("utf-8")) == Mark("sadm sample")


def test_a_mark_survives_as_jpeg(tmp_path: Path) -> None:
    written = write_marked_png(tmp_path / "a.png", PIXELS, MARK)
    with Image.open(tmp_path / "a.png") as image:
        image.save(tmp_path / "a.jpg", xmp=to_xmp(written).encode("utf-8"))
    assert read_mark(tmp_path / "a.jpg") == written


def test_an_image_without_a_mark_has_none(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "plain.png")
    assert read_mark(tmp_path / "plain.png") is None
    assert from_xmp(b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>') is None


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (b"<not xml", "can't be parsed"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declarations"),
        (b"<a>" + b" " * 300_000 + b"</a>", "300007 bytes"),
        (to_xmp(Mark("t")).replace(GENERATED, "digitalCapture").encode(), "'digitalCapture'"),
        (to_xmp(Mark("t", seed=3)).replace('seed="3"', 'seed="three"').encode(), "three"),
        (to_xmp(Mark("t", details={"a": 1})).replace('{"a": 1}', "[1").encode(), "delimiter"),
        (to_xmp(Mark("t", details={"a": 1})).replace('{"a": 1}', "[1]").encode(), "no JSON object"),
    ],
)
def test_damaged_and_hostile_packets_are_refused(packet: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        from_xmp(packet)


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png does not exist"):
        read_mark(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match=r"text\.png can't be read as an image"):
        read_mark(tmp_path / "text.png")
    Image.fromarray(PIXELS).save(tmp_path / "bad.jpg", xmp=b"<broken")
    with pytest.raises(UserError, match=r"the mark of .*bad\.jpg is damaged"):
        read_mark(tmp_path / "bad.jpg")
