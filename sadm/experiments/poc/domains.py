"""One domain: its images checked by `sadm prepare`, and the comparison that fits them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sadm.core.config import build_config, merge
from sadm.core.errors import UserError
from sadm.core.files import write_atomically
from sadm.core.progress import Reporter
from sadm.data.preparation.advice import Advice
from sadm.data.preparation.preparing import Preparation, Settings, prepare
from sadm.data.preparation.sheet import render_sheet
from sadm.data.preparation.verdict import UNUSABLE
from sadm.experiments.config import CompareConfig
from sadm.experiments.poc.config import PREPARED, PocConfig
from sadm.experiments.poc.plan import FIRST_SEED, groups_of
from sadm.experiments.poc.texts import reason_text
from sadm.training.advising import advice_recipe

SHEET = "contact_sheet.html"
FEWEST = 60
"""Usable images, below which too few are left to judge by."""
_JUDGED_BY = 150  # held-out images that judges should have
_MOST_HELD_OUT = 0.4
_USUAL_SHARE = Settings().held_out

Reason = dict[str, Any]
"""Why a domain can't be used: ``key`` of a sentence, and what goes into it."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found in a domain.

    Attributes:
        summary: of `sadm prepare`; None where it could not even begin.
        train: what differs from the recipe in a training's configuration; None where the domain can't be used.
        reason: why it can't.
    """

    summary: dict[str, Any] | None
    train: dict[str, Any] | None
    reason: Reason | None

    @property
    def text(self) -> str:
        """The reason, in a sentence."""
        return "" if self.reason is None else reason_text(self.reason, "en")

    @staticmethod
    def unusable(reason: Reason, summary: dict[str, Any] | None = None) -> Found:
        """A domain that is left out."""
        return Found(summary, None, reason)


def look_at(config: PocConfig, folder: Path, name: str, reporter: Reporter) -> Found:
    """Checks a domain's images as `sadm prepare` does, into the folder of the proof of concept.

    Raises:
        InterruptedRun: stopped by Ctrl-C or SIGTERM.
    """
    source, place = config.domains[name], folder / PREPARED / name
    recipes = [dataclasses.replace(advice_recipe(config.recipe, config.train), source=None)]  # for any folder
    data = config.train.data
    settings = Settings(max_megapixels=data.max_megapixels, white_level=data.white_level)
    try:
        found = prepare(source, place, settings, recipes, reporter)
        usable = found.summary["outcomes"]["usable"]
        share = held_out_share(usable)
        if found.summary["split"]["made_here"] and usable >= FEWEST and share != _USUAL_SHARE:
            found = prepare(source, place, dataclasses.replace(settings, held_out=share), recipes, reporter)
        write_atomically(place / SHEET, render_sheet(found, config.lang, settings.fit))
    except UserError as error:
        return Found.unusable({"key": "error", "text": str(error)})
    reason = _why_not(found)
    if reason is not None:
        return Found.unusable(reason, found.summary)
    return Found(found.summary, _settings(config, found.advice, place), None)


def held_out_share(usable: int) -> float:
    """Share of the images to judge by: the usual one, or more where that would be few."""
    return round(min(_MOST_HELD_OUT, max(_USUAL_SHARE, _JUDGED_BY / max(usable, 1))), 2)


def comparison(
    config: PocConfig, train: Mapping[str, Any], images: float, seeds: int, judged: int | None = None
) -> CompareConfig:
    """The comparison of one domain.

    Args:
        config: of all domains.
        train: of `Found`.
        images: that a training sees.
        seeds: paired seeds, from `FIRST_SEED` on.
        judged: held-out images that generated ones are compared with; None = not known yet.
    """
    batch = train["optimiser"]["batch"]
    steps = max(1, round(images / batch))
    usual = config.train.optimiser
    warmup = min(usual.warmup_steps, max(1, round(usual.warmup_steps * steps / usual.steps)))
    own = merge(train, {"optimiser": {"steps": steps, "warmup_steps": warmup}})
    values = {
        "train": merge(config.train.model_dump(mode="json"), own),
        "arms": config.arms,
        "seeds": list(range(FIRST_SEED, FIRST_SEED + seeds)),
        "groups": config.groups if judged is None else groups_of(judged, config.groups),
        "cost_steps": config.cost_steps,
        "jobs": config.jobs,
        "lang": config.lang,
        "business": config.business.model_dump(mode="json"),
    }
    return build_config(CompareConfig, values, "domain")


def _why_not(found: Preparation) -> Reason | None:
    summary = found.summary
    if summary["verdict"] == UNUSABLE:
        stop = next(point for point in summary["points"] if point["level"] == "stop")
        return {"key": "point", "point": stop}
    usable = summary["outcomes"]["usable"]
    if usable < FEWEST:
        return {"key": "few", "usable": usable, "images": summary["images"], "least": FEWEST}
    return None


def _settings(config: PocConfig, advice: Advice, place: Path) -> dict[str, Any]:
    data: dict[str, Any] = {
        "source": str(place),
        "resolution": advice.target.resolution,
        "fit": advice.fit,
        "balance": advice.balance,
        "augment": {"preset": advice.augment},
    }
    if advice.channels is not None:
        data["channels"] = advice.channels
    return {"data": data, "optimiser": {"batch": advice.batch}, "log": {"samples": 0}}
