"""``sadm sample`` with every solver and option, on a model that was trained for a moment."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path

import pytest
from PIL import Image

from sadm.cli.main import run
from sadm.diffusion import SOLVERS, generate
from sadm.training.config import SamplingConfig
from sadm.training.model_folder import load_model
from sadm.training.outputs import GeneratedImages, read_records

TINY = (
    "--data=digits --data.limit=40 --signal=none --net.patch=4 --net.width=8 --net.depth=1 --net.heads=1 --optimiser.steps=2 "
    "--optimiser.batch=4 --sampling.steps=2 --log.samples=0"
).split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sampling") / "run"
    assert run(["train", "--out", str(out), *TINY]) == 0
    return out


def drawn(model: Path, folder: Path, name: str, *options: str) -> bytes:
    """Pixels of the first image that a model draws with these options."""
    assert run(["sample", str(model), "--count", "1", "--out", str(folder / name), *options]) == 0
    with Image.open(folder / name / "000000-000000.png") as image:
        return image.tobytes()


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_draws(solver: str, trained: Path, tmp_path: Path) -> None:
    options = ["--count", "2", "--solver", solver, "--steps", "3", "--out", str(tmp_path)]
    assert run(["sample", str(trained), *options]) == 0
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_options_change_the_images(trained: Path, tmp_path: Path) -> None:
    pixels = functools.partial(drawn, trained, tmp_path)
    plain = pixels("plain", "--solver", "ddim", "--steps", "4")
    assert pixels("again", "--solver", "ddim", "--steps", "4", "--eta", "0") == plain
    assert pixels("eta", "--solver", "ddim", "--steps", "4", "--eta", "1") != plain
    assert pixels("karras", "--solver", "ddim", "--steps", "4", "--grid", "karras") == plain  # EDM's own is this one


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--eta", "0.5"], "eta (0.5) has no meaning for solver 'dpmpp_2m'"),
        (["--grid", "karras", "--shift", "2"], "shift (2.0) needs grid 'native'"),
        (
            ["--shift", "2", "--grid", "native"],
            "sampling: shift 2.0 applies to grid 'native' of a flow on straight lines",
        ),
        (
            ["--guidance-low", "3", "--guidance-high", "2"],
            "guidance_low (3.0) must be below sampling.guidance_high (2.0)",
        ),
        (["--guidance-low", "1"], "--guidance-low: nothing is guided, for the guidance scale is 1. Give another"),
        (["--weak", "models/small", "--guidance-high", "5"], "--weak and --guidance-high: nothing is guided"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: list[str], message: str, trained: Path, capsys) -> None:
    assert run(["sample", str(trained), "--count", "1", *options]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert "Traceback" not in said


def test_a_weaker_model_guides(trained: Path, tmp_path: Path, capsys) -> None:
    pixels = functools.partial(drawn, trained, tmp_path)
    other = tmp_path / "other"
    assert run(["train", "--out", str(other), *TINY, "--optimiser.steps=3", "--net.width=12"]) == 0
    plain, itself = pixels("plain"), pixels("itself", "--weak", str(trained), "--guidance-scale", "3")
    assert itself == plain  # away from itself is nowhere
    assert pixels("guided", "--weak", str(other), "--guidance-scale", "3") != plain
    assert run(["train", "--out", str(tmp_path / "large"), *TINY, "--data.resolution=16"]) == 0
    capsys.readouterr()
    weak = ["--weak", str(tmp_path / "large"), "--guidance-scale", "2"]
    assert run(["sample", str(trained), "--count", "1", *weak]) == 2
    assert "models of the same images" in capsys.readouterr().err


def test_a_record_holds_all_that_the_images_depend_on(trained: Path, tmp_path: Path) -> None:
    options = ["--guidance-scale", "3", "--guidance-low", "0.5", "--steps", "3", "--solver", "ddim", "--eta", "0.5"]
    options += ["--from-infinity", "False"]
    drawn(trained, tmp_path, "drawn", "--weak", str(trained), *options)
    (record,) = read_records(tmp_path / "drawn").values()
    expected = {"guidance_scale": 3.0, "guidance_low": 0.5, "steps": 3, "solver": "ddim", "eta": 0.5, "index": 0}
    expected["from_infinity"] = False
    expected["weak"] = load_model(trained).hash
    assert {key: record["details"][key] for key in expected} == expected
    settings = SamplingConfig.model_validate({k: v for k, v in record["details"].items() if k not in ("index", "weak")})
    assert settings.model_dump(exclude={"batch"}).items() <= record["details"].items()


@pytest.fixture
def drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of the sampler has drawn."""
    seen: list[int] = []

    def counted(denoiser, shape, seeds, *arguments, **options):
        seen.append(len(seeds))
        return generate(denoiser, shape, seeds, *arguments, **options)

    monkeypatch.setattr("sadm.training.model_folder.generate", counted)
    return seen


