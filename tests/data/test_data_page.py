"""docs/formats.md shows code that runs, commands that are understood, and the table that its benchmark prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import resampling
from sadm.data.buckets import bucket_shapes
from sadm.data.decoding import FORMATS
from sadm.training.data_config import DataConfig

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^sadm train (.*)$", PAGE, re.MULTILINE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with `scans` and `photos`, of two classes each."""
    draws = np.random.default_rng(0)
    for folder, sizes in (("scans", [(100, 130), (64, 64)]), ("photos", [(40, 60), (60, 40), (50, 50)])):
        for name in ("good", "scratch"):
            (tmp_path / folder / name).mkdir(parents=True)
            for i, (height, width) in enumerate(sizes):
                pixels = draws.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(snippet: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(snippet, names)  # noqa: S102 - our own page
    return names


def test_scans_are_put_together_as_the_page_says(here: Path) -> None:
    (snippet,) = (code for code in SNIPPETS if "assemble" in code)
    with Image.open(here / "scans" / "good" / "0.png") as image:
        expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert torch.equal(run(snippet)["whole"], expected)


def test_a_network_is_trained_on_buckets_as_the_page_says(here: Path) -> None:
    (snippet,) = (code for code in SNIPPETS if "BucketedStream" in code)
    names = run(snippet)
    assert len(names["stream"].shapes) == 3
    assert len({names["stream"].batch(step).x0.shape for step in range(6)}) == 3
    assert any(bool(parameter.ne(0).any()) for parameter in names["net"].final_layer.parameters())


def test_every_block_of_the_page_was_looked_at() -> None:
    assert PAGE.count("```") == 2 * (len(SNIPPETS) + 2)
    assert (len(SNIPPETS), len(COMMANDS)) == (2, 3)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    from sadm.cli.options import parse, take
    from sadm.training.config import TrainConfig, load_train_config

    (_, recipe), rest = take(shlex.split(command), "out", "recipe")
    config = parse(TrainConfig, rest, "train", "", load_train_config(recipe))
    assert config.data.fit in ("tiles", "random-crop", "buckets")


def test_the_shapes_that_the_page_names_are_those_of_that_resolution() -> None:
    named = re.search(r"Resolution (\d+) has the shapes ([^.]*)\.", PAGE)
    assert named is not None
    shapes = [f"{width}x{height}" for width, height in bucket_shapes(int(named[1]), DataConfig().bucket_multiple)]
    assert re.findall(r"\d+x\d+", named[2]) == shapes


def test_options_and_formats_exist() -> None:
    named = {name.replace("-", "_") for name in re.findall(r"--data\.([a-z-]+)", PAGE)}
    assert named <= set(DataConfig.model_fields)
    for name in FORMATS:
        assert name in PAGE.upper()


@pytest.mark.parametrize("name", ["Lanczos", "Hamming"])
def test_the_table_is_what_the_benchmark_prints(name: str) -> None:
    assert resampling.HEADER in PAGE
    assert resampling.row(name) in PAGE


def test_the_chosen_filter_has_the_best_photographs_of_those_without_haloes() -> None:
    clean = {name: filter_ for name, filter_ in resampling.FILTERS.items() if resampling.halo(filter_)[0] == 0}
    best = max(clean.values(), key=lambda filter_: resampling.shrunk(filter_) + resampling.enlarged(filter_))
    assert best == resampling.FILTER
