"""What all stored results of `benchmarks.finetuning` say, for JSON."""

from __future__ import annotations

from typing import Any

from benchmarks.common import result_path, stored
from benchmarks.finetuning.cells import CELLS, CHEAP, STRUCTURE
from benchmarks.finetuning.curves import curves
from benchmarks.finetuning.rows import over_cells, row, stored_cells
from benchmarks.finetuning.trainings import NAME


def summary() -> dict[str, Any]:
    """What the stored results say; cells without a result are listed as missing."""
    cells = stored_cells()
    return {
        "rows": [row(cell) for cell in cells],
        "missing": [name for name in CELLS if not result_path(NAME, name).exists()],
        **over_cells(cells, STRUCTURE),
        "at_70_percent_of_the_cost": over_cells(cells, CHEAP),
        "curves": curves(),
        "shapes": stored(NAME, "shapes") if result_path(NAME, "shapes").exists() else None,
    }
