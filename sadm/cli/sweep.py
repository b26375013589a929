"""``sadm sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sadm.cli.options import network_defaults, parse, required, take, take_all
from sadm.core.config import build_config, parse_yaml, read_yaml
from sadm.core.errors import UserError
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import printable, say
from sadm.experiments.sweep.config import NOTHING_VARIES, SweepConfig, canonical_grid
from sadm.training.config import load_train_config, recipe_names

DESCRIPTION = """Trains every combination of some options' values with paired seeds and ranks them, or says which can't be told
apart. Stop it with Ctrl-C; the same command goes on. Values and seeds can be added.

  --out FOLDER            where everything is kept (required)
  --recipe NAME           training recipe: {recipes}
  --config FILE           a YAML file with training options, on top of the recipe
  --vary KEY=A,B,C        an option of training and its values; may be repeated
  --grid FILE             a YAML file of options and their lists of values; needed for values that are lists themselves

examples:
  sadm sweep --out runs/sweep --recipe digits --vary optimiser.learning-rate=1e-3,2e-3,4e-3 --vary optimiser.batch=32,64
  sadm sweep --out runs/sweep --recipe digits --grid grid.yaml --seeds 0 1 2 3 4 --early-stop 0.25 0.5

grid.yaml:
  optimiser: {{learning_rate: [1.0e-3, 2.0e-3, 4.0e-3]}}
  structure.ratio: [0.2, 0.4]
"""


def run(arguments: list[str]) -> None:
    """Parses the arguments, sweeps, and says what is best, how sure that is, and how to confirm it."""
    (out, recipe, file, grid), rest = take(arguments, "out", "recipe", "config", "grid")
    varied, rest = take_all(rest, "vary")
    train = load_train_config(recipe, file, network_defaults(rest, "train."))
    defaults = build_config(SweepConfig, {"train": train.model_dump(mode="json")}, "sweep")
    description = DESCRIPTION.format(recipes=", ".join(recipe_names()))
    config: SweepConfig = parse(SweepConfig, rest, "sweep", description, defaults)
    vary = _grid(grid, varied)
    if not vary:
        raise UserError(NOTHING_VARIES)
    config = build_config(SweepConfig, {**config.model_dump(mode="json"), "vary": vary}, "sweep")
    folder = required(out, "out", "sweep")
    from sadm.experiments.sweep.running import sweep

    with ConsoleReporter() as reporter:
        found = sweep(config, folder, reporter)
    print_table(found)
    say("\n".join(found["sentences"]))
    say(f"Report: {Path(folder) / 'sweep.html'}")


def print_table(found: dict[str, Any]) -> None:
    """Prints the settings from best to worst."""
    table = Table(title=Text(printable(f"FD − floor against {found['baseline']}"), "table.title"), title_justify="left")
    for column in ("rank", "setting", "change", "95 % interval", "CPU-seconds"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for setting in found["settings"]:
        ratio = setting["ratio"]
        known = ratio["mean"] is not None
        interval = known and ratio["low"] is not None and setting["name"] != found["baseline"]
        table.add_row(
            str(setting["rank"]),
            Text(printable(setting["name"])),
            "baseline"
            if setting["name"] == found["baseline"]
            else f"{ratio['mean'] - 1:+.1%}"
            if known
            else ratio["reason"],
            f"{ratio['low'] - 1:+.1%} to {ratio['high'] - 1:+.1%}" if interval else "",
            f"{setting['cpu_seconds']:.1f}" if "cpu_seconds" in setting else "",
        )
    Console(soft_wrap=True).print(table)
    for line in found["stopped"]:
        say(f"stopped at {line['steps']} steps: {line['name']} ({line['reason']}, rank {line['rank']} of {line['of']})")


def _grid(file: str | None, varied: list[str]) -> dict[str, Any]:
    """The options that vary, from the file and the command line."""
    grid = canonical_grid(read_yaml(file)) if file is not None else {}
    for text in varied:
        key, equals, values = text.partition("=")
        if not equals or not key or not values:
            raise UserError(f"--vary {text}: expected KEY=VALUE,VALUE such as optimiser.learning-rate=1e-3,2e-3.")
        grid = {**grid, **_new(grid, key, values)}
    return grid


def _new(grid: dict[str, Any], key: str, values: str) -> dict[str, Any]:
    (name,) = canonical_grid({key: []})
    if name in grid:
        raise UserError(f"'{name}' is given twice; put all its values into one list.")
    return {name: [_value(word.strip()) for word in values.split(",")]}


def _value(word: str) -> Any:
    return None if word == "None" else parse_yaml(f"value: {word}", f"--vary value '{word}'")["value"]
