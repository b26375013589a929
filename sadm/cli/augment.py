"""``sadm augment``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from sadm.cli.options import parse, required
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say

DESCRIPTION = """Fills unbalanced classes with images of a model that was trained on them, and says whether that helps.

Images that do not show their class, lie far from real ones, or copy a training image or each other are refused. Writes the
others in the layout of the source, each with its mark, and records.jsonl and augment.json. Stop it with Ctrl-C; the same command
goes on.

examples:
  sadm augment runs/parts --out filled
  sadm augment runs/parts --data path/to/images --target 50% --classes scratch dent --out filled
  sadm augment runs/parts --out filled --measure
"""

_TITLES = {"class": "class", "quality": "quality", "copy": "copies", "repeat": "repeats"}


@dataclasses.dataclass(frozen=True)
class AugmentOptions:
    """Options of ``sadm augment``."""

    model: tyro.conf.Positional[str]
    """A run folder."""
    out: str | None = None
    """The folder to write (required)."""
    data: str | None = None
    """The images that the model was trained on; None = where they were then. Only their training part is filled up."""
    target: str = "largest"
    """Images that each class is to have: a number, a share of the largest class (0.5 or 50%), or 'largest'."""
    classes: tuple[str, ...] = ()
    """Names of the classes to fill; none = all that have fewer than the target."""
    seed: int = 0
    """Seed of the images, and of the filters."""
    draw_at_most: Annotated[
        int | None, tyro.conf.arg(help="Images drawn of a class at most; None = ten for each missing one.")
    ] = None
    strictness: float = 0.05
    """Refuse an image if less than this share of the real images of its class are as doubtful, in class or in quality."""
    with_real: bool = False
    """Copy the real images, too, each in its part of the split, so that the folder can be trained on as it is."""
    measure: bool = False
    """Train classifiers with and without the images, and with repeated real ones, and compare them on held-out images."""
    classifiers: int = 5
    """--measure: classifiers of each kind."""
    classifier_steps: Annotated[
        int | None, tyro.conf.arg(help="Steps of each classifier; None = 32 times through the images, 300 to 3000.")
    ] = None
    policy: str | None = None
    """File of a usage policy; None = policy.yaml in the model's or run's folder, if it is there."""
    device: str = "auto"
    """'auto' = the accelerator if there is one, else 'cpu'."""
    json: bool = False
    """Print JSON instead of the table."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, fills the classes, and says what was accepted, what was refused, and what it is worth."""
    options: AugmentOptions = parse(AugmentOptions, arguments, "augment", DESCRIPTION)
    out = required(options.out, "out", "augment")
    from sadm.applications.augment import FACTS, AugmentSettings, augment
    from sadm.core.errors import UserError

    if options.classifiers < 1:
        raise UserError(
            f"--classifiers is {options.classifiers}; expected at least 1, and 5 for an interval worth having."
        )
    settings = AugmentSettings(
        options.target,
        options.classes,
        options.seed,
        options.draw_at_most,
        options.strictness,
        options.classifier_steps,
        options.with_real,
    )
    measured = options.classifiers if options.measure else 0
    with ConsoleReporter() as reporter:
        facts = augment(options.model, out, settings, options.data, measured, options.device, reporter, options.policy)
    if options.json:
        say(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    for line in [*table(facts), *facts["short"], *measured_lines(facts)]:
        say(line)
    say(f"{facts['accepted']} generated images, records.jsonl and {FACTS} in {Path(out)}")


def table(facts: dict[str, Any]) -> list[str]:
    """Images of each filled class: real, wanted, drawn, accepted, and refused by each filter."""
    width = max(12, *(len(name) + 2 for name in facts["classes"]))
    heads = ["real", "target", "drawn", "accepted", *_TITLES.values()]
    lines = [
        f"{'':<{width}}{'':>40}{'refused by':>12}",
        f"{'class':<{width}}" + "".join(f"{head:>10}" for head in heads),
    ]
    for name, found in facts["classes"].items():
        numbers = [found["real"], found["target"], found["drawn"], found["accepted"]]
        numbers += [found["refused"][key] for key in _TITLES]
        lines.append(f"{name:<{width}}" + "".join(f"{number:>10}" for number in numbers))
    unjudged = [name for name, found in facts["classes"].items() if not found["judged_quality"]]
    if unjudged:
        lines.append(f"Too few real images to judge quality by: {', '.join(unjudged)}.")
    return lines


def measured_lines(facts: dict[str, Any]) -> list[str]:
    """Accuracy, and recall and precision of each filled class, of each kind of classifier; and the sentence."""
    if "measured" not in facts:
        return [facts["sentence"]] if "sentence" in facts else []
    found = facts["measured"]
    lines = [
        f"{'trained on':<26}{'accuracy':>10}"
        + "".join(f"{'recall ' + name:>20}{'precision ' + name:>23}" for name in found["classes"])
    ]
    for arm, scores in found["scores"].items():
        cells = "".join(
            f"{_percent(scores['recall'][name]):>20}{_percent(scores['precision'][name]):>23}"
            for name in found["classes"]
        )
        lines.append(f"{_ARMS[arm]:<26}{_percent(scores['accuracy']):>10}{cells}")
    return [*lines, facts["sentence"]]


_ARMS = {
    "real": "real images alone",
    "generated": "and the generated ones",
    "oversampled": "and real ones repeated",
    "classical": "and repeated, changed",
}


def _percent(interval: dict[str, Any] | None) -> str:
    return "–" if interval is None else f"{interval['mean']:.1%}"
