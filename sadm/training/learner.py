"""The training step, read from top to bottom in `Learner.advance`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch

from sadm.core.devices import resolve_device
from sadm.core.errors import DivergedError, UserError
from sadm.data import Prefetcher, class_order
from sadm.diffusion import Denoised, denoise, denoising_loss
from sadm.finetuning.tuning import state_without
from sadm.signals import Source, Taps, TrainingSignal, taps_of, users_of_source
from sadm.training.augmentation import augmenter_for
from sadm.training.config import OptimiserConfig, TrainConfig
from sadm.training.ema import EMA
from sadm.training.inputs import StepInputs, draw_inputs
from sadm.training.latents import TrainingSet, open_stream, pictures_of
from sadm.training.prior import Prior, PriorStream
from sadm.training.process import build_density, build_weighting
from sadm.training.spec import ModelSpec
from sadm.training.starting import start


class Learner:
    """A denoiser in training: network, averaged weights, optimiser and training signals.

    Every random draw comes from (seed, purpose, step), so its state is a step number and tensors, and signals that are off
    change nothing, bit for bit.

    Args:
        config: of the run.
        images: the training images, or their latents.
        spec: of the denoiser.
        signals: added to the denoising gradient, in this order.
        prior: images of the model to start from, where `config.prior` asks for some.

    Raises:
        UserError: a signal taps a module that the network does not have, or the model to start from is not there or does not
            fit.
    """

    def __init__(
        self,
        config: TrainConfig,
        images: TrainingSet,
        spec: ModelSpec,
        signals: list[TrainingSignal],
        prior: Prior | None = None,
    ) -> None:
        self.config, self.spec, self.signals = config, spec, signals
        augmenter = augmenter_for(config.data.augment, pictures_of(images))
        order = class_order(pictures_of(images), config.seed, config.data.balance, config.data.repeat)
        batch, flip = config.optimiser.batch - config.prior_batch, config.data.flip
        self.stream = open_stream(images, batch, config.seed, flip=flip, order=order, augmenter=augmenter)
        if config.prior_batch and prior is None:
            raise ValueError("config.prior asks for images of the model to start from: draw_prior first")
        self.prior = None if prior is None else PriorStream(prior, config.prior_batch, config.seed)
        self.device = resolve_device(config.device)
        comparing = [user for signal in signals for user in users_of_source(signal)]
        self.start = start(config, spec, keep_source=bool(comparing))
        self.denoiser = spec.around(self.start.net).to(self.device).train()
        self.frozen = [name for name, part in self.denoiser.net.named_parameters() if not part.requires_grad]
        self.density = build_density(config.process, self.denoiser)
        self.weighting = build_weighting(config.process, self.denoiser, spec.sigma_data)
        for signal in signals:
            if hasattr(signal, "bind"):
                signal.bind(self.denoiser)
        for user in comparing:
            user.bind_source(self._source())
        self.taps = Taps(self.denoiser.net, [name for signal in signals for name in taps_of(signal)])
        self.ema = EMA(self.denoiser.net, config.optimiser.ema_half_life, config.optimiser.ema_warmup)
        self.parameters = [parameter for parameter in self.denoiser.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters,
            lr=config.optimiser.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=config.optimiser.weight_decay,
            fused=True,
        )
        self.ahead = Prefetcher(self.inputs, config.data.workers) if config.data.workers else None
        self.step = 0

    def advance(self) -> dict[str, torch.Tensor]:
        """One training step.

        Returns:
            Scalars of this step: ``loss``, ``grad_norm``, ``learning_rate``, and what the signals log.

        Raises:
            DivergedError: the loss or the gradient is not finite; the weights are left as they were.
        """
        given = (self.ahead.get(self.step) if self.ahead else self.inputs(self.step)).to(self.device)
        x0, sigma, noise = given.x0, given.sigma, given.noise  # [B, C, H, W], [B], [B, C, H, W]

        with self.taps.recording() as activations:
            denoised = denoise(self.denoiser, x0, sigma, noise, given.cond, self._weight(sigma, given.prior))
        leaf = denoised.x0_hat.detach().requires_grad_()
        loss = denoising_loss(denoised.x0, leaf, denoised.weight)
        self._refuse_non_finite("loss", loss)
        (g_dsm,) = torch.autograd.grad(loss, leaf)

        taps = {name: activation.detach() for name, activation in activations.items()}
        index = None if self.stream.changes_pixels else given.index
        seen = dataclasses.replace(denoised, x0_hat=leaf.detach(), label=given.label, index=index, taps=taps)
        gradient, at_taps, log = self._ask_signals(seen, g_dsm, given.prior)
        # One backward through the network serves all signals (but those that run it themselves): what reaches a tap from
        # x0_hat and what its signals give add up there.
        tapped = [activations[name] for name in at_taps]
        torch.autograd.backward([denoised.x0_hat, *tapped], [gradient, *at_taps.values()])

        return {"loss": loss.detach(), **log, **self._update()}

    def inputs(self, step: int) -> StepInputs:
        """What `step` works on; in page-locked memory where a thread makes it for a CUDA device."""
        process, null_label = self.config.process, len(self.spec.class_names)
        inputs = draw_inputs(self.stream, step, self.density, self.config.seed, process.label_dropout, null_label)
        if self.prior is not None:
            seed = self.prior.seed
            inputs = inputs.followed_by(
                draw_inputs(self.prior, step, self.density, seed, process.label_dropout, null_label)
            )
        return inputs.pinned() if self.config.data.workers and self.device.type == "cuda" else inputs

    def close(self) -> None:
        """Ends the threads that make inputs ahead, if there are any."""
        if self.ahead:
            self.ahead.close()

    def _weight(self, sigma: torch.Tensor, prior: int) -> torch.Tensor:
        """The loss weight of each image [B], the last `prior` of which are of the model that the training started from."""
        weight = self.weighting(sigma)
        if prior:
            own = len(sigma) - prior
            weight = torch.cat([weight[:own], self.config.prior.weight * weight[own:]])
        return weight

    def _ask_signals(
        self, seen: Denoised, g_dsm: torch.Tensor, prior: int
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The sum of all gradients at x0_hat, the sums at the taps that got any, and what the signals log.

        Signals do not see the last `prior` images.
        """
        count = len(g_dsm)
        own = slice(count - prior)
        seen, theirs = (seen[own], g_dsm[own]) if prior else (seen, g_dsm)
        log: dict[str, torch.Tensor] = {}
        at_taps: dict[str, torch.Tensor] = {}
        gradient = g_dsm
        for signal in self.signals:
            contribution = signal(seen, theirs)
            log.update(contribution.log)
            if contribution.gradient is not None:
                gradient = gradient + _filled_up(contribution.gradient, count)
            for name, part in contribution.taps.items():
                part = _filled_up(part, count)
                at_taps[name] = at_taps[name] + part if name in at_taps else part
        return gradient, at_taps, log

    def _update(self) -> dict[str, torch.Tensor]:
        """The optimiser's step; returns its scalars."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        self._refuse_non_finite("gradient", norm)
        limit = self.config.optimiser.clip or math.inf
        if norm > limit:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, limit, norm)
        rate = learning_rate_at(self.step, self.config.optimiser)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.ema.update(self.config.optimiser.batch, self.images_seen)
        return {"grad_norm": norm, "learning_rate": torch.tensor(rate)}

    @property
    def images_seen(self) -> int:
        """Training images seen so far, repetitions counted."""
        return self.step * self.config.optimiser.batch

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, but for weights that do not learn."""
        return {
            "step": self.step,
            "base": self.start.base,
            "net": state_without(self.denoiser.net, self.frozen),
            "ema": state_without(self.ema.module, self.frozen),
            "optimiser": self.optimiser.state_dict(),
            "signals": [signal.state_dict() for signal in self.signals],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave.

        Raises:
            UserError: the model that this training started from is another one now, and what stays as it was is not stored.
        """
        needed = self.frozen or self.start.source is not None or self.prior is not None
        if needed and state["base"] != self.start.base:
            raise UserError(
                f"--start-from {self.config.start_from} holds another model than this training began with, and what this "
                "training needs of it is kept there alone. Restore it, or choose another --out."
            )
        self.step = int(state["step"])
        for net, part in ((self.denoiser.net, state["net"]), (self.ema.module, state["ema"])):
            net.load_state_dict({**net.state_dict(), **part})
        self.optimiser.load_state_dict(state["optimiser"])
        for signal, part in zip(self.signals, state["signals"], strict=True):
            signal.load_state_dict(part)

    def _source(self) -> Source:
        """The model that the training started from, as it was."""
        if self.start.source is None:
            raise ValueError("a signal compares with the model that the training starts from, and there is none")
        labels = None if self.start.labels is None else self.start.labels.to(self.device)
        return Source(self.spec.around(self.start.source).to(self.device).eval(), labels)

    def _refuse_non_finite(self, what: str, value: torch.Tensor) -> None:
        number = float(value.detach())
        if not math.isfinite(number):
            raise DivergedError(
                f"the {what} became {number} at step {self.step}; stopped before the weights changed. The last checkpoint "
                f"is intact. Lower --optimiser.learning-rate (now {self.config.optimiser.learning_rate}).",
                self.step,
            )


def _filled_up(part: torch.Tensor, count: int) -> torch.Tensor:
    """A gradient of the first images of a batch as one of all `count`."""
    return part if len(part) == count else torch.cat([part, part.new_zeros(count - len(part), *part.shape[1:])])


def learning_rate_at(step: int, config: OptimiserConfig) -> float:
    """Learning rate of `step` (from 0): linear warm-up, then constant, or a cosine that would reach 0 after the last step."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.decay == "constant":
        return config.learning_rate * warm
    span = max(1, config.steps - config.warmup_steps)
    done = min(1.0, max(0, step - config.warmup_steps) / span)
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * done))
