"""Many images drawn part by part, so that a stop loses one part at most."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sadm.core.errors import InterruptedRun
from sadm.core.progress import Reporter
from sadm.core.stopping import StopRequest
from sadm.core.store import Store


def draw_in_parts(
    store: Store,
    total: int,
    size: int,
    draw: Callable[[int, int], torch.Tensor],
    stop: StopRequest,
    reporter: Reporter,
    task: str = "drawing images",
) -> torch.Tensor:
    """What `draw` gives for images 0 to `total`; parts that the store has already are read.

    Args:
        store: of the parts.
        total: how many images.
        size: of a part.
        draw: from the first image of a part, and the one after its last, to [N, …].
        stop: looked at before each part.
        reporter: told about the progress.
        task: what the progress is called.

    Raises:
        InterruptedRun: stopped; the parts are kept.
    """
    parts = []
    for first in range(0, total, size):
        if stop.requested:
            raise InterruptedRun(
                f"Stopped after {first} of {total} images, which are kept in {store.folder}. To go on, run the same command."
            )
        end = min(first + size, total)

        def part(first: int = first, end: int = end) -> torch.Tensor:
            return draw(first, end)

        parts.append(store.get(f"{first:08d}", part))
        reporter.update(task, end, total)
    return torch.cat(parts)
