"""Learning curves: the best methods of the grid from ten images to five thousand."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.common import result_path, store, stored
from benchmarks.finetuning.cells import PLAIN, run_cell
from benchmarks.finetuning.grid import CURVE_IMAGES, CURVE_METHODS, IMAGES, JUDGES, RATES, TRANSFERS
from benchmarks.finetuning.rows import row, stored_cells
from benchmarks.finetuning.trainings import NAME


def run_curves(form: str) -> None:
    """Trains what the grid has not; each point is stored as it comes."""
    for method in best_methods(stored_cells()):
        for transfer in TRANSFERS:
            for images in CURVE_IMAGES:
                name = point(transfer, images, method)
                if not result_path(NAME, name).exists():
                    store(NAME, name, run_cell(transfer, images, method, form, cheap=False))


def point(transfer: str, images: int, method: str) -> str:
    """The name of a stored point that is no cell of the grid."""
    return f"curve-{transfer}-{images}-{method}"


def best_methods(cells: list[dict[str, Any]]) -> list[str]:
    """Those with the smallest FD - floor of plain fine-tuning, in the geometric mean over cells, judges and seeds."""

    def mean(method: str) -> float:
        excess = [cell["arms"][PLAIN]["excess"] for cell in cells if cell["method"] == method]
        logs = [math.log(value) for found in excess for judge in JUDGES for value in found[judge]]
        return sum(logs) / len(logs)

    return sorted(RATES, key=mean)[:CURVE_METHODS]


def curves() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """By transfer and method, rows of the summary by number of images; empty where no point is stored."""
    names = [point(transfer, images, method) for transfer in TRANSFERS for images in CURVE_IMAGES for method in RATES]
    points = [stored(NAME, name) for name in names if result_path(NAME, name).exists()]
    if not points:
        return {}
    grid = stored_cells()
    cells = {(cell["transfer"], cell["images"], cell["method"]): cell for cell in [*grid, *points]}
    counts, methods = sorted({*IMAGES, *CURVE_IMAGES}), best_methods(grid)
    return {
        transfer: {
            method: [row(cells[transfer, images, method]) for images in counts if (transfer, images, method) in cells]
            for method in methods
        }
        for transfer in TRANSFERS
    }
