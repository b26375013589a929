"""From a source with planted faults to a prepared folder that training takes in its place."""

from __future__ import annotations

import csv
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from parts_photos import fill_parts as fill
from parts_photos import part, plant_faults, snapshot, write
from sadm.core.errors import UserError
from sadm.core.progress import Silent
from sadm.data import ImageSet, Split, load_split, open_source
from sadm.data.preparation.advice import Recipe
from sadm.data.preparation.outcomes import REASONS
from sadm.data.preparation.preparing import Preparation, Settings, prepare
from sadm.data.preparation.sheet import render_sheet
from sadm.data.preparation.texts import TEXTS

RECIPES = (
    Recipe("folder32", None, 32, 32, 4, 64, 10_000, 3),
    Recipe("folder64", None, 64, 64, 4, 32, 20_000, 3),
    Recipe("digits", "digits", None, 8, 4, 64, 600),
)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))


def outcome(found: Preparation) -> dict[str, str]:
    """The outcome of each image that is not usable, or its reason."""
    names = [record.name for record in found.listing.records]
    pairs = zip(names, found.findings, strict=True)
    return {name: finding.reason or finding.outcome for name, finding in pairs if finding.outcome != "usable"}


def opened(source: Path | str, **options: object) -> ImageSet:
    images = open_source(str(source), **options)  # type: ignore[arg-type]
    assert isinstance(images, ImageSet)
    return images


# ---- outcomes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Twelve good parts and nine scratched ones, and what has gone wrong with others."""
    folder = fill(tmp_path / "部品 写真", {"良品": 12, "傷 あり": 9})
    plant_faults(folder / "良品", folder / "傷 あり")
    Image.open(folder / "良品" / "05.png").resize((96, 96)).save(folder / "傷 あり" / "似.png")
    return folder


def test_every_planted_fault_is_found_and_nothing_else(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", {"good": 12, "bad": 9})
    planted = plant_faults(folder / "good", folder / "bad")
    before = snapshot(folder)
    assert outcome(prepare(str(folder), tmp_path / "out", recipes=RECIPES[:1])) == planted
    assert snapshot(folder) == before


def test_the_summary_counts_what_was_planted(faulty: Path, tmp_path: Path) -> None:
    found = prepare(str(faulty), tmp_path / "out", recipes=RECIPES[:1])
    pairs = [{found.facts[i].name for i in (pair.first, pair.second)} for pair in found.pairs]
    assert pairs == [{"良品/05.png", "傷 あり/似.png"}]
    summary = found.summary
    assert summary["images"] == 31
    assert summary["outcomes"] == {"usable": 21, "duplicate": 2, "quarantined": 8, "not_listed": 0}
    assert sum(summary["reasons"].values()) == 8
    assert summary["near_duplicates"]["with_other_labels"] == 1
    assert summary["verdict"] == "look"
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))


def test_the_lists_hold_each_image_once(faulty: Path, tmp_path: Path) -> None:
    found = prepare(str(faulty), tmp_path / "out", recipes=RECIPES[:1])
    usable, left_out = rows(tmp_path / "out" / "metadata.csv"), rows(tmp_path / "out" / "quarantine.csv")
    names = [row["file_name"] for row in usable + left_out]
    assert sorted(names) == sorted(record.name for record in found.listing.records)
    assert {row["file_name"]: row["reason"] or row["outcome"] for row in left_out} == outcome(found)
    twins = {row["file_name"]: row["twin"] for row in left_out if row["twin"]}
    assert twins == {
        "良品/00 - コピー.png": "良品/00.png",
        "良品/01 gespeichert.bmp": "良品/01.png",
        "良品/02.png": "傷 あり/IMG 1.png",
        "傷 あり/IMG 1.png": "良品/02.png",
    }
    assert all(row["label"] == row["file_name"].split("/")[0] for row in usable)
    assert {row["split"] for row in usable} == {"train", "held_out"}
    near = rows(tmp_path / "out" / "near_duplicates.csv")
    assert [(row["label"], row["twin_label"]) for row in near] == [("傷 あり", "良品")]
    assert TEXTS["en"]["near_marked"] in render_sheet(found)
    together = {row["group"] for row in usable if row["file_name"] in ("良品/05.png", "傷 あり/似.png")}
    assert together == {"傷 あり/似.png"}
    assert (tmp_path / "out" / "metadata.csv").read_bytes().startswith(b"\xef\xbb\xbf")  # for Excel


