"""A comparison and pictures with the shape of real ones, made from scikit-learn's digits and seeded noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from sadm.experiments.business import business_facts
from sadm.experiments.prices import BusinessConfig
from sadm.experiments.report import Pictures

SEEDS = [100, 101, 102, 103, 104]
FLOOR = {"mlp": 0.41, "pixels": 0.032}


def estimate(values: list[float]) -> dict[str, Any]:
    """Mean, an interval around it, and the values."""
    mean = float(np.mean(values))
    half = (
        2.78 * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    )  # 2.78: Student's t, 4 degrees of freedom, 95 %
    return {"mean": mean, "low": mean - half, "high": mean + half, "values": values}


def ratio_estimate(values: list[float]) -> dict[str, Any]:
    """Geometric mean of ratios with an interval."""
    logs = estimate([math.log(value) for value in values])
    return {"values": values, **{key: math.exp(logs[key]) for key in ("mean", "low", "high")}}


def arm(rng: np.random.Generator, factor: float, steps: int, cpu_seconds: float, pretraining: float) -> dict[str, Any]:
    """An arm whose FD − floor is `factor` times that of plain training, give or take."""
    fd = {
        judge: estimate([floor + factor * level * float(rng.lognormal(0, 0.08)) for _ in SEEDS])
        for (judge, floor), level in zip(FLOOR.items(), (2.7, 0.11), strict=True)
    }
    kid = {"mlp": estimate([0.021 * factor * float(rng.lognormal(0, 0.1)) for _ in SEEDS])}
    return {
        "fd": fd,
        "kid": kid,
        "cpu_seconds": cpu_seconds,
        "pretrain_cpu_seconds": pretraining,
        "steps": steps,
        "sample_ms_per_image": 1.9 + 0.02 * factor,
        "parameters": 301_834,
        "seeds": SEEDS,
        "diverged": [],
    }


def comparison(outcome: str = "better") -> dict[str, Any]:
    """A whole comparison whose numbers agree with the outcome."""
    rng = np.random.default_rng(0)
    factor = {"better": 0.78, "worse": 1.4, "undecided": 1.0, "mixed": 0.8}[outcome]
    plain = arm(rng, 1.0, 1000, 51.2, 0.0)
    arms = {"plain": plain, "sadm": arm(rng, factor, 833, 51.0, 6.1)}
    longer = {"sadm": arm(rng, factor * 0.93, 1000, 61.4, 6.1)}
    ratios = {
        "equal_cost": {"sadm": {judge: _ratios(arms["sadm"], plain, judge) for judge in FLOOR}},
        "equal_steps": {"sadm": {judge: _ratios(longer["sadm"], plain, judge) for judge in FLOOR}},
    }
    if outcome == "mixed":
        ratios["equal_cost"]["sadm"]["pixels"] = ratio_estimate([1.2, 1.25, 1.15, 1.22, 1.3])
    return {
        "title": "digits",
        "data": {
            "source": "digits",
            "train_images": 1078,
            "held_out_images": 719,
            "shape": [1, 8, 8],
            "classes": [str(digit) for digit in range(10)],
            "skipped": 0,
            "fingerprint": "ab12f0c93e5d7781",
        },
        "judges": {
            "mlp": {"title": "classifier trained on other images", "kind": "label-based", "dim": 32, "accuracy": 0.93},
            "pixels": {"title": "principal components of the pixels", "kind": "label-free", "dim": 24},
        },
        "floor": FLOOR,
        "arms": arms,
        "equal_steps": longer,
        "cost": {
            "plain": {"cpu_seconds_per_step": 0.0512},
            "sadm": {
                "cpu_seconds_per_step": 0.0549,
                "step_ratio": 1.07,
                "total_ratio": 1.2,
                "pretrain_cpu_seconds": 6.1,
                "steps_measured": 200,
                "sampling_ratio": ratio_estimate([1.04, 0.97, 1.02, 0.99, 1.01]),
            },
        },
        "ratios": ratios,
        "verdict": {"treatment": "sadm", "outcome": outcome, "sentence": "composed by the report"},
        "curves": _curves(rng),
        "protocol": {
            "arms": {"plain": "signal = none", "sadm": "signal = structure"},
            "sampler": "Heun",
            "nfe": 35,
            "guidance_scale": 1.0,
            "samples": 1200,
            "group": 240,
            "label_sampling": "training frequencies",
            "ema": "power function, width 0.1",
            "reference": "held-out images",
            "seeds": SEEDS,
            "rule": "mean log-ratio over paired seeds, 95 % interval, both judges",
        },
        "provenance": {
            "sadm": "0.1.0",
            "commit": "0123456789ab",
            "python": "3.11.7",
            "torch": "2.6.0",
            "machine": "a processor",
            "threads": 1,
            "processes": 2,
        },
        "memory_mib": 512.0,
        "minutes_total": 5.9,
    }


CLASSES = {"0": 108, "1": 5, "2": 40}
RARE_RECALL = 0.12


PRICES = BusinessConfig(
    currency="EUR", hour=2.5, volume=400, generated=1e6, miss=80, defects=5000, defect_class="1", image=3
)


def downstream(seeds: int = len(SEEDS)) -> dict[str, Any]:
    """Gains as a comparison carries them: class 1 is found more often with generated images, above all with SADM's."""
    recalls = {"plain": [0.02, 0.03, 0.01, 0.03, 0.02], "sadm": [0.06, 0.08, 0.05, 0.07, 0.07]}
    images = {"plain": [50.0, 70.0, 60.0, 55.0, 65.0], "sadm": [140.0, 160.0, 150.0, 155.0, 145.0]}

    def facts(arm: str) -> dict[str, Any]:
        worth = {"outcomes": ["gain"] * seeds, "images": estimate(images[arm][:seeds])}
        gains = {
            mix: {"accuracy": estimate([sign * value / 4 for value in recalls[arm][:seeds]])}
            for mix, sign in (("with_1x", 1), ("with_2x", 0.5), ("filled", 0.8), ("generated_alone", -9))
        }
        return {
            "gains": gains,
            "recall": {"1": estimate(recalls[arm][:seeds])},
            "worth": {"with_1x": {"accuracy": worth}},
        }

    over = [(own - base) / 4 for own, base in zip(recalls["sadm"][:seeds], recalls["plain"][:seeds], strict=True)]
    return {
        "headline": "with_1x",
        "training_images": 1078,
        "held_out_images": 239,
        "classes": {name: {"training_images": count} for name, count in CLASSES.items()},
        "real": {
            "accuracy": estimate([0.931, 0.935, 0.927]),
            "recall": {name: estimate([0.9, 0.92, 0.91]) for name in CLASSES},
        },
        "arms": {arm: facts(arm) for arm in recalls},
        "differences": {"equal_cost": {"sadm": {"with_1x": {"accuracy": estimate(over)}}}},
    }


