"""Augmentation in training: off, on, resumed, continued, sampled, and that it does not leak into samples."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
from pathlib import Path

import pytest
import torch

from finetune_setup import start_for
from sadm.cli.main import run
from sadm.core.conditions import Cond
from sadm.core.errors import InterruptedRun, UserError
from sadm.core.progress import Silent
from sadm.data import ImageSet
from sadm.diffusion import SamplerSettings, generate, image_seeds
from sadm.models.dit import AUGMENT_TABLE
from sadm.training.augmentation import augmenter_for
from sadm.training.data_config import PRESETS, AugmentConfig
from sadm.training.learner import Learner
from sadm.training.model_folder import Model, load_model
from sadm.training.pretraining import pretrain_encoder
from sadm.training.run import read_run_config, train
from sadm.training.signals import BUILDERS, prepare_signals
from tiny import equal_bits, tiny_config, tiny_images, tiny_learner

STRONG = {"probability": 0.5, "flip_x": 1.0, "rotation": 90.0, "brightness": 0.2}
TOLD = ("flip_x", "rotation_cos", "rotation_sin", "brightness")


class Said(Silent):
    """Keeps what it is told; asks for a stop, as Ctrl-C does, at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.lines: list[str] = []
        self.stop_at = stop_at

    def say(self, text: str) -> None:
        self.lines.append(text)

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        if task == "training" and done == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)


def advanced(steps: int, **change: object) -> Learner:
    learner = tiny_learner(tiny_config(**change), tiny_images())
    for _ in range(steps):
        learner.advance()
    return learner


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value for name, value in learner.denoiser.net.state_dict().items() if name != AUGMENT_TABLE}


# ---- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", list(PRESETS))
def test_presets_can_be_used_and_their_strengths_changed(preset: str) -> None:
    config = tiny_config(data={"augment": {"preset": preset}}).data.augment
    assert {name for name, value in config.strengths.items() if value} == PRESETS[preset].keys()
    augmenter = augmenter_for(config, tiny_images())
    assert (augmenter is None) == (preset == "none")
    changed = config.model_copy(update={"rotation": 10.0, "shift": 0.0}).strengths
    assert changed == {**config.strengths, "rotation": 10.0, "shift": 0.0}


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"probability": 1.1}, r"data\.augment\.probability.*less than or equal to 1"),
        ({"probability": -0.1}, r"data\.augment\.probability.*greater than or equal to 0"),
        ({"rotation": -1}, r"data\.augment\.rotation.*greater than or equal to 0 \(given: -1\)"),
        ({"rotation": 181}, r"data\.augment\.rotation.*less than or equal to 180"),
        ({"scale": 2}, r"data\.augment\.scale.*less than or equal to 1"),
        ({"preset": "photo"}, r"data\.augment\.preset.*'none', 'photos' or 'parts'"),
        ({"rotate": 10}, r"unknown key 'data\.augment\.rotate'; did you mean 'rotation'"),
    ],
)
def test_bad_values_are_refused_by_their_key(augment: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_config(data={"augment": augment})


def test_every_bound_of_the_configuration_is_one_of_the_augmenter() -> None:
    colour = dataclasses.replace(tiny_images(), images=tiny_images().images.expand(-1, 3, -1, -1))
    most = {name: 180.0 if name in ("rotation", "hue") else 1.0 for name in AugmentConfig().strengths}
    augmenter = augmenter_for(AugmentConfig(probability=1.0, **most), colour)
    assert augmenter is not None
    assert augmenter.kinds == tuple(most)


def test_mirror_images_are_either_wanted_or_told(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"data\.flip makes mirror images part of the data.*set data\.augment\.flip_x to 0"
    ):
        tiny_config(data={"flip": True, "augment": {"preset": "photos"}})
    assert tiny_config(data={"flip": True, "augment": {"preset": "photos", "flip_x": 0.0}}).data.flip


def test_saturation_of_grey_images_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="saturation can't be changed in images of 1 channel.*--data.channels 3"):
        train(tiny_config(data={"augment": {"saturation": 0.5}}), tmp_path / "run", images=tiny_images())
    assert not (tmp_path / "run" / "config.yaml").exists()


# ---- off and on ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "structure", "hidden"])
def test_off_is_training_without_bit_for_bit(name: str) -> None:
    plain = advanced(5, signal=name)
    off = advanced(5, signal=name, data={"augment": {"preset": "photos", **dict.fromkeys(PRESETS["photos"], 0.0)}})
    assert off.spec.augment == ()
    assert equal_bits(plain.denoiser.net.state_dict(), off.denoiser.net.state_dict())


def test_a_network_that_is_never_told_anything_learns_as_one_without_bit_for_bit() -> None:
    plain, never = (advanced(5, signal="none", data={"augment": on}) for on in ({}, {"probability": 0.0, "scale": 0.3}))
    assert never.spec.augment == ("scale",)
    assert equal_bits(weights(plain), weights(never))


