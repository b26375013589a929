"""``sadm convert``: published weights to images, and a model of ours through diffusers' own pipeline."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sadm.cli.main import run
from sadm.diffusion import ClassifierFreeGuidance, Cond, SamplerSettings, ddim, prepare
from sadm.models import DiT, LatentCodec
from sadm.models.weights import save_diffusers_folder
from sadm.training.config import DenoiserConfig, NetConfig, SamplingConfig
from sadm.training.model_folder import load_model, save_model
from sadm.training.net_config import UNetConfig
from sadm.training.spec import ModelSpec
from unet_setup import edit
from weights_setup import batch, filled, published_forward, small

diffusers = pytest.importorskip("diffusers")

SIZES = NetConfig(width=16, depth=1, heads=2, frequency_shift=1)
UNET = NetConfig(kind="unet", frequency_shift=1, unet=UNetConfig(channels=(8, 16), layers=1, groups=4))


def saved_autoencoder(folder: Path, max_shard_size: str = "10GB", **options: Any) -> str:
    torch.manual_seed(0)
    model = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=16,
        **options,
    )
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    return str(folder)


@pytest.fixture
def autoencoder(tmp_path: Path) -> str:
    return saved_autoencoder(tmp_path / "vae")


@pytest.fixture
def pipeline(tmp_path: Path, autoencoder: str) -> Path:
    """A `DiTPipeline` of five classes."""
    save_diffusers_folder(tiny(), tmp_path / "pipeline", autoencoder=autoencoder)
    return tmp_path / "pipeline"


def tiny(**options: Any) -> DiT:
    """A network with the frequencies of diffusers."""
    return small(**{"width": 16, "heads": 2, "depth": 1, "frequency_shift": 1, **options})


def vp_model(
    folder: Path, autoencoder: str | None = None, net: NetConfig = SIZES, seed: int = 0, **process: Any
) -> dict[str, torch.Tensor]:
    """Writes a model without classes, of latents where there is an autoencoder, and gives its weights."""
    shape, facts = ((3, 8, 8), {}) if autoencoder is None else ((4, 8, 8), {"latents": True})
    spec = ModelSpec(shape, net, 0.5, (), (), DenoiserConfig(kind="vp", **process))
    weights = filled(spec.network(), seed).state_dict()
    save_model(folder, spec, weights, SamplingConfig(), facts, autoencoder)
    return weights


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(capsys: pytest.CaptureFixture, *arguments: str | Path) -> str:
    """What is said to a conversion that must fail as the user's mistake."""
    capsys.readouterr()
    assert run(["convert", *map(str, arguments)]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return " ".join(said.split())


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


# ---- the folder that is written --------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["sadm", "merged"])
def test_a_folder_of_other_files_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture, to: str, pipeline: Path
) -> None:
    vp_model(tmp_path / "mine")
    out = tmp_path / "photos"
    for name in ("a.jpg", "holiday/b.jpg", "model.txt"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    before, source = content(out), pipeline if to == "sadm" else tmp_path / "mine"
    said = refusal(capsys, source, "--to", to, "--out", out)
    assert "photos is not empty and holds no model folder. Choose another --out" in said
    assert content(out) == before


@pytest.mark.parametrize("to", ["sadm", "merged"])
def test_a_model_takes_the_place_of_an_older_one_and_of_nothing_else(
    tmp_path: Path, autoencoder: str, pipeline: Path, to: str
) -> None:
    out, source = tmp_path / "out", pipeline if to == "sadm" else tmp_path / "mine"
    new = tiny().state_dict() if to == "sadm" else vp_model(source, seed=1)
    shutil.rmtree(pipeline / "vae")
    old = vp_model(out, autoencoder, SIZES.model_copy(update={"depth": 2}))
    assert "autoencoder/config.json" in content(out)
    kept = {"policy.yaml": b"owner: me\n", "generated/000000-000000.png": b"an image"}
    for name, data in {**kept, "adapter.safetensors": b"x", "adapter_config.json": b"x"}.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(data)
    assert run(["convert", str(source), "--to", to, "--out", str(out)]) == 0
    held = content(out)
    assert held.keys() == {"model.json", "model.safetensors", *kept}
    assert all(held[name] == data for name, data in kept.items())
    found = load_model(out).denoiser.net.state_dict()
    assert found.keys() != old.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in new.items())


