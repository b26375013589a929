"""What does a step of Muon cost? Ours for a processor, torch's and AdamW, in turns, on matrices of transformers.

python -m benchmarks.muon --quick      # few turns, stores nothing
python -m benchmarks.muon --run
python -m benchmarks.muon --summary
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.common import command_line, result_path, rounded, store, stored

if TYPE_CHECKING:
    import torch

NAME = "muon"
SIZES = {"width 64": (64, 4), "width 96": (96, 4), "width 128": (128, 4), "width 192": (192, 6), "DiT-S": (384, 12)}
"""Width and blocks: the small networks of the recipes and of `benchmarks.peers`, and one of a published size."""
SHARES = ((3, 1), (1, 1), (4, 1), (1, 4), (6, 1))
"""Rows and columns, in widths, of a block's matrices: queries, keys and values; attention's output; MLP; modulation."""
OURS, TORCHS, ADAMW = "ours", "torch", "adamw"


def matrices_of(width: int, blocks: int) -> list[torch.nn.Parameter]:
    """The matrices of a transformer's blocks, with gradients, the same at every call."""
    import torch

    draws = torch.Generator().manual_seed(0)
    found = []
    for rows, columns in SHARES * blocks:
        matrix = torch.nn.Parameter(torch.randn(rows * width, columns * width, generator=draws))
        matrix.grad = torch.randn(matrix.shape, generator=draws)
        found.append(matrix)
    return found


def optimisers_for(width: int, blocks: int) -> dict[str, torch.optim.Optimizer]:
    """Each with matrices of its own."""
    import torch

    from sadm.training.muon import StackedMuon

    settings: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}
    return {
        OURS: StackedMuon(matrices_of(width, blocks), **settings),
        TORCHS: torch.optim.Muon(matrices_of(width, blocks), **settings),
        ADAMW: torch.optim.AdamW(matrices_of(width, blocks), lr=1e-3, fused=True),
    }


def errors(width: int) -> dict[str, float]:
    """How far a first step is from that of a matrix in float64, relative to its largest number; the largest of a block."""
    import torch

    from sadm.training.muon import orthogonalised, scale_of

    found: dict[str, float] = {}
    for name, optimiser in optimisers_for(width, 1).items():
        if name == ADAMW:
            continue
        group = optimiser.param_groups[0]
        matrices: list[torch.Tensor] = group["params"]
        wanted = [matrix.grad.double() for matrix in matrices if matrix.grad is not None]
        turned = orthogonalised(wanted, group["ns_coefficients"], group["ns_steps"], group["eps"])
        for matrix in matrices:
            matrix.detach().zero_()  # what is added to nothing is not rounded
        optimiser.step()
        steps = [
            -matrix.detach() / (group["lr"] * scale_of(matrix.shape, group["adjust_lr_fn"])) for matrix in matrices
        ]
        apart = [(step - exact).abs().max() / exact.abs().max() for step, exact in zip(steps, turned, strict=True)]
        found[name] = float(torch.stack(apart).max())
    return found


def measure(quick: bool) -> dict[str, Any]:
    """Milliseconds of a step by size and optimiser, medians over turns, and errors."""
    import statistics

    import torch

    from benchmarks.throughput.measure import Effort, interleaved
    from sadm.core.provenance import provenance
    from sadm.training.optimisers import has_units_for_bfloat16

    torch.set_num_threads(1)
    effort = Effort(turns=3, slice_seconds=0.05) if quick else Effort(turns=7, slice_seconds=1.0)
    device, rows = torch.device("cpu"), {}
    for name, (width, blocks) in SIZES.items():
        works = {kind: one.step for kind, one in optimisers_for(width, 2 if quick else blocks).items()}
        seconds = interleaved(works, effort, device)
        rows[name] = {
            "width": width,
            "blocks": 2 if quick else blocks,
            "milliseconds": {kind: 1000 * statistics.median(turns) for kind, turns in seconds.items()},
            "torch_over_ours": statistics.median(
                other / own for own, other in zip(seconds[OURS], seconds[TORCHS], strict=True)
            ),
            "error": errors(width),
        }
    found: dict[str, Any] = rounded({"sizes": rows})
    return {**found, "bfloat16_units": has_units_for_bfloat16(), "provenance": provenance()}


def section() -> str | None:
    """The section of docs/results.md; None before there is a result."""
    if not result_path(NAME, "result").exists():
        return None
    found = stored(NAME, "result")
    lines = [
        "## What does a step of Muon cost?",
        "",
        "`python -m benchmarks.muon --run` (CPU-milliseconds of one thread on all matrices of the network's blocks, medians over "
        "interleaved turns; error: of a first step, against one in float64, relative to its largest number. torch's runs in "
        f"bfloat16, for which this processor {'has' if found['bfloat16_units'] else 'lacks'} units. "
        f"{found['provenance']['machine']})",
        "",
        "| network | blocks | AdamW | Muon, torch's | Muon, ours | torch's over ours | error, torch's | error, ours |",
        f"|{' --- |' * 8}",
    ]
    for name, row in found["sizes"].items():
        taken, apart = row["milliseconds"], row["error"]
        lines.append(
            f"| {name} | {row['blocks']} | {taken[ADAMW]:.3g} | {taken[TORCHS]:.3g} | {taken[OURS]:.3g} | "
            f"{row['torch_over_ours']:.2f} | {apart[TORCHS]:.1e} | {apart[OURS]:.1e} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    command_line(
        __doc__,
        lambda: store(NAME, "result", measure(quick=False)),
        lambda: stored(NAME, "result"),
        lambda: measure(quick=True),
        "time two blocks of each for seconds, and store nothing",
    )
