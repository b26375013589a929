"""Measurements of a trained model that need classes: downstream gain, and how plainly its features tell classes apart."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sadm.core.errors import DivergedError, UserError
from sadm.core.progress import Reporter
from sadm.data import Split
from sadm.evaluation import HeldOutParts
from sadm.evaluation.downstream import ClassifierSettings, Downstream, DownstreamSettings, check, steps_for
from sadm.evaluation.representation import Activations, blocks_of, measure_representation
from sadm.training.config import SamplingConfig, TrainConfig
from sadm.training.model_folder import Model, model_hash


class Measuring:
    """Measures models of the same images.

    The test images are the third of the held-out ones that gives the floor: no judge learned from it, and no generated image was
    compared with it.

    Args:
        config: of the training; decides whether classifiers see mirror images, too.
        split: the images.
        device: where models and classifiers are.
        reporter: told about progress.
        folder: where classifiers' answers on real images are kept; None = nowhere.
        classifiers: of each kind.

    Raises:
        UserError: images that no classifier can be trained on or judged by.
    """

    def __init__(
        self,
        config: TrainConfig,
        split: Split,
        device: torch.device | str,
        reporter: Reporter,
        folder: Path | None = None,
        classifiers: int = 5,
    ) -> None:
        self.training, self.test = split.train, HeldOutParts.of(split.held_out).floor
        check(self.training, self.test)
        self.flip, self.device, self.reporter = config.data.flip, device, reporter
        self.folder, self.classifiers = folder, classifiers

    @cached_property
    def _downstream(self) -> Downstream:
        classifier = ClassifierSettings(steps_for(len(self.training)), flip=self.flip)
        settings = DownstreamSettings(self.classifiers, classifier=classifier)
        return Downstream(self.training, self.test, settings, self.device, self.reporter, self.folder)

    def downstream(
        self, model: Model, run: Path, seed: int, sampling: SamplingConfig | None = None, folder: Path | None = None
    ) -> dict[str, Any]:
        """What classifiers gain from a model's images; see `Downstream.measure`.

        Args:
            model: of these images, with classes.
            run: its run folder.
            seed: of the images that it draws.
            sampling: how; None = as the model says.
            folder: where images and answers are kept until the measurement has ended; None = nowhere.

        Raises:
            UserError: a model without these classes.
            DivergedError: it draws NaN or infinity.
        """
        self.check(model)
        how = sampling or model.sampling

        def draw(labels: torch.Tensor, seed: int) -> torch.Tensor:
            images = model.sample_for_judging(len(labels), seed, labels, how)
            if not bool(torch.isfinite(images).all()):
                raise DivergedError("the trained model draws NaN or infinite pixels: it has diverged.", step=0)
            return images

        about = {"weights": model_hash(run), "sampling": how.model_dump(mode="json")}
        return self._downstream.measure(draw, seed, folder, about)

    def representation(self, model: Model) -> dict[str, Any]:
        """How plainly a model's features tell classes apart; see `measure_representation`.

        Raises:
            UserError: features that can't be read, or are not finite.
        """
        codec = model.codec()
        encode = None if codec is None else lambda images: codec.encode_moments(images).mean
        activations = Activations(model.denoiser, blocks_of(model.denoiser), encode, model.device)
        return measure_representation(activations, self.training, self.test, reporter=self.reporter)

    def check(self, model: Model) -> None:
        """Refuses a model that can't draw images of these classes.

        Raises:
            UserError: with what it has instead.
        """
        if model.spec.class_names != self.training.class_names:
            found = ", ".join(model.spec.class_names) or "none: it is unconditional"
            raise UserError(
                f"this model's classes are {found}; those of {self.training.source} are "
                f"{', '.join(self.training.class_names)}. Downstream gain needs a model that draws images of the same classes; "
                "train one on labelled images."
            )
