"""What a look at an image finds, and a scan that loses nothing when it is stopped."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import imagehash
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from parts_photos import encoded, part, write
from sadm.core.errors import InterruptedRun, UserError
from sadm.data.decoding import pillow_settings
from sadm.data.fitting import Fit
from sadm.data.preparation.facts import Facts
from sadm.data.preparation.looking import look
from sadm.data.preparation.scanning import scan
from sadm.data.records import Listing, Record
from sadm.data.sources import list_source


def noise(seed: int, height: int = 64, width: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def facts_of(path: Path) -> Facts:
    return look(Record(path.name, path))


def listed(folder: Path) -> Listing:
    listing = list_source(str(folder))
    assert listing is not None
    return listing


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "scan.jsonl").read_text("utf-8").splitlines()]


# ---- one image -------------------------------------------------------------------------------------------------------


def test_facts_against_numpy_and_hashlib(tmp_path: Path) -> None:
    path = write(tmp_path / "部品 1.png", part(3, 128))
    fact = facts_of(path)
    pixels = np.asarray(Image.open(path))
    assert (fact.problem, fact.width, fact.height, fact.mode, fact.bits) == ("", 128, 128, "RGB", 8)
    assert fact.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (fact.size, fact.modified) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert fact.pixels == hashlib.sha256(b"128 x 128\n" + pixels.tobytes()).hexdigest()
    grey = pixels[..., 0].astype(np.float64)  # the part is grey
    assert (fact.brightness, fact.contrast) == pytest.approx((grey.mean(), grey.std()), abs=0.01)
    for side, kept in zip((16, 32, 64), fact.kept, strict=True):
        blocks = grey.reshape(side, 128 // side, side, 128 // side).mean(axis=(1, 3))
        assert kept == pytest.approx(blocks.var() / grey.var(), abs=0.01)
    found = np.frombuffer(fact.thumb, np.uint8).reshape(32, 32)
    assert np.corrcoef(found.ravel(), shrunk(grey).ravel())[0, 1] > 0.9999
    assert (found.min(), found.max()) == (0, 255)
    assert fact.phash == str(imagehash.phash(Image.fromarray(found)))
    assert set(fact.tint) <= {127, 128}
    assert Facts.from_json(json.loads(json.dumps(fact.to_json()))) == fact


def shrunk(grey: np.ndarray) -> np.ndarray:
    """To 32 x 32 by the bicubic filter of another library."""
    levels = torch.from_numpy(grey)[None, None]
    return functional.interpolate(levels, (32, 32), mode="bicubic", antialias=True)[0, 0].numpy()


def test_fingerprints_of_large_images_are_those_of_the_whole_filter(tmp_path: Path) -> None:
    image = noise(5, 40, 30).resize((1300, 900), Image.Resampling.BICUBIC)
    fact = facts_of(write(tmp_path / "large.png", image))
    found = np.frombuffer(fact.thumb, np.uint8)
    assert np.corrcoef(found, shrunk(np.asarray(image.convert("L"), dtype=float)).ravel())[0, 1] > 0.9999


def test_equal_pixels_in_any_format_have_one_hash_and_others_another(tmp_path: Path) -> None:
    image = noise(0, 48, 64)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn clockwise to view"
    names = {
        "a.png": {},
        "b.bmp": {},
        "c.tif": {"compression": "tiff_lzw"},
        "d.webp": {"lossless": True},
    }
    same = {facts_of(write(tmp_path / name, image, **options)).pixels for name, options in names.items()}
    turned = facts_of(write(tmp_path / "e.png", image.transpose(Image.Transpose.ROTATE_90), exif=exif))
    assert same == {turned.pixels}
    assert (turned.width, turned.height, turned.turned) == (64, 48, True)
    reshaped = Image.frombytes("RGB", (48, 64), image.tobytes())
    assert facts_of(write(tmp_path / "f.png", reshaped)).pixels not in same
    grey = image.convert("L")
    as_colour = facts_of(write(tmp_path / "h.png", grey.convert("RGB")))
    assert facts_of(write(tmp_path / "g.png", grey)).pixels == as_colour.pixels


def test_what_is_peculiar_about_a_file(tmp_path: Path) -> None:
    wide = Image.fromarray(np.linspace(0, 65535, 4096).reshape(64, 64).astype(np.uint16))
    assert facts_of(write(tmp_path / "wide.png", wide)).bits == 16
    assert facts_of(write(tmp_path / "cmyk.jpg", noise(0).convert("CMYK"))).mode == "CMYK"
    assert facts_of(write(tmp_path / "clear.png", noise(0).convert("RGBA"))).alpha
    frames = [noise(i).convert("P") for i in range(3)]
    moving = write(tmp_path / "moving.gif", frames[0], save_all=True, append_images=frames[1:])
    assert facts_of(moving).frames == 3
    assert facts_of(write(tmp_path / "flat.png", Image.new("RGB", (64, 64), (10, 200, 30)))).flat
    coloured = np.full((64, 64, 3), 100, dtype=np.uint8)
    coloured[:32, :, 0], coloured[:32, :, 1] = 151, 74  # the same grey level in another colour
    assert not facts_of(write(tmp_path / "hue.png", Image.fromarray(coloured))).flat
    profiles = {"plain.png": None, "srgb.png": b"...sRGB IEC61966-2.1...", "adobe.png": b"...Adobe RGB (1998)..."}
    foreign = [facts_of(write(tmp_path / n, noise(0), icc_profile=p)).profile for n, p in profiles.items()]
    assert foreign == [False, False, True]


BROKEN = {
    "empty.jpg": (b"", "empty", "0 bytes"),
    "text.png": (b"no image", "not_an_image", "no PNG, JPEG"),
    "float.tif": (
        encoded(Image.fromarray(np.full((24, 24), 0.5, np.float32)), "TIFF"),
        "odd_channels",
        "no agreed range",
    ),
    "inside.png": (encoded(noise(1))[:600] + b"\0" * 400 + encoded(noise(1))[1000:], "damaged", ""),
    **{
        f"cut.{kind}": (data[: len(data) // 2], "truncated", "")
        for kind, data in {
            "png": encoded(noise(1)),
            "jpg": encoded(noise(1), "JPEG"),
            "bmp": encoded(noise(1), "BMP"),
            "gif": encoded(noise(1).convert("P"), "GIF"),
            "webp": encoded(noise(1), "WEBP"),
            "tif": encoded(noise(1), "TIFF"),
            "lzw.tif": encoded(noise(1), "TIFF", compression="tiff_lzw"),
        }.items()
    },
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_have_a_reason_by_kind(tmp_path: Path, name: str) -> None:
    content, problem, detail = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    fact = facts_of(tmp_path / name)
    assert fact.problem == problem
    assert detail in fact.detail
    assert fact.detail
    from_container = look(Record(name, lambda: content))
    assert (from_container.problem, from_container.detail) == (fact.problem, fact.detail)


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    found = {name: facts_of(tmp_path / name).problem for name in ("gone.png", "loop.png", "pipe.png")}
    assert found == {"gone.png": "missing", "loop.png": "missing", "pipe.png": "special_file"}


def test_a_forbidden_file(open_folder: Path, ordinary_user: Callable[[], AbstractContextManager[None]]) -> None:
    path = write(open_folder / "a.png", noise(0))
    path.chmod(0)
    with ordinary_user():
        assert facts_of(path).problem == "forbidden"


def test_a_bomb_by_the_limit_at_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.png", noise(0))
    for limit in (1000, 3000):  # Pillow itself raises above twice its limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pillow_settings(Fit()):
            assert facts_of(path).problem == "too_large"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64)
    assert facts_of(path).problem == ""


def test_a_file_that_is_written_to_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = write(tmp_path / "a.png", noise(0)), Path.read_bytes

    def read_and_append(self: Path) -> bytes:
        content = read(self)
        with open(self, "ab") as file:
            file.write(b"more")
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_append)
    assert facts_of(path).problem == "changing"


def test_a_container_that_fails_is_a_damaged_image() -> None:
    def fail() -> bytes:
        raise RuntimeError("bad checksum")

    fact = look(Record("a.png", fail))
    assert fact.problem == "damaged"
    assert "bad checksum" in fact.detail


def test_a_mask_must_fit(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", noise(0))
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 9, 9))
    cases = {
        "fits.png": (mask, ""),
        "small.png": (mask.resize((32, 32)), "bad_mask"),
    }
    for name, (picture, problem) in cases.items():
        fact = look(Record("a.png", image, mask=write(tmp_path / name, picture)))
        assert fact.problem == problem
    assert "32 x 32 pixels, the image 64 x 64" in fact.detail
    assert look(Record("a.png", image, mask=tmp_path / "none.png")).problem == "bad_mask"
    mended = look(Record("a.png", image, mask=tmp_path / "fits.png"), known=fact)
    assert mended.problem == ""


# ---- many ------------------------------------------------------------------------------------------------------------


def fill(folder: Path, count: int = 8) -> Path:
    for i in range(count):
        write(folder / f"{i:03d}.png", noise(i, 24, 24))
    (folder / "bad.png").write_bytes(b"no image")
    return folder


def test_any_number_of_threads_finds_the_same_in_order(tmp_path: Path) -> None:
    listing = listed(fill(tmp_path / "in", 20))
    seen: list[tuple[int, int]] = []
    one = scan(listing, tmp_path / "one", "in", jobs=1, progress=lambda *done: seen.append(done))
    many = scan(listing, tmp_path / "many", "in", jobs=8)
    assert one == many
    assert [fact.name for fact in one] == [record.name for record in listing.records]
    assert seen == [(i + 1, 21) for i in range(21)]
    assert lines(tmp_path / "one")[1:] == [fact.to_json() for fact in one]


def test_content_that_is_the_same_is_not_looked_at_again(tmp_path: Path) -> None:
    folder, out = fill(tmp_path / "in"), tmp_path / "out"
    before = scan(listed(folder), out, "in")
    path = folder / "003.png"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(b"\0" * len(content))  # would be found damaged
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert scan(listed(folder), out, "in") == before
    os.utime(path, ns=(0, 0))
    changed = scan(listed(folder), out, "in")
    assert changed[3].problem == "not_an_image"
    assert changed[:3] + changed[4:] == before[:3] + before[4:]
    path.write_bytes(content)
    assert scan(listed(folder), out, "in")[3].pixels == before[3].pixels


def test_the_journal_holds_what_is_there_now_and_once(tmp_path: Path) -> None:
    folder, out = fill(tmp_path / "in"), tmp_path / "out"
    scan(listed(folder), out, "in")
    (folder / "001.png").unlink()
    write(folder / "002.png", noise(99))
    os.mkfifo(folder / "pipe.png")
    found = scan(listed(folder), out, "in")
    assert [fact.problem for fact in found if fact.name == "pipe.png"] == ["special_file"]
    names = [line.get("name") for line in lines(out)]
    assert names == [None, *(fact.name for fact in found if fact.name != "pipe.png")]


def test_a_line_cut_short_is_looked_at_again(tmp_path: Path) -> None:
    folder, out = fill(tmp_path / "in"), tmp_path / "out"
    before = scan(listed(folder), out, "in")
    whole = (out / "scan.jsonl").read_bytes()
    (out / "scan.jsonl").write_bytes(whole[: len(whole) * 2 // 3])
    assert scan(listed(folder), out, "in") == before
    assert sorted((out / "scan.jsonl").read_bytes().splitlines()) == sorted(whole.splitlines())
    (out / "scan.jsonl").write_bytes(b'{"scan": 0}\n[1]\nnonsense\n')
    assert scan(listed(folder), out, "in") == before
    assert (out / "scan.jsonl").read_bytes() == whole


def test_two_sources_are_not_mixed(tmp_path: Path) -> None:
    scan(listed(fill(tmp_path / "in")), tmp_path / "out", "/photos/a")
    with pytest.raises(UserError, match=r"out holds what was prepared from /photos/a, not from /photos/b.*--out"):
        scan(listed(tmp_path / "in"), tmp_path / "out", "/photos/b")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_scan_that_is_stopped_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    listing, out = listed(fill(tmp_path / "in", 30)), tmp_path / "out"

    def stop_at_five(done: int, total: int) -> None:
        if done == 5:
            os.kill(os.getpid(), number)

    with pytest.raises(InterruptedRun, match=r"Stopped after \d+ of 31 images.*the same command"):
        scan(listing, out, "in", jobs=2, progress=stop_at_five)
    kept = lines(out)[1:]
    assert 5 <= len(kept) < 31
    decoded: list[str] = []
    for record in listing.records[: len(kept)]:  # would be found changed if they were read again
        status = os.stat(record.content)  # type: ignore[arg-type]
        Path(record.content).write_bytes(b"\0" * status.st_size)  # type: ignore[arg-type]
        os.utime(record.content, ns=(0, status.st_mtime_ns))  # type: ignore[arg-type]
        decoded.append(record.name)
    resumed = scan(listing, out, "in")
    assert [fact.to_json() for fact in resumed[: len(kept)]] == kept
    fill(tmp_path / "again", 30)
    whole = scan(listed(tmp_path / "again"), tmp_path / "other", "again")
    assert [fact.pixels for fact in resumed] == [fact.pixels for fact in whole]


@pytest.mark.parametrize(("stays", "problem"), [(False, "missing"), (True, "damaged")])
def test_a_file_that_goes_between_two_looks_at_it_is_missing_and_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stays: bool, problem: str
) -> None:
    """A drive that is unplugged: damage would be remembered, and believed when the drive is back."""
    path = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(path)
    read = Path.read_bytes

    def unplugged(self: Path) -> bytes:
        if not stays:
            self.unlink()
            return read(self)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", unplugged)
    assert look(Record("a.png", path)).problem == problem
