"""What a training signal adds to a step, counted on the signal itself with random images and activations."""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from sadm.core.conditions import Cond
from sadm.core.progress import Silent
from sadm.data import ImageSet
from sadm.diffusion import Denoised
from sadm.experiments.planning.flops import Counts, Shape, network_keys
from sadm.experiments.planning.tracking import LiveBytes
from sadm.finetuning.config import FinetuneConfig
from sadm.signals import TrainingSignal, taps_of
from sadm.signals.taps import Taps
from sadm.training.config import TrainConfig
from sadm.training.restraint_config import AnchorConfig, EarlyStopConfig, PriorConfig
from sadm.training.signals import prepare_signals
from sadm.training.spec import ModelSpec, spec_for

BATCH = 12
"""Images that a signal is counted with; a third of them, which is what the game plays with, is a whole number."""
FEW = 3
ELEMENTS = 2**21
"""Of an activation of `BATCH` images: where there are more, a signal is counted with `FEW`."""


@dataclasses.dataclass(frozen=True)
class SignalCost:
    """What a signal adds to a step in which it takes part.

    Attributes:
        operations: for one image.
        state: bytes of its networks, optimisers and the like, all of which a checkpoint holds.
        per_image: bytes that it holds for a moment, for one image.
        embedding: numbers that it gathers of an image, where it relates embeddings.
        gram: widths of features and activations, where it sums Gram matrices instead.
        relations: matrices [B, B] that it holds at once; 0 = none.
    """

    operations: float = 0.0
    state: int = 0
    per_image: float = 0.0
    embedding: int = 0
    gram: tuple[int, int] | None = None
    relations: int = 0


def signal_cost(shape: Shape, config: TrainConfig, classes: int, counts: Counts) -> SignalCost:
    """What the signal of a configuration adds.

    A frozen encoder's features of clean images are counted anew each time; where images stay as they are, they are kept, and
    cost less. A signal that runs the network, or the model that the training starts from, counts as so many passes.

    Args:
        shape: of an image or latent (C, H, W).
        config: of the training.
        classes: without the null class.
        counts: of its network.
    """
    found = SignalCost()
    if config.signal not in ("none", "anchor"):
        settings = config.structure.model_dump_json()
        found = _cost(
            shape, network_keys(config), config.signal, settings, config.control.model_dump_json(), min(classes, 2)
        )
    if config.signal == "sampled":  # a network that is learned through in each step of its sampler
        found = dataclasses.replace(found, operations=found.operations + config.control.sampler_steps * counts.step)
    passes = 1.0 if config.sees_with_source and config.signal != "none" else 0.0
    passes += config.anchor.fraction if config.anchored else 0.0
    return dataclasses.replace(found, operations=found.operations + passes * counts.forward)


def needs_source(config: TrainConfig) -> bool:
    """Whether the model that the training starts from is held beside the one that learns."""
    return config.anchored or config.sees_with_source


def probe_config(config: TrainConfig, **changes: Any) -> TrainConfig:
    """A configuration that can be tried on random images: from scratch, with an encoder that was not trained.

    Args:
        config: of the training.
        changes: groups of keys, such as ``net={"depth": 1}``; other names are whole values.
    """
    whole = {name: value for name, value in changes.items() if not isinstance(value, dict)}
    groups = {name: value for name, value in changes.items() if isinstance(value, dict)}
    usual: dict[str, dict[str, Any]] = {
        "data": {"autoencoder": None, "latents": None, "latent_dtype": "float16", "workers": 0, "fit": "crop"},
        "structure": {"encoder_steps": 0},
    }
    if config.structure.encoder_training == "source":
        usual["structure"]["encoder_training"] = "auto"
    if config.data.balance or config.data.repeat or config.data.keep:
        usual["data"] |= {"balance": 0.0, "repeat": {}, "keep": {}}
    if config.control.tap is not None and "net" in groups:
        usual["control"] = {"tap": None}  # all blocks are alike, and fewer are there
    parts = {name: {**usual.get(name, {}), **groups.get(name, {})} for name in usual | groups}
    fresh = {"start_from": None, "finetune": FinetuneConfig(), "anchor": AnchorConfig(), "prior": PriorConfig()}
    changed = {name: getattr(config, name).model_copy(update=values) for name, values in parts.items()}
    signal = {"signal": "none"} if config.signal == "anchor" else {}
    return config.model_copy(update={**fresh, "early_stop": EarlyStopConfig(), **signal, **changed, **whole})