def rich_comparison() -> dict[str, Any]:
    """A comparison with all a report can hold: a third arm, of which a training diverged, samplers, classes, shares, prices."""
    given, rng = comparison(), np.random.default_rng(2)
    plain, frozen, longer = given["arms"]["plain"], arm(rng, 0.9, 870, 50.8, 6.1), arm(rng, 0.85, 1000, 58.0, 6.1)
    longer["diverged"], longer["seeds"] = [SEEDS[-1]], SEEDS[:-1]
    given["arms"]["frozen_encoder"], given["equal_steps"]["frozen_encoder"] = frozen, longer
    given["ratios"]["equal_cost"]["frozen_encoder"] = {judge: _ratios(frozen, plain, judge) for judge in FLOOR}
    diverged = {judge: {"mean": None, "reason": "a run diverged"} for judge in FLOOR}
    given["ratios"]["equal_steps"]["frozen_encoder"] = diverged
    given["cost"]["frozen_encoder"] = {
        "cpu_seconds_per_step": 0.0533,
        "step_ratio": 1.04,
        "total_ratio": 1.17,
        "pretrain_cpu_seconds": 6.1,
        "steps_measured": 200,
    }
    curve = given["curves"]["sadm"]
    given["curves"]["frozen_encoder"] = {key: [1.1 * value for value in values] for key, values in curve.items()}
    given["protocol"]["arms"]["frozen_encoder"] = "signal = structure; structure.adversary = frozen"
    given["cost_to_plain"] = {
        "plain": {judge: _reach(1.0, 0.94, 1.0) for judge in FLOOR},
        "sadm": {"mlp": _reach(0.62, 0.55, 0.81), "pixels": {**_reach(None, None, None), "outside": "<", "limit": 0.5}},
        "frozen_encoder": {"mlp": _reach(0.9, None, None), "pixels": {"mean": None, "reason": "a run diverged"}},
    }
    given["samplers"] = {
        "5 NFE": {
            "changes": {"steps": 3},
            "nfe": dict.fromkeys(given["arms"], 5),
            "arms": {"plain": {"fd": arm(rng, 3.0, 1000, 51.2, 0.0)["fd"]}},
            "ratios": given["ratios"],
        }
    }
    given["real"] = {metric: dict.fromkeys(FLOOR, 0.93) for metric in ("precision", "recall")}
    for facts in [*given["arms"].values(), *given["equal_steps"].values()]:
        facts |= {metric: {judge: estimate([0.7, 0.74, 0.71]) for judge in FLOOR} for metric in ("precision", "recall")}
    given["per_class"] = _per_class(given)
    given["downstream"] = downstream()
    given["business"] = business_facts(given, PRICES)
    return given


