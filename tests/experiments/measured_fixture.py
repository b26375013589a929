"""What a comparison measures on request, with the shape of real numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from report_fixture import SEEDS, estimate
from sadm.experiments.report import Pictures
from sadm.experiments.run_audits import Pairs

GAPS = {"distances": 0.02, "spectrum": 0.03, "mixing": 0.01, "classes": 0.004}
SPACES = ("mlp", "pixels", "patches")
CORRUPTIONS = ("clean", "noise", "blur", "contrast", "shift")
PER_RUN = 956


def around(mean: float, spread: float = 0.001) -> dict[str, Any]:
    """An estimate over the seeds with this mean."""
    steps = np.linspace(-spread, spread, len(SEEDS))
    return estimate([mean + float(step) for step in steps])


def structure_metric(arms: dict[str, float]) -> dict[str, Any]:
    """Gaps above real images' by each arm's factor of that gap; plain training's factor is 3."""
    plain = arms["plain"]

    def gaps(factor: float) -> dict[str, Any]:
        return {space: {gap: around(factor * least, 0.1 * least) for gap, least in GAPS.items()} for space in SPACES}

    def beyond(factor: float) -> dict[str, Any]:
        values = {gap: around((factor - plain) * least, 0.1 * least) for gap, least in GAPS.items()}
        return dict.fromkeys(SPACES, values)

    others = [arm for arm in arms if arm != "plain"]
    return {
        "group": 239,
        "real": {space: dict(GAPS) for space in SPACES},
        "arms": {arm: gaps(factor) for arm, factor in arms.items()},
        "equal_steps": {arm: gaps(arms[arm]) for arm in others},
        "differences": {budget: {arm: beyond(arms[arm]) for arm in others} for budget in ("equal_cost", "equal_steps")},
    }


def audit(verdicts: dict[str, str]) -> dict[str, Any]:
    """Audits whose verdicts are given by arm."""
    copies = {"copies": 31, "look": 4, "closer": 1, "clear": 0}

    def facts(verdict: str) -> dict[str, Any]:
        count = copies[verdict]
        return {
            "verdict": verdict,
            "seeds": SEEDS,
            "copies": [count, *[0] * (len(SEEDS) - 1)],
            "verdicts": [verdict] * len(SEEDS),
            "worst": {"seed": 100, "copies": count, "copy_rate": count / PER_RUN, "low": 0.0, "high": 0.047},
            "copies_p_value": 0.0002 if verdict == "copies" else 1.0,
            "p_value": 0.00003 if verdict in ("copies", "closer") else 0.74,
            "closer": around(0.53, 0.02),
        }

    return {
        "images": PER_RUN,
        "training_images": 1078,
        "held_out": {part: {"images": 239, "independent": 239} for part in ("fitting", "reference", "comparison")},
        "threshold": {"score": 0.41, "rank": 2, "units": 239, "false_alarms": 2 / 240},
        "leaked": 0,
        "level": 0.01,
        "arms": {arm: facts(verdict) for arm, verdict in verdicts.items()},
        "equal_steps": {arm: facts(verdict) for arm, verdict in verdicts.items() if arm != "plain"},
        "differences": {},
    }


def representation(arms: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy of probes; every arm but plain training is better by 2 %."""
    both = ("linear", "knn")

    def probes(value: Any) -> dict[str, Any]:
        return {probe: {name: value() for name in CORRUPTIONS} for probe in both}

    others = [arm for arm in arms if arm != "plain"]
    levels = {arm: 0.871 if arm == "plain" else 0.891 for arm in arms}
    return {
        "training_images": 1078,
        "held_out_images": 239,
        "pixels": probes(lambda: {"accuracy": 0.843, "low": 0.79, "high": 0.88}),
        "arms": {arm: probes(lambda level=level: around(level)) for arm, level in levels.items()},
        "equal_steps": {arm: probes(lambda: around(0.9)) for arm in others},
        "differences": {"equal_cost": {arm: probes(lambda: around(0.02)) for arm in others}},
    }


def pairs_of(pictures: Pictures, arm: str = "sadm", copies: int = 2) -> dict[str, Pairs]:
    """Eight pairs of an arm, the first ones copies."""
    scores = [0.03 + 0.1 * place for place in range(8)]
    generated, training = pictures.samples[arm][:8], pictures.real[:8]
    return {arm: Pairs(generated, training, scores, [place < copies for place in range(8)])}
