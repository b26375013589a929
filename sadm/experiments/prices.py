"""What only the user can know about a comparison's worth: prices, and how often things happen. Imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from sadm.core.config import Config

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PRICES = ("hour", "miss", "image")


class BusinessConfig(Config):
    """Prices and yearly numbers, all optional; what is not given is not guessed."""

    currency: Annotated[str, Field(max_length=12)] = ""
    """Of all prices, such as EUR or JPY."""
    hour: Amount | None = None
    """Price of an hour of the processor that trains: one CPU core, or one accelerator."""
    volume: Amount | None = None
    """Trainings a year: how often a model is trained, for all products together."""
    generated: Amount | None = None
    """Images generated a year."""
    miss: Amount | None = None
    """Price of one defect that inspection misses."""
    defects: Amount | None = None
    """Defects a year that reach inspection."""
    defect_class: str | None = None
    """Class whose images are the defects."""
    image: Amount | None = None
    """Price of collecting and labelling one real image."""

    @model_validator(mode="after")
    def _complete(self) -> BusinessConfig:
        priced = [name for name in PRICES if getattr(self, name) is not None]
        if priced and not self.currency.strip():
            raise ValueError(
                f"a price ({', '.join(priced)}) needs business.currency, the currency of all prices, such as EUR"
            )
        needing = [name for name in ("miss", "defects") if getattr(self, name) is not None]
        if needing and self.defect_class is None:
            raise ValueError(
                f"{' and '.join(needing)} can be used only with business.defect_class, the name of the class whose images "
                "are the defects"
            )
        return self
