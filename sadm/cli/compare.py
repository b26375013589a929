"""``sadm compare``."""

from __future__ import annotations

from pathlib import Path

from sadm.cli.options import network_defaults, parse, required, take
from sadm.core.config import build_config, merge, read_yaml
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say
from sadm.experiments.config import CompareConfig
from sadm.training.config import load_train_config, recipe_names
from sadm.training.net_config import merge_training

DESCRIPTION = """Trains plain and structure-guided models with paired seeds, at equal steps and at equal cost, and
reports which is better, or that it cannot be told. Stop it with Ctrl-C; the same command goes on. Seeds and arms can be added.

  --out FOLDER      where everything is kept (required)
  --recipe NAME     training recipe of all arms: {recipes}
  --config FILE     a YAML file with the same keys as the options below, and with arms and samplers of one's own

examples:
  sadm compare --out runs/compare --recipe digits
  sadm compare --out runs/mine --recipe folder32 --data path/to/images --seeds 100 101 102 103 104 --lang ja
  sadm compare --out runs/arms --recipe digits --config arms.yaml --cost-shares 0.7 --per-class
  sadm compare --out runs/arms --recipe digits --config arms.yaml --structure-metric --audit --downstream --representation
  sadm compare --out runs/many --recipe digits --config arms.yaml --seeds 100 101 102 103 104 105 --stop-hopeless

arms.yaml, for a control of one's own and few-step sampling beside the usual:
  arms: {{plain: {{signal: none}}, sadm: {{signal: structure}}, gentle: {{signal: structure, structure: {{ratio: 0.2}}}}}}
  samplers: {{5 NFE: {{steps: 3}}}}
"""


def run(arguments: list[str]) -> None:
    """Parses the arguments, compares, and says who won and where the report is."""
    (out, recipe, file), rest = take(arguments, "out", "recipe", "config")
    values = {"train": load_train_config(recipe).model_dump(mode="json")}
    given = {} if file is None else read_yaml(file)
    train = merge_training(values["train"], given.get("train") or {})
    values = {**merge(values, given), "train": merge_training(train, network_defaults(rest, "train."))}
    defaults = build_config(CompareConfig, values, file or "configuration")
    description = DESCRIPTION.format(recipes=", ".join(recipe_names()))
    config: CompareConfig = parse(CompareConfig, rest, "compare", description, defaults)
    folder = required(out, "out", "compare")
    from sadm.experiments.compare import compare
    from sadm.experiments.report.money import decision

    with ConsoleReporter() as reporter:
        comparison = compare(config, folder, reporter)
    say(comparison["verdict"]["sentence"])
    line = decision(comparison, "en")
    if line is not None:
        say(f"Decision: {line['say']}. {line['why']}")
    say(f"Report: {Path(folder) / 'report.html'}")
