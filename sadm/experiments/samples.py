"""The images of a report: samples of every arm from the same noise, real images beside them, nearest training images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from sadm.data import ImageSet, Split, to_uint8
from sadm.evaluation import nearest_neighbours
from sadm.experiments.config import CompareConfig
from sadm.experiments.plan import GRID_IMAGES
from sadm.experiments.report import Pictures
from sadm.experiments.run_audits import read_pairs
from sadm.experiments.runs import Runs
from sadm.training.grid import grid_labels
from sadm.training.model_folder import load_model

NEIGHBOURS = 8


def sample_pictures(config: CompareConfig, folder: Path, arms: Mapping[str, Runs], split: Split) -> Pictures:
    """Draws samples of the first run of each arm that did not diverge; an arm without one is left out."""
    training = split.train.floats()
    labels = grid_labels(split.train.num_classes, GRID_IMAGES)
    samples, neighbours, pairs = {}, {}, {}
    for arm, runs in arms.items():
        job = runs.first_finished()
        if job is None:
            continue
        images = load_model(job.folder(folder)).sample_for_judging(
            GRID_IMAGES, config.seeds[0], labels, config.arm_config(arm, job.seed).sampling
        )
        samples[arm] = _pixels(images)
        if config.audit:
            pairs[arm] = read_pairs(job.folder(folder), split.train)
            continue
        index, distance = nearest_neighbours(images[:NEIGHBOURS], training)
        neighbours[arm] = (samples[arm][:NEIGHBOURS], _pixels(training[index]), distance.tolist())
    shown = None if labels is None else [split.train.class_names[int(label)] for label in labels]
    return Pictures(samples, _pixels(_real_like(split.held_out, labels)), shown, neighbours, pairs)


def _real_like(held_out: ImageSet, labels: torch.Tensor | None) -> torch.Tensor:
    """Held-out images of the same classes in the same order; where a class has no more, its place is left grey."""
    count = min(GRID_IMAGES, len(held_out))
    if labels is None or held_out.labels is None:
        return held_out.floats(torch.arange(count))
    waiting = {int(c): (held_out.labels == c).nonzero().flatten().tolist() for c in labels.unique()}
    chosen = [waiting[int(c)].pop(0) if waiting[int(c)] else None for c in labels]
    known = torch.tensor([index is not None for index in chosen])
    real = torch.zeros(len(chosen), *held_out.shape)  # [n, C, H, W]
    real[known] = held_out.floats(torch.tensor([index for index in chosen if index is not None], dtype=torch.int64))
    return real


def _pixels(images: torch.Tensor) -> np.ndarray:
    return to_uint8(images).permute(0, 2, 3, 1).numpy()
