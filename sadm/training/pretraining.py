"""Pre-training of the structure encoder on the training images; its cost is charged to the run that uses it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from sadm.core.devices import spent_seconds
from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed, generator
from sadm.data import Augmenter, class_order
from sadm.data.batches import Batch
from sadm.diffusion.denoised import per_image
from sadm.signals import embedding_of
from sadm.structure import ConvEncoder, StructureError, ViTEncoder
from sadm.training.latents import TrainingSet, open_stream, pictures_of
from sadm.training.signal_config import StructureConfig

TEMPERATURE = 0.2
VIEW_SHIFT = 0.125
VIEW_NOISE = 0.1
LARGEST_NOISE = 1.0  # in units of x0, whose range is 2


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A trained encoder and what it took.

    Attributes:
        encoder: images to embeddings, without the head used in training.
        cpu_seconds: processor time of the training.
        score: over the last tenth of training batches, the share of images classified (or matched to their other view)
            correctly, or of the pixels' variance restored; None of an encoder that was not trained here.
        head: from embeddings to logits, of a supervised encoder; None otherwise.
    """

    encoder: nn.Module
    cpu_seconds: float
    score: float | None
    head: nn.Module | None


def pretrain_encoder(
    images: TrainingSet,
    config: StructureConfig,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda done, total: None,
    augmenter: Augmenter | None = None,
) -> Pretrained:
    """Trains an encoder in the way that `config.encoder_training` names.

    The weights depend on the images, `config`, `seed` and `augmenter` alone. A batch larger than the set repeats images.

    Args:
        images: the training images.
        config: encoder and training sizes.
        seed: of the run.
        device: where to train.
        progress: called with (steps done, steps in all).
        augmenter: that of the run, since signals show the encoder augmented images; it is not told what was done to them.

    Raises:
        UserError: the images can't be learned from in that way, or do not fit the encoder.
    """
    start = spent_seconds(device)
    way = way_of_training(images, config)
    task_kind = TASKS[way]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "encoder"))
        encoder, length = build_encoder(images.shape, config)
        task = task_kind(images, length)
    encoder, task = encoder.to(device), task.to(device)
    stream_seed, balance = derive_seed(seed, "encoder batches"), config.encoder_balance if way == "supervised" else 0.0
    order = class_order(pictures_of(images), stream_seed, balance)
    stream = open_stream(images, config.encoder_batch, stream_seed, order=order, augmenter=augmenter)
    parameters = [*encoder.parameters(), *task.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=config.encoder_learning_rate, weight_decay=1e-2, fused=True)
    steps, scores = config.encoder_steps, []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = config.encoder_learning_rate * (1 - step / steps)
        loss, score = task(encoder, stream.batch(step), generator(seed, "encoder views", step), device)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step >= 0.9 * steps:
            scores.append(float(score))
        progress(step + 1, steps)
    optimiser.zero_grad(set_to_none=True)
    mean = sum(scores) / len(scores) if scores else 0.0
    return Pretrained(encoder, spent_seconds(device) - start, mean, task.classifier)


def build_encoder(shape: tuple[int, int, int], config: StructureConfig) -> tuple[nn.Module, int]:
    """A freshly initialised encoder, and the length of its embedding.

    Args:
        shape: of one image, (C, H, W).
        config: kind and sizes of the encoder.

    Raises:
        UserError: the encoder's sizes do not fit each other or the images.
    """
    try:
        encoder = ENCODERS[config.encoder_kind](shape, config)
        with torch.no_grad():
            return encoder, embedding_of(encoder(torch.zeros(1, *shape))).shape[1]
    except StructureError as error:
        raise UserError(f"the structure encoder can't be used for images of shape {list(shape)}: {error}.") from error


def _conv(shape: tuple[int, int, int], config: StructureConfig) -> nn.Module:
    return ConvEncoder(
        shape[0],
        config.encoder_width,
        config.encoder_stages,
        embedding=config.encoder_embedding,
        stride=config.encoder_stride,
        outputs=config.encoder_outputs,
    )