def test_on_it_changes_the_training_and_the_network_is_told() -> None:
    plain, on = advanced(5, signal="none"), advanced(5, signal="none", data={"augment": STRONG})
    assert on.spec.augment == TOLD
    assert not equal_bits(weights(plain), weights(on))
    fresh = advanced(0, signal="none", data={"augment": STRONG})
    before, after = (learner.denoiser.net.state_dict()[AUGMENT_TABLE] for learner in (fresh, on))
    assert bool(before.ne(after).any(0).all())  # every column is learned from


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "none"])
def test_every_signal_gets_augmented_images_and_no_index(name: str, tmp_path: Path) -> None:
    plain = tiny_config(signal="none", data={"augment": STRONG}, net={"patch": 2})
    config = tiny_config(
        signal=name,
        data={"augment": STRONG},
        net={"patch": 2},
        control={"start": 0.0, "sampler_steps": 2},
        structure={"warmup": 0.0},
        **start_for(name, plain, tiny_images(), tmp_path / "source"),
    )
    learner, seen = tiny_learner(config, tiny_images()), []
    (found,) = learner.signals
    learner.signals = [lambda denoised, g_dsm: (seen.append(denoised), found(denoised, g_dsm))[1]]  # type: ignore[list-item]
    for step in range(3):
        assert torch.isfinite(learner.advance()["loss"])
        batch = learner.stream.batch(step)
        assert torch.equal(seen[step].x0, batch.x0)
        assert torch.equal(seen[step].cond.augment, batch.cond.augment)
        assert seen[step].index is None


def test_the_encoder_learns_on_what_signals_will_show_it() -> None:
    images, settings = tiny_images(), tiny_config().structure
    plain = pretrain_encoder(images, settings, 0, torch.device("cpu"))
    augmenter = augmenter_for(AugmentConfig(**STRONG), images)
    augmented = pretrain_encoder(images, settings, 0, torch.device("cpu"), augmenter=augmenter)
    assert not equal_bits(plain.encoder.state_dict(), augmented.encoder.state_dict())
    config = tiny_config(data={"augment": STRONG}, structure={"adversary": "frozen"})
    prepared = prepare_signals(config, images, Silent()).signals[0]
    assert equal_bits(prepared.game.discriminator.encoder.state_dict(), augmented.encoder.state_dict())  # type: ignore[attr-defined]


# ---- runs and model folders ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "structure"])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, name: str) -> None:
    config, images = tiny_config(signal=name, data={"augment": STRONG}), tiny_images()
    train(config, tmp_path / "whole", images=images)
    with pytest.raises(InterruptedRun):
        train(config, tmp_path / "parts", Said(stop_at=4), images)
    train(config, tmp_path / "parts", images=images)
    whole, parts = (load_model(tmp_path / name).denoiser.net.state_dict() for name in ("whole", "parts"))
    assert AUGMENT_TABLE in whole
    assert equal_bits(whole, parts)


def test_a_model_folder_remembers_and_older_ones_load(tmp_path: Path) -> None:
    for name, augment in (("told", STRONG), ("plain", {})):
        train(tiny_config(signal="none", data={"augment": augment}), tmp_path / name, images=tiny_images())
    assert load_model(tmp_path / "told").spec.augment == TOLD
    description = tmp_path / "plain" / "model" / "model.json"
    facts = json.loads(description.read_text())
    assert facts.pop("augment") == []
    before = load_model(tmp_path / "plain").denoiser.net.state_dict()
    description.write_text(json.dumps(facts))
    assert load_model(tmp_path / "plain").spec.augment == ()
    assert equal_bits(load_model(tmp_path / "plain").denoiser.net.state_dict(), before)


def bare(model: Model) -> Model:
    """The same model without the embedding of augmentation."""
    spec = dataclasses.replace(model.spec, augment=())
    denoiser = spec.build().eval()
    denoiser.net.load_state_dict({k: v for k, v in model.denoiser.net.state_dict().items() if k != AUGMENT_TABLE})
    return dataclasses.replace(model, denoiser=denoiser, spec=spec)


