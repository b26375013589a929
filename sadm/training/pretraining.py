"""Pre-training of the structure encoder on the training images; its cost is charged to the run that uses it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from sadm.core.devices import spent_seconds
from sadm.core.seeds import derive_seed, generator
from sadm.data import BatchStream, ImageSet
from sadm.structure import ConvEncoder
from sadm.training.config import StructureConfig

TEMPERATURE = 0.2
VIEW_SHIFT = 0.125
VIEW_NOISE = 0.1


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A trained encoder and what it took.

    Attributes:
        encoder: images to embeddings, without the head used in training.
        cpu_seconds: processor time of the training.
        score: share of the last tenth of training batches' images classified (or matched to their other view) correctly.
    """

    encoder: nn.Module
    cpu_seconds: float
    score: float


def pretrain_encoder(
    images: ImageSet,
    config: StructureConfig,
    seed: int,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pretrained:
    """Trains an encoder as a classifier where there are labels, else to recognise two views of one image.

    The weights depend on the images, `config` and `seed` alone.

    Args:
        images: the training images.
        config: encoder and training sizes.
        seed: of the run.
        device: where to train.
        progress: called with (steps done, steps in all).
    """
    start = spent_seconds(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "encoder"))
        encoder = ConvEncoder(
            images.shape[0], config.encoder_width, config.encoder_stages, embedding=config.encoder_embedding
        )
        head = nn.Linear(config.encoder_embedding, max(images.num_classes, 1))
    supervised = images.labels if images.num_classes > 1 else None  # [N]
    encoder, head = encoder.to(device), head.to(device)
    stream = BatchStream(images, config.encoder_batch, derive_seed(seed, "encoder batches"))
    parameters = [*encoder.parameters(), *(head.parameters() if supervised is not None else [])]
    optimiser = torch.optim.AdamW(parameters, lr=config.encoder_learning_rate, weight_decay=1e-2, fused=True)
    steps, scores = config.encoder_steps, []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = config.encoder_learning_rate * (1 - step / steps)
        batch = stream.batch(step)
        draws = generator(seed, "encoder views", step)
        views = [random_view(batch.x0, draws).to(device) for _ in range(2 if supervised is None else 1)]
        if supervised is not None:
            logits, target = head(encoder(views[0])), supervised[batch.index].to(device)
        else:
            logits, target = view_similarities(encoder(torch.cat(views)))
        loss = F.cross_entropy(logits, target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step >= 0.9 * steps:
            scores.append(float((logits.argmax(1) == target).float().mean()))
        progress(step + 1, steps)
    score = sum(scores) / len(scores) if scores else 0.0
    return Pretrained(encoder.requires_grad_(True), spent_seconds(device) - start, score)


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


def view_similarities(embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and targets of the normalised-temperature cross entropy over two views (Chen et al. 2020, arXiv 2002.05709).

    Args:
        embedding: of both views, first views before second views [2B, d].

    Returns:
        Logits [2B, 2B], an image's similarity to itself excluded, and the index of its other view [2B].
    """
    unit = F.normalize(embedding.float(), dim=1)
    logits = (unit @ unit.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    count = len(embedding) // 2
    target = torch.arange(2 * count, device=logits.device).roll(count)
    return logits, target
