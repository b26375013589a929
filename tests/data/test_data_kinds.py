"""Which kind a source is of, options behind a question mark, and words that are no source."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sadm.core.errors import UserError
from sadm.data.sources import BUILT_IN_SOURCES, list_source, open_source
from sadm.data.sources.address import parse_address
from sadm.data.sources.kinds import KINDS, find_kind
from source_files import class_of, fill, pixels, png, read


def kind_of(source: object) -> str:
    return find_kind(parse_address(str(source))).name


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 8, 8), np.uint8))
    (tmp_path / "a.npy").rename(tmp_path / "a.png")
    assert kind_of(tmp_path / "a.png") == "an array of images"
    np.savez(tmp_path / "b", np.zeros(3))
    (tmp_path / "b.npz").rename(tmp_path / "b.zip")
    assert kind_of(tmp_path / "b.zip") == "arrays of images and labels"
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("x.png", png(0))
    assert kind_of(tmp_path / "c.npz") == "a zip of images"


def test_a_folder_of_images_stays_one_with_a_stray_archive_in_it(tmp_path: Path) -> None:
    fill(tmp_path, ["a/1.png", "b/2.png"])
    for name in ("backup.tar", "table.parquet", "old.zip", "x.npy"):
        (tmp_path / name).write_bytes(b"x")
    assert kind_of(tmp_path) == "a folder of images"
    assert class_of(read(tmp_path)) == {"a/1.png": "a", "b/2.png": "b"}


def test_the_first_kind_that_fits_is_taken(tmp_path: Path) -> None:
    fill(tmp_path, ["a/1.png", "b/2.png"])
    (tmp_path / "metadata.csv").write_text("file_name,label\na/1.png,x\nb/2.png,y\n")
    assert set(class_of(read(tmp_path)).values()) == {"x", "y"}
    (tmp_path / "dataset.json").write_text('{"labels": [["a/1.png", 3], ["b/2.png", 0]]}')
    assert set(class_of(read(tmp_path)).values()) == {"0", "3"}
    (tmp_path / "train-images-idx3-ubyte").touch()
    assert kind_of(tmp_path) == "a folder of IDX files"
    (tmp_path / "state.json").touch()
    (tmp_path / "dataset_info.json").touch()
    assert kind_of(tmp_path) == "a saved data set"


def test_a_file_of_no_kind_is_refused_with_all_kinds(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("x")
    with pytest.raises(
        UserError, match=r"one\.txt is a file; expected a folder with images\. Give the folder"
    ) as caught:
        open_source(str(tmp_path / "one.txt"))
    assert all(kind.example in str(caught.value) for kind in KINDS)


def test_a_word_that_is_nothing_names_all_kinds_and_what_is_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inspection photos").mkdir()
    with pytest.raises(
        UserError, match=r"it does not exist \(seen from .*Did you mean 'inspection photos'\?"
    ) as caught:
        open_source("inspection photo")
    assert all(kind.example in str(caught.value) for kind in KINDS)
    assert all(name in str(caught.value) for name in BUILT_IN_SOURCES)
    with pytest.raises(UserError, match=r"Did you mean '.*inspection photos'\?"):
        open_source(str(tmp_path / "inspection  photos?rows=5"))


def test_built_in_sets_and_arrays_have_no_encoded_images(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 8, 8), np.uint8))
    assert list_source("digits") is None
    assert list_source(str(tmp_path / "a.npy")) is None


def test_options_are_for_sources_with_rows(tmp_path: Path) -> None:
    fill(tmp_path / "set", ["1.png", "2.png"])
    with pytest.raises(UserError, match=r"is a folder of images, in which options such as \?rows=5000 have no meaning"):
        open_source(f"{tmp_path / 'set'}?rows=3")
    fill(tmp_path / "what?rows=3", ["1.png", "2.png"])
    assert torch.equal(read(tmp_path / "what?rows=3").images, pixels(0, 1))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", r"stands nothing; expected rows, image, label"),
        ("row=3", r"stands 'row'; expected rows, image, label, each with a value, such as \?rows=5000"),
        ("label=", r"stands 'label'"),
        ("rows=0", r"rows is '0'; expected a positive number of rows"),
        ("rows=many", r"rows is 'many'"),
        ("rows=²", r"rows is '²'"),
        ("rows=-5", r"rows is '-5'"),
    ],
)
def test_options_that_make_no_sense(query: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(f"hub:owner/name?{query}")


@given(
    place=st.text(st.characters(blacklist_characters="?\0", blacklist_categories=("Cs",)), min_size=1),
    rows=st.integers(1, 10**9),
    label=st.sampled_from(["label", "fine label", "クラス", "a+b", "json.label"]),
)
def test_addresses_are_taken_apart(place: str, rows: int, label: str) -> None:
    address = parse_address(f"hub:{place}?rows={rows}&label={label}")
    assert (address.place, address.rows, address.label, address.image) == (place, rows, label, None)
    assert address.example("image", "x") == f"hub:{place}?rows={rows}&label={label}&image=x"


@pytest.mark.parametrize("name", ["folder", "file.npy"])
def test_a_source_that_may_not_be_read(
    open_folder: Path, ordinary_user: Callable[[], AbstractContextManager[None]], name: str
) -> None:
    path = open_folder / name
    if name == "folder":
        fill(path, ["1.png", "2.png"])
    else:
        np.save(path, np.zeros((2, 8, 8), np.uint8))
    path.chmod(0)
    with ordinary_user(), pytest.raises(UserError, match=rf"cannot read .*{name}: Permission denied\. Check"):
        open_source(str(path))
    path.chmod(0o755)


def test_what_may_not_be_read_within_a_folder_is_a_reason(
    open_folder: Path, ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    fill(open_folder, ["a/1.png", "a/2.png", "a/3.png", "a/secret/4.png"])
    (open_folder / "a" / "3.png").chmod(0)
    (open_folder / "a" / "secret").chmod(0)
    with ordinary_user():
        reasons = {skip.path: skip.reason for skip in read(open_folder).skipped}
    (open_folder / "a" / "secret").chmod(0o755)
    assert reasons == {"a/3.png": "permission denied", "a/secret": "the folder cannot be read: Permission denied"}
