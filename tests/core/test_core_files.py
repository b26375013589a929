"""Files and folders are there whole or not at all: real full disks, real broken paths, real failures in the middle."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from sadm.core.errors import UserError
from sadm.core.files import (
    folder_written_atomically,
    held_locks,
    is_locked,
    locked,
    make_folder,
    read_json,
    remove_leftovers,
    sha256_of_file,
    user_errors_for,
    write_atomically,
    write_json,
)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fail_on(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, fail)


# ---- files -----------------------------------------------------------------------------------------------------------


def test_text_and_bytes_arrive_and_nothing_else_stays(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "text", "Größe ≥ 1\n")
    write_atomically(str(tmp_path / "raw"), b"\x00\xff")
    write_atomically(tmp_path / "raw", b"\x01")
    assert content(tmp_path) == {"a/b/text": "Größe ≥ 1\n".encode(), "raw": b"\x01"}
    assert (tmp_path / "raw").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_failure_keeps_the_old_content_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    write_atomically(tmp_path / "file", "old")
    fail_on(monkeypatch, call, code)
    expected = OSError if code == errno.EIO else UserError  # an error without a remedy is not dressed up as one
    with pytest.raises(expected):
        write_atomically(tmp_path / "file", "new")
    assert content(tmp_path) == {"file": b"old"}


def test_an_interrupt_leaves_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    write_atomically(tmp_path / "file", "old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", "new")
    assert content(tmp_path) == {"file": b"old"}


def test_a_full_disk_keeps_the_old_file(small_disk: Path) -> None:
    write_atomically(small_disk / "file", "old")
    with pytest.raises(UserError, match=r"cannot write .*file: the disk is full\. Free some space and run the same"):
        write_atomically(small_disk / "file", b"x" * 400_000)
    assert content(small_disk) == {"file": b"old"}
    write_atomically(small_disk / "file", "new")  # what had been written was given back
    assert content(small_disk) == {"file": b"new"}


def test_a_full_disk_keeps_the_old_folder(small_disk: Path) -> None:
    with folder_written_atomically(small_disk / "step") as folder:
        write_atomically(folder / "state", "old")
    with (  # noqa: PT012
        pytest.raises(UserError, match="the disk is full"),
        folder_written_atomically(small_disk / "step") as folder,
    ):
        (folder / "half").write_bytes(b"x" * 20_000)
        (folder / "rest").write_bytes(b"x" * 400_000)
    assert content(small_disk) == {"step/state": b"old"}


def test_a_read_only_file_system_is_named(small_disk: Path) -> None:
    subprocess.run([str(shutil.which("mount")), "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match=r"read-only\. Choose another folder"):
        write_atomically(small_disk / "file", "x")
    with pytest.raises(UserError, match="read-only"):
        make_folder(small_disk / "folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_forbidden_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match="permission denied"):
        write_atomically(tmp_path / "locked" / "file", "x")


def test_paths_that_can_not_be_are_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"file/below: a part of this path is a file, not a folder"):
        make_folder(tmp_path / "file" / "below")
    with pytest.raises(UserError, match="a part of this path is a file"):
        write_atomically(tmp_path / "file" / "below" / "deep", "x")
    with pytest.raises(UserError, match="a file is in the way"):
        make_folder(tmp_path / "file")
    with pytest.raises(UserError, match="a folder is in the way"):
        write_atomically(tmp_path / "folder", "x")
    assert content(tmp_path) == {"file": b"x"}
    assert make_folder(tmp_path / "folder") == tmp_path / "folder"


def test_only_errors_with_a_remedy_are_turned() -> None:
    with pytest.raises(FileNotFoundError), user_errors_for("out"):
        raise FileNotFoundError(errno.ENOENT, "gone")
    with pytest.raises(OSError, match="no number"), user_errors_for("out"):
        raise OSError("no number")
    with pytest.raises(UserError, match="cannot write out: permission denied") as caught, user_errors_for("out"):
        raise PermissionError(errno.EACCES, "no")
    assert isinstance(caught.value.__cause__, PermissionError)


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "step"
    with folder_written_atomically(target) as folder:
        (folder / "a").write_text("1")
        (folder / "deep").mkdir()
        (folder / "deep" / "b").write_text("2")
        assert not target.exists()
        assert folder.parent == target.parent  # the same file system
    assert content(tmp_path) == {"new/step/a": b"1", "new/step/deep/b": b"2"}
    assert [p.name for p in target.parent.iterdir()] == ["step"]
    assert target.stat().st_mode & 0o777 == 0o755  # others may read it, as they may read files


def test_a_folder_takes_the_place_of_an_old_one(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with folder_written_atomically(tmp_path / "step") as folder:
            (folder / text).write_text(text)
    assert content(tmp_path) == {"step/new": b"new"}
    assert [p.name for p in tmp_path.iterdir()] == ["step"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "copies"])
def test_what_else_an_old_folder_holds_is_carried_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        fail_on(monkeypatch, "link", errno.EPERM)
    target = tmp_path / "model"
    for name in ("weights", "parts/one", "policy", "drawn/deep/image", "notes", "half.tmp", ".image.abc.tmp/half"):
        write_atomically(target / name, f"old {name}")
    (target / "shortcut").symlink_to("policy")
    with folder_written_atomically(target, replacing=("weights", "parts", "never there")) as folder:
        write_atomically(folder / "weights", "new weights")
        write_atomically(folder / "notes", "new notes")
    assert content(target) == {
        "weights": b"new weights",
        "notes": b"new notes",
        "policy": b"old policy",
        "shortcut": b"old policy",
        "drawn/deep/image": b"old drawn/deep/image",
    }
    assert (target / "shortcut").is_symlink()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_an_error_in_the_block_leaves_the_old_folder_with_all_that_it_holds(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for name in ("weights", "policy", "drawn/image"):
        write_atomically(target / name, "old")
    with (  # noqa: PT012
        pytest.raises(ValueError, match="wrong"),
        folder_written_atomically(target, replacing=("weights",)) as folder,
    ):
        write_atomically(folder / "weights", "new")
        raise ValueError("wrong")
    assert content(tmp_path) == {"model/weights": b"old", "model/policy": b"old", "model/drawn/image": b"old"}
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_disk_that_fills_up_with_what_is_carried_over_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    for name in ("weights", "policy"):
        write_atomically(tmp_path / "model" / name, "old")
    fail_on(monkeypatch, "link", errno.EPERM)
    monkeypatch.setattr(shutil, "copy2", full)
    with (
        pytest.raises(UserError, match="the disk is full"),
        folder_written_atomically(tmp_path / "model", replacing=("weights",)) as folder,
    ):
        write_atomically(folder / "weights", "new")
    assert content(tmp_path) == {"model/weights": b"old", "model/policy": b"old"}
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_first_folder_has_nothing_to_carry_over(tmp_path: Path) -> None:
    with folder_written_atomically(tmp_path / "model", replacing=("weights",)) as folder:
        write_atomically(folder / "weights", "new")
    assert content(tmp_path) == {"model/weights": b"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("existing", [False, True])
def test_an_error_in_the_block_leaves_nothing_behind(
    tmp_path: Path, error: type[BaseException], existing: bool
) -> None:
    if existing:
        (tmp_path / "step").mkdir()
        (tmp_path / "step" / "state").write_text("old")
    with pytest.raises(error), folder_written_atomically(tmp_path / "step") as folder:  # noqa: PT012
        (folder / "half").write_text("x")
        raise error
    assert content(tmp_path) == ({"step/state": b"old"} if existing else {})
    assert [p.name for p in tmp_path.iterdir()] == (["step"] if existing else [])


@pytest.mark.parametrize("failing", [1, 2])
def test_a_swap_that_fails_leaves_the_old_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    with folder_written_atomically(tmp_path / "step") as folder:
        (folder / "state").write_text("old")
    real, calls = os.replace, []

    def replace(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "full")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with (
            pytest.raises(UserError, match="the disk is full"),
            folder_written_atomically(tmp_path / "step") as folder,
        ):
            (folder / "state").write_text("new")
    assert len(calls) >= failing
    assert content(tmp_path) == {"step/state": b"old"}
    assert [p.name for p in tmp_path.iterdir()] == ["step"]


def test_an_old_folder_that_can_not_be_emptied_never_stands_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removing the old folder may stop in the middle; by then the new one must be in its place."""
    with folder_written_atomically(tmp_path / "step") as folder:
        (folder / "state").write_text("old")

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", stopped)
        with contextlib.suppress(KeyboardInterrupt), folder_written_atomically(tmp_path / "step") as folder:
            (folder / "state").write_text("new")
    assert content(tmp_path / "step") == {"state": b"new"}
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["step"]


