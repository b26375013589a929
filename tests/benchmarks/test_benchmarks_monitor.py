"""`benchmarks.monitor` plants what it says, goes on where it stopped, and its page holds what was found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from benchmarks.common import rounded
from benchmarks.monitor import measure, page

TINY = dataclasses.replace(measure.FULL[0], training=150, held_out=60, new=(40,), without_drift=3, with_drift=1)


def test_a_tiny_measurement_is_kept_and_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = json.loads(json.dumps(rounded(measure.measure((TINY,), tmp_path, lambda text: None)), allow_nan=False))
    at = found["sets"]["digits"]["new"]["40"]
    assert set(at["detected"]) == {f"{kind} {size:g}" for kind, size in measure.KINDS}
    assert at["detected"]["brighter 0.1"] == 1
    monkeypatch.setattr(measure, "_part", lambda *_: pytest.fail("measured again"))
    again = measure.measure((TINY,), tmp_path, lambda text: None)
    assert rounded(again["sets"]) == found["sets"]
    monkeypatch.setattr(page, "stored", lambda *_: found)
    monkeypatch.setattr(page, "result_path", lambda *_: Path(__file__))
    text = page.section()
    assert text is not None
    assert "| digits | 40 |" in text
    assert page.summary(found)["digits"]["40"]["detected"] == at["detected"]
    assert "nan" not in text.lower()


def test_drifts_are_those_that_their_names_say() -> None:
    images = measure._images(TINY)
    assert images.labels is not None
    seed = 104
    look = {kind: measure._look(TINY, images, 40, kind, 0.5, seed) for kind in (measure.NOTHING, measure.COMMON)}
    name = images.class_names[seed % 10]
    shares = {kind: one.classes.get(name, {"share": 0})["share"] for kind, one in look.items()}
    assert shares[measure.COMMON] > shares[measure.NOTHING] + 0.3
    kept, missing = measure._without_a_class(images, torch.arange(200), seed)
    assert set(images.labels[missing].tolist()) == {seed % 10}
    assert seed % 10 not in images.labels[kept].tolist()