def random_images(shape: Shape, classes: int, images: int) -> ImageSet:
    """Images of noise, their classes in turn."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, *shape), generator=draws, dtype=torch.uint8)
    labels = torch.arange(images) % classes if classes else None
    names = tuple(map(str, range(images)))
    return ImageSet(pixels, labels, tuple(map(str, range(classes))), names, "random images")


@lru_cache(maxsize=32)
def _cost(shape: Shape, keys: str, name: str, settings: str, control: str, classes: int) -> SignalCost:
    values = {**json.loads(keys), "signal": name, "structure": json.loads(settings), "control": json.loads(control)}
    values.pop("finetune")
    small = TrainConfig.model_validate(values).model_copy(update={"device": "cpu"})
    small = probe_config(small, net={"depth": 1} if small.net.kind == "dit" else {})
    images = random_images(shape, classes, BATCH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spec = spec_for(images, small.net, small.process, small.data)
        (signal,) = prepare_signals(small, images, Silent()).signals
        if hasattr(signal, "bind"):  # it runs the network: what else it does is small
            return SignalCost(state=_state_bytes(signal.state_dict()))
        seen, g_dsm = _step(spec, signal)
    tracker, counter = LiveBytes(), FlopCounterMode(display=False)
    with tracker, counter:
        signal(seen, g_dsm)
    count = len(g_dsm)
    embedding, gram, relations = _related(name, small, signal, seen)
    state = _state_bytes(signal.state_dict())
    return SignalCost(counter.get_total_flops() / count, state, tracker.peak / count, embedding, gram, relations)


def _step(spec: ModelSpec, signal: TrainingSignal) -> tuple[Denoised, torch.Tensor]:
    """What the signal sees in a step, all of it random."""
    net, draws = spec.network().train(), torch.Generator().manual_seed(0)
    label = torch.zeros(1, dtype=torch.int64) if spec.class_names else None
    augment = torch.zeros(1, len(spec.augment)) if spec.augment else None
    with torch.no_grad(), Taps(net, list(taps_of(signal))).recording() as recorded:
        net(torch.zeros(1, *spec.shape), torch.zeros(1), Cond(label=label, augment=augment))
    largest = max((part.numel() for part in recorded.values()), default=0)
    batch = BATCH if BATCH * largest <= ELEMENTS else FEW
    taps = {name: torch.randn(batch, *part.shape[1:], generator=draws) for name, part in recorded.items()}
    x0, x0_hat, noise, g_dsm = (torch.randn(batch, *spec.shape, generator=draws) for _ in range(4))
    sigma = torch.rand(batch, generator=draws) + 0.1
    label = torch.arange(batch) % max(1, len(spec.class_names)) if spec.class_names else None
    x_t, weight, cond = x0 + sigma[:, None, None, None] * noise, torch.ones(batch), Cond(label=label)
    seen = Denoised(x0, x_t, sigma, noise, cond, x0_hat, weight, label=label, taps=taps)
    return seen, g_dsm


def _related(name: str, config: TrainConfig, signal: Any, seen: Denoised) -> tuple[int, tuple[int, int] | None, int]:
    """What relates images across devices: length of an embedding, widths of Gram matrices, and matrices [B, B]."""
    if name == "hidden":
        (activation,) = seen.taps.values()
        width = activation.shape[1] if activation.ndim == 4 else activation.shape[2]
        return 0, (signal.target(seen.x0).shape[-1], width), 0
    if name == "structure":
        return config.structure.encoder_embedding, None, 4
    return 0, None, 0


def _state_bytes(state: Any) -> int:
    if isinstance(state, torch.Tensor):
        return state.nbytes
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return sum(_state_bytes(part) for part in parts)
