"""Early stopping: a part of the training images is held back, and the averaged weights that denoise it best are the result.

The held-out images of a run are for judging, and what judges must not decide: a training that stopped where they look best would
be judged by what it was chosen by. So the images that decide here are taken from the training images, and nothing else learns
from them.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed
from sadm.data import ImageSet
from sadm.data.splitting import split_by_class
from sadm.diffusion import Stratified, denoise, denoising_loss
from sadm.finetuning.tuning import state_without
from sadm.training.config import TrainConfig
from sadm.training.inputs import draw_inputs
from sadm.training.latents import TrainingSet, open_stream, pictures_of
from sadm.training.learner import Learner
from sadm.training.telling import told_by

_PURPOSE = "early stopping"


def hold_back(config: TrainConfig, images: ImageSet) -> tuple[ImageSet, ImageSet | None]:
    """The images that are learned from, and those that say when to stop; None without early stopping.

    The same share of each class is held back, and of a group all images or none. `config.seed` decides which.

    Args:
        config: of the run.
        images: its training images.

    Raises:
        UserError: too few images for two parts.
    """
    if not config.early_stop.every:
        return images, None
    try:
        split = split_by_class(images, config.early_stop.share, derive_seed(config.seed, _PURPOSE))
    except UserError as error:
        raise UserError(
            f"--early-stop.every holds a share of {config.early_stop.share:g} of the training images back, but {error} Or train "
            "without early stopping."
        ) from error
    return split.train, split.held_out


class EarlyStop:
    """Looks at a training every few steps, keeps the best averaged weights, and says when it has been long without better ones.

    At each look the averaged network estimates all images held back, each several times, always with the same noise at the same
    noise levels: `process.density` decides the levels, `process.weighting` their weights, and the loss is that of the training,
    with labels and all else that the network is told. So two looks differ by the weights alone. Nothing here reads a clock.

    Args:
        config: of the run.
        images: those that are held back, or their latents.
        learner: what is looked at.
    """

    def __init__(self, config: TrainConfig, images: TrainingSet, learner: Learner) -> None:
        self.settings, self.learner = config.early_stop, learner
        self.seed = derive_seed(config.seed, _PURPOSE)
        batch = min(config.optimiser.batch, len(images))
        told_all = config.model_copy(update={"data": config.data.model_copy(update={"tell_dropout": 0.0})})
        told = told_by(told_all, learner.spec, pictures_of(images))
        self.stream = open_stream(images, batch, self.seed, told=told)
        self.batches = math.ceil(self.settings.draws * len(images) / batch)
        self.density = learner.density if isinstance(learner.density, Stratified) else Stratified(learner.density)
        self.last_step, self.waited = 0, 0
        self.best_step: int | None = None
        self.best_loss = math.inf
        self.best: dict[str, torch.Tensor] = {}

    @property
    def due(self) -> bool:
        """Whether it is time to look."""
        step, steps = self.learner.step, self.learner.config.optimiser.steps
        return step > self.last_step and (step % self.settings.every == 0 or step >= steps)

    @property
    def over(self) -> bool:
        """Whether the training is to end."""
        return self.waited >= self.settings.patience

    def look(self) -> dict[str, torch.Tensor]:
        """Measures, and keeps the weights if they are the best so far; returns ``validation_loss`` for the metrics."""
        team, self.last_step = self.learner.team, self.learner.step
        loss: float = team.told(self.loss() if team.first else None)  # one decision for all
        self.waited += 1
        if loss < self.best_loss:
            self.best_step, self.best_loss, self.waited = self.learner.step, loss, 0
            kept = state_without(self.learner.ema.module, self.learner.frozen)
            self.best = {name: tensor.clone() for name, tensor in kept.items()}
        return {"validation_loss": torch.tensor(loss, dtype=torch.float64)}

    @torch.no_grad()
    def loss(self) -> float:
        """The denoising loss of the averaged network on the images held back."""
        learner = self.learner
        denoiser = learner.spec.around(learner.ema.module).to(learner.device).eval()
        total, count, null_label = 0.0, 0, len(learner.spec.class_names)
        for number in range(self.batches):
            drawn = draw_inputs(self.stream, number, self.density, self.seed, 0.0, null_label).to(learner.device)
            weight = learner.weighting(drawn.sigma)
            seen = denoise(denoiser, drawn.x0, drawn.sigma, drawn.noise, drawn.cond, weight)
            total += float(denoising_loss(seen.x0, seen.x0_hat, seen.weight)) * len(drawn.x0)
            count += len(drawn.x0)
        return total / count

    def network(self) -> nn.Module:
        """The averaged network at its best; as it is, before the first look."""
        averaged = self.learner.ema.module
        if not self.best:
            return averaged
        frozen = {id(part): part for name, part in averaged.named_parameters() if name in set(self.learner.frozen)}
        network = copy.deepcopy(averaged, frozen)
        network.load_state_dict({**network.state_dict(), **self.best})
        return network

    def facts(self) -> dict[str, Any]:
        """For JSON: the best step and its loss, None before the first look, and whether the training ended for want of better."""
        loss = None if self.best_step is None else self.best_loss
        return {"best_step": self.best_step, "best_loss": loss, "stopped": self.over}

    def state_dict(self) -> dict[str, Any]:
        """All that the next look depends on."""
        return {**self.facts(), "waited": self.waited, "last_step": self.last_step, "weights": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.best_step, self.waited, self.last_step = state["best_step"], state["waited"], state["last_step"]
        self.best_loss = math.inf if state["best_loss"] is None else state["best_loss"]
        self.best = {name: tensor.to(self.learner.device) for name, tensor in state["weights"].items()}

    def __str__(self) -> str:
        end = f"; no look since was better, so the training ended at step {self.learner.step}" if self.over else ""
        return (
            f"Early stopping: the images held back were denoised best at step {self.best_step} (loss {self.best_loss:.4f}){end}. "
            "The model is that of the best step."
        )
