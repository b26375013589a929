"""`Store` keeps parts of long work, and removes nothing that it has not written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sadm.core.errors import UserError
from sadm.core.store import ABOUT, Store


class Maker:
    """Counts how often a tensor is made."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> torch.Tensor:
        self.made += 1
        return torch.arange(6, dtype=torch.uint8).reshape(2, 3) + self.made


def test_a_part_is_made_once_and_read_again(tmp_path: Path) -> None:
    make = Maker()
    first = Store(tmp_path / "parts", {"seed": 1}).get("a", make)
    again = Store(tmp_path / "parts", {"seed": 1}).get("a", make)
    assert make.made == 1
    assert again.dtype == torch.uint8
    assert torch.equal(first, again)


def test_parts_of_other_work_are_made_anew(tmp_path: Path) -> None:
    make = Maker()
    Store(tmp_path / "parts", {"seed": 1}).get("a", make)
    (tmp_path / "parts" / "mine.txt").write_text("a note")
    Store(tmp_path / "parts", {"seed": 2}).get("a", make)
    assert make.made == 2
    store = Store(tmp_path / "parts", {"seed": 2})
    store.clear()
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["mine.txt"]


def test_without_other_files_the_folder_goes(tmp_path: Path) -> None:
    store = Store(tmp_path / "parts", {})
    store.get("a", Maker())
    store.clear()
    store.clear()
    assert not (tmp_path / "parts").exists()


def test_a_folder_of_somebody_else_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"photo")
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    with pytest.raises(UserError, match=f"holds no parts.*{ABOUT}"):
        Store(tmp_path, {"seed": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png", "weights.safetensors"]


@pytest.mark.parametrize("content", [b"", b"not a part", b"\xff" * 64])
def test_damaged_parts_are_made_anew(tmp_path: Path, content: bytes) -> None:
    make = Maker()
    Store(tmp_path, {"seed": 1}).get("a", make)
    (tmp_path / "a.safetensors").write_bytes(content)
    assert torch.equal(
        Store(tmp_path, {"seed": 1}).get("a", make), torch.arange(6, dtype=torch.uint8).reshape(2, 3) + 2
    )
    (tmp_path / ABOUT).write_bytes(content)
    Store(tmp_path, {"seed": 1}).get("a", make)
    assert make.made == 3
    Store(tmp_path, {"seed": 1}).get("a", make)
    assert make.made == 3


def test_nowhere_keeps_nothing() -> None:
    make, store = Maker(), Store(None, {})
    store.get("a", make)
    store.get("a", make)
    store.clear()
    assert make.made == 2
