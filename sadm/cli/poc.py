"""``sadm poc``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sadm.cli.options import parse, required, take
from sadm.cli.prepare import recipes_for
from sadm.core.config import build_config, merge, read_yaml
from sadm.core.progress import ConsoleReporter
from sadm.core.terminal import say
from sadm.experiments.poc.config import PocConfig, minutes_of, named_domains
from sadm.training.config import load_train_config, recipe_names

FOLDER = "folder32"
DESCRIPTION = """In which of several domains does structure-guided training pay? Checks the images of each as `sadm prepare` does,
compares plain and structure-guided training in each, all within one budget, and writes one page that ranks them and says what the
next step costs. Nothing in the folders is changed. Stop it with Ctrl-C; the same command goes on. Domains can be added; a larger
budget adds seeds.

  DIR ...           folders of images, one for each domain, or anything else that `sadm train --data` takes
  --out FOLDER      where everything is kept (required)
  --budget TIME     such as 2h, 1h30m, 45min; or money, such as '20 EUR', with --business.hour and --business.currency (required)
  --recipe NAME     training recipe of all domains: {recipes}; by default the one for folders on this machine
  --config FILE     a YAML file with the same keys as the options below
  --dry-run         check and measure, print the plan, and end there
  --json            print the content of poc.json, or the plan, and nothing else

examples:
  sadm poc bottles screws drawings --out runs/poc --budget 2h
  sadm poc bottles screws drawings --out runs/poc --budget 2h --dry-run
  sadm poc bottles screws --out runs/poc --budget '20 EUR' --business.hour 0.4 --business.currency EUR --lang ja
  sadm poc labels --out runs/poc --budget 3h      # a further domain, and more time
"""


def run(arguments: list[str]) -> None:
    """Parses the arguments, runs the proof of concept, and says where it pays and where the page is."""
    switches, arguments = _switches(arguments, "--dry-run", "--json")
    sources, arguments = _sources(arguments)
    (out, budget, recipe, file), rest = take(arguments, "out", "budget", "recipe", "config")
    stored = _stored(out)
    recipe = recipe or stored.get("recipe") or default_recipe()
    values = {"train": load_train_config(recipe).model_dump(mode="json"), "recipe": recipe}
    values = merge(values, read_yaml(file) if file is not None else {})
    defaults = build_config(PocConfig, values, file or "configuration")
    description = DESCRIPTION.format(recipes=", ".join(recipe_names()))
    config: PocConfig = parse(PocConfig, rest, "poc", description, defaults)
    folder = Path(required(out, "out", "poc"))
    kept = {name: source for name, source in stored.get("domains", {}).items() if (folder / name).exists()}
    change = {"domains": named_domains(sources, kept), "minutes": _minutes(budget, stored, config)}
    config = build_config(PocConfig, {**config.model_dump(mode="json"), **change}, "poc")
    from sadm.experiments.poc.running import plan_lines, poc

    with ConsoleReporter() as reporter:
        found = poc(config, folder, reporter, dry_run="--dry-run" in switches)
    if "--json" in switches:
        say(json.dumps(found, indent=1, ensure_ascii=False))
    elif "--dry-run" in switches:
        say("\n".join(plan_lines(found)))
    else:
        say("\n".join(described(found)))
        say(f"Page: {folder / 'poc.html'}")


def _minutes(budget: str | None, stored: dict[str, Any], config: PocConfig) -> float:
    """Minutes that the budget pays for; without one, those that the folder was begun with."""
    if budget is None and stored:
        return float(stored["minutes"])
    from sadm.experiments.devices import at_a_time

    return minutes_of(required(budget, "budget", "poc"), config.business, at_a_time(config.train.device, config.jobs))


def described(found: dict[str, Any]) -> list[str]:
    """The findings, as lines of text."""
    lines = list(found["sentences"])
    for facts in found["domains"]:
        lines.append(f"  {facts['rank']}. {facts['name']}: {facts['verdict']}")
        if "command" in facts["next"]:
            lines.append(f"     next, about {facts['next']['minutes']:.0f} minutes: {facts['next']['command']}")
    return lines + [f"  {facts['name']}: left out. {facts['why']}" for facts in found["left_out"]]


def default_recipe() -> str:
    """The recipe for folders of images that suits this machine."""
    from sadm.core.devices import resolve_device

    return next(name for name in recipes_for(resolve_device("auto").type) if name.startswith(FOLDER))


def _switches(arguments: list[str], *names: str) -> tuple[set[str], list[str]]:
    return {word for word in arguments if word in names}, [word for word in arguments if word not in names]


def _sources(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The words in front of the first option, and the rest."""
    first = next((place for place, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    return arguments[:first], arguments[first:]


def _stored(out: str | None) -> dict[str, Any]:
    path = Path(out or "") / PocConfig.FILE
    return read_yaml(path) if out is not None and path.is_file() else {}
