"""From a run's configuration to its training signals."""

from __future__ import annotations

import dataclasses
from functools import partial

from sadm.core.devices import resolve_device
from sadm.core.progress import Reporter
from sadm.data import ImageSet
from sadm.signals import StructureSignal, TrainingSignal
from sadm.structure import Schedule, StructureGame, uniform_weight, wiener_weight
from sadm.training.config import TrainConfig
from sadm.training.pretraining import pretrain_encoder


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


def prepare_signals(config: TrainConfig, images: ImageSet, reporter: Reporter) -> PreparedSignals:
    """Builds the signals that `config` asks for, pre-training encoders on the training images."""
    if config.signal == "none":
        return PreparedSignals([])
    device = resolve_device(config.device)
    pretrained = pretrain_encoder(
        images, config.structure, config.seed, device, lambda done, total: reporter.update("encoder", done, total)
    )
    settings, steps = config.structure, config.optimiser.steps
    wiener = partial(wiener_weight, scale=settings.noise_weight_scale)
    game = StructureGame(
        pretrained.encoder,
        relation=settings.relation,
        penalty=settings.penalty,
        adversary=settings.adversary,
        learning_rate=settings.learning_rate,
        pull=settings.pull,
        ratio=settings.ratio,
        k_max=config.k_max,
        fraction=settings.fraction,
        noise_weight=wiener if settings.noise_weight == "wiener" else uniform_weight,
        schedule=Schedule(warmup=round(settings.warmup * steps), end=round(settings.end * steps)),
    )
    return PreparedSignals([StructureSignal(game)], pretrained.cpu_seconds, pretrained.score)
