"""``sadm card``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from sadm.cli.options import parse
from sadm.core.terminal import say

DESCRIPTION = """Writes a model card as Markdown that the hub reads: data, settings, metrics, memorisation, intended use.

Takes what lies in the run folder (config.yaml, evaluation.json, audit.json, policy.yaml). What only people know, such as licences
and limitations, stands in a YAML file of yours; what is missing says "not given".

examples:
  sadm card runs/digits
  sadm card runs/parts --about about.yaml --lang ja
  sadm card models/dit --licence cc-by-nc-4.0 --out README.md
"""


@dataclasses.dataclass(frozen=True)
class CardOptions:
    """Options of ``sadm card``."""

    model: tyro.conf.Positional[str]
    """A run or model folder."""
    out: str | None = None
    """The file to write; None = card.md in that folder (card.ja.md in Japanese)."""
    about: str | None = None
    """YAML file of what only people know: name, description, licence, licences, permitted, forbidden, owner, contact,
    limitations."""
    licence: str = ""
    """Of the model, as the hub names licences, such as apache-2.0."""
    policy: str | None = None
    """File of a usage policy; None = policy.yaml in the model's or run's folder, if it is there."""
    lang: Literal["en", "ja"] = "en"
    """Language of the card."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, gathers the facts, and writes the card."""
    options: CardOptions = parse(CardOptions, arguments, "card", DESCRIPTION)
    from sadm.core.files import write_atomically
    from sadm.experiments.card import card_facts, render_card

    facts = card_facts(options.model, options.about, options.policy, options.licence)
    name = "card.md" if options.lang == "en" else f"card.{options.lang}.md"
    path = Path(options.out or Path(options.model) / name)
    write_atomically(path, render_card(facts, options.lang))
    say(f"Written: {path}")
