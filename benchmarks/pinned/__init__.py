"""Recipes as they stood when benchmarks were trained with them, so that a recipe can get better and a stored result stay true.

A benchmark that is about the packaged recipes takes those instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sadm.training.config import TrainConfig

FOLDER = Path(__file__).parent


def pinned_recipe(name: str, overrides: dict[str, Any] | None = None) -> TrainConfig:
    """A recipe of this folder, and overrides on top of it."""
    from sadm.training.config import load_train_config

    return load_train_config(config=FOLDER / f"{name}.yaml", overrides=overrides)
