"""From a run's configuration to its training signals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.devices import resolve_device
from sadm.core.errors import UserError
from sadm.core.progress import Reporter
from sadm.core.seeds import derive_seed
from sadm.signals import (
    AnchorSignal,
    Balancing,
    ContrastiveSignal,
    DispersiveSignal,
    FeaturesAtPlaces,
    HiddenStructureSignal,
    RepaSignal,
    SampledSignal,
    SourceEncoder,
    StructureSignal,
    Taps,
    TrainingSignal,
    build_projector,
    feature_signal,
    label_signal,
    tokens_of,
)
from sadm.structure import (
    CHOICES,
    ConvEncoder,
    Schedule,
    StructureError,
    StructureGame,
    Watchdog,
    falling,
    growing,
    uniform_weight,
    wiener_weight,
)
from sadm.training.augmentation import augmenter_for
from sadm.training.config import TrainConfig
from sadm.training.known_structure import known_structure
from sadm.training.latents import TrainingSet, pictures_of
from sadm.training.networks import default_tap
from sadm.training.pretraining import Pretrained, build_encoder, pretrain_encoder, too_few_classes, way_of_training
from sadm.training.spec import spec_for
from sadm.training.starting import process_of


@dataclasses.dataclass(frozen=True)
class PreparedSignals:
    """Training signals, and what preparing them took.

    Attributes:
        signals: in the order in which they are added.
        pretrain_cpu_seconds: processor time spent on encoders; charged to the run.
        encoder_score: see `Pretrained.score`; None without an encoder.
    """

    signals: list[TrainingSignal]
    pretrain_cpu_seconds: float = 0.0
    encoder_score: float | None = None


def prepare_signals(config: TrainConfig, images: TrainingSet, reporter: Reporter) -> PreparedSignals:
    """Builds the signals that `config` asks for, pre-training encoders on the training images.

    Raises:
        UserError: the images or the network do not allow the signal.
    """
    setup = _Setup(config, images, reporter)
    prepared = BUILDERS[config.signal](setup)
    if config.signal == "anchor" or not config.anchored:
        return prepared
    return dataclasses.replace(prepared, signals=[*prepared.signals, *_anchor(setup).signals])


@dataclasses.dataclass(frozen=True)
class _Setup:
    """What signals are built from."""

    config: TrainConfig
    images: TrainingSet
    reporter: Reporter

    def pretrain(self) -> Pretrained:
        """A pre-trained structure encoder, or one that is the model that the training starts from."""
        if self.config.sees_with_source:
            return Pretrained(self.untrained(), 0.0, None, None)
        device = resolve_device(self.config.device)
        progress = partial(self.reporter.update, "encoder")
        augmenter = augmenter_for(self.config.data.augment, pictures_of(self.images))
        return pretrain_encoder(self.images, self.config.structure, self.config.seed, device, progress, augmenter)

    def untrained(self) -> nn.Module:
        """The structure encoder, as far as it is there before pre-training."""
        settings = self.config.structure
        if self.config.sees_with_source:
            encoder = SourceEncoder(self.source_tap(), settings.encoder_sigma, settings.encoder_outputs)
            return encoder.to(resolve_device(self.config.device))
        with torch.random.fork_rng(devices=[]):
            return build_encoder(self.images.shape, settings)[0]

    def source_tap(self) -> str:
        """Name of the module of the source model that is its features, where it is the encoder."""
        return self.config.structure.encoder_tap or default_tap(self.config.net, at_the_end=False)

    @property
    def turns(self) -> int:
        """How often a signal is asked in the whole training: once in each micro-batch that is related by itself."""
        parallel = self.config.parallel
        return self.config.optimiser.steps * (1 if parallel.exact else parallel.accumulate)

    def balancing(self) -> Balancing:
        """The rules that the game and the point-wise controls share."""
        settings, steps = self.config.structure, self.turns
        wiener = partial(wiener_weight, scale=settings.noise_weight_scale)
        profile = {"falling": falling, "growing": growing}.get(settings.profile)
        return Balancing(
            ratio=settings.ratio if profile is None else profile(settings.ratio, settings.noise_weight_scale),
            balance=settings.balance,
            k_max=self.config.k_max,
            fraction=settings.fraction,
            choose=CHOICES[settings.choose],
            noise_weight=wiener if settings.noise_weight == "wiener" else uniform_weight,
            schedule=Schedule(warmup=round(settings.warmup * steps), end=round(settings.end * steps)),
            every=settings.every,
        )

    def weight(self) -> dict[str, Any]:
        """The control's weight as an argument; none where the signal's own, the paper's, holds."""
        return {} if self.config.control.weight is None else {"weight": self.config.control.weight}

    def tap(self) -> str:
        """Name of the tapped module."""
        return self.config.control.tap or default_tap(self.config.net, at_the_end=self.config.signal == "hidden")


