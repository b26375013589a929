"""``sadm convert``: published weights to images, and a model of ours through diffusers' own pipeline."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from sadm.cli.main import run
from sadm.diffusion import ClassifierFreeGuidance, Cond, SamplerSettings, ddim, prepare
from sadm.models import DiT, LatentCodec
from sadm.training.config import DenoiserConfig, NetConfig, SamplingConfig
from sadm.training.model_folder import load_model, save_model
from sadm.training.spec import ModelSpec
from weights_setup import batch, filled, published_forward, small

diffusers = pytest.importorskip("diffusers")


@pytest.fixture
def autoencoder(tmp_path: Path) -> str:
    torch.manual_seed(0)
    model = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=16,
    )
    model.save_pretrained(tmp_path / "vae")
    return str(tmp_path / "vae")


def converted(tmp_path: Path, net: DiT, *options: str) -> Path:
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    assert run(["convert", str(tmp_path / "weights.pt"), "--out", str(tmp_path / "model"), *options]) == 0
    return tmp_path / "model"


def test_a_published_dit_becomes_a_model_that_draws(
    tmp_path: Path, autoencoder: str, capsys: pytest.CaptureFixture
) -> None:
    net = small(out_channels=8)
    folder = converted(tmp_path, net, "--family", "dit", "--autoencoder", autoencoder)
    assert "loaded" in capsys.readouterr().out
    model = load_model(folder)
    assert model.spec.process == DenoiserConfig(kind="vp", learned_variance=True)
    x, t, y = batch((4, 8, 8), 5)
    wanted = published_forward(net.state_dict(), 6, x, t, y)
    torch.testing.assert_close(model.denoiser.net(x, t, Cond(label=y)), wanted, rtol=1e-4, atol=1e-5)
    assert (
        run(["sample", str(folder), "--count", "3", "--steps", "4", "--solver", "ddpm", "--out", str(tmp_path / "png")])
        == 0
    )
    assert len(list((tmp_path / "png").glob("*.png"))) == 4


def test_a_sit_counts_time_from_noise_and_its_variance_is_left_out(tmp_path: Path, autoencoder: str) -> None:
    net = small(out_channels=8)
    model = load_model(converted(tmp_path, net, "--family", "sit", "--autoencoder", autoencoder))
    assert model.spec.process == DenoiserConfig(kind="flow", reversed_time=True)
    z, _, y = batch((4, 8, 8), 5)
    time = torch.tensor([0.25, 0.5, 0.9])  # of SiT: 0 noise, 1 data
    velocity = published_forward(net.state_dict(), 6, z, time, y)[:, :4]  # data - noise
    x0_hat = z + (1 - time)[:, None, None, None] * velocity
    torch.testing.assert_close(model.denoiser.at(z, 1 - time, Cond(label=y)), x0_hat, rtol=1e-4, atol=1e-5)
    assert model.sample(2, sampling=SamplingConfig(solver="euler", steps=2)).shape == (2, 3, 16, 16)


def test_diffusers_draws_the_same_image_from_the_same_noise(tmp_path: Path, autoencoder: str) -> None:
    process, sizes = DenoiserConfig(kind="vp"), NetConfig(patch=2, width=16, depth=2, heads=2, frequency_shift=1)
    spec = ModelSpec((4, 8, 8), sizes, 0.5, ("bolt", "nut", "washer"), (1, 1, 1), process)
    weights = filled(spec.build().net, scale=0.1).state_dict()
    save_model(tmp_path / "model", spec, weights, SamplingConfig(), {"latents": True}, autoencoder)
    assert run(["convert", str(tmp_path / "model"), "--to", "diffusers", "--out", str(tmp_path / "pipeline")]) == 0

    pipeline = diffusers.DiTPipeline.from_pretrained(str(tmp_path / "pipeline"))
    pipeline.set_progress_bar_config(disable=True)
    labels, draws = [2, 0], torch.Generator().manual_seed(4)
    theirs = pipeline(labels, guidance_scale=3.0, generator=draws, num_inference_steps=6, output_type="np").images

    model = load_model(tmp_path / "model")
    settings = SamplerSettings("ddim", 6, 3.0, grid="native", spacing="leading", clamp=False)
    guided, times = prepare(model.denoiser, model.null_label, settings)
    assert isinstance(guided, ClassifierFreeGuidance)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    start = noise / guided.path.beta(float(times[0]))  # the pipeline starts from unit variance at any timestep
    with torch.no_grad():
        latents = ddim(guided, start, times, Cond(label=torch.tensor(labels)), guided.path)
    ours = LatentCodec.from_folder(model.autoencoder).decode(latents).clamp(-1, 1) / 2 + 0.5
    torch.testing.assert_close(ours.permute(0, 2, 3, 1), torch.from_numpy(theirs), rtol=1e-3, atol=1e-3)

    assert run(["convert", str(tmp_path / "pipeline"), "--out", str(tmp_path / "back")]) == 0
    back = load_model(tmp_path / "back")
    assert (back.spec.process, back.spec.class_names) == (process, spec.class_names)
    assert all(torch.equal(value, weights[name]) for name, value in back.denoiser.net.state_dict().items())


def test_what_cannot_be_converted_is_explained(tmp_path: Path, autoencoder: str, capsys: pytest.CaptureFixture) -> None:
    def complaint(*arguments: str) -> str:
        capsys.readouterr()
        assert run(["convert", *arguments]) == 2
        return capsys.readouterr().err

    torch.save(small().state_dict(), tmp_path / "weights.pt")
    source, out = str(tmp_path / "weights.pt"), str(tmp_path / "out")
    assert "--out is missing" in complaint(source)
    assert "--family dit or --family sit" in complaint(source, "--out", out)
    assert "does not exist" in complaint(str(tmp_path / "nothing.pt"), "--family", "dit", "--out", out)
    assert not os.path.exists(out)
    assert "no config.json" in complaint(source, "--family", "dit", "--out", out, "--autoencoder", str(tmp_path))
    assert not os.path.exists(out)

    latents = converted(tmp_path, small(), "--family", "dit")
    capsys.readouterr()
    assert run(["sample", str(latents), "--count", "1"]) == 2
    assert "no autoencoder" in capsys.readouterr().err
    assert "Give the folder of one with --autoencoder" in complaint(str(latents), "--to", "diffusers", "--out", out)
    spec = ModelSpec((4, 8, 8), NetConfig(width=8, depth=1, heads=1), 0.5, (), ())
    save_model(tmp_path / "edm", spec, spec.build().net.state_dict(), SamplingConfig(), {})
    assert "--process.kind vp" in complaint(str(tmp_path / "edm"), "--to", "diffusers", "--out", out)
    options = ["--to", "diffusers", "--out", out, "--autoencoder", autoencoder]
    assert "frequency_shift" in complaint(str(latents), *options)  # trained at the published frequencies
