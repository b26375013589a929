"""The game itself: who takes part, how strongly, and for how long."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from sadm.structure.balance import IMAGE, Ratio, check_balance, coefficients_of_norms, norms, ratios_at
from sadm.structure.checks import check_batch, check_companions, check_weight
from sadm.structure.errors import StructureError
from sadm.structure.gap import Gap
from sadm.structure.noise_levels import Choice, noisiest, resolve_choice, wiener_weight
from sadm.structure.play import Play
from sadm.structure.players.adversaries import ASCENT_RULE, AscendingDiscriminator, FrozenDiscriminator
from sadm.structure.players.classifier import CLASSIFIER_RULE, GROUP, ClassifyingDiscriminator
from sadm.structure.players.discriminator import FREEZE, ROLL_BACK, Measured, StructureDiscriminator, all_finite
from sadm.structure.players.updates import UpdateRule
from sadm.structure.processes import processes_here
from sadm.structure.relations import Relation
from sadm.structure.schedule import ALWAYS, Schedule
from sadm.structure.surrogate import gradient_of_loss, pull_back_to
from sadm.structure.watchdog import Event, Probed, Reading, Watchdog

ADVERSARIES = ("ascend", "classify", "frozen")


class StructureGame:
    """Structure-guided adversarial training as one added line in any loop.

    The gradient of the loss at the network's output is all that is taken from it, so gradient scaling, accumulation and
    accelerate go on as before. The game keeps its own optimiser; do not hand the encoder to yours.

    Args:
        encoder: images [B, C, H, W] to embeddings [B, d] (or see `sadm.structure.parts`); pre-train it on the training
            images.
        relation: a name in `RELATIONS`, or a callable (see `sadm.structure.relations`).
        penalty: a name in `PENALTIES`, or a callable (see `sadm.structure.gap`); ``classify`` does not use it.
        adversary: ``ascend`` (the encoder plays against the denoiser), ``classify`` (a classifier of relation matrices does)
            or ``frozen`` (nobody does).
        learning_rate: of the adversary; None = 2e-5 for ``ascend``, 1e-3 for ``classify``.
        pull: of the adversary towards its starting weights.
        r1: penalty on the adversary's gradient at real data; see `AscendingDiscriminator` and `ClassifyingDiscriminator`.
        spectral_bound: on the adversary's weights, relative to their start, >= 1; see `SpectralBound`. None = no bound.
        update_every: the adversary learns in every k-th play only.
        group: images in one matrix of ``classify``.
        classifier: of ``classify``; None = a new `RelationClassifier`.
        seed: of what ``classify`` draws.
        ratio: norm of the structure gradient over that of the denoising gradient, per image, in [0, 1): one for all, or a
            callable from noise levels [B] to ratios [B], such as `falling`.
        balance: ``image`` (each image is held to its ratio) or ``batch`` (all together are, and the bound on the shift of each
            x0_hat does not hold).
        k_max: bound on the balance coefficients; 1 = clip only, inf = normalise.
        fraction: share of the batch that takes part, in (0, 1].
        choose: which images these are: a name in `CHOICES`, or a callable.
        noise_weight: noise levels [B] to weights [B] of those images in the gap; see `wiener_weight`.
        every: play in every k-th step only; the others cost nothing.
        memory: past images that join the relation; see `Memory`.
        schedule: warm-up and end.
        watchdog: one of your own, True for one with its defaults, or None for none. Without it, a gap that is not finite is an
            error.

    Attributes:
        discriminator: the players' common ground.
        watchdog: with its `events`; None = off.
        step: steps so far, those at rest included.
        last: the latest play; None while the game rests.

    Raises:
        StructureError: a value out of range, or an encoder that can't be used.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        relation: str | Relation = "cosine",
        penalty: str | Gap = "squared",
        adversary: str = "ascend",
        learning_rate: float | None = None,
        pull: float = 0.0,
        r1: float = 0.0,
        spectral_bound: float | None = None,
        update_every: int = 1,
        group: int = GROUP,
        classifier: nn.Module | None = None,
        seed: int = 0,
        ratio: Ratio = 0.5,
        balance: str = IMAGE,
        k_max: float = math.inf,
        fraction: float = 1 / 3,
        choose: str | Choice = noisiest,
        noise_weight: Callable[[torch.Tensor], torch.Tensor] = wiener_weight,
        every: int = 1,
        memory: int = 0,
        schedule: Schedule = ALWAYS,
        watchdog: Watchdog | bool | None = True,
    ) -> None:
        if not callable(ratio):
            ratios_at(ratio, torch.empty(0))
        if not 0 < fraction <= 1:
            raise StructureError(f"fraction must lie in (0, 1], got {fraction}")
        check_balance(balance)
        if not k_max > 0:
            raise StructureError(f"k_max must be positive, got {k_max}")
        if not isinstance(every, int) or every < 1:
            raise StructureError(f"every must be a whole number of steps, at least 1, got {every}")
        if adversary not in ADVERSARIES:
            raise StructureError(f"unknown adversary {adversary!r}; expected one of {', '.join(ADVERSARIES)}")
        if adversary == "frozen":
            learns: dict[str, bool] = {"learning_rate": learning_rate is not None, "pull": pull != 0, "r1": r1 != 0}
            learns |= {"spectral_bound": spectral_bound is not None, "update_every": update_every != 1}
            _refuse_idle(adversary, learns)
        if adversary != "classify":
            _refuse_idle(adversary, {"group": group != GROUP, "classifier": classifier is not None})
        else:
            _refuse_idle(adversary, {"penalty": penalty != "squared"})
        if learning_rate is None:
            learning_rate = (CLASSIFIER_RULE if adversary == "classify" else ASCENT_RULE).learning_rate
        rule = UpdateRule(learning_rate, pull, r1, spectral_bound, update_every)
        self.discriminator: StructureDiscriminator
        if adversary == "ascend":
            self.discriminator = AscendingDiscriminator(encoder, relation, penalty, memory, rule)
        elif adversary == "classify":
            self.discriminator = ClassifyingDiscriminator(encoder, relation, memory, rule, group, classifier, seed)
        else:
            self.discriminator = FrozenDiscriminator(encoder, relation, penalty, memory)
        self.ratio, self.balance, self.k_max = ratio, balance, k_max
        self.fraction, self.choose = fraction, resolve_choice(choose)
        self.noise_weight, self.every, self.schedule = noise_weight, every, schedule
        self.watchdog = Watchdog() if watchdog is True else watchdog or None
        if self.watchdog is not None:
            self.watchdog.attach(self.discriminator.ladder)
        self.step = 0
        self.last: Play | None = None

    @property
    def resting(self) -> bool:
        """Whether the game rests in this step: outside its schedule, between plays, or ended by the watchdog."""
        ended = self.watchdog is not None and self.watchdog.ended
        return ended or self.schedule.strength(self.step, self.every) == 0

    def rest(self) -> None:
        """Lets a step pass without a play."""
        self.step += 1
        self.last = None

    def __call__(
        self,
        loss: torch.Tensor,
        x0: torch.Tensor,
        x0_hat: torch.Tensor,
        sigma: torch.Tensor,
        output: torch.Tensor | None = None,
        *,
        target: torch.Tensor | None = None,
        index: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Plays one step and returns what to add to the loss: ``sum_i <k_i g_gap_i (detached), x0_hat_i>``.

        The value of that term means nothing; its gradient does. `last` holds the step's measurements.

        Args:
            loss: the denoising loss, a scalar in the graph of `output`.
            x0: clean images [B, C, H, W].
            x0_hat: their estimates [B, C, H, W], in the network's graph.
            sigma: noise levels [B] in [0, inf] (for another process: anything that orders images by noise, in units of sigma).
            output: the network's raw output [B, ...] when the loss is computed from that instead of from x0_hat, as in
                eps- or v-prediction; gradients are then balanced there.
            target: see `play`.
            index: see `play`.

        Returns:
            A scalar; zero without a graph when the game rests.

        Raises:
            StructureError: what `play` refuses, or tensors that do not hang together in one graph.
        """
        if self.resting:
            self.rest()
            return loss.new_zeros(())
        place = x0_hat if output is None else output
        g_dsm = gradient_of_loss(loss, x0_hat, place, "x0_hat" if output is None else "output")
        pull_back = None if output is None else pull_back_to(x0_hat, output)
        play = self.play(x0, x0_hat.detach(), sigma, g_dsm, pull_back, target=target, index=index)
        return (play.gradient * x0_hat).sum()

    def play(
        self,
        x0: torch.Tensor,
        x0_hat: torch.Tensor,
        sigma: torch.Tensor,
        g_dsm: torch.Tensor,
        pull_back: Callable[[torch.Tensor], torch.Tensor] | None = None,
        *,
        target: torch.Tensor | None = None,
        index: torch.Tensor | None = None,
    ) -> Play:
        """Plays one step from tensors alone: both players' gradients from one encoder pass, then the adversary's step.

        It plays whenever it is called; ask `resting` first.

        Args:
            x0: clean images [B, C, H, W].
            x0_hat: estimates [B, C, H, W], detached.
            sigma: noise levels [B] in [0, inf].
            g_dsm: gradient of the denoising loss at x0_hat [B, C, H, W], or at the place that `pull_back` leads to.
            pull_back: takes a gradient at x0_hat to the place of `g_dsm`, where the norms are compared.
            target: affinities [B, B] that take the place of the real images' relation (see `label_affinity`).
            index: of each image in the training set [B], integers: a frozen encoder then embeds each real image once. Leave it
                out with augmentation.

        Raises:
            StructureError: fewer than 2 images, shapes that do not fit, NaN or infinity; no weight has changed then. A gap
                that is not finite is one only without a watchdog.
        """
        part = processes_here().part(len(x0), x0.device)
        check_batch(x0, x0_hat, sigma, g_dsm, part)
        check_companions(target, index, len(x0), part)
        of_all = part.rows(sigma)
        places = self.choose(of_all, self.fraction)  # [m], in the batch of all processes
        levels = of_all[places]
        seats, chosen = part.chosen(places)  # [n], here
        weight, ratio = self.noise_weight(levels), self._ratio(levels)
        check_weight(weight, levels)
        shown = seats.shown(chosen)
        measured = self.discriminator.gap_and_gradient(
            x0[shown],
            x0_hat[shown],
            weight,
            target=None if target is None else _of(_of(target, places).mT, places).mT,
            index=None if index is None else _of(index, shown),
            probe=self.watchdog is not None and self.watchdog.wants_probe(len(places)),
            part=seats,
        )
        dtype = torch.promote_types(measured.gradient.dtype, torch.float32)
        full = torch.zeros_like(x0_hat, dtype=dtype)  # [B, C, H, W]
        if measured.problem is None:
            full.index_copy_(0, chosen, measured.gradient.to(dtype))
        moved = full if pull_back is None else pull_back(full)
        if g_dsm.shape != moved.shape:
            raise StructureError(f"expected g_dsm of shape {tuple(moved.shape)}, got {tuple(g_dsm.shape)}")
        lost = part.processes.highest(int(not all_finite(moved)), x0.device)
        problem = measured.problem or ("its gradient at the output" if lost else None)
        if problem is not None:
            return self._give_up(problem, full, len(places))
        size_dsm, size_gap = (seats.rows(norms(g[chosen])) / part.processes.count for g in (g_dsm, moved))  # [m]
        k = coefficients_of_norms(size_dsm.to(dtype), size_gap.to(dtype), ratio, self.k_max, self.balance)  # [m]
        full[chosen] *= seats.own(k).reshape(-1, *[1] * (x0_hat.ndim - 1)).to(dtype)
        self.discriminator.learn()
        self.last = Play.of(full, measured, k, size_dsm, size_gap, ratio)
        if self.watchdog is not None:
            self._act(self.watchdog.observe(_reading(self.step, measured, self.last)))
        self.step += 1
        return self.last

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on: the step, the discriminator with its memory, and the watchdog."""
        return {
            "step": self.step,
            "discriminator": self.discriminator.state_dict(),
            "watchdog": None if self.watchdog is None else self.watchdog.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.step = int(state["step"])
        self.discriminator.load_state_dict(state["discriminator"])
        if self.watchdog is not None and state["watchdog"] is not None:
            self.watchdog.load_state_dict(state["watchdog"])

    def _ratio(self, levels: torch.Tensor) -> float | torch.Tensor:
        scale = 1.0 if self.watchdog is None else self.watchdog.ratio_scale
        return ratios_at(self.ratio, levels) * (self.schedule.strength(self.step) * scale)

    def _give_up(self, problem: str, full: torch.Tensor, images: int) -> Play:
        if self.watchdog is None:
            raise StructureError(
                f"{problem} holds NaN or infinite values; the game stops before they reach the weights"
            )
        self._act(self.watchdog.skip(self.step, problem, self.discriminator.healthy()))
        self.step += 1
        self.last = Play.given_up(full, images)
        return self.last

    def _act(self, event: Event | None) -> None:
        if event is not None and event.action == FREEZE:
            self.discriminator.freeze()
        elif event is not None and event.action == ROLL_BACK:
            self.discriminator.roll_back()


def _reading(step: int, measured: Measured, play: Play) -> Reading:
    probe = measured.probe
    probed = () if probe is None else (probe.gap, probe.gap_start, probe.moments_start)
    own = (measured.moments, play.gap, play.g_dsm, measured.sensitivity)
    numbers = torch.hstack((*own, *probed)).tolist()  # the device is asked once
    return Reading(
        step=step,
        images=len(play.k),
        gap=numbers[6],
        g_dsm=numbers[7],
        sensitivity=numbers[8],
        moments=numbers[:6],
        probed=None if probe is None else Probed(numbers[9], numbers[10], numbers[11:]),
    )


def _refuse_idle(adversary: str, given: Mapping[str, bool]) -> None:
    """Refuses options that mean nothing with this adversary: who compares adversaries by them would compare equal ones."""
    names = [name for name, there in given.items() if there]
    if names:
        raise StructureError(f"{' and '.join(names)} would change nothing with adversary {adversary!r}; leave it out")


def _of(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return values[chosen.to(values.device)]
