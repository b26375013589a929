"""``sadm evaluate``."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from sadm.cli.gain_tables import downstream_table, representation_table
from sadm.cli.options import parse
from sadm.core.errors import UserError
from sadm.core.progress import ConsoleReporter, Reporter
from sadm.core.terminal import say

if TYPE_CHECKING:
    from torch import Tensor

    from sadm.data import Split
    from sadm.evaluation import Evaluator, Judge, ReferenceStatistics
    from sadm.training.config import TrainConfig
    from sadm.training.measuring import Measuring
    from sadm.training.model_folder import Model

DESCRIPTION = """Judges a trained model against images that training never saw, in several feature spaces.

FD is a Fréchet distance in the named judge's features; the floor is what real images score in the same number.

examples:
  sadm evaluate runs/digits
  sadm evaluate runs/digits --groups 8 --seed 1 --json
  sadm evaluate runs/digits --full
  sadm evaluate runs/digits --downstream --representation
  sadm evaluate runs/photos --judges inception dinov2
"""

WORK = "downstream"  # what is kept of --downstream until it has ended
SPACES = {"spatial": "random convolutions, by place", "patches": "pixels of patches"}
METRICS = {
    "kid": "KID",
    "fd": "FD",
    "fd_limit": "FD at infinitely many images",
    "inception_score": "Inception score in its own classes",
    "structure_distances": "structure: pairwise distances",
    "structure_spectrum": "structure: spectrum of affinities",
    "structure_mixing": "structure: neighbourhoods",
    "structure_classes": "structure: within / between classes",
}


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Options of ``sadm evaluate``."""

    run: tyro.conf.Positional[str]
    """A run folder."""
    groups: int = 4
    """Generated images are judged in this many groups, each as large as the reference."""
    seed: int = 0
    """Seed of the generated images."""
    full: bool = False
    """Also precision, recall, density, coverage, Inception score, intervals, FD at infinitely many images and structure."""
    judges: tuple[str, ...] = ()
    """Further feature spaces: inception[:FILE] (FID), dinov2[:MODEL], transformers:MODEL, timm:MODEL, python:MODULE:FUNCTION."""
    reference: str | None = None
    """A file of published statistics (.npz with mu and sigma, such as ADM's reference batches) of the first of --judges."""
    downstream: bool = False
    """Also what classifiers gain from generated images, in accuracy and in real images; trains some dozens of them."""
    classifiers: int = 5
    """Classifiers of each kind for --downstream; more make intervals narrower."""
    representation: bool = False
    """Also how plainly the model's own features tell classes apart, on clean and on corrupted images."""
    device: str = "auto"
    """'auto' = the accelerator if there is one, else 'cpu'."""
    json: bool = False
    """Print JSON instead of a table."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, evaluates, and writes ``evaluation.json`` in the run folder."""
    options: EvaluateOptions = parse(EvaluateOptions, arguments, "evaluate", DESCRIPTION)
    if options.groups < 1:
        raise UserError(f"--groups must be at least 1, got {options.groups}.")
    if options.classifiers < 1:
        raise UserError(f"--classifiers must be at least 1, got {options.classifiers}.")
    from sadm.core.files import remove_leftovers, write_json
    from sadm.evaluation import Evaluator, network_judges, read_statistics
    from sadm.training.trained import open_run

    def progress(done: int, total: int) -> None:
        reporter.update("Feature spaces", done, total)

    if options.reference is not None and not options.judges:
        raise UserError("--reference needs the judge that its statistics are of, such as --judges inception.")
    statistics = None if options.reference is None else read_statistics(options.reference)
    with ConsoleReporter() as reporter:
        config, model, split = open_run(options.run, options.device, reporter)
        measuring = _measuring(options, config, split, model, reporter)
        reporter.say("Fitting judges on held-out images.")
        further = network_judges(options.judges, options.device, Path(options.run) / "features", reporter)
        evaluator = Evaluator(split.held_out, further)
        count = evaluator.group * options.groups
        reporter.say(f"Drawing {count} images.")
        labels = model.training_labels(count, options.seed)
        images = model.sample_for_judging(count, options.seed, labels)
        result = evaluator.evaluate(images, labels)
        more: dict[str, Any] = {}
        if statistics is not None:
            more["reference"] = _against(evaluator, further[0], str(options.reference), statistics, images)
        if options.full:
            more["full"] = evaluator.evaluate_fully(images, labels, progress)
        if options.representation and measuring is not None:
            more["representation"] = measuring.representation(model)
        if options.downstream and measuring is not None:
            work = Path(options.run) / WORK
            more["downstream"] = measuring.downstream(model, Path(options.run), options.seed, folder=work / "generated")
    path = Path(options.run) / "evaluation.json"
    facts = {
        "judges": evaluator.describe(),
        "floor": evaluator.floor,
        "seed": options.seed,
        **result.as_dict(),
        **more,
    }
    remove_leftovers(path.parent, of=path.name)
    write_json(path, facts)
    if options.downstream:
        shutil.rmtree(Path(options.run) / WORK, ignore_errors=True)
    say(json.dumps(facts, indent=1, ensure_ascii=False) if options.json else table(facts))
    if not options.json:
        say(f"Written to {path}")