@pytest.fixture(scope="module")
def by_twos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("by twos") / "run"
    assert run(["train", "--out", str(out), *TINY, "--sampling.batch=2"]) == 0
    return out


def test_after_an_interruption_the_same_command_draws_the_rest(
    by_twos: Path, tmp_path: Path, drawn_at_once: list[int], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    parts = ["sample", str(by_twos), "--count", "5", "--out", str(tmp_path / "parts")]
    add = GeneratedImages.add

    def added(self: GeneratedImages, name: str, *arguments, **options) -> Path:
        if name.endswith("2.png"):
            os.kill(os.getpid(), signal.SIGINT)
        return add(self, name, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(GeneratedImages, "add", added)
        assert run(parts) == 130
    said = " ".join(capsys.readouterr().err.split())
    assert f"Stopped: 4 of 5 images are in {tmp_path / 'parts'}. To go on, run the same command" in said
    assert len(read_records(tmp_path / "parts")) == len(list((tmp_path / "parts").glob("*.png"))) == 4
    assert run(parts) == 0
    assert "5 images and grid.png in" in (said := capsys.readouterr().out)
    assert "4 of them were there already" in said
    assert run([*parts[:-1], str(tmp_path / "whole")]) == 0
    whole, found = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("whole", "parts"))
    assert whole == found
    assert drawn_at_once == [2, 2, 1] * 2  # in two goes, and in one


def test_what_was_drawn_otherwise_is_drawn_anew_and_other_seeds_stay(
    by_twos: Path, tmp_path: Path, drawn_at_once: list[int]
) -> None:
    def sampled(*options: str) -> int:
        drawn_at_once.clear()
        assert run(["sample", str(by_twos), "--count", "3", "--label", "3", "--out", str(tmp_path), *options]) == 0
        return sum(drawn_at_once)

    assert [sampled(), sampled(), sampled("--seed", "1"), sampled("--steps", "3"), sampled()] == [3, 0, 3, 3, 3]
    assert sampled("--count", "4") == 1  # of one class, image i is the same whatever the count
    (tmp_path / "000000-000001.png").unlink()
    (tmp_path / "000001-000002.png").write_bytes((tmp_path / "000000-000000.png").read_bytes())
    assert [sampled(), sampled("--seed", "1"), sampled("--seed", "1")] == [1, 1, 0]
    assert len(read_records(tmp_path)) == 7


def test_a_folder_that_is_none_is_refused_before_anything_is_drawn(
    trained: Path, tmp_path: Path, drawn_at_once: list[int], capsys
) -> None:
    (tmp_path / "file").write_text("")
    for out, message in (("file", "is a file; --out must be a folder"), ("file/out", "a part of this path is a file")):
        assert run(["sample", str(trained), "--count", "1", "--out", str(tmp_path / out)]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert run(["sample", str(trained), "--count", "1", "--size", "16x8", "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
    assert drawn_at_once == []
