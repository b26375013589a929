"""GELU in its tanh form, by a shorter way on the CPU.

torch evaluates a hyperbolic tangent for it, forwards and again backwards. With ``1 + tanh(u) = 2 sigmoid(2 u)`` one exponential
serves both, and the derivative is kept in place of the input: nearly twice as fast in the same memory, equal to rounding.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensor

SLOPE = 2 * math.sqrt(2 / math.pi)  # 2 u = x (SLOPE + CUBIC x^2)
CUBIC = 0.044715 * SLOPE
CHUNK = 65536  # elements for each thread, whose intermediate results stay in its core's cache


def gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    """``0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`` (Hendrycks & Gimpel 2016, arXiv 1606.08415), of any shape.

    It has a first derivative only and raises RuntimeError where a second is asked for. Where the shorter way does not apply
    (an accelerator, another dtype than float32, autocast, a compiler, `torch.func`), it is torch's own.
    """
    plain = (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.is_contiguous()
        and not torch.is_autocast_enabled("cpu")
    )
    if not plain or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return F.gelu(x, approximate="tanh")
    return _Gelu.apply(x)


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        value = torch.empty_like(x)
        slope = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        ctx.save_for_backward(slope)
        flat, flat_value = x.view(-1), value.view(-1)
        chunk = CHUNK * torch.get_num_threads()
        end = min(x.numel(), chunk) if _only_counted(x) else x.numel()
        for start in range(0, end, chunk):
            part = slice(start, start + chunk)
            _fill(flat[part], flat_value[part], None if slope is None else slope.view(-1)[part])
        return value

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():  # create_graph: it would silently lack what comes from the derivative of the slope
            raise RuntimeError(
                "a second derivative was asked of gelu_tanh, which has a first one only. Build the network with "
                "DiT(..., twice_differentiable=True), or use torch.nn.functional.gelu(x, approximate='tanh')"
            )
        (slope,) = ctx.saved_tensors
        return gradient * slope


def _only_counted(x: torch.Tensor) -> bool:
    """Whether nobody wants the numbers (`sadm.experiments.planning`): the first chunk stands for all, which hold equally much."""
    if not isinstance(x, FakeTensor):
        return False
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    return get_proxy_mode() is None  # what is traced is to be computed later


def _fill(x: torch.Tensor, value: torch.Tensor, slope: torch.Tensor | None) -> None:
    """Writes ``x gate`` and its derivative ``gate + value (1 - gate) d(2 u)/dx``, where ``gate = sigmoid(2 u)``."""
    square, linear = x * x, x.new_full((), SLOPE)
    gate = torch.add(linear, square, alpha=CUBIC).mul_(x).sigmoid_()
    torch.mul(x, gate, out=value)
    if slope is not None:
        inner = torch.add(linear, square, alpha=3 * CUBIC, out=square)
        torch.addcmul(gate, torch.addcmul(value, value, gate, value=-1), inner, out=slope)
