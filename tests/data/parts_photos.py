"""Pictures for the tests of preparation: parts photographed on one machine, and scenes that have nothing in common."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks.prepare.copies import encoded
from benchmarks.prepare.pictures import part

__all__ = ["encoded", "fill_parts", "part", "plant_faults", "scenes", "snapshot", "write"]


def scenes(side: int = 100) -> list[Image.Image]:
    """48 tiles of two photographs, none overlapping another."""
    return [
        Image.fromarray(photograph[top : top + side, left : left + side])
        for photograph in load_sample_images().images
        for top in range(0, photograph.shape[0] - side + 1, side)
        for left in range(0, photograph.shape[1] - side + 1, side)
    ]


def write(path: Path, image: Image.Image, **options: object) -> Path:
    """Saves an image, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def fill_parts(folder: Path, counts: dict[str, int], side: int = 64) -> Path:
    """Parts in class folders, none like another."""
    for c, (name, count) in enumerate(counts.items()):
        for i in range(count):
            write(folder / name / f"{i:02d}.png", part(100 * c + i, side, kind=c))
    return folder


def plant_faults(good: Path, bad: Path) -> dict[str, str]:
    """Does to a folder of parts, 00.png to 04.png at least, what people and disks do.

    Returns:
        What becomes of each file that is not usable, with the name of its folder.
    """
    shutil.copy(good / "00.png", good / "00 - コピー.png")
    Image.open(good / "01.png").save(good / "01 gespeichert.bmp")
    shutil.copy(good / "02.png", bad / "IMG 1.png")
    (good / "空.jpg").write_bytes(b"")
    (good / "切れ.png").write_bytes((good / "03.png").read_bytes()[:2000])
    (good / "メモ.png").write_text("画像ではありません")
    Image.new("RGB", (64, 64)).save(good / "黒.png")
    Image.fromarray(np.full((64, 64), 0.5, np.float32)).save(good / "値.tif")
    Image.open(good / "04.png").resize((20, 30)).save(good / "小.png")
    (good / "loop").symlink_to(good.parent)
    return {
        f"{good.name}/00 - コピー.png": "duplicate",
        f"{good.name}/01 gespeichert.bmp": "duplicate",
        f"{good.name}/02.png": "wrong_label",
        f"{bad.name}/IMG 1.png": "wrong_label",
        f"{good.name}/空.jpg": "empty",
        f"{good.name}/切れ.png": "truncated",
        f"{good.name}/メモ.png": "not_an_image",
        f"{good.name}/黒.png": "blank",
        f"{good.name}/値.tif": "odd_channels",
        f"{good.name}/小.png": "too_small",
    }


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that a folder holds, with times and permissions, but for locks."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
        if path.name != ".lock"
    }
