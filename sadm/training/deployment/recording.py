"""Parts of a model as ONNX graphs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sadm.core.errors import UserError
from sadm.diffusion.clipped import Clipped
from sadm.diffusion.guidance import Guidance
from sadm.models import LatentCodec
from sadm.training.deployment.told import ToldInputs

OPSET = 18


class Network(nn.Module):
    """The contract in tensors alone: ``denoiser(x_t [B, C, H, W], sigma [B], *told) -> x0_hat [B, C, H, W]``."""

    def __init__(self, denoiser: nn.Module, inputs: ToldInputs) -> None:
        super().__init__()
        self.denoiser, self.inputs = denoiser, inputs

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, *told: torch.Tensor) -> torch.Tensor:
        return self.denoiser(x, sigma, self.inputs.cond(told))


class Step(nn.Module):
    """One evaluation by a sampler, all images at one level [1]: a noise level of x_t, or a time of z on the denoiser's path."""

    def __init__(self, denoiser: nn.Module, guided: Guidance | Clipped, in_contract: bool, inputs: ToldInputs) -> None:
        super().__init__()
        self.denoiser = denoiser  # registered, so that its weights are known; it is asked through `guided`
        self.guided, self.in_contract, self.inputs = guided, in_contract, inputs

    def forward(self, x: torch.Tensor, level: torch.Tensor, *told: torch.Tensor) -> torch.Tensor:
        levels, cond = level.expand(x.shape[0]), self.inputs.cond(told)
        return self.guided(x, levels, cond) if self.in_contract else self.guided.at(x, levels, cond)


class Decoder(nn.Module):
    """Latents [B, c, h, w] to images [B, C, H, W]."""

    def __init__(self, codec: LatentCodec) -> None:
        super().__init__()
        self.autoencoder, self.codec = codec.autoencoder, codec

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.codec.decode(latents)


def recorded(module: nn.Module, inputs: Mapping[str, torch.Tensor], output: str) -> Any:
    """A module as an `onnx.ModelProto`, for batches of any size.

    Args:
        module: in eval mode, on the CPU.
        inputs: an example of each, by its name, in the order of the module's arguments, of which the first two have names of
            their own and the rest is ``*told``; of the batch size 2, or [1] for what all images share.
        output: name of what it returns.

    Raises:
        UserError: torch or ONNX has no word for something that the module does.
    """
    any_number = torch.export.Dim.DYNAMIC
    each = [{0: any_number} if len(value) == 2 else None for value in inputs.values()]
    shapes = (*each[:2], tuple(each[2:])) if len(each) > 2 else tuple(each)
    try:
        # A network takes short cuts, which look at values, where no gradient is asked for: here it is.
        with _quiet(), torch.enable_grad():
            program = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=shapes, strict=False)
            made = torch.onnx.export(
                program,
                dynamo=True,
                optimize=False,  # runtimes do so themselves
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=[output],
                verbose=False,
            )
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"this model's {type(module).__name__.lower()} can't be written as ONNX: {str(error).splitlines()[0]}"
        ) from error
    return _tidy(made.model_proto)  # type: ignore[union-attr]  # a program, since dynamo is on


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what the exporter says about packages that are not there, and about itself."""
    talker = logging.getLogger("torch.onnx")
    level = talker.level
    talker.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        talker.setLevel(level)


def _tidy(proto: Any) -> Any:
    """Removes what tells of the files of this machine (the exporter writes a stack trace at every node), and names the batch."""
    proto.graph.ClearField("value_info")  # shapes in between, which runtimes find again
    for graph in (proto.graph, *proto.functions):
        holders = [graph, *graph.node]
        if graph is proto.graph:
            holders += [*graph.input, *graph.output, *graph.initializer]
        for holder in holders:
            holder.ClearField("metadata_props")
            holder.ClearField("doc_string")
    for value in (*proto.graph.input, *proto.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = "batch"
    proto.ClearField("metadata_props")
    proto.ClearField("doc_string")
    return proto