def _reach(mean: float | None, low: float | None, high: float | None) -> dict[str, Any]:
    return {"mean": mean, "outside": None, "limit": None, "low": low, "high": high}


def _per_class(given: dict[str, Any]) -> dict[str, Any]:
    def scores(recall: float) -> dict[str, Any]:
        parts = {
            "fd": [3.1, 3.3, 2.9],
            "precision": [0.8, 0.82, 0.85],
            "recall": [recall, recall - 0.03, recall + 0.03],
        }
        return {metric: {judge: estimate(values) for judge in FLOOR} for metric, values in parts.items()}

    recalls = {name: RARE_RECALL if count < 10 else 0.7 for name, count in CLASSES.items()}
    return {
        "classes": {name: {"train_images": count, "reference_images": 24} for name, count in CLASSES.items()},
        "real": {
            name: {"fd": FLOOR, "precision": dict.fromkeys(FLOOR, 0.9), "recall": dict.fromkeys(FLOOR, 0.9)}
            for name in CLASSES
        },
        "arms": {arm: {name: scores(recall) for name, recall in recalls.items()} for arm in given["arms"]},
        "ratios": dict.fromkeys(CLASSES, given["ratios"]),
    }


def pictures() -> Pictures:
    """Digits as real images, noisy digits as samples; four rows of ten classes."""
    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None]  # [1797, 8, 8, 1]
    chosen = np.array([np.flatnonzero(data.target == digit)[row] for row in range(4) for digit in range(10)])
    rng = np.random.default_rng(1)
    real = images[chosen]
    plain, sadm = (_noisy(rng, images[chosen], amount) for amount in (45, 25))
    neighbours = {
        name: (samples[:8], real[:8], [round(float(d), 3) for d in rng.uniform(0.6, 2.4, 8)])
        for name, samples in (("plain", plain), ("sadm", sadm))
    }
    labels = [str(digit) for _ in range(4) for digit in range(10)]
    return Pictures({"plain": plain, "sadm": sadm}, real, labels, neighbours)


def _noisy(rng: np.random.Generator, images: np.ndarray, amount: float) -> np.ndarray:
    return np.clip(images + rng.normal(0, amount, images.shape), 0, 255).astype(np.uint8)


def _ratios(sadm: dict[str, Any], plain: dict[str, Any], judge: str) -> dict[str, Any]:
    pairs = zip(sadm["fd"][judge]["values"], plain["fd"][judge]["values"], strict=True)
    return ratio_estimate([(ours - FLOOR[judge]) / (theirs - FLOOR[judge]) for ours, theirs in pairs])


def _curves(rng: np.random.Generator) -> dict[str, dict[str, list[float]]]:
    steps = np.arange(1, 1001)

    def noisy(level: np.ndarray, spread: float) -> list[float]:
        return [float(value) for value in level * rng.lognormal(0, spread, len(level))]

    sadm = slice(0, 833)
    return {
        "plain": {"step": steps.tolist(), "loss": noisy(0.12 + 0.9 * np.exp(-steps / 90), 0.15)},
        "sadm": {
            "step": steps[sadm].tolist(),
            "loss": noisy(0.125 + 0.9 * np.exp(-steps[sadm] / 95), 0.15),
            "gap": noisy(0.03 + 0.1 * np.exp(-steps[sadm] / 200), 0.2),
            "g_dsm": noisy(0.4 + 2 * np.exp(-steps[sadm] / 150), 0.2),
            "g_structure": noisy(0.05 + 0.3 * np.exp(-steps[sadm] / 300), 0.3),
        },
    }
