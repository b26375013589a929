"""A trained model as a folder: weights and what is needed to sample from them, and nothing of the discriminator."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from sadm.core.conditions import Cond
from sadm.core.devices import resolve_device
from sadm.core.errors import UserError
from sadm.core.files import folder_written_atomically, sha256_of_file, write_json
from sadm.core.seeds import generator
from sadm.data import to_floats, to_uint8
from sadm.data.ragged import Ragged
from sadm.diffusion import SamplerSettings, generate, image_seeds
from sadm.diffusion.generate import image_seed
from sadm.finetuning.folder import FILES as ADAPTER_FILES
from sadm.finetuning.folder import adapter_file, write_adapter
from sadm.models import LatentCodec
from sadm.training.adapted import AdapterFacts, adapted
from sadm.training.checkpoint import save_tensors
from sadm.training.config import SamplingConfig
from sadm.training.description import (
    AUTOENCODER,
    DAMAGED,
    DESCRIPTION,
    FORMAT,
    WEIGHTS,
    check_claims,
    model_description,
    model_folder_in,
    spec_of,
)
from sadm.training.fitting import fit_network
from sadm.training.frequencies import by_size, drawn_evenly, labels_at_frequencies
from sadm.training.process import AnyDenoiser
from sadm.training.sampling import checked_settings
from sadm.training.spec import ModelSpec
from sadm.training.whole import checksums_of, refuse_altered

_DAMAGED = (*DAMAGED, SafetensorError)


@dataclasses.dataclass(frozen=True)
class Model:
    """A denoiser in eval mode, with what is known about it."""

    denoiser: AnyDenoiser
    spec: ModelSpec
    sampling: SamplingConfig
    description: dict[str, Any]
    device: torch.device
    autoencoder: str | None = None  # the folder of what turns its latents into images
    beside: bool = False  # whether the network has parts that are no plain weights: learned tokens, adapters
    hash: str = ""  # see `model_hash`; "" = it was put together in memory
    folder: str = ""  # that it was loaded from
    policy: str | None = None  # file of the usage policy that was given for it; None = that of its folder

    @property
    def null_label(self) -> int | None:
        """The null class; None for an unconditional model."""
        return len(self.spec.class_names) or None

    @property
    def draws_latents(self) -> bool:
        """Whether the network draws latents, which an autoencoder turns into images."""
        return self.autoencoder is not None or bool(self.description.get("latents"))

    def training_labels(self, count: int, seed: int) -> torch.Tensor | None:
        """Labels [count] at the frequencies of the training images, shuffled by `seed`; None for an unconditional model."""
        if not self.spec.class_names:
            return None
        return labels_at_frequencies(torch.tensor(self.spec.label_counts), count, seed)

    def training_sizes(self, count: int, seed: int, labels: torch.Tensor | None) -> torch.Tensor:
        """Heights and widths [count, 2] at the frequencies of the training images of each class, shuffled by `seed`.

        A class that training had no image of, and the null class, have the shapes of all; a model of one shape has that one.
        """
        spec = self.spec
        if not spec.shapes:
            return torch.tensor(spec.shape[1:]).expand(count, 2)
        table = torch.tensor(spec.shape_counts)  # [S, K], or [S, 1] without classes
        labels = torch.zeros(count, dtype=torch.int64) if labels is None else labels
        which = torch.empty(count, dtype=torch.int64)
        for label in labels.unique().tolist():
            rows = (labels == label).nonzero().flatten()
            own = table[:, label : label + 1].sum(1)  # [S]; nothing of the null class
            counts = own if int(own.sum()) else table.sum(1)
            which[rows] = drawn_evenly(counts, len(rows), generator(seed, "shapes", label))
        return torch.tensor(spec.shapes)[which]

    def sample(
        self,
        count: int,
        seed: int = 0,
        labels: torch.Tensor | None = None,
        sampling: SamplingConfig | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        weak: Model | None = None,
        size: tuple[int, int] | None = None,
        first: int = 0,
        told: Cond | None = None,
    ) -> torch.Tensor:
        """Draws `count` images [count, C, H, W] in [-1, 1]; labels default to the training frequencies. Latents are decoded.

        They are those from number `first` on in the sequence of images that belongs to `seed`.

        With `weak`, a smaller or less trained model of the same images, guidance is away from it (autoguidance).

        `told` is what else the network is told of them (see `sadm.training.telling.condition`); None = nothing.

        `size` is their height and width, for a model that was trained on several shapes; None = those of `ModelSpec.shape`.

        Raises:
            UserError: `sampling` makes no sense for this model, `weak` is one of other images or classes, or the model does not
                draw this size.
        """
        labels = self.training_labels(count, seed) if labels is None else labels
        return self._draw(image_seeds(seed, first + count)[first:], labels, size, sampling, progress, weak, told=told)

    def sample_undecoded(self, count: int, seed: int, labels: torch.Tensor | None, first: int = 0) -> torch.Tensor:
        """What `sample` draws, in the network's own space: [count, C, H, W] in [-1, 1], or latents."""
        return self._draw(image_seeds(seed, first + count)[first:], labels, None, decode=False)

    def sample_shapes(
        self,
        count: int,
        seed: int = 0,
        labels: torch.Tensor | None = None,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
        told: Cond | None = None,
        size: tuple[int, int] | None = None,
        only: Sequence[int] | None = None,
        **options: Any,
    ) -> list[torch.Tensor]:
        """Draws `count` images [C, H, W], in the shapes of the training images and as often (see `training_sizes`).

        Image i is the one that `sample` draws in its shape, for this seed and its label.

        Args and errors as of `sample`, `told` of all images; `options` are its `sampling` and `weak`. With `size`, all are of
        that one; with `only`, the images of these numbers alone are drawn, in their order.
        """
        labels = self.training_labels(count, seed) if labels is None else labels
        sizes = self.training_sizes(count, seed, labels)
        wanted = list(range(count)) if only is None else list(only)
        drawn: dict[int, torch.Tensor] = {}
        for group in [wanted] if size is not None else by_size(sizes, wanted):
            rows, before = torch.tensor(group), len(drawn)

            def show(done: int, total: int, before: int = before) -> None:
                progress(before + done, len(wanted))

            height, width = sizes[group[0]].tolist()
            of_one_shape = self._draw(
                [image_seed(seed, i) for i in group],
                None if labels is None else labels[rows],
                size or ((height, width) if self.spec.shapes else None),
                progress=show,
                told=None if told is None else told[rows],
                **options,
            )
            drawn.update(zip(group, of_one_shape, strict=True))
        return [drawn[i] for i in wanted]

    def sample_for_judging(
        self, count: int, seed: int = 0, labels: torch.Tensor | None = None, sampling: SamplingConfig | None = None
    ) -> torch.Tensor:
        """Draws images as `sample_shapes` does, and brings them to the square as `ImageSet.images` are: [count, C, H, W].

        Arguments and errors as of `sample`. A model that draws NaN or infinity anywhere gives NaN alone.
        """
        if not self.spec.shapes:
            return self.sample(count, seed, labels, sampling)
        drawn = self.sample_shapes(count, seed, labels, sampling=sampling)
        channels, height, width = self.spec.shape
        if not all(bool(torch.isfinite(image).all()) for image in drawn):
            return torch.full((count, channels, height, width), torch.nan)
        return to_floats(Ragged.of([to_uint8(image) for image in drawn]).resized((width, height)))

    def _draw(
        self,
        seeds: list[int],
        labels: torch.Tensor | None,
        size: tuple[int, int] | None,
        sampling: SamplingConfig | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        weak: Model | None = None,
        decode: bool = True,
        told: Cond | None = None,
    ) -> torch.Tensor:
        """An image for each seed, of one size [N, C, H, W]; latents stay latents unless they are to be decoded."""
        shape = self.shape_drawn(size)
        self._check_weak(weak, shape, told)
        settings, worse = self.settings(sampling, weak), None if weak is None else weak.denoiser
        codec = self.codec() if decode else None  # before the sampler, which takes time
        where, null = self.device, self.null_label
        drawn = generate(self.denoiser, shape, seeds, labels, null, settings, where, progress, worse, told)
        if codec is None:
            return drawn
        at_once = min(settings.batch, codec.images_at_once(shape))
        return torch.cat([codec.decode(part.to(where)).clamp(-1, 1).cpu() for part in drawn.split(at_once)])

    def settings(self, sampling: SamplingConfig | None = None, weak: Model | None = None) -> SamplerSettings:
        """The settings of its sampler; None = its own, guided by the null class.

        Raises:
            UserError: they make no sense, alone or for this model.
        """
        worse = None if weak is None else weak.denoiser
        return checked_settings(self.denoiser, self.null_label, sampling or self.sampling, self.draws_latents, worse)

    def shape_drawn(self, size: tuple[int, int] | None) -> tuple[int, int, int]:
        """What the network is asked for, (C, H, W), for images of this height and width; None = its own.

        Raises:
            UserError: it does not draw this size.
        """
        channels, height, width = self.spec.shape
        if size is None or (self.autoencoder is None and size == (height, width)):
            return self.spec.shape
        if not self.spec.shapes:
            own = "images of one size" if self.autoencoder is not None else f"images of {width}x{height} pixels"
            raise UserError(
                f"{size[1]}x{size[0]} pixels were asked for, but this model draws {own} alone. Leave the size out, or train with "
                "--data.fit buckets for several."
            )
        net = self.spec.net
        if min(size) < net.divisor or size[0] % net.divisor or size[1] % net.divisor:
            raise UserError(
                f"{size[1]}x{size[0]} pixels were asked for, and can't {net.division}. Choose a width and a height that "
                f"{net.divisor} divides."
            )
        return channels, *size

    def _check_weak(self, weak: Model | None, shape: tuple[int, int, int], told: Cond | None) -> None:
        if weak is None:
            return
        for part in ("shape", "class_names", *(() if told is None else ("attributes", "pictures"))):
            own, other = getattr(self.spec, part), getattr(weak.spec, part)
            if own != other:
                raise UserError(
                    f"the weak model has {part} {other}, this one {own}; they must be models of the same images."
                )
        if shape != weak.spec.shape and not weak.spec.shapes:
            raise UserError(
                f"the weak model draws images of {weak.spec.shape[2]}x{weak.spec.shape[1]} pixels alone, and images of "
                f"{shape[2]}x{shape[1]} are to be drawn. Train it with --data.fit buckets, too, or ask for that one size."
            )

    def codec(self) -> LatentCodec | None:
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


