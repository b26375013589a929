"""``sadm reproduce``."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from sadm.cli.options import parse
from sadm.core.config import read_yaml
from sadm.core.errors import UserError
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say

if TYPE_CHECKING:
    from sadm.experiments.planning.devices import Gpu

DESCRIPTION = """The experiments of the paper: what was published, what each would take, a rehearsal, and the job itself.

examples:
  sadm reproduce --list
  sadm reproduce food101
  sadm reproduce food101 --dry-run
  sadm convert DiT-XL-2-256x256.pt --family dit --autoencoder sd-vae-ft-ema --out models/dit
  sadm reproduce food101 --data food-101/images --from models/dit --out runs/food101
"""


@dataclasses.dataclass(frozen=True)
class ReproduceOptions:
    """Options of ``sadm reproduce``."""

    name: tyro.conf.Positional[str | None] = None
    """An experiment, such as food101; alone, it is described. Nothing = all of them."""
    list: bool = False
    """Say what there is."""
    dry_run: bool = False
    """Try the whole job at full size without numbers, and small on generated images."""
    data: str | None = None
    """The images, as --data of sadm train."""
    model: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """The converted public weights, for experiments that start from some."""
    out: str | None = None
    """Where everything is kept; the same command goes on there."""
    arm: str | None = None
    """What to train: sadm = the paper's method (the default), or what it is compared with."""
    config: str | None = None
    """A YAML file with keys of sadm train in which to depart from the recipe; what differs is stored and shown."""
    judge: str = "inception"
    """Feature space of the score: inception[:FILE] gives FID; others as --judges of sadm evaluate."""
    reference: str | None = None
    """A file of published statistics (.npz with mu and sigma); None = the training images."""
    images: int | None = None
    """Images to generate and score; None = as the recipe says. Fewer give a larger distance."""
    runs: str = "runs"
    """Where --list looks for finished ones: in this folder and those right inside."""
    tflops: float | None = None
    """Peak of your GPU in single precision, for the plan; None = an A100's."""
    gpu_memory: float | None = None
    """Its memory in GiB."""
    share: float | None = None
    """Share of the peak that you reach; None = one half."""
    lang: Literal["en", "ja"] = "en"
    """Language."""
    json: bool = False
    """Print JSON."""


def run(arguments: list[str]) -> None:
    """Parses the arguments, and lists, describes, rehearses or reproduces."""
    options: ReproduceOptions = parse(ReproduceOptions, arguments, "reproduce", DESCRIPTION)
    from sadm.experiments.reproduction.targets import load_target

    if options.name is not None:
        load_target(options.name)  # a name that is none is refused before anything takes time
    if options.dry_run:
        _rehearse(options)
    elif options.list or options.name is None or (options.data is None and options.out is None):
        _show(options)
    else:
        _reproduce(options, options.name)


def _show(options: ReproduceOptions) -> None:
    from sadm.experiments.reproduction.listing import described, entry, listed
    from sadm.experiments.reproduction.running import finished
    from sadm.experiments.reproduction.targets import load_target, target_names
    from sadm.experiments.reproduction.texts import TABLES

    if options.name is None and not options.list:
        raise UserError("give the name of an experiment, --list or --dry-run. See: sadm reproduce --help")
    gpu, results = _gpu(options), finished(options.runs)
    names = [options.name] if options.name is not None else target_names()
    targets = {name: load_target(name) for name in names}
    if options.json:
        whole = () if options.list else tuple(targets[names[0]].arms)
        found = [entry(name, target, results, gpu, whole) for name, target in targets.items()]
        say(json.dumps(found if options.name is None else found[0], indent=1, ensure_ascii=False))
        return
    show = listed if options.list else described
    say("\n\n".join("\n".join(show(name, target, results, gpu, options.lang)) for name, target in targets.items()))
    if options.list:
        say(f"\n{TABLES[options.lang]['hours_note']}")


def _rehearse(options: ReproduceOptions) -> None:
    from sadm.experiments.reproduction.listing import rehearsed
    from sadm.experiments.reproduction.rehearsal import rehearse
    from sadm.experiments.reproduction.targets import load_target, target_names

    gpu, tried = _gpu(options), []
    for name in [options.name] if options.name is not None else target_names():
        target = load_target(name)
        tried.append(rehearse(name, target, options.arm or target.first_arm, gpu=gpu))
        if not options.json:
            say("\n".join(rehearsed(tried[-1], options.lang)))
    if options.json:
        say(json.dumps([rehearsal.as_dict() for rehearsal in tried], indent=1, ensure_ascii=False))
    if any(rehearsal.result is None for rehearsal in tried):
        raise UserError("not everything could be tried; what is missing is named above.")


def _reproduce(options: ReproduceOptions, name: str) -> None:
    for value, option in ((options.data, "data"), (options.out, "out")):
        if value is None:
            raise UserError(f"--{option} is missing. See: sadm reproduce {name}")
    from sadm.evaluation import network_judges, read_statistics
    from sadm.experiments.reproduction.running import Job, config_for, reproduce
    from sadm.experiments.reproduction.targets import load_target

    target = load_target(name)
    change: dict[str, Any] = {} if options.config is None else read_yaml(options.config)
    reference = None if options.reference is None else (options.reference, read_statistics(options.reference))
    if options.images is not None and options.images < 2:
        raise UserError(f"--images must be at least 2, got {options.images}.")
    with ConsoleReporter() as reporter:
        device = change.get("device", "auto")
        job = Job(name, target, options.arm or target.first_arm, str(options.data), options.model, change=change)
        config_for(job)  # refused before the judge's network is fetched
        judge = network_judges((options.judge,), device, None, reporter)[0]
        job = dataclasses.replace(job, judge=judge, reference=reference, images=options.images)
        facts = reproduce(job, str(options.out), reporter)
    say(json.dumps(facts, indent=1, ensure_ascii=False) if options.json else _sentence(facts))


def _sentence(facts: dict[str, Any]) -> str:
    ours, figure = facts["ours"], facts["published"]
    published = "no published figure"
    if figure is not None:
        published = f"{figure['what']}: {figure['metric']} {figure['value'] or 'not read'} ({figure['paper']})"
    lines = [
        f"{ours['metric']} {ours['value']:.4g} of {ours['images']:,} images against {ours['reference']}; published: {published}."
    ]
    if facts["changed"]:
        lines.append(f"Differs from the recipe: {'; '.join(facts['changed'])}.")
    return "\n".join(lines)


def _gpu(options: ReproduceOptions) -> Gpu:
    from sadm.experiments.planning.devices import Gpu

    usual = Gpu()
    given = {"tflops": options.tflops, "gib": options.gpu_memory, "share": options.share}
    for key, value in given.items():
        if value is not None and (value <= 0 or (key == "share" and value > 1)):
            raise UserError(f"--{'gpu-memory' if key == 'gib' else key} is {value}; expected a number above 0.")
    known = {key: value for key, value in given.items() if value is not None}
    name = usual.name if options.tflops is None and options.gpu_memory is None else "GPU"
    return dataclasses.replace(usual, name=name, **known)
