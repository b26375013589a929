"""The training step, read from top to bottom in `Learner.advance`."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any

import torch

from sadm.core.allocation import keep_freed_memory
from sadm.core.devices import denormals_flushed, resolve_device
from sadm.core.errors import DivergedError, UserError
from sadm.data import Prefetcher, class_order
from sadm.diffusion import Denoised, denoise, denoising_loss
from sadm.finetuning.tuning import state_without
from sadm.signals import Recorded, Source, Taps, TrainingSignal, taps_of, users_of_source
from sadm.training.augmentation import augmenter_for
from sadm.training.checkpoint import filled, holds_shares
from sadm.training.config import OptimiserConfig, TrainConfig
from sadm.training.ema import EMA
from sadm.training.inputs import StepInputs, draw_inputs
from sadm.training.latents import TrainingSet, open_stream, pictures_of
from sadm.training.optimisers import build_optimiser
from sadm.training.parallel.engine import Engine, whole
from sadm.training.parallel.micro_batches import Asked, MicroBatches, summed_up
from sadm.training.parallel.team import ALONE, Team
from sadm.training.prior import Prior, PriorStream
from sadm.training.process import build_density, build_weighting
from sadm.training.pulls import Pull, total
from sadm.training.spec import ModelSpec
from sadm.training.starting import start
from sadm.training.telling import told_by


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
        team: the processes that train together; each has a learner with its share of every batch.

    Raises:
        UserError: a signal taps a module that the network does not have, the model to start from is not there or does not
            fit, or something can't be done by several processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        images: TrainingSet,
        spec: ModelSpec,
        signals: list[TrainingSignal],
        prior: Prior | None = None,
        team: Team = ALONE,
    ) -> None:
        self.config, self.spec, self.signals, self.team = config, spec, signals, team
        augmenter = augmenter_for(config.data.augment, pictures_of(images))
        order = class_order(pictures_of(images), config.seed, config.data.balance, config.data.repeat)
        batch, flip = config.optimiser.batch - config.prior_batch, config.data.flip
        seat = {"rank": team.rank, "world": team.count}
        told = told_by(config, spec, pictures_of(images))
        self.stream = open_stream(
            images, batch, config.seed, flip=flip, order=order, augmenter=augmenter, told=told, **seat
        )
        if config.prior_batch and prior is None:
            raise ValueError("config.prior asks for images of the model to start from: draw_prior first")
        self.prior = None if prior is None else PriorStream(prior, config.prior_batch, config.seed, **seat)
        self.device = resolve_device(config.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        comparing = [user for signal in signals for user in users_of_source(signal)]
        self.start = start(config, spec, keep_source=bool(comparing))
        self.denoiser = spec.around(self.start.net).to(self.device).train()
        self.frozen = [name for name, part in self.denoiser.net.named_parameters() if not part.requires_grad]
        self.density = build_density(config.process, self.denoiser)
        self.weighting = build_weighting(config.process, self.denoiser, spec.sigma_data)
        self._bind(comparing)
        tapped = tuple(name for signal in signals for name in taps_of(signal))
        self.taps = Taps(self.denoiser.net, tapped)
        apart = team.count > 1 and config.parallel.strategy != "ddp"
        self.ema = EMA(self.denoiser.net, config.optimiser.ema_half_life, config.optimiser.ema_warmup, apart)
        self.engine = Engine(self.denoiser.net, self.ema.module, config.parallel, team, tapped)
        alone = self.engine.run is self.denoiser.net
        self.running = self.denoiser if alone else spec.around(self.engine.run).to(self.device).train()
        self.micro = MicroBatches(config.optimiser.batch, config.parallel, team)
        self.parameters = [parameter for parameter in self.denoiser.parameters() if parameter.requires_grad]
        self.optimiser = build_optimiser(self.denoiser.net, config.optimiser, self.engine.sharded)
        self.ahead = Prefetcher(self.inputs, config.data.workers) if config.data.workers else None
        self.step = 0

    @denormals_flushed()
    def advance(self) -> dict[str, torch.Tensor]:
        """One training step.

        Returns:
            Scalars of this step: ``loss``, ``grad_norm``, ``learning_rate``, and what the signals log.

        Raises:
            DivergedError: the loss or the gradient is not finite; the weights are left as they were.
        """
        given = (self.ahead.get(self.step) if self.ahead else self.inputs(self.step)).to(self.device)
        rows = self.micro.rows(len(given.x0))
        cut = len(rows) > 1
        ahead = self._look_ahead(given, rows) if cut and self.config.parallel.exact else None
        found = [] if ahead is None else [ahead]
        for number, own in enumerate(rows):
            part = given.part(own) if cut else given
            with self.engine.passing(last=number == len(rows) - 1):
                denoised, activations = self._forward(part)
                asked = self._ask(part, denoised, activations, number) if ahead is None else ahead[own]
                # One backward through the network serves all signals (but those that run it themselves): what reaches a tap
                # from x0_hat and what its signals give add up there.
                tapped = [activations[name] for name in asked.at_taps]
                reaching = partial(activations.reaching, x0_hat=denoised.x0_hat, at_output=asked.at_output)
                at_taps = [total(pulls, partial(reaching, name)) for name, pulls in asked.at_taps.items()]
                torch.autograd.backward([denoised.x0_hat, *tapped], [asked.at_output, *at_taps])
            if ahead is None:
                found.append(asked)
        return {**summed_up(found), **self._update()}

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

    def _forward(self, given: StepInputs) -> tuple[Denoised, Recorded]:
        """The denoiser's estimates of a micro-batch, and what signals tap, in the network's graph."""
        weight = self._weight(given.sigma, given.prior)
        with self.taps.recording() as activations, self.engine.precision():
            denoised = denoise(self.running, given.x0, given.sigma, given.noise, given.cond, weight)
        return denoised, activations

    @torch.no_grad()
    def _look_ahead(self, given: StepInputs, rows: list[slice]) -> Asked:
        """What goes back through the network for the whole batch, which it first sees in micro-batches without a graph."""
        seen = [self._forward(given.part(own)) for own in rows]
        x0_hat = torch.cat([denoised.x0_hat for denoised, _ in seen])
        taps = {name: torch.cat([activations[name] for _, activations in seen]) for name in self.taps.modules}
        x_t = torch.cat([denoised.x_t for denoised, _ in seen])
        weight = torch.cat([denoised.weight for denoised, _ in seen])
        denoised = Denoised(given.x0, x_t, given.sigma, given.noise, given.cond, x0_hat, weight)
        with torch.enable_grad():
            return self._ask(given, denoised, taps, None)

    def _ask(
        self, given: StepInputs, denoised: Denoised, activations: dict[str, torch.Tensor], number: int | None
    ) -> Asked:
        """What goes back through the network for micro-batch `number`, or for all of them (None)."""
        leaf = denoised.x0_hat.detach().requires_grad_()
        loss = denoising_loss(denoised.x0, leaf, denoised.weight)
        # Means are over the images of all processes, whose gradients are averaged.
        within, of_step = self.micro.shares(len(leaf), number)
        shared = self.micro.mean(loss.detach() * (within * of_step))
        self._refuse_non_finite("loss", shared)
        (g_dsm,) = torch.autograd.grad(loss, leaf)
        if within != 1:
            g_dsm = within * g_dsm
        taps = {name: activation.detach() for name, activation in activations.items()}
        index = None if self.stream.changes_pixels else given.index
        seen = dataclasses.replace(
            denoised, x0_hat=leaf.detach(), label=given.label, index=index, place=given.index, taps=taps
        )
        gradient, at_taps, log = self._ask_signals(seen, g_dsm, given.prior)
        if of_step != 1:
            gradient = of_step * gradient
            at_taps = {name: [pull.scaled(of_step) for pull in pulls] for name, pulls in at_taps.items()}
        return Asked(shared, gradient, at_taps, log)

    def _bind(self, comparing: list[Any]) -> None:
        """Gives signals the denoiser, and the model that the training started from, where they ask for them."""
        if comparing and self.team.count > 1 and self.config.parallel.strategy != "ddp":
            raise UserError(
                f"a signal compares with the model that the training starts from, which needs it whole in each process: "
                f"--parallel.strategy must be ddp, got {self.config.parallel.strategy}."
            )
        for signal in self.signals:
            if hasattr(signal, "bind"):
                signal.bind(self.denoiser)
        for user in comparing:
            user.bind_source(self._source())

    def _weight(self, sigma: torch.Tensor, prior: int) -> torch.Tensor:
        """The loss weight of each image [B], the last `prior` of which are of the model that the training started from."""
        weight = self.weighting(sigma)
        if prior:
            own = len(sigma) - prior
            weight = torch.cat([weight[:own], self.config.prior.weight * weight[own:]])
        return weight

    def _ask_signals(
        self, seen: Denoised, g_dsm: torch.Tensor, prior: int
    ) -> tuple[torch.Tensor, dict[str, list[Pull]], dict[str, torch.Tensor]]:
        """The sum of all gradients at x0_hat, those at the taps that got any, and what the signals log.

        Signals do not see the last `prior` images.
        """
        count = len(g_dsm)
        own = slice(count - prior)
        seen, theirs = (seen[own], g_dsm[own]) if prior else (seen, g_dsm)
        log: dict[str, torch.Tensor] = {}
        at_taps: dict[str, list[Pull]] = {}
        gradient = g_dsm
        for signal in self.signals:
            contribution = signal(seen, theirs)
            log.update(contribution.log)
            if contribution.gradient is not None:
                gradient = gradient + _filled_up(contribution.gradient, count)
            for name, part in contribution.taps.items():
                at_taps.setdefault(name, []).append(Pull(_filled_up(part, count), contribution.tap_ratio))
        return gradient, at_taps, log

    def _update(self) -> dict[str, torch.Tensor]:
        """The optimiser's step; returns its scalars."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients))
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
        if self.engine.sharded or holds_shares(state):
            self._give_optimiser_its_state()
            state = filled({"learner": state}, {"learner": self.state_dict()}, self.team)["learner"]
        self.step = int(state["step"])
        for net, part in ((self.denoiser.net, state["net"]), (self.ema.module, state["ema"])):
            net.load_state_dict({**net.state_dict(), **part})
        self.optimiser.load_state_dict(state["optimiser"])
        for signal, part in zip(self.signals, state["signals"], strict=True):
            signal.load_state_dict(part)

    def _give_optimiser_its_state(self) -> None:
        """A step that changes nothing, after which there are moments to be filled."""
        rates = [group["lr"] for group in self.optimiser.param_groups]
        for group in self.optimiser.param_groups:
            group["lr"] = 0.0
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate

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
    """Learning rate of `step` (from 0): linear warm-up, then constant, or on a way that would reach 0 after the last step."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    span = max(1, config.steps - config.warmup_steps)
    done = min(1.0, max(0, step - config.warmup_steps) / span)
    left = {"constant": 1.0, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done}[config.decay]
    return config.learning_rate * warm * left
