"""The sets of `benchmarks.prepare` hold no copies, its copies are what they are called, and its arithmetic."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.prepare import measure, page
from benchmarks.prepare.copies import COPIES, encoded
from benchmarks.prepare.finding import close, facts_of, ours, peer, search, share_of
from benchmarks.prepare.pictures import SETS, Pictures, part, parts
from sadm.data.sources.idx import FASHION_MNIST_FOLDERS

THERE = any(Path(name).expanduser().is_dir() for name in FASHION_MNIST_FOLDERS)


@pytest.mark.parametrize("name", [name for name in SETS if THERE or "Fashion" not in name])
def test_no_two_images_of_a_set_are_equal(name: str) -> None:
    found = SETS[name](60)
    assert 60 <= len(found) <= 80
    assert len(found.labels) == len(found)
    assert len({image.tobytes() for image in found.images}) == len(found)


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_what_they_are_called(kind: str) -> None:
    image = part(3, 100)
    copy = Image.open(io.BytesIO(COPIES[kind](image))).convert("RGB")
    sizes = {"half the size": (50, 50), "twice the size": (200, 200), "trimmed by 3 % on each side": (94, 94)}
    assert copy.size == sizes.get(kind, (100, 100))
    if "trimmed" in kind:
        assert copy.tobytes() == image.crop((3, 3, 97, 97)).tobytes()
        return
    before, after = (np.asarray(picture.resize((100, 100)), dtype=float) for picture in (image, copy))
    undo = {
        "mirrored": lambda x: x[:, ::-1],
        "turned by 90°": lambda x: np.rot90(x, -1),
        "shifted by 2 %": lambda x: np.roll(x, -2, 1),
    }
    assert np.corrcoef(before.ravel(), undo.get(kind, np.asarray)(after).ravel())[0, 1] > 0.97
    assert np.array_equal(before, after) == (kind in ("the same file", "another format"))


def test_pairs_of_hashes_are_those_of_two_loops() -> None:
    hashes = [int(value) for value in np.random.default_rng(0).integers(0, 1 << 8, 40)]
    for bits in (0, 2):
        pairs = {(i, j) for j in range(40) for i in range(j) if bin(hashes[i] ^ hashes[j]).count("1") <= bits}
        assert close(hashes, bits) == pairs
    assert share_of({(0, 1), (1, 2)}, 10) == 0.3


def test_shares_are_of_the_planted_and_of_all() -> None:
    found = search(parts(1, 20), ["the same file", "mirrored"])
    assert found["sadm"] == {"false": 0, "the same file": 1, "mirrored": 1}
    assert found[peer(0)]["the same file"] == 1
    assert found[peer(0)]["mirrored"] == 0
    assert found[peer(10)]["false"] > 0.5  # parts of one kind look alike


def test_exact_copies_are_left_out_before_near_ones_are_sought() -> None:
    pictures = Pictures([part(seed) for seed in (0, 1, 0, 0, 2)], [None] * 5)
    assert ours([facts_of(encoded(image)) for image in pictures.images], pictures.labels) == {(0, 2), (0, 3)}


def test_it_prints_what_it_promises_and_the_page_shows_it() -> None:
    effort = dataclasses.replace(
        measure.QUICK,
        images=20,
        sets=("digits, 8x8",),
        kinds=("another format",),
        files=(("JPEG", 40, 30, 3),),
        turns=1,
        compared=30,
    )
    found = json.loads(json.dumps(measure.measure(effort)))
    assert found["recall"] == {"another format": 1}
    assert found["images_tied_to_no_copy"] == {"digits, 8x8": 0}
    assert found["images_per_second"] > 0
    assert found["ratio_to_imagehash_on_one_thread"] > 0
    lines = [*page.finding_table("digits", found["sets"]["digits, 8x8"]), *page.speed_table(found)]
    assert "| found: another format | 100% |" in "\n".join(lines)
    assert any(line.startswith("| JPEG, 40x30 |") for line in lines)


def test_nothing_stored_gives_no_section(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(page, "result_path", lambda *names: tmp_path / "none.json")
    assert page.section() is None
