"""Prior preservation: which images are drawn, what they do to a step, who sees them, and that all of it resumes."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetune_setup import config_for, other_images, trained, whole_and_in_parts
from latent_setup import tiny_autoencoder
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.progress import Silent
from sadm.core.seeds import derive_seed
from sadm.core.stopping import StopRequest
from sadm.data import to_uint8
from sadm.experiments.config import CompareConfig
from sadm.experiments.cost import measure_costs
from sadm.signals import SignalStep
from sadm.training import prior as prior_module
from sadm.training.config import TrainConfig
from sadm.training.learner import Learner
from sadm.training.model_folder import load_model
from sadm.training.prior import Prior, draw_prior
from sadm.training.run import train
from sadm.training.signals import prepare_signals
from sadm.training.spec import spec_for
from sadm.training.starting import process_of
from tiny import Listener, equal_bits, tiny_config, tiny_images

PRIOR = {"images": 10, "share": 0.25, "weight": 0.5}  # 2 of a batch of 8


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("base") / "run")


def preserving(base: Path, method: str = "lora", **change) -> TrainConfig:
    return config_for(base, method, **{"prior": PRIOR, **change})


def spec_of(config: TrainConfig, images):
    return spec_for(images, config.net, process_of(config), config.data)


def drawn(config: TrainConfig, images, folder: Path) -> Prior:
    return draw_prior(config, spec_of(config, images), folder, Silent(), StopRequest())


def learner_for(config: TrainConfig, images, folder: Path) -> Learner:
    signals = prepare_signals(config, images, Silent()).signals
    return Learner(config, images, spec_of(config, images), signals, drawn(config, images, folder))


def test_the_images_are_the_models_own(base: Path, tmp_path: Path) -> None:
    """Classes a, b, c there; here a is called d, b stays, and c is not known."""
    images = dataclasses.replace(tiny_images(), class_names=("b", "d", "e"))
    config = preserving(base, finetune={"method": "lora", "renamed": {"d": "a"}})
    found, model = drawn(config, images, tmp_path), load_model(base)
    seed = derive_seed(config.seed, "prior images")
    labels = model.training_labels(10, seed)
    assert torch.equal(found.x0, to_uint8(model.sample(10, seed, labels)))
    assert found.label.tolist() == [{0: 1, 1: 0, 2: 3}[label] for label in labels.tolist()]
    assert found.cpu_seconds > 0
    assert drawn(config, tiny_images(labelled=False), tmp_path).label is None


def test_a_batch_has_its_share_of_them_and_no_image_more(base: Path, tmp_path: Path) -> None:
    config, images = preserving(base), other_images()
    learner = learner_for(config, images, tmp_path)
    own, seen = (learner.prior.prior.x0 / 127.5 - 1), []
    for step in range(5):
        given = learner.inputs(step)
        assert (len(given.x0), given.prior, len(given.index), len(given.cond.label)) == (8, 2, 6, 8)
        seen += [int(torch.nonzero((own - x0).abs().amax((1, 2, 3)) < 1e-4)) for x0 in given.x0[6:]]
        assert torch.equal(given.x0[:6], learner.stream.batch(step).x0)
        again = learner.inputs(step)
        assert torch.equal(given.noise, again.noise)
        assert torch.equal(given.x0, again.x0)
    assert sorted(seen) == list(range(10))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_gradient_is_that_of_the_weighted_mean_over_all_images(base: Path, method: str, tmp_path: Path) -> None:
    learner = learner_for(preserving(base, method), other_images(), tmp_path)
    given, net, caught = learner.inputs(0), learner.denoiser, {}
    total = 0.0
    for i in range(8):  # image by image
        sigma, x0 = given.sigma[i : i + 1], given.x0[i : i + 1]
        x0_hat = net(x0 + sigma * given.noise[i : i + 1], sigma, given.cond[i : i + 1])
        total = total + (0.5 if i >= 6 else 1.0) * net.loss_weight(sigma) * (x0_hat - x0).square().mean() / 8
    expected = torch.autograd.grad(total.sum(), learner.parameters, allow_unused=True)
    for number, parameter in enumerate(learner.parameters):
        parameter.register_hook(lambda gradient, number=number: caught.update({number: gradient.clone()}))
    log = learner.advance()
    assert float(log["loss"]) == pytest.approx(float(total.detach()), rel=1e-5)
    for number, gradient in enumerate(expected):
        if gradient is not None:
            torch.testing.assert_close(caught[number], gradient, rtol=1e-4, atol=1e-6)


class Watching:
    """A signal that sees a batch, and pulls at all of it."""

    taps = ("blocks.0",)

    def __call__(self, denoised, g_dsm) -> SignalStep:
        self.seen, self.g_dsm = denoised, g_dsm
        return SignalStep(torch.ones_like(g_dsm), {}, {"blocks.0": torch.ones_like(denoised.taps["blocks.0"])})

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


def gradient_behind_the_first_block(learner: Learner) -> torch.Tensor:
    """What reaches its output in a step."""
    reached = []

    def listen(module, inputs, output) -> None:
        output.register_hook(lambda gradient: reached.append(gradient.clone()))

    learner.denoiser.net.blocks[0].register_forward_hook(listen)
    learner.advance()
    return reached[0]


def test_signals_see_the_new_images_alone(base: Path, tmp_path: Path) -> None:
    config, images, watching = preserving(base), other_images(), Watching()
    found = drawn(config, images, tmp_path)
    pulled, alone = (
        gradient_behind_the_first_block(Learner(config, images, spec_of(config, images), signals, found))
        for signals in ([watching], [])
    )
    seen = watching.seen
    for part in (seen.x0, seen.x_t, seen.sigma, seen.noise, seen.x0_hat, seen.weight, seen.label, seen.index):
        assert len(part) == 6
    assert len(seen.cond.label) == len(seen.taps["blocks.0"]) == len(watching.g_dsm) == 6
    assert torch.equal(pulled[6:], alone[6:])
    assert float((pulled[:6] - alone[:6]).abs().mean()) > 0.5


@pytest.mark.parametrize("signal", ["hidden", "structure", "anchor", "repa", "sampled", "labels", "contrastive"])
def test_every_signal_goes_with_it(base: Path, signal: str, tmp_path: Path) -> None:
    config = preserving(base, "full", signal=signal, control={"start": 0.0})
    learner = learner_for(config, other_images(), tmp_path)
    logs = [learner.advance() for _ in range(2)]
    assert all(bool(torch.isfinite(value).all()) for log in logs for value in log.values())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_stopped_and_resumed_it_ends_at_the_same_weights(base: Path, method: str, tmp_path: Path) -> None:
    config = preserving(base, method, data={"augment": {"preset": "photos"}})
    whole, parts = whole_and_in_parts(config, other_images(), tmp_path)
    assert equal_bits(whole, parts)
    train(config_for(base, method, data={"augment": {"preset": "photos"}}), tmp_path / "plain", images=other_images())
    assert not equal_bits(whole, load_model(tmp_path / "plain").denoiser.net.state_dict())


class StopsDrawing(Silent):
    """Asks for a stop when some images have been drawn."""

    def __init__(self, request: StopRequest, done: int) -> None:
        self.request, self.done = request, done

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        self.request.requested |= done >= self.done


def test_drawing_goes_on_where_it_was_stopped(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, images = preserving(base), other_images()
    whole = drawn(config, images, tmp_path / "whole")
    monkeypatch.setattr(prior_module, "PART", 4)
    request = StopRequest()
    with pytest.raises(InterruptedRun, match=r"after 8 of 10 images.*same command"):
        draw_prior(config, spec_of(config, images), tmp_path / "parts", StopsDrawing(request, 8), request)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    (tmp_path / "parts" / "00000004.safetensors").write_bytes(b"no")
    parts = drawn(config, images, tmp_path / "parts")
    assert torch.equal(parts.label, whole.label)
    assert (
        int((parts.x0.int() - whole.x0.int()).abs().max()) <= 1
    )  # rounding may depend on how many are drawn at a time
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    assert {f"0000000{first}.safetensors" for first in (0, 4, 8)} < now.keys()
    anew = [name for name, when in kept.items() if now[name] != when]
    assert [name for name in anew if name != "about.json"] == ["00000004.safetensors"]


def test_what_drawing_costs_is_charged(base: Path, tmp_path: Path) -> None:
    result = train(preserving(base), tmp_path / "run", images=other_images())
    stored = load_file(tmp_path / "run" / "prior" / "00000000-seconds.safetensors")
    assert result.pretrain_cpu_seconds == pytest.approx(float(stored["00000000-seconds"]), abs=1e-3)
    assert drawn(preserving(base), other_images(), tmp_path / "run" / "prior").cpu_seconds == pytest.approx(
        result.pretrain_cpu_seconds, abs=1e-3
    )
    assert result.pretrain_cpu_seconds > 0
    config = CompareConfig(
        train=config_for(base, "lora"), arms={"plain": {"signal": "none"}, "kept": {"prior": PRIOR}}, cost_steps=20
    )
    assert measure_costs(config, ["kept"], other_images(), Silent())["kept"].pretrain_cpu_seconds > 0


def test_latents_stay_latents(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    data = {"autoencoder": tiny_autoencoder(tmp_path / "vae")}
    start = {"data": data, "net": {"patch": 2}, "signal": "none"}
    train(tiny_config(**start), tmp_path / "base", images=tiny_images())
    config = tiny_config(**start, start_from=str(tmp_path / "base"), prior=PRIOR)
    train(config, tmp_path / "run", images=other_images())
    stored = load_file(tmp_path / "run" / "prior" / "00000000.safetensors")["00000000"]
    assert stored.shape == (10, 4, 4, 4)
    assert stored.dtype == torch.float32
    model, seed = load_model(tmp_path / "base"), derive_seed(config.seed, "prior images")
    decoded = model.codec().decode(stored).clamp(-1, 1)
    torch.testing.assert_close(decoded, model.sample(10, seed), rtol=1e-4, atol=1e-4)


def test_what_can_not_work_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prior\.\* is about a trained model.*Give --start-from MODEL"):
        tiny_config(signal="none", prior=PRIOR)
    with pytest.raises(UserError, match=r"prior.share takes 8 of optimiser.batch 8 and leaves none"):
        preserving(base, prior={**PRIOR, "share": 0.99})
    with pytest.raises(UserError, match=r"signal 'anchor' is about pairs.*got 2 less 1 of the prior"):
        preserving(base, signal="anchor", optimiser={"batch": 2}, prior={**PRIOR, "share": 0.5})
    wide = dataclasses.replace(other_images(), images=other_images().images.repeat(1, 1, 1, 2))
    with pytest.raises(UserError, match=r"it draws images \[1, 8, 8\], and the training is on images \[1, 8, 16\]"):
        drawn(preserving(base), wide, tmp_path / "prior")


def test_another_model_in_the_place_of_the_first_is_noticed(base: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(base, mine)
    config = preserving(mine, "full")
    with pytest.raises(InterruptedRun):
        train(config, tmp_path / "run", Listener(stop_at=4), other_images())
    train(config_for(base, "full"), tmp_path / "other", images=tiny_images())
    shutil.rmtree(mine)
    shutil.copytree(tmp_path / "other", mine)
    with pytest.raises(UserError, match="another model than this training began with"):
        train(config, tmp_path / "run", images=other_images())
