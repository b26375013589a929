"""What a model card is made of: files of the run, the usage policy, and what only people know."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sadm.core.config import Config, build_config, flatten, read_yaml
from sadm.core.errors import UserError
from sadm.core.files import read_object
from sadm.training.description import model_description, model_spec
from sadm.training.model_folder import model_hash
from sadm.training.policy import Policy, audit_of, policy_of, run_of
from sadm.training.spec import ModelSpec

EVALUATION, CONFIG = "evaluation.json", "config.yaml"
SETTINGS = (
    "signal",
    "optimiser.steps",
    "optimiser.batch",
    "optimiser.learning_rate",
    "optimiser.ema_half_life",
    "process.kind",
    "process.label_dropout",
    "seed",
)
"""Of a run's configuration, in the card; all of it stands in config.yaml."""

Text = Annotated[str, Field(max_length=10_000)]


class CardConfig(Config):
    """What only people know of a model. Empty = from the usage policy where it says so, else "not given"."""

    name: Text = ""
    """Title of the card; empty = the folder's name."""
    description: Text = ""
    """What the model draws, in a sentence or two."""
    licence: Text = ""
    """Of the model, as the hub names licences, such as apache-2.0 or other."""
    licences: dict[str, Text] = Field(default_factory=dict)
    """Of each source of training images, and of weights that training started from."""
    permitted: tuple[Text, ...] = ()
    """Intended use."""
    forbidden: tuple[Text, ...] = ()
    """Out of scope."""
    owner: Text = ""
    """Who is responsible."""
    contact: Text = ""
    """Where to ask."""
    limitations: tuple[Text, ...] = ()
    """Known weaknesses."""


@dataclasses.dataclass(frozen=True)
class CardFacts:
    """Everything on a card.

    Attributes:
        about: what people said.
        model: the folder, as it was given.
        hash: of the weights.
        description: of the model folder.
        spec: what fixes the network.
        settings: of the training by dotted name; empty where there is no run.
        evaluation: as `sadm evaluate` wrote it, or None.
        audit: as `sadm audit` wrote it, or None.
        audit_fits: whether that was of this very model's own images.
        rules: the policy, or None.
    """

    about: CardConfig
    model: str
    hash: str
    description: dict[str, Any]
    spec: ModelSpec
    settings: dict[str, Any]
    evaluation: dict[str, Any] | None
    audit: dict[str, Any] | None
    audit_fits: bool
    rules: Policy | None

    @property
    def title(self) -> str:
        """The card's title."""
        return self.about.name or Path(self.model).resolve().name


def card_facts(
    model: str | Path, about: str | Path | None = None, policy: str | Path | None = None, licence: str = ""
) -> CardFacts:
    """Gathers what is known about a model. No weights are loaded.

    Args:
        model: a run or model folder.
        about: a YAML file with the keys of `CardConfig`.
        policy: file of the usage policy; see `policy_of`.
        licence: of the model, before that of `about`.

    Raises:
        UserError: there is no model, or one of the files is damaged or has keys that mean nothing.
    """
    folder, description = model_description(model)
    said = build_config(CardConfig, {} if about is None else read_yaml(about), str(about))
    rules = policy_of(model, policy)
    if rules is not None:
        same = ("owner", "contact", "permitted", "forbidden", "licences")
        said = said.model_copy(update={name: getattr(rules.rules, name) for name in same if not getattr(said, name)})
    if licence:
        said = said.model_copy(update={"licence": licence})
    run, found, own = run_of(folder), audit_of(model), model_hash(model)
    audit = None if found is None else found[1]
    evaluation = None if run is None or not (run / EVALUATION).is_file() else read_object(run / EVALUATION)
    fits = audit is not None and audit.get("model") == own and audit.get("drawn") is True
    return CardFacts(
        said,
        str(model),
        own,
        description,
        model_spec(model),
        _settings(run),
        evaluation,
        audit,
        fits,
        rules,
    )


def _settings(run: Path | None) -> dict[str, Any]:
    if run is None:
        return {}
    values = flatten(read_yaml(run / CONFIG))
    try:
        return {name: values[name] for name in SETTINGS if name in values}
    except TypeError as error:
        raise UserError(f"{run / CONFIG} is no run's configuration: {error}.") from error
