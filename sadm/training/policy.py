"""A usage policy: what a company allows its models to be used for, and what is refused here where it says so.

It is a YAML file that the company fills in, and is looked for in the model's folder and in that of its run. `enforce` is the
one place that refuses; whatever writes images or models out of a run calls it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from sadm.core.config import Config, Fraction, Positive, build_config, read_yaml
from sadm.core.errors import UserError
from sadm.core.files import read_object, write_atomically
from sadm.training.description import model_folder_in
from sadm.training.model_folder import model_hash

POLICY, AUDIT = "policy.yaml", "audit.json"
_CONFIG = "config.yaml"  # by which a run folder is known

Text = Annotated[str, Field(max_length=10_000)]
Action = Literal["draw", "export"]
"""Images are drawn or changed; or the model itself is written for other programs."""


class PolicyConfig(Config):
    """What a policy says. Texts are quoted in refusals and model cards; the other rules are enforced."""

    owner: Text = ""
    """Who is responsible for the model."""
    contact: Text = ""
    """Where to ask."""
    permitted: tuple[Text, ...] = ()
    """What the model may be used for."""
    forbidden: tuple[Text, ...] = ()
    """What it must not be used for."""
    licences: dict[str, Text] = Field(default_factory=dict)
    """Licence of each source of training images, and of weights that training started from."""
    retention: Text = ""
    """How long generated images and models are kept."""
    require_audit: bool = False
    """Refuse to draw and to export before `sadm audit` has looked for copies by this very model."""
    max_copy_rate: Fraction | None = None
    """Refuse to draw and to export without an audit, or when the 95 % interval of its copy rate reaches above this."""
    require_review: bool = False
    """Generated images are exported only when each was approved."""
    max_images: Positive | None = None
    """Images that one folder of generated images may hold."""
    allow_model_export: bool = True
    """Whether the model may be written for other programs (ONNX, diffusers)."""


@dataclasses.dataclass(frozen=True)
class Policy:
    """A policy and the file that it stands in, which refusals name."""

    rules: PolicyConfig
    path: Path

    def copy_to(self, folder: str | Path) -> None:
        """Lays the policy beside a copy of the model.

        Raises:
            UserError: it can't be written.
        """
        write_atomically(Path(folder) / POLICY, self.path.read_bytes())

    def refuse(self, rule: str, found: str, remedy: str) -> UserError:
        """The error of a rule that was broken: what it says, what was found, what to do."""
        who = f" Ask {self.rules.contact}." if self.rules.contact else ""
        said = getattr(self.rules, rule)
        return UserError(f"the usage policy {self.path} ({rule}: {_yaml(said)}) forbids this: {found}. {remedy}{who}")


def read_policy(path: str | Path) -> Policy:
    """A policy's file.

    Raises:
        UserError: it is missing, no YAML, or says something that no policy says.
    """
    return Policy(build_config(PolicyConfig, read_yaml(path), str(path)), Path(path))


def policy_of(model: str | Path, given: str | Path | None = None) -> Policy | None:
    """The policy that holds for a model: `given`, else policy.yaml in its folder, else that in its run's folder; None = there is
    none.

    Raises:
        UserError: as `read_policy`.
    """
    if given is not None:
        return read_policy(given)
    for folder in _places(model):
        if (folder / POLICY).exists():
            return read_policy(folder / POLICY)
    return None


def policy_of_images(folder: str | Path, given: str | Path | None = None) -> Policy | None:
    """The policy that holds for a folder of generated images: `given`, else policy.yaml in the folder, else that of the model or
    run in the folder above; None = there is none.

    Raises:
        UserError: as `read_policy`.
    """
    if given is None and (Path(folder) / POLICY).exists():
        return read_policy(Path(folder) / POLICY)
    return policy_of(Path(folder).resolve().parent, given)


def leave_with_images(policy: Policy | None, folder: Path) -> None:
    """Lays a copy of a model's policy into a folder of its images, unless one is found from there that asks for as much.

    Raises:
        UserError: it can't be written, or the policy that is found from there makes no sense.
    """
    if policy is None:
        return
    found = policy_of_images(folder)
    if found is None or (policy.rules.require_review and not found.rules.require_review):
        policy.copy_to(folder)


def enforce(policy: Policy | None, model: str | Path, action: Action, hash: str | None = None) -> None:
    """Refuses what a policy forbids.

    Args:
        policy: see `policy_of`; None forbids nothing.
        model: the run or model folder.
        action: what is about to be done.
        hash: of the weights that are about to be used, where they are not those in the folder alone.

    Raises:
        UserError: names the rule, the file and what was measured.
    """
    if policy is None:
        return
    rules = policy.rules
    if action == "export" and not rules.allow_model_export:
        raise policy.refuse("allow_model_export", "a model was to be exported", "Leave it where it is.")
    if rules.require_audit or rules.max_copy_rate is not None:
        _enforce_audit(policy, Path(model), model_hash(model) if hash is None else hash)


def enforce_count(policy: Policy | None, count: int, folder: str | Path) -> None:
    """Refuses a folder of more generated images than a policy allows.

    Raises:
        UserError: names the rule and the file.
    """
    if policy is None or policy.rules.max_images is None or count <= policy.rules.max_images:
        return
    raise policy.refuse(
        "max_images", f"{folder} would hold {count} generated images", "Draw fewer, or delete some that are not needed."
    )


def audit_of(model: str | Path) -> tuple[Path, dict[str, Any]] | None:
    """The audit in a model's or its run's folder, as `sadm audit` writes it; None = there is none.

    Raises:
        UserError: it is damaged.
    """
    for folder in _places(model):
        if (folder / AUDIT).is_file():
            return folder / AUDIT, read_object(folder / AUDIT)
    return None


def run_of(model: str | Path) -> Path | None:
    """The run folder that a run or model folder is, or lies in; None = there is none."""
    folder = model_folder_in(model)
    above = Path(model) if folder != Path(model) else folder.parent
    return above if folder.name == "model" and (above / _CONFIG).is_file() else None


def _enforce_audit(policy: Policy, model: Path, hash: str) -> None:
    rules = policy.rules
    rule, command = "require_audit" if rules.require_audit else "max_copy_rate", f"Run: sadm audit {model}"
    found = audit_of(model)
    if found is None:
        raise policy.refuse(rule, f"there is no {AUDIT} in {model}", f"{command}.")
    path, facts = found
    if facts.get("model") != hash or facts.get("drawn") is not True:
        of = f"model {str(facts.get('model', ''))[:12]}" if facts.get("model") else "a model that it does not name"
        what = f"is of {of}, and this one is {hash[:12]}" if facts.get("model") != hash else "is of images of a folder"
        raise policy.refuse(rule, f"{path} {what}", f"{command}, without --images.")
    if rules.max_copy_rate is None:
        return
    interval = facts.get("copy_rate_interval")
    upper = interval[1] if isinstance(interval, list) and len(interval) == 2 else None
    if not isinstance(upper, int | float) or not 0 <= upper <= 1:
        raise policy.refuse("max_copy_rate", f"{path} has no interval of the copy rate", f"{command} again.")
    if upper > rules.max_copy_rate:
        seen = f"{facts.get('copies')} copies among {facts.get('images')} images"
        raise policy.refuse(
            "max_copy_rate",
            f"by {path} the copy rate may be as high as {upper:.4g} ({seen}, upper end of the 95 % interval)",
            "Train a model that copies less, or audit more images, which makes the interval narrower.",
        )


def _places(model: str | Path) -> list[Path]:
    """Folders in which something about a model is looked for: its own, and that of its run."""
    folder = model_folder_in(model)
    run = run_of(folder)
    return [folder] if run is None else [folder, run]


def _yaml(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
