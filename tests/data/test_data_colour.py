"""Every kind of pixel to 8-bit sRGB: profiles, 16 bits, CMYK, transparency; against formulas and numpy."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from image_bytes import cmyk_profile, grey_profile, png_16, rgb_profile, tiff
from PIL import Image, ImageCms

from sadm.data import Fit
from sadm.data.decoding import decode
from sadm.data.records import Record, Unreadable

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def colours(seed: int = 0, channels: int = 3, side: int = 12) -> np.ndarray:
    shape = (side, side) if channels == 1 else (side, side, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(content: bytes, fit: Fit | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    decoded = decode(Record("a", lambda: content), fit or Fit())
    return decoded.fitted.pixels[0], decoded.notes


def srgb_of_linear(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


# ---- colour profiles -------------------------------------------------------------------------------------------------


def test_a_profile_is_applied_and_named() -> None:
    values = colours()
    # Its first channel is sRGB's green, its second sRGB's red, and all are linear.
    found, notes = read(encoded(Image.fromarray(values), icc_profile=rgb_profile((1, 0, 2))))
    expected = 255 * srgb_of_linear(values[..., [1, 0, 2]] / 255)
    assert np.abs(found - expected).max() <= 1.5
    assert notes == ("colour profile 'a test profile' converted to sRGB",)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_profiles_are_found_in_every_format_that_has_them(kind: str) -> None:
    plain = Image.new("RGB", (16, 16), (200, 20, 20))
    options = {"lossless": True} if kind == "WEBP" else {}
    found, notes = read(encoded(plain, kind, icc_profile=rgb_profile((1, 0, 2), gamma=2.2), **options))
    assert len(notes) == 1
    assert found[8, 8, 1] > 190
    assert found[8, 8, 0] < 35


def test_a_profile_that_is_srgb_changes_no_bit() -> None:
    values = colours()
    for profile in (SRGB, None):
        found, notes = read(encoded(Image.fromarray(values), icc_profile=profile))
        assert np.array_equal(found, values)
        assert notes == ()


@pytest.mark.parametrize("profile", [b"not a profile", SRGB[:200], grey_profile(), cmyk_profile()])
def test_a_profile_that_is_damaged_or_for_other_channels_is_ignored_and_said(profile: bytes) -> None:
    values = colours()
    found, notes = read(encoded(Image.fromarray(values), icc_profile=profile))
    assert np.array_equal(found, values)
    assert notes == ("its colour profile is damaged or not for these channels: colours taken as sRGB",)


@pytest.mark.parametrize("profile", [grey_profile(), rgb_profile()])  # scanners give grey files their RGB profile
def test_grey_follows_its_profile_and_stays_grey(profile: bytes) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found, notes = read(encoded(Image.fromarray(ramp), icc_profile=profile))
    assert found.shape == (16, 16)
    assert np.abs(found - 255 * srgb_of_linear(ramp / 255)).max() <= 1.5
    assert len(notes) == 1


def test_transparency_survives_a_profile() -> None:
    values = colours(channels=4)
    content = encoded(Image.fromarray(values), icc_profile=rgb_profile((1, 0, 2)))
    found, _ = read(content, Fit(channels=4))
    seen = values[..., 3] > 0
    assert np.array_equal(found[..., 3], values[..., 3])
    assert np.abs(found[seen][:, :3] - 255 * srgb_of_linear(values[seen][:, [1, 0, 2]] / 255)).max() <= 1.5


def test_cmyk_follows_its_profile_or_a_formula() -> None:
    ink = np.zeros((16, 16, 4), dtype=np.uint8)
    ink[:, :8, :3] = 200  # colour that the press of the profile does not show
    ink[8:, :, 3] = 255
    image = Image.frombytes("CMYK", (16, 16), ink.tobytes())
    for kind in ("JPEG", "TIFF"):
        options = {"quality": 98} if kind == "JPEG" else {}
        found, notes = read(encoded(image, kind, icc_profile=cmyk_profile(), **options))
        assert found[:7].min() > 245
        assert found[9:].max() < 12
        assert notes == ("colour profile 'a test profile' converted to sRGB",)
        found, notes = read(encoded(image, kind, **options))
        assert found[3, 3].max() < 65  # 255 - 200, and a little from the JPEG
        assert notes == ("CMYK without a good colour profile converted to RGB by formula",)


# ---- modes -----------------------------------------------------------------------------------------------------------


def on_white(rgba: np.ndarray) -> np.ndarray:
    share = rgba[..., 3:] / 255
    return rgba[..., :3] * share + 255 * (1 - share)


def test_transparent_modes_are_composited_on_white_and_said() -> None:
    rgba = colours(channels=4)
    grey = rgba[..., [0, 3]]
    found, notes = read(encoded(Image.fromarray(rgba)))
    assert np.abs(found - on_white(rgba)).max() <= 1
    assert notes == ("transparency composited on white",)
    found, _ = read(encoded(Image.fromarray(grey)))  # LA
    assert found.ndim == 2
    assert np.abs(found - on_white(rgba[..., [0, 0, 0, 3]])[..., 0]).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_kept_with_four_channels(kind: str) -> None:
    rgba = colours(channels=4)
    rgba[:2, :, 3] = 0
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    found, notes = read(encoded(Image.fromarray(rgba), kind, **options), Fit(channels=4))
    assert notes == ()
    assert np.array_equal(found[..., 3], rgba[..., 3])
    seen = rgba[..., 3] > 0
    assert np.array_equal(found[seen], rgba[seen])
    assert (found[~seen, :3] == 255).all()  # what nobody sees is nothing to learn


def test_opaque_files_become_opaque_with_four_channels() -> None:
    grey = colours(channels=1)
    found, notes = read(encoded(Image.fromarray(grey)), Fit(channels=4))
    assert np.array_equal(found, np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1))
    opaque = np.dstack([colours(), np.full((12, 12), 255, dtype=np.uint8)])
    _, more = read(encoded(Image.fromarray(opaque)))
    assert notes + more == ()  # an alpha channel without a hole is not worth a word


def test_palettes_with_partial_transparency() -> None:
    palette = np.array([[0, 0, 0], [10, 200, 30], [250, 120, 0]], dtype=np.uint8)
    image = Image.fromarray(np.arange(144, dtype=np.uint8).reshape(12, 12) % 3).convert("P")
    image.putpalette(palette.flatten().tolist())
    opacity = bytes([0, 128, 255])
    places = np.asarray(image)
    rgba = np.dstack([palette[places], np.frombuffer(opacity, np.uint8)[places]])
    found, notes = read(encoded(image, transparency=opacity))
    assert np.abs(found - on_white(rgba)).max() <= 1
    assert notes == ("transparency composited on white",)
    pa = Image.new("PA", (12, 12))
    pa.putpalette(palette.flatten().tolist())
    pa.putdata([(int(i), opacity[i]) for i in places.flatten()])
    found, _ = read(encoded(pa, "TIFF"))
    assert np.abs(found - on_white(rgba)).max() <= 1


def test_one_bit_ycbcr_and_lab() -> None:
    bits = Image.fromarray(colours(channels=1)).convert("1", dither=Image.Dither.NONE)
    found, notes = read(encoded(bits))
    assert np.array_equal(found, np.where(np.asarray(bits), 255, 0))
    plain = Image.new("RGB", (12, 12), (180, 90, 40))
    ycbcr, more = read(encoded(plain.convert("YCbCr"), "TIFF"))
    assert np.abs(ycbcr.astype(int) - (180, 90, 40)).max() <= 3
    assert notes + more == ()
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab, notes = read(encoded(ImageCms.applyTransform(plain, to_lab), "TIFF"))
    assert np.abs(lab.astype(int) - (180, 90, 40)).max() <= 3
    assert notes == ("CIELAB converted to sRGB",)


# ---- 16 bits ---------------------------------------------------------------------------------------------------------


def wide(highest: int, side: int = 16) -> np.ndarray:
    return np.linspace(0, highest, side * side).round().astype(np.uint16).reshape(side, side)


@pytest.mark.parametrize("white", [65535, 4095, 1023])
def test_the_white_level_becomes_255_and_more_is_clipped(white: int) -> None:
    values = wide(min(2 * white, 65535))
    expected = np.floor(np.minimum(values / white, 1) * 255 + 0.5)
    for content in (png_16(values), tiff(values, 1)):
        found, notes = read(content, Fit(white_level=white))
        assert np.array_equal(found, expected)
        assert notes == (f"16-bit grey scaled by 255 / {white}",)


def test_sensor_data_without_their_white_level_are_said_to_be_dark() -> None:
    _, notes = read(png_16(wide(4095)))
    assert "all below 1/8 of the white level 65535" in notes[0]
    assert "--data.white-level 1023, 4095 or 16383" in notes[0]


def test_packed_12_bits_have_their_own_white() -> None:
    values = wide(4095)
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
    found, _ = read(tiff(values, 1, bits=12, data=packed.astype(np.uint8).tobytes()))
    assert np.array_equal(found, np.rint(values / 4095 * 255))


def test_a_tiff_whose_white_is_zero_is_not_a_negative() -> None:
    values = wide(65535)
    found, _ = read(tiff(values, photometric=0))
    assert np.array_equal(found, 255 - np.rint(values / 257))
    small = colours(channels=1)
    assert np.array_equal(read(tiff(small, photometric=0, bits=8))[0], 255 - small)


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_per_channel_in_colour_are_read_as_8_and_said(channels: int) -> None:
    values = np.stack([wide(65535)] * channels, axis=-1)
    extra = 2 if channels == 4 else None
    for content in (png_16(values), tiff(values, 2, extra=extra)):
        found, notes = read(content, Fit(channels=channels))
        assert np.abs(found[values[..., -1] > 256] - values[values[..., -1] > 256] / 257).max() <= 1
        assert "16 bits per channel in colour read as 8" in notes
        with pytest.raises(Unreadable, match="white level 4095 can't be applied; save it"):
            read(content, Fit(white_level=4095))


def test_dark_16_bit_colour_is_said() -> None:
    _, notes = read(png_16(np.stack([wide(4095)] * 3, axis=-1)))
    assert any("all below 1/8 of the full range" in note for note in notes)


def test_kinds_of_pixels_that_cannot_be_read_have_their_reason() -> None:
    with pytest.raises(Unreadable, match=r"32 bits.*8 or 16 bits"):
        read(encoded(Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)), "TIFF"))
    for channels in (2, 5):
        with pytest.raises(
            Unreadable, match="a TIFF that is damaged, or has channels or bits that cannot be read; save it as grey"
        ):
            read(tiff(np.zeros((8, 8, channels), dtype=np.uint16), 1, extra=2))


def test_the_whole_way_from_files(tmp_path: Path) -> None:
    from sadm.data import ImageSet, open_source

    for i in range(2):
        Image.fromarray(colours(i, channels=4)).save(tmp_path / f"{i}.png")
    kept, flat = (open_source(str(tmp_path), channels=channels, resolution=8) for channels in (4, None))
    assert isinstance(kept, ImageSet)
    assert isinstance(flat, ImageSet)
    assert kept.shape == (4, 8, 8)
    assert [(note.path, note.text) for note in flat.notes] == [
        (f"{i}.png", "transparency composited on white") for i in range(2)
    ]
