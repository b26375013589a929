"""Does a model still draw what comes in? Its images against new images, beside the same against held-out ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sadm.data import ImageSet
from sadm.evaluation import GaussianFit, frechet_distance
from sadm.evaluation.coverage import NEIGHBOURS, Manifold
from sadm.evaluation.drift import LEVEL, Gaussian, Monitor, Relabelling, holm, units_of
from sadm.evaluation.kernel import kernel_distance

WORSE = 1.25
"""A distance to new images that is so many times that to held-out ones speaks for training anew; a choice."""
MOST = 1500


@dataclasses.dataclass(frozen=True)
class Fitness:
    """How near a model's images are to new images.

    Attributes:
        judges: by name: ``title``, ``decides``; ``fd``, ``kid`` and ``covered`` (share of images within the manifold of the
            model's), each ``new``, ``held_out`` and, but for the last, ``floor`` (training against held-out images); ``times``,
            the quotient of both FDs; ``p_value`` and ``adjusted`` of no farther from new than from held-out images.
        images: in each set of a distance.
    """

    judges: dict[str, dict[str, Any]]
    images: int

    @property
    def worse(self) -> bool:
        """Whether all deciding judges say that the model is farther from new images, and by how much that it matters."""
        deciding = [row for row in self.judges.values() if row["decides"]]
        return all(row["adjusted"] < LEVEL and row["times"] >= WORSE for row in deciding)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"worse": self.worse, "images": self.images, "judges": self.judges}


def fitness(generated: ImageSet, new: ImageSet, monitor: Monitor, seed: int) -> Fitness:
    """Measures.

    Args:
        generated: images of the model.
        new: new images.
        monitor: with judges, training and held-out images.
        seed: of the draws.
    """
    draws = np.random.default_rng(seed)
    fresh = monitor.fresh_images
    chosen = draws.permutation(len(new))[:MOST]
    units = units_of(new)[chosen]
    relabelled = Relabelling(units, units_of(fresh) + units.max() + 1, seed)
    count = min(len(chosen), len(fresh), len(generated), len(monitor.gallery))
    rows: dict[str, dict[str, Any]] = {}
    for judge in monitor.judges:
        features = {
            "generated": judge.features(generated),
            "new": judge.features(new)[chosen],
            "held_out": judge.features(fresh),
            "training": judge.features(monitor.gallery),
        }
        rows[judge.name] = {"title": judge.title, "decides": judge.decides} | _distances(features, count, draws)
        rows[judge.name] |= _farther(features, relabelled)
    adjusted = holm({name: row["p_value"] for name, row in rows.items()})
    return Fitness({name: row | {"adjusted": adjusted[name]} for name, row in rows.items()}, count)


def _distances(features: dict[str, np.ndarray], count: int, draws: np.random.Generator) -> dict[str, Any]:
    """All at the same number of images, on which a Fréchet distance depends."""
    some = {name: values[draws.permutation(len(values))[:count]] for name, values in features.items()}
    pairs = {"new": ("generated", "new"), "held_out": ("generated", "held_out"), "floor": ("training", "held_out")}
    fits = {name: GaussianFit.of(values) for name, values in some.items()}
    fd = {name: frechet_distance(fits[a], fits[b]) for name, (a, b) in pairs.items()}
    found: dict[str, Any] = {
        "fd": fd,
        "times": fd["new"] / fd["held_out"] if fd["held_out"] > 0 else 1.0,
        "kid": {name: kernel_distance(some[a], some[b]) for name, (a, b) in pairs.items()},
    }
    if len(features["generated"]) > NEIGHBOURS:
        manifold = Manifold(features["generated"][:MOST])
        found["covered"] = {name: manifold.share_inside(features[name]) for name in ("new", "held_out")}
    return found


def _farther(features: dict[str, np.ndarray], relabelled: Relabelling) -> dict[str, float]:
    real, generated = np.concatenate([features["new"], features["held_out"]]), features["generated"][:MOST]
    kernel = Gaussian.of(np.concatenate([real, generated]))
    outcome = relabelled.farther(kernel(real, real), kernel(real, generated).mean(1))
    return {"farther": outcome.value, "p_value": outcome.p_value}
