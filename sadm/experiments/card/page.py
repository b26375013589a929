"""A model card as Markdown with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import yaml

from sadm import __version__
from sadm.core.errors import UserError
from sadm.core.terminal import printable
from sadm.experiments.auditing import notes, verdict_line
from sadm.experiments.card.facts import CardFacts
from sadm.experiments.card.markdown import block, bullets, code, inline, table
from sadm.experiments.card.texts import texts
from sadm.experiments.report.formatting import number, share
from sadm.training.policy import PolicyConfig

_DAMAGED = (KeyError, TypeError, ValueError, AttributeError, IndexError)
_ENFORCED = ("require_audit", "max_copy_rate", "require_review", "max_images", "allow_model_export")
_MOST_CLASSES = 50


def render_card(facts: CardFacts, lang: str = "en") -> str:
    """The card.

    Args:
        facts: from `card_facts`.
        lang: "en" or "ja".

    Raises:
        UserError: there is no such language, or a file that the card is made of is damaged.
    """
    say = texts(lang)
    sections: list[Callable[[], list[str]]] = [
        lambda: [f"# {inline(facts.title)}", inline(facts.about.description) or say["not_given"], say["intro"]],
        lambda: _model(facts, say),
        lambda: _data(facts, say),
        lambda: _settings(facts, say),
        lambda: _metrics(facts, say),
        lambda: _memorisation(facts, say, lang),
        lambda: _uses(facts, say),
        lambda: _policy(facts, say),
        lambda: _sampling(facts, say),
        lambda: _provenance(facts, say),
    ]
    try:
        parts = [part for section in sections for part in section()]
    except _DAMAGED as error:
        raise UserError(
            f"a file of {facts.model} (model.json, evaluation.json or audit.json) is damaged: {type(error).__name__}: {error}. "
            "Write it again with `sadm evaluate` or `sadm audit`."
        ) from error
    return f"---\n{_front_matter(facts, lang)}---\n\n" + "\n\n".join(parts) + "\n"


def _front_matter(facts: CardFacts, lang: str) -> str:
    """What the hub reads: https://huggingface.co/docs/hub/model-cards."""
    values: dict[str, Any] = {
        "language": lang,
        "license": _line(facts.about.licence) or "unknown",
        "library_name": "sadm-diffusion",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["diffusion", "image-generation", "sadm"],
    }
    results = _results(facts)
    if results:
        task = {"type": "unconditional-image-generation"}
        data = {"type": "held-out", "name": "held-out images"}
        values["model-index"] = [
            {"name": _line(facts.title), "results": [{"task": task, "dataset": data, "metrics": results}]}
        ]
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _results(facts: CardFacts) -> list[dict[str, Any]]:
    found = (facts.evaluation or {}).get("fd", {})
    known = found.items() if isinstance(found, dict) else ()
    return [
        {"type": "frechet-distance", "name": f"FD ({_line(judge)})", "value": value}
        for judge, value in known
        if isinstance(value, int | float)
    ]


def _model(facts: CardFacts, say: dict[str, str]) -> list[str]:
    spec, about = facts.spec, facts.about
    channels, height, width = spec.shape
    if facts.description.get("latents"):
        drawn = say["draws_latents"].format(shape=" × ".join(map(str, spec.shape)))
    else:
        kind = say[{1: "grey", 3: "colour"}.get(channels, "alpha")]
        drawn = say["draws_value"].format(width=width, height=height, channels=kind)
    rows = [
        (say["draws"], drawn),
        (say["network"], inline(spec.net.kind)),
        (say["process"], inline(spec.process.kind)),
        (say["hash"], code(facts.hash)),
    ]
    adapter = facts.description.get("adapter")
    if adapter is not None:
        told = say["adapter_value"].format(
            method=inline(adapter["finetune"]["method"]), base=code(adapter["base_hash"])
        )
        rows.append((say["adapter"], told))
    rows += [
        (say["licence"], _or(about.licence, say)),
        (say["owner"], _or(about.owner, say)),
        (say["contact"], _or(about.contact, say)),
    ]
    return [f"## {say['heading_model']}", table(rows, ("", ""))]


