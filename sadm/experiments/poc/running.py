"""The engine behind ``sadm poc``: check, measure, plan, then the comparisons, resumable training by training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sadm.core.config import differences, write_yaml
from sadm.core.errors import UserError
from sadm.core.files import locked, make_folder
from sadm.core.progress import Reporter, Silent
from sadm.experiments.compare import compare
from sadm.experiments.config import CompareConfig
from sadm.experiments.devices import at_a_time
from sadm.experiments.engine import (
    CLOCK,
    clock,
    minutes_in,
    processor_minutes_in,
    refuse_changes,
    stored_config,
)
from sadm.experiments.poc.config import OF_ONE_DOMAIN, PocConfig
from sadm.experiments.poc.domains import Found, comparison, look_at
from sadm.experiments.poc.measuring import measure_speed
from sadm.experiments.poc.plan import LEAST, ONE_ROUND, TooSmall, make_plan, seconds_to
from sadm.experiments.poc.progress import Overall
from sadm.experiments.poc.state import State
from sadm.experiments.poc.summary import summarise_poc, write_poc

MAY_CHANGE = (
    "domains.",
    "minutes",
    "most_seeds",
    "more.",
    "matters",
    "jobs",
    "lang",
    "business.",
    "train.log.",
    "train.data.workers",
)
MEASURING = 0.1
"""Share of the budget that measurements of cost may take, about."""
_KEPT = 0.97  # share of the time left that further seeds may take
_PAGE = 5.0  # seconds


def poc(config: PocConfig, out: str | Path, reporter: Reporter | None = None, dry_run: bool = False) -> dict[str, Any]:
    """Runs a proof of concept, or what is left of it, and writes ``poc.html`` and ``poc.json``.

    Args:
        config: domains and budget. Domains may be added to a finished one; a larger budget adds seeds.
        out: its folder.
        reporter: where progress is shown; None = nowhere.
        dry_run: end with the plan.

    Returns:
        The content of ``poc.json``; of a dry run, the plan.

    Raises:
        UserError: bad configuration, a budget that is too small, no domain that can be used, a full disk.
        InterruptedRun: stopped by Ctrl-C or SIGTERM, after saving.
    """
    folder, shown = Path(out), reporter or Silent()
    _check(config, folder)
    with locked(make_folder(folder), "working"), clock(folder, at_a_time(config.train.device, config.jobs)):
        session = _Session(config, folder, shown)
        session.prepare()
        plan = session.plan()
        for line in plan_lines(plan):
            shown.say(line)
        if dry_run:
            return plan
        session.train()
        return session.conclude()


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """A plan in words."""
    lines = [
        f"Plan: {plan['seeds']} paired seeds in every domain, about {plan['minutes']:.1f} of {plan['left']:.1f} minutes that are "
        f"left; every training sees {plan['images']:,} images ({plan['share']:.0%} of the recipe's)."
    ]
    for name, facts in plan["domains"].items():
        done = f", {facts['seeds_done']} seeds done" if facts["seeds_done"] else ""
        lines.append(
            f"  {name}: {facts['minutes']:.1f} minutes; {facts['steps']} steps of {facts['batch']} images, "
            f"{facts['resolution'] or 'own'} pixels, {facts['train_images']} images to train on{done}"
        )
    lines += [f"  {name}: left out. {text}" for name, text in plan["unusable"].items()]
    return lines


class _Session:
    """One call of `poc`."""

    def __init__(self, config: PocConfig, folder: Path, reporter: Reporter) -> None:
        self.config, self.folder, self.reporter = config, folder, reporter
        self.state, self.start = State(folder), time.monotonic()
        self.processes = at_a_time(config.train.device, config.jobs)
        known = (folder / CLOCK).exists()
        self.before = 60 * minutes_in(folder) if known else 0.0
        self.processor_minutes_before = processor_minutes_in(folder) if known else 0.0
        self.failed: dict[str, str] = {}
        self.overall = Overall(reporter)

    @property
    def spent(self) -> float:
        """Seconds of all sessions so far."""
        return self.before + time.monotonic() - self.start

    @property
    def processor_minutes(self) -> float:
        """Minutes of all sessions so far, times the processes of each; of this one where the others' are not known."""
        if self.processor_minutes_before is None:
            return self.spent / 60 * self.processes
        return self.processor_minutes_before + (time.monotonic() - self.start) / 60 * self.processes

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return 60 * self.config.minutes - self.spent

    def prepare(self) -> None:
        """Looks at the domains that are new, and measures how fast they are trained on.

        Raises:
            UserError: none can be used.
        """
        write_yaml(self.folder / self.config.FILE, self.config)
        known = self.state.facts["domains"]
        for name in self.config.domains:
            if name not in known:
                self._prepare(name)
        if not self.state.usable:
            reasons = "\n".join(f"  {name}: {found.text}" for name, found in self.state.unusable.items())
            raise UserError(f"none of the domains can be used:\n{reasons}")

    def _prepare(self, name: str) -> None:
        self.reporter.say(f"{name}: looking at {self.config.domains[name]}")
        found = look_at(self.config, self.folder, name, self.reporter)
        if found.train is not None:
            self.reporter.say(f"{name}: measuring how fast it is trained on.")
            provisional = comparison(self.config, found.train, self.config.whole, LEAST)
            try:
                seconds = MEASURING * 60 * self.config.minutes / len(self.config.domains)
                measured = measure_speed(provisional, self.folder / name, seconds, self.reporter)
            except UserError as error:
                found = Found.unusable({"key": "error", "text": str(error)}, found.summary)
            else:
                self.state.facts["domains"][name] = {
                    "train": found.train, "summary": found.summary, "judged": measured.judged,
                    "speed": measured.speed.as_dict(), "cost_steps": measured.cost_steps,
                }  # fmt: skip
                self.state.save()
                return
        self.state.unusable[name] = found
        self.reporter.say(f"{name} is left out: {found.text}")

    def plan(self) -> dict[str, Any]:
        """Decides on length and seeds, where that is still open.

        Raises:
            UserError: the budget is too small, with what is needed.
        """
        facts, speeds = self.state.facts, self.state.speeds
        if facts["images"] is None:
            made = make_plan(
                speeds, self.config.more, self.config.whole, self.left - _PAGE, self.processes, self.config.most_seeds
            )
            if isinstance(made, TooSmall):
                raise UserError(self._too_small(made.needed + _PAGE, LEAST))
            facts["images"], facts["expected"] = made.images, made.seeds
        else:
            self._plan_further()
        facts["seeds"] = max(facts["seeds"], facts["expected"] if facts["expected"] <= ONE_ROUND else LEAST)
        return self._described(max(facts["expected"], facts["seeds"]))

    def _plan_further(self) -> None:
        """Time for domains that are new; for further seeds, where the budget has grown."""
        facts, done = self.state.facts, self.state.done
        needed = self._seconds_to(facts["seeds"])
        if any(not self.state.trained(name) for name in done) and needed > self.left:
            raise UserError(self._too_small(needed + _PAGE, facts["seeds"]))
        facts["expected"] = self._affordable()

    def _too_small(self, needed: float, seeds: int) -> str:
        total = (self.spent + needed) / 60
        return (
            f"the budget of {self.config.minutes:.3g} minutes is too small: {self.spent / 60:.1f} were spent on checks and "
            f"measurements so far, and {seeds} paired seeds in {len(self.state.usable)} domains take about "
            f"{needed / 60:.1f} more. Give --budget {total + 0.05:.1f}m or more, fewer domains or a smaller recipe. Nothing was "
            "trained; what was measured is kept."
        )

    def _seconds_to(self, seeds: int) -> float:
        state = self.state
        return seconds_to(
            seeds, state.speeds, self.config.more, state.facts["images"], state.done, state.slowness, self.processes
        )

    def _affordable(self) -> int:
        """Seeds, equal in all domains, for which the time that is left is enough; those that were promised at least."""
        least = max(LEAST, self.state.facts["seeds"])
        usable = _KEPT * (self.left - _PAGE)
        return next(
            (seeds for seeds in range(self.config.most_seeds, least, -1) if self._seconds_to(seeds) <= usable), least
        )

    def _described(self, seeds: int) -> dict[str, Any]:
        images, done, more = self.state.facts["images"], self.state.done, self.config.more
        domains = {}
        for name, facts in self.state.usable.items():
            speed = self.state.speeds[name]
            missing = max(0, seeds - done[name])
            length = images * more.get(name, 1.0)
            count = speed.in_rounds if not done[name] else speed.seconds
            seconds = count(length, missing, self.processes) if missing else 0.0
            domains[name] = {
                "minutes": seconds * self.state.slowness.get(name, 1.0) / 60,
                "steps": speed.steps(length),
                "batch": speed.batch,
                "resolution": facts["train"]["data"]["resolution"],
                "train_images": facts["summary"]["split"]["train"],
                "seeds_done": done[name],
            }
        return {
            "seeds": seeds,
            "images": images,
            "share": images / self.config.whole,
            "minutes": sum(facts["minutes"] for facts in domains.values()),
            "left": self.left / 60,
            "budget": self.config.minutes,
            "domains": domains,
            "unusable": {name: found.text for name, found in self.state.unusable.items()},
        }

    def train(self) -> None:
        """The comparisons: all domains with the first seeds, then with as many more as the time that is left pays."""
        self.state.save()
        while True:
            self._round(self.state.facts["seeds"])
            seeds = self._affordable()
            if seeds <= self.state.facts["seeds"] or not self._unfinished(seeds):
                return
            self.state.facts["seeds"] = seeds
            self.state.save()
            self.reporter.say(
                f"{self.left / 60:.1f} minutes are left, enough for {seeds} paired seeds in every domain."
            )

    def _unfinished(self, seeds: int) -> list[str]:
        return [name for name, done in self.state.done.items() if done < seeds and name not in self.failed]

    def _round(self, seeds: int) -> None:
        names, state = self._unfinished(seeds), self.state
        weights = {}
        for name in names:
            factor, missing = self.config.more.get(name, 1.0), seeds - state.seeds(name)
            planned = state.speeds[name].seconds(state.facts["images"] * factor, missing, self.processes)
            weights[name] = planned * state.slowness.get(name, 1.0)
        later = self._seconds_to(state.facts["expected"]) - self._seconds_to(seeds)
        self.overall.ahead(weights, max(0.0, later))
        for name in names:
            self._train(name, seeds, weights[name] / state.slowness.get(name, 1.0))

    def _train(self, name: str, seeds: int, planned: float) -> None:
        facts, folder = self.state.usable[name], self.folder / name
        fresh, start = self.state.trained(name) == self.state.seeds(name), time.monotonic()
        config = self._comparison(name, seeds)
        if not self.state.trained(name):
            write_yaml(folder / config.FILE, config)  # in place of the one that was measured with
        try:
            with self.overall.domain(name, len(config.seeds) - self.state.seeds(name)) as inner:
                compare(config, folder, inner)
        except UserError as error:
            self.failed[name] = str(error)
            self.reporter.say(f"{name} failed: {error}")
            return
        if fresh:  # begun and finished in this session
            facts["took"], facts["planned"] = time.monotonic() - start, planned
        self.state.save()
        self.conclude()

    def _comparison(self, name: str, seeds: int) -> CompareConfig:
        facts = self.state.usable[name]
        images = self.state.facts["images"] * self.config.more.get(name, 1.0)
        found = comparison(self.config, facts["train"], images, seeds, facts["judged"])
        return found.model_copy(update={"cost_steps": facts["cost_steps"]})

    def conclude(self) -> dict[str, Any]:
        """Writes what is known by now, and returns it.

        Raises:
            UserError: every domain failed and none has a result.
        """
        if self.failed and not any(self.state.done.values()):
            raise UserError(
                "every domain failed:\n" + "\n".join(f"  {name}: {why}" for name, why in self.failed.items())
            )
        found = summarise_poc(self.config, self.state, self.failed, self.spent / 60, self.processor_minutes)
        write_poc(self.config, self.folder, found)
        return found


