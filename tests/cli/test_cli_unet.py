"""A UNet through every command: diffusers' own images after ``sadm convert``, and a small one trained, judged and audited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sadm.cli.main import run
from sadm.diffusion import Cond, SamplerSettings, ddim, prepare
from sadm.training.config import DenoiserConfig, load_train_config
from sadm.training.model_folder import Model, load_model
from sadm.training.run import read_run_config
from sadm.training.sampling import sampler_settings
from unet_setup import as_published_in_2022, edit, published_unet, saved_pipeline

diffusers = pytest.importorskip("diffusers")

SMALL = (
    "--net.kind=unet --net.unet.channels 8 16 --net.unet.layers=1 --net.unet.groups=4 --optimiser.steps=6 "
    "--optimiser.batch=6 --sampling.steps=2 --sampling.batch=16 --log.samples=4"
).split()

SCHEDULERS: list[tuple[dict[str, Any], DenoiserConfig]] = [
    ({}, DenoiserConfig(kind="vp")),
    ({"prediction_type": "v_prediction"}, DenoiserConfig(kind="vp", prediction="v")),
    (
        {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195},
        DenoiserConfig(kind="vp", schedule="scaled_linear", betas=(0.0015, 0.0195)),
    ),
    (
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 200, "prediction_type": "sample"},
        DenoiserConfig(kind="vp", schedule="cosine", timesteps=200, prediction="x0"),
    ),
]


def ours(model: Model, noise: torch.Tensor, settings: SamplerSettings, label: torch.Tensor | None) -> torch.Tensor:
    """What the model draws from the pipeline's own noise, which has unit variance at any timestep."""
    guided, times = prepare(model.denoiser, model.null_label, settings)
    with torch.no_grad():
        start = noise / guided.path.beta(float(times[0]))
        return ddim(guided, start, times, Cond(label=label), guided.path).clamp(-1, 1) / 2 + 0.5


