"""A trained model as a folder: weights and what is needed to sample from them, and nothing of the discriminator."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sadm.core.devices import resolve_device
from sadm.core.errors import UserError
from sadm.core.files import folder_written_atomically, read_json, write_json
from sadm.core.seeds import generator
from sadm.diffusion import SamplerSettings, generate, image_seeds, prepare
from sadm.models import DiT, LatentCodec
from sadm.models.weights.naming import set_norm_eps
from sadm.training.augmentation import augmenter_for
from sadm.training.checkpoint import save_tensors
from sadm.training.config import DenoiserConfig, NetConfig, ProcessConfig, SamplingConfig
from sadm.training.data_config import AugmentConfig
from sadm.training.latents import TrainingSet, pictures_of
from sadm.training.process import NOISE_SCALES, AnyDenoiser, build_denoiser

FORMAT = 1
WEIGHTS, DESCRIPTION, AUTOENCODER = "model.safetensors", "model.json", "autoencoder"


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """All that fixes a denoiser but its weights.

    Attributes:
        shape: one image, (C, H, W).
        net: sizes of the network.
        sigma_data: standard deviation of the data.
        class_names: empty for an unconditional model.
        label_counts: training images of each class.
        process: how the network is put behind the contract.
        augment: the columns of `Cond.augment` that the network is told of; empty = it was trained without.
    """

    shape: tuple[int, int, int]
    net: NetConfig
    sigma_data: float
    class_names: tuple[str, ...]
    label_counts: tuple[int, ...]
    process: DenoiserConfig = dataclasses.field(default_factory=DenoiserConfig)
    augment: tuple[str, ...] = ()

    def build(self) -> AnyDenoiser:
        """A denoiser with freshly initialised weights.

        Raises:
            UserError: the image is not divisible into patches.
        """
        sizes = self.net
        if self.shape[1] % sizes.patch or self.shape[2] % sizes.patch:
            raise UserError(
                f"images of {self.shape[1]}x{self.shape[2]} pixels can't be cut into patches of {sizes.patch}x{sizes.patch}. "
                "Choose another --net.patch, or a --data.resolution that it divides."
            )
        own = sizes.model_dump(exclude={"noise_scale", "norm_eps"})
        net = DiT(
            self.shape,
            num_classes=len(self.class_names),
            noise_scale=sizes.noise_scale or NOISE_SCALES[self.process.kind],
            out_channels=2 * self.shape[0] if self.process.learned_variance else None,
            augment_dims=len(self.augment),
            **own,
        )
        set_norm_eps(net, sizes.norm_eps)
        return self.around(net)

    def around(self, net: torch.nn.Module) -> AnyDenoiser:
        """The denoiser of a network that is there already."""
        return build_denoiser(net, self.process, self.sigma_data)


@dataclasses.dataclass(frozen=True)
class Model:
    """A denoiser in eval mode, with what is known about it."""

    denoiser: AnyDenoiser
    spec: ModelSpec
    sampling: SamplingConfig
    description: dict[str, Any]
    device: torch.device
    autoencoder: str | None = None  # the folder of what turns its latents into images

    @property
    def null_label(self) -> int | None:
        """The null class; None for an unconditional model."""
        return len(self.spec.class_names) or None

    def training_labels(self, count: int, seed: int) -> torch.Tensor | None:
        """Labels [count] at the frequencies of the training images, shuffled by `seed`; None for an unconditional model."""
        if not self.spec.class_names:
            return None
        return labels_at_frequencies(torch.tensor(self.spec.label_counts), count, seed)

    def sample(
        self,
        count: int,
        seed: int = 0,
        labels: torch.Tensor | None = None,
        sampling: SamplingConfig | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        weak: Model | None = None,
    ) -> torch.Tensor:
        """Draws `count` images [count, C, H, W] in [-1, 1]; labels default to the training frequencies. Latents are decoded.

        With `weak`, a smaller or less trained model of the same images, guidance is away from it (autoguidance).

        Raises:
            UserError: `sampling` makes no sense for this model, or `weak` is one of other images or classes.
        """
        labels = self.training_labels(count, seed) if labels is None else labels
        settings = sampler_settings(sampling or self.sampling, clamp=self.autoencoder is None)
        self._check_weak(weak)
        worse = None if weak is None else weak.denoiser
        try:
            prepare(self.denoiser, self.null_label, settings, worse)
        except ValueError as error:
            raise UserError(f"sampling: {error}.") from error
        codec = self._codec()  # before the sampler, which takes time
        seeds, where, null = image_seeds(seed, count), self.device, self.null_label
        drawn = generate(self.denoiser, self.spec.shape, seeds, labels, null, settings, where, progress, worse)
        if codec is None:
            return drawn
        at_once = min(settings.batch, codec.images_at_once(self.spec.shape))
        return torch.cat([codec.decode(part.to(where)).clamp(-1, 1).cpu() for part in drawn.split(at_once)])

    def _check_weak(self, weak: Model | None) -> None:
        if weak is None:
            return
        for part in ("shape", "class_names"):
            own, other = getattr(self.spec, part), getattr(weak.spec, part)
            if own != other:
                raise UserError(
                    f"the weak model has {part} {other}, this one {own}; they must be models of the same images."
                )

    def _codec(self) -> LatentCodec | None:
        """What decodes this model's latents; None for a model of pixels.

        Raises:
            UserError: a model of latents without an autoencoder.
        """
        if self.autoencoder is not None:
            codec = LatentCodec.from_folder(self.autoencoder)
            codec.autoencoder.to(self.device)
            return codec
        if self.description.get("latents"):
            raise UserError(
                "this model draws latents, and has no autoencoder that would decode them. Import it again with --autoencoder."
            )
        return None


def sampler_settings(config: SamplingConfig, clamp: bool = True) -> SamplerSettings:
    """The sampler's own settings, from a run's configuration; latents are not clamped."""
    return SamplerSettings(**config.model_dump(), clamp=clamp)


def spec_for(
    images: TrainingSet, net: NetConfig, process: ProcessConfig, augment: AugmentConfig | None = None
) -> ModelSpec:
    """The specification of a denoiser for these training images or latents.

    A `sigma_data` of None is measured on them, as they are.

    Raises:
        UserError: they are all of one grey, or can't be augmented so.
    """
    augmenter = None if augment is None else augmenter_for(augment, pictures_of(images))
    counts = torch.bincount(images.labels, minlength=images.num_classes).tolist() if images.labels is not None else []
    measured = round(images.std(), 4) if process.sigma_data is None else process.sigma_data
    if not measured > 0:
        raise UserError(f"all pixels of the training images in {images.source} are equal; there is nothing to learn.")
    told = () if augmenter is None else augmenter.names
    return ModelSpec(images.shape, net, measured, images.class_names, tuple(counts), process.denoiser, told)


def save_model(
    folder: Path,
    spec: ModelSpec,
    weights: dict[str, torch.Tensor],
    sampling: SamplingConfig,
    facts: dict[str, Any],
    autoencoder: str | Path | None = None,
) -> None:
    """Writes a model folder, atomically; `facts` (provenance, step, data) are kept in its description.

    The files of an autoencoder's folder are copied into it.
    """
    description = {
        "format": FORMAT,
        "shape": list(spec.shape),
        "net": spec.net.model_dump(),
        "sigma_data": spec.sigma_data,
        "process": spec.process.model_dump(),
        "class_names": list(spec.class_names),
        "label_counts": list(spec.label_counts),
        "augment": list(spec.augment),
        "sampling": sampling.model_dump(),
        **facts,
    }
    with folder_written_atomically(folder) as temporary:
        save_tensors(temporary / WEIGHTS, weights)
        write_json(temporary / DESCRIPTION, description)
        if autoencoder is not None:
            if not Path(autoencoder).is_dir():
                raise UserError(
                    f"the autoencoder's folder {autoencoder} is gone. Restore it and run the same command again."
                )
            (temporary / AUTOENCODER).mkdir()
            for file in filter(Path.is_file, Path(autoencoder).iterdir()):
                shutil.copyfile(file, temporary / AUTOENCODER / file.name)


def load_model(path: str | Path, device: str = "cpu") -> Model:
    """Loads a model folder, or the model in a run folder, to a device (see `resolve_device`).

    Raises:
        UserError: there is no model, or its files do not fit each other.
    """
    folder = Path(path) / "model" if (Path(path) / "model").is_dir() else Path(path)
    if not (folder / DESCRIPTION).is_file():
        raise UserError(
            f"no model in {path}: expected {DESCRIPTION} there or in its 'model' folder. Train one with: sadm train --out {path}"
        )
    description = read_json(folder / DESCRIPTION)
    if description.get("format") != FORMAT:
        raise UserError(
            f"{folder / DESCRIPTION} has format {description.get('format')}; this version reads format {FORMAT}."
        )
    try:
        spec = ModelSpec(
            shape=tuple(description["shape"]),
            net=NetConfig.model_validate(description["net"]),
            sigma_data=description["sigma_data"],
            class_names=tuple(description["class_names"]),
            label_counts=tuple(description["label_counts"]),
            process=DenoiserConfig.model_validate(description.get("process", {})),  # older models are EDM's
            augment=tuple(description.get("augment", ())),
        )
        sampling = SamplingConfig.model_validate(description["sampling"])
        denoiser = spec.build()
        denoiser.net.load_state_dict(load_file(folder / WEIGHTS))
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise UserError(f"the model in {folder} can't be loaded: {error}") from error
    denoiser.eval().requires_grad_(False)
    where = resolve_device(device)
    autoencoder = str(folder / AUTOENCODER) if (folder / AUTOENCODER).is_dir() else None
    return Model(denoiser.to(where), spec, sampling, description, where, autoencoder)


def labels_at_frequencies(counts: torch.Tensor, total: int, seed: int) -> torch.Tensor:
    """`total` labels in the proportions of `counts` [K] (largest remainders), shuffled; int64 [total]."""
    exact = counts.double() * total / counts.sum()
    share = exact.floor().long()
    missing = total - int(share.sum())
    share[(exact - share).argsort(descending=True, stable=True)[:missing]] += 1
    labels = torch.arange(len(counts)).repeat_interleave(share)
    return labels[torch.randperm(total, generator=generator(seed, "labels"))]
