"""``sadm prepare`` as people type it: planted faults, Ctrl-C, full and read-only disks, folders that change meanwhile."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from parts_photos import fill_parts as fill
from parts_photos import part, plant_faults, snapshot, write
from sadm.cli.main import INTERRUPTED, USER_ERROR, run
from sadm.cli.prepare import recipes_for
from sadm.core.progress import ConsoleReporter
from sadm.data import load_split
from sadm.data.preparation.texts import TEXTS

Captured = pytest.CaptureFixture[str]

FEW_STEPS = (
    "--net.width=16 --net.depth=1 --net.heads=2 --optimiser.steps=4 --structure.encoder-steps=4 --structure.encoder-width=4 "
    "--sampling.steps=2 --log.samples=2"
).split()


def prepared(source: Path | str, out: Path, *options: str) -> None:
    assert run(["prepare", str(source), "--out", str(out), *options]) == 0


def as_json(capsys: Captured, source: Path | str, out: Path, *options: str) -> dict:
    """What ``--json`` prints, which must be JSON and nothing else."""
    capsys.readouterr()
    prepared(source, out, "--json", *options)
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "summary.json").read_text("utf-8"))
    return found


def refused(capsys: Captured, *arguments: str) -> str:
    capsys.readouterr()
    assert run(["prepare", *arguments]) == USER_ERROR
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


def blank_but_same_stamp(path: Path) -> None:
    """Would be found damaged if it were read again; size and time say that it need not be."""
    status = path.stat()
    path.write_bytes(b"\0" * status.st_size)
    os.utime(path, ns=(0, status.st_mtime_ns))


# ---- what is planted is what is counted ------------------------------------------------------------------------------

FINE = ("good/cmyk.jpg", "good/moving.gif", "bad/16 bit.png", "bad/clear.webp")


@dataclasses.dataclass(frozen=True)
class Faulty:
    """A folder, and what becomes of each file in it that is not usable."""

    folder: Path
    planted: dict[str, str]


@pytest.fixture
def faulty(tmp_path: Path) -> Faulty:
    folder = fill(tmp_path / "検査 写真", {"good": 11, "bad": 9})
    good, bad = folder / "good", folder / "bad"
    planted = plant_faults(good, bad) | {"bad/nowhere.png": "missing", "bad/huge.png": "too_large"}
    (bad / "nowhere.png").symlink_to(folder / "nothing")
    Image.new("1", (1100, 1000)).save(bad / "huge.png")
    part(60, 64).convert("CMYK").save(good / "cmyk.jpg", quality=95)
    frames = [part(seed, 64).convert("P") for seed in (61, 62)]
    frames[0].save(good / "moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.asarray(part(63, 64, kind=1).convert("L")).astype(np.uint16) * 257).save(bad / "16 bit.png")
    clear = part(64, 64, kind=1).convert("RGBA")
    clear.putalpha(200)
    clear.save(bad / "clear.webp", lossless=True)
    return Faulty(folder, planted)


def test_counts_are_those_of_the_planted_faults(faulty: Faulty, tmp_path: Path, capsys: Captured) -> None:
    before = snapshot(faulty.folder)
    found = as_json(capsys, faulty.folder, tmp_path / "out", "--max-megapixels", "1")
    assert snapshot(faulty.folder) == before
    reasons = Counter(reason for reason in faulty.planted.values() if reason != "duplicate")
    assert found["reasons"] == reasons
    assert found["outcomes"] == {
        "usable": 20 - 1 + len(FINE),  # one of the twenty carries two labels
        "duplicate": 2,
        "quarantined": reasons.total(),
        "not_listed": 0,
    }
    assert found["images"] == sum(found["outcomes"].values())
    assert found["classes"]["classes"] == {
        "bad": {"found": 9 + 3 + 2, "usable": 9 + 2},
        "good": {"found": 11 + 8 + 2, "usable": 11 - 1 + 2},
    }
    assert found["peculiarities"].keys() == {"cmyk", "frames", "wide", "alpha", "grey"}


def test_a_recipe_suits_the_machine() -> None:
    on_cpu, on_gpu = recipes_for("cpu"), recipes_for("cuda")
    assert {"folder32_small", "digits"} <= set(on_cpu)
    assert {"folder32", "digits"} <= set(on_gpu)
    assert set(on_cpu) ^ set(on_gpu) == {"folder32", "folder32_small"}


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_the_outcome_in_both_languages(faulty: Faulty, tmp_path: Path, capsys: Captured, lang: str) -> None:
    prepared(faulty.folder, tmp_path / "out", "--lang", lang, "--max-megapixels", "1")
    lines = capsys.readouterr().out.splitlines()
    words = TEXTS[lang]
    assert lines[0] == words["verdict_look"]
    assert lines[1] == words["counts"].format(images=35, usable=23, duplicate=2, quarantined=10)
    for reason in {*faulty.planted.values()} - {"duplicate"}:
        assert words[f"reason_{reason}"] in "\n".join(lines)
    assert lines[-2] == words["sheet_written"].format(path=tmp_path / "out" / "contact_sheet.html")
    command = lines[-1].removeprefix(words["next"].format(command=""))
    assert command.startswith("sadm train --recipe folder32_small --data ")
    sheet = (tmp_path / "out" / "contact_sheet.html").read_text("utf-8")
    assert f'<html lang="{lang}">' in sheet
    assert words["near_marked"] not in sheet  # no look-alikes were planted
    for name in faulty.planted:
        if faulty.planted[name] != "duplicate" or "コピー" in name:
            assert name in sheet
    japanese = re.search("[ぁ-ん]", re.sub(r"<li>.*?</li>|<img[^>]*>", "", sheet, flags=re.DOTALL))
    assert bool(japanese) == (lang == "ja")


def test_without_out_the_folder_lies_below_prepared(
    faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert run(["prepare", str(faulty.folder)]) == 0
    assert (tmp_path / "work" / "prepared" / faulty.folder.name / "metadata.csv").exists()
    before = snapshot(faulty.folder)
    monkeypatch.chdir(faulty.folder)  # where that would lie within the source
    assert run(["prepare", "."]) == 0
    assert snapshot(faulty.folder) == before
    assert (tmp_path / "prepared" / faulty.folder.name / "metadata.csv").exists()


# ---- it stops and goes on --------------------------------------------------------------------------------------------


def blocks(seed: int) -> Image.Image:
    """A picture that takes some milliseconds to decode and little space."""
    levels = np.random.default_rng(seed).integers(0, 256, (25, 25), dtype=np.uint8)
    return Image.fromarray(np.kron(levels, np.ones((32, 32), np.uint8)))


def test_a_real_ctrl_c_loses_nothing(tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / "in"
    for i in range(120):
        write(folder / "ab"[i % 2] / f"{i:03d}.png", blocks(i))
    prepared(folder, tmp_path / "whole")
    command = [sys.executable, "-m", "sadm", "prepare", str(folder), "--out", str(tmp_path / "parts"), "--jobs", "1"]
    process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline, journal = time.monotonic() + 60, tmp_path / "parts" / "scan.jsonl"
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert said == ""
    assert "Traceback" not in errors
    stopped = re.search(r"Stopped after (\d+) of 120 images\. To go on, run the same command\.", errors)
    assert stopped
    assert int(stopped[1]) < 120
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {"scan.jsonl", ".lock"}
    done = [json.loads(line)["name"] for line in journal.read_text("utf-8").splitlines()[1:]]
    assert len(done) == int(stopped[1])
    for name in done:
        blank_but_same_stamp(folder / name)
    found = as_json(capsys, folder, tmp_path / "parts")
    assert found["outcomes"]["usable"] == 120
    for name in ("metadata.csv", "quarantine.csv", "near_duplicates.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path, capsys: Captured) -> None:
    folder = fill(tmp_path / "in", {"a": 4})
    prepared(folder, tmp_path / "out")
    with open(tmp_path / "out" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = refused(capsys, str(folder), "--out", str(tmp_path / "out"))
    assert f"another process is preparing in {tmp_path / 'out'}. Wait for it" in said


# ---- disks -----------------------------------------------------------------------------------------------------------

PAGE = 4096  # bytes in which a tmpfs gives out space


@pytest.mark.parametrize("stage", ["scan.jsonl", "metadata.csv", "contact_sheet.html"])
def test_a_full_disk_and_then_room(tmp_path: Path, small_disk: Path, capsys: Captured, stage: str) -> None:
    folder, out = fill(tmp_path / "in", {"a": 20, "b": 10}), small_disk / "out"
    prepared(folder, tmp_path / "whole", "--jobs", "1")
    pages = {path.name: -(-path.stat().st_size // PAGE) for path in (tmp_path / "whole").iterdir()}
    before = {  # what is written before it
        "scan.jsonl": [],
        "metadata.csv": ["scan.jsonl"],
        "contact_sheet.html": [name for name in pages if name != "contact_sheet.html"],
    }
    room = sum(pages[name] for name in before[stage])
    filler = small_disk / "filler"
    filler.write_bytes(bytes(64 * PAGE - PAGE * max(room, 4)))
    said = refused(capsys, str(folder), "--out", str(out), "--jobs", "1")
    assert f"cannot write {out / stage}: the disk is full. Free some space and run the same command again" in said
    assert not list(out.glob(".*.tmp"))
    assert not (out / stage).exists() or stage == "scan.jsonl"
    done = [json.loads(line)["name"] for line in (out / "scan.jsonl").read_bytes().splitlines()[1:-1]]
    assert done
    for name in done:
        blank_but_same_stamp(folder / name)
    filler.unlink()
    prepared(folder, out)
    for name in ("metadata.csv", "quarantine.csv", "near_duplicates.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def remount(folder: Path, option: str) -> None:
    subprocess.run([str(shutil.which("mount")), "-o", f"remount,{option}", str(folder)], check=True)


def test_a_read_only_disk_is_good_for_reading_alone(tmp_path: Path, small_disk: Path, capsys: Captured) -> None:
    folder = fill(small_disk / "in", {"a": 4, "b": 4}, side=32)
    prepared(folder, small_disk / "old")
    remount(small_disk, "ro")
    for name in ("new", "old"):
        said = refused(capsys, str(folder), "--out", str(small_disk / name))
        assert re.search(rf"cannot write {re.escape(str(small_disk))}/{name}.*read-only\. Choose another folder", said)
    prepared(folder, tmp_path / "elsewhere")


def test_permissions(
    open_folder: Path, capsys: Captured, ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    folder = fill(open_folder / "in", {"a": 5, "b": 4})
    prepared(folder, open_folder / "as root")
    (folder / "a" / "00.png").chmod(0)
    locked = open_folder / "locked"
    locked.mkdir(mode=0o555)
    with ordinary_user():
        found = as_json(capsys, folder, open_folder / "out")
        said = refused(capsys, str(folder), "--out", str(locked / "out"))
    assert found["reasons"] == {"forbidden": 1}
    assert f"cannot write {locked / 'out'}: permission denied. Choose a folder that you may write to" in said
    (folder / "a" / "00.png").chmod(0o644)
    assert as_json(capsys, folder, open_folder / "out")["outcomes"]["usable"] == 9  # forbidden files are tried again
    (folder / "b").chmod(0)
    with ordinary_user():
        said = refused(capsys, str(folder), "--out", str(open_folder / "out"))
    assert re.search(rf"cannot read the folder .*{re.escape(str(folder))}.*b.*Check its permissions", said)
    (folder / "b").chmod(0o755)


# ---- folders that are refused, and folders that change ---------------------------------------------------------------


def test_folders_that_are_refused(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder, other = fill(tmp_path / "in", {"a": 4}), fill(tmp_path / "other", {"a": 4})
    before = snapshot(tmp_path)
    said = refused(capsys, str(folder), "--out", str(folder / "prepared"))
    assert f"--out {folder / 'prepared'} lies inside the source {folder}" in said
    assert "Choose a folder outside of it" in said
    said = refused(capsys, str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"))
    assert f"'{tmp_path / 'nowhere'}' is neither" in said
    assert "it does not exist" in said
    (tmp_path / "empty").mkdir()
    said = refused(capsys, str(tmp_path / "empty"), "--out", str(tmp_path / "out"))
    assert f"{tmp_path / 'empty'} holds no images" in said
    assert "expected files of bmp, gif, jpeg" in said
    assert refused(capsys, str(folder), "--resolution", "0").startswith("sadm: --resolution is 0; expected a side")
    (tmp_path / "empty").rmdir()
    assert snapshot(tmp_path) == before
    prepared(folder, tmp_path / "out")
    before = snapshot(tmp_path)
    said = refused(capsys, str(other), "--out", str(tmp_path / "out"))
    assert f"{tmp_path / 'out'} holds what was prepared from {folder}, not from {other}. Choose another --out" in said
    said = refused(capsys, str(folder), "--out", str(other))
    assert f"{other} is not empty and holds no preparation. Choose another --out" in said
    said = refused(capsys, str(folder), "--out", str(other / "a" / "00.png"))
    assert f"{other / 'a' / '00.png'} is a file; --out must be a folder" in said
    assert snapshot(tmp_path) == before


def test_one_image_is_told_to_be_too_few(tmp_path: Path, capsys: Captured) -> None:
    write(tmp_path / "in" / "a.png", part(0))
    prepared(tmp_path / "in", tmp_path / "out")
    said = capsys.readouterr().out
    assert said.startswith(TEXTS["en"]["verdict_unusable"])
    assert "Add images." in said
    assert "sadm train" not in said


def during_the_scan(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None], at: int = 3) -> None:
    """Does something as soon as `at` images were looked at."""
    update = ConsoleReporter.update

    def changed(self: ConsoleReporter, task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("images", at):
            change()
        update(self, task, done, total, note)

    monkeypatch.setattr(ConsoleReporter, "update", changed)


def test_a_folder_that_changes_during_the_run(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "in", {"a": 20, "b": 10})

    def change() -> None:
        (folder / "b" / "08.png").unlink()
        write(folder / "b" / "09.png", part(77, 64))
        write(folder / "b" / "new.png", part(78, 64))
        write(folder / "a" / "00.png", part(79, 64))  # which was looked at before

    with monkeypatch.context() as patch:
        during_the_scan(patch, change)
        found = as_json(capsys, folder, tmp_path / "out", "--jobs", "1")
    assert found["outcomes"] == {"usable": 29, "duplicate": 0, "quarantined": 1, "not_listed": 0}
    assert found["reasons"] == {"missing": 1}
    train = ["train", "--data", str(tmp_path / "out"), "--out", str(tmp_path / "run"), *FEW_STEPS]
    assert run(train) == USER_ERROR
    said = capsys.readouterr().err
    assert "changed since it was prepared: 'a/00.png' is changed" in said
    assert f"sadm prepare {folder} --out {tmp_path / 'out'}" in said
    again = as_json(capsys, folder, tmp_path / "out")
    assert again["outcomes"] == {"usable": 30, "duplicate": 0, "quarantined": 0, "not_listed": 0}


def test_a_drive_that_is_unplugged_during_the_run(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "drive" / "in", {"a": 20, "b": 10})
    with monkeypatch.context() as patch:
        during_the_scan(patch, lambda: (tmp_path / "drive").rename(tmp_path / "unplugged"))
        prepared(folder, tmp_path / "out", "--jobs", "1")
    said = capsys.readouterr().out
    assert re.search(r"The file is not there \(\d\d\)", said)
    (tmp_path / "unplugged").rename(tmp_path / "drive")
    assert as_json(capsys, folder, tmp_path / "out")["outcomes"]["usable"] == 30


# ---- tables, classes, scans ------------------------------------------------------------------------------------------


def test_rows_without_files_files_without_rows_and_labels_of_any_kind(tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / "in"
    labels = ["傷", "3.5", "10", "2", "N/A", "good part"]
    lines = ["file_name,label"]
    for i in range(24):
        write(folder / f"{i:02d}.png", part(i, 64))
        lines.append(f"{i:02d}.png,{labels[i % 6]}")
    lines[1] = "gone 1.png,傷"
    (folder / "metadata.csv").write_text("\n".join(lines), "utf-8")
    found = as_json(capsys, folder, tmp_path / "out")
    assert found["outcomes"] == {"usable": 23, "duplicate": 0, "quarantined": 0, "not_listed": 2}
    assert found["classes"]["classes"].keys() == set(labels)
    left_out = (tmp_path / "out" / "quarantine.csv").read_text("utf-8-sig")
    assert "00.png" in left_out
    assert "gone 1.png" in left_out
    assert load_split(str(tmp_path / "out"), held_out=0.5, resolution=16).train.class_names == tuple(sorted(labels))


@pytest.mark.parametrize("classes", [1, 10_000])
def test_one_class_and_ten_thousand(tmp_path: Path, capsys: Captured, classes: int) -> None:
    count = max(classes, 20)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "many.npz", images=pixels, labels=np.arange(count) % classes)
    found = as_json(capsys, tmp_path / "many.npz", tmp_path / "out")
    assert found["outcomes"]["usable"] == count
    assert len(found["classes"]["classes"]) == classes
    assert (tmp_path / "out" / "contact_sheet.html").stat().st_size < 1e6
    assert found["verdict"] == ("look" if classes == 1 else "unusable")  # one image of each can't be held out


def test_a_scan_of_100_megapixels_has_its_option(tmp_path: Path, capsys: Captured) -> None:
    folder = fill(tmp_path / "in", {"a": 4})
    scan = Image.new("1", (11_000, 9_500), 1)
    ImageDraw.Draw(scan).rectangle((1000, 2000, 3000, 2600), fill=0)
    scan.save(folder / "a" / "scan.png")
    prepared(folder, tmp_path / "out")
    said = capsys.readouterr().out
    assert "More pixels than the limit (1)" in said
    assert "--max-megapixels" in said
    assert as_json(capsys, folder, tmp_path / "out", "--max-megapixels", "105")["outcomes"]["usable"] == 5


def twelve_bits(folder: Path, count: int = 12, kind: str = "tif") -> Path:
    """Images of 12 bits in files of 16."""
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for number in range(count):
        values = draws.integers(100 * number, 100 * number + 2048, (32, 32)).astype(np.uint16)
        values[0, 0] = 4000
        Image.fromarray(values).save(folder / f"{number:02d}.{kind}")
    return folder


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_the_white_of_a_sensor_of_12_bits(tmp_path: Path, capsys: Captured, kind: str) -> None:
    folder, out = twelve_bits(tmp_path / "in", kind=kind), tmp_path / "out"
    prepared(folder, out)
    said = capsys.readouterr().out
    assert "12 images of 16-bit grey have no value above 4,000" in said
    assert "prepare them again with --white-level 4095" in said
    found = as_json(capsys, folder, out, "--white-level", "4095")
    assert found["white_level"] == {"images": 12, "peak": 4000, "used": 4095, "better": None}
    assert "--data.white-level 4095" in found["advice"]["command"]
    assert "too_dark" not in {point["key"] for point in found["points"]}
    known = {json.loads(line)["name"]: json.loads(line) for line in (out / "scan.jsonl").read_bytes().splitlines()[1:]}
    values = np.asarray(Image.open(folder / f"00.{kind}")).astype(np.float64)
    assert known[f"00.{kind}"]["brightness"] == pytest.approx(np.rint(values * 255 / 4095).mean(), abs=0.01)
    assert (
        as_json(capsys, folder, out)["white_level"]["better"] == 4095
    )  # what was found with another level is found again


@pytest.mark.parametrize("highest", [255, 8192])
def test_a_white_that_nothing_speaks_against(tmp_path: Path, capsys: Captured, highest: int) -> None:
    """One image that comes near white, or images of 8 bits."""
    folder = twelve_bits(tmp_path / "in")
    values = np.zeros((32, 32), np.uint16)
    values[5:20] = highest
    if highest == 255:
        for path in folder.iterdir():
            path.unlink()
        for number in range(12):
            Image.fromarray((values * (number + 1) // 12).astype(np.uint8)).save(folder / f"{number:02d}.png")
    else:
        Image.fromarray(values).save(folder / "bright.tif")
    assert as_json(capsys, folder, tmp_path / "out")["white_level"]["better"] is None


# ---- what to type next -----------------------------------------------------------------------------------------------


def small_scans(folder: Path) -> str:
    draws = np.random.default_rng(0)
    for i in range(4):
        write(folder / f"{i}.png", Image.fromarray(draws.integers(0, 256, (300, 400), dtype=np.uint8)))
    return str(folder)


def unbalanced(folder: Path) -> str:
    return str(fill(folder, {"good": 30, "dent": 3}))


def wide_and_small(folder: Path) -> str:
    for i in range(12):
        write(folder / f"{i}.png", part(i, 40).resize((48, 18)))
    return str(folder)


def wide_arrays(folder: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 80), dtype=np.uint8)
    np.save(folder.with_suffix(".npy"), pixels)
    return str(folder.with_suffix(".npy"))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (unbalanced, ["--data.balance 0.5", "--augment photos", "--data.channels 1"]),
        (small_scans, ["--data.fit tiles", "--recipe folder32_small"]),
        (wide_and_small, ["--recipe fashion_mnist_16", "--data.fit pad"]),
        (lambda folder: "digits", ["--recipe digits"]),
        (lambda folder: "surfaces:count=60", ["--recipe folder32_small"]),
        (lambda folder: "surfaces:count=60,size=48", ["--recipe folder32_small", "--data.resolution 48"]),
        (wide_arrays, ["--recipe folder32_small"]),
    ],
    ids=["unbalanced", "scans", "wide and small", "digits", "surfaces", "surfaces of a size", "wide arrays"],
)
def test_the_suggested_command_trains(
    tmp_path: Path, capsys: Captured, make: Callable[[Path], str], expected: list[str]
) -> None:
    command = as_json(capsys, make(tmp_path / "元 データ"), tmp_path / "準備 済み")["advice"]["command"]
    assert all(option in command for option in expected), command
    program, *arguments = shlex.split(command)
    assert program == "sadm"
    assert run([*arguments, "--out", str(tmp_path / "run"), *FEW_STEPS]) == 0
    facts = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert facts["finished"]
    assert not re.search("Left out|files could not be read", capsys.readouterr().err)


def test_what_the_source_left_out_is_counted_and_shown(tmp_path: Path, capsys: Captured) -> None:
    folder = fill(tmp_path / "in", {"a": 4, "b": 4})
    for name in ("a/IMG_1.HEIC", "a/IMG_2.heic", "notes.txt", "a/.hidden.txt"):
        (folder / name).write_bytes(b"x")
    found = as_json(capsys, folder, tmp_path / "out")
    assert found["other_files"] == {".heic": 2, ".txt": 1}
    points = {point["key"]: point for point in found["points"]}
    assert points["other_pictures"]["count"] == 2
    sheet = (tmp_path / "out" / "contact_sheet.html").read_text("utf-8")
    assert "<li>.heic: 2</li>" in sheet
    assert "<li>.txt: 1</li>" in sheet
    lines = ["file_name,label", *(f"{path.relative_to(folder)},x" for path in folder.rglob("*.png")), "gone.png,x"]
    (folder / "metadata.csv").write_text("\n".join(lines))
    found = as_json(capsys, folder, tmp_path / "out")
    assert found["outcomes"]["not_listed"] == 1
    assert "<li>gone.png <small>" in (tmp_path / "out" / "contact_sheet.html").read_text("utf-8")


def test_the_commands_of_the_page_run_and_are_what_is_suggested(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "prepare.md").read_text("utf-8")
    blocks = re.findall(r"```\n(.*?)```", page, re.DOTALL)
    commands = [line.removesuffix(" > summary.json").split()[1:] for line in "".join(blocks).splitlines()]
    assert [command[0] for command in commands] == ["export", "prepare", "train", "prepare", "compare"]
    monkeypatch.chdir(tmp_path)
    assert run(commands[0]) == 0
    assert run(commands[1]) == 0
    assert (
        "sadm " + " ".join(commands[2])
        == json.loads(Path("prepared/parts/summary.json").read_text())["advice"]["command"]
    )
    assert run([*commands[2], *FEW_STEPS]) == 0
    capsys.readouterr()
    assert run(commands[3]) == 0
    for key in json.loads(capsys.readouterr().out):
        assert f"`{key}`" in page, key
