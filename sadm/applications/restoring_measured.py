"""How well restoration does on sound images that are damaged on purpose, beside filters without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sadm.applications.filters import filters_for
from sadm.applications.proposals import Proposal, labels_of, proposals_for, refuse_idle_guidance, rows_of
from sadm.applications.restoring import UNKNOWN, Restorer, damage, spread_of
from sadm.core.intervals import mean_interval
from sadm.core.progress import Reporter, Silent
from sadm.core.seeds import generator
from sadm.data import ImageSet, to_floats, to_uint8
from sadm.evaluation.fidelity import feature_distance, line_accuracy, psnr, ssim

MEASURES = {"psnr": psnr, "ssim": ssim, "features": feature_distance, "lines": line_accuracy}
DISTANCES = ("features",)
"""Measures of which less is better."""
ONE, MEAN = "sadm, one proposal", "sadm, mean"
_BEST_PSNR = 60.0  # decibels; what is equal would be infinitely good, and bytes can't show better


def measure_restoring(
    restorer: Restorer,
    sound: ImageSet,
    damaged: torch.Tensor | None = None,
    proposals: int = 4,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Damages images, restores them, and compares with what they were by `MEASURES`.

    Args:
        restorer: its injury's masks, if it has any, are those of these images.
        sound: images that the model has not learned from, in its shape.
        damaged: what they look like damaged [N, c, h, w] in [-1, 1]; None = as the injury has it. Needed where that is unknown.
        proposals: for each image; their mean (`Restorer.average`) has the smaller error, one of them is the likelier image.
        seed: of noise and proposals.
        reporter: told about progress.

    Returns:
        For JSON: ``methods``, by name and measure the mean over images with its interval and values; ``gains``, the same of what
        the mean is better by than each filter, image by image (above 0 = better, also for a distance);
        ``uncertainty``, the correlation over pixels between the spread of the proposals and the mean's error.

    Raises:
        ValueError: an unknown injury without damaged images.
        UserError: guidance without a class.
    """
    injury, model = restorer.injury, restorer.model
    images = to_floats(sound.images)
    if damaged is None:
        if injury.kind == UNKNOWN:
            raise ValueError("give what the images look like damaged: unknown damage can't be done to them here")
        source = generator(seed, "noise of measuring")
        damaged = damage(images, injury, lambda shape: torch.randn(*shape, generator=source))
    labels, wanted = labels_of(model, sound, None), proposals_for(len(sound), proposals, seed)
    refuse_idle_guidance(model, labels)
    drawn = _drawn(restorer, damaged, wanted, labels, reporter or Silent()).unflatten(0, (len(sound), proposals))
    found = {name: made(damaged, injury, model.spec.shape) for name, made in filters_for(injury).items()}
    filters = list(found)
    first = [proposal.seed for proposal in wanted[::proposals]]
    average = restorer.average(damaged, drawn, first, labels)
    found |= {ONE: drawn[:, 0], MEAN: average}
    scores = {name: _scores(restored, images) for name, restored in found.items()}
    gains = {
        name: {
            measure: _interval(_better_by(measure, scores[MEAN][measure], scores[name][measure]))
            for measure in MEASURES
        }
        for name in filters
    }
    methods = {name: {measure: _interval(values) for measure, values in of.items()} for name, of in scores.items()}
    return {
        "damage": injury.as_dict(),
        "images": len(sound),
        "proposals": proposals,
        "methods": methods,
        "gains": gains,
        "uncertainty": _honesty(drawn, average, images) if proposals > 1 else None,
    }


def _drawn(
    restorer: Restorer,
    damaged: torch.Tensor,
    wanted: Sequence[Proposal],
    labels: torch.Tensor | None,
    reporter: Reporter,
) -> torch.Tensor:
    """The proposals for damaged images [N, c, h, w], one after the other [len(wanted), C, H, W]."""
    parts = []
    for start in range(0, len(wanted), restorer.settings.batch):
        some = wanted[start : start + restorer.settings.batch]
        own = None if labels is None else rows_of(labels, some)
        rows, seeds = [proposal.row for proposal in some], [proposal.seed for proposal in some]
        parts.append(restorer(rows_of(damaged, some), rows, seeds, own))
        reporter.update(f"restoring ({restorer.injury.kind})", start + len(some), len(wanted))
    return torch.cat(parts)


def _scores(restored: torch.Tensor, sound: torch.Tensor) -> dict[str, list[float]]:
    """Of each image, as bytes would hold it."""
    restored = to_floats(to_uint8(restored))
    found = {name: measure(restored, sound).tolist() for name, measure in MEASURES.items()}
    return found | {"psnr": [min(value, _BEST_PSNR) for value in found["psnr"]]}


def _better_by(measure: str, ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    sign = -1 if measure in DISTANCES else 1
    return [sign * (a - b) for a, b in zip(ours, theirs, strict=True)]


def _interval(values: Sequence[float]) -> dict[str, Any]:
    interval = mean_interval([round(value, 6) for value in values])
    return interval.as_dict()


def _honesty(drawn: torch.Tensor, average: torch.Tensor, sound: torch.Tensor) -> float | None:
    """Whether the mean's errors are where the map says so; None where either is the same everywhere."""
    spread = torch.cat([spread_of(proposals) for proposals in drawn]).flatten()
    error = (average - sound).abs().amax(1).flatten()
    both = torch.corrcoef(torch.stack([spread, error]).double())[0, 1]
    return round(float(both), 4) if bool(torch.isfinite(both)) else None