def _data(facts: CardFacts, say: dict[str, str]) -> list[str]:
    data, spec = facts.description.get("data"), facts.spec
    licences = [f"{name}: {text}" for name, text in facts.about.licences.items()]
    told = [bullets(licences) if licences else say["not_given"]]
    parts = [f"## {say['heading_data']}"]
    if data is None:
        parts.append(say["unknown_data"])
    else:
        rows = [
            (say["source"], inline(_name(data["source"]))),
            (say["train_images"], number(data["train_images"])),
            *([(say["held_back"], number(data["held_back"]))] if "held_back" in data else []),
            (say["fingerprint"], code(data["fingerprint"])),
        ]
        parts.append(table(rows, ("", "")))
        if spec.class_names:
            pairs = list(zip(spec.class_names, spec.label_counts, strict=True))
            shown = [(inline(name), number(count)) for name, count in pairs[:_MOST_CLASSES]]
            shown += [("…", f"+{len(pairs) - _MOST_CLASSES}")] if len(pairs) > _MOST_CLASSES else []
            parts.append(table(shown, (say["class"], say["class_images"])))
        else:
            parts.append(say["no_classes"])
    return [*parts, f"**{say['licences']}**", *told]


def _settings(facts: CardFacts, say: dict[str, str]) -> list[str]:
    head = f"## {say['heading_settings']}"
    if not facts.settings:
        return [head, say["no_run"]]
    rows = [(code(name), code(value)) for name, value in facts.settings.items()]
    return [head, table(rows, (say["setting"], say["value"])), say["all_settings"]]


def _metrics(facts: CardFacts, say: dict[str, str]) -> list[str]:
    head, found = f"## {say['heading_metrics']}", facts.evaluation
    if found is None:
        return [head, say["no_metrics"]]
    rows = [
        (inline(judge["title"]), number(found["fd"][name]), number(found["floor"][name]), number(found["kid"][name]))
        for name, judge in found["judges"].items()
    ]
    counted = {name: number(found[name]) for name in ("images", "group", "seed")}
    parts = [head, say["metrics_intro"].format(**counted), table(rows, (say["judge"], "FD", say["floor"], "KID"))]
    if found.get("label_accuracy") is not None:
        parts.append(say["label_accuracy"].format(share=share(found["label_accuracy"])))
    return parts


def _memorisation(facts: CardFacts, say: dict[str, str], lang: str) -> list[str]:
    head = f"## {say['heading_memorisation']}"
    if facts.audit is None:
        return [head, say["no_audit"]]
    if not facts.audit_fits:
        return [head, say["audit_of_others"]]
    return [head, inline(verdict_line(facts.audit, lang)), bullets(notes(facts.audit, lang))]


def _uses(facts: CardFacts, say: dict[str, str]) -> list[str]:
    about = facts.about
    return [
        f"## {say['heading_use']}",
        bullets(about.permitted) or say["not_given"],
        f"## {say['heading_out']}",
        bullets(about.forbidden) or say["not_given"],
        f"## {say['heading_limits']}",
        bullets(about.limitations) or say["not_given"],
        say["limits_always"],
    ]


def _policy(facts: CardFacts, say: dict[str, str]) -> list[str]:
    head = f"## {say['heading_policy']}"
    if facts.rules is None:
        return [head, say["no_policy"]]
    rules, usual = facts.rules.rules, PolicyConfig()
    kept = [
        f"{code(name)}: {code(getattr(rules, name))}"
        for name in _ENFORCED
        if getattr(rules, name) != getattr(usual, name)
    ]
    listed = [say["policy_enforced"], "\n".join(f"- {line}" for line in kept)] if kept else []
    return [head, *listed, f"{say['retention']}: {_or(rules.retention, say)}"]


def _sampling(facts: CardFacts, say: dict[str, str]) -> list[str]:
    folder = shlex.quote(PurePath(facts.model).name or facts.model)
    lines = [f"sadm sample {folder} --count 16", f"sadm verify {folder}/generated --model {folder}"]
    return [f"## {say['heading_sampling']}", block(lines), say["marks"]]


def _provenance(facts: CardFacts, say: dict[str, str]) -> list[str]:
    description = facts.description
    found = description.get("provenance", {})
    average = f" ({say['kept_in']})" if description.get("weights") == "ema" else ""
    rows = [
        (say["step"], f"{number(description['step'])}{average}" if "step" in description else say["not_given"]),
        (say["version"], inline(found.get("sadm") or __version__)),
        (say["commit"], code(found["commit"]) if found.get("commit") else say["not_given"]),
        ("PyTorch", _or(found.get("torch"), say)),
        (say["machine"], _or(found.get("machine"), say)),
    ]
    return [f"## {say['heading_provenance']}", table(rows, ("", ""))]


def _line(text: object) -> str:
    """In the front matter, which a line of its own could end."""
    return " ".join(printable(text).split())


def _or(text: Any, say: dict[str, str]) -> str:
    return inline(text) if text else say["not_given"]


def _name(source: object) -> str:
    """Of a folder, its last part: a card is handed on, and the path is nobody's business."""
    return PurePath(str(source)).name or str(source)
