"""The paper's experiments as data: images, starting weights, training recipe, published figures. Imports no torch."""

from __future__ import annotations

import difflib
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from pydantic import model_validator

from sadm.core.config import Config, Positive, PositiveFloat, build_config, merge, parse_yaml
from sadm.core.errors import UserError
from sadm.training.config import DenoiserConfig, NetConfig, TrainConfig

PACKAGE = "sadm.recipes.reproduce"
SHARED = "_"
"""Files whose name begins with this are shared by others (`extends`), and no targets."""
MODEL = "MODEL"
"""Stands for the model to start from, in a recipe that has none yet."""

Layout = Literal["class_folders", "parts", "table", "flat", "dataset_json"]


class Figure(Config):
    """A published figure."""

    arm: str | None = None
    """The arm of the recipe that is to reproduce it; None = no arm does."""
    what: str
    """The model, such as 'SADM, class-conditional'."""
    metric: Literal["FID"] = "FID"
    value: PositiveFloat | None = None
    """None where no source of it was read."""
    paper: str
    """Whose figure it is, with its arXiv number."""
    place: str
    """Where it stands, or should stand, in the paper."""
    read: Literal["paper", "listing", "none"]
    """paper = in the paper or on its authors' own page; listing = in somebody else's list of its results; none = not at all."""
    read_in: str | None = None
    """What was read; None where nothing was."""

    @model_validator(mode="after")
    def _was_read(self) -> Figure:
        if (self.value is None) != (self.read == "none") or (self.read_in is None) != (self.read == "none"):
            raise ValueError("a figure has a value and a 'read_in' if, and only if, it was read")
        return self


class ImagesOf(Config):
    """A data set: what to get, and how it has to lie."""

    classes: Positive | None
    """None = no labels, or a number that was not read (see `unread`)."""
    images: Positive | None
    """Images that training and held-out part are taken from; None = not read."""
    labelled: bool = True
    size: list[tuple[Positive, Positive]]
    """Widths and heights that are usual, for the generated images of a rehearsal."""
    file: Literal["jpg", "JPEG", "png"]
    """How the names of image files end."""
    layout: Layout
    """class_folders = FOLDER/CLASS/image; parts = FOLDER/train/CLASS/image and FOLDER/test/CLASS/image; table = images and a
    metadata.csv with file_name and label; flat = FOLDER/image; dataset_json = a zip with a dataset.json, as EDM's tool writes it.
    """
    path: str
    """What --data names, inside what is downloaded."""
    examples: list[str]
    """A few class names, as folders or labels are called; empty without labels."""
    licence: str | None
    """None = not read."""
    page: str
    """Where to get it."""
    read_in: str
    """Where its numbers and its licence were read."""
    unread: str | None = None
    """What was not read, and is not known here."""

    @model_validator(mode="after")
    def _labels(self) -> ImagesOf:
        if bool(self.examples) != self.labelled:
            raise ValueError("labelled images need examples of class names, and others have none")
        return self


class Weights(Config):
    """Public weights that a training starts from."""

    file: str
    url: str
    licence: str
    family: Literal["dit", "sit"]
    autoencoder: str
    factor: Positive
    """Pixels along one side of a latent."""
    channels: Positive
    """Of a latent."""
    classes: Positive
    net: NetConfig
    process: DenoiserConfig


class Protocol(Config):
    """How the figure is measured; how samples are drawn is in the recipe's `sampling`."""

    images: Positive
    """Generated images."""
    read_in: str
    """Where the protocol was read, or that it is ours."""


class Target(Config):
    """One experiment."""

    title: str
    kind: Literal["fine-tuning", "training"]
    inferred: bool = False
    """Whether the paper's use of this data set is inferred from the table of the method that it compares with."""
    images: ImagesOf
    start: Weights | None = None
    """None = from scratch."""
    resolution: Positive
    train: dict[str, Any]
    """Keys of a `TrainConfig` that all arms share; network, process and autoencoder come from the model, if there is one."""
    arms: dict[str, dict[str, Any]]
    """By name, further keys; the first arm is the paper's method."""
    choices: list[str]
    """What no source that was read says, and is our choice."""
    protocol: Protocol
    figures: list[Figure]

    @model_validator(mode="after")
    def _fits(self) -> Target:
        strange = {figure.arm for figure in self.figures} - {None, *self.arms}
        if strange:
            raise ValueError(f"a figure names the arm '{min(map(str, strange))}'; there are {', '.join(self.arms)}")
        for arm in self.arms:
            self.config(arm)
        return self

    @property
    def first_arm(self) -> str:
        """The arm of the paper's method."""
        return next(iter(self.arms))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """What the network works on (C, H, W): latents, or the pixels themselves."""
        if self.start is None:
            return 3, self.resolution, self.resolution
        side = self.resolution // self.start.factor
        return self.start.channels, side, side

    @property
    def planned_classes(self) -> int:
        """Classes that are planned with; as many as the public weights have where the number is not known."""
        if not self.images.labelled:
            return 0
        if self.images.classes is not None:
            return self.images.classes
        return self.start.classes if self.start is not None else 0

    def keys(self, arm: str, change: dict[str, Any] | None = None) -> dict[str, Any]:
        """The recipe's keys of a `TrainConfig`, those of `change` on top.

        Raises:
            UserError: there is no such arm.
        """
        if arm not in self.arms:
            raise UserError(f"unknown arm '{arm}'; there are {', '.join(self.arms)}{_nearest(arm, self.arms)}.")
        return merge(merge(self.train, self.arms[arm]), change or {})

    def config(self, arm: str, change: dict[str, Any] | None = None) -> TrainConfig:
        """The whole configuration, with `MODEL` for the model to start from; its process and network are the public weights'."""
        values: dict[str, Any] = {"data": {"resolution": self.resolution}}
        if self.start is not None:
            own = {"net": self.start.net.model_dump(mode="json"), "process": self.start.process.model_dump(mode="json")}
            values = merge(values, {**own, "start_from": MODEL, "data": {"autoencoder": self.start.autoencoder}})
        return build_config(TrainConfig, merge(values, self.keys(arm, change)), f"recipe {self.title}, arm {arm}")

    def figure(self, arm: str) -> Figure | None:
        """The published figure that an arm is compared with."""
        return next((figure for figure in self.figures if figure.arm == arm), None)


def target_names() -> list[str]:
    """All targets: fine-tuning before training, each in the order of their names."""
    names = [file.name.removesuffix(".yaml") for file in resources.files(PACKAGE).iterdir() if _is_recipe(file.name)]
    return sorted(names, key=lambda name: (_values(name)["kind"] == "training", name))


@lru_cache(maxsize=64)
def load_target(name: str) -> Target:
    """A target by its name.

    Raises:
        UserError: there is none.
    """
    names = target_names()
    if name not in names:
        raise UserError(f"unknown experiment '{name}'; there are {', '.join(names)}{_nearest(name, names)}.")
    return build_config(Target, _values(name), f"recipe {name}")


@lru_cache(maxsize=64)
def _values(name: str) -> dict[str, Any]:
    """What a file and those that it extends hold; not to be changed."""
    values = parse_yaml((resources.files(PACKAGE) / f"{name}.yaml").read_text("utf-8"), f"recipe {name}")
    shared = values.pop("extends", None)
    return values if shared is None else merge(_values(shared), values)


def _is_recipe(file: str) -> bool:
    return file.endswith(".yaml") and not file.startswith(SHARED)


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f" (nearest: '{near[0]}')" if near else ""
