"""A whole sampler as one ONNX graph: a loop over a network that is in the file once, whatever the number of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sadm.core.optional import import_optional
from sadm.diffusion.solver_table import SolverTable

_DECODER = "decoder."


def sampler_graph(step: Any, table: SolverTable, shape: tuple[int, int, int], decoder: Any = None) -> Any:
    """An `onnx.ModelProto` from noise, and what the network is told, to images in [-1, 1].

    The loop's state is all that is known so far, [K + 1, B, C, H, W]: the noise and the answers, zero until they are there.

    Args:
        step: graph of `Step`, with inputs x, level and what it is told, and the output x0_hat.
        table: the solver's.
        shape: what the network draws, (C, H, W).
        decoder: graph of `Decoder`, with input latents and output decoded; None = the network draws images.
    """
    onnx = import_optional("onnx", "onnx", "an ONNX file")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    constants = _constants(table, shape)
    own = {name: f"sampler.{name}" for name in constants}

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(kind, [own.get(name, name) for name in inputs], [output], **attributes)

    body = _body(onnx, step, node, [len(table.levels) + 1, "batch", *shape])
    drawn = "sampler.drawn"
    nodes = [
        node("Shape", ["noise"], "sampler.shape"),
        node("Concat", ["counts", "sampler.shape"], "sampler.unknown_shape", axis=0),
        node("Expand", ["zero", "sampler.unknown_shape"], "sampler.unknown"),
        node("Unsqueeze", ["noise", "first"], "sampler.noise"),
        node("Concat", ["sampler.noise", "sampler.unknown"], "sampler.start", axis=0),
        node("Loop", ["count", "going", "sampler.start"], "sampler.known", body=body),
        node("Reshape", ["sampler.known", "rows"], "sampler.known_flat"),
        node("MatMul", ["result", "sampler.known_flat"], "sampler.end"),
        node("Reshape", ["sampler.end", "image"], drawn),
    ]
    initializers = [onnx.numpy_helper.from_array(value, own[name]) for name, value in constants.items()]
    initializers += step.graph.initializer
    functions, out = list(step.functions), helper.make_tensor_value_info("images", float32, ["batch", *shape])
    if decoder is not None:
        decoder = onnx.compose.add_prefix(decoder, _DECODER)
        nodes += [node("Identity", [drawn], f"{_DECODER}latents"), *decoder.graph.node]
        initializers += decoder.graph.initializer
        functions += decoder.functions
        drawn, out = f"{_DECODER}decoded", decoder.graph.output[0]
        out.name = "images"
    nodes.append(node("Clip", [drawn, "low", "high"], "images"))
    noise = helper.make_tensor_value_info("noise", float32, ["batch", *shape])
    told = [value for value in step.graph.input if value.name not in ("x", "level")]  # the same in each step
    graph = helper.make_graph(nodes, "sampler", [noise, *told], [out], initializers)
    return helper.make_model(graph, functions=functions, opset_imports=step.opset_import, ir_version=step.ir_version)


def _constants(table: SolverTable, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Numbers of the graph by name."""
    count = len(table.levels)
    return {
        "count": np.array(count, np.int64),
        "counts": np.array([count], np.int64),
        "going": np.array(True),
        "one": np.array([1], np.int64),
        "scalar": np.array([1, 1], np.int64),
        "first": np.array([0], np.int64),
        "zero": np.array(0, np.float32),
        "low": np.array(-1, np.float32),
        "high": np.array(1, np.float32),
        "rows": np.array([count + 1, -1], np.int64),
        "image": np.array([-1, *shape], np.int64),
        "levels": _float32(table.levels),
        "mix": _float32(table.mix),
        "result": _float32(table.result[None]),
    }


def _body(onnx: Any, step: Any, node: Callable[..., Any], state: list[int | str]) -> Any:
    """The loop's body: asks the network about a mix of what is known, and adds the answer to that.

    Args:
        onnx: the package.
        step: graph of `Step`.
        node: makes a node.
        state: shape of what is known.
    """
    nodes = [
        node("Reshape", ["sampler.i", "one"], "sampler.index"),
        node("Gather", ["mix", "sampler.index"], "sampler.row", axis=0),  # [1, K + 1]
        node("Gather", ["levels", "sampler.index"], "level", axis=0),  # [1]
        node("Reshape", ["sampler.before", "rows"], "sampler.flat"),  # [K + 1, B C H W]
        node("MatMul", ["sampler.row", "sampler.flat"], "sampler.asked"),
        node("Reshape", ["sampler.asked", "image"], "x"),
        *step.graph.node,
        node("Add", ["sampler.index", "one"], "sampler.next"),
        node("Reshape", ["sampler.next", "scalar"], "sampler.place"),
        node("Unsqueeze", ["x0_hat", "first"], "sampler.answer"),
        node("ScatterND", ["sampler.before", "sampler.place", "sampler.answer"], "sampler.after"),
        node("Identity", ["sampler.going_in"], "sampler.going_out"),
    ]
    helper, kinds = onnx.helper, onnx.TensorProto
    return helper.make_graph(
        nodes,
        "step",
        [
            helper.make_tensor_value_info("sampler.i", kinds.INT64, []),
            helper.make_tensor_value_info("sampler.going_in", kinds.BOOL, []),
            helper.make_tensor_value_info("sampler.before", kinds.FLOAT, state),
        ],
        [
            helper.make_tensor_value_info("sampler.going_out", kinds.BOOL, []),
            helper.make_tensor_value_info("sampler.after", kinds.FLOAT, state),
        ],
    )


def _float32(values: torch.Tensor) -> np.ndarray:
    return values.to(torch.float32).numpy()
