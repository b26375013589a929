"""Sources that say which images are held out: from folders to the split that training uses."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch

from sadm.core.errors import UserError
from sadm.data import load_split
from source_files import class_of, fill, pixels, read, read_split, remarks


def test_folders_named_like_parts_are_parts(tmp_path: Path) -> None:
    fill(tmp_path, ["train/good/1.png", "train/good/2.png", "Test/dent/3.png", "Test/good/4.png", "valid/good/5.png"])
    split = read_split(tmp_path)
    assert class_of(split.train) == {"train/good/1.png": "good", "train/good/2.png": "good"}
    assert class_of(split.held_out) == {
        "Test/dent/3.png": "dent",
        "Test/good/4.png": "good",
        "valid/good/5.png": "good",
    }
    assert split.train.class_names == ("dent", "good")
    assert "images of the folder 'Test', 'valid' are held out, never trained on" in remarks(split.train)


def test_parts_may_be_flat(tmp_path: Path) -> None:
    fill(tmp_path, ["training/1.png", "training/2.png", "held-out/3.png", "held-out/4.png"])
    split = read_split(tmp_path)
    assert torch.equal(split.train.images, pixels(0, 1))
    assert torch.equal(split.held_out.images, pixels(2, 3))
    assert split.train.labels is None
    fill(tmp_path, ["held-out/x/5.png"])
    with pytest.raises(UserError, match=r"both at its top \('.*\.png'\) and in subfolders \('held-out/x/5\.png'\)"):
        read(tmp_path)


def test_a_lone_training_folder_is_divided_by_us(tmp_path: Path) -> None:
    fill(tmp_path, [f"train/{label}/{i}.png" for label in "ab" for i in range(5)])
    assert read(tmp_path).class_names == ("a", "b")
    split = load_split(str(tmp_path), held_out=0.2)
    assert (len(split.train), len(split.held_out)) == (8, 2)


@pytest.mark.parametrize("names", [["train/1.png", "test/2.png", "other/3.png"], ["test/1.png", "val/2.png"]])
def test_other_folders_are_classes(tmp_path: Path, names: list[str]) -> None:
    fill(tmp_path, names)
    assert set(class_of(read(tmp_path)).values()) == {name.split("/")[0] for name in names}


def test_load_split_keeps_the_parts_of_the_source(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'ab'[i % 2]},{'test' if i % 5 == 0 else 'train'}" for i in range(30)]
    fill(tmp_path, [f"{i}.png" for i in range(30)])
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label,split", *rows]))
    held_out = {f"{i}.png" for i in range(0, 30, 5)}
    for share, seed in ((0.5, 0), (0.1, 7)):
        split = load_split(str(tmp_path), held_out=share, split_seed=seed)
        assert set(split.held_out.names) == held_out
        assert set(split.train.names) == {f"{i}.png" for i in range(30)} - held_out
    few = load_split(str(tmp_path), held_out=0.2, limit=4)
    assert len(few.train) == 4
    assert not set(few.train.names) & held_out
    assert set(few.held_out.names) == held_out


def test_training_rows_alone_are_divided_by_us(tmp_path: Path) -> None:
    fill(tmp_path, [f"{i}.png" for i in range(10)])
    rows = [f"{i}.png,{'train' if i % 2 else ''}" for i in range(10)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,split", *rows]))
    split = load_split(str(tmp_path), held_out=0.3)
    assert (len(split.train), len(split.held_out)) == (7, 3)


def test_a_source_that_holds_everything_out_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, ["a.png", "b.png"])
    (tmp_path / "metadata.csv").write_text("file_name,split\na.png,test\nb.png,val\n")
    with pytest.raises(UserError, match=r"assigns all of its 2 images to the held-out part; expected some to train on"):
        load_split(str(tmp_path), held_out=0.2)


def test_a_part_of_one_image_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, ["train/1.png", "train/2.png", "test/3.png"])
    with pytest.raises(UserError, match=r"its held-out part holds 1 image; expected at least 2"):
        load_split(str(tmp_path), held_out=0.2)


def test_class_folders_and_order_do_not_depend_on_the_form_of_unicode(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        fill(tmp_path / form, [unicodedata.normalize(form, name) for name in ("ガ/é.png", "ガ/f.png", "カ/ク.png")])
    images = {form: read(tmp_path / form, strict=True) for form in ("NFC", "NFD")}
    assert images["NFC"].class_names == images["NFD"].class_names == ("カ", "ガ")
    assert images["NFC"].fingerprint() == images["NFD"].fingerprint()


def test_one_class_and_ten_thousand(tmp_path: Path) -> None:
    fill(tmp_path / "one", [f"a/{i}.png" for i in range(10)])
    assert load_split(str(tmp_path / "one"), held_out=0.2).train.num_classes == 1
    labels = np.random.default_rng(0).permutation(20_000) // 2
    np.savez(tmp_path / "many.npz", images=np.zeros((20_000, 2, 2), np.uint8), labels=labels)
    split = load_split(str(tmp_path / "many.npz"), held_out=0.1)
    assert (len(split.train), len(split.held_out), split.train.num_classes) == (18_000, 2_000, 10_000)
    assert split.train.labels is not None
    assert split.train.labels.unique().numel() == 10_000