def _vit(shape: tuple[int, int, int], config: StructureConfig) -> nn.Module:
    patch = config.vit_patch
    return ViTEncoder(
        shape[0],
        patch,
        config.encoder_width,
        config.encoder_stages,
        embedding=config.encoder_embedding,
        grid=max(1, shape[1] // patch),
        outputs=config.encoder_outputs,
    )


ENCODERS: dict[str, Callable[[tuple[int, int, int], StructureConfig], nn.Module]] = {"conv": _conv, "vit": _vit}


class EncoderTask(nn.Module):
    """What an encoder is trained to do; owns what is needed for it besides the encoder.

    Args:
        images: the training images.
        length: of an embedding.
    """

    def __init__(self, images: TrainingSet, length: int) -> None:
        super().__init__()

    @property
    def classifier(self) -> nn.Module | None:
        """From embeddings to logits, where the task is to classify."""
        return None

    def forward(
        self, encoder: nn.Module, batch: Batch, draws: torch.Generator, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of one batch, and its score (see `Pretrained.score`); scalars."""
        raise NotImplementedError


class Classify(EncoderTask):
    """Names the class of an image, slightly shifted."""

    def __init__(self, images: TrainingSet, length: int) -> None:
        super().__init__(images, length)
        self.head = nn.Linear(length, images.num_classes)
        self.labels = cast(torch.Tensor, images.labels)  # `way_of_training` has looked

    @property
    def classifier(self) -> nn.Module:
        return self.head

    def forward(
        self, encoder: nn.Module, batch: Batch, draws: torch.Generator, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.head(embedding_of(encoder(random_view(batch.x0, draws).to(device))))  # [B, K]
        return _cross_entropy(logits, self.labels[batch.index].to(device))


class MatchViews(EncoderTask):
    """Recognises the other of two views of an image among the views of all images."""

    def forward(
        self, encoder: nn.Module, batch: Batch, draws: torch.Generator, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        views = torch.cat([random_view(batch.x0, draws), random_view(batch.x0, draws)])  # [2 B, C, H, W]
        return _cross_entropy(*view_similarities(embedding_of(encoder(views.to(device))), batch.index.to(device)))


class Restore(EncoderTask):
    """Embeds a noisy image such that a linear decoder restores the clean one (Vincent et al. 2008, ICML); the decoder is lost."""

    def __init__(self, images: TrainingSet, length: int) -> None:
        super().__init__(images, length)
        self.decoder = nn.Linear(length, math.prod(images.shape))

    def forward(
        self, encoder: nn.Module, batch: Batch, draws: torch.Generator, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x0 = batch.x0.to(device)
        sigma = LARGEST_NOISE * torch.rand(
            len(x0), generator=draws
        )  # [B]; from none, since x0 itself is embedded later
        noisy = batch.x0 + per_image(sigma, x0) * torch.randn(x0.shape, generator=draws)  # [B, C, H, W]
        restored = self.decoder(embedding_of(encoder(noisy.to(device)))).reshape(x0.shape)  # [B, C, H, W]
        loss = F.mse_loss(restored, x0)
        return loss, 1 - loss.detach() / x0.var().clamp_min(torch.finfo(x0.dtype).tiny)


TASKS: dict[str, type[EncoderTask]] = {"supervised": Classify, "views": MatchViews, "denoising": Restore}


def way_of_training(images: TrainingSet, config: StructureConfig) -> str:
    """The key of `TASKS` that `config.encoder_training` means for these images.

    Raises:
        UserError: the images do not allow what was asked for.
    """
    way, classes = config.encoder_training, 0 if images.labels is None else len(images.labels.unique())
    if way == "auto":
        way = "supervised" if classes > 1 else "views"
    if way == "supervised" and classes < 2:
        raise UserError(
            f"--structure.encoder-training supervised needs at least two classes, but {images.source} has "
            f"{too_few_classes(images)}. Use auto, views or denoising, or put the images into class folders."
        )
    if way == "views" and len(images) < 2:
        raise UserError(
            f"--structure.encoder-training views tells images apart, but {images.source} has only {len(images)}. "
            "Add images, or use denoising."
        )
    return way


def too_few_classes(images: TrainingSet) -> str:
    """What images that can't be classified have instead of two classes, for messages."""
    return "no labels" if images.labels is None else f"only images of '{images.class_names[int(images.labels[0])]}'"


def _cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return F.cross_entropy(logits, target), (logits.detach().argmax(1) == target).float().mean()


def random_view(x0: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """The images [B, C, H, W], each shifted by up to an eighth of its side (edges repeated), with a little noise."""
    reach = [max(1, round(VIEW_SHIFT * side)) for side in x0.shape[-2:]]
    padded = F.pad(x0, (reach[1], reach[1], reach[0], reach[0]), mode="replicate")
    rows, columns = (torch.randint(0, 2 * r + 1, (len(x0), 1), generator=draws) for r in reach)
    down = (rows + torch.arange(x0.shape[2]))[:, None, :, None]  # [B, 1, H, 1]
    across = (columns + torch.arange(x0.shape[3]))[:, None, None, :]  # [B, 1, 1, W]
    image = torch.arange(len(x0))[:, None, None, None]
    channel = torch.arange(x0.shape[1])[None, :, None, None]
    shifted = padded[image, channel, down, across]  # [B, C, H, W]
    return shifted + VIEW_NOISE * torch.randn(x0.shape, generator=draws)


def view_similarities(embedding: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and targets of the normalised-temperature cross entropy over two views (Chen et al. 2020, arXiv 2002.05709).

    Args:
        embedding: of both views, first views before second views [2B, d].
        index: which image of the set each is [B]; an image that is in the batch twice is not to be told from itself.

    Returns:
        Logits [2B, 2B], excluding all views of the same image but the other one, and the index of that [2B].
    """
    unit = F.normalize(embedding.float(), dim=1)
    count = len(index)
    target = torch.arange(2 * count, device=index.device).roll(count)  # [2B]
    image = index.repeat(2)
    same = (image[:, None] == image[None, :]).scatter(1, target[:, None], False)  # [2B, 2B]
    return (unit @ unit.T / TEMPERATURE).masked_fill(same, -torch.inf), target
