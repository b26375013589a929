"""Making a cache of latents: however many processes, however often interrupted, the same bytes; and what stands in the way."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import Pipe
from pathlib import Path

import pytest

from latent_setup import picture_set, tiny_autoencoder
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.files import locked
from sadm.data.cache import TensorStore
from sadm.training import encoding
from sadm.training.encoding import encode_images
from sadm.training.encoding_pool import Task
from sadm.training.encoding_worker import main as work
from sadm.training.latents import KIND
from sadm.training.moments import Layout

pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_autoencoder(tmp_path_factory.mktemp("models") / "vae")


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images a shard, so that a few images make several."""
    monkeypatch.setattr(encoding, "MOST_PER_SHARD", 4)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class StopAfter:
    """A reporter that asks for a stop, as Ctrl-C does, once so many images are encoded."""

    def __init__(self, images: int) -> None:
        self.images = images

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        if done == self.images:
            os.kill(os.getpid(), signal.SIGINT)

    def say(self, text: str) -> None:
        pass


@pytest.mark.usefixtures("small_shards")
def test_two_processes_write_what_one_writes(autoencoder: str, tmp_path: Path) -> None:
    images, layout = picture_set(18), Layout(flip=True)
    one = encode_images(images, tmp_path / "one", autoencoder, layout, workers=1)
    two = encode_images(images, tmp_path / "two", autoencoder, layout, workers=2)
    assert (one.workers, two.workers, two.images) == (1, 2, 18)
    assert one.manifest.shard_count == 5
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.usefixtures("small_shards")
def test_a_stopped_encoding_goes_on_to_the_same_bytes(autoencoder: str, tmp_path: Path) -> None:
    images = picture_set(14)
    encode_images(images, tmp_path / "whole", autoencoder, Layout(), workers=1)
    with pytest.raises(InterruptedRun, match=r"Stopped; 2 of 4 shards are in .*parts\. To go on, run the same command"):
        encode_images(images, tmp_path / "parts", autoencoder, Layout(), workers=1, reporter=StopAfter(8))
    again = encode_images(images, tmp_path / "parts", autoencoder, Layout(), workers=1)
    assert again.images == 6
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    finished = encode_images(images, tmp_path / "parts", autoencoder, Layout(), workers=1)
    assert finished.images == 0


