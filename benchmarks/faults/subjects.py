"""The commands that are disturbed: what each needs, how it is called, and what it must come to whatever happened on the way."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.faults.command import Host
from benchmarks.faults.smallest import SMALLEST, digest, files_of, outcome_of_run, write_config
from sadm.core.config import merge

Outcome = dict[str, Any]
OUT = "out"
_MEASURED = ("seconds", "minutes", "memory", "provenance", "ms_per_image", "cost", "images_per_second", "business")
"""In the names of what differs from run to run: times, memory, and what follows from them."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A command.

    Attributes:
        name: of the command.
        prepare: puts what it needs into a folder of its own.
        arguments: of the command in that folder; its output goes to ``out`` there.
        outcome: what it has come to there, without what differs from run to run.
    """

    name: str
    prepare: Callable[[Path], None]
    arguments: Callable[[Path], list[str]]
    outcome: Callable[[Path], Outcome]


class Inputs:
    """What subjects start from, made once by commands that nothing disturbs.

    Args:
        host: runs them.
        folder: where they are kept.
    """

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        folder.mkdir(parents=True, exist_ok=True)

    @functools.cached_property
    def config(self) -> Path:
        """Of the smallest training."""
        return write_config(self.folder / "train.yaml")

    @functools.cached_property
    def run(self) -> Path:
        """A finished run."""
        return self._made("run", lambda out: ["train", "--config", str(self.config), "--out", str(out)])

    @functools.cached_property
    def autoencoder(self) -> Path:
        """A tiny autoencoder with random weights."""
        import diffusers
        import torch

        path = self.folder / "autoencoder"
        if not path.exists():
            torch.manual_seed(0)
            model = diffusers.AutoencoderKL(
                in_channels=1,
                out_channels=1,
                block_out_channels=(2,),
                layers_per_block=1,
                norm_num_groups=1,
                latent_channels=2,
                mid_block_add_attention=False,
            )
            model.save_pretrained(path)
        return path

    @functools.cached_property
    def comparison(self) -> Path:
        """A finished comparison; its measured cost is given to others, so that they train for as many steps."""
        return self._made("comparison", lambda out: ["compare", "--config", str(self.comparing), "--out", str(out)])

    @functools.cached_property
    def comparing(self) -> Path:
        """Configuration of the smallest comparison."""
        path = self.folder / "compare.yaml"
        train = merge(SMALLEST, {"optimiser": {"steps": 12}, "log": {"samples": 0}})
        train.pop("signal")
        config = {
            "train": train,
            "arms": {"plain": {"signal": "none"}, "sadm": {"signal": "structure"}},
            "seeds": [100],
            "groups": 1,
            "cost_steps": 20,
            "jobs": 1,
        }
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    def _made(self, name: str, arguments: Callable[[Path], list[str]]) -> Path:
        out = self.folder / name
        ended = self.host.run(*arguments(out))  # goes on, or finds it finished
        if ended.code:
            raise RuntimeError(f"{name} could not be made: {ended.output[-800:]}")
        return out


def subjects(inputs: Inputs) -> dict[str, Subject]:
    """All subjects, by name."""
    found = (_training(inputs), _evaluating(inputs), _encoding(inputs), _comparing(inputs))
    return {subject.name: subject for subject in found}


def reference(subject: Subject, host: Host, folder: Path) -> tuple[Outcome, float]:
    """What the command comes to when nothing disturbs it, and the seconds that it takes; kept in `folder`."""
    kept = folder / f"{subject.name}.json"
    if not kept.exists():
        place = fresh(folder / subject.name, subject)
        ended = host.run(*subject.arguments(place))
        if ended.code:
            raise RuntimeError(f"undisturbed, {subject.name} ended with {ended.code}: {ended.output[-800:]}")
        kept.write_text(json.dumps({"outcome": subject.outcome(place), "seconds": ended.seconds}), encoding="utf-8")
    stored = json.loads(kept.read_text("utf-8"))
    return stored["outcome"], stored["seconds"]


def fresh(place: Path, subject: Subject) -> Path:
    """An empty folder with what the subject needs."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    subject.prepare(place)
    return place


def _training(inputs: Inputs) -> Subject:
    return Subject(
        "train",
        lambda place: None,
        lambda place: ["train", "--config", str(inputs.config), "--out", str(place / OUT)],
        lambda place: outcome_of_run(place / OUT),
    )


def _evaluating(inputs: Inputs) -> Subject:
    def prepare(place: Path) -> None:
        shutil.copytree(inputs.run, place / OUT)

    def outcome(place: Path) -> Outcome:
        return {"evaluation": _read(place / OUT / "evaluation.json"), "files": files_of(place / OUT)}

    return Subject("evaluate", prepare, lambda place: ["evaluate", str(place / OUT), "--groups", "2"], outcome)


def _encoding(inputs: Inputs) -> Subject:
    def arguments(place: Path) -> list[str]:
        options = ["--autoencoder", str(inputs.autoencoder), "--out", str(place / OUT), "--workers", "1"]
        return ["encode", "digits", *options]

    def outcome(place: Path) -> Outcome:
        out = place / OUT
        return {"shards": {path.name: digest(path) for path in sorted(out.iterdir())}, "files": files_of(out)}

    return Subject("encode", lambda place: None, arguments, outcome)


def _comparing(inputs: Inputs) -> Subject:
    def prepare(place: Path) -> None:
        (place / OUT).mkdir()
        for name in ("compare.yaml", "cost.json"):
            shutil.copyfile(inputs.comparison / name, place / OUT / name)

    def outcome(place: Path) -> Outcome:
        out = place / OUT
        runs = sorted(path.parent for path in out.glob("runs/*/result.json"))
        return {
            "comparison": _steady(_read(out / "comparison.json")),
            "runs": {run.name: {**outcome_of_run(run), "result": _steady(_read(run / "result.json"))} for run in runs},
            "files": files_of(out),
        }

    arguments = lambda place: ["compare", "--config", str(inputs.comparing), "--out", str(place / OUT)]  # noqa: E731
    return Subject("compare", prepare, arguments, outcome)


def _steady(value: Any) -> Any:
    """Without what was measured in seconds or bytes."""
    if isinstance(value, dict):
        return {key: _steady(part) for key, part in value.items() if not any(word in key for word in _MEASURED)}
    return [_steady(part) for part in value] if isinstance(value, list) else value


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
