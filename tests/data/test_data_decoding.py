"""Opening one file: rotation, frames, limits, masks, and settings of Pillow that a program around may have changed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from sadm.data import Fit, ImageSet, open_source
from sadm.data.decoding import decode, pillow_settings
from sadm.data.records import Record, Unreadable


def noise(seed: int = 0, width: int = 20, height: int = 12) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def record(content: bytes, mask: bytes | None = None) -> Record:
    return Record("a", lambda: content, mask=None if mask is None else lambda: mask)


TURNED = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_all_orientations_are_applied_and_said(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    for image in (noise(), Image.fromarray(np.arange(240, dtype=np.uint16).reshape(12, 20) * 250)):
        if kind == "WEBP" and image.mode != "RGB":
            continue
        upright = image
        if orientation > 1:
            upright = image.transpose(Image.Transpose[TURNED[orientation]])
        expected = decode(record(encoded(upright, kind, **options)), Fit())
        found = decode(record(encoded(image, kind, exif=exif, **options)), Fit())
        assert np.array_equal(found.fitted.pixels, expected.fitted.pixels)
        turned = ("turned or mirrored as its EXIF data say",) if orientation > 1 else ()
        assert found.notes == turned + expected.notes


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_is_taken_and_said(kind: str) -> None:
    frames = [Image.new("RGB", (12, 12), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(record(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)), Fit())
    assert decoded.notes == ("the first of several frames taken",)
    assert decoded.fitted.pixels[0, 5, 5].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1)])
@pytest.mark.parametrize("policy", ["crop", "pad", "random-crop", "buckets"])
def test_lines_of_one_pixel_are_fitted(size: tuple[int, int], policy: str) -> None:
    fit = Fit(16, policy=policy)  # type: ignore[arg-type]
    decoded = decode(record(encoded(Image.new("L", size, 90))), fit)
    assert np.unique(decoded.fitted.pixels).tolist() == [90]


# ---- masks -----------------------------------------------------------------------------------------------------------


def test_a_mask_of_another_size_or_unreadable_is_a_reason() -> None:
    image = encoded(noise())
    for mask, reason in [
        (encoded(Image.new("L", (12, 20))), "its mask is 12 x 20 pixels, the image 20 x 12; both must be of one size"),
        (b"", r"its mask: it is empty \(0 bytes\)"),
        (b"text", "its mask: not an image"),
    ]:
        with pytest.raises(Unreadable, match=reason):
            decode(record(image, mask), Fit(8))


def test_a_mask_turns_with_its_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    marks = np.zeros((12, 20), dtype=np.uint8)
    marks[:3] = 255
    turned = decode(record(encoded(noise(), exif=exif), encoded(Image.fromarray(marks), exif=exif)), Fit())
    assert turned.fitted.masks is not None
    assert np.array_equal(turned.fitted.masks[0], np.rot90(marks, -1))
    with pytest.raises(Unreadable, match="its mask is 20 x 12 pixels, the image 12 x 20"):
        decode(record(encoded(noise(), exif=exif), encoded(Image.fromarray(marks))), Fit())


def test_a_large_jpeg_with_a_mask_is_decoded_whole() -> None:
    image = noise(width=256, height=256)
    decoded = decode(record(encoded(image, "JPEG"), encoded(Image.new("L", (256, 256), 255))), Fit(16))
    assert decoded.fitted.masks is not None
    assert (decoded.fitted.masks == 255).all()


# ---- limits and settings ---------------------------------------------------------------------------------------------


def test_more_megapixels_than_allowed_are_refused_with_the_option(tmp_path: Path) -> None:
    for i in range(2):
        noise(i, 40, 30).save(tmp_path / f"{i}.png")
    noise(2, 60, 30).save(tmp_path / "large.png")
    images = open_source(str(tmp_path), fit=Fit(8, max_megapixels=0.0015))
    assert isinstance(images, ImageSet)
    assert [skip.path for skip in images.skipped] == ["large.png"]
    reason = images.skipped[0].reason
    assert "60 x 30 pixels are more than the limit of 1500 pixels" in reason
    assert "raise --data.max-megapixels and cut it with --data.fit tiles" in reason


def test_a_scan_of_100_megapixels_works_as_tiles_where_it_is_allowed(tmp_path: Path) -> None:
    scan = Image.new("1", (11000, 9500), 1)  # 104.5 megapixels
    scan.paste(0, (0, 0, 5500, 9500))
    scan.save(tmp_path / "scan.png")
    noise(0, 300, 300).convert("L").save(tmp_path / "small.png")
    refused = decode_or_reason(tmp_path / "scan.png", Fit(256, policy="tiles"))
    assert isinstance(refused, str)
    assert "11000 x 9500 pixels are more than the limit of" in refused
    images = open_source(str(tmp_path), fit=Fit(256, policy="tiles", max_megapixels=105))
    assert isinstance(images, ImageSet)
    assert not images.skipped
    assert images.tiles is not None
    scanned = [i for i, tile in enumerate(images.tiles) if tile.origin == "scan.png"]
    assert len(scanned) == 43 * 38  # ceil(11000 / 256) * ceil(9500 / 256)
    for i in (scanned[0], scanned[-1]):
        assert images.images[i].unique().tolist() == [0 if images.tiles[i].left < 5500 else 255]


def decode_or_reason(path: Path, fit: Fit) -> object:
    with pillow_settings(fit):
        try:
            return decode(Record(path.name, path), fit)
        except Unreadable as reason:
            return str(reason)


def test_truncated_files_are_refused_whatever_the_program_has_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for i in range(2):
        noise(i, 100, 100).save(tmp_path / f"{i}.jpg")
    whole = (tmp_path / "0.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    images = open_source(str(tmp_path))
    assert isinstance(images, ImageSet)
    assert [skip.path for skip in images.skipped] == ["half.jpg"]
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True  # as the program had it


def test_settings_of_pillow_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1234)
    with pillow_settings(Fit(max_megapixels=2)):
        assert Image.MAX_IMAGE_PIXELS == 2_000_000
    with pytest.raises(KeyError), pillow_settings(Fit(max_megapixels=2)):
        raise KeyError
    assert Image.MAX_IMAGE_PIXELS == 1234
    with pillow_settings(Fit()):
        assert Image.MAX_IMAGE_PIXELS == 1234
