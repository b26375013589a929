"""Seeds, conditions, grids of images, requests to stop, and peak memory."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sadm.core.conditions import Cond
from sadm.core.grids import centred, check_pictures, grid_png, write_png
from sadm.core.provenance import peak_memory_mib
from sadm.core.seeds import derive_seed, generator, noise_per_image
from sadm.core.stopping import StopRequest

# ---- seeds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ((0,), "int:0"),
        ((3, "noise", 17), "int:3\x1fstr:noise\x1fint:17"),
        ((-5, "ä"), "int:-5\x1fstr:ä"),
        (("3",), "str:3"),
    ],
)
def test_seeds_are_the_head_of_a_hash(key: tuple[int | str, ...], text: str) -> None:
    digits = hashlib.blake2b(text.encode("utf-8"), digest_size=8).hexdigest()
    assert derive_seed(*key) == int(digits, 16) // 2
    assert generator(*key).initial_seed() == derive_seed(*key)


def test_keys_that_differ_give_seeds_that_differ() -> None:
    keys = [(a, purpose, b) for a in range(20) for purpose in ("noise", "sigma") for b in range(20)]
    keys += [(1, 23), (12, 3), ("1", 23), (1, "23"), (1,), (1, ""), ()]
    seeds = {derive_seed(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_an_images_noise_depends_on_its_own_seed_alone() -> None:
    seeds = [7, 1, 5, 1]
    noise = noise_per_image(seeds, (3, 4, 5))
    assert noise.shape == (4, 3, 4, 5)
    assert noise.dtype == torch.float32
    for i, seed in enumerate(seeds):
        expected = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(derive_seed(seed, "latent")))
        assert torch.equal(noise[i], expected)
    assert torch.equal(noise_per_image(seeds[::-1], (3, 4, 5)), noise.flip(0))
    assert not torch.equal(noise_per_image(seeds, (3, 4, 5), "other"), noise)


def test_the_noise_is_unit_gaussian() -> None:
    noise = noise_per_image(range(400), (1, 16, 16)).double()
    count = noise.numel()
    assert float(noise.mean()) == pytest.approx(0, abs=4 / count**0.5)
    assert float(noise.var()) == pytest.approx(1, abs=4 * (2 / count) ** 0.5)


def test_global_randomness_is_left_alone() -> None:
    state = torch.get_rng_state()
    noise_per_image([1, 2], (1, 2, 2))
    assert torch.equal(torch.get_rng_state(), state)


# ---- conditions ------------------------------------------------------------------------------------------------------


def full_cond() -> Cond:
    return Cond(torch.tensor([4, 1, 2]), torch.rand(3, 2), torch.rand(3, 5), torch.rand(3, 1, 2, 2))


def test_parts_of_a_batch_keep_their_conditions_together() -> None:
    cond, index = full_cond(), torch.tensor([2, 0])
    for part, expected in ((cond[index], index), (cond[1:], torch.tensor([1, 2]))):
        for name, value in vars(cond).items():
            assert torch.equal(getattr(part, name), value[expected])
    assert vars(Cond()[index]) == dict.fromkeys(("label", "augment", "attributes", "image"))


def test_only_what_is_present_is_mapped() -> None:
    cond = Cond(label=torch.tensor([1])).map(lambda part: part + 1)
    assert cond.label is not None
    assert cond.label.tolist() == [2]
    assert cond.augment is cond.attributes is cond.image is None
    assert full_cond().to("meta").image.device.type == "meta"  # type: ignore[union-attr]


def test_labels_are_dropped_where_the_mask_says_and_nothing_else_is() -> None:
    cond = full_cond()
    dropped = cond.with_label_dropped(torch.tensor([True, False, True]), 9)
    assert dropped.label is not None
    assert dropped.label.tolist() == [9, 1, 9]
    assert dropped.label.dtype == torch.int64
    without = cond.without_label(9)
    assert without.label is not None
    assert without.label.tolist() == [9, 9, 9]
    for changed in (dropped, without):
        assert (changed.augment, changed.attributes, changed.image) == (cond.augment, cond.attributes, cond.image)
    assert cond.label is not None
    assert cond.label.tolist() == [4, 1, 2]
    assert Cond().with_label_dropped(torch.tensor([True]), 9).label is None
    assert Cond().without_label(9).label is None


# ---- grids -----------------------------------------------------------------------------------------------------------


def pictures(count: int, height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "columns"), [(1, 1), (5, 3), (6, 3), (2, 5)])
def test_every_pixel_of_a_grid_is_where_it_belongs(channels: int, count: int, columns: int) -> None:
    images, scale = pictures(count, 2, 3, channels), 2
    grid = np.asarray(Image.open(io.BytesIO(grid_png(images, columns, scale))))
    rows = -(-count // columns)
    assert grid.shape == (rows * 4 + (rows - 1) * 4, columns * 6 + (columns - 1) * 4, channels + 1)
    expected = np.zeros_like(grid)
    for i in range(count):
        for y in range(4):
            for x in range(6):
                place = expected[i // columns * 8 + y, i % columns * 10 + x]
                place[:channels], place[channels] = images[i, y // 2, x // 2], 255
    assert np.array_equal(grid, expected)


def test_transparent_pictures_stay_so_in_a_grid() -> None:
    images = pictures(2, 3, 3, 4)
    grid = np.asarray(Image.open(io.BytesIO(grid_png(images, 2, 1))))
    assert np.array_equal(grid[:, :3], images[0])
    assert np.array_equal(grid[:, 7:], images[1])
    assert (grid[:, 3:7] == 0).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_of_several_sizes_are_centred_on_transparent_ground(channels: int) -> None:
    sizes = [(4, 2), (3, 5), (1, 1)]
    images = [pictures(1, *size, channels)[0] for size in sizes]
    found = centred(images)
    assert found.shape == (3, 4, 5, 4)
    for place, image, (height, width) in zip(found, images, sizes, strict=True):
        expected = np.zeros((4, 5, 4), np.uint8)
        top, left = (4 - height) // 2, (5 - width) // 2
        for y in range(height):
            for x in range(width):
                pixel = image[y, x].tolist()
                expected[top + y, left + x] = pixel if channels == 4 else [*(pixel * 3)[:3], 255]
        assert np.array_equal(place, expected)
    assert np.array_equal(centred([images[0], images[0]]), np.stack([images[0]] * 2))


@pytest.mark.parametrize(("height", "width", "factor"), [(8, 8, 8), (7, 5, 10), (64, 64, 1), (28, 28, 3), (100, 3, 1)])
def test_small_images_are_enlarged_to_64_pixels_at_least(height: int, width: int, factor: int) -> None:
    with Image.open(io.BytesIO(grid_png(pictures(1, height, width, 1), 1))) as grid:
        assert grid.size == (width * factor, height * factor)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_written_image_reads_back(tmp_path: Path, channels: int) -> None:
    image = pictures(1, 5, 7, channels)[0]
    write_png(tmp_path / "deep" / "x.png", image)
    with Image.open(tmp_path / "deep" / "x.png") as file:
        assert file.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        assert np.array_equal(np.asarray(file).reshape(image.shape), image)


@pytest.mark.parametrize(
    ("bad", "given"),
    [
        (np.zeros((2, 4, 4, 1), np.float32), r"float32 \[2, 4, 4, 1\]"),
        (np.zeros((2, 4, 4, 2), np.uint8), r"uint8 \[2, 4, 4, 2\]"),
        (np.zeros((2, 1, 4, 5), np.uint8), r"uint8 \[2, 1, 4, 5\]"),
        (np.zeros((4, 4, 1), np.uint8), r"uint8 \[4, 4, 1\]"),
        (np.zeros((0, 4, 4, 1), np.uint8), r"uint8 \[0, 4, 4, 1\]"),
        ([[1]], "list"),
    ],
)
def test_anything_but_pictures_is_refused(bad: np.ndarray, given: str) -> None:
    for call in (check_pictures, lambda images: grid_png(images, 2)):
        with pytest.raises(ValueError, match=rf"uint8 arrays \[n, H, W, C\].*given: {given}"):
            call(bad)


@pytest.mark.parametrize(("columns", "scale"), [(0, None), (-1, 2), (2, 0), (2, -1)])
def test_grids_without_size_are_refused(columns: int, scale: int | None) -> None:
    with pytest.raises(ValueError, match="columns and scale must be at least 1"):
        grid_png(pictures(2, 4, 4, 1), columns, scale)


# ---- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
    assert signal.getsignal(number) is before


def test_the_second_interrupt_is_obeyed_at_once_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # asking twice politely stays polite
        assert stop.requested
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second request should have interrupted")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_request_can_be_used_again_and_starts_afresh() -> None:
    for _ in range(2):
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.requested


def test_outside_the_main_thread_it_changes_no_handlers() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with StopRequest() as stop:
            seen.append((stop.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_peak_memory_is_that_of_this_process_and_not_of_its_parent() -> None:
    held = bytearray(300 << 20)
    held[::4096] = b"x" * len(held[::4096])  # touched, so that it is resident
    own = peak_memory_mib()
    code = "from sadm.core.provenance import peak_memory_mib; print(peak_memory_mib())"
    child = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert own > 300
    assert 1 < child < own - 250
