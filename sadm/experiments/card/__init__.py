"""Model cards: what a model is, was made from, and was found to do, on one page."""

from sadm.experiments.card.facts import CardConfig, CardFacts, card_facts
from sadm.experiments.card.page import render_card

__all__ = ["CardConfig", "CardFacts", "card_facts", "render_card"]