@pytest.mark.parametrize("renames", [1, 2, 3])
def test_a_kill_between_two_renames_loses_neither_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """The old folder steps aside, the new one takes its place, the old one is marked as gone: a kill before each of these."""
    with folder_written_atomically(tmp_path / "step.1") as folder:
        (folder / "state").write_text("old")
    rename, calls = os.replace, []

    class Killed(BaseException):
        pass

    def dying(*arguments: Path) -> None:
        calls.append(arguments)
        if len(calls) >= renames:
            raise Killed
        rename(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # a killed process tidies nothing up
        with contextlib.suppress(Killed), folder_written_atomically(tmp_path / "step.1") as folder:
            (folder / "state").write_text("new")
    remove_leftovers(tmp_path)
    assert content(tmp_path) == {"step.1/state": b"old" if renames < 3 else b"new"}


def test_leftovers_below_go_too(tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / ".result.json.abc.tmp").write_text("x")
    remove_leftovers(tmp_path)
    assert content(tmp_path) != {}
    remove_leftovers(tmp_path, below=True)
    assert content(tmp_path) == {}
    assert (tmp_path / "runs" / "a").is_dir()


def test_a_lock_is_held_until_the_last_process_that_got_it_has_ended(tmp_path: Path) -> None:
    with locked(tmp_path, "working"):
        helper = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=held_locks())
    assert held_locks() == ()
    with pytest.raises(UserError, match=r"another process is working in .*Wait for it"), locked(tmp_path, "working"):
        pass
    assert helper.stdin is not None
    threading.Timer(0.3, helper.stdin.close).start()
    with locked(tmp_path, "working", patience=60):
        assert helper.wait(10) == 0


