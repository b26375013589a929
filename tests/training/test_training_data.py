"""The options of the data in a run: refused early where they mean nothing, heard where they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sadm.cli.main import run as run_command
from sadm.core.config import merge
from sadm.core.errors import InterruptedRun, UserError
from sadm.data import Fit
from sadm.training.config import load_train_config
from sadm.training.model_folder import load_model
from sadm.training.run import fit_for, split_for, train
from tiny import TINY, Listener, equal_bits, tiny_config

QUICK = (
    "--signal none --net.patch 4 --net.width 16 --net.depth 1 --net.heads 2 --optimiser.steps 4 --optimiser.batch 4 "
    "--sampling.steps 2 --log.samples 4"
).split()


def scans(folder: Path, count: int = 6, side: int = 40, channels: int = 3) -> Path:
    draws = np.random.default_rng(0)
    for name, base in (("good", 60), ("scratch", 170)):
        (folder / name).mkdir(parents=True)
        for i in range(count // 2):
            pixels = np.clip(draws.normal(base, 40, (side, side + 8 * i, channels)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"fit": "tiles"}, "data.fit 'tiles' needs a data.resolution, such as 64"),
        ({"overlap": 0.5}, "data.overlap has a meaning with data.fit 'tiles' alone, got 'crop'"),
        (
            {"fit": "pad", "resolution": 8, "scale": 0.5},
            "data.scale has a meaning with data.fit 'tiles' alone, got 'pad'",
        ),
        ({"pad_colour": "white"}, "data.pad_colour has a meaning with data.fit 'pad' alone, got 'crop'"),
        ({"crop_margin": 0.5}, "data.crop_margin has a meaning with data.fit 'random-crop' alone, got 'crop'"),
        ({"fit": "stretch", "resolution": 8}, "'crop', 'pad', 'random-crop', 'tiles' or 'buckets'"),
        ({"white_level": 12}, "greater than or equal to 255"),
        ({"channels": 2}, "1, 3 or 4"),
    ],
)
def test_options_without_a_meaning_are_refused(data: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_train_config(overrides={"data": data})
    assert message in str(caught.value)


def test_every_option_reaches_the_images() -> None:
    data = {"fit": "tiles", "resolution": 32, "channels": 4, "overlap": 0.25, "scale": 0.5, "white_level": 4095}
    config = load_train_config(overrides={"data": {**data, "max_megapixels": 120.0, "clean_class": "good"}})
    assert fit_for(config.data) == Fit(
        32, 4, "tiles", overlap=0.25, scale=0.5, white_level=4095, max_megapixels=120.0, clean_class="good"
    )
    for change in (
        {"fit": "pad", "pad_colour": "black"},
        {"fit": "random-crop", "crop_margin": 0.5},
        {"fit": "buckets", "bucket_multiple": 2},
    ):
        fit = fit_for(load_train_config(overrides={"data": {"resolution": 8, **change}}).data)
        assert (fit.policy, fit.pad_colour, fit.crop_margin, fit.bucket_multiple) == (
            change["fit"],
            change.get("pad_colour", "edge"),
            change.get("crop_margin", 0.125),
            change.get("bucket_multiple", 8),
        )


def test_what_was_done_is_said_once_for_each_kind(tmp_path: Path) -> None:
    folder = scans(tmp_path / "scans", channels=4)
    heard = Listener()
    split_for(load_train_config(overrides={"data": {"source": str(folder), "resolution": 8}}), heard)
    assert heard.said == [
        f"Notes on the images of {folder}:\n  6 x transparency composited on white (such as good/0.png)"
    ]


def test_windows_that_change_are_not_looked_up_in_a_cache(tmp_path: Path) -> None:
    """Ten epochs with a frozen encoder, whose cache would refuse pixels that are others than before."""
    source = str(scans(tmp_path / "scans"))
    data = {"source": source, "resolution": 8, "channels": 1, "fit": "random-crop", "crop_margin": 1.0}
    for structure in ({"adversary": "frozen"}, {}):
        config = tiny_config(data=data, structure=structure, signal="structure" if structure else "hidden")
        result = train(config, tmp_path / f"run {len(structure)}")
        assert result.steps == TINY["optimiser"]["steps"]


def test_a_run_on_windows_goes_on_bit_for_bit(tmp_path: Path) -> None:
    source = str(scans(tmp_path / "scans"))
    change = {"signal": "none", "data": {"source": source, "resolution": 8, "fit": "random-crop"}}
    whole = load_train_config(overrides=merge(TINY, change))
    train(whole, tmp_path / "whole")
    with pytest.raises(InterruptedRun):
        train(whole, tmp_path / "halves", Listener(stop_at=8))
    train(whole, tmp_path / "halves")
    assert equal_bits(*(load_model(tmp_path / name).denoiser.net.state_dict() for name in ("whole", "halves")))


def test_large_scans_end_to_end_as_tiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = scans(tmp_path / "scans", side=100), str(tmp_path / "run")
    tiles = ["--data.fit", "tiles", "--data.resolution", "16", "--data.overlap", "0.25"]
    assert run_command(["train", "--data", str(folder), "--out", out, *tiles, *QUICK]) == 0
    assert run_command(["sample", out, "--count", "2"]) == 0
    with Image.open(tmp_path / "run" / "generated" / "000000-000000.png") as image:
        assert image.size == (16, 16)
    with pytest.raises(SystemExit):
        run_command(["train", "--data", str(folder), "--out", out + "2", "--data.fit", "tiles", *QUICK])
    assert "needs a data.resolution" in " ".join(capsys.readouterr().err.split())


def test_transparency_end_to_end(tmp_path: Path) -> None:
    folder, out = scans(tmp_path / "scans", channels=4), str(tmp_path / "run")
    arguments = ["--data.resolution", "8", "--data.channels", "4"]
    assert run_command(["train", "--data", str(folder), "--out", out, *arguments, *QUICK]) == 0
    assert run_command(["sample", out, "--count", "2"]) == 0
    for name in ("000000-000000.png", "grid.png"):
        with Image.open(tmp_path / "run" / "generated" / name) as image:
            assert image.mode == "RGBA"


def table_of(folder: Path) -> Path:
    scans(folder)
    rows = [f"{name}/{i}.png,{name}" for name in ("good", "scratch") for i in range(3)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,label,maker", *(f"{row},x" for row in rows)]))
    return folder


def test_what_a_table_was_taken_to_mean_is_said(tmp_path: Path) -> None:
    folder, heard = table_of(tmp_path / "scans"), Listener()
    split_for(load_train_config(overrides={"data": {"source": str(folder), "resolution": 8}}), heard)
    remark = "columns that are not all numbers are left out: 'maker' (row 2 holds 'x')"
    assert heard.said == [f"Notes on the images of {folder}:\n  metadata.csv: {remark}"]


@pytest.mark.parametrize("change", ["an image", "a label"])
def test_a_source_that_changed_during_the_run_is_refused(tmp_path: Path, change: str) -> None:
    folder = table_of(tmp_path / "scans")
    config = tiny_config(data={"source": str(folder), "resolution": 8}, signal="none")
    with pytest.raises(InterruptedRun):
        train(config, tmp_path / "run", Listener(stop_at=4))
    table, image = folder / "metadata.csv", folder / "good" / "0.png"
    before = table.read_bytes(), image.read_bytes()
    if change == "an image":
        image.write_bytes((folder / "good" / "1.png").read_bytes())
    else:
        table.write_text(table.read_text().replace("good/0.png,good", "good/0.png,scratch"))
    with pytest.raises(
        UserError, match=r"run on other images \(fingerprint .*Restore the images, or choose another --out"
    ):
        train(config, tmp_path / "run")
    table.write_bytes(before[0])
    image.write_bytes(before[1])
    assert train(config, tmp_path / "run").steps == config.optimiser.steps
