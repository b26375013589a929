"""What was found, arranged for the template. What is shown is bounded, so that the page can be mailed."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

import torch

from sadm.core.pages import page_template
from sadm.core.seeds import generator
from sadm.data.fitting import Fit
from sadm.data.preparation.leakage import Leak
from sadm.data.preparation.outcomes import QUARANTINED, REASONS
from sadm.data.preparation.preparing import Preparation
from sadm.data.preparation.sheet.pictures import pictures
from sadm.data.preparation.texts import sentence, texts
from sadm.data.sources.folders import OTHERS

_CLASSES = 40
_OF_CLASS = 8  # pictures
_UNLABELLED = 48
_OF_REASON = 24
_CLUSTERS = 24
_OF_CLUSTER = 6
_EXACT_CLUSTERS = 12
_LEAKS = 40


_NOTES = 12
_ROWS = {
    "tiles": "fit",
    "pad": "fit",
    "crop": "fit",
    "grey": "channels",
    "balance": "balance",
    "augment": "augment",
    "batch_smaller": "batch",
    "batch_usual": "batch",
    "passes": "steps",
}
"""The row of the advice that a reason belongs to; others are about the resolution."""


@dataclasses.dataclass(frozen=True)
class _Tile:
    """One picture with what is written below it."""

    position: int
    caption: str
    note: str = ""


def render_sheet(found: Preparation, lang: str = "en", fit: Fit | None = None) -> str:
    """Renders the contact sheet.

    Args:
        found: from `prepare`.
        lang: "en" or "ja".
        fit: how images are read, as of `Settings`.

    Returns:
        One HTML file that loads nothing from anywhere.

    Raises:
        UserError: there is no such language.
    """
    message, summary = texts(lang), found.summary
    sections = {
        "classes": _classes(found, lang),
        "images": _unlabelled(found),
        "quarantine": _quarantine(found, lang),
        "exact": _exact(found, lang),
        "near": _near(found, lang),
    }
    wanted = [tile.position for section in sections.values() for group in section for tile in group["tiles"]]
    return page_template(__package__).render(
        m=message,
        lang=lang,
        title=message["title"].format(source=summary["source"]),
        headline=message[f"verdict_{summary['verdict']}"],
        level=summary["verdict"],
        lines=verdict_lines(summary, lang),
        points=[(point["level"], point_text(point, lang)) for point in summary["points"]],
        command=[shlex.quote(word) for word in shlex.split(found.advice.command)],
        cards=_cards(summary, lang),
        sections=sections,
        class_count=_cut(len(summary["classes"]["classes"]), _CLASSES, "classes_cut", lang),
        cluster_count=_cut(len(found.near), _CLUSTERS, "more_shown", lang),
        exact_count=_cut(len(_kept_clusters(found)), _EXACT_CLUSTERS, "more_shown", lang),
        reading=_reading(found, lang),
        leaks=[_leak(found, leak, lang) for leak in found.leaks[:_LEAKS]],
        leak_count=_cut(len(found.leaks), _LEAKS, "more_shown", lang),
        sizes=_sizes(summary, lang),
        peculiarities=[
            sentence(lang, f"peculiar_{key}", count=count) for key, count in summary["peculiarities"].items()
        ],
        advice=advice_rows(found, lang),
        uris=pictures(found.listing.records, wanted, fit or Fit()),
    )


def verdict_lines(summary: dict[str, Any], lang: str) -> list[str]:
    """The counts, in sentences."""
    split = summary["split"]
    lines = [sentence(lang, "counts", images=summary["images"], **summary["outcomes"])]
    if not split["why_not"]:
        key = "split_made" if split["made_here"] else "split_kept"
        lines.append(sentence(lang, key, train=split["train"], held_out=split["held_out"]))
    return lines


def point_text(point: dict[str, Any], lang: str) -> str:
    """One point as a sentence."""
    values = {key: value for key, value in point.items() if key not in ("key", "level")}
    return sentence(lang, f"point_{point['key']}", **values)


def advice_rows(found: Preparation, lang: str) -> list[tuple[str, str, list[str]]]:
    """The suggested settings: what, value, and why."""
    advice, message = found.advice, texts(lang)
    recipe, resolution = advice.target.recipe, advice.target.resolution
    why: dict[str, list[str]] = {row: [] for row in ("resolution", *_ROWS.values())}
    for key, values in advice.reasons:
        why[_ROWS.get(key, "resolution")].append(sentence(lang, f"why_{key}", **values))
    size = message["advice_own_size"] if resolution is None else message["advice_pixels"].format(side=resolution)
    rows = [(message["advice_resolution"], size, why["resolution"])]
    options = {
        "fit": f"--data.fit {advice.fit}",
        "channels": f"--data.channels {advice.channels}",
        "balance": f"--data.balance {advice.balance:g}",
        "augment": f"--augment {advice.augment}",
    }
    rows += [(message[f"advice_{row}"], value, why[row]) for row, value in options.items() if why[row]]
    if recipe is not None:
        rows += [
            (message["advice_recipe"], recipe.name, []),
            (message["advice_batch"], f"{advice.batch:,}", why["batch"]),
            (message["advice_steps"], f"{advice.steps:,}", why["steps"]),
        ]
    return rows


def _cards(summary: dict[str, Any], lang: str) -> list[dict[str, str]]:
    message, outcomes = texts(lang), summary["outcomes"]
    near, split = summary["near_duplicates"], summary["split"]
    share = outcomes["usable"] / max(summary["images"], 1)
    cards = [
        ("card_found", f"{summary['images']:,}", ""),
        ("card_usable", f"{outcomes['usable']:,}", sentence(lang, "card_usable_detail", share=share)),
        ("card_duplicate", f"{outcomes['duplicate']:,}", ""),
        ("card_quarantined", f"{outcomes['quarantined'] + outcomes['not_listed']:,}", ""),
        ("card_near", f"{near['images']:,}", sentence(lang, "card_near_detail", clusters=near["clusters"])),
        ("card_split", f"{split['train']:,} / {split['held_out']:,}", ""),
    ]
    return [{"label": message[key], "value": value, "detail": detail} for key, value, detail in cards]


def _classes(found: Preparation, lang: str) -> list[dict[str, Any]]:
    """The rarest and the most frequent classes, each with its counts and some pictures."""
    counts = found.summary["classes"]["classes"]
    by_size = sorted(counts, key=lambda name: (counts[name]["usable"], name))
    shown = by_size if len(by_size) <= _CLASSES else by_size[: _CLASSES // 2] + by_size[-_CLASSES // 2 :]
    largest = max((count["found"] for count in counts.values()), default=1)
    members: dict[str, list[int]] = {name: [] for name in shown}
    for i in found.usable:
        name = found.listing.records[i].class_name
        if name in members:
            members[name].append(i)
    return [
        {
            "name": name,
            "usable": counts[name]["usable"],
            "left_out": counts[name]["found"] - counts[name]["usable"],
            "share": 100 * counts[name]["usable"] / largest,
            "left_out_share": 100 * (counts[name]["found"] - counts[name]["usable"]) / largest,
            "tiles": [_Tile(i, found.listing.records[i].name) for i in _drawn(members[name], _OF_CLASS, name)],
        }
        for name in sorted(shown, key=lambda name: (-counts[name]["usable"], name))
    ]


def _unlabelled(found: Preparation) -> list[dict[str, Any]]:
    if found.summary["classes"]["classes"]:
        return []
    drawn = _drawn(found.usable, _UNLABELLED, "")
    return [{"tiles": [_Tile(i, found.listing.records[i].name) for i in drawn]}] if drawn else []


def _quarantine(found: Preparation, lang: str) -> list[dict[str, Any]]:
    """By reason."""
    message, records = texts(lang), found.listing.records
    groups = []
    for reason in REASONS:
        members = [i for i, one in enumerate(found.findings) if (one.outcome, one.reason) == (QUARANTINED, reason)]
        if reason == "wrong_label":  # beside each other, what contradicts each other
            members.sort(key=lambda i: min(i, found.findings[i].twin or 0))
        if members:
            pictured = reason in ("blank", "wrong_label", "too_small")
            shown = members[:_OF_REASON]
            groups.append(
                {
                    "title": sentence(lang, "reason_count", reason=message[f"reason_{reason}"], count=len(members)),
                    "fix": message[f"fix_{reason}"],
                    "tiles": [_quarantined(found, i) for i in shown] if pictured else [],
                    "names": [] if pictured else [(records[i].name, _particular(found, i)) for i in shown],
                    "more": _cut(len(members), _OF_REASON, "more_shown", lang),
                }
            )
    return groups


def _reading(found: Preparation, lang: str) -> list[dict[str, Any]]:
    """What the source left out before any image was looked at, and what it was taken to mean."""
    message, listing = texts(lang), found.listing
    skipped = [(entry.path, entry.reason) for entry in listing.skipped]
    others = [(f"{kind}: {count:,}", "") for kind, count in listing.others.items()]
    notes = [(note.text, "") for note in listing.notes if not note.text.startswith(OTHERS)]  # which are listed above
    lists = {"source_skipped": skipped, "source_others": others, "source_notes": notes}
    return [
        {"title": message[key], "names": names[:_NOTES], "more": _cut(len(names), _NOTES, "more_shown", lang)}
        for key, names in lists.items()
        if names
    ]


def _quarantined(found: Preparation, position: int) -> _Tile:
    record, fact = found.listing.records[position], found.facts[position]
    contradicted = found.findings[position].reason == "wrong_label"
    return _Tile(position, record.name, str(record.class_name) if contradicted else f"{fact.width} × {fact.height}")


def _particular(found: Preparation, position: int) -> str:
    """What the reason leaves open, in the decoder's words."""
    finding = found.findings[position]
    return finding.detail if finding.reason in ("damaged", "too_large", "bad_mask") else ""


