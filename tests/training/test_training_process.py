"""Every process in training: its loss against the papers' own form, its model on disk, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data import BatchStream
from sadm.diffusion import VPSchedule
from sadm.models import DiT
from sadm.training.config import DenoiserConfig, ProcessConfig, load_train_config
from sadm.training.model_folder import load_model
from sadm.training.process import build_density, log_normal
from sadm.training.run import train
from tiny import tiny_config, tiny_images, tiny_learner

PROCESSES = [
    {"kind": "vp"},
    {"kind": "vp", "schedule": "cosine", "prediction": "v"},
    {"kind": "vp", "prediction": "x0"},
    {"kind": "vp", "schedule": "scaled_linear", "betas": [0.0015, 0.0195], "timesteps": 500},
    {"kind": "flow"},
    {"kind": "flow", "prediction": "x0"},
    {"kind": "flow", "density": "uniform", "reversed_time": True},
]


def named(process: dict) -> str:
    return " ".join(map(str, process.values()))


def first_gradient(process: dict) -> tuple[dict[str, torch.Tensor], DiT, tuple]:
    """The first step's gradient by the trainer, the same network untouched, and the step's draws."""
    config, images = tiny_config(signal="none", process=process, optimiser={"clip": None}), tiny_images()
    learner = tiny_learner(config, images)
    gradients: dict[str, torch.Tensor] = {}
    learner._update = lambda: (
        gradients.update(  # type: ignore[method-assign]
            {name: p.grad.clone() for name, p in learner.denoiser.net.named_parameters()}
        )
        or {}
    )
    torch.manual_seed(0)
    with torch.no_grad():  # adaLN-Zero starts as the zero function, whose gradient says little
        for parameter in learner.denoiser.net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    learner.advance()
    batch, draws = (
        BatchStream(images, config.optimiser.batch, config.seed).batch(0),
        generator(config.seed, "training", 0),
    )
    sigma = build_density(config.process, learner.denoiser).sample(len(batch.x0), draws)
    noise = torch.randn(batch.x0.shape, generator=draws)
    dropped = torch.rand(len(batch.x0), generator=draws) < config.process.label_dropout
    learner.denoiser.net.zero_grad()
    return gradients, learner.denoiser.net, (batch.x0, sigma, noise, batch.cond.with_label_dropped(dropped, 3))


@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_the_loss_is_mean_squares_on_what_the_network_predicts(process: dict) -> None:
    found, net, (x0, sigma, noise, cond) = first_gradient(process)
    level = sigma[:, None, None, None]
    if process["kind"] == "vp":
        alpha, beta = (1 + level**2) ** -0.5, level * (1 + level**2) ** -0.5
        table = {
            "linear": VPSchedule.linear(),
            "cosine": VPSchedule.cosine(),
            "scaled_linear": VPSchedule.from_betas(torch.linspace(0.0015**0.5, 0.0195**0.5, 500).double() ** 2),
        }[process.get("schedule", "linear")].sigmas
        time = (table[None] - sigma[:, None]).abs().argmin(1).float()  # uniform over whole timesteps
        target = {"eps": noise, "v": alpha * noise - beta * x0, "x0": x0}[process.get("prediction", "eps")]
        error = (net(alpha * x0 + beta * noise, time, cond) - target).square()
    else:
        t = level / (1 + level)
        backwards = process.get("reversed_time", False)
        output = net((1 - t) * x0 + t * noise, (1 - t if backwards else t).flatten(), cond)
        if process.get("prediction") == "x0":
            error = (output - x0).square() / t.clamp(min=0.05).square()
        else:
            error = (output - (x0 - noise if backwards else noise - x0)).square()
    error.mean().backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(
            found[name], parameter.grad, rtol=2e-3, atol=2e-5 * float(parameter.grad.abs().max())
        )


@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_a_trained_model_keeps_its_process(process: dict, tmp_path) -> None:
    config = tiny_config(signal="hidden", process=process, sampling={"solver": "dpmpp_2m", "steps": 4})
    train(config, tmp_path / "run", images=tiny_images())
    model = load_model(tmp_path / "run")
    assert model.spec.process == config.process.denoiser
    images = model.sample(5, seed=3)
    assert images.shape == (5, 1, 8, 8)
    assert bool(torch.isfinite(images).all())
    assert torch.allclose(images[1:2], model.sample(2, seed=3, labels=model.training_labels(5, 3)[:2])[1:2], atol=1e-5)


def test_models_of_before_there_were_processes_are_edms(tmp_path) -> None:
    train(tiny_config(signal="none"), tmp_path / "run", images=tiny_images())
    path = tmp_path / "run" / "model" / "model.json"
    description = json.loads(path.read_text())
    del description["process"], description["net"]["noise_scale"], description["net"]["frequency_shift"]
    path.write_text(json.dumps(description))
    assert load_model(tmp_path / "run").spec.process == DenoiserConfig()


def test_a_model_of_another_process_cannot_be_continued(tmp_path) -> None:
    train(tiny_config(signal="none"), tmp_path / "edm", images=tiny_images())
    config = tiny_config(signal="none", process={"kind": "flow"}, start_from=str(tmp_path / "edm"))
    with pytest.raises(UserError, match="process"):
        train(config, tmp_path / "flow", images=tiny_images())


@pytest.mark.parametrize(("kind", "usual"), [("vp", "eps"), ("flow", "v")])
def test_a_kinds_own_prediction_said_aloud_changes_nothing(tmp_path, kind: str, usual: str) -> None:
    said, unsaid = ({"kind": kind, "prediction": value} for value in (usual, None))
    train(tiny_config(signal="none", process=unsaid), tmp_path / "first", images=tiny_images())
    going_on = tiny_config(signal="none", process=said, start_from=str(tmp_path / "first"))
    assert going_on.process == load_train_config(overrides={"process": unsaid}).process
    train(going_on, tmp_path / "second", images=tiny_images())
    first, second = (load_model(tmp_path / run).spec.process for run in ("first", "second"))
    assert first == second


@pytest.mark.parametrize("betas", [(1e-4, 0.02), [1e-4, 0.02]])
def test_the_usual_betas_said_aloud_change_nothing(betas: object) -> None:
    assert load_train_config(overrides={"process": {"kind": "vp", "betas": betas}}).process.betas is None


@pytest.mark.parametrize(
    ("process", "message"),
    [
        ({"prediction": "v"}, "EDM has a target of its own"),
        ({"kind": "flow", "prediction": "eps"}, "expected one of v, x0"),
        ({"kind": "flow", "schedule": "cosine"}, "kind 'vp' alone"),
        ({"kind": "flow", "learned_variance": True}, "kind 'vp' alone"),
        ({"kind": "flow", "timesteps": 10}, "process.timesteps has a meaning for kind 'vp' alone"),
        ({"betas": [0.001, 0.01]}, "process.betas has a meaning for kind 'vp' alone"),
        ({"kind": "vp", "schedule": "cosine", "betas": [0.001, 0.01]}, "no meaning for process.schedule 'cosine'"),
        ({"kind": "vp", "betas": [0.01, 0.001]}, "must not fall, got 0.01 to 0.001"),
        ({"kind": "vp", "betas": [0.01, 1.5]}, "less than 1"),
        ({"kind": "vp", "reversed_time": True}, "kind 'flow' alone"),
        ({"kind": "vp", "density": "log_normal"}, "would leave the timesteps"),
        ({"density": "uniform"}, "needs a process that ends"),
        ({"kind": "vpp"}, "'edm', 'vp' or 'flow'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_processes_that_make_no_sense_are_refused(process: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_train_config(overrides={"process": process})


def test_signals_made_for_edm_say_so() -> None:
    with pytest.raises(UserError, match=r"'contrastive' is made for process\.kind 'edm'"):
        load_train_config(overrides={"signal": "contrastive", "process": {"kind": "flow"}})


@pytest.mark.parametrize("weighting", ["edm", "eps", "x0", "velocity", "min_snr", "sigmoid"])
@pytest.mark.parametrize("kind", ["edm", "vp", "flow"])
def test_every_weighting_trains_every_process(kind: str, weighting: str) -> None:
    config = tiny_config(signal="none", process={"kind": kind, "weighting": weighting, "stratified": True})
    learner = tiny_learner(config, tiny_images())
    assert all(bool(torch.isfinite(learner.advance()["loss"])) for _ in range(3))


def test_seeds_of_networks_do_not_depend_on_the_process() -> None:
    first, second = (
        tiny_learner(tiny_config(signal="none", process={"kind": kind}), tiny_images()) for kind in ("edm", "vp")
    )
    for one, other in zip(first.denoiser.parameters(), second.denoiser.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("process", "mean", "std"),
    [
        ({}, -1.2, 1.2),
        ({"p_std": 0.5}, -1.2, 0.5),
        ({"kind": "flow"}, 0.0, 1.0),
        ({"kind": "flow", "prediction": "v", "p_mean": 0.3}, 0.3, 1.0),
        ({"kind": "flow", "prediction": "x0", "reversed_time": True}, 0.8, 0.8),
        ({"kind": "flow", "prediction": "x0", "p_mean": -0.4, "p_std": 1.2}, -0.4, 1.2),
    ],
)
def test_a_process_learns_at_its_usual_noise_levels_where_none_are_given(process, mean: float, std: float) -> None:
    density = log_normal(ProcessConfig(**process))
    assert (density.mean, density.std) == (mean, std)
    draws = density.sample(4096, torch.Generator().manual_seed(0)).log()
    assert float(draws.mean()) == pytest.approx(mean, abs=4 * std / 64)