@pytest.mark.parametrize(("scheduler", "process"), SCHEDULERS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
def test_a_pipeline_becomes_a_model_that_draws_its_images(
    tmp_path: Path, capsys: pytest.CaptureFixture, scheduler: dict[str, Any], process: DenoiserConfig, clip: bool
) -> None:
    source = tmp_path / "pipeline"
    theirs = saved_pipeline(source, published_unet(), clip_sample=clip, **scheduler)
    assert run(["convert", str(source), "--out", str(tmp_path / "model")]) == 0
    count = len(theirs.unet.state_dict())
    assert f"loaded {count} tensors" in capsys.readouterr().out
    model = load_model(tmp_path / "model")
    assert (model.spec.process, model.spec.shape, model.sampling.clip) == (process, (3, 8, 8), clip)

    pipeline = diffusers.DDIMPipeline(theirs.unet, theirs.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    wanted = pipeline(
        3,
        torch.Generator().manual_seed(4),
        num_inference_steps=10,
        use_clipped_model_output=clip,  # the noise that still makes up x_t with the clipped x0_hat, as here
        output_type="np",
    ).images
    noise = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    settings = sampler_settings(model.sampling.model_copy(update={"steps": 10}))
    found = ours(model, noise, settings, None).permute(0, 2, 3, 1)
    assert float(found.std()) > 0.05
    torch.testing.assert_close(found, torch.from_numpy(wanted), rtol=1e-4, atol=1e-4)

    assert run(["sample", str(tmp_path / "model"), "--count", "2", "--steps", "3"]) == 0
    assert len(list((tmp_path / "model" / "generated").glob("*.png"))) == 3


def test_a_folder_of_2022_and_its_way_back(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, model, out = tmp_path / "ddpm", tmp_path / "model", tmp_path / "back"
    unet = saved_pipeline(source, published_unet(dropout=0.1)).unet
    as_published_in_2022(source)
    assert run(["convert", str(source), "--out", str(model)]) == 0
    said = capsys.readouterr().out
    assert "proj_attn.weight there" in said
    assert "ignored 1 tensor: dropout [one number] (0.1 in training there, none here)" in said
    assert run(["convert", str(model), "--to", "diffusers", "--out", str(out)]) == 0
    assert f"DDIMPipeline.from_pretrained({str(out)!r})" in capsys.readouterr().out
    pipeline = diffusers.DDIMPipeline.from_pretrained(out)
    assert all(torch.equal(value, unet.state_dict()[name]) for name, value in pipeline.unet.state_dict().items())
    assert pipeline.scheduler.config.clip_sample is True
    assert run(["convert", str(out), "--out", str(tmp_path / "again")]) == 0
    first, again = load_model(model), load_model(tmp_path / "again")
    assert (first.spec, first.sampling) == (again.spec, again.sampling)


def test_classes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = tmp_path / "pipeline"
    theirs = saved_pipeline(source, published_unet(num_class_embeds=4), clip_sample=False)
    assert run(["convert", str(source), "--out", str(tmp_path / "added")]) == 0
    assert "a null class, at the mean of the classes" in capsys.readouterr().out
    assert run(["convert", str(source), "--null-is-last", "--out", str(tmp_path / "last")]) == 0
    models = [load_model(tmp_path / name) for name in ("added", "last")]
    assert [model.spec.class_names for model in models] == [("0", "1", "2", "3"), ("0", "1", "2")]

    label, scheduler = torch.tensor([2, 0, 1]), diffusers.DDIMScheduler.from_config(theirs.scheduler.config)
    noise = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    scheduler.set_timesteps(6)
    for scale, model in ((1.0, models[0]), (2.5, models[1])):
        image = noise
        for timestep in scheduler.timesteps:
            with torch.no_grad():
                eps, null = (
                    theirs.unet(image, timestep, class_labels=y).sample for y in (label, torch.full_like(label, 3))
                )
            image = scheduler.step(null + scale * (eps - null), timestep, image).prev_sample
        settings = SamplerSettings("ddim", 6, scale, spacing="leading")
        torch.testing.assert_close(
            ours(model, noise, settings, label), image.clamp(-1, 1) / 2 + 0.5, rtol=1e-4, atol=1e-4
        )

    assert run(["convert", str(tmp_path / "last"), "--to", "diffusers", "--out", str(tmp_path / "back")]) == 0
    assert "UNet2DModel.from_pretrained" in capsys.readouterr().out


def test_what_cannot_be_converted_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, out = tmp_path / "pipeline", tmp_path / "out"
    network, process = source / "unet" / "config.json", source / "scheduler" / "scheduler_config.json"

    def complaint(*arguments: str) -> str:
        capsys.readouterr()
        assert run(["convert", str(source), "--out", str(out), *arguments]) == 2
        assert not out.exists()
        return capsys.readouterr().err

    saved_pipeline(source, published_unet(center_input_sample=True))
    assert "center_input_sample True, and a model folder can't hold it: it would have False" in complaint()
    edit(network, center_input_sample=False, act_fn="gelu")
    assert "act_fn 'gelu'" in complaint()
    edit(network, act_fn="silu", sample_size=None)
    assert "sample_size None" in complaint()
    edit(network, sample_size=9)
    assert "9x9 pixels can't be halved 2 times" in complaint()
    edit(network, sample_size=8, time_embedding_type="fourier")
    assert "expected 'positional'" in complaint()
    edit(network, time_embedding_type="positional")
    assert "Leave --family out" in complaint("--family", "dit")
    edit(process, rescale_betas_zero_snr=True)
    assert "rescaled to end in pure noise" in complaint()
    edit(process, rescale_betas_zero_snr=None, trained_betas=[0.1, 0.3, 0.2])
    assert "3 betas of its own (trained_betas), 0.1 to 0.2" in complaint()
    edit(process, trained_betas=None, clip_sample_range=3.0)
    assert "clip_sample_range 3.0" in complaint()
    edit(process, clip_sample_range=1.0, prediction_type="flow")
    assert "prediction 'flow'" in complaint()
    process.unlink()
    assert "holds no scheduler_config.json" in complaint()


def test_betas_that_are_listed_may_be_those_of_a_known_schedule(tmp_path: Path) -> None:
    betas = diffusers.DDPMScheduler(beta_schedule="scaled_linear").betas.tolist()
    saved_pipeline(tmp_path / "pipeline", published_unet(), trained_betas=betas)
    assert run(["convert", str(tmp_path / "pipeline"), "--out", str(tmp_path / "model")]) == 0
    process = load_model(tmp_path / "model").spec.process
    assert (process.schedule, process.timesteps) == ("scaled_linear", 1000)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unet"
    assert run(["train", "--recipe", "digits", "--out", str(out), "--structure.encoder-steps=4", *SMALL]) == 0
    return out


def test_the_command_line_takes_a_recipe_and_a_unet(trained: Path) -> None:
    config = read_run_config(trained)
    assert (config.net.kind, config.net.unet.channels) == ("unet", (8, 16))
    assert config.optimiser.learning_rate == load_train_config("digits").optimiser.learning_rate
    assert json.loads((trained / "model" / "model.json").read_text())["net"]["kind"] == "unet"


def test_sizes_of_a_transformer_are_refused(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(["train", "--data", "digits", "--net.kind", "unet", "--net.patch", "4", "--out", str(tmp_path / "run")])
    said = " ".join("".join(capsys.readouterr()).replace("│", " ").split())
    assert "net.patch has a meaning for net.kind 'dit' alone, got 'unet'" in said
    assert run(["train", "--data", "digits", "--net.kind=mlp", "--out", str(tmp_path / "run")]) == 2
    assert "'dit' or 'unet'" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["lora", "adapter"])
def test_a_unet_is_fine_tuned(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture, method: str) -> None:
    if method == "lora":
        pytest.importorskip("peft")
    out = ["--out", str(tmp_path / "tuned"), "--method", method]
    few = ["--optimiser.steps", "3", "--optimiser.batch", "6", "--data.limit", "60", "--log.samples", "0"]
    code = run(["finetune", "--from", str(trained), "--data", "digits", *out, *few])
    if method == "adapter":  # a bottleneck goes into MLPs, and a UNet has none
        assert code == 2
        assert "no MLPs" in capsys.readouterr().err
        return
    assert code == 0
    assert run(["sample", str(tmp_path / "tuned"), "--count", "2"]) == 0
    assert run(["convert", str(tmp_path / "tuned"), "--to", "merged", "--out", str(tmp_path / "merged")]) == 0
    tuned, merged = (load_model(tmp_path / name) for name in ("tuned", "merged"))
    torch.testing.assert_close(merged.sample(2, seed=1), tuned.sample(2, seed=1), rtol=1e-3, atol=1e-3)


def test_every_command_works_with_a_unet(trained: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["sample", str(trained), "--count", "4", "--label", "3", "--guidance-scale", "2"]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(trained), "--groups", "1", "--json", "--representation"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fd"].keys() == {"mlp", "pixels", "random_conv"}
    assert "unet." in json.dumps(found["representation"])
    assert run(["audit", str(trained), "--count", "40"]) == 0
    assert (trained / "audit.html").is_file()


def test_a_comparison_of_unets(tmp_path: Path) -> None:
    options = [f"--train.{option.removeprefix('--')}" if option.startswith("--") else option for option in SMALL]
    few = "--seeds 100 --cost-steps 20 --groups 1 --jobs 1 --train.data.limit 300 --train.structure.encoder-steps 2".split()
    (tmp_path / "arms.yaml").write_text("arms: {plain: {signal: none}, hidden: {signal: hidden}}\n")
    command = ["compare", "--recipe", "digits", "--config", str(tmp_path / "arms.yaml"), "--out", str(tmp_path / "out")]
    assert run([*command, *options, *few]) == 0
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "hidden" in report
    assert load_model(next((tmp_path / "out" / "runs").iterdir())).spec.net.kind == "unet"
