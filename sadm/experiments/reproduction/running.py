"""An experiment of the paper from images to a number beside the published one; a stopped one goes on with the same command.

OUT/run/               the training, as `sadm train` leaves it
OUT/features/          features of the images that are scored
OUT/reproduction.json  ours beside the published figure
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sadm.core.config import differences, merge
from sadm.core.errors import UserError
from sadm.core.files import read_json, refuse_foreign_folder, write_json
from sadm.core.progress import Reporter, Silent
from sadm.core.provenance import provenance
from sadm.evaluation import Judge, ReferenceStatistics
from sadm.experiments.reproduction.scoring import AT_ONCE, Scoring, score
from sadm.experiments.reproduction.targets import Target
from sadm.training.config import TrainConfig, load_train_config
from sadm.training.finetuning import finetune_config
from sadm.training.model_folder import Model, load_model, model_hash
from sadm.training.run import split_for, train

RESULT, RUN, FEATURES = "reproduction.json", "run", "features"


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be reproduced, with what.

    Attributes:
        name: of the experiment.
        target: the experiment.
        arm: which of its arms.
        data: the images, as ``--data``.
        model: folder of the model to start from; None from scratch.
        judge: the feature space; needed by `reproduce`.
        reference: published statistics of the reference images, and what they were read from; None = the training images.
        change: keys in which the training departs from the recipe.
        images: how many are generated and scored; None = as the recipe says.
        at_once: of them at a time.
    """

    name: str
    target: Target
    arm: str
    data: str
    model: str | None
    judge: Judge | None = None
    reference: tuple[str, ReferenceStatistics] | None = None
    change: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    images: int | None = None
    at_once: int = AT_ONCE


def config_for(job: Job) -> TrainConfig:
    """The training's configuration.

    Raises:
        UserError: a model is missing or superfluous, or not the public one; or a key is wrong.
    """
    keys = merge(job.target.keys(job.arm), {"data": {"source": job.data, "resolution": job.target.resolution}})
    keys = merge(keys, job.change)
    start = job.target.start
    if start is None:
        if job.model is not None:
            raise UserError(f"--from {job.model}: {job.name} is trained from scratch. Leave --from out.")
        return load_train_config(overrides=keys)
    if job.model is None:
        raise UserError(
            f"--from is missing: {job.name} starts from {start.file}. Get it from {start.url}, and the autoencoder "
            f"{start.autoencoder}; then: sadm convert {start.file} --family {start.family} --autoencoder {start.autoencoder} "
            "--out models/dit"
        )
    _refuse_other_model(job, load_model(job.model))
    return finetune_config(job.model, keys.get("finetune", {}).get("method", "full"), keys)


def reproduce(job: Job, out: str | Path, reporter: Reporter | None = None) -> dict[str, Any]:
    """Trains, scores and stores an experiment in the folder `out`, or goes on where it stopped.

    Returns:
        What `RESULT` holds.

    Raises:
        UserError: unfit images or model, another job in the folder, a full disk.
        InterruptedRun: stopped by Ctrl-C; the same call goes on.
    """
    folder, shown, judge = Path(out), reporter or Silent(), job.judge
    assert judge is not None  # noqa: S101 - for the type checker
    refuse_foreign_folder(folder, RUN, "reproduction", ignoring=(RESULT, FEATURES))
    config = config_for(job)
    stored = read_json(folder / RESULT) if (folder / RESULT).exists() else None
    if stored is not None and (stored["experiment"], stored["arm"]) != (job.name, job.arm):
        raise UserError(
            f"{folder} holds {stored['experiment']}, arm {stored['arm']}; {job.name}, arm {job.arm}, was asked for. Choose "
            "another --out."
        )
    training = split_for(config, shown).train
    result = train(config, folder / RUN, shown, training)
    model = load_model(folder / RUN, config.device)
    how = Scoring(
        judge,
        None if job.reference is None else job.reference[1],
        job.images or job.target.protocol.images,
        at_once=job.at_once,
    )
    kept = hashlib.sha256(f"{model_hash(folder / RUN)} {config.sampling} {judge.name}".encode()).hexdigest()[:16]
    value = score(model, training, how, folder / FEATURES / kept, shown)
    facts = {
        "experiment": job.name,
        "arm": job.arm,
        "title": job.target.title,
        "published": None if (figure := job.target.figure(job.arm)) is None else figure.model_dump(),
        "ours": {
            "metric": "FID" if judge.name == "inception" else f"FD, {judge.name}",
            "value": value,
            "images": how.images,
            "seed": how.seed,
            "reference": f"{len(training)} training images" if job.reference is None else job.reference[0],
            "sampling": config.sampling.model_dump(mode="json"),
            "steps": result.steps,
            "seconds": result.cpu_seconds + result.pretrain_cpu_seconds,
        },
        "changed": departures(job, config),
        "provenance": provenance(),
    }
    write_json(folder / RESULT, facts)
    return facts


def departures(job: Job, config: TrainConfig) -> list[str]:
    """In what a training, or the number of images that are scored, differs from the recipe."""
    own = ("device", "start_from", "data.source", "data.autoencoder", "data.latents", "data.workers", "log.")
    # What a public model brings with it is no departure: `config_for` has refused another network.
    taken = ("net.", "process.") if job.target.start is not None else ()
    recipe = job.target.config(job.arm)
    found = [line.replace("stored", "recipe").replace("given", "here") for line in differences(config, recipe, own)]
    ignored = tuple(prefix for prefix in taken if not any(key.startswith(prefix[:-1]) for key in job.change))
    kept = [line for line in found if not (ignored and line.startswith(ignored))]
    if job.images not in (None, job.target.protocol.images):
        kept.append(f"images: recipe {job.target.protocol.images}, here {job.images}")
    return kept


def finished(folder: str | Path) -> list[dict[str, Any]]:
    """All results in a folder or its subfolders, in the order of their paths."""
    root = Path(folder)
    return [read_json(path) for path in sorted([*root.glob(RESULT), *root.glob(f"*/{RESULT}")])]


def _refuse_other_model(job: Job, model: Model) -> None:
    start = job.target.start
    assert start is not None  # noqa: S101 - for the type checker
    shape = job.target.latent_shape
    wanted, found = (start.net, start.process, shape), (model.spec.net, model.spec.process, model.spec.shape)
    names = ("network", "process", "latents")
    other = [
        f"{name} {here}, expected {there}"
        for name, here, there in zip(names, found, wanted, strict=True)
        if here != there
    ]
    if other:
        raise UserError(
            f"--from {job.model}: that is not {start.file}, which {job.name} starts from ({'; '.join(other)}). Give the public "
            "weights, or fine-tune your model with: sadm finetune"
        )