def _check(config: PocConfig, folder: Path) -> None:
    """Refuses what contradicts the folder: other settings, a budget that is spent."""
    if not config.domains:
        raise UserError("no domain was given: name some folders of images, one for each domain.")
    for price in OF_ONE_DOMAIN:
        if getattr(config.business, price) is not None:
            raise UserError(
                f"business.{price} differs from domain to domain; give it to a domain's own `sadm compare`."
            )
    if config.train.data.autoencoder is not None:
        raise UserError("train.data.autoencoder: a proof of concept trains on pixels; leave it out.")
    for name in config.more:
        if name not in config.domains:
            raise UserError(f"--more names '{name}', which is no domain; there are {', '.join(config.domains)}.")
    stored = stored_config(folder, PocConfig)
    if stored is None:
        return
    changed = differences(config, stored, ignoring=MAY_CHANGE)
    changed += [
        f"more.{name}: stored {stored.more.get(name, 1)}, given {config.more.get(name, 1)}"
        for name in stored.domains
        if (folder / name).exists() and stored.more.get(name, 1) != config.more.get(name, 1)
    ]
    refuse_changes(folder, config.KIND, changed)
    if (folder / CLOCK).exists() and config.minutes < min(stored.minutes, minutes_in(folder)):
        raise UserError(
            f"--budget: {folder} took {minutes_in(folder):.1f} minutes already, and {config.minutes:.3g} were given. A larger "
            "budget adds seeds; a smaller one can't give time back."
        )
