from __future__ import annotations

import json
import shutil

import pytest
import torch

from sadm.core.errors import UserError
from sadm.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint

STATE = {
    "step": 3,
    "nested": {"a": torch.arange(6).reshape(2, 3), 0: {"exp": torch.tensor(1.5, dtype=torch.float64)}},
    "list": [1, 2.5, None, "text", torch.ones(2, dtype=torch.bfloat16), True],
    "empty": {},
}


def test_round_trip(tmp_path):
    shared = torch.ones(4)
    save_checkpoint(tmp_path / "c", {**STATE, "one": shared, "view": shared[1:3]})
    loaded = load_checkpoint(tmp_path / "c")
    assert loaded["step"] == 3
    assert torch.equal(loaded["nested"]["a"], STATE["nested"]["a"])
    assert loaded["nested"][0]["exp"].dtype == torch.float64
    assert loaded["list"][:4] == [1, 2.5, None, "text"]
    assert loaded["list"][4].dtype == torch.bfloat16
    assert loaded["list"][5] is True
    assert loaded["empty"] == {}
    assert torch.equal(loaded["view"], torch.ones(2))


@pytest.mark.parametrize("sixteenth", range(16))
@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "checksums.json"])
def test_a_truncated_file_is_detected_and_the_one_before_is_used(tmp_path, name, sixteenth):
    save_checkpoint(tmp_path / "step-00000001", {"step": 1, "w": torch.randn(64)})
    save_checkpoint(tmp_path / "step-00000002", {"step": 2, "w": torch.randn(64)})
    path = tmp_path / "step-00000002" / name
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * sixteenth // 16])
    warnings = []
    loaded = latest_checkpoint(tmp_path, warnings.append)
    assert loaded is not None
    assert loaded["step"] == 1
    assert len(warnings) == 1
    assert "step-00000002" in warnings[0]


def test_a_flipped_bit_is_detected(tmp_path):
    save_checkpoint(tmp_path / "step-00000001", {"step": 1, "w": torch.randn(64)})
    path = tmp_path / "step-00000001" / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged"):
        latest_checkpoint(tmp_path, lambda text: None)


def test_no_checkpoint_is_none(tmp_path):
    assert latest_checkpoint(tmp_path, lambda text: None) is None


def test_a_full_disk_is_said_and_leaves_the_old_checkpoint(tmp_path, small_disk):
    save_checkpoint(small_disk / "step-00000001", {"step": 1, "w": torch.randn(64)})
    with pytest.raises(UserError, match="disk is full"):
        save_checkpoint(small_disk / "step-00000002", {"step": 2, "w": torch.randn(200_000)})
    loaded = latest_checkpoint(small_disk, lambda text: None)
    assert loaded is not None
    assert loaded["step"] == 1
    assert [path.name for path in small_disk.iterdir()] == ["step-00000001"]


def test_nothing_is_pickled(tmp_path):
    save_checkpoint(tmp_path / "c", STATE)
    assert sorted(path.suffix for path in (tmp_path / "c").iterdir()) == [".json", ".json", ".safetensors"]
    json.loads((tmp_path / "c" / "state.json").read_text())
    shutil.rmtree(tmp_path / "c")
