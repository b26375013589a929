"""Downstream gain and representation on the page: what classifiers get from an arm's images, and from its features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sadm.experiments.business import gain_side
from sadm.experiments.config import CONTROL
from sadm.experiments.report.facts import Regime, with_interval
from sadm.experiments.report.formatting import DASH, bounds, finite, number, points, share
from sadm.experiments.report.messages import texts
from sadm.experiments.report.naming import arm_in_text, arm_name, part, treatment_of
from sadm.experiments.report.verdict import range_text

PROBES = ("linear", "knn")
MOST_CLASSES = 20
Cell = tuple[str, str]


def gain(comparison: Mapping[str, Any], found: Sequence[Regime], lang: str) -> dict[str, Any] | None:
    """Accuracy without and with generated images, gains by mix and by class; None where it was not measured."""
    measured = part(comparison, "downstream")
    shown = [r for r in found if r.budget == "equal_cost" and part(measured, "arms", r.arm, "gains")]
    mix = measured.get("headline")
    if not shown or mix is None:
        return None
    return {
        "sentence": gain_sentence(comparison, treatment_of(comparison), lang),
        "arms": [(regime.colour, arm_name(regime.arm, lang)) for regime in shown],
        "rows": [(regime, _gain_cells(measured, regime, mix, lang)) for regime in shown],
        "real": share(part(measured, "real", "accuracy").get("mean")),
        "mixes": _mixes(measured, shown, lang),
        "classes": _classes(measured, shown, mix, lang),
        "more": max(0, len(part(measured, "classes")) - MOST_CLASSES),
    }


def gain_sentence(comparison: Mapping[str, Any], arm: str, lang: str) -> str:
    """What an arm's images, as many as there are real ones, change; empty where it was not measured."""
    message, measured = texts(lang), part(comparison, "downstream")
    found, real = (
        part(measured, "arms", arm, "gains", measured.get("headline") or "", "accuracy"),
        part(measured, "real"),
    )
    base, mean = finite(part(real, "accuracy").get("mean")), finite(found.get("mean"))
    if base is None or mean is None:
        return ""
    ends = bounds(found)
    return message["gain_sentence"].format(
        arm=arm_in_text(arm, lang),
        points=points(mean),
        interval=range_text(points(ends[0]), points(ends[1]), lang) if ends else message["money_no_interval"],
        without=share(base),
        beside=share(base + mean),
        real=number(measured.get("training_images")),
        reading=message[f"gain_{gain_side(comparison, arm)}"],
    )


def representation(comparison: Mapping[str, Any], found: Sequence[Regime], lang: str) -> dict[str, Any] | None:
    """Accuracy of probes by corruption, on pixels and on every arm's features; None where it was not measured."""
    measured = part(comparison, "representation")
    shown = [r for r in found if r.budget == "equal_cost" and part(measured, "arms", r.arm)]
    if not shown:
        return None
    groups = []
    for probe in (probe for probe in PROBES if part(measured, "pixels", probe)):
        rows = []
        for corruption, pixels in part(measured, "pixels", probe).items():
            cells: list[Cell] = [(share(part(pixels).get("accuracy")), "")]
            for regime in shown:
                own = part(measured, "arms", regime.arm, probe, corruption)
                beyond = part(measured, "differences", "equal_cost", regime.arm, probe, corruption)
                cells.append(
                    _estimate(own, _share_of, lang) if regime.arm == CONTROL else _with_difference(own, beyond, lang)
                )
            rows.append((texts(lang).get(f"corruption_{corruption}", corruption), cells))
        groups.append((texts(lang)[f"probe_{probe}"], rows))
    return {"arms": [(regime.colour, arm_name(regime.arm, lang)) for regime in shown], "groups": groups}


def _gain_cells(measured: Mapping[str, Any], regime: Regime, mix: str, lang: str) -> list[Cell]:
    """Accuracy with generated images, the gain over real ones alone, beyond plain training's, and its worth in images."""
    own = part(measured, "arms", regime.arm)
    gained, base = part(own, "gains", mix, "accuracy"), finite(part(measured, "real", "accuracy").get("mean"))
    mean = finite(gained.get("mean"))
    beyond = part(measured, "differences", "equal_cost", regime.arm, mix, "accuracy")
    images = part(own, "worth", mix, "accuracy", "images")
    return [
        (share(None if mean is None or base is None else base + mean), ""),
        _estimate(gained, points, lang),
        _estimate(beyond, points, lang) if regime.arm != CONTROL else (DASH, ""),
        with_interval(_whole(images.get("mean")), _whole_ends(images), lang)
        if images
        else (texts(lang)["open_question"], ""),
    ]


def _mixes(measured: Mapping[str, Any], shown: Sequence[Regime], lang: str) -> list[tuple[str, list[Cell]]]:
    names = list(part(measured, "arms", shown[0].arm, "gains"))
    return [
        (
            texts(lang).get(f"mix_{name}", name),
            [_estimate(part(measured, "arms", r.arm, "gains", name, "accuracy"), points, lang) for r in shown],
        )
        for name in names
    ]


def _classes(
    measured: Mapping[str, Any], shown: Sequence[Regime], mix: str, lang: str
) -> list[tuple[str, str, str, list[Cell]]]:
    """Rarest first: a class, its training images, the recall with real images alone, and every arm's gain in it."""
    counts = {name: part(facts).get("training_images") for name, facts in part(measured, "classes").items()}
    rarest = sorted(counts.items(), key=lambda item: item[1] or 0)[:MOST_CLASSES]
    return [
        (
            name,
            number(count),
            share(part(measured, "real", "recall", name).get("mean")),
            [_estimate(part(measured, "arms", r.arm, "recall", name), points, lang) for r in shown],
        )
        for name, count in rarest
    ]


def _estimate(estimate: Mapping[str, Any], show: Callable[[Any], str], lang: str) -> Cell:
    ends = bounds(estimate)
    return show(estimate.get("mean")), range_text(show(ends[0]), show(ends[1]), lang) if ends else ""


def _share_of(value: Any) -> str:
    """A share of images; the interval ends at 0 and 1, as shares do."""
    known = finite(value)
    return DASH if known is None else share(min(1.0, max(0.0, known)))


def _with_difference(own: Mapping[str, Any], beyond: Mapping[str, Any], lang: str) -> Cell:
    difference, between = _estimate(beyond, points, lang)
    return share(own.get("mean")), texts(lang)["difference_pair"].format(
        difference=difference, interval=between
    ) if between else difference


def _whole(value: Any) -> Any:
    known = finite(value)
    return None if known is None else round(known)


def _whole_ends(estimate: Mapping[str, Any]) -> tuple[Any, Any] | None:
    ends = bounds(estimate)
    return None if ends is None else (_whole(ends[0]), _whole(ends[1]))
