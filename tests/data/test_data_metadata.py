"""metadata.csv and metadata.jsonl: against Hugging Face's own ImageFolder, as spreadsheets write them, and with mistakes."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.data import load_split
from sadm.data.sources import list_source
from sadm.data.sources.metadata import read_table
from source_files import class_of, fill, picture, pixels, read, read_split, remarks

NAMES = ["a.png", "b.png", "sub folder/c.png"]


def table(folder: Path, text: str | bytes, name: str = "metadata.csv", images: list[str] = NAMES) -> Path:
    fill(folder, images)
    (folder / name).write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return folder


ROWS = "file_name,label\na.png,good\nb.png,bad\nsub folder/c.png,good\n"


# ---- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_labels_pixels_and_numbers_are_those_of_datasets_imagefolder(tmp_path: Path, name: str) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [("b.png", 3, 0.5, "x"), ("a.png", 12, -2.0, "y"), ("sub folder/c.png", 3, 7.25, "z")]
    if name.endswith("csv"):
        text = "file_name,label,size,caption\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    else:
        keys = ("file_name", "label", "size", "caption")
        text = "".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows)
    table(tmp_path / "set", text, name)
    oracle = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))[
        "train"
    ]
    expected = {Path(row["image"].filename).name: row for row in oracle}
    images = read(tmp_path / "set", strict=True)
    assert images.attribute_names == ("size",)
    assert images.attributes is not None
    assert images.class_names == ("3", "12")  # by number, not by text
    assert len(expected) == len(images)
    for i, found in enumerate(images.names):
        row = expected[Path(found).name]
        assert class_of(images)[found] == str(row["label"])
        assert images.attributes[i].item() == row["size"]
        assert np.array_equal(images.images[i].permute(1, 2, 0).numpy(), np.array(row["image"]))
    assert "'caption' (row" in remarks(images)


def test_every_column_that_means_something(tmp_path: Path) -> None:
    fill(tmp_path, ["masks/a.png"])
    text = (
        "file_name,class,group,split,mask,depth,note\n"
        "a.png, dent ,part 7,train,masks/a.png,1.5,\n"
        "b.png,ok,,Validation,,,\n"
        "sub folder/c.png,ok,part 7,TEST,,2,first\n"
    )
    table(tmp_path, text)
    listing = list_source(str(tmp_path))
    assert listing is not None
    by_name = {record.name: record for record in listing.records}
    assert [by_name[name].class_name for name in NAMES] == ["dent", "ok", "ok"]
    assert [by_name[name].group for name in NAMES] == ["part 7", None, "part 7"]
    assert [by_name[name].part for name in NAMES] == ["train", "held_out", "held_out"]
    assert [by_name[name].attributes["depth"] for name in NAMES] == pytest.approx([1.5, float("nan"), 2.0], nan_ok=True)
    assert [by_name[name].mask for name in NAMES] == [tmp_path / "masks/a.png", None, None]
    assert not listing.skipped  # a mask is no image that rows forgot
    said = "\n".join(note.text for note in listing.notes)
    assert "'TEST', 'Validation' are held out" in said
    assert "'note' (row 4 holds 'first')" in said


def test_what_the_split_says_is_held_out(tmp_path: Path) -> None:
    table(tmp_path, "file_name,split\na.png,train\nb.png,val\nsub folder/c.png,\n")
    split = read_split(tmp_path)
    assert split.train.names == ("a.png", "sub folder/c.png")
    assert split.held_out.names == ("b.png",)
    assert "rows that name no split (1) are trained on" in remarks(split.train)


def test_rows_in_any_order_give_the_same_set(tmp_path: Path) -> None:
    head, *rows = ROWS.splitlines()
    table(tmp_path / "x", ROWS)
    table(tmp_path / "y", "\n".join([head, *reversed(rows)]))
    assert read(tmp_path / "x").fingerprint() == read(tmp_path / "y").fingerprint()
    assert torch.equal(read(tmp_path / "y").images, pixels(0, 1, 2))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_tables_as_spreadsheets_write_them(tmp_path: Path, encoding: str, delimiter: str, newline: str) -> None:
    lines = ["file_name,label,深さ", "部品 1.png,良品,0.5", "ソ表.png,傷あり,2"]
    text = newline.join(line.replace(",", delimiter) for line in lines)
    table(tmp_path, text.encode(encoding), images=["部品 1.png", "ソ表.png"])
    images = read(tmp_path, strict=True)
    assert class_of(images) == {"部品 1.png": "良品", "ソ表.png": "傷あり"}
    assert images.attribute_names == ("深さ",)
    said = {"cp932": "metadata.csv: read as CP932 (Shift-JIS)", "utf-16": "metadata.csv: read as UTF-16"}.get(encoding)
    assert said is None or said in remarks(images)


def test_decimal_commas_between_semicolons(tmp_path: Path) -> None:
    table(tmp_path, "file_name;size\na.png;0,5\nb.png;1\nsub folder/c.png;-2,25\n")
    attributes = read(tmp_path).attributes
    assert attributes is not None
    assert attributes.flatten().tolist() == [0.5, 1.0, -2.25]


def test_quoted_cells_blank_lines_and_spaces(tmp_path: Path) -> None:
    text = '\nfile_name , label\n"a.png","a, b"\n\n  b.png,c\n./sub folder/../sub folder/c.png,c\n,\n'
    images = read(table(tmp_path, text), strict=True)
    assert class_of(images) == {"a.png": "a, b", "b.png": "c", "sub folder/c.png": "c"}
    windows = read(table(tmp_path / "w", "file_name,label\na.png,x\nb.png,x\nsub folder\\c.png,y\n"), strict=True)
    assert class_of(windows)["sub folder/c.png"] == "y"


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_are_the_same_in_either_form_of_unicode(tmp_path: Path, on_disk: str, in_table: str) -> None:
    names = ["ガラス.png", "é.png"]
    text = "file_name,label\n" + "".join(f"{unicodedata.normalize(in_table, name)},{name}\n" for name in names)
    table(tmp_path, text, images=[unicodedata.normalize(on_disk, name) for name in names])
    images = read(tmp_path, strict=True)
    assert [unicodedata.normalize("NFC", name) for name in images.names] == sorted(names)
    assert images.class_names == tuple(sorted(names))


def test_each_part_of_a_split_may_have_a_table_of_its_own(tmp_path: Path) -> None:
    for part, label in (("train", "9"), ("test", "10")):
        table(tmp_path / part, f"file_name,label\na.png,{label}\nb.png,9\n", images=["a.png", "b.png"])
    split = read_split(tmp_path, strict=True)
    assert split.train.names == ("train/a.png", "train/b.png")
    assert class_of(split.held_out) == {"test/a.png": "10", "test/b.png": "9"}
    assert split.train.class_names == ("9", "10")
    (tmp_path / "test" / "metadata.csv").write_text("file_name\na.png\nb.png\n")
    with pytest.raises(
        UserError, match=r"some of its metadata files have labels, others have none\. Add a column 'label'"
    ):
        read(tmp_path)


def test_a_table_of_any_name_is_given_by_its_path(tmp_path: Path) -> None:
    table(tmp_path, ROWS, "inspection 2024.csv")
    assert class_of(read(tmp_path / "inspection 2024.csv", strict=True))["b.png"] == "bad"


def test_folders_are_no_classes_where_there_is_a_table(tmp_path: Path) -> None:
    table(tmp_path, "file_name,size\nx/a.png,1\ny/b.png,2\n", images=["x/a.png", "y/b.png"])
    images = read(tmp_path)
    assert images.labels is None
    assert "without a column 'label' the images have no labels" in remarks(images)


def test_labels_of_all_kinds(tmp_path: Path) -> None:
    def labelled(labels: list[object]) -> tuple[tuple[str, ...], str]:
        rows = [{"file_name": name, "label": label} for name, label in zip(NAMES, labels, strict=True)]
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        images = read(table(tmp_path / "set", "\n".join(map(json.dumps, rows)), "metadata.jsonl"))
        return images.class_names, remarks(images)

    assert labelled([10, 2, 1])[0] == ("1", "2", "10")
    assert labelled(["10", 2.0, -1])[0] == ("-1", "2", "10")
    names, said = labelled(["10", "dent", 2])
    assert names == ("10", "2", "dent")
    assert "mix integers ('10', '2') with names ('dent')" in said
    names, said = labelled([None, "", " "])
    assert names == ()
    assert "'label' is empty, so the images have no labels" in said


def test_numbers_of_all_kinds(tmp_path: Path) -> None:
    text = "file_name,a,b,c,d,e\na.png,1e3,nan,1e39,１２,\nb.png,-.5,2,1,3,\nsub folder/c.png,,,,,\n"
    images = read(table(tmp_path, text))
    assert images.attribute_names == ("a", "b", "d")
    assert images.attributes is not None
    expected = torch.tensor([[1000, float("nan"), 12], [-0.5, 2, 3], [float("nan")] * 3])
    assert torch.equal(images.attributes.nan_to_num(nan=-99), expected.nan_to_num(nan=-99))
    assert "'c' (row 2 holds '1e39')" in remarks(images)


def test_ten_thousand_classes(tmp_path: Path) -> None:
    draws = np.random.default_rng(0).permutation(10_000)
    fill(tmp_path, ["first.png"])
    for i in range(10_000):
        (tmp_path / f"{i}.png").hardlink_to(tmp_path / "first.png")
    (tmp_path / "first.png").unlink()
    (tmp_path / "metadata.csv").write_text("file_name,label\n" + "".join(f"{i}.png,{c}\n" for i, c in enumerate(draws)))
    listing = list_source(str(tmp_path))
    assert listing is not None
    assert listing.class_names == tuple(str(c) for c in range(10_000))
    assert {record.name: record.class_name for record in listing.records} == {
        f"{i}.png": str(c) for i, c in enumerate(draws)
    }


# ---- rows and files that do not fit ----------------------------------------------------------------------------------


def test_a_row_without_a_file_and_a_file_without_a_row(tmp_path: Path) -> None:
    text = ROWS + "gone.png,bad\nA.PNG,bad\n"
    table(tmp_path, text, images=[*NAMES, "loose.png"])
    images = read(tmp_path)
    assert images.names == tuple(NAMES)
    reasons = {skip.path: skip.reason for skip in images.skipped}
    assert reasons["gone.png"] == "row 5 of metadata.csv names 'gone.png', but there is no such file"
    assert reasons["A.PNG"].endswith("there is no such file; there is 'a.png', and capitals count")
    assert reasons["loose.png"] == "no row of metadata.csv names it"
    with pytest.raises(UserError, match=r"3 image files cannot be read: 'A\.PNG': row 6 of metadata\.csv"):
        read(tmp_path, strict=True)


def test_a_class_of_which_no_file_is_there_is_refused(tmp_path: Path) -> None:
    table(tmp_path, ROWS + "gone.png,dent\n")
    with pytest.raises(UserError, match=r"no image of the class 'dent' is there: 'gone\.png': row 5.*remove its rows"):
        read(tmp_path)


def test_two_tables_that_name_one_image_are_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        table(tmp_path / part, "file_name\na.png\nb.png\n", images=["a.png", "b.png"])
    (tmp_path / "test" / "metadata.csv").write_text("file_name\na.png\n../train/b.png\n")
    message = r"row 3 of train/metadata\.csv and row 3 of test/metadata\.csv both name 'train/b\.png'|" + (
        r"row 3 of test/metadata\.csv and row 3 of train/metadata\.csv both name 'train/b\.png'"
    )
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_a_row_whose_mask_is_missing_is_left_out(tmp_path: Path) -> None:
    table(tmp_path, "file_name,mask_file_name\na.png,\nb.png,\nsub folder/c.png,masks/c.png\n")
    (skip,) = read(tmp_path).skipped
    assert skip.path == "sub folder/c.png"
    assert skip.reason == "row 4 of metadata.csv names 'masks/c.png', but there is no such file"


def test_a_file_that_vanishes_after_listing_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sadm.data.reading import read_listing
    from sadm.data.sources import opening

    def vanishing(listing: object, *args: object, **options: object) -> object:
        (tmp_path / "b.png").unlink()
        return read_listing(listing, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "read_listing", vanishing)
    images = read(table(tmp_path, "file_name\n" + "\n".join(NAMES)))
    assert [(skip.path, skip.reason[:23]) for skip in images.skipped] == [("b.png", "the file does not exist")]


MISTAKES = {
    "twice": (
        ROWS + "./a.png,good\n",
        r"row 2 of metadata\.csv and row 5 of metadata\.csv both name 'a\.png'\. Remove one",
    ),
    "unlabelled": (
        "file_name,label\na.png,x\nb.png,\nsub folder/c.png,\n",
        r"row 3 \(and 1 more\) has no 'label'.*Fill it in",
    ),
    "outside": ("file_name\na.png\n../b.png\n", r"row 3 names '\.\./b\.png'.*relative to metadata\.csv.*Move the file"),
    "sneaking outside": ("file_name\nsub folder/../../b.png\n", r"row 2 names .*which may lie elsewhere"),
    "absolute": ("file_name\n/etc/a.png\n", r"row 2 names '/etc/a\.png'"),
    "drive": ("file_name\nC:\\a.png\n", r"row 2 names 'C:/a\.png'"),
    "unnamed": ("file_name,label\na.png,x\n,y\n", r"row 3 names no file"),
    "no rows": ("file_name,label\n", r"has no rows; expected one for each image"),
    "empty": ("", r"starts with ''; expected a first row of column names"),
    "no header": ("a.png,good\nb.png,bad\n", r"starts with 'a\.png,good'; expected .*'file_name'"),
    "ragged": (
        "file_name,label\na.png,x,y\n",
        r"row 2 has 3 cells, the header has 2.*that contains commas in double quotes",
    ),
    "open quote": ('file_name,label\n"a.png,x\n', r"no valid CSV: unexpected end of data"),
    "two labels": ("file_name,label,class\na.png,x,y\n", r"columns 'label', 'class', which mean the same"),
    "two groups": ("file_name,Group,group\na.png,1,2\n", r"columns 'Group', 'group', which mean the same"),
    "a label in capitals": ("file_name,Class,label\na.png,1,2\n", r"columns 'label', 'Class', which mean the same"),
    "same column": ("file_name,label,label\na.png,x,y\n", r"two columns named 'label'"),
    "split": (
        "file_name,split\na.png,training\nb.png,maybe\n",
        r"row 3 holds 'maybe' as its 'split'; expected one of train,",
    ),
    "nothing there": (
        "file_name\nx.png\ny.png\n",
        r"none of the 2 rows of metadata\.csv names an image.*'x\.png': row 2",
    ),
    "Latin-1": ("file_name\nbl\xe9.png\n".encode("latin-1"), r"neither UTF-8 nor CP932.*Save it as UTF-8; in Excel"),
}


def test_columns_are_known_in_capitals_too(tmp_path: Path) -> None:
    text = "file_name,Label,GROUP,Split,Mask\na.png,1,7,train,b.png\nsub folder/c.png,2,8,Test,\n"
    images = read(table(tmp_path, text))
    assert images.class_names == ("1", "2")
    assert images.groups == ("7", "8")
    assert images.parts == ("train", "held_out")
    assert images.masks is not None
    assert images.attribute_names == ()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_explained(tmp_path: Path, mistake: str) -> None:
    text, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=message):
        read(table(tmp_path, text))


JSON_MISTAKES = {
    "no JSON": ('{"file_name": "a.png"}\n{oops\n', r"row 2 is no JSON .*one object in each line"),
    "no object": ("[1]\n", r"row 1 is '\[1\]'; expected an object with a text 'file_name'"),
    "no name": ('{"file": "a.png"}\n', r"row 1 is .*expected an object with a text 'file_name'"),
    "list": ('{"file_name": "a.png", "label": ["x"]}\n', r"row 1 holds '\['x'\]' as its 'label'; expected one class"),
    "deep": ("[" * 100_000, r"row 1 is no JSON"),
}


@pytest.mark.parametrize("mistake", JSON_MISTAKES)
def test_mistakes_in_json_lines_are_explained(tmp_path: Path, mistake: str) -> None:
    text, message = JSON_MISTAKES[mistake]
    with pytest.raises(UserError, match=message):
        read(table(tmp_path, text, "metadata.jsonl"))


def test_two_tables_are_refused(tmp_path: Path) -> None:
    table(tmp_path, ROWS)
    table(tmp_path, json.dumps({"file_name": "a.png"}), "metadata.jsonl")
    with pytest.raises(UserError, match=r"metadata\.csv and metadata\.jsonl; expected one of them\. Remove") as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_rows_count_as_a_spreadsheet_shows_them() -> None:
    text = 'file_name,note\n"a.png","two\nlines"\n\nb.png,x\n'
    described, _ = read_table("t.csv", text.encode())
    assert [described.called(i) for i in range(described.count)] == ["row 2", "row 4"]
    jsonl, _ = read_table("t.jsonl", b'\n{"file_name": "a.png"}\r\n\n{"file_name": "b.png"}')
    assert [jsonl.called(i) for i in range(jsonl.count)] == ["row 2", "row 4"]


def test_one_image_is_too_few(tmp_path: Path) -> None:
    table(tmp_path, "file_name,label\na.png,x\n", images=["a.png"])
    with pytest.raises(UserError, match=r"one readable image, 'a\.png'; at least 2"):
        read(tmp_path)


def test_masks_and_groups_reach_the_images(tmp_path: Path) -> None:
    mark = Image.new("L", (8, 8))
    mark.paste(255, (2, 3, 5, 4))
    mark.save(tmp_path / "m.png")
    rows = [f"{i}.png,{'m.png' if i % 3 == 0 else ''},box {i // 4}" for i in range(24)]
    table(tmp_path, "\n".join(["file_name,mask,group", *rows]), images=[f"{i}.png" for i in range(24)])
    images = read(tmp_path, strict=True)
    assert images.masks is not None
    marked = {name for name, mask in zip(images.names, images.masks, strict=True) if mask.any()}
    assert marked == {f"{i}.png" for i in range(0, 24, 3)}
    assert torch.equal(images.masks[images.names.index("0.png"), 0], torch.from_numpy(np.array(mark)))
    split = load_split(str(tmp_path), held_out=0.3)
    assert split.train.groups is not None
    assert split.held_out.groups is not None
    assert not set(split.train.groups) & set(split.held_out.groups)


def test_pages_of_a_scan_share_what_its_row_says(tmp_path: Path) -> None:
    pages = [picture(i) for i in range(3)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    table(tmp_path, "file_name,label,depth\nscan.tif,x,1.5\na.png,y,2\n", images=["a.png"])
    images = read(tmp_path, strict=True)
    assert class_of(images) == {"a.png": "y", "scan.tif": "x", "scan.tif#page=2": "x", "scan.tif#page=3": "x"}
    assert torch.equal(images.images, pixels(0, 0, 1, 2))
    assert images.attributes is not None
    assert images.attributes.flatten().tolist() == [2, 1.5, 1.5, 1.5]