def save_model(
    folder: Path,
    spec: ModelSpec,
    weights: dict[str, torch.Tensor],
    sampling: SamplingConfig,
    facts: dict[str, Any],
    autoencoder: str | Path | None = None,
    adapter: AdapterFacts | None = None,
) -> None:
    """Writes a model folder, atomically; `facts` (provenance, step, data) are kept in its description.

    In a folder that is there already, what is no part of a model stays, such as a policy or images that were drawn. The files of
    an autoencoder's folder are copied into it. With `adapter`, `weights` are those that learned, and the folder refers to the
    model that was fine-tuned for the others.
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
        "attributes": [dataclasses.asdict(scale) for scale in spec.attributes],
        "pictures": list(spec.pictures),
        "centred": spec.centred,
        "shapes": list(spec.shapes),
        "shape_counts": list(spec.shape_counts),
        "sampling": sampling.model_dump(),
        **({} if adapter is None else {"adapter": adapter.as_dict()}),
        **facts,
    }
    with folder_written_atomically(folder, replacing=(DESCRIPTION, WEIGHTS, AUTOENCODER, *ADAPTER_FILES)) as temporary:
        if adapter is None:
            save_tensors(temporary / WEIGHTS, weights)
        else:
            write_adapter(temporary, adapter.finetune, weights, adapter.also)
        if autoencoder is not None:
            if not Path(autoencoder).is_dir():
                raise UserError(
                    f"the autoencoder's folder {autoencoder} is gone. Restore it and run the same command again."
                )
            (temporary / AUTOENCODER).mkdir()
            for file in autoencoder_files(autoencoder):
                shutil.copyfile(file, temporary / AUTOENCODER / file.name)
        write_json(temporary / DESCRIPTION, {**description, "checksums": checksums_of(temporary)})


def autoencoder_files(folder: str | Path) -> list[Path]:
    """The files of an autoencoder's folder that diffusers reads; others, which may be links to anything, stay where they are."""
    found = sorted(path for path in Path(folder).iterdir() if path.is_file())
    return [path for path in found if path.name == "config.json" or path.name.startswith("diffusion_pytorch_model")]


