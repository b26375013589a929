"""The images of a seed's sequence as files: drawn a batch at a time, and not drawn again where they are there already."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from sadm.core.errors import InterruptedRun
from sadm.core.marking import Mark
from sadm.core.progress import Reporter
from sadm.core.stopping import StopRequest
from sadm.training.config import SamplingConfig
from sadm.training.frequencies import by_size
from sadm.training.model_folder import Model
from sadm.training.outputs import GeneratedImages
from sadm.training.telling import condition


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSequence:
    """The first images of the sequence that belongs to a seed.

    Attributes:
        model: that draws them.
        count: how many.
        seed: of the sequence.
        labels: classes [count]; None for a model without.
        sampling: how they are drawn.
        size: their height and width; None = the training images' shapes at their frequencies.
        attributes: numbers by name that the network is told of all of them.
        weak: the model that guidance leads away from; None = the null class.
    """

    model: Model
    count: int
    seed: int
    labels: torch.Tensor | None
    sampling: SamplingConfig
    size: tuple[int, int] | None = None
    attributes: Mapping[str, float] = dataclasses.field(default_factory=dict)
    weak: Model | None = None

    def check(self) -> None:
        """Refuses what the model can't draw, before anything is written.

        Raises:
            UserError: the settings, the size or an attribute make no sense for it.
        """
        self.model.settings(self.sampling, self.weak)
        self.model.shape_drawn(self.size)
        if self.attributes:
            condition(self.model.spec, 1, self.attributes)

    def name(self, index: int) -> str:
        """The file of an image."""
        return f"{self.seed:06d}-{index:06d}.png"

    def label(self, index: int) -> str | None:
        """Name of the class that is asked for; the null class has none."""
        if self.labels is None:
            return None
        return (*self.model.spec.class_names, None)[int(self.labels[index])]

    @property
    def settings(self) -> dict[str, Any]:
        """What else all the images depend on, for JSON."""
        settings = self.sampling.model_dump(mode="json", exclude={"batch"})
        if self.attributes:
            settings["attributes"] = dict(self.attributes)
        if self.weak is not None:
            settings["weak"] = self.weak.hash
        return settings

    def sizes(self) -> torch.Tensor:
        """Heights and widths [count, 2]; where the network draws latents, theirs."""
        if self.size is not None:
            return torch.tensor(self.size).expand(self.count, 2)
        return self.model.training_sizes(self.count, self.seed, self.labels)

    def details(self, index: int, sizes: torch.Tensor) -> dict[str, Any]:
        """What is written about an image, for JSON; `sizes` as of `sizes`."""
        several = self.size is not None or bool(self.model.spec.shapes)
        height, width = sizes[index].tolist()
        return {"index": index, **self.settings, **({"size": [width, height]} if several else {})}

    def write(self, outputs: GeneratedImages, reporter: Reporter, stop: StopRequest) -> int:
        """Draws the images that are not there yet, a batch at a time, and writes each batch before the next one is drawn.

        An image is there if its file's mark is the one that it would get (command, version, model, seed, label and all settings)
        and its pixels are those that were marked. Others of the same name are written over.

        Args:
            outputs: the folder.
            reporter: told about progress.
            stop: asked between batches.

        Returns:
            How many were there.

        Raises:
            UserError: a file can't be written, or the usage policy allows no further image.
            InterruptedRun: stopped between batches.
        """
        sizes, kept, done = self.sizes(), 0, 0
        told = condition(self.model.spec, self.count, self.attributes) if self.attributes else None
        how: dict[str, Any] = {"sampling": self.sampling, "weak": self.weak, "size": self.size, "told": told}
        for batch in self._batches(sizes):
            missing = [i for i in batch if not outputs.holds(self.name(i), self._mark(outputs, i, sizes))]
            kept += len(batch) - len(missing)
            if stop.requested:
                raise InterruptedRun(
                    f"Stopped: {done} of {self.count} images are in {outputs.folder}. To go on, run the same command: it "
                    "draws the others."
                )
            if missing:
                drawn = self.model.sample_shapes(self.count, self.seed, self.labels, only=missing, **how)
                for i, image in zip(missing, drawn, strict=True):
                    details = self.details(i, sizes)
                    outputs.add(self.name(i), image, seed=self.seed, label=self.label(i), details=details)
            done += len(batch)
            reporter.update("sampling", done, self.count)
        return kept

    def _batches(self, sizes: torch.Tensor) -> Iterator[list[int]]:
        """Numbers of images that are drawn together: as many as the sampler takes at a time, all of one shape."""
        for group in by_size(sizes, range(self.count)):
            for first in range(0, len(group), self.sampling.batch):
                yield group[first : first + self.sampling.batch]

    def _mark(self, outputs: GeneratedImages, index: int, sizes: torch.Tensor) -> Mark:
        return outputs.mark(self.seed, self.label(index), details=self.details(index, sizes))
