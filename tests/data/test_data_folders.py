"""Folders of real image files: every format, every awkward layout, and every way in which one can be unfit."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.data import ImageSet, open_source


def picture(seed: int, width: int = 24, height: int = 24, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def save(image: Image.Image, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def fill(folder: Path, count: int = 2, **options: int) -> None:
    for i in range(count):
        save(picture(i, **options), folder / f"{i}.png")


def read(folder: Path, **options: object) -> ImageSet:
    opened = open_source(str(folder), **options)  # type: ignore[arg-type]
    assert isinstance(opened, ImageSet)
    return opened


def pixels_of(path: Path, **options: object) -> torch.Tensor:
    """One file [C, H, W] as the reader sees it, beside a plain file of the same size that the set needs."""
    with Image.open(path) as image:
        size = image.size
    save(Image.new("L", size), path.parent / "zz.png")
    images = read(path.parent, **options)
    assert not images.skipped
    return images.images[0]


# ---- layout ----------------------------------------------------------------------------------------------------------


def test_class_folders_are_sorted_and_nested_files_belong_to_them(tmp_path: Path) -> None:
    fill(tmp_path / "scratch" / "line 2")
    fill(tmp_path / "dent", 3)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read me.txt").write_text("no images, so no class")
    images = read(tmp_path)
    assert images.class_names == ("dent", "scratch")
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 0, 1, 1]
    assert images.names[-1] == "scratch/line 2/1.png"
    assert images.shape == (3, 24, 24)
    assert images.source == str(tmp_path)


def test_a_flat_folder_has_no_labels_and_is_sorted(tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", "c.Jpg"):
        save(picture(ord(name[0])), tmp_path / name)
    images = read(tmp_path)
    assert images.labels is None
    assert images.class_names == ()
    assert images.names == ("a.PNG", "b.png", "c.Jpg")


def test_japanese_names_and_spaces(tmp_path: Path) -> None:
    fill(tmp_path / "部品 画像" / "傷 あり")
    fill(tmp_path / "部品 画像" / "良品")
    images = read(tmp_path / "部品 画像")
    assert images.class_names == ("傷 あり", "良品")
    assert images.names[0] == "傷 あり/0.png"


def test_a_file_name_that_is_not_unicode_still_yields_printable_names(tmp_path: Path) -> None:
    fill(tmp_path)
    content = (tmp_path / "0.png").read_bytes()
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(content)
    except OSError:
        pytest.skip("this file system accepts Unicode names only")
    assert read(tmp_path).names[-1].encode("utf-8").endswith(b".png")


def test_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "._0.png").write_bytes(b"resource fork")
    fill(tmp_path / ".thumbnails")
    images = read(tmp_path, strict=True)
    assert images.names == ("0.png", "1.png")


def test_order_and_content_do_not_depend_on_where_or_when(tmp_path: Path) -> None:
    for where, order in (("x", [0, 1, 2, 3]), ("y", [3, 1, 0, 2])):
        for i in order:
            save(picture(i), tmp_path / where / f"{i % 2}" / f"{i}.png")
    assert read(tmp_path / "x").fingerprint() == read(tmp_path / "y").fingerprint()


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    fill(tmp_path / "set" / "a")
    fill(tmp_path / "elsewhere", 3)
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "set" / "a" / "up").symlink_to(tmp_path / "set", target_is_directory=True)
    (tmp_path / "set" / "a" / "again").symlink_to(tmp_path / "set" / "a", target_is_directory=True)
    (tmp_path / "set" / "self").symlink_to(tmp_path / "set" / "self")
    images = read(tmp_path / "set")
    assert images.names == ("a/0.png", "a/1.png", "b/0.png", "b/1.png", "b/2.png")


def test_progress_counts_every_file(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    (tmp_path / "bad.png").write_text("text")
    seen: list[tuple[int, int]] = []
    read(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 6) for i in range(6)]


# ---- folders that are refused ----------------------------------------------------------------------------------------


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    fill(tmp_path / "dent")
    with pytest.raises(UserError, match=r"'0\.png'.*'dent/0\.png'.*Move the images") as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no images \(it is empty\); expected files of bmp"):
        read(tmp_path)
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(UserError, match=r"no images \(only \.csv\)") as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_one_image_is_a_source_where_each_is_worked_on_alone(tmp_path: Path) -> None:
    path = save(picture(0), tmp_path / "one.png")
    with pytest.raises(UserError, match=r"one readable image, 'one\.png'; at least 2"):
        read(path)
    for source in (path, tmp_path):
        found = open_source(str(source), fewest=1)
        assert isinstance(found, ImageSet)
        assert (found.names, found.images[0].tolist()) == (
            ("one.png",),
            np.moveaxis(np.asarray(picture(0)), 2, 0).tolist(),
        )


def test_one_readable_image_is_too_few(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    with pytest.raises(UserError, match=r"one readable image, '0\.png'; at least 2") as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value)
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"'0\.png' \('1\.png': the file is empty.*cannot be read\).*Add more"):
        read(tmp_path)


def test_nothing_readable_is_refused(tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.png").write_text("text")
    with pytest.raises(UserError, match=r"none of its 8 image files.*'0\.png': not an image.*and 3 more"):
        read(tmp_path)


def test_a_class_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "ok")
    (tmp_path / "dent").mkdir()
    (tmp_path / "dent" / "x.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"class 'dent'.*'dent/x\.jpg': the file is empty.*remove them all"):
        read(tmp_path)


def test_two_sizes_without_a_resolution_are_refused(tmp_path: Path) -> None:
    save(picture(0, 24, 24), tmp_path / "a.png")
    save(picture(1, 32, 16), tmp_path / "b.png")
    with pytest.raises(UserError, match=r"'a\.png' is 24 x 24, 'b\.png' is 32 x 16 pixels.*--data\.resolution"):
        read(tmp_path)
    assert read(tmp_path, resolution=16).shape == (3, 16, 16)


def test_equal_sizes_are_kept_without_a_resolution(tmp_path: Path) -> None:
    fill(tmp_path, width=32, height=16)
    images = read(tmp_path)
    with Image.open(tmp_path / "1.png") as image:
        assert torch.equal(images.images[1], torch.from_numpy(np.array(image)).permute(2, 0, 1))


def test_a_forbidden_class_folder_is_refused(
    open_folder: Path, ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    fill(open_folder / "ok")
    fill(open_folder / "secret")
    (open_folder / "secret").chmod(0)
    refused = pytest.raises(UserError, match=r"cannot read the folder .*secret.*a whole class.*Check its permissions")
    with ordinary_user(), refused:
        read(open_folder)
    (open_folder / "secret").chmod(0o755)


# ---- files that are skipped ------------------------------------------------------------------------------------------


def jpeg(seed: int = 0, size: int = 200) -> bytes:
    buffer = io.BytesIO()
    picture(seed, size, size).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    picture(seed, 200, 200).save(buffer, "PNG")
    return buffer.getvalue()


UNREADABLE = {
    "text.png": (b"not an image at all", "not an image"),
    "empty.jpg": (b"", "0 bytes"),
    "half.jpg": (jpeg()[: len(jpeg()) // 2], "truncated"),
    "half.png": (png()[: len(png()) // 2], "truncated"),
    "program.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("resolution", [None, 8])
def test_unreadable_files_are_skipped_with_the_reason_or_refused(
    tmp_path: Path, name: str, resolution: int | None
) -> None:
    content, reason = UNREADABLE[name]
    fill(tmp_path / "ok")
    (tmp_path / "ok" / name).write_bytes(content)
    images = read(tmp_path, resolution=resolution)
    assert images.names == ("ok/0.png", "ok/1.png")
    assert [skip.path for skip in images.skipped] == [f"ok/{name}"]
    assert reason in images.skipped[0].reason
    with pytest.raises(
        UserError, match=rf"1 image file cannot be read: 'ok/{name}': .*{reason}.*Mend or remove"
    ) as caught:
        read(tmp_path, resolution=resolution, strict=True)
    assert str(tmp_path) in str(caught.value)


def test_links_to_nowhere_and_special_files_are_skipped(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    reasons = {skip.path: skip.reason for skip in read(tmp_path).skipped}
    assert reasons.keys() == {"gone.png", "loop.png", "pipe.png"}
    assert "dangling link" in reasons["gone.png"]
    assert "links" in reasons["loop.png"]
    assert reasons["pipe.png"] == "not a regular file"


def test_strict_names_the_first_few_and_counts_the_rest(tmp_path: Path) -> None:
    fill(tmp_path)
    for i in range(7):
        (tmp_path / f"bad{i}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"7 image files cannot be read: 'bad0\.png'.*'bad4\.png'[^']*; and 2 more"):
        read(tmp_path, strict=True)


@pytest.mark.parametrize("limit", [300, 500])  # Pillow itself raises above twice its limit and warns below
def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    fill(tmp_path, width=8, height=8)
    save(picture(9, 30, 30), tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    images = read(tmp_path, resolution=8)
    assert [skip.path for skip in images.skipped] == ["bomb.png"]
    assert f"more than the limit of {limit} pixels" in images.skipped[0].reason


def test_pixels_without_an_agreed_range_are_skipped(tmp_path: Path) -> None:
    fill(tmp_path)
    save(Image.fromarray(np.full((24, 24), 0.5, dtype=np.float32)), tmp_path / "float.tif")
    save(Image.fromarray(np.full((24, 24), 70000, dtype=np.int32)), tmp_path / "int.tif")
    assert ["8 or 16 bits" in skip.reason for skip in read(tmp_path).skipped] == [True, True]


# ---- pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", ["png", "jpg", "JPEG", "webp", "bmp", "tif", "tiff", "gif"])
def test_every_format_is_read(tmp_path: Path, extension: str) -> None:
    plain = Image.new("RGB", (24, 24), (200, 40, 90))
    path = save(plain, tmp_path / f"a.{extension}")
    found = pixels_of(path).float().mean(dim=(1, 2))
    assert torch.allclose(found, torch.tensor([200.0, 40.0, 90.0]), atol=4)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    for name in ("a.png", "b.tif"):
        path = save(Image.fromarray(values), tmp_path / name[0] / name)
        expected = np.rint(values / 257).astype(np.uint8)
        assert np.array_equal(pixels_of(path)[0].numpy(), expected)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = save(Image.new("CMYK", (24, 24), (0, 255, 255, 0)), tmp_path / "a.jpg", quality=95)
    found = pixels_of(path)[:, 12, 12].tolist()
    assert found[0] > 240
    assert max(found[1:]) < 15


def test_transparency_is_composited_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((24, 24, 4), dtype=np.uint8)
    rgba[:, :, 0] = 255  # red
    rgba[:8, :, 3] = 255  # opaque, half, clear
    rgba[8:16, :, 3] = 128
    found = pixels_of(save(Image.fromarray(rgba), tmp_path / "a.png"))
    assert found[:, 0, 0].tolist() == [255, 0, 0]
    assert found[:, 12, 0].tolist() == pytest.approx([255, 127, 127], abs=1)
    assert found[:, 20, 0].tolist() == [255, 255, 255]


def test_a_transparent_palette_is_composited_too(tmp_path: Path) -> None:
    image = Image.new("P", (24, 24), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.paste(0, (0, 0, 12, 24))
    found = pixels_of(save(image, tmp_path / "a.png", transparency=0))
    assert found[:, 5, 5].tolist() == [255, 255, 255]
    assert found[:, 5, 20].tolist() == [10, 200, 30]


def test_grey_with_alpha_stays_grey(tmp_path: Path) -> None:
    path = save(Image.new("LA", (24, 24), (0, 0)), tmp_path / "a.png")
    found = pixels_of(path)
    assert found.shape == (1, 24, 24)
    assert (found == 255).all()


@pytest.mark.parametrize("resolution", [None, 16])
def test_exif_rotation_is_applied(tmp_path: Path, resolution: int | None) -> None:
    upright = Image.new("L", (32, 16), 0)
    upright.paste(255, (0, 0, 32, 8))  # bright on top
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees clockwise to view"
    for i in range(2):
        save(upright, tmp_path / f"{i}.jpg", exif=exif, quality=95)
    found = read(tmp_path, resolution=resolution).images[0, 0]
    assert found.shape == ((32, 16) if resolution is None else (16, 16))
    assert found[:, -1].float().mean() > 250  # the top has turned to the right
    assert found[:, 0].float().mean() < 5


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (24, 24), colour) for colour in ("red", "blue")]
    path = save(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert pixels_of(path)[:, 3, 3].tolist() == [255, 0, 0]


def test_channels_are_decided_by_colour_or_as_asked(tmp_path: Path) -> None:
    grey, colour = tmp_path / "grey", tmp_path / "colour"
    save(picture(0, mode="L"), grey / "0.png")
    save(picture(1, mode="L").convert("RGB"), grey / "1.png")
    save(picture(2, mode="1"), grey / "2.png")
    assert read(grey).shape[0] == 1
    repeated = read(grey, channels=3)
    assert repeated.shape[0] == 3
    assert torch.equal(repeated.images[:, :1], read(grey).images)
    save(picture(0, mode="L"), colour / "0.png")
    save(picture(1), colour / "1.png")
    mixed = read(colour)
    assert mixed.shape[0] == 3
    assert torch.equal(mixed.images[0, 0], mixed.images[0, 2])
    luma = np.array(picture(1).convert("L"))
    assert np.array_equal(read(colour, channels=1).images[1, 0].numpy(), luma)


def test_the_centre_is_cropped_before_resizing(tmp_path: Path) -> None:
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste((0, 255, 0), (100, 0, 200, 100))
    for i in range(2):
        save(wide, tmp_path / f"{i}.png")
        save(wide.rotate(90, expand=True), tmp_path / f"{i}t.png")
    images = read(tmp_path, resolution=10).images
    assert (images[:, 0] == 0).all()
    assert (images[:, 1] == 255).all()


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_shrinking_does_not_alias_and_enlarging_works(tmp_path: Path, extension: str) -> None:
    stripes = np.zeros((512, 512), dtype=np.uint8)
    stripes[:, ::2] = 255
    for i in range(2):
        save(Image.fromarray(stripes), tmp_path / "fine" / f"{i}.{extension}", quality=95)
        save(Image.new("L", (3, 5), 77), tmp_path / "tiny" / f"{i}.{extension}")
    shrunk = read(tmp_path / "fine", resolution=32).images.float()
    assert (shrunk[..., 2:-2, 2:-2] - 127.5).abs().max() < 4
    assert read(tmp_path / "tiny", resolution=32).images.unique().tolist() == [77]


def test_large_jpegs_decoded_at_a_fraction_look_the_same(tmp_path: Path) -> None:
    y, x = np.mgrid[0:1024, 0:1024] / 1024
    smooth = np.stack([255 * x, 255 * y, 127 + 120 * np.sin(9 * x * y)], axis=-1).astype(np.uint8)
    save(Image.fromarray(smooth), tmp_path / "jpg" / "a.jpg", quality=98)
    save(Image.fromarray(smooth), tmp_path / "png" / "a.png")
    fractional = pixels_of(tmp_path / "jpg" / "a.jpg", resolution=32)
    assert (fractional.int() - pixels_of(tmp_path / "png" / "a.png", resolution=32).int()).abs().max() <= 4


@pytest.mark.parametrize(("option", "value"), [("resolution", 0), ("resolution", -8), ("channels", 2), ("channels", 5)])
def test_impossible_options_are_refused(tmp_path: Path, option: str, value: int) -> None:
    fill(tmp_path)
    with pytest.raises(UserError, match=rf"--data\.{option} is {value}; expected"):
        read(tmp_path, **{option: value})