def test_a_killed_encoding_goes_on_to_the_same_bytes(
    autoencoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "MOST_PER_SHARD", 1)
    folder, images = tmp_path / "killed", picture_set(60)
    arguments = (images, folder, autoencoder, Layout(), 1)
    process = multiprocessing.get_context("fork").Process(target=encode_images, args=arguments)
    process.start()
    deadline = time.monotonic() + 60
    while len(list(folder.glob("shard-*"))) < 3:
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.001)
    process.kill()
    process.join()
    listed = len(json.loads((folder / "manifest.json").read_text())["shards"])
    assert 0 < listed < 60
    assert encode_images(*arguments).images == 60 - listed
    encode_images(images, tmp_path / "whole", *arguments[2:])
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.usefixtures("small_shards")
def test_a_disk_that_fills_keeps_what_was_finished(autoencoder: str, tmp_path: Path, small_disk: Path) -> None:
    images, layout = picture_set(20, size=(32, 32)), Layout(flip=True, dtype="float32")
    encode_images(images, tmp_path / "whole", autoencoder, layout, workers=1)
    folder = small_disk / "cache"
    with pytest.raises(UserError, match=r"cannot write .*cache/.*the disk is full\. Free some space and run the same"):
        encode_images(images, folder, autoencoder, layout, workers=1)
    listed = len(json.loads((folder / "manifest.json").read_text())["shards"])
    assert 0 < listed < 5
    subprocess.run([str(shutil.which("mount")), "-o", "remount,size=4m", str(small_disk)], check=True)
    again = encode_images(images, folder, autoencoder, layout, workers=1)
    assert again.images == 4 * (5 - listed)
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_read_only_folder_is_refused_for_writing_and_good_for_reading(autoencoder: str, small_disk: Path) -> None:
    images = picture_set(4)
    encode_images(images, small_disk / "cache", autoencoder, Layout(), workers=1)
    subprocess.run([str(shutil.which("mount")), "-o", "remount,ro", str(small_disk)], check=True)
    assert len(TensorStore(small_disk / "cache", KIND)) == 4
    with pytest.raises(UserError, match=r"cannot write .*other: the file system is read-only\. Choose another folder"):
        encode_images(images, small_disk / "other", autoencoder, Layout(), workers=1)
    with pytest.raises(UserError, match=r"cannot write .*cache/\.lock: the file system is read-only"):
        encode_images(images, small_disk / "cache", autoencoder, Layout(), workers=1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_forbidden_folder_is_refused(autoencoder: str, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(UserError, match="permission denied"):
        encode_images(picture_set(4), tmp_path / "cache", autoencoder, Layout(), workers=1)


@pytest.mark.usefixtures("small_shards")
def test_a_truncated_shard_is_made_anew(autoencoder: str, tmp_path: Path) -> None:
    images = picture_set(10)
    encode_images(images, tmp_path, autoencoder, Layout(), workers=1)
    before = contents(tmp_path)
    shard = tmp_path / "shard-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"shard-00001.safetensors is truncated or altered"):
        TensorStore(tmp_path, KIND)
    assert encode_images(images, tmp_path, autoencoder, Layout(), workers=1).images == 4
    assert contents(tmp_path) == before


def test_another_autoencoder_other_images_and_another_layout_are_refused(autoencoder: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    encode_images(picture_set(4), folder, autoencoder, Layout(), workers=1)
    before = contents(folder)
    other = tiny_autoencoder(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match=r"cache holds other latents \(autoencoder: stored .*…, given .*…\)\. Give the"):
        encode_images(picture_set(4), folder, other, Layout(), workers=1)
    with pytest.raises(UserError, match=r"holds other latents \(images: stored .*…, given .*…\)"):
        encode_images(picture_set(4, seed=2), folder, autoencoder, Layout(), workers=1)
    with pytest.raises(UserError, match=r"\(images: stored .*; count: stored 4, given 5\)"):
        encode_images(picture_set(5), folder, autoencoder, Layout(), workers=1)
    with pytest.raises(UserError, match=r"\(flip: stored False, given True; dtype: stored float16, given float32\)"):
        encode_images(picture_set(4), folder, autoencoder, Layout(True, "float32"), workers=1)
    assert contents(folder) == before


def test_what_can_not_be_encoded_is_refused_before_anything_is_written(autoencoder: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with pytest.raises(UserError, match="takes images of 1 channels; those of pictures have 3. Give --data.channels 1"):
        encode_images(picture_set(channels=3), folder, autoencoder, Layout())
    with pytest.raises(UserError, match="images of 7x8 are not divisible by 2"):
        encode_images(picture_set(size=(7, 8)), folder, autoencoder, Layout())
    with pytest.raises(UserError, match="--workers is 0; expected at least 1"):
        encode_images(picture_set(), folder, autoencoder, Layout(), workers=0)
    with pytest.raises(UserError, match=r"holds no config\.json"):
        encode_images(picture_set(), folder, str(tmp_path), Layout())
    assert not folder.exists()


def test_numbers_that_can_not_be_kept_are_refused(tmp_path: Path) -> None:
    huge = tiny_autoencoder(tmp_path / "huge", scaling_factor=1e6)
    with pytest.raises(UserError, match="gives numbers beyond float16 .*scaling_factor, or keep latents as float32"):
        encode_images(picture_set(2), tmp_path / "cache", huge, Layout(), workers=1)
    encode_images(picture_set(2), tmp_path / "wide", huge, Layout(dtype="float32"), workers=1)
    broken = tiny_autoencoder(tmp_path / "broken", scaling_factor=float("inf"))
    with pytest.raises(UserError, match="gives NaN or infinite numbers"):
        encode_images(picture_set(2), tmp_path / "other", broken, Layout(dtype="float32"), workers=1)


def test_a_process_reports_what_it_refuses_and_ends_when_the_other_side_does(autoencoder: str, tmp_path: Path) -> None:
    """The loop of a worker, in a thread instead of a process."""
    huge = tiny_autoencoder(tmp_path / "huge", scaling_factor=1e6)
    for folder, answers in [
        (autoencoder, [{"encoded": 2}, {}]),
        (huge, [{"error": "the autoencoder gives numbers beyond"}]),
    ]:
        ours, theirs = Pipe()
        thread = threading.Thread(target=work, args=(theirs, Task(folder, (1, 8, 12), Layout())))
        thread.start()
        ours.send_bytes(picture_set(2).images.numpy().tobytes())
        for expected in answers:
            found = json.loads(ours.recv_bytes())
            assert found.keys() == expected.keys()
            assert str(found.get("error", "")).startswith(str(expected.get("error", "")))
        ours.close()
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.usefixtures("small_shards")
def test_a_process_that_dies_leaves_its_last_words(
    autoencoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    with pytest.raises(UserError, match=r"ended unexpectedly \(exit code 3; .*Its last words: out of luck"):
        encode_images(picture_set(8), tmp_path / "cache", autoencoder, Layout(), workers=2)


def test_a_second_process_is_kept_out(autoencoder: str, tmp_path: Path) -> None:
    with locked(tmp_path, "encoding images"), pytest.raises(UserError, match="another process is encoding images in"):
        encode_images(picture_set(2), tmp_path, autoencoder, Layout(), workers=1)


def test_shards_are_small_but_not_too_many(autoencoder: str) -> None:
    assert encoding.shard_size(5_000, (3, 256, 256)) == 32
    assert encoding.shard_size(5_000, (3, 2048, 2048)) == 5  # at most 1000 shards
    assert encoding.shard_size(500, (3, 2048, 2048)) == 1
    assert encoding.shard_size(500, (1, 8, 8)) == 1024
    assert encoding.shard_size(2_000_000, (3, 256, 256)) == 2000
    codec = encoding.codec_for(picture_set(), autoencoder)
    assert [codec.images_at_once((4, side, side)) for side in (4, 128, 1024)] == [64, 8, 1]
