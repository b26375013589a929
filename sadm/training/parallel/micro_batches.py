"""A batch over processes and over time: which images go together, and how much they count."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch

from sadm.core.errors import UserError
from sadm.data.batches import share_of
from sadm.structure import processes_here
from sadm.training.config import TrainConfig
from sadm.training.parallel.team import Team
from sadm.training.parallel_config import ParallelConfig
from sadm.training.pulls import Pull
from sadm.training.signal_config import OF_PAIRS


class MicroBatches:
    """Each of N processes has a share of the batch, and cuts it into micro-batches; those of one number go together.

    Gradients of the weights are averaged over processes, and added up over micro-batches. So that this gives the gradient of the
    mean over all B images, a mean over the n images that one process has of a micro-batch of W counts ``N n / W`` within it, and
    the micro-batch ``W / B`` of the step.

    Args:
        batch: B.
        config: into how many micro-batches.
        team: the processes.

    Raises:
        UserError: some process would have an empty micro-batch.
    """

    def __init__(self, batch: int, config: ParallelConfig, team: Team) -> None:
        self.batch, self.pieces, self.team = batch, config.accumulate, team
        if batch < self.pieces * team.count:
            raise UserError(
                f"--optimiser.batch {batch} is to be shared by {team.count} processes with {self.pieces} micro-batches each; "
                f"expected at least {self.pieces * team.count}, an image for each. Use a larger batch, fewer processes or a "
                "smaller --parallel.accumulate."
            )

    def rows(self, images: int) -> list[slice]:
        """The micro-batches of this process's `images`."""
        return [share_of(images, number, self.pieces) for number in range(self.pieces)]

    def shares(self, images: int, number: int | None) -> tuple[float, float]:
        """How much the mean over some images counts: within micro-batch `number` (None = the batch), and that of the step."""
        whole = self.batch if number is None or self.pieces == 1 else self.whole(number)
        return self.team.count * images / whole, whole / self.batch

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of the processes' scalars."""
        return processes_here().sum(value) / self.team.count

    def whole(self, number: int) -> int:
        """Images of micro-batch `number` of all processes."""
        own = (share_of(self.batch, rank, self.team.count) for rank in range(self.team.count))
        parts = (share_of(share.stop - share.start, number, self.pieces) for share in own)
        return sum(part.stop - part.start for part in parts)


def refuse_single_images(config: TrainConfig, team: Team) -> None:
    """Refuses micro-batches of one image for a signal that is about pairs of them.

    Raises:
        UserError: one holds a single image, over all processes, and the whole batch is not related.
    """
    batch, pieces = config.optimiser.batch, config.parallel.accumulate
    if pieces == 1 or config.parallel.exact or not (config.signal in OF_PAIRS or config.anchored):
        return
    cut = MicroBatches(batch, config.parallel, team)
    if min(cut.whole(number) for number in range(pieces)) < 2:
        raise UserError(
            f"--parallel.accumulate {pieces} cuts --optimiser.batch {batch} into micro-batches of one image, and signal "
            f"'{config.signal}' is about pairs. Use fewer micro-batches, a larger batch, or --parallel.exact."
        )


@dataclasses.dataclass(frozen=True)
class Asked:
    """What goes back through the network.

    Attributes:
        loss: the denoising loss, this micro-batch's part in the mean over all images, a scalar.
        at_output: gradient at x0_hat [n, C, H, W].
        at_taps: what signals ask for at tapped activations, by name.
        log: scalars that the signals log.
    """

    loss: torch.Tensor
    at_output: torch.Tensor
    at_taps: Mapping[str, Sequence[Pull]]
    log: Mapping[str, torch.Tensor]

    def __getitem__(self, rows: slice) -> Asked:
        """The gradients of some images; loss and log stay those of all."""
        at_taps = {name: [pull[rows] for pull in pulls] for name, pulls in self.at_taps.items()}
        return dataclasses.replace(self, at_output=self.at_output[rows], at_taps=at_taps)


def summed_up(asked: list[Asked]) -> dict[str, torch.Tensor]:
    """The scalars of a step: ``loss`` of all its micro-batches, and means of what signals logged in them."""
    if len(asked) == 1:
        return {"loss": asked[0].loss, **asked[0].log}
    names = dict.fromkeys(name for each in asked for name in each.log)
    logged = {
        name: torch.stack([each.log[name].float() for each in asked if name in each.log]).mean() for name in names
    }
    return {"loss": torch.stack([each.loss for each in asked]).sum(), **logged}
