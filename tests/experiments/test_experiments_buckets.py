"""A comparison on images of several shapes: every arm draws them as training has them, and squares are judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_comparison import TINY, results, tiny

from sadm.core.config import merge
from sadm.core.errors import UserError
from sadm.experiments.compare import compare


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photographs of three aspects in two classes."""
    folder, draws = tmp_path / "photos", np.random.default_rng(0)
    for i in range(40):
        size = [(30, 15), (20, 20), (15, 30)][i // 2 % 3]
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(draws.normal(80 + 90 * (i % 2), 40, size), 0, 255).astype(np.uint8)).save(path)
    return folder


def test_arms_are_compared_on_several_shapes(photos: Path, tmp_path: Path) -> None:
    data = {"source": str(photos), "fit": "buckets", "resolution": 16, "bucket_multiple": 4}
    train = merge(TINY["train"], {"data": data, "optimiser": {"steps": 12}})
    folder = tmp_path / "comparison"
    compare(tiny(train=train, arms={"plain": {"signal": "none"}, "sadm": {"signal": "hidden"}}), folder)
    found = results(folder)
    assert {result["arm"] for result in found.values()} == {"plain", "sadm"}
    for name, result in found.items():
        assert not result["diverged"]
        assert all(np.isfinite(value) for value in result["evaluation"]["fd"].values())
        shapes = json.loads((folder / "runs" / name / "model" / "model.json").read_text())["shapes"]
        assert {tuple(shape) for shape in shapes} == {(24, 12), (16, 16), (12, 24)}
    assert (folder / "report.html").is_file()


def test_options_that_take_one_shape_are_refused_before_anything_is_written(photos: Path, tmp_path: Path) -> None:
    data = {"source": str(photos), "fit": "buckets", "resolution": 16, "bucket_multiple": 4}
    arms = {"plain": {"signal": "none"}, "sadm": {"signal": "hidden", "net": {"rope": True}}}
    with pytest.raises(UserError, match=r"net\.rope has angles for one grid of patches"):
        compare(tiny(train=merge(TINY["train"], {"data": data}), arms=arms), tmp_path / "comparison")
    assert not (tmp_path / "comparison").exists()