def _exact(found: Preparation, lang: str) -> list[dict[str, Any]]:
    message, records = texts(lang), found.listing.records
    groups = []
    for cluster in _kept_clusters(found)[:_EXACT_CLUSTERS]:
        ordered = sorted(cluster, key=lambda i: (i not in found.usable_set, i))
        names = [
            (records[i].name, message["kept" if i in found.usable_set else "left_out"]) for i in ordered[:_OF_CLUSTER]
        ]
        more = _cut(len(cluster), _OF_CLUSTER, "more_shown", lang)
        groups.append({"tiles": [_Tile(ordered[0], "")], "names": names, "more": more})
    return groups


def _kept_clusters(found: Preparation) -> list[Sequence[int]]:
    """Exact duplicates of which one is usable; those in quarantine are shown there."""
    return [cluster for cluster in found.exact if any(i in found.usable_set for i in cluster)]


def _near(found: Preparation, lang: str) -> list[dict[str, Any]]:
    """Clusters that carry several labels first, then the largest."""
    message, records = texts(lang), found.listing.records
    how: dict[int, set[str]] = {}  # by any member of a cluster
    for pair in found.pairs:
        words = [] if pair.orientation == "same" else [message[f"turn_{pair.orientation}"]]
        words += [message["cropped"]] if pair.cropped else []
        for i in (pair.first, pair.second):
            how.setdefault(i, set()).update(words)

    def labels(cluster: Sequence[int]) -> set[str | None]:
        return {records[i].class_name for i in cluster}

    ordered = sorted(found.near, key=lambda cluster: (-len(labels(cluster)), -len(cluster), cluster))
    groups = []
    for cluster in ordered[:_CLUSTERS]:
        several = len(labels(cluster)) > 1
        notes = [message["comma"].join(sorted(set().union(*(how[i] for i in cluster))))]
        groups.append(
            {
                "tiles": [
                    _Tile(i, records[i].name, str(records[i].class_name) if several else "")
                    for i in cluster[:_OF_CLUSTER]
                ],
                "marked": several,
                "note": " ".join(filter(None, [*notes, _cut(len(cluster), _OF_CLUSTER, "more_shown", lang)])),
            }
        )
    return groups