@pytest.mark.parametrize("inside", ["", "model"])
def test_a_model_is_not_merged_onto_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, inside: str
) -> None:
    folder = tmp_path / "mine" / inside
    vp_model(folder)
    before = content(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    said = refusal(capsys, "mine", "--to", "merged", "--out", folder)
    assert "holds the very model that is to be merged, or the one it belongs to" in said
    assert content(tmp_path / "mine") == before


# ---- options that say nothing here -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "merged", "--family", "sit"], "--family tells of published weights that come in; leave it out."),
        (["--to", "diffusers", "--null-is-last"], "--null-is-last tells of published weights that come in"),
        (["--to", "merged", "--autoencoder", "vae"], "--autoencoder is kept as the model has it; leave it out."),
        (["--policy", "policy.yaml"], "--policy is of a model of ours that goes out (--to diffusers or merged)"),
    ],
)
def test_options_of_another_direction_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, pipeline: Path, options: list[str], message: str
) -> None:
    vp_model(tmp_path / "mine")
    (tmp_path / "policy.yaml").write_text("owner: me\n")
    options = [str(tmp_path / option) if (tmp_path / option).exists() else option for option in options]
    source = tmp_path / "mine" if "--to" in options else pipeline
    assert message in refusal(capsys, source, *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "args", "message"),
    [
        (
            "sit",
            {"path_type": "GVP"},
            "trained with path_type 'GVP'; a model folder holds the SiTs of path_type 'Linear'",
        ),
        ("sit", {"path_type": "Linear", "prediction": "noise"}, "trained with prediction 'noise'"),
        ("dit", {"path_type": "Linear"}, "a script of SiT trained it (path_type). Give --family sit"),
        ("sit", {"path_type": "Linear", "prediction": "velocity"}, ""),
        ("sit", {"model": "SiT-S/2"}, ""),
        ("dit", {"model": "DiT-S/2"}, ""),
    ],
)
def test_what_a_checkpoint_says_of_its_training_is_heard(
    tmp_path: Path, capsys: pytest.CaptureFixture, family: str, args: dict[str, str], message: str
) -> None:
    source, out = tmp_path / "0400000.pt", tmp_path / "out"
    torch.save({"ema": small(depth=1).state_dict(), "args": argparse.Namespace(**args)}, source)
    command = [str(source), "--family", family, "--out", str(out)]
    if message:
        said = refusal(capsys, *command)
        assert message in said
        assert "0400000.pt says that" in said
        assert not out.exists()
    else:
        assert run(["convert", *command]) == 0
        assert load_model(out).spec.process.kind == {"dit": "vp", "sit": "flow"}[family]


# ---- pipelines -------------------------------------------------------------------------------------------------------


def test_a_pipeline_without_classes_draws_without_guidance(tmp_path: Path, autoencoder: str) -> None:
    save_diffusers_folder(tiny(num_classes=0), tmp_path / "pipeline", autoencoder=autoencoder)
    assert run(["convert", str(tmp_path / "pipeline"), "--out", str(tmp_path / "model")]) == 0
    assert load_model(tmp_path / "model").sampling.guidance_scale == 1
    assert run(["sample", str(tmp_path / "model"), "--count", "2", "--steps", "2"]) == 0
    assert len(list((tmp_path / "model" / "generated").glob("0*.png"))) == 2


def test_a_part_of_a_pipeline_is_refused_and_a_network_alone_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture, pipeline: Path
) -> None:
    said = refusal(capsys, pipeline / "transformer", "--out", tmp_path / "out")
    assert f"is a part of the pipeline in {pipeline}, which says what process and classes it has. Give that" in said
    assert not (tmp_path / "out").exists()
    shutil.copytree(pipeline / "transformer", tmp_path / "alone" / "transformer")
    assert run(["convert", str(tmp_path / "alone" / "transformer"), "--out", str(tmp_path / "out")]) == 0
    assert load_model(tmp_path / "out").spec.process == DenoiserConfig(kind="vp")


@pytest.mark.parametrize(
    "change",
    [
        {"beta_start": 0},
        {"num_train_timesteps": 1},
        {"trained_betas": [0.1, 1.0, 0.2], "num_train_timesteps": 3},
    ],
    ids=str,
)
def test_schedules_that_are_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, pipeline: Path, change: dict[str, Any]
) -> None:
    edit(pipeline / "scheduler" / "scheduler_config.json", **change)
    said = refusal(capsys, pipeline, "--out", tmp_path / "out")
    assert f"the scheduler of {pipeline} describes no process: expected alphas_cumprod" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("net", "variance", "message"),
    [
        (SIZES.model_copy(update={"noise_scale": 0.1}), False, "is given its timestep times 0.1 (net.noise_scale)"),
        (UNET, True, "this UNet predicts a variance beside the image (--process.learned-variance)"),
    ],
    ids=["another time", "a UNet's variance"],
)
def test_networks_that_a_pipeline_would_draw_wrong_are_not_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture, autoencoder: str, net: NetConfig, variance: bool, message: str
) -> None:
    own = autoencoder if net.kind == "dit" else None
    for name, model, wrong in (
        ("wrong", net, variance),
        ("right", net.model_copy(update={"noise_scale": None}), False),
    ):
        vp_model(tmp_path / name, own, model, learned_variance=wrong)
    assert message in refusal(capsys, tmp_path / "wrong", "--to", "diffusers", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert run(["convert", str(tmp_path / "right"), "--to", "diffusers", "--out", str(tmp_path / "out")]) == 0


# ---- autoencoders ----------------------------------------------------------------------------------------------------


def test_an_autoencoder_of_other_channels_than_the_network_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, pipeline: Path
) -> None:
    other = saved_autoencoder(tmp_path / "other", latent_channels=3)
    said = refusal(capsys, pipeline, "--autoencoder", other, "--out", tmp_path / "out")
    assert f"the autoencoder in {other} makes latents of 3 channels, and {pipeline} holds a network for 4" in said
    assert not (tmp_path / "out").exists()


def test_an_autoencoder_in_parts_is_copied_with_all_of_them(tmp_path: Path, pipeline: Path) -> None:
    parts = saved_autoencoder(tmp_path / "parts", max_shard_size="40KB")
    assert len(list(Path(parts).glob("diffusion_pytorch_model-*-of-*.safetensors"))) > 1
    assert run(["convert", str(pipeline), "--autoencoder", parts, "--out", str(tmp_path / "model")]) == 0
    assert content(tmp_path / "model" / "autoencoder") == content(Path(parts))
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    found = LatentCodec.from_folder(str(load_model(tmp_path / "model").autoencoder)).decode(latents)
    assert torch.equal(found, LatentCodec.from_folder(pipeline / "vae").decode(latents))
    assert run(["sample", str(tmp_path / "model"), "--count", "1", "--steps", "2"]) == 0
