"""Models as ONNX files, each compared with torch in onnxruntime before it is there."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sadm.core.errors import UserError
from sadm.core.files import make_folder, move_into_place, sha256_of_file, user_errors_for, write_json
from sadm.core.optional import import_optional
from sadm.core.progress import Reporter, Silent
from sadm.core.provenance import provenance
from sadm.core.seeds import generator
from sadm.diffusion import VPDenoiser, prepare
from sadm.diffusion.solver_table import solver_table
from sadm.training.config import SamplingConfig
from sadm.training.deployment.loop import sampler_graph
from sadm.training.deployment.recording import OPSET, Decoder, Network, Step, recorded
from sadm.training.deployment.told import ToldInputs
from sadm.training.model_folder import Model

ONNX_TOLERANCES = {"network": 1e-4, "sampler": 1e-3}
"""Largest difference from torch, by the largest magnitude of what torch gives where that is above 1."""
_COMPARED = (1, 3)  # sizes of the batches
_ONE_FILE = 3 << 29  # bytes of weights; ONNX allows no file of 2 GiB
_SIGMAS = (0.002, 80.0)


@dataclasses.dataclass(frozen=True)
class _Case:
    """Inputs by name, and what torch makes of them."""

    inputs: dict[str, torch.Tensor]
    wanted: torch.Tensor


def export_onnx(
    model: Model,
    out: str | Path,
    sampling: SamplingConfig | None = None,
    size: tuple[int, int] | None = None,
    tolerance: float | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Writes a model as an ONNX file, with a JSON file of facts beside it: OUT.json.

    Without `sampling`, the file holds the network behind the contract: ``x_t [B, C, H, W], sigma [B]``, and what it is told
    (`ToldInputs`), to ``x0_hat [B, C, H, W]``. With it, the file holds a whole sampler of a fixed number of steps: ``noise``, and
    what it is told, to ``images`` in [-1, 1]; latents are decoded.

    Args:
        model: on the CPU.
        out: the file, ending in .onnx; weights above 1.5 GiB go into OUT.data beside it.
        sampling: a deterministic solver, its steps and guidance.
        size: height and width, for a model that was trained on several shapes; None = those of `ModelSpec.shape`.
        tolerance: None = that of `ONNX_TOLERANCES`.
        reporter: told what is going on.

    Returns:
        What is in the JSON file, the largest difference among it.

    Raises:
        UserError: a package is missing, the model or its sampler has no form in ONNX, or it differs there by more than the
            tolerance.
    """
    target, shown = Path(out), reporter or Silent()
    if target.suffix != ".onnx" or target.is_dir():
        raise UserError(f"--out is {target}; expected the name of a file that ends in .onnx.")
    onnx = import_optional("onnx", "onnx", "an ONNX file")
    for package in ("onnxscript", "onnxruntime"):
        import_optional(package, "onnx", "an ONNX file")
    what = "network" if sampling is None else "sampler"
    most = ONNX_TOLERANCES[what] if tolerance is None else tolerance
    shape = model.shape_drawn(size)
    shown.say(f"Recording the {what}; this takes a minute or more.")
    proto = _network(model, shape) if sampling is None else _sampler(model, shape, sampling)
    make_folder(target.parent)
    with (
        user_errors_for(target),
        tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent) as temporary,
    ):
        draft, beside = Path(temporary) / target.name, f"{target.name}.data"
        _save(onnx, proto, draft, beside)
        shown.say("Comparing it with torch in onnxruntime.")
        cases = (_asked(model, shape, n) if sampling is None else _drawn(model, shape, sampling, n) for n in _COMPARED)
        difference = _largest_difference(draft, list(cases), what, most)
        facts = _facts(model, what, shape, sampling) | {"largest_difference": difference, "tolerance": most}
        _write_metadata(onnx, draft, facts)
        files = {path.name: sha256_of_file(path) for path in sorted(Path(temporary).iterdir())}
        facts |= {"sha256": files, "provenance": provenance()}
        if beside in files:
            move_into_place(draft.with_name(beside), target.with_name(beside))
        write_json(f"{target}.json", facts)
        move_into_place(draft, target)
    return facts


def _network(model: Model, shape: tuple[int, int, int]) -> Any:
    told = ToldInputs.of(model)
    inputs = {
        "x_t": torch.zeros(2, *shape),
        "sigma": torch.ones(2),
        **told.examples(2, shape[1:], generator(0, "onnx")),
    }
    return recorded(Network(model.denoiser, told).eval(), inputs, "x0_hat")


