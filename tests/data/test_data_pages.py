"""TIFF files with several pages: each is a record, all of a file are one group, copies and masks of pages are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin

from sadm.data import ImageSet, open_source
from sadm.data.pages import with_pages
from sadm.data.records import Listing, Record
from sadm.data.sources import list_source


def pages(count: int, side: int = 10) -> list[Image.Image]:
    draws = np.random.default_rng(count)
    return [Image.fromarray(draws.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(count)]


def listed(folder: Path) -> Listing:
    listing = list_source(str(folder))
    assert listing is not None
    return listing


def write(path: Path, images: list[Image.Image], **options: object) -> None:
    images[0].save(path, save_all=True, append_images=images[1:], **options)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_each_page_is_an_image_with_its_name_and_group(tmp_path: Path, compression: str | None) -> None:
    stack = pages(11)
    write(tmp_path / "stack.tif", stack, compression=compression)
    stack[0].save(tmp_path / "single.tiff")
    stack[1].save(tmp_path / "z.png")
    images = open_source(str(tmp_path))
    assert isinstance(images, ImageSet)
    numbered = tuple(f"stack.tif#page={n}" for n in range(2, 12))
    assert images.names == ("single.tiff", "stack.tif", *numbered, "z.png")
    assert images.groups == ("single.tiff", *["stack.tif"] * 11, "z.png")
    for found, page in zip(images.images[1:12], stack, strict=True):
        assert torch.equal(found, torch.from_numpy(np.array(page)).permute(2, 0, 1))
    assert images.notes == ()


def test_pages_that_are_smaller_copies_or_masks_are_left_out(tmp_path: Path) -> None:
    stack = pages(4)
    kinds = [0, 1, 4, 2]  # an image, a smaller copy, a mask, a page of a document
    for page, kind in zip(stack, kinds, strict=True):
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info[254] = kind
        page.encoderinfo = {"tiffinfo": info}
    write(tmp_path / "a.tif", stack, tiffinfo=stack[0].encoderinfo["tiffinfo"])
    assert [record.page for record in listed(tmp_path).records] == [0, 3]
    assert [record.name for record in listed(tmp_path).records] == ["a.tif", "a.tif#page=4"]


def test_only_headers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tif", pages(3))
    loaded: list[object] = []
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", loaded.append)
    assert len(listed(tmp_path).records) == 3
    assert not loaded


def test_pages_from_bytes_keep_the_group_and_mask_of_their_record(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", pages(2))
    content = (tmp_path / "a.tif").read_bytes()
    found = with_pages([Record("in/a.TIF", lambda: content, "dent", group="part 7", mask=tmp_path / "m.png")])
    assert [(record.name, record.page) for record in found] == [("in/a.TIF", 0), ("in/a.TIF#page=2", 1)]
    assert {(record.group, record.class_name, record.mask) for record in found} == {
        ("part 7", "dent", tmp_path / "m.png")
    }


def test_a_mask_may_have_a_page_for_each_page(tmp_path: Path) -> None:
    from sadm.data import Fit
    from sadm.data.reading import read_listing
    from sadm.data.records import Listing

    write(tmp_path / "a.tif", pages(2))
    marks = [Image.new("L", (10, 10), level) for level in (0, 255)]
    write(tmp_path / "mask.tif", marks)
    marks[1].save(tmp_path / "one.png")
    for name, expected in [("mask.tif", [0, 255]), ("one.png", [255, 255])]:
        records = with_pages([Record("a.tif", tmp_path / "a.tif", mask=tmp_path / name)])
        masks = read_listing(Listing("here", records), Fit()).masks
        assert masks is not None
        assert masks[:, 0, 0, 0].tolist() == expected


def test_damaged_files_stay_one_record_and_get_their_reason(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", pages(3))
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.tif").write_bytes(b"")
    images = open_source(str(tmp_path))
    assert isinstance(images, ImageSet)
    assert [name for name in images.names if name.startswith("a")] == ["a.tif", "a.tif#page=2", "a.tif#page=3"]
    assert "c.tif" in [skip.path for skip in images.skipped]
    assert all(skip.reason for skip in images.skipped)


def test_a_file_that_lost_pages_since_it_was_listed(tmp_path: Path) -> None:
    from sadm.data import Fit
    from sadm.data.reading import read_listing

    write(tmp_path / "a.tif", pages(3))
    listing = listed(tmp_path)
    write(tmp_path / "a.tif", pages(2))
    images = read_listing(listing, Fit())
    assert [(skip.path, skip.reason) for skip in images.skipped] == [
        ("a.tif#page=3", "it has fewer pages than when it was listed")
    ]
