"""Every signal through the trainer: built from the configuration, off without a trace, resumed to the same bits."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch

from sadm.core.errors import UserError
from sadm.core.progress import Reporter, Silent
from sadm.data import ImageSet
from sadm.signals import SignalStep, TrainingSignal
from sadm.structure import RELATIONS
from sadm.training.checkpoint import load_checkpoint, save_checkpoint
from sadm.training.config import TrainConfig
from sadm.training.learner import Learner
from sadm.training.signal_config import Signal, StructureConfig
from sadm.training.signals import BUILDERS, prepare_signals
from sadm.training.spec import spec_for
from tiny import equal_bits, tiny_config, tiny_images, tiny_learner

CONTROLS = ("features", "labels", "dispersive", "contrastive", "repa", "hidden", "sampled")
WITH_ENCODER = ("structure", "features", "labels", "repa", "hidden", "sampled")
DEEP = {"depth": 3}


def advanced(learner: Learner, steps: int) -> Learner:
    for _ in range(steps):
        learner.advance()
    return learner


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {**learner.denoiser.net.state_dict(), **{f"ema {k}": v for k, v in learner.ema.module.state_dict().items()}}


def test_every_signal_of_the_configuration_can_be_built() -> None:
    assert set(BUILDERS) == set(get_args(Signal))


@pytest.mark.parametrize("signal", CONTROLS)
def test_a_control_changes_the_weights_and_says_what_it_does(signal: str) -> None:
    images = tiny_images()
    plain = advanced(tiny_learner(tiny_config(signal="none", net=DEEP), images), 3)
    learner = advanced(tiny_learner(tiny_config(signal=signal, net=DEEP, control={"start": 0.0}), images), 2)
    log = learner.advance()
    assert not equal_bits(weights(plain), weights(learner))
    assert torch.isfinite(log[signal])
    assert {"loss", "grad_norm", "learning_rate"} <= log.keys()


@pytest.mark.parametrize(
    ("signal", "off"),
    [
        ("features", {"structure": {"ratio": 0.0}}),
        ("features", {"structure": {"end": 0.0}}),
        ("labels", {"structure": {"ratio": 0.0}}),
        ("labels", {"structure": {"end": 0.0}}),
        ("dispersive", {"control": {"weight": 0.0}}),
        ("contrastive", {"control": {"weight": 0.0}}),
        ("repa", {"control": {"weight": 0.0}}),
        ("hidden", {"control": {"weight": 0.0}}),
        ("hidden", {"structure": {"end": 0.0}}),
        ("sampled", {"control": {"weight": 0.0}}),
        ("sampled", {"control": {"start": 1.0}}),
    ],
)
def test_a_control_that_is_off_changes_no_bit(signal: str, off: dict) -> None:
    images = tiny_images()
    plain = tiny_learner(tiny_config(signal="none", net=DEEP), images)
    control = tiny_learner(tiny_config(signal=signal, net=DEEP, **off), images)
    assert equal_bits(weights(advanced(plain, 4)), weights(advanced(control, 4)))


class Watching(Silent):
    """Remembers what it was told about."""

    def __init__(self) -> None:
        self.tasks: list[str] = []

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        self.tasks.append(task)


class Listener:
    """Asks for an activation and contributes nothing, or the same gradient everywhere."""

    def __init__(self, tap: str, slope: float | None = None) -> None:
        self.taps, self.slope = (tap,), slope

    def __call__(self, denoised, g_dsm) -> SignalStep:
        (tap,) = self.taps
        activation = denoised.taps[tap]
        assert not activation.requires_grad
        given = {} if self.slope is None else {tap: torch.full_like(activation, self.slope)}
        return SignalStep(None, {}, given)

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


def learner_for(config: TrainConfig, images: ImageSet, reporter: Reporter) -> Learner:
    signals = prepare_signals(config, images, reporter).signals
    return Learner(config, images, spec_for(images, config.net, config.process), signals)


def learner_with(*signals: Listener) -> Learner:
    config, images = tiny_config(signal="none", net=DEEP), tiny_images()
    return Learner(config, images, spec_for(images, config.net, config.process), list(signals))


def test_listening_changes_no_bit_and_gradients_at_one_tap_add_up() -> None:
    silent, listening = learner_with(), learner_with(Listener("blocks.1"))
    assert equal_bits(weights(advanced(silent, 4)), weights(advanced(listening, 4)))
    two, one = (
        learner_with(Listener("blocks.1", 0.25), Listener("blocks.1", 0.5)),
        learner_with(Listener("blocks.1", 0.75)),
    )
    assert equal_bits(weights(advanced(two, 4)), weights(advanced(one, 4)))
    assert not equal_bits(weights(two), weights(silent))


def test_what_is_given_at_a_tap_reaches_the_layers_below_it_alone() -> None:
    """The output of a fresh network is zero whatever its blocks give, so that blocks learn from the tap alone."""
    learner = learner_with(Listener("blocks.1", 0.1))
    before = copy.deepcopy(learner.denoiser.net.state_dict())
    learner.advance()
    moved = {name for name, value in learner.denoiser.net.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("blocks.0.") for name in moved)
    assert any(name.startswith("blocks.1.") for name in moved)
    assert not any(name.startswith("blocks.2.") for name in moved)


@pytest.mark.parametrize("signal", ["dispersive", "repa", "hidden"])
def test_one_backward_pass_through_the_network_with_taps(signal: str) -> None:
    learner = tiny_learner(tiny_config(signal=signal, net=DEEP), tiny_images())
    passes = []
    for name in ("final_layer.linear.weight", "blocks.0.mlp.fc1.weight"):
        learner.denoiser.net.get_parameter(name).register_hook(lambda gradient: passes.append(1))
    advanced(learner, 4)
    assert len(passes) == 8


@pytest.mark.parametrize("signal", CONTROLS)
def test_a_control_resumes_from_a_checkpoint_bit_for_bit(signal: str, tmp_path) -> None:
    config, images = tiny_config(signal=signal, net=DEEP), tiny_images()
    whole = tiny_learner(config, images)
    save_checkpoint(tmp_path / "step", advanced(whole, 4).state_dict())
    advanced(whole, 4)
    untrained = config.model_copy(update={"structure": config.structure.model_copy(update={"encoder_steps": 0})})
    restored = tiny_learner(untrained, images)  # as a resumed run does: its encoder comes from the checkpoint
    restored.load_state_dict(load_checkpoint(tmp_path / "step"))
    assert equal_bits(weights(whole), weights(advanced(restored, 4)))


@pytest.mark.parametrize("signal", [name for name in get_args(Signal) if name != "anchor"])
def test_encoders_are_charged_to_the_arms_that_use_them(signal: str) -> None:
    prepared = prepare_signals(tiny_config(signal=signal), tiny_images(), Silent())
    assert (prepared.pretrain_cpu_seconds > 0) == (signal in WITH_ENCODER)
    assert (prepared.encoder_score is not None) == (signal in WITH_ENCODER)
    assert len(prepared.signals) == (signal != "none")


def test_structure_options_govern_the_point_wise_controls() -> None:
    structure = {
        "ratio": 0.3,
        "k_max": 2.0,
        "fraction": 0.5,
        "noise_weight": "uniform",
        "warmup": 0.5,
        "end": 0.75,
        "every": 2,
    }
    config = tiny_config(signal="features", structure=structure)
    (signal,) = prepare_signals(config, tiny_images(), Silent()).signals
    balancing = signal.balancing
    assert (balancing.ratio, balancing.k_max, balancing.fraction, balancing.every) == (0.3, 2.0, 0.5, 2)
    assert (balancing.schedule.warmup, balancing.schedule.end) == (6, 9)
    assert torch.equal(balancing.noise_weight(torch.tensor([0.1, 9.0])), torch.ones(2))


def test_controls_take_the_papers_values_or_the_given_ones() -> None:
    images = tiny_images()

    def built(signal: str, **control):
        return prepare_signals(tiny_config(signal=signal, net={"depth": 4}, control=control), images, Silent()).signals[
            0
        ]

    assert (built("dispersive").weight, built("dispersive").temperature) == (0.5, 0.5)
    assert built("dispersive").taps == built("repa").taps == ("blocks.1",)
    assert built("hidden").taps == ("blocks.3",)
    assert (built("contrastive").weight, built("repa").weight, built("hidden").weight) == (0.05, 0.5, 5.0)
    given = built("dispersive", weight=0.1, temperature=2.0, tap="blocks.3.mlp")
    assert (given.weight, given.temperature, given.taps) == (0.1, 2.0, ("blocks.3.mlp",))
    assert built("repa", projector_width=20).projector[0].out_features == 20


@pytest.mark.parametrize("encoder", [{"encoder_kind": "vit"}, {"encoder_outputs": "stages"}, {"encoder_stride": 2}])
@pytest.mark.parametrize("signal", WITH_ENCODER)
def test_every_encoder_serves_every_signal(signal: str, encoder: dict) -> None:
    learner = tiny_learner(
        tiny_config(signal=signal, structure={"encoder_steps": 1, **encoder}, control={"start": 0.0}), tiny_images()
    )
    assert torch.isfinite(learner.advance()["grad_norm"])


MODERN = {"qk_norm": True, "rope": True, "swiglu": True, "registers": 2, "depth": 2}


@pytest.mark.parametrize("signal", ["dispersive", "repa", "hidden"])
def test_signals_in_hidden_layers_work_beside_registers(signal: str, tmp_path) -> None:
    config, images = tiny_config(signal=signal, net=MODERN), tiny_images()
    whole, restored = (tiny_learner(config, images) for _ in range(2))
    save_checkpoint(tmp_path / "step", advanced(whole, 2).state_dict())
    assert torch.isfinite(whole.advance()[signal])
    restored.load_state_dict(load_checkpoint(tmp_path / "step"))
    assert equal_bits(weights(whole), weights(advanced(restored, 1)))
    plain = advanced(tiny_learner(tiny_config(signal="none", net=MODERN), images), 3)
    assert not equal_bits(weights(plain), weights(whole))


class Overheard:
    """A signal, and what it gave in its last step."""

    def __init__(self, signal: TrainingSignal) -> None:
        self.signal = signal

    def __call__(self, denoised, g_dsm) -> SignalStep:
        self.given = self.signal(denoised, g_dsm)
        return self.given


@pytest.mark.parametrize("signal", ["dispersive", "repa", "hidden"])
def test_what_a_signal_gives_does_not_depend_on_registers_that_nobody_looks_at(signal: str) -> None:
    """Before the first step all blocks are the identity."""
    steps = []
    for registers in (0, 3):
        learner = tiny_learner(tiny_config(signal=signal, net={"registers": registers, "depth": 2}), tiny_images())
        learner.denoiser.net.x_embedder.proj.weight.data = torch.arange(256.0).reshape(16, 1, 4, 4).sin()
        learner.signals = [Overheard(learner.signals[0])]
        learner.advance()
        steps.append(learner.signals[0].given)
    without, beside = steps
    torch.testing.assert_close(beside.log[signal], without.log[signal])
    for tap, gradient in without.taps.items():
        assert gradient.shape == (8, 4, 16)
        assert float(gradient.abs().max()) > 0
        torch.testing.assert_close(beside.taps[tap], gradient)


def test_labels_need_two_classes() -> None:
    config = tiny_config(signal="labels")
    with pytest.raises(UserError, match=r"'labels' needs images of at least two classes, but tiny has no labels"):
        prepare_signals(config, tiny_images(labelled=False), Silent())
    images = tiny_images()
    one_class = images.subset((images.labels == 1).nonzero().flatten())
    with pytest.raises(UserError, match=r"at least two classes, but tiny has only images of 'b'"):
        prepare_signals(config, one_class, Silent())
    with pytest.raises(UserError, match=r"encoder_training must be 'supervised' or 'auto', got 'views'"):
        tiny_config(signal="labels", structure={"encoder_training": "views"})


@pytest.mark.parametrize(
    ("signal", "tap", "message"),
    [
        ("dispersive", "block.0", r"no module 'block\.0'; did you mean 'blocks\.0'"),
        ("repa", "block.0", r"no module 'block\.0'; did you mean 'blocks\.0'"),
        (
            "repa",
            "t_embedder",
            r"'repa' needs tokens or a map: expected \[B, 4, D\] or \[B, D, 2, 2\] from 't_embedder', got \[1, 16\]",
        ),
        (
            "hidden",
            "t_embedder",
            r"'hidden' needs tokens or a map: expected \[B, 4, D\] or \[B, D, 2, 2\] from 't_embedder', got \[1, 16\]",
        ),
    ],
)
def test_a_tap_that_can_not_serve_is_refused_before_anything_is_trained(signal: str, tap: str, message: str) -> None:
    watching = Watching()
    config = tiny_config(signal=signal, control={"tap": tap})
    with pytest.raises(UserError, match=message):
        learner_for(config, tiny_images(), watching)
    assert not watching.tasks


@pytest.mark.parametrize("signal", ["structure", "dispersive", "contrastive", "hidden", "sampled"])
def test_signals_of_pairs_refuse_a_batch_of_one(signal: str) -> None:
    with pytest.raises(UserError, match=rf"signal '{signal}' is about pairs of images.*got 1"):
        tiny_config(signal=signal, optimiser={"batch": 1})


def test_a_weight_without_a_minimum_is_refused() -> None:
    with pytest.raises(UserError, match=r"control\.weight must be below 1 with signal 'contrastive', got 1"):
        tiny_config(signal="contrastive", control={"weight": 1.0})
    tiny_config(signal="dispersive", control={"weight": 1.0})


@pytest.mark.parametrize("signal", CONTROLS)
def test_images_of_another_shape_and_without_classes(signal: str) -> None:
    pixels = torch.randint(0, 256, (12, 3, 8, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 2 if signal == "labels" else None
    names = ("a", "b") if signal == "labels" else ()
    images = ImageSet(pixels, labels, names, tuple(map(str, range(12))), "wide")
    learner = tiny_learner(tiny_config(signal=signal, control={"start": 0.0}), images)
    assert torch.isfinite(learner.advance()["grad_norm"])


OPTIONS = [
    {"adversary": "classify"},
    {"adversary": "frozen", "memory": 5},
    {"relation": "euclidean", "penalty": "huber"},
    {"relation": "rbf", "penalty": "rank"},
    {"relation": "angles"},
    {"penalty": "spectral"},
    {"r1": 0.1, "spectral_bound": 1.5, "pull": 0.1},
    {"update_every": 2, "memory": 4, "watchdog": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(map(str, options.values())))
def test_every_option_of_the_game_trains_and_resumes_bit_for_bit(options: dict, tmp_path) -> None:
    config, images = tiny_config(signal="structure", structure={"fraction": 0.5, **options}), tiny_images()
    whole, restored = (tiny_learner(config, images) for _ in range(2))
    save_checkpoint(tmp_path / "step", advanced(whole, 2).state_dict())
    advanced(whole, 2)
    restored.load_state_dict(load_checkpoint(tmp_path / "step"))
    assert equal_bits(weights(whole), weights(advanced(restored, 2)))
    assert not equal_bits(weights(whole), weights(advanced(tiny_learner(tiny_config(signal="none"), images), 4)))


def test_options_reach_the_game() -> None:
    options = {"relation": "rbf", "penalty": "rank", "pull": 0.2, "r1": 0.0, "spectral_bound": 2.0, "update_every": 3,
               "every": 2, "memory": 7, "learning_rate": None}  # fmt: skip
    (signal,) = prepare_signals(tiny_config(structure=options), tiny_images(), Silent()).signals
    game, rule = signal.game, signal.game.discriminator.updates.rule
    assert (rule.learning_rate, rule.pull, rule.spectral_bound, rule.every) == (2e-5, 0.2, 2.0, 3)
    assert (game.discriminator.relation, game.discriminator.penalty) == (RELATIONS["rbf"], "rank")
    assert (game.every, game.discriminator.memory.capacity) == (2, 7)
    assert game.watchdog is not None
    (unwatched,) = prepare_signals(tiny_config(structure={"watchdog": False}), tiny_images(), Silent()).signals
    assert unwatched.game.watchdog is None


def test_options_that_do_not_go_together_are_refused_before_pre_training() -> None:
    watching = Watching()
    config = tiny_config(structure={"r1": 1.0, "relation": "euclidean"})
    with pytest.raises(UserError, match="can't be played with these --structure options: r1 needs a relation"):
        prepare_signals(config, tiny_images(), watching)
    assert not watching.tasks


@pytest.mark.parametrize(
    "value",
    [{"r1": -1}, {"spectral_bound": 0.9}, {"update_every": 0}, {"every": 0}, {"memory": -1}, {"encoder_stride": 0},
     {"adversary": "none"}, {"relation": "dot"}, {"penalty": "l1"}, {"encoder_kind": "resnet"}],
)  # fmt: skip
def test_structure_options_out_of_range_are_refused(value: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(value))):
        StructureConfig(**value)
