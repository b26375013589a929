"""What the commands share that make new images from the user's: which model, which images, how many proposals, where to."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import tyro

from sadm.cli.options import required

if TYPE_CHECKING:
    from sadm.core.progress import Reporter
    from sadm.data import ImageSet
    from sadm.training.model_folder import Model


@dataclasses.dataclass(frozen=True)
class EditOptions:
    """Options of ``sadm inpaint``, ``restore`` and ``vary``."""

    model: tyro.conf.Positional[str]
    """A run folder, or the model folder inside."""
    images: str | None = None
    """One image, or anything that `sadm train --data` takes (required)."""
    out: str | None = None
    """The folder to write (required)."""
    proposals: int = 4
    """Proposals for each image."""
    limit: int | None = None
    """The first so many images; None = all."""
    label: str | None = None
    """Class name or index; None = each image's own, where it is known."""
    guidance_scale: float | None = None
    """Guide towards the class; 1 = off; None = the run's own."""
    steps: int | None = None
    """Sampling steps; None = the run's own."""
    resize: bool = False
    """Crop, resize and convert images that are not of the expected size and channels."""
    policy: str | None = None
    """File of a usage policy; None = policy.yaml in the model's or run's folder, if it is there."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """'auto' = the accelerator if there is one, else 'cpu'."""

    def needed(self, command: str, *names: str) -> list[str]:
        """The values of options that must be given.

        Raises:
            UserError: one was not.
        """
        return [required(getattr(self, name), name, command) for name in names]

    def open_model(self) -> Model:
        """The model, sampled as the user asked.

        Raises:
            UserError: there is none, or a setting makes no sense.
        """
        from sadm.applications.images import open_model

        return open_model(self.model, self.device, self.policy, steps=self.steps, guidance_scale=self.guidance_scale)

    def open_images(self, shape: tuple[int, int, int], reporter: Reporter) -> ImageSet:
        """The images, of `shape` (C, H, W); errors as of `images_to_edit`."""
        from sadm.applications.proposals import images_to_edit

        return images_to_edit(str(self.images), shape, self.resize, self.limit, reporter)
