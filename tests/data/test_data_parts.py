"""Sources that say which images are held out: from folders to the split that training uses."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.core.errors import UserError
from sadm.data import ImageSet, load_split
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


@pytest.mark.parametrize("names", [["train/1.png", "other/3.png"], ["test/1.png", "val/2.png"]])
def test_other_folders_are_classes(tmp_path: Path, names: list[str]) -> None:
    fill(tmp_path, names)
    assert set(class_of(read(tmp_path)).values()) == {name.split("/")[0] for name in names}


@pytest.mark.parametrize(
    ("names", "named", "others"),
    [
        (["train/1.png", "test/2.png", "other/3.png"], "'test', 'train'", "'other'"),
        (
            ["train/a/1.png", "valid/a/2.png", "ground_truth/a/2.png", "masks/a/2.png"],
            "'train', 'valid'",
            "'ground_truth', 'm",
        ),
        (["test/dent/1.png", "ground_truth/dent/1_mask.png"], "'test'", "'ground_truth'"),
        (["train/dent/1.png", "Ground-Truth/dent/1_mask.png"], "'train'", "'Ground-Truth'"),
    ],
)
def test_parts_beside_other_folders_are_refused(tmp_path: Path, names: list[str], named: str, others: str) -> None:
    fill(tmp_path, names)
    with pytest.raises(UserError, match=rf"holds {named}, named like parts of a split, and beside them {others}"):
        read(tmp_path)
    fill(tmp_path, ["0.png"])
    with pytest.raises(UserError, match=r"holds images both at its top \('0\.png'\) and in subfolders"):
        read(tmp_path)


def mark(folder: Path, names: Sequence[str]) -> None:
    """Masks of pictures: mask i marks row i alone."""
    for i, name in enumerate(names):
        mask = np.zeros((8, 8), np.uint8)
        mask[i] = 255
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(folder / name)


def rows_marked(images: ImageSet) -> dict[str, list[int]]:
    """Which rows each image's mask marks, by name."""
    assert images.masks is not None
    return {
        name: (mask[0] == 255).all(1).nonzero().flatten().tolist()
        for name, mask in zip(images.names, images.masks, strict=True)
    }


def test_folders_of_mvtec_are_parts_with_their_masks(tmp_path: Path) -> None:
    good = ["train/good/000.png", "train/good/001.png", "test/good/000.png"]
    fill(tmp_path, [*good, "test/scratch/000.png", "test/scratch/001.bmp", "test/dent/000.png"])
    mark(tmp_path / "ground_truth", ["scratch/000_mask.png", "scratch/001_mask.png", "dent/000.png"])
    images = read(tmp_path, strict=True)
    assert images.class_names == ("dent", "good", "scratch")
    assert rows_marked(images) == {
        "test/dent/000.png": [2],
        "test/good/000.png": [],
        "test/scratch/000.png": [0],
        "test/scratch/001.bmp": [1],
        "train/good/000.png": [],
        "train/good/001.png": [],
    }
    assert "masks are those of the folder 'ground_truth'" in remarks(images)
    split = read_split(tmp_path)
    assert split.train.names == ("train/good/000.png", "train/good/001.png")
    assert len(split.held_out) == 4


def test_masks_and_defects_without_their_counterpart_are_said(tmp_path: Path) -> None:
    fill(tmp_path, ["train/good/0.png", "test/good/0.png", "test/dent/0.png", "test/dent/1.png"])
    mark(tmp_path / "ground_truth", ["dent/0_mask.png", "dent/7_mask.png"])
    images = read(tmp_path)
    assert [skip.path for skip in images.skipped] == ["ground_truth/dent/7_mask.png"]
    assert "so nothing is marked in them: 'test/dent/1.png'" in remarks(images)
    fill(tmp_path, ["valid/dent/0.png"])
    with pytest.raises(
        UserError, match=r"may be the mask of 'test/dent/0\.png' and of 'valid/dent/0\.png'\. Rename one"
    ):
        read(tmp_path)


def test_a_table_says_what_folders_beside_parts_are(tmp_path: Path) -> None:
    fill(tmp_path, ["train/1.png", "test/2.png", "other/3.png"])
    (tmp_path / "metadata.csv").write_text("file_name,mask\ntrain/1.png,other/3.png\ntest/2.png,\n")
    assert read(tmp_path, strict=True).names == ("test/2.png", "train/1.png")


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