def _leak(found: Preparation, leak: Leak, lang: str) -> tuple[str, str, str]:
    message, records = texts(lang), found.listing.records
    kind = message[f"leak_{leak.kind}"]
    if leak.kind == "group":
        kind += f" {message['name'].format(name=records[leak.train[0]].group)}"
    train, held_out = (
        sentence(lang, "leak_side", names=[records[i].name for i in side]) for side in (leak.train, leak.held_out)
    )
    return kind, train, held_out


def _sizes(summary: dict[str, Any], lang: str) -> dict[str, Any] | None:
    sizes, message = summary["sizes"], texts(lang)
    if not sizes:
        return None
    bars = sizes["smaller_side"]
    most = max(bar["count"] for bar in bars)
    return {
        "rows": [(message[f"row_{key}"], *sizes[key].values()) for key in ("width", "height", "aspect")],
        "bars": [
            {
                "label": f"{bar['from']:,}" if bar["from"] == bar["to"] else f"{bar['from']:,}–{bar['to']:,}",
                "count": bar["count"],
                "share": 100 * bar["count"] / most,
            }
            for bar in bars
        ],
    }


def _cut(count: int, shown: int, key: str, lang: str) -> str:
    """That not all is shown; empty where it is."""
    return sentence(lang, key, shown=shown, count=count) if count > shown else ""


def _drawn(positions: Sequence[int], count: int, name: str) -> list[int]:
    """A few of the positions at random, in order; always the same ones."""
    order = torch.randperm(len(positions), generator=generator(0, "contact sheet", name))
    return sorted(positions[i] for i in order[:count].tolist())
