"""The cells of the grid: plain fine-tuning against structure at equal cost, and at 70 per cent of it; copies; sizes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import RUNS, result_path, store, stored
from benchmarks.finetuning.grid import COST_STEPS, FORMS, IMAGES, RATES, REPORT_SEEDS, SHARE, STEPS, TRANSFERS
from benchmarks.finetuning.search import best_rate, short
from benchmarks.finetuning.trainings import NAME, cell_config

if TYPE_CHECKING:
    from sadm.experiments.config import CompareConfig

PLAIN, STRUCTURE, CHEAP = "plain", "structure", "structure at 0.7"
CELLS = {
    f"{transfer}-{images}-{method}": (transfer, images, method)
    for method in RATES
    for transfer in TRANSFERS
    for images in IMAGES
}


def run_cells(form: str) -> None:
    """Trains what is missing of every cell; each is stored as it comes.

    Args:
        form: which of `FORMS` the search chose.
    """
    for name, cell in CELLS.items():
        if not result_path(NAME, name).exists():
            store(NAME, name, run_cell(*cell, form))


def run_cell(transfer: str, images: int, method: str, form: str, cheap: bool = True) -> dict[str, Any]:
    """One cell.

    Args:
        transfer: one of `TRANSFERS`.
        images: of the target to train on.
        method: of fine-tuning.
        form: which of `FORMS` is compared with plain fine-tuning.
        cheap: whether also at `SHARE` of its cost.
    """
    from benchmarks.paired import above_floor, seconds, train_all
    from sadm.core.provenance import provenance
    from sadm.experiments.plan import AUDIT
    from sadm.experiments.runs import Runs

    rate = best_rate(method)
    config = _config(transfer, images, method, rate, form)
    folder = RUNS / NAME / "grid" / f"{transfer}-{images}-{method}"
    cost = method_cost(method, form)
    steps = {PLAIN: STEPS, STRUCTURE: _steps(cost, 1.0), **({CHEAP: _steps(cost, SHARE)} if cheap else {})}
    floor = train_all(config, folder, steps)
    arms = {}
    for arm, count in steps.items():
        runs = Runs.read(folder, arm, REPORT_SEEDS, count)
        arms[arm] = {
            "steps": count,
            "diverged": runs.diverged,
            "excess": {judge: above_floor(runs, judge, floor) for judge in floor} if not runs.diverged else {},
            "cpu_seconds": [seconds(result) for result in runs.finished],
            "copies": [result[AUDIT]["copy_rate"] for result in runs.finished],
        }
    return {
        "transfer": transfer,
        "images": images,
        "method": method,
        "form": form,
        "rate": rate,
        "seeds": [*REPORT_SEEDS],
        "floor": short(floor),
        "cost": cost,
        "arms": short(arms),
        **_sizes(folder / "runs" / f"{PLAIN}-{STEPS}-steps-seed-{REPORT_SEEDS[0]}"),
        "provenance": provenance(),
    }


def method_cost(method: str, form: str) -> dict[str, Any]:
    """What a step with structure costs beside a plain one, measured once for each method; stored."""
    from sadm.core.progress import ConsoleReporter
    from sadm.experiments.cost import measure_costs
    from sadm.training.run import split_for

    name = f"cost-{method}"
    if not result_path(NAME, name).exists():
        config = _config("classes", max(IMAGES), method, best_rate(method), form)
        config = config.model_copy(update={"cost_steps": COST_STEPS})
        with ConsoleReporter() as reporter:
            found = measure_costs(config, [STRUCTURE], split_for(config.train).train, reporter)[STRUCTURE]
        store(NAME, name, vars(found))
    known: dict[str, Any] = stored(NAME, name)
    return known


def _steps(cost: dict[str, Any], share: float) -> int:
    from sadm.experiments.cost import ArmCost

    return ArmCost(**cost).equal_cost_steps(share * STEPS)


def _config(transfer: str, images: int, method: str, rate: float, form: str) -> CompareConfig:
    from sadm.experiments.config import CompareConfig

    return CompareConfig(
        train=cell_config(transfer, images, method, rate),
        arms={PLAIN: {"signal": "none"}, STRUCTURE: FORMS[form], CHEAP: FORMS[form]},
        seeds=[*REPORT_SEEDS],
        groups=1,
        audit=True,
    )


def _sizes(run: Path) -> dict[str, Any]:
    """Parameters that learn and all, and the bytes of what a fine-tuning keeps and of what it holds in memory while it trains.

    Held: weights; and for each parameter that learns, its gradient, two moments of AdamW and its average.
    """
    from sadm.finetuning.tuning import share_that_learns
    from sadm.training.model_folder import load_model
    from sadm.training.run import read_run_config
    from sadm.training.starting import start

    model = load_model(run)
    learns, there = share_that_learns(start(read_run_config(run), model.spec).net)
    kept = sum(file.stat().st_size for file in (run / "model").glob("*.safetensors"))
    return {
        "parameters": there,
        "learning": learns,
        "adapter_bytes": kept,
        "state_bytes": 4 * (there + 4 * learns),
    }
