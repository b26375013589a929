"""``sadm encode``, and what follows it: training on the latents, sampling pixels, judging them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from latent_setup import tiny_autoencoder
from sadm.cli.main import run
from sadm.training.run import read_run_config

pytest.importorskip("diffusers")

SMALL = (
    "--data.held-out=0.4 --data.flip --net.patch=2 --net.width=16 --net.depth=1 --net.heads=2 --optimiser.steps=6 "
    "--optimiser.batch=6 --structure.encoder-steps=4 --structure.encoder-width=4 --sampling.steps=2 --log.samples=4"
).split()


@pytest.fixture
def autoencoder(tmp_path: Path) -> str:
    return tiny_autoencoder(tmp_path / "vae", channels=3)


def test_from_a_folder_of_images_through_latents_to_judged_samples(
    tmp_path: Path, class_folder: Path, autoencoder: str, capsys: pytest.CaptureFixture
) -> None:
    cache, out = str(tmp_path / "cache"), str(tmp_path / "run")
    encode = ["encode", str(class_folder), "--autoencoder", autoencoder, "--out", cache, "--resolution", "8", "--flip"]
    assert run([*encode, "--workers", "1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["images"], facts["encoded"], facts["latent_shape"]) == (40, 40, [4, 4, 4])
    assert facts["bytes"] == sum(path.stat().st_size for path in Path(cache).glob("shard-*"))
    assert facts["about"]["resolution"] == "8x8"
    assert run(encode) == 0
    assert "40 images as latents of 4x4x4" in (said := capsys.readouterr().out)
    assert "all intact" in said

    images = ["--data", str(class_folder), "--data.resolution", "8"]
    assert (
        run(["train", *images, "--data.autoencoder", autoencoder, "--data.latents", cache, "--out", out, *SMALL]) == 0
    )
    assert read_run_config(out).data.latents == cache
    assert run(["sample", out, "--count", "3"]) == 0
    with Image.open(Path(out) / "generated" / "000000-000002.png") as image:
        assert (image.size, image.mode) == ((8, 8), "RGB")
    capsys.readouterr()
    assert run(["evaluate", out, "--groups", "2", "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["fd"].keys() == judged["floor"].keys() == {"mlp", "pixels", "random_conv"}


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """Runs a command that must fail as the user's mistake, and returns what it said."""
    try:
        code = run(list(arguments))
    except SystemExit as stop:  # the option parser's own refusals
        code = int(stop.code or 0)
    said = capsys.readouterr().err
    assert code == 2
    assert "Traceback" not in said
    return " ".join(said.split())


def test_mistakes_are_explained(
    tmp_path: Path, class_folder: Path, autoencoder: str, capsys: pytest.CaptureFixture
) -> None:
    cache = str(tmp_path / "cache")
    encode = ["encode", str(class_folder), "--workers", "1"]
    assert "--out is missing" in refused(capsys, *encode, "--autoencoder", autoencoder)
    assert "--autoencoder is missing" in refused(capsys, *encode, "--out", cache)
    encode += ["--autoencoder", autoencoder, "--out", cache]
    assert "takes images of 3 channels" in refused(capsys, *encode, "--channels", "1", "--resolution", "8")
    assert not Path(cache).exists()
    assert run([*encode, "--resolution", "8"]) == 0
    said = refused(capsys, *encode, "--resolution", "16")
    assert "holds other latents (resolution: stored 8x8, given 16x16; images: stored" in said
    assert "Give the stored values, choose another folder, or delete this one" in said
    images = ["--data", str(class_folder), "--data.resolution", "8", *SMALL]
    latents = ["--data.autoencoder", autoencoder, "--data.latents", cache]
    said = refused(capsys, "train", *images, *latents, "--out", str(tmp_path / "run"))
    assert "holds other latents (flip: stored False, given True)" in said
    said = refused(capsys, "train", *images, "--data.latents", cache, "--out", str(tmp_path / "run"))
    assert "about the latents of an autoencoder: give its folder as data.autoencoder" in said