def test_sampling_asks_for_no_augmentation_with_every_guidance(tmp_path: Path) -> None:
    train(tiny_config(signal="none", data={"augment": STRONG}), tmp_path / "run", images=tiny_images())
    model = load_model(tmp_path / "run")
    plain = bare(model)
    for guidance, weak in ((1.0, (None, None)), (2.0, (None, None)), (1.5, (model, plain))):
        sampling = model.sampling.model_copy(update={"guidance_scale": guidance})
        drawn = model.sample(6, seed=3, sampling=sampling, weak=weak[0])
        assert torch.equal(drawn, plain.sample(6, seed=3, sampling=sampling, weak=weak[1]))


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        ({}, STRONG, f"Embedding of augmentation: starts at zero for {', '.join(TOLD)}."),
        (STRONG, {}, f"Embedding of augmentation: is left out for {', '.join(TOLD)}."),
        (
            {"flip_x": 1.0, "scale": 0.1},
            {"flip_x": 0.5, "shift": 0.2},
            "Embedding of augmentation: starts at zero for shift_x, shift_y and is left out for scale.",
        ),
        (STRONG, {**STRONG, "probability": 0.1, "rotation": 5.0}, None),
    ],
)
def test_a_model_of_other_augmentation_is_continued(tmp_path: Path, there: dict, here: dict, said: str | None) -> None:
    images = tiny_images()
    train(tiny_config(signal="none", data={"augment": there}), tmp_path / "first", images=images)
    still = {"signal": "none", "optimiser": {"learning_rate": 1e-30, "steps": 2}, "data": {"augment": here}}
    reporter = Said()
    train(tiny_config(**still, start_from=str(tmp_path / "first")), tmp_path / "second", reporter, images)
    assert [line for line in reporter.lines if "augmentation" in line] == ([] if said is None else [said])
    first, second = load_model(tmp_path / "first"), load_model(tmp_path / "second")
    torch.testing.assert_close(second.sample(4, seed=1), first.sample(4, seed=1), rtol=0, atol=1e-5)
    kept = [name for name in first.spec.augment if name in second.spec.augment]
    x, sigma = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5, 2.0])
    for name in kept:  # and what was learned of a column is not lost
        told = [
            model.denoiser(
                x, sigma, Cond(augment=torch.tensor([[float(own == name) for own in model.spec.augment]] * 2))
            )
            for model in (first, second)
        ]
        torch.testing.assert_close(told[0], told[1], rtol=0, atol=1e-5)


def test_the_command_line_takes_a_preset(class_folder: Path, tmp_path: Path) -> None:
    small = (
        "--net.patch=5 --net.width=16 --net.depth=1 --net.heads=2 --optimiser.steps=4 --optimiser.batch=6 --signal=none"
    )
    out, words = (
        str(tmp_path / "run"),
        "--augment parts --data.augment.rotation 10 --data.augment.flip-y 0 --log.samples 0",
    )
    assert run(["train", "--data", str(class_folder), "--out", out, *words.split(), *small.split()]) == 0
    strengths = read_run_config(out).data.augment.strengths
    assert {name: value for name, value in strengths.items() if value} == {
        **{name: value for name, value in PRESETS["parts"].items() if name != "flip_y"},
        "rotation": 10,
    }
    assert load_model(out).spec.augment[0] == "flip_x"
    assert run(["sample", out, "--count", "2", "--steps", "2"]) == 0


def test_the_code_of_the_page_runs_and_its_table_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "augmentation.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(block, names)  # noqa: S102 - our own page
    assert names["config"].arm_config("augmented", 0).data.augment.preset == "photos"
    assert names["augment"].shape == (64, names["net"].augment_embedder.in_features)
    assert str(names["augmenter"].names) in capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if re.match(r"\| `\w", line)]
    told: dict = {"photos": {}, "parts": {}}
    for keys, _, *columns in rows:
        keys = [key.strip(" `").replace("-", "_") for key in keys.split(",")]
        for preset, cell in zip(told, columns, strict=True):
            told[preset].update(zip(keys, map(float, cell.split(",")), strict=True) if cell else ())
    for preset, strengths in told.items():
        assert strengths == {**PRESETS[preset], "probability": AugmentConfig().probability}


# ---- it does not leak ------------------------------------------------------------------------------------------------


def test_mirror_images_are_learned_from_and_not_drawn() -> None:
    """Images with a bright corner, always on the left. Every second one is mirrored, and the network is told so or not."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 60, (32, 1, 8, 8), generator=draws, dtype=torch.uint8)
    pixels[:, :, :3, :3] += 180
    images = ImageSet(pixels, None, (), tuple(map(str, range(32))), "corners")

    def trained(steps: int, **data: object) -> Learner:
        config = tiny_config(
            signal="none",
            data=data,
            net={"width": 32, "patch": 8},
            optimiser={"steps": steps, "batch": 32, "learning_rate": 1.2e-2, "warmup_steps": 20, "ema_half_life": 1000},
            process={"p_mean": 0.3},
        )
        learner = tiny_learner(config, images)
        for _ in range(steps):
            learner.advance()
        return learner

    def share_on_the_left(learner: Learner, augment: torch.Tensor | None = None) -> float:
        denoiser = learner.spec.around(learner.ema.module).eval()

        def asked(x_t: torch.Tensor, sigma: torch.Tensor, cond: Cond) -> torch.Tensor:
            return denoiser(x_t, sigma, dataclasses.replace(cond, augment=augment))

        drawn = generate(asked, images.shape, image_seeds(1, 60), None, None, SamplerSettings("dpmpp_2m", 12))
        left, right = (drawn[..., :3, part].mean((1, 2, 3)) for part in (slice(0, 3), slice(5, 8)))
        return float((left > right).float().mean())

    told, untold = trained(250, augment={"flip_x": 1.0}), trained(100, flip=True)
    assert share_on_the_left(told) > 0.95
    assert share_on_the_left(told, torch.ones(60, 1)) < 0.05
    assert 0.2 < share_on_the_left(untold) < 0.8
