"""`benchmarks.audit` plants what it says, and counts what is found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.audit import measure, page, planting
from benchmarks.common import rounded
from sadm.data import load_split

TINY = dataclasses.replace(measure.QUICK[0], copies=12, simulated=3, held=240, of_each=(200, 90, 60))


def test_changes_are_those_that_their_names_say() -> None:
    images = load_split("digits", held_out=0.4).train.floats(torch.arange(20))
    made = {kind: planting.copies(images, kind, 1) for kind in planting.KINDS}
    assert torch.allclose(made["exact"], images, atol=1e-6)
    flips = (images.flip(-1), images.flip(-2))
    for one, *both in zip(made["flipped"], *flips, strict=True):
        assert any(torch.allclose(one, flip, atol=1e-6) for flip in both)
    inner = made["shifted"][:, :, 2:-2, 2:-2]
    windows = [images[:, :, 2 + y : 6 + y, 2 + x : 6 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)]
    assert all(any(torch.allclose(one, w[i], atol=1e-6) for w in windows) for i, one in enumerate(inner))
    for kind in ("re-coloured", "re-compressed", "all of these"):
        change = (made[kind] - images).abs()
        assert float(change.amax(dim=(1, 2, 3)).min()) > 0.01
    correlation = [
        np.corrcoef(a.flatten(), b.flatten())[0, 1] for a, b in zip(made["re-coloured"], images, strict=True)
    ]
    assert min(correlation) > 0.95


def test_a_tiny_measurement_holds_what_the_page_and_the_summary_need(monkeypatch: pytest.MonkeyPatch) -> None:
    found = json.loads(json.dumps(rounded(measure.measure((TINY,), lambda text: None)), allow_nan=False))
    row = found["sets"]["digits"]
    assert row["kinds"]["exact"] == {"recall": 1.0, "right_original": 1.0}
    for rate, at in row["rates"].items():
        assert at["planted"] == max(1, round(float(rate) * row["fresh_images"]))
        assert at["copies"] == at["found"] + at["false_alarms"]
    assert page.summary(found)["digits"]["recall"]["flipped"] == row["kinds"]["flipped"]["recall"]
    monkeypatch.setattr(page, "stored", lambda *_: found)
    monkeypatch.setattr(page, "result_path", lambda *_: Path(__file__))
    text = page.section()
    assert text is not None
    assert f"{row['fresh']['copies']} of {row['fresh_images']}" in text
    assert "nan" not in text.lower()