def table(facts: dict[str, Any]) -> str:
    """The evaluation as lines of text."""
    lines = [f"{'judge':<40}{'FD':>12}{'floor':>12}{'FD - floor':>12}{'KID':>12}"]
    for name, judge in facts["judges"].items():
        fd, floor = facts["fd"][name], facts["floor"][name]
        lines.append(f"{judge['title']:<40}{fd:>12.4g}{floor:>12.4g}{fd - floor:>12.4g}{facts['kid'][name]:>12.4g}")
    if facts["label_accuracy"] is not None:
        lines.append(f"Images that the classifying judge gives their own label: {facts['label_accuracy']:.1%}")
    lines.append(f"{facts['images']} images in groups of {facts['group']}, seed {facts['seed']}.")
    if "reference" in facts:
        lines += reference_lines(facts)
    if "full" in facts:
        lines += ["", *full_table(facts)]
    if "representation" in facts:
        lines += ["", *representation_table(facts["representation"])]
    if "downstream" in facts:
        lines += ["", *downstream_table(facts["downstream"])]
    return "\n".join(lines)


def _measuring(
    options: EvaluateOptions, config: TrainConfig, split: Split, model: Model, reporter: Reporter
) -> Measuring | None:
    """What measures downstream gain and representation; refuses now what they can't be measured on."""
    if not options.downstream and not options.representation:
        return None
    from sadm.training.measuring import Measuring

    folder = Path(options.run) / WORK / "real"
    measuring = Measuring(config, split, model.device, reporter, folder, options.classifiers)
    if options.downstream:
        measuring.check(model)
    return measuring


def _against(
    evaluator: Evaluator, judge: Judge, file: str, statistics: ReferenceStatistics, images: Tensor
) -> dict[str, Any]:
    """Distances from published statistics, with what they are of."""
    try:
        return {"file": file, "judge": judge.name, **evaluator.against(judge, statistics, images)}
    except UserError as error:
        raise UserError(f"{file} is not of the features of '{judge.name}': {error}") from error


def reference_lines(facts: dict[str, Any]) -> list[str]:
    """Distances from published statistics."""
    found, names = facts["reference"], {"fd": "FD", "spatial_fd": "FD by place"}
    if found["judge"] == "inception":
        names = {"fd": "FID", "spatial_fd": "sFID"}
    shown = ", ".join(f"{title} {found[key]:.4g}" for key, title in names.items() if key in found)
    return [
        f"Against {found['file']}: {shown}, of {facts['images']} images. It falls with their number: compare with numbers of as "
        "many images alone."
    ]


def full_table(facts: dict[str, Any]) -> list[str]:
    """The dearer metrics beside what real images score, feature space by feature space."""
    titles = {name: judge["title"] for name, judge in facts["judges"].items()}
    titles |= {f"spatial_{name}": f"{title}, by place" for name, title in titles.items()} | SPACES
    lines = [f"{'metric':<40}{'generated':>22}{'real images':>22}"]
    reasons = []
    for space, metrics in facts["full"].items():
        lines.append(titles[space])
        for name, metric in metrics.items():
            title = f"  {METRICS.get(name, name)}"
            if "reason" in metric:
                reasons.append(f"* {METRICS.get(name, name)}, {titles[space]}: {metric['reason']}")
                lines.append(f"{title:<40}{'*':>22}")
            else:
                cells = [_cell(metric[key], metric.get(f"{key}_error")) for key in ("value", "real")]
                lines.append(f"{title:<40}{cells[0]:>22}{cells[1]:>22}")
    return [*lines, *reasons, "A range is one standard error. What each metric tells and doesn't: docs/metrics.md."]


def _cell(value: float, error: float | None) -> str:
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"