def test_blank_images_are_no_contradiction(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", {"a": 3, "b": 3})
    for name in ("a", "b"):
        Image.new("L", (64, 64), 9).save(folder / name / "x.png")
    assert set(outcome(prepare(str(folder), tmp_path / "out")).values()) == {"blank"}


def test_the_resolution_that_is_asked_for_decides_what_is_too_small(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", {"a": 4, "b": 4})
    write(folder / "a" / "wide.png", part(7, 64).resize((90, 40)))
    for resolution, small in ((None, set()), (40, set()), (41, {"a/wide.png"}), (65, None)):
        found = prepare(str(folder), tmp_path / "out", Settings(resolution=resolution), RECIPES)
        names = {name for name, reason in outcome(found).items() if reason == "too_small"}
        assert names == ({record.name for record in found.listing.records} if small is None else small)
    assert found.summary["verdict"] == "unusable"
    assert found.advice.command == ""


def test_every_reason_has_its_words() -> None:
    for table in TEXTS.values():
        assert all(f"reason_{key}" in table and f"fix_{key}" in table for key in REASONS)
    english, japanese = ({key for key in TEXTS[lang] if not key.endswith("_one")} for lang in ("en", "ja"))
    assert english == japanese


# ---- what belongs together -------------------------------------------------------------------------------------------


def test_a_split_is_made_that_keeps_together_what_belongs_together(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", {"a": 20, "b": 10})
    for i in range(0, 20, 2):
        write(folder / "a" / f"copy {i:02d}.jpg", Image.open(folder / "a" / f"{i:02d}.png"), quality=90)
    for seed in range(3):
        found = prepare(str(folder), tmp_path / "out", Settings(held_out=0.3, seed=seed))
        assert len(found.pairs) == 10
        parts = {row["file_name"]: row["split"] for row in rows(tmp_path / "out" / "metadata.csv")}
        for i in range(0, 20, 2):
            assert parts[f"a/copy {i:02d}.jpg"] == parts[f"a/{i:02d}.png"]
        assert found.summary["split"]["held_out"] == list(parts.values()).count("held_out") == 12
        assert found.summary["leakage"] == {"group": 0, "exact": 0, "near": 0, "moved": 0}


def with_split(folder: Path, lines: list[tuple[str, str, str, str]]) -> Path:
    text = ["file_name,label,group,split", *(",".join(line) for line in lines)]
    (folder / "metadata.csv").write_text("\n".join(text), "utf-8")
    return folder


def test_leaks_of_the_sources_own_split_are_found_and_mended(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for i in range(12):
        write(folder / f"{i:02d}.png", part(i))
    shutil.copy(folder / "00.png", folder / "20.png")
    write(folder / "21.jpg", Image.open(folder / "01.png"), quality=95)
    lines = [(f"{i:02d}.png", "a", f"lot {i // 2}" if i in (2, 3, 4) else "", "train") for i in range(8)]
    lines += [(f"{i:02d}.png", "a", "lot 1" if i == 8 else "", "test") for i in range(8, 12)]
    lines += [("20.png", "a", "", "test"), ("21.jpg", "a", "", "test")]
    found = prepare(str(with_split(folder, lines)), tmp_path / "out")
    names = [record.name for record in found.listing.records]
    leaks = {
        leak.kind: [sorted(names[i] for i in side) for side in (leak.train, leak.held_out)] for leak in found.leaks
    }
    assert leaks == {
        "group": [["02.png", "03.png"], ["08.png"]],
        "exact": [["00.png"], ["20.png"]],
        "near": [["01.png"], ["21.jpg"]],
    }
    assert found.summary["leakage"] == {"group": 1, "exact": 1, "near": 1, "moved": 2}
    assert not found.summary["split"]["made_here"]
    split = load_split(str(tmp_path / "out"), held_out=0.5)
    assert set(split.held_out.names) == {"09.png", "10.png", "11.png"}
    assert set(split.train.names) == {*(f"{i:02d}.png" for i in range(9)), "21.jpg"}


def test_a_split_that_is_all_leak_cannot_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for i in range(6):
        write(folder / f"{i}.png", part(i))
    lines = [(f"{i}.png", "a", "one lot", "test" if i > 3 else "train") for i in range(6)]
    found = prepare(str(with_split(folder, lines)), tmp_path / "out", recipes=RECIPES)
    assert found.summary["verdict"] == "unusable"
    assert "6 images for training and 0 held out" in found.summary["split"]["why_not"]


# ---- the prepared folder as a source ---------------------------------------------------------------------------------


def test_training_takes_the_prepared_folder_without_what_was_left_out(faulty: Path, tmp_path: Path) -> None:
    prepare(str(faulty), tmp_path / "out", recipes=RECIPES[:1])
    images = opened(tmp_path / "out", resolution=32)
    listed = rows(tmp_path / "out" / "metadata.csv")
    assert images.names == tuple(row["file_name"] for row in listed)
    assert images.parts == tuple(row["split"] for row in listed)
    assert images.class_names == ("傷 あり", "良品")
    assert [images.class_names[c] for c in images.labels.tolist()] == [row["label"] for row in listed]
    assert not images.skipped
    first = Image.open(faulty / images.names[0]).convert("L")
    expected = np.asarray(ImageOps.fit(first, (32, 32), Image.Resampling.BOX), dtype=float)
    assert np.corrcoef(images.images[0, 0].numpy().ravel(), expected.ravel())[0, 1] > 0.97
    split = load_split(str(tmp_path / "out"), held_out=0.9, resolution=32)
    assert set(split.held_out.names) == {row["file_name"] for row in listed if row["split"] == "held_out"}


def test_the_table_may_be_edited(tmp_path: Path) -> None:
    folder, out = fill(tmp_path / "in", {"b": 4, "a": 4}), tmp_path / "out"
    prepare(str(folder), out)
    text = (out / "metadata.csv").read_text("utf-8-sig").splitlines()
    kept = [line for line in text if not line.startswith("a/00.png")]
    kept = [line.replace("a/01.png,a,", "a/01.png,欠け,") for line in kept]
    (out / "metadata.csv").write_bytes(";".join([]).encode() + "\r\n".join(kept).replace(",", ";").encode("cp932"))
    images = opened(out)
    assert len(images) == 7
    assert images.class_names == ("a", "b", "欠け")
    assert images.class_names[int(images.labels[images.names.index("a/01.png")])] == "欠け"


def test_an_edited_table_is_not_overwritten(tmp_path: Path) -> None:
    folder, out = fill(tmp_path / "in", {"a": 4, "b": 4}), tmp_path / "out"
    said: list[str] = []

    class Heard(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    for number in (1, 2):
        prepare(str(folder), out)
        prepare(str(folder), out, reporter=Heard())
        assert len(list(out.glob("metadata.edited-*"))) == number - 1
        written = (out / "metadata.csv").read_bytes()
        edited = written.replace(b"a/01.png,a,", "a/01.png,欠け,".encode())
        (out / "metadata.csv").write_bytes(edited)
        prepare(str(folder), out, reporter=Heard())
        assert (out / "metadata.csv").read_bytes() == written
        assert (out / f"metadata.edited-{number}.csv").read_bytes() == edited
        assert f"the edited table is now {out / f'metadata.edited-{number}.csv'}" in said[-1]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text.replace("a/01.png,", "a/99.png,"), r"names 'a/99\.png', which was not prepared"),
        (lambda text: text.replace("a/01.png,", "a/00.png,"), r"row 3 names 'a/00\.png' again, after row 2"),
        (lambda text: text.replace(",train,", ",later,", 1), r"holds 'later' as its 'split'; expected one of"),
        (lambda text: text.replace("a/01.png,a,", "a/01.png,,"), r"has no 'label', though others have"),
        (lambda text: text.replace("file_name", "name"), r"among them 'file_name'"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(tmp_path: Path, edit, message: str) -> None:
    out = tmp_path / "out"
    prepare(str(fill(tmp_path / "in", {"a": 4, "b": 4})), out)
    (out / "metadata.csv").write_text(edit((out / "metadata.csv").read_text("utf-8-sig")), "utf-8")
    with pytest.raises(UserError, match=message) as caught:
        open_source(str(out))
    assert str(out) in str(caught.value)


def test_originals_that_change_are_noticed_by_name(tmp_path: Path) -> None:
    folder, out = fill(tmp_path / "in", {"a": 4, "b": 4}), tmp_path / "out"
    prepare(str(folder), out)
    os.utime(folder / "a" / "00.png", ns=(0, 0))  # copied anew, with the same content
    assert len(opened(out)) == 8
    write(folder / "a" / "00.png", part(77, 64))
    (folder / "b" / "03.png").unlink()
    with pytest.raises(
        UserError, match=r"in changed since it was prepared: 'a/00.png' is changed, 'b/03.png' is gone"
    ) as caught:
        open_source(str(out))
    assert f"sadm prepare {folder} --out {out}" in str(caught.value)
    prepare(str(folder), out)
    assert len(opened(out)) == 7


def test_images_that_are_added_are_named_as_skipped(tmp_path: Path) -> None:
    folder, out = fill(tmp_path / "in", {"a": 4, "b": 4}), tmp_path / "out"
    (folder / "a" / "broken.png").write_bytes(b"")
    prepare(str(folder), out)
    assert not opened(out, strict=True).skipped
    write(folder / "b" / "new.png", part(77))
    images = opened(out)
    assert [(skip.path, "sadm prepare" in skip.reason) for skip in images.skipped] == [("b/new.png", True)]


def test_a_drive_that_is_gone_or_has_moved(tmp_path: Path) -> None:
    folder = fill(tmp_path / "here" / "in", {"a": 4, "b": 4})
    prepare(str(folder), tmp_path / "here" / "out")
    (tmp_path / "here").rename(tmp_path / "there")
    assert len(opened(tmp_path / "there" / "out")) == 8
    shutil.rmtree(tmp_path / "there" / "in")
    with pytest.raises(UserError, match=r"prepared from .*here/in, which does not exist.*Connect the drive"):
        open_source(str(tmp_path / "there" / "out"))


def test_a_zip_is_prepared_as_the_folder_it_holds(faulty: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted(faulty.rglob("*")):
            if path.is_file() and "loop" not in path.parts:
                archive.write(path, path.relative_to(faulty))
    of_zip = prepare(str(tmp_path / "photos.zip"), tmp_path / "a", recipes=RECIPES[:1])
    of_folder = prepare(str(faulty), tmp_path / "b", recipes=RECIPES[:1])
    assert outcome(of_zip) == outcome(of_folder)
    a, b = (opened(tmp_path / name, resolution=32) for name in "ab")
    assert a.fingerprint() == b.fingerprint()
    assert a.parts == b.parts


def test_sources_of_arrays_are_prepared_too(tmp_path: Path) -> None:
    source = "surfaces:count=40"
    found = prepare(source, tmp_path / "out", recipes=RECIPES)
    assert found.summary["outcomes"]["usable"] == 40
    for resolution in (None, 16):
        images, plain = (opened(name, resolution=resolution) for name in (tmp_path / "out", source))
        assert images.fingerprint() == plain.fingerprint()
        assert torch.equal(images.masks, plain.masks)
        assert images.parts.count("held_out") == found.summary["split"]["held_out"] > 0


def test_a_source_in_two_sets_keeps_its_split(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 12, 12), dtype=np.uint8)
    pixels[25] = pixels[3]  # a test image that is a training image
    (tmp_path / "idx").mkdir()
    for name, rows_ in (("train", slice(0, 20)), ("t10k", slice(20, 30))):
        images, labels = pixels[rows_], np.arange(30, dtype=np.uint8)[rows_] % 2
        labels[labels == 9] = 1
        if name == "t10k":
            labels[5] = 3 % 2
        header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in images.shape)
        (tmp_path / "idx" / f"{name}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = bytes([0, 0, 8, 1]) + len(labels).to_bytes(4, "big")
        (tmp_path / "idx" / f"{name}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    assert isinstance(open_source(str(tmp_path / "idx")), Split)
    found = prepare(str(tmp_path / "idx"), tmp_path / "out")
    assert outcome(found) == {"t10k/5": "duplicate"}
    assert found.summary["leakage"]["exact"] == 1
    split = load_split(str(tmp_path / "out"), held_out=0.5)
    assert (len(split.train), len(split.held_out)) == (20, 9)
    assert torch.equal(split.train.images[:, 0], torch.from_numpy(pixels[:20]))
    (tmp_path / "idx" / "t10k-images-idx3-ubyte").write_bytes(
        (tmp_path / "idx" / "t10k-images-idx3-ubyte").read_bytes()[:-1] + b"\7"
    )
    with pytest.raises(UserError, match="changed since it was prepared: its pixels differ"):
        open_source(str(tmp_path / "out"))


def test_a_prepared_folder_can_be_prepared(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", {"a": 5, "b": 5})
    shutil.copy(folder / "a" / "00.png", folder / "a" / "copy.png")
    prepare(str(folder), tmp_path / "one")
    again = prepare(str(tmp_path / "one"), tmp_path / "two")
    assert again.summary["outcomes"]["usable"] == again.summary["images"] == 10
    assert opened(tmp_path / "two").fingerprint() == opened(tmp_path / "one").fingerprint()


# ---- small and awkward sources ---------------------------------------------------------------------------------------


def test_one_image(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", part(0))
    found = prepare(str(tmp_path / "in"), tmp_path / "out", recipes=RECIPES)
    assert found.summary["outcomes"]["usable"] == 1
    assert found.summary["verdict"] == "unusable"


def test_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    found = prepare(str(tmp_path / "in"), tmp_path / "out", recipes=RECIPES)
    assert found.summary["reasons"] == {"empty": 1}
    assert found.summary["verdict"] == "unusable"
    with pytest.raises(UserError, match=r"out has no usable image; .*contact_sheet\.html says why"):
        open_source(str(tmp_path / "out"))


def test_one_class_and_no_classes(tmp_path: Path) -> None:
    for i in range(10):
        write(tmp_path / "flat" / f"{i}.png", part(i))
        write(tmp_path / "one" / "only" / f"{i}.png", part(i))
    flat, one = (prepare(str(tmp_path / name), tmp_path / f"out {name}").summary for name in ("flat", "one"))
    assert flat["classes"]["classes"] == {}
    assert one["classes"]["classes"] == {"only": {"found": 10, "usable": 10}}
    assert flat["split"]["held_out"] == one["split"]["held_out"] == 2


def test_a_class_that_loses_all_its_images_is_named(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", {"a": 5})
    (folder / "gone").mkdir()
    (folder / "gone" / "x.png").write_bytes(b"")
    found = prepare(str(folder), tmp_path / "out")
    assert found.summary["classes"]["lost"] == ["gone"]
    assert {"key": "lost_classes", "level": "look", "names": ["gone"]} in found.summary["points"]
    assert opened(tmp_path / "out").class_names == ("a",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"held_out": 0.0}, "held_out is 0.0"),
        ({"resolution": 0}, "--resolution is 0"),
        ({"near_duplicates": 33}, r"--near-duplicates is 33; expected bits of the hash, from 0"),
        ({"jobs": 0}, "--jobs is 0"),
        ({"max_megapixels": -1.0}, "--max-megapixels is -1.0"),
        ({"white_level": 70000}, "--white-level is 70000; expected 255 to 65535, such as 4095 for 12 bits"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Settings(**settings)


def test_an_output_folder_inside_the_source_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", {"a": 4})
    for inside in (folder, folder / "prepared", folder / "a" / ".." / "b"):
        with pytest.raises(UserError, match="lies inside the source"):
            prepare(str(folder), inside)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"other is not empty and holds no preparation.*--out"):
        prepare(str(folder), tmp_path / "other")
    prepare(str(folder), tmp_path / "out")
    with pytest.raises(UserError, match="holds what was prepared from"):
        prepare(str(fill(tmp_path / "in2", {"a": 4})), tmp_path / "out")
