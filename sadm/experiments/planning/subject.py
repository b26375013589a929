"""What is planned: a training's configuration, and what of its images decides sizes. Imports no torch."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from pathlib import Path
from typing import Any

from sadm.core.config import build_config, read_yaml
from sadm.core.dit_sizes import DIT_NAMES, sizes_of
from sadm.core.errors import UserError
from sadm.experiments.reproduction.targets import load_target, target_names
from sadm.training.config import TrainConfig, load_train_config, recipe_names
from sadm.training.net_config import merge_training

Shape = tuple[int, int, int]
BUILT_IN: dict[str, tuple[Shape, int, int]] = {
    "digits": ((1, 8, 8), 10, 1797),
    "fashion-mnist": ((1, 28, 28), 10, 60000),
}
"""Shape, classes and images of built-in sets; of a set with a test set of its own, the training images."""
SIDES = (256, 512)
PUBLISHED = re.compile(r"imagenet(256|512)_dit_(s|b|l|xl)([248])")
FACTOR, LATENT_CHANNELS = 8, 4
"""Of an autoencoder that is not at hand: those of Stable Diffusion's first ones, which DiT was trained with."""


@dataclasses.dataclass(frozen=True)
class Base:
    """Where planning starts from, before the options that change it.

    Attributes:
        name: of the recipe, experiment or network.
        config: of the training.
        shape: of an image or latent (C, H, W); None = as the configuration's data say.
        classes: without the null class; None = as the data say.
        images: training images; None = as the data say, or not known.
        samples: images that are drawn to judge it; 0 = none.
    """

    name: str
    config: TrainConfig
    shape: Shape | None = None
    classes: int | None = None
    images: int | None = None
    samples: int = 0


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is planned; attributes as of `Base`, all decided but the number of images."""

    name: str
    config: TrainConfig
    shape: Shape
    classes: int
    images: int | None
    samples: int = 0


def published_names() -> list[str]:
    """Names of DiT's published networks on ImageNet."""
    short = [name.lower().replace("-", "_").replace("/", "") for name in DIT_NAMES]
    return [f"imagenet{side}_{name}" for side in SIDES for name in short]


def base_for(recipe: str | None, config: str | Path | None = None, arm: str | None = None) -> Base:
    """The training that a name stands for, with the keys of a YAML file on top.

    Args:
        recipe: a recipe of ``sadm train``, an experiment of ``sadm reproduce``, or one of `published_names`; None = none.
        config: a YAML file of training options, such as the config.yaml of a run.
        arm: of an experiment; None = the paper's method.

    Raises:
        UserError: an unknown name, a missing file, or keys that don't fit.
    """
    given = {} if config is None else read_yaml(config)
    if recipe in target_names():
        base = _experiment(str(recipe), given, arm)
    elif arm is not None:
        raise UserError(f"--arm is about an experiment of sadm reproduce ({', '.join(target_names())}), got {recipe}.")
    elif recipe is not None and PUBLISHED.fullmatch(recipe):
        base = _published(str(recipe), given)
    elif recipe is None or recipe in recipe_names():
        base = Base(
            recipe or ("configuration" if config is None else Path(config).name), load_train_config(recipe, config)
        )
    else:
        known = [*recipe_names(), *target_names(), *published_names()]
        near = difflib.get_close_matches(recipe, known, n=1, cutoff=0.4)
        raise UserError(
            f"unknown recipe '{recipe}'; there are {', '.join(recipe_names())}; experiments {', '.join(target_names())}; and "
            f"published networks such as imagenet256_dit_xl2{f' (nearest: {near[0]!r})' if near else ''}."
        )
    return base if config is None else _of_run(base, Path(config).parent)


def subject_of(base: Base, config: TrainConfig, shape: Shape | None = None, classes: int | None = None) -> Subject:
    """What is planned, with the configuration as it came out.

    Args:
        base: where planning started from.
        config: with all options.
        shape: of an image or latent, where the user gave it.
        classes: likewise.

    Raises:
        UserError: nothing says how large images are.
    """
    data = config.data
    known = BUILT_IN.get(data.source) if base.classes is None else None  # of others, the name of the set says nothing
    own_shape, own_classes, images = known if known else (None, 0, base.images)
    if known and data.source == "digits":
        images = round(known[2] * (1 - data.held_out))
    if data.limit is not None:
        images = min(data.limit, images or data.limit)
    same = (data.resolution, data.autoencoder) == (base.config.data.resolution, base.config.data.autoencoder)
    found = shape or (base.shape if same else None) or _shape_from(config, own_shape)
    number = classes if classes is not None else own_classes if base.classes is None else base.classes
    own = config.model_copy(update={"net": config.net.without_name})  # a plan is made from networks of fewer blocks
    return Subject(base.name, own, found, number, images, base.samples)


def _experiment(name: str, change: dict[str, Any], arm: str | None) -> Base:
    target = load_target(name)
    chosen = arm or target.first_arm
    config = target.config(chosen, change)
    title = name if arm is None else f"{name}, arm {arm}"
    shape = target.latent_shape if config.data.resolution == target.resolution else None
    return Base(title, config, shape, target.planned_classes, target.images.images, target.protocol.images)


def _published(name: str, change: dict[str, Any]) -> Base:
    """A published network, trained as DiT's script does: batches of 256 at a constant rate of 1e-4 (2212.09748, section 4)."""
    side, size, patch = re.fullmatch(PUBLISHED, name).groups()  # type: ignore[union-attr]
    whole = size == "xl" and patch == "2"
    net = {**sizes_of(f"DiT-{size.upper()}/{patch}"), "noise_scale": 1.0}
    values = {
        "data": {"resolution": int(side), "autoencoder": "sd-vae-ft-ema", "flip": True},
        "net": net,
        "process": {"kind": "vp", "learned_variance": True},
        "optimiser": {
            "steps": (7_000_000 if side == "256" else 3_000_000) if whole else 400_000,
            "batch": 256,
            "learning_rate": 1e-4,
            "warmup_steps": 0,
            "decay": "constant",
            "clip": None,
        },
        "sampling": {"solver": "ddpm", "steps": 250},
    }
    config = build_config(TrainConfig, merge_training(values, change), name)
    latent = int(side) // FACTOR
    return Base(name, config, (LATENT_CHANNELS, latent, latent), 1000, 1281167)


def _of_run(base: Base, folder: Path) -> Base:
    """With shape and classes of the run whose configuration that was, where its model lies beside it."""
    if not (folder / "model.json").is_file():
        return base
    from sadm.training.description import model_spec

    spec = model_spec(folder)
    return dataclasses.replace(
        base, name=folder.name, shape=spec.shape, classes=len(spec.class_names), images=sum(spec.label_counts) or None
    )


def _shape_from(config: TrainConfig, known: Shape | None) -> Shape:
    data = config.data
    side = data.resolution or (known[1] if known else None)
    if side is None:
        raise UserError(
            f"nothing says how large the images of {data.source} become: give --train.data.resolution, or --shape C H W."
        )
    if data.autoencoder is not None:
        factor, channels = _latents_of(Path(data.autoencoder))
        return channels, side // factor, side // factor
    return data.channels or (known[0] if known else 3), side, side


def _latents_of(folder: Path) -> tuple[int, int]:
    """Pixels along a side of a latent, and its channels."""
    path = folder / "config.json"
    if not path.is_file():
        return FACTOR, LATENT_CHANNELS
    values = json.loads(path.read_text(encoding="utf-8"))
    return 2 ** (len(values["block_out_channels"]) - 1), int(values["latent_channels"])
