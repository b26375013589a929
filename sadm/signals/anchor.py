"""An anchor against forgetting: the images of a batch stay arranged as the model that the training started from arranges them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from sadm.core.errors import UserError
from sadm.diffusion import Denoised
from sadm.signals.signal import SignalStep
from sadm.signals.source import Source
from sadm.signals.taps import Taps, tapped
from sadm.structure import (
    RELATIONS,
    Part,
    Schedule,
    StructureError,
    hidden_gap,
    noisiest,
    parts_gap,
    processes_here,
)

PLACES = ("hidden", "output", "both")


class AnchorSignal:
    """Adds ``weight * gap`` between the relations of a batch in the network in training and in the one that it started from.

    Both networks see the same x_t, sigma and conditioning. What is related is a hidden activation, the estimates x0_hat, or both:

    - ``softmax``: for each image, its cosines to all others as a distribution; the mean Kullback-Leibler divergence of the
      network's from the source's. This is cross-domain correspondence (Ojha et al. 2021, arXiv 2104.06820, equations 2 and 3, for
      GANs), which Zhu et al. 2022 (arXiv 2211.03264) have carried over to x0_hat of a diffusion model.
    - ``cosine``, ``euclidean``, ``rbf``: the squared difference of these relations, as in `structure_gap`.
    - ``tokens``: that of the cosines between all tokens (or places of a map) of all images, as in `hidden_gap`; of x0_hat, that
      of images.

    An image's vector is its whole activation. Nothing is balanced: the weight defines the objective, and there is nobody who
    plays. The source runs forward once for the images that take part, without gradients, and belongs to no checkpoint. Logs
    ``anchor``, the gap; nothing while the signal rests.

    Args:
        tap: name of the network's module whose output is related; both networks have it.
        place: 'hidden', 'output' (x0_hat) or 'both'.
        relation: see above.
        weight: factor on the gap, >= 0.
        fraction: share of the batch, its noisiest images, that takes part, in (0, 1].
        schedule: warm-up and end of the weight; None = always.
        every: take part in every k-th step only; 1 = in all.

    Raises:
        UserError: a negative weight, or an unknown place or relation.
    """

    def __init__(
        self,
        tap: str,
        weight: float,
        place: str = "hidden",
        relation: str = "softmax",
        fraction: float = 1.0,
        schedule: Schedule | None = None,
        every: int = 1,
    ) -> None:
        if not weight >= 0:
            raise UserError(f"signal 'anchor' needs a weight >= 0, got {weight}.")
        for what, given, known in (("place", place, PLACES), ("relation", relation, ("softmax", "tokens", *RELATIONS))):
            if given not in known:
                raise UserError(f"signal 'anchor' has no {what} '{given}'; there are {', '.join(known)}.")
        self.taps = () if place == "output" else (tap,)
        self.output, self.relation = place != "hidden", relation
        self.weight, self.fraction, self.schedule, self.every = weight, fraction, schedule or Schedule(), every
        self.step = 0
        self.source: Source | None = None

    def bind_source(self, source: Source) -> None:
        """Takes the model that the training started from, which this signal runs.

        Raises:
            UserError: it has no such module.
        """
        self.source, self.recorder = source, Taps(source.denoiser.net, self.taps)

    def __call__(self, denoised: Denoised, g_dsm: torch.Tensor) -> SignalStep:
        strength = self.weight * self.schedule.strength(self.step, self.every)
        self.step += 1
        if strength == 0:
            return SignalStep(None, {})
        part = processes_here().part(len(denoised.x0), denoised.x0.device)
        seats, chosen = part.chosen(noisiest(part.rows(denoised.sigma), self.fraction))  # [n], here
        theirs = self._of_source(denoised, chosen)
        whole = [*(tapped(denoised, tap) for tap in self.taps), *([denoised.x0_hat] if self.output else [])]
        leaves = [_at_least_single(tensor[chosen]).requires_grad_() for tensor in whole]  # [n, …]
        # Relations lose their digits in half precision, so autocast stops at this door.
        try:
            with torch.enable_grad(), torch.autocast(denoised.x0.device.type, enabled=False):
                hidden = [True] * len(self.taps) + [False] * self.output
                gap = torch.stack([self._gap(*pair, seats) for pair in zip(theirs, leaves, hidden, strict=True)]).sum()
                gradients = torch.autograd.grad(gap, leaves)
        except StructureError as error:
            raise UserError(f"signal 'anchor' stopped at step {self.step - 1}: {error}.") from error
        full = [
            torch.zeros_like(tensor).index_copy_(0, chosen, (strength * own).to(tensor.dtype))
            for tensor, own in zip(whole, gradients, strict=True)
        ]
        at_output = full.pop() if self.output else None
        return SignalStep(at_output, {"anchor": gap.detach()}, dict(zip(self.taps, full, strict=True)))

    @torch.no_grad()
    def _of_source(self, denoised: Denoised, chosen: torch.Tensor) -> list[torch.Tensor]:
        """What the source makes of the chosen images: its activations, and its x0_hat where that is related."""
        if self.source is None:
            raise ValueError("this signal compares with the model that the training started from: bind_source first")
        shown = Part.shown(chosen)
        cond = self.source.cond(denoised.cond[shown])
        with self.recorder.recording() as recorded:
            x0_hat = self.source.denoiser(denoised.x_t[shown], denoised.sigma[shown], cond)
        parts = [*(recorded[tap] for tap in self.taps), *([x0_hat] if self.output else [])]
        return [_at_least_single(part[: len(chosen)]) for part in parts]

    def _gap(self, source: torch.Tensor, own: torch.Tensor, hidden: bool, seats: Part) -> torch.Tensor:
        if self.relation == "tokens" and hidden and source.ndim > 2:
            theirs, ours = (part.flatten(2).mT if part.ndim == 4 else part for part in (source, own))
            return hidden_gap(theirs, ours, seats.processes)
        vectors = seats.rows(source.flatten(1)), seats.rows(own.flatten(1))  # [m, d] each, of all processes
        if self.relation == "softmax":
            return parts_gap(*vectors, RELATIONS["cosine"], penalty=row_divergence)
        return parts_gap(*vectors, RELATIONS["cosine" if self.relation == "tokens" else self.relation])

    def state_dict(self) -> dict[str, Any]:
        """The step; the source is made anew from the model that the training starts from."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.step = int(state["step"])


def row_divergence(relation: torch.Tensor, relation_hat: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``mean_i KL(softmax_j R_ij || softmax_j R_hat_ij)`` over j != i, a penalty for `structure_gap` (Ojha et al. 2021, eq. 3).

    Args:
        relation: of the source [B, B].
        relation_hat: of the network in training [B, B].
        weight: of each image [B], of its row in the mean.

    Raises:
        StructureError: fewer than 3 images, whose rows are all alike.
    """
    count = len(weight)
    if count < 3:
        raise StructureError(
            f"distributions over other images need at least 3 images, got {count}. Use a larger batch or fraction"
        )
    others = ~torch.eye(count, dtype=torch.bool, device=relation.device)
    log_p, log_q = (rows[others].view(count, -1).log_softmax(1) for rows in (relation, relation_hat))  # [B, B - 1]
    divergence = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)  # [B]
    return (weight * divergence).sum() / weight.sum().clamp_min(torch.finfo(divergence.dtype).tiny)


def _at_least_single(part: torch.Tensor) -> torch.Tensor:
    return part.detach().to(torch.promote_types(part.dtype, torch.float32))
