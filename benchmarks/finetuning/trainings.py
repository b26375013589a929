"""From a cell of the grid to its trainings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import RUNS, relative
from benchmarks.finetuning.domains import domain
from benchmarks.finetuning.grid import BATCH, RECIPE, SEARCH_SEEDS, SOURCE_STEPS, STEPS
from benchmarks.pinned import pinned_recipe

if TYPE_CHECKING:
    from sadm.training.config import TrainConfig

NAME = "finetuning"


def source_model() -> Path:
    """The model that every fine-tuning starts from: plain, of five classes, trained with a search seed."""
    from sadm.core.progress import ConsoleReporter
    from sadm.training.run import train

    out = RUNS / NAME / "source"
    change = {
        "signal": "none",
        "seed": SEARCH_SEEDS[0],
        "data": {"source": domain("source")},
        "optimiser": {"steps": SOURCE_STEPS},
    }
    with ConsoleReporter() as reporter:
        train(pinned_recipe(RECIPE, change), out, reporter)
    return out


def cell_config(
    transfer: str, images: int, method: str, rate: float, change: dict[str, Any] | None = None
) -> TrainConfig:
    """The configuration of a fine-tuning, plain unless `change` says otherwise."""
    from sadm.core.config import merge
    from sadm.training.finetuning import finetune_config

    own = {
        "data": {"source": domain(transfer), "limit": images},
        "optimiser": {"steps": STEPS, "batch": min(BATCH, images), "learning_rate": rate},
        "log": {"samples": 0, "every": 50},
    }
    return finetune_config(relative(source_model()), method, merge(own, change or {}))