def model_hash(path: str | Path) -> str:
    """A hash of a model's weights; of a fine-tuned one, of what learned and of the model that it belongs to.

    Raises:
        UserError: there is no model.
    """
    folder, description = model_description(path)
    if "adapter" not in description:
        return sha256_of_file(folder / WEIGHTS)
    try:
        facts = AdapterFacts.of(description)
    except _DAMAGED as error:
        raise UserError(f"the model in {folder} can't be loaded: {error}") from error
    own = sha256_of_file(adapter_file(folder, facts.finetune))
    return hashlib.sha256(f"{facts.base_hash} {own}".encode()).hexdigest()


def load_model(path: str | Path, device: str = "cpu", base: str | Path | None = None) -> Model:
    """Loads a model folder, or the model in a run folder, to a device (see `resolve_device`).

    Of a fine-tuned model, what learned is put together with the model that it belongs to, and folded into its weights where the
    method allows it.

    Args:
        path: of the folder.
        device: where the model is to be.
        base: for a fine-tuned model, the one that it was fine-tuned from; None = where that was then.

    Raises:
        UserError: there is no model, its files do not fit each other, or the model that it was fine-tuned from is not there.
    """
    folder, description = model_description(path)
    refuse_altered(folder, description.get("checksums", {}))
    beside = False
    try:
        spec = spec_of(description)
        # Older models are sampled as they were.
        sampling = SamplingConfig.model_validate({"from_infinity": False, **description["sampling"]})
        check_claims(spec, _weights_of(folder, description, base), folder / DESCRIPTION)
        denoiser = spec.build()
        if "adapter" in description:
            net, beside = _load_adapted(folder, AdapterFacts.of(description), spec, denoiser.net, base)
            denoiser = spec.around(net)
        else:
            denoiser.net.load_state_dict(load_file(folder / WEIGHTS))
    except _DAMAGED as error:
        raise UserError(f"the model in {folder} can't be loaded: {error}") from error
    denoiser.eval().requires_grad_(False)
    where = resolve_device(device)
    autoencoder = str(folder / AUTOENCODER) if (folder / AUTOENCODER).is_dir() else None
    return Model(
        denoiser.to(where),
        spec,
        sampling,
        description,
        where,
        autoencoder,
        beside,
        _checked_hash(folder, description),
        str(folder),
    )