def _sampler(model: Model, shape: tuple[int, int, int], sampling: SamplingConfig) -> Any:
    settings = model.settings(sampling)
    guided, times = prepare(model.denoiser, model.null_label, settings)
    solver = settings.solver_on(guided.path)
    options = {"eta": settings.eta} if solver.takes_eta else {}
    try:
        table = solver_table(solver, times, guided.path, **options)
    except ValueError as error:
        raise UserError(
            f"this sampler can't be written as ONNX: {error}. Choose --solver heun, dpmpp_2m, euler or ddim, with --eta 0."
        ) from error
    codec, told = model.codec(), ToldInputs.of(model)
    inputs = {"x": torch.zeros(2, *shape), "level": torch.ones(1), **told.examples(2, shape[1:], generator(0, "onnx"))}
    step = recorded(Step(model.denoiser, guided, table.in_contract, told).eval(), inputs, "x0_hat")
    decoder = None if codec is None else recorded(Decoder(codec).eval(), {"latents": torch.zeros(2, *shape)}, "decoded")
    return sampler_graph(step, table, shape, decoder)


@torch.no_grad()
def _asked(model: Model, shape: tuple[int, int, int], count: int) -> _Case:
    """The network's inputs at noise levels all over its range, and its answers."""
    low, high = _SIGMAS
    if isinstance(model.denoiser, VPDenoiser):
        low, high = model.denoiser.schedule.sigma_min * 1.001, model.denoiser.schedule.sigma_max / 1.001
    draws = generator(0, "onnx", count)
    sigma = torch.linspace(0, 1, count + 2)[1:-1].mul(torch.tensor(high / low).log()).exp() * low  # [B]
    x0 = torch.rand(count, *shape, generator=draws) * 2 - 1
    x_t = x0 + sigma[:, None, None, None] * torch.randn(count, *shape, generator=draws)
    told = ToldInputs.of(model)
    given = told.examples(count, shape[1:], draws)
    wanted = model.denoiser(x_t, sigma, told.cond([*given.values()]))
    return _Case({"x_t": x_t, "sigma": sigma, **given}, wanted)


@torch.no_grad()
def _drawn(model: Model, shape: tuple[int, int, int], sampling: SamplingConfig, count: int) -> _Case:
    """A sampler's noise, and the images that the solver itself draws from it."""
    settings = model.settings(sampling)
    guided, times = prepare(model.denoiser, model.null_label, settings)
    draws, told = generator(0, "onnx", count), ToldInputs.of(model)
    noise, given = torch.randn(count, *shape, generator=draws), told.examples(count, shape[1:], draws)
    drawn = settings.solver_on(guided.path)(guided, noise, times, told.cond([*given.values()]), guided.path)
    codec = model.codec()
    return _Case({"noise": noise, **given}, (drawn if codec is None else codec.decode(drawn)).clamp(-1, 1))


def _largest_difference(file: Path, cases: list[_Case], what: str, most: float) -> float:
    """Between onnxruntime and torch; refused above `most`."""
    ort = import_optional("onnxruntime", "onnx", "the check of an ONNX file")
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    largest = 0.0
    try:
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        for case in cases:
            (found,) = session.run(None, {name: value.numpy() for name, value in case.inputs.items()})
            away = (torch.from_numpy(found).double() - case.wanted.double()).abs().amax()
            scale = case.wanted.double().abs().amax().clamp(min=1)
            largest = max(largest, float((away / scale).nan_to_num(nan=torch.inf, posinf=torch.inf)))
    except Exception as error:  # onnxruntime's own errors have no common type
        raise UserError(f"onnxruntime can't run the exported {what}: {error}") from error
    if not largest <= most:
        raise UserError(
            f"the exported {what} differs from torch by {largest:.3g} in onnxruntime; expected at most {most:g}. Nothing was "
            "written. Where that is good enough for you, say so with --tolerance."
        )
    return largest


def _facts(model: Model, what: str, shape: tuple[int, int, int], sampling: SamplingConfig | None) -> dict[str, Any]:
    spec = model.spec
    facts = {
        "holds": what,
        "shape": list(shape),
        "process": spec.process.kind,
        "class_names": list(spec.class_names),
        "null_label": model.null_label,
        "attributes": [scale.name for scale in spec.attributes],
        "pictures": list(spec.pictures),
        "model": model.hash,
        "data": model.description.get("data", {}).get("fingerprint", ""),
        "opset": OPSET,
    }
    if sampling is None:
        return facts
    return facts | {"sampling": sampling.model_dump(mode="json", exclude={"batch"})}


def _save(onnx: Any, proto: Any, path: Path, beside: str) -> None:
    large = sum(len(tensor.raw_data) for tensor in proto.graph.initializer) > _ONE_FILE
    onnx.save(proto, str(path), save_as_external_data=large, all_tensors_to_one_file=True, location=beside)


def _write_metadata(onnx: Any, path: Path, facts: Mapping[str, Any]) -> None:
    """What belongs to the file goes into it, too."""
    proto = onnx.load(str(path), load_external_data=False)
    proto.producer_name = "sadm"
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
        proto.metadata_props.add(key=f"sadm.{name}", value=text)
    path.write_bytes(proto.SerializeToString())
