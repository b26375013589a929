"""The page of a look at new images: advice, what has changed, the most unfamiliar images, the model's fitness, and the trend."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from sadm.core.pages import page_template
from sadm.evaluation.drift import LEVEL, holm
from sadm.evaluation.drift.changes import KINDS
from sadm.experiments.auditing.page import per_cent, probability
from sadm.experiments.monitoring.fitness import WORSE
from sadm.experiments.monitoring.runs import Monitored
from sadm.experiments.monitoring.texts import texts
from sadm.experiments.report import figures
from sadm.experiments.report.formatting import DASH, number
from sadm.experiments.report.messages import term
from sadm.experiments.report.pictures import image_uri

SHOWN = 24
_IN_PIXELS = ("blurry",)  # sizes of other kinds are shares
_NAMED = 6


def render_monitor(found: Monitored, lang: str = "en") -> str:
    """Renders the page.

    Args:
        found: from `monitor_run`.
        lang: "en" or "ja".

    Returns:
        One HTML file that loads nothing from anywhere.

    Raises:
        UserError: there is no such language.
    """
    message, facts = texts(lang), found.facts
    values = _values(facts, lang)
    return page_template(__package__).render(
        m=message,
        lang=lang,
        subtitle=message["subtitle"].format(**values),
        headline=headline(facts, lang),
        advice=facts["advice"],
        notes=notes(facts, lang),
        next_why=_next_why(facts, lang),
        commands=facts["commands"],
        cards=_cards(facts, lang),
        tests=_tests(facts, lang),
        rows=_gallery(found, lang),
        fitness_intro=message["fitness_intro"].format(count=f"{facts['fitness']['images']:,}"),
        fitness=_fitness(facts, lang),
        classes=_classes(facts, lang),
        power_intro=message["power_intro"].format(count=f"{facts['drift']['floor']['images']:,}"),
        power=_power(facts, lang),
        copies_intro=message["copies_intro"].format(**values),
        copies=_copies(facts, lang),
        trend=_trend(facts, lang),
        looks=_looks(facts, lang),
        settings=_settings(facts, lang),
    )


def headline(facts: dict[str, Any], lang: str = "en") -> str:
    """The advice and its weightiest reason, as one sentence.

    Args:
        facts: of `Monitored`.
        lang: "en" or "ja".
    """
    message, values = texts(lang), _values(facts, lang)
    reason = message[f"reason_{facts['reasons'][0]}"].format(**values)
    return message[f"headline_{facts['advice']}"].format(reason=reason, **values)


def notes(facts: dict[str, Any], lang: str = "en") -> list[str]:
    """Further reasons, and what limits the advice, in sentences."""
    message, values = texts(lang), _values(facts, lang)
    keys = [f"reason_{key}" for key in facts["reasons"][1:]]
    if facts["copies"]["training"]["verdict"] == "copies":
        keys.append("note_copies")
    if values["floor"]:
        keys.append("note_floor")
    if sum(facts["known"].values()):
        keys.append("note_known")
    if facts["unreadable"]:
        keys.append("note_unreadable")
    if facts["sort_first"]:
        keys.append("note_predicted")
        keys += ["note_sort"] if facts["advice"] == "retrain" else []
    keys.append("note_power" if values["seen"] else "note_power_none")
    sentences = [message[key].format(**values) for key in keys]
    return [sentence[:1].upper() + sentence[1:] for sentence in sentences]


def described(facts: dict[str, Any], page: Any, lang: str = "en") -> str:
    """What the command prints."""
    message = texts(lang)
    lines = [facts["sentence"], *(f"  - {note}" for note in notes(facts, lang))]
    lines.append(message["written"].format(path=page))
    if "together" in facts:
        lines.append(message["together"].format(folder=facts["together"][0], config=facts["together"][1]))
    lines += [_next_why(facts, lang), *(f"  {command}" for command in facts["commands"])]
    return "\n".join(lines)


def _next_why(facts: dict[str, Any], lang: str) -> str:
    key = facts["advice"]
    if key == "watch" and facts["reasons"][0] == "few":
        key = "few"
    if key == "retrain" and facts["sort_first"]:
        key = "sort"
    return texts(lang)[f"next_{key}"]


def _values(facts: dict[str, Any], lang: str) -> dict[str, str]:
    """What sentences are filled with, by name."""
    message, drift = texts(lang), facts["drift"]
    comma, outside = message["comma"], drift["outside"]
    differing = _named([name for name, test in drift["tests"].items() if test["seen"]], drift["tests"], lang)
    floor = holm(drift["floor"]["p_values"])
    apart = _named([name for name, value in floor.items() if value < LEVEL], drift["tests"], lang)
    seen = {kind: size for kind, size in drift["would_have_been_seen"].items() if size is not None}
    return {
        "images": f"{drift['images']:,}",
        "units": f"{drift['independent']:,}",
        "train": f"{drift['training_images']:,}",
        "new": facts["new"],
        "run": facts["run"],
        "date": facts["date"],
        "new_classes": comma.join(drift["new_classes"][:_NAMED]),
        "gone_classes": comma.join(drift["gone_classes"][:_NAMED]),
        "times": f"{_times(facts):.2f}",
        "outside": f"{outside['images']:,}",
        "outside_share": per_cent(outside["share"]),
        "expected": per_cent(outside["expected"]),
        "differing": comma.join(differing),
        "fed_back": f"{facts['copies']['new']['copied']:,}",
        "known_training": f"{facts['known']['training']:,}",
        "known_held_out": f"{facts['known']['held_out']:,}",
        "unreadable": f"{facts['unreadable']:,}",
        "floor": comma.join(apart),
        "copies": f"{facts['copies']['training']['copies']:,}",
        "new_copies": f"{facts['copies']['new']['copies']:,}",
        "seen": comma.join(message[f"short_{kind}"].format(size=_size(kind, size)) for kind, size in seen.items()),
        "drawn": f"{facts['images_drawn']:,}",
        "tests": str(len(drift["tests"])),
        "level": f"{LEVEL:g}",
        "worse": f"{WORSE:g}",
    }


def _times(facts: dict[str, Any]) -> float:
    return min(row["times"] for row in facts["fitness"]["judges"].values() if row["decides"])


def _named(names: list[str], tests: dict[str, Any], lang: str) -> list[str]:
    """Tests in short words, those of the judges as one."""
    message, spaces = texts(lang), [name for name, test in tests.items() if test["kind"] == "space"]
    own = [name for name in names if name in spaces]
    first = [message["short_space"].format(count=len(own), all=len(spaces))] if own else []
    return first + [message[f"short_{name}"] for name in names if name not in spaces and name in tests]


def _size(kind: str, size: float) -> str:
    return f"{size:g}" if kind in _IN_PIXELS else per_cent(size)


def _cards(facts: dict[str, Any], lang: str) -> list[dict[str, str]]:
    message, values = texts(lang), _values(facts, lang)
    smallest = min(test["adjusted"] for test in facts["drift"]["tests"].values())
    shown = {
        "p": probability(smallest),
        "outside": values["outside_share"],
        "times": f"×{_times(facts):.2f}",
        "copies": values["copies"],
    }
    return [
        {
            "label": message[f"card_{key}"],
            "value": value,
            "detail": message[f"card_{key}_detail"].format(**values),
        }
        for key, value in shown.items()
    ]


def _tests(facts: dict[str, Any], lang: str) -> list[dict[str, Any]]:
    message, floor = texts(lang), facts["drift"]["floor"]["p_values"]
    rows = []
    for name, test in facts["drift"]["tests"].items():
        own = test["facts"]
        plain = test["kind"] == "fact"
        moved = f"{own['by_standard_deviations']:+.2f}".replace("-", "\N{MINUS SIGN}") if plain else ""
        rows.append(
            {
                "name": term(own["title"], lang) if test["kind"] == "space" else message[f"test_{name}"],
                "training": number(own["training"]) if plain else DASH,
                "new": number(own["new"]) if plain else DASH,
                "moved": message["deviations"].format(moved=moved) if plain else DASH,
                "distance": number(test["value"]),
                "usual": number(test["usual"]),
                "p": probability(test["adjusted"]),
                "floor": probability(floor[name]) if name in floor else DASH,
                "seen": test["seen"],
            }
        )
    return rows


def _gallery(found: Monitored, lang: str) -> list[dict[str, Any]]:
    message, support = texts(lang), found.drift.support
    rows = []
    for position in np.argsort(-support.scores, kind="stable")[:SHOWN].tolist():
        nearest = int(support.nearest[position])
        name, other = found.new.names[position], found.gallery.names[nearest]
        rows.append(
            {
                "outside": bool(support.outside[position]),
                "name": name,
                "pictures": [
                    (image_uri(found.new, position), message["alt_image"].format(name=name), message["column_image"]),
                    (
                        image_uri(found.gallery, nearest),
                        message["alt_nearest"].format(name=other),
                        message["column_nearest"],
                    ),
                ],
            }
        )
    return rows


def _fitness(facts: dict[str, Any], lang: str) -> list[dict[str, str]]:
    message = texts(lang)
    return [
        {
            "name": term(row["title"], lang),
            "decides": message["decides"] if row["decides"] else "",
            "new": number(row["fd"]["new"]),
            "held_out": number(row["fd"]["held_out"]),
            "floor": number(row["fd"]["floor"]),
            "times": f"×{row['times']:.2f}",
            "covered": " / ".join(per_cent(row["covered"][side]) for side in ("new", "held_out"))
            if "covered" in row
            else DASH,
            "p": probability(row["adjusted"]),
        }
        for row in facts["fitness"]["judges"].values()
    ]


def _classes(facts: dict[str, Any], lang: str) -> list[dict[str, str]]:
    message, drift = texts(lang), facts["drift"]
    marks = dict.fromkeys(drift["new_classes"], message["class_new"])
    marks |= dict.fromkeys(drift["gone_classes"], message["class_gone"])
    return [
        {
            "name": name,
            "mark": marks.get(name, ""),
            "training": per_cent(row["training_share"]),
            "new": per_cent(row["share"]),
            "images": f"{row['images']:,}",
            "outside": f"{row['outside']:,}",
        }
        for name, row in drift["classes"].items()
    ]


def _power(facts: dict[str, Any], lang: str) -> list[tuple[str, str]]:
    message = texts(lang)
    return [
        (
            message[f"kind_{kind}"],
            message["size_none"].format(most=_size(kind, KINDS[kind][1][-1])) if size is None else _size(kind, size),
        )
        for kind, size in facts["drift"]["would_have_been_seen"].items()
    ]


def _copies(facts: dict[str, Any], lang: str) -> list[tuple[str, str, str, str]]:
    message = texts(lang)
    return [
        (
            message[f"of_{side}"],
            f"{row['copies']:,} ({per_cent(row['copy_rate'])})",
            f"{row['copied']:,}",
            probability(row["copies_p_value"]),
        )
        for side, row in facts["copies"].items()
    ]


def _trend(facts: dict[str, Any], lang: str) -> Markup | None:
    message, looks = texts(lang), facts["history"]
    if len(looks) < 2:
        return None
    steps = list(range(1, len(looks) + 1))
    lines = [
        figures.Curve(0, steps, [look["outside"] for look in looks]),
        figures.Curve(5, steps, [look["expected_outside"] for look in looks], dashed=True),
    ]
    return figures.curves(lines, message["trend_x"], message["trend_outside"], False, "trend", message["trend_alt"])


def _looks(facts: dict[str, Any], lang: str) -> list[dict[str, str]]:
    message, looks = texts(lang), facts["history"]
    model = looks[-1]["model"]
    return [
        {
            "number": str(place),
            "date": look["date"],
            "source": look["source"],
            "model": "" if look["model"] == model else message["other_model"],
            "images": f"{look['images']:,}",
            "p": probability(look["p_value"]),
            "outside": per_cent(look["outside"]),
            "times": f"×{look['times']:.2f}",
            "advice": message[f"advice_{look['advice']}"],
        }
        for place, look in enumerate(looks, 1)
    ]


def _settings(facts: dict[str, Any], lang: str) -> list[tuple[str, str]]:
    message, drift = texts(lang), facts["drift"]
    return [
        (message["setting_images"], f"{drift['images']:,} ({drift['independent']:,})"),
        (message["setting_drawn"], f"{facts['images_drawn']:,}"),
        (message["setting_held_out"], f"{drift['outside']['held_out']:,}"),
        (message["setting_seed"], str(facts["seed"])),
        (message["setting_commit"], str(facts["provenance"]["commit"] or DASH)),
    ]