def _checked_hash(folder: Path, description: dict[str, Any]) -> str:
    """As `model_hash`, of a model whose checksums were compared a moment ago: large files are not read once more."""
    known = description.get("checksums", {}).get(WEIGHTS)
    return known if isinstance(known, str) and "adapter" not in description else model_hash(folder)


def _weights_of(folder: Path, description: dict[str, Any], base: str | Path | None) -> Path:
    """The file of a model's weights; of a fine-tuned one, that of the model at the bottom."""
    seen: set[Path] = set()
    while "adapter" in description:
        if folder.resolve() in seen:
            raise UserError(
                f"the model in {folder} was fine-tuned from itself, by its {DESCRIPTION}. Restore the file."
            )
        seen.add(folder.resolve())
        folder, description = model_description(_base_of(folder, AdapterFacts.of(description), base))
        base = None
    return folder / WEIGHTS


def _base_of(folder: Path, facts: AdapterFacts, base: str | Path | None) -> Path:
    """Where the model is that an adapter belongs to."""
    where = Path(facts.base if base is None else base)
    if not (model_folder_in(where) / DESCRIPTION).is_file():
        raise UserError(
            f"the model in {folder} was fine-tuned from the one in {where}, which is not there any more. Restore it, or say "
            f"where it is: sadm sample MODEL --adapter {folder}"
        )
    return where


def _load_adapted(
    folder: Path, facts: AdapterFacts, spec: ModelSpec, net: nn.Module, base: str | Path | None
) -> tuple[nn.Module, bool]:
    """The fine-tuned network, made of a fresh one, and whether it has parts beside plain weights."""
    where = _base_of(folder, facts, base)
    found = model_hash(where)
    if found != facts.base_hash:
        raise UserError(
            f"the model in {folder} was fine-tuned from another model than the one in {where} (hash {facts.base_hash[:12]}, "
            f"there {found[:12]}). Give the model that it belongs to."
        )
    source = load_model(where)
    fit_network(net, source.denoiser.net, source.spec, spec, facts.finetune.renamed, facts.seed)
    return adapted(folder, facts, net)
