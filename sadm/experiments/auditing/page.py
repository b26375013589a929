"""The page of an audit: verdict, figures, and the generated images that are most like training images."""

from __future__ import annotations

from typing import Any

import torch

from sadm.core.pages import page_template
from sadm.data import to_uint8
from sadm.evaluation.memorisation.audit import LEVEL
from sadm.evaluation.memorisation.copies import difference
from sadm.evaluation.memorisation.threshold import FALSE_ALARMS
from sadm.experiments.auditing.runs import RunAudit
from sadm.experiments.auditing.texts import texts
from sadm.experiments.report.formatting import per_cent, probability
from sadm.experiments.report.messages import term
from sadm.experiments.report.pictures import grid_uri, image_uri

SHOWN = 24
_HALF = 0.5


def render_audit(audited: RunAudit, lang: str = "en") -> str:
    """Renders the page.

    Args:
        audited: from `audit_run`.
        lang: "en" or "ja".

    Returns:
        One HTML file that loads nothing from anywhere.

    Raises:
        UserError: there is no such language.
    """
    message, facts = texts(lang), audited.facts
    values = _values(facts)
    rows = _gallery(audited, lang)
    return page_template(__package__).render(
        m=message,
        lang=lang,
        subtitle=message["subtitle"].format(source=facts["run"], **values),
        headline=verdict_line(facts, lang),
        verdict=facts["verdict"],
        notes=notes(facts, lang),
        cards=_cards(facts, lang),
        rows=rows,
        gallery_intro=message["gallery_intro"].format(shown=len(rows), **values),
        spaces=_spaces(facts, lang),
        classes=[(name, row["images"], row["copies"]) for name, row in facts["classes"].items()],
        settings=_settings(facts, lang),
    )


def verdict_line(facts: dict[str, Any], lang: str = "en") -> str:
    """The verdict as one sentence.

    Args:
        facts: of `RunAudit`, or `Audit.as_dict`.
        lang: "en" or "ja".
    """
    return texts(lang)[f"verdict_{facts['verdict']}"].format(**_values(facts))


def notes(facts: dict[str, Any], lang: str = "en") -> list[str]:
    """What limits the verdict, in sentences."""
    message, values = texts(lang), _values(facts)
    keys = ["note_limit"]
    if facts["threshold"]["false_alarms"] > FALSE_ALARMS:
        keys.append("note_few")
    if facts["leaked"]:
        keys.append("note_leaked")
    return [message[key].format(**values) for key in (*keys, "note_features")]


def _values(facts: dict[str, Any]) -> dict[str, str]:
    """What sentences are filled with, by name."""
    low, high = facts["copy_rate_interval"]
    return {
        "images": f"{facts['images']:,}",
        "train": f"{facts['training_images']:,}",
        "copies": f"{facts['copies']:,}",
        "rate": per_cent(facts["copy_rate"]),
        "low": per_cent(low),
        "high": per_cent(high),
        "closer": per_cent(facts["closer"]["probability"]),
        "half": per_cent(_HALF),
        "p": _equals(probability(facts["p_value"])),
        "score": f"{facts['threshold']['score']:.2g}",
        "units": f"{facts['threshold']['units']:,}",
        "alarms": per_cent(facts["threshold"]["false_alarms"]),
        "reference": f"{sum(facts['held_out'][part]['images'] for part in ('fitting', 'reference')):,}",
        "leaked": f"{facts['leaked']:,}",
    }


def _equals(text: str) -> str:
    return text if text[0] in "<>" else f"= {text}"


def _cards(facts: dict[str, Any], lang: str) -> list[dict[str, str]]:
    message, values = texts(lang), _values(facts)
    closer, duplicates = facts["closer"], facts["duplicates"]
    interval = {"low": per_cent(closer["low"]), "high": per_cent(closer["high"])}
    cards = [
        ("copies", values["copies"], values),
        ("originals", f"{facts['copied_training_images']:,}", values),
        ("closer", values["closer"], values | interval),
        ("p", probability(facts["p_value"]), {"level": f"{LEVEL:g}"}),
        (
            "duplicates",
            f"{duplicates['generated']:,}",
            {"images": f"{duplicates['images']:,}", "real": f"{duplicates['real']:,}"},
        ),
    ]
    return [
        {
            "label": message[f"card_{key}"].format(**filled),
            "value": value,
            "detail": message[f"card_{key}_detail"].format(**filled),
        }
        for key, value, filled in cards
    ]


def _gallery(audited: RunAudit, lang: str) -> list[dict[str, Any]]:
    found, message = audited.found, texts(lang)
    chosen = torch.from_numpy(found.closest(SHOWN))
    index = found.nearest.index[chosen]
    differences = difference(
        audited.generated.floats(chosen),
        found.train.floats(index),
        found.nearest.orientation[chosen],
        found.nearest.shift[chosen],
    )
    rows = []
    for row, position in enumerate(chosen.tolist()):
        pair = found.pair(position)
        how = [message[f"orientation_{pair['orientation']}"]]
        if any(pair["shift"]):
            how.append(message["shifted"].format(down=pair["shift"][0], right=pair["shift"][1]))
        pictures = {
            "generated": image_uri(audited.generated, position),
            "training": image_uri(found.train, int(index[row])),
            "difference": grid_uri(to_uint8(differences[row : row + 1]).permute(0, 2, 3, 1).numpy(), 1),
        }
        rows.append(
            {
                "flagged": pair["copy"],
                "score": message["score"].format(score=f"{pair['score']:.2f}"),
                "how": message["comma"].join(filter(None, how)),
                "name": pair["training"],
                "pictures": [
                    (
                        uri,
                        message[f"alt_{what}"].format(image=position, name=pair["training"]),
                        message[f"column_{what}"],
                    )
                    for what, uri in pictures.items()
                ],
            }
        )
    return rows


def _spaces(facts: dict[str, Any], lang: str) -> list[tuple[str, str, str, str]]:
    rows = [(texts(lang)["together"], facts["closer"])]
    rows += [(term(space["title"], lang), space) for space in facts["spaces"].values()]
    return [
        (
            name,
            per_cent(row["probability"]),
            f"{per_cent(row['low'])} – {per_cent(row['high'])}",
            probability(row["p_value"]),
        )
        for name, row in rows
    ]


def _settings(facts: dict[str, Any], lang: str) -> list[tuple[str, str]]:
    message = texts(lang)
    parts = ", ".join(f"{part['images']:,} ({part['independent']:,})" for part in facts["held_out"].values())
    return [
        (message["setting_held_out"], parts),
        (message["setting_threshold"], f"{facts['threshold']['score']:.2g}"),
        (message["setting_seed"], str(facts["seed"])),
        (message["setting_commit"], str(facts["provenance"]["commit"] or "–")),
    ]
