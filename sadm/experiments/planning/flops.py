"""Operations and parameters, counted on a network without weights: torch's meta device holds shapes and no numbers.

A multiplication and an addition are two operations, and products alone count: norms, activations and sums are left out, as
torch's counter does.
"""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from sadm.core.conditions import Cond
from sadm.core.errors import UserError
from sadm.data import Augmentation, Augmenter
from sadm.experiments.reproduction.targets import MODEL
from sadm.finetuning.tuning import share_that_learns, tune
from sadm.training.config import TrainConfig
from sadm.training.optimisers import ROUNDS, block_matrices, sides_of
from sadm.training.spec import ModelSpec

Shape = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Counts:
    """A network's numbers.

    Attributes:
        parameters: all.
        learning: those that learn.
        moments: numbers that the optimiser keeps, step counters among them.
        forward: operations for one image, forward.
        step: operations for one image, forward and backward.
        optimiser: operations of the optimiser's matrix products in a step, whatever the batch; AdamW has none.
        normalised: elements that the norms of one image's forward pass see.
        output: shape of what comes out for one image.
    """

    parameters: int
    learning: int
    moments: int
    forward: int
    step: int
    optimiser: int
    normalised: int
    output: tuple[int, ...]

    @property
    def published_gflops(self) -> float:
        """Forward, as DiT's paper states it (2212.09748): 10^9 multiply-adds of products, and one operation for each element
        that is normalised. The paper does not say what it counts; so counted, its figures come out.
        """
        return (self.forward / 2 + self.normalised) / 1e9


def count(shape: Shape, config: TrainConfig, classes: int, whole: bool = False, recompute: bool = False) -> Counts:
    """Counts a network of full size.

    Args:
        shape: of an image or latent (C, H, W).
        config: says its sizes, its process and the method that is applied.
        classes: of its class table, but for the null class; 0 = without labels.
        whole: build the whole class table, where otherwise one row is built and the others are added: a class more costs
            parameters and no operation, and networks that differ in nothing else are then counted once.
        recompute: whether each block is computed again in the backward pass.
    """
    if whole:
        return _count(shape, network_keys(config), classes, recompute)
    counts = _count(shape, network_keys(config), min(classes, 1), recompute)
    rows = max(0, classes - 1) * (config.net.width if config.net.kind == "dit" else 4 * config.net.unet.channels[0])
    return dataclasses.replace(
        counts,
        parameters=counts.parameters + rows,
        learning=counts.learning + rows,
        moments=counts.moments + 2 * rows,
    )


def network_keys(config: TrainConfig) -> str:
    """What of a configuration decides the network and how it is moved, as JSON."""
    parts = config.model_dump(include={"net", "process", "finetune", "data"}, mode="json")
    return json.dumps(
        {
            **parts,
            "data": {"augment": parts["data"]["augment"]},
            "optimiser": {"kind": config.optimiser.kind},
        }
    )


def network_of(
    shape: Shape, keys: str, classes: int, recompute: bool = False
) -> tuple[nn.Module, torch.Tensor, torch.Tensor, Cond]:
    """The network of `network_keys`, prepared for its method, and inputs of one image, on torch's default device.

    Raises:
        UserError: the sizes don't fit, the method finds nothing, or the network has no blocks that could be computed again.
    """
    values = json.loads(keys)
    config = TrainConfig.model_validate({"start_from": MODEL, **values})
    augment = config.data.augment
    told = Augmenter(Augmentation(augment.probability, **augment.strengths), shape[0]).names
    names = tuple(map(str, range(classes)))
    spec = ModelSpec(shape, config.net, 0.5, names, (1,) * classes, config.process.denoiser, told)
    network = spec.network()
    tune(network, config.finetune)
    if recompute:
        computed_again(network)
    label = torch.zeros(1, dtype=torch.int64) if classes else None
    cond = Cond(label=label, augment=torch.zeros(1, len(told)) if told else None)
    return network.train(), torch.zeros(1, *shape), torch.zeros(1), cond


def computed_again(network: nn.Module) -> None:
    """Makes each block of a network keep its input alone, in place.

    Raises:
        UserError: it has no blocks.
    """
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, nn.ModuleList):
        raise UserError(
            f"--parallel.recompute is about a network of blocks (net.kind dit), and this is a {type(network).__name__}."
        )
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)


@lru_cache(maxsize=64)
def _count(shape: Shape, keys: str, classes: int, recompute: bool) -> Counts:
    with torch.device("meta"):
        return counted(
            *network_of(shape, keys, classes, recompute), muon=json.loads(keys)["optimiser"]["kind"] == "muon"
        )


def counted(network: nn.Module, x: torch.Tensor, level: torch.Tensor, cond: Cond, muon: bool = False) -> Counts:
    """The numbers of a network, for one image that is run through it forward and backward, on any device.

    Attention is counted as two products: fused kernels do the same operations, and torch counts not all of them.

    Args:
        network: prepared for its method.
        x: the image [1, C, H, W].
        level: its noise level [1].
        cond: what is known of it.
        muon: whether Muon moves the matrices of its blocks.
    """
    learning, parameters = share_that_learns(network)
    seen = [0]
    norms = [part for part in network.modules() if isinstance(part, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm))]
    hooks = [part.register_forward_hook(partial(_add_elements, seen)) for part in norms]
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = network(x, level, cond)
        forward, normalised = counter.get_total_flops(), seen[0]
        output.sum().backward()
        step = counter.get_total_flops()
    for hook in hooks:
        hook.remove()
    shapes = [sides_of(matrix) for matrix in block_matrices(network)] if muon else []
    by_muon = sum(rows * columns for rows, columns in shapes)
    tensors = sum(parameter.requires_grad for parameter in network.parameters()) - len(shapes)
    moments = 2 * (learning - by_muon) + tensors + by_muon
    orthogonalising = sum(ROUNDS * round_operations(*sorted(shape)) for shape in shapes)
    return Counts(parameters, learning, moments, forward, step, orthogonalising, normalised, tuple(output.shape[1:]))


def round_operations(short: int, long: int) -> int:
    """Operations of one of Muon's rounds for a matrix of these sides: X X^T, its square, and that times X."""
    return 2 * short * short * long + 2 * short**3 + 2 * short * short * long


def _add_elements(seen: list[int], module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
    seen[0] += output.numel()


def sampling_operations(counts: Counts, config: TrainConfig, classes: int, images: int) -> float:
    """Operations of drawing images; guidance evaluates the network twice."""
    sampling = config.sampling
    evaluations = 2 * sampling.steps - 1 if sampling.solver == "heun" else sampling.steps
    return images * evaluations * (1 if sampling.guidance_scale == 1 or not classes else 2) * counts.forward


def taking_part(config: TrainConfig) -> float:
    """Share of the steps in which the training signal takes part."""
    if config.signal == "none":
        return 0.0
    if config.signal in ("dispersive", "contrastive", "repa"):
        return 1.0
    steps, every, settings = config.optimiser.steps, config.structure.every, config.structure
    first, last = (
        (round(config.control.start * steps), steps) if config.signal == "sampled" else (0, round(settings.end * steps))
    )
    if config.signal == "anchor":
        every = config.anchor.every
    return max(0, -(-last // every) - -(-first // every)) / steps