def test_a_file_in_the_folders_place_is_kept(tmp_path: Path) -> None:
    (tmp_path / "step").write_text("mine")
    with pytest.raises(UserError, match="a file is in the way"), folder_written_atomically(tmp_path / "step") as folder:
        (folder / "state").write_text("new")
    assert content(tmp_path) == {"step": b"mine"}
    assert [p.name for p in tmp_path.iterdir()] == ["step"]


def test_leftovers_of_a_killed_process_go_and_all_else_stays(tmp_path: Path) -> None:
    (tmp_path / ".step.abc.tmp" / "deep").mkdir(parents=True)
    (tmp_path / ".step.abc.tmp" / "deep" / "half").write_text("x")
    (tmp_path / ".config.yaml.abc.tmp").write_text("x")
    for kept in ("step", "notes.tmp", ".hidden", "config.yaml"):
        (tmp_path / kept).write_text("x")
    remove_leftovers(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"step", "notes.tmp", ".hidden", "config.yaml"}


def test_what_an_interrupted_writer_leaves_is_recognised(tmp_path: Path) -> None:
    with folder_written_atomically(tmp_path / "step") as folder:
        assert folder.match(".*.tmp")


# ---- JSON and checksums ----------------------------------------------------------------------------------------------


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"名前": [1, 2.5, None, True, {"a": "≥"}], "tiny": 1e-300, "third": 1 / 3}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert "名前" in (tmp_path / "x.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_never_reach_a_file(tmp_path: Path, bad: float) -> None:
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": bad})
    assert read_json(tmp_path / "x.json") == 1


@pytest.mark.parametrize("text", [b"", b'{"a": 1', b"\xff\xfe", b"a: 1"])
def test_broken_json_names_the_file(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(UserError, match=r"x\.json is not valid JSON .*Delete it and run the same command again"):
        read_json(tmp_path / "x.json")


def test_json_that_can_not_be_read_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.json does not exist"):
        read_json(tmp_path / "x.json")
    (tmp_path / "file").write_text("1")
    (tmp_path / "folder.json").mkdir()
    for path in (tmp_path / "file" / "x.json", tmp_path / "folder.json"):
        with pytest.raises(UserError, match=rf"cannot read .*{path.name}"):
            read_json(path)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_checksums(tmp_path: Path, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "x").write_bytes(data[:size])
    assert sha256_of_file(tmp_path / "x") == hashlib.sha256(data[:size]).hexdigest()


def test_asking_for_a_lock_keeps_nobody_from_asking(tmp_path):
    assert not is_locked(tmp_path)
    with locked(tmp_path, "working"):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    with open(tmp_path / ".lock", encoding="utf-8") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_SH)
        assert not is_locked(tmp_path)