def _none(setup: _Setup) -> PreparedSignals:
    return PreparedSignals([])


def _structure(setup: _Setup) -> PreparedSignals:
    known = known_structure(setup.images, setup.config.structure)
    _game(setup, setup.untrained())  # options that do not go together are refused before pre-training, which takes time
    pretrained = setup.pretrain()
    game = _game(setup, pretrained.encoder)
    return _charged(StructureSignal(game, setup.reporter.say, known), pretrained)


def _game(setup: _Setup, encoder: nn.Module) -> StructureGame:
    settings, balancing = setup.config.structure, setup.balancing()
    shared = {field.name: getattr(balancing, field.name) for field in dataclasses.fields(Balancing)}
    try:
        return StructureGame(
            encoder,
            relation=settings.relation,
            penalty=settings.penalty,
            adversary=settings.adversary,
            learning_rate=None if settings.adversary == "frozen" else settings.learning_rate,  # a recipe may have one
            pull=settings.pull,
            r1=settings.r1,
            spectral_bound=settings.spectral_bound,
            update_every=settings.update_every,
            seed=derive_seed(setup.config.seed, "structure game"),
            memory=settings.memory,
            watchdog=Watchdog() if settings.watchdog else None,
            **shared,
        )
    except StructureError as error:
        raise UserError(f"the structure game can't be played with these --structure options: {error}.") from error


def _features(setup: _Setup) -> PreparedSignals:
    pretrained = setup.pretrain()
    return _charged(feature_signal(pretrained.encoder, setup.balancing()), pretrained)


def _labels(setup: _Setup) -> PreparedSignals:
    if way_of_training(setup.images, setup.config.structure) != "supervised":
        raise UserError(
            f"signal 'labels' needs images of at least two classes, but {setup.images.source} has "
            f"{too_few_classes(setup.images)}. Put the images into class folders, or use another --signal."
        )
    pretrained = setup.pretrain()
    head = cast(nn.Module, pretrained.head)  # a supervised encoder has one
    return _charged(label_signal(pretrained.encoder, head, setup.balancing()), pretrained)


def _dispersive(setup: _Setup) -> PreparedSignals:
    temperature = setup.config.control.temperature
    return PreparedSignals([DispersiveSignal(setup.tap(), temperature=temperature, **setup.weight())])


def _contrastive(setup: _Setup) -> PreparedSignals:
    spec = spec_for(setup.images, setup.config.net, process_of(setup.config))
    return PreparedSignals([ContrastiveSignal(spec.sigma_data, **setup.weight())])


def _repa(setup: _Setup) -> PreparedSignals:
    target, pretrained, (width, length) = _tapped_target(setup)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(setup.config.seed, "projector"))
        projector = build_projector(width, setup.config.control.projector_width, length)
    projector = projector.to(resolve_device(setup.config.device))
    rate = setup.config.optimiser.learning_rate
    return _charged(RepaSignal(target, projector, setup.tap(), learning_rate=rate, **setup.weight()), pretrained)


