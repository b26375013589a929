"""A comparison on latents: images are encoded once for all runs, and judged as pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_comparison import TINY, results, tiny

from latent_setup import tiny_autoencoder
from sadm.core.config import merge, write_yaml
from sadm.core.errors import UserError
from sadm.core.files import make_folder
from sadm.core.progress import Silent
from sadm.experiments.compare import _check_folder, compare
from sadm.experiments.cost import read_costs
from sadm.experiments.jobs import Laboratory
from sadm.experiments.plan import RunJob

pytest.importorskip("diffusers")


def latent_train(autoencoder: str, **change: Any) -> dict[str, Any]:
    few = {"data": {"autoencoder": autoencoder, "limit": 60}, "net": {"patch": 2}, "optimiser": {"steps": 12}}
    return merge(TINY["train"], merge(few, change))


def test_the_runs_of_a_comparison_share_one_cache_and_are_judged_on_pixels(tmp_path: Path) -> None:
    config = tiny(train=latent_train(tiny_autoencoder(tmp_path / "vae")))
    folder = tmp_path / "comparison"
    folder.mkdir()
    laboratory = Laboratory(config, folder, Silent())
    laboratory.measure_costs(["sadm"])
    manifest = folder / "latents" / "manifest.json"
    made = manifest.stat().st_mtime_ns
    for arm in config.arms:
        laboratory.run(RunJob(arm, 100, 12))
    assert manifest.stat().st_mtime_ns == made
    assert not list(folder.glob("runs/*/latents"))
    assert read_costs(folder)["sadm"].steps_measured == 20
    found = results(folder)
    assert len(found) == 2
    assert all(result["evaluation"]["fd"].keys() == {"mlp", "pixels", "random_conv"} for result in found.values())


def test_where_the_cache_lies_may_change(tmp_path: Path) -> None:
    train = latent_train(tiny_autoencoder(tmp_path / "vae"))
    write_yaml(make_folder(tmp_path / "comparison") / "compare.yaml", tiny(train=train))
    elsewhere = merge(train, {"data": {"latents": str(tmp_path / "elsewhere")}})
    _check_folder(tmp_path / "comparison", tiny(train=elsewhere))
    float32 = merge(train, {"data": {"latent_dtype": "float32"}})
    with pytest.raises(UserError, match="train.data.latent_dtype: stored 'float16', given 'float32'"):
        _check_folder(tmp_path / "comparison", tiny(train=float32))


def test_sizes_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    train = latent_train(tiny_autoencoder(tmp_path / "vae"), net={"patch": 3})
    with pytest.raises(UserError, match="become latents of 4x4, which can't be cut into patches of 3x3"):
        compare(tiny(train=train), tmp_path / "comparison")
    assert not (tmp_path / "comparison").exists()
