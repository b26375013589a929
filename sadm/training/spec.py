"""All that fixes a denoiser but its weights."""

from __future__ import annotations

import dataclasses

import torch

from sadm.core.conditions import AttributeScale
from sadm.core.errors import UserError
from sadm.data import ImageSet
from sadm.data.told import ATTRIBUTES, DAMAGE, MASKS, PICTURES, scales_of
from sadm.diffusion import Centred
from sadm.training.augmentation import augmenter_for
from sadm.training.config import DenoiserConfig, NetConfig, ProcessConfig
from sadm.training.data_config import DataConfig
from sadm.training.latents import TrainingSet, pictures_of
from sadm.training.networks import Surroundings, build_network
from sadm.training.process import NOISE_SCALES, AnyDenoiser, build_denoiser


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """All that fixes a denoiser but its weights.

    Attributes:
        shape: one image, (C, H, W); of several shapes, the square in which images are compared.
        net: sizes of the network.
        sigma_data: standard deviation of the data.
        class_names: empty for an unconditional model.
        label_counts: training images of each class.
        process: how the network is put behind the contract.
        augment: the columns of `Cond.augment` that the network is told of; empty = it was trained without.
        attributes: the numbers that the network is told of; empty = none.
        pictures: what `Cond.image` shows the network, some of `sadm.data.told.PICTURES` in that order; empty = nothing.
        centred: whether a damaged image that the network is told of is what it starts from; see `sadm.diffusion.Centred`.
        shapes: heights and widths of the training images, where there are several; the network then takes any.
        shape_counts: for each of these, training images of each class (one number without classes).
    """

    shape: tuple[int, int, int]
    net: NetConfig
    sigma_data: float
    class_names: tuple[str, ...]
    label_counts: tuple[int, ...]
    process: DenoiserConfig = dataclasses.field(default_factory=DenoiserConfig)
    augment: tuple[str, ...] = ()
    shapes: tuple[tuple[int, int], ...] = ()
    shape_counts: tuple[tuple[int, ...], ...] = ()
    attributes: tuple[AttributeScale, ...] = ()
    pictures: tuple[str, ...] = ()
    centred: bool = False

    @property
    def picture_channels(self) -> dict[str, int]:
        """Channels of each of `pictures`."""
        return {name: 1 if name == MASKS else self.shape[0] for name in self.pictures}

    def build(self) -> AnyDenoiser:
        """A denoiser with freshly initialised weights; errors as of `network`."""
        return self.around(self.network())

    def network(self) -> torch.nn.Module:
        """Its network alone.

        Raises:
            UserError: the image does not fit the network (see `build_network`), or a package that it needs is missing.
        """
        around = Surroundings(
            self.shape,
            len(self.class_names),
            noise_scale=self.net.noise_scale or NOISE_SCALES[self.process.kind],
            learned_variance=self.process.learned_variance,
            augment_dims=len(self.augment),
            attribute_dims=2 * len(self.attributes),
            picture_channels=sum(self.picture_channels.values()),
            any_shape=bool(self.shapes),
        )
        return build_network(self.net, around)

    def around(self, net: torch.nn.Module) -> AnyDenoiser:
        """The denoiser of a network that is there already."""
        denoiser = build_denoiser(net, self.process, self.sigma_data)
        return Centred(denoiser, self.picture_channels[DAMAGE]) if self.centred else denoiser


def spec_for(images: TrainingSet, net: NetConfig, process: ProcessConfig, data: DataConfig | None = None) -> ModelSpec:
    """The specification of a denoiser for these training images or latents.

    A `sigma_data` of None is measured on them, as they are. Without `data`, the network is told of their classes alone.

    Raises:
        UserError: they are all of one grey, can't be augmented so, or have nothing that the network is to be told.
    """
    augmenter = None if data is None else augmenter_for(data.augment, pictures_of(images))
    tell = () if data is None else data.tell
    scales = scales_of(pictures_of(images)) if ATTRIBUTES in tell else ()
    pictures = tuple(kind for kind in PICTURES if kind in tell)
    counts = torch.bincount(images.labels, minlength=images.num_classes).tolist() if images.labels is not None else []
    measured = round(images.std(), 4) if process.sigma_data is None else process.sigma_data
    if not measured > 0:
        raise UserError(f"all pixels of the training images in {images.source} are equal; there is nothing to learn.")
    told = () if augmenter is None else augmenter.names
    shapes, by_shape = _shapes_and_counts(pictures_of(images))
    net = net.without_name
    facts = (images.shape, net, measured, images.class_names, tuple(counts), process.denoiser, told, shapes, by_shape)
    return ModelSpec(*facts, attributes=scales, pictures=pictures, centred=DAMAGE in pictures)


def _shapes_and_counts(images: ImageSet) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, ...], ...]]:
    """`ModelSpec.shapes` and `ModelSpec.shape_counts` of these training images."""
    if images.shaped is None:
        return (), ()
    shapes, which = images.shaped.shapes()
    labels = torch.zeros(len(images), dtype=torch.int64) if images.labels is None else images.labels
    classes = max(1, images.num_classes)
    table = torch.bincount(which * classes + labels, minlength=len(shapes) * classes).view(-1, classes)  # [S, K]
    return tuple((height, width) for height, width in shapes.tolist()), tuple(map(tuple, table.tolist()))