def _hidden(setup: _Setup) -> PreparedSignals:
    balancing = setup.balancing()
    target, pretrained, _ = _tapped_target(setup)
    signal = HiddenStructureSignal(
        target,
        setup.tap(),
        ratio=setup.config.control.ratio,
        schedule=balancing.schedule,
        every=balancing.every,
        **setup.weight(),
    )
    return _charged(signal, pretrained)


def _sampled(setup: _Setup) -> PreparedSignals:
    control, config = setup.config.control, setup.config
    pretrained = setup.pretrain()
    signal = SampledSignal(
        pretrained.encoder,
        derive_seed(config.seed, "sampled structure"),
        steps=control.sampler_steps,
        start=round(control.start * setup.turns),
        every=config.structure.every,
        **setup.weight(),
    )
    return _charged(signal, pretrained)


def _anchor(setup: _Setup) -> PreparedSignals:
    config, balancing = setup.config, setup.balancing()
    signal = AnchorSignal(
        config.anchor.tap or default_tap(config.net, at_the_end=False),
        config.anchor_weight,
        place=config.anchor.place,
        relation=config.anchor.relation,
        fraction=config.anchor.fraction,
        schedule=balancing.schedule,
        every=config.anchor.every,
    )
    return PreparedSignals([signal])


def _tapped_target(setup: _Setup) -> tuple[FeaturesAtPlaces, Pretrained, tuple[int, int]]:
    """What the tapped tokens are held to, the encoder that sees it, and the widths of a token and of a feature."""
    config, tap = setup.config, setup.tap()
    spec = spec_for(setup.images, config.net, process_of(config))
    with torch.random.fork_rng(devices=[]):
        net = spec.build().net
    blank, (_, height, columns) = torch.zeros(1, *spec.shape), spec.shape
    asked = blank, torch.zeros(1), Cond()
    shape = _output_shape(net, tap, *asked)
    # A map says itself how large its places are; tokens are those of the network's patches.
    patch = (height // shape[2], columns // shape[3]) if len(shape) == 4 else (spec.net.divisor,) * 2
    grid = (height // patch[0], columns // patch[1])
    tokens = tokens_of(
        config.signal, tap, torch.empty(shape, device="meta"), grid
    )  # before pre-training, which takes time
    pretrained = setup.pretrain()
    encoder = pretrained.encoder
    if isinstance(encoder, SourceEncoder):
        features, read = "places", _output_shape(net, encoder.tap, *asked)
        length = read[1 if len(read) == 4 else -1]
    else:
        features, axis = _features_at_places(encoder)
        length = _output_shape(encoder, features, blank.to(next(encoder.parameters()).device))[axis]
    return FeaturesAtPlaces(encoder, features, patch), pretrained, (tokens.shape[2], length)


def _charged(signal: TrainingSignal, pretrained: Pretrained) -> PreparedSignals:
    return PreparedSignals([signal], pretrained.cpu_seconds, pretrained.score)


def _features_at_places(encoder: nn.Module) -> tuple[str, int]:
    """Name of the module that gives an encoder's last features at places, and the axis of their channels."""
    if isinstance(encoder, ConvEncoder):
        return f"trunk.{len(encoder.trunk) - 1}", 1  # a map [B, C', H', W']
    return "norm", 2  # tokens [B, P, D]


@torch.no_grad()
def _output_shape(module: nn.Module, name: str, *inputs: Any) -> torch.Size:
    """Shape of what the part `name` of a module gives for these inputs."""
    with Taps(module, [name]).recording() as recorded:
        module(*inputs)
    return recorded[name].shape


BUILDERS: dict[str, Callable[[_Setup], PreparedSignals]] = {
    "none": _none,
    "structure": _structure,
    "features": _features,
    "labels": _labels,
    "dispersive": _dispersive,
    "contrastive": _contrastive,
    "repa": _repa,
    "hidden": _hidden,
    "sampled": _sampled,
    "anchor": _anchor,
}
