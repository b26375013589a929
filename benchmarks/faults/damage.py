"""Files cut short at every sixteenth of their length, and with a flipped bit: what notices, and what is said."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.faults.book import Book, Case
from benchmarks.faults.command import Host
from benchmarks.faults.smallest import differences
from benchmarks.faults.subjects import OUT, Inputs, Outcome, Subject, fresh, reference, subjects
from sadm.core.errors import UserError
from sadm.data.cache import TensorStore
from sadm.experiments.plan import RunJob
from sadm.training.checkpoint import CHECKSUMS, TENSORS, VALUES, latest_checkpoint
from sadm.training.latents import KIND
from sadm.training.model_folder import load_model

PARTS = 16
FLIPS = 16
SEED = 11
Damage = tuple[str, bytes]


@dataclasses.dataclass(frozen=True)
class Noticed:
    """Whether damage was noticed, in which words; `harmless`: what was read is what was written."""

    detected: bool
    said: str
    harmless: bool = False


def run(host: Host, folder: Path, book: Book) -> list[Case]:
    """Files of checkpoints, models, latents and comparisons, by the library; one of each kind by the command line, too."""
    inputs = Inputs(host, folder.parent / "inputs")
    latents = _finished(host, folder, subjects(inputs)["encode"]) / OUT
    checked: dict[str, tuple[Path, Callable[[Path], Noticed], bool]] = {
        **{
            f"checkpoint, {name}": (_newest(inputs.run) / name, _checkpoint, True)
            for name in (TENSORS, VALUES, CHECKSUMS)
        },
        "model, model.safetensors": (inputs.run / "model" / "model.safetensors", _model, True),
        "latents, shard": (latents / "shard-00001.safetensors", _latents, True),
        "latents, manifest.json": (latents / "manifest.json", _latents, False),
        "comparison, result.json": (_result(inputs.comparison), _result_of, False),
    }
    cases = []
    for title, (path, notice, flips) in checked.items():
        for name, content in damages(path, flips):
            one = lambda path=path, content=content, notice=notice: _case(path, content, notice)  # noqa: E731
            cases.append(book.case(f"{title}, {name}", one))
    for name in (TENSORS, VALUES):
        for kind in ("cut", "flipped"):
            again = lambda name=name, kind=kind: _resumed(host, folder, inputs, name, kind)  # noqa: E731
            cases.append(book.case(f"train with a {kind} {name}", again))
    cases.append(book.case("encode with a flipped shard", lambda: _encoded(host, folder, inputs)))
    cases.append(book.case("sample with a flipped model", lambda: _sampled(host, folder, inputs)))
    return cases


def damages(path: Path, flips: bool = True) -> Iterator[Damage]:
    """The content of a file cut at each sixteenth, and with one seeded bit flipped."""
    content = path.read_bytes()
    for part in range(PARTS):
        yield f"cut at {part}/{PARTS}", content[: len(content) * part // PARTS]
    draws = np.random.default_rng([SEED, *path.name.encode()])
    for number in range(FLIPS if flips else 0):
        spoilt = bytearray(content)
        spoilt[int(draws.integers(len(content)))] ^= 1 << int(draws.integers(8))
        yield f"flip {number}", bytes(spoilt)


def _case(path: Path, content: bytes, notice: Callable[[Path], Noticed]) -> Case:
    """Damages a file, asks the library to read it, and mends it."""
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        noticed = notice(path)
    except UserError as error:
        noticed = Noticed(True, str(error))
    except Exception as error:
        noticed = Noticed(False, f"{type(error).__name__}: {error}")
    finally:
        path.write_bytes(kept)
    missed = not noticed.detected and not noticed.harmless
    return {
        "damaged": 1,
        "detected": int(noticed.detected),
        "harmless": int(noticed.harmless and not noticed.detected),
        "failures": [f"not noticed: {noticed.said}"] if missed else [],
    }


def _checkpoint(path: Path) -> Noticed:
    """The checkpoint before is used, and that is said."""
    said: list[str] = []
    state = latest_checkpoint(path.parents[1], said.append)
    before = int(sorted(path.parents[1].glob("step-*"))[0].name.removeprefix("step-"))
    used = state is not None and state["learner"]["step"] == before
    return Noticed(used and len(said) == 1 and str(path.parent) in said[0], "; ".join(said))


def _model(path: Path) -> Noticed:
    load_model(path.parent)
    return Noticed(False, "the model was loaded")


def _latents(path: Path) -> Noticed:
    damaged = TensorStore(path.parent, KIND).damaged()
    return Noticed(damaged == [path.name], f"damaged: {damaged}")


def _newest(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("step-*"))[-1]


def _finished(host: Host, folder: Path, subject: Subject) -> Path:
    place = folder / f"finished-{subject.name}"
    if not place.exists():
        fresh(place, subject)
    host.run(*subject.arguments(place))
    return place


def _spoil(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "cut":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _resumed(host: Host, folder: Path, inputs: Inputs, name: str, kind: str) -> Case:
    """As after a kill, with the newest checkpoint damaged."""
    subject = subjects(inputs)["train"]
    expected, _ = reference(subject, host, folder.parent / "reference")
    place = fresh(folder / "damaged", subject)
    shutil.copytree(inputs.run, place / OUT)
    facts = json.loads((place / OUT / "run.json").read_text("utf-8"))
    (place / OUT / "run.json").write_text(json.dumps({**facts, "finished": False}), encoding="utf-8")
    _spoil(_newest(place / OUT) / name, kind)
    ended = host.run(*subject.arguments(place))
    said = "Passing over a damaged checkpoint" in ended.output and "Going on from step 12" in ended.output
    failures = [] if said and not ended.code else [f"{ended.code}: {ended.output[-400:]}"]
    return _outcome(failures, subject, place, expected)


def _encoded(host: Host, folder: Path, inputs: Inputs) -> Case:
    subject = subjects(inputs)["encode"]
    expected, _ = reference(subject, host, folder.parent / "reference")
    place = folder / "damaged"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(_finished(host, folder, subject), place)
    _spoil(place / OUT / "shard-00000.safetensors", "flipped")
    ended = host.run(*subject.arguments(place))
    said = "Making anew what is damaged" in ended.output
    return _outcome(
        [] if said and not ended.code else [f"{ended.code}: {ended.output[-400:]}"], subject, place, expected
    )


def _sampled(host: Host, folder: Path, inputs: Inputs) -> Case:
    place = folder / "damaged"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(inputs.run, place)
    _spoil(place / "model" / "model.safetensors", "flipped")
    ended = host.run("sample", place, "--count", "2", "--out", place / "images")
    refused = ended.code == 2 and "truncated or altered" in ended.output
    return {
        "damaged": 1,
        "detected": int(refused),
        "failures": [] if refused else [f"{ended.code}: {ended.output[-400:]}"],
    }


def _outcome(failures: list[str], subject: Subject, place: Path, expected: Outcome) -> Case:
    differing = differences(subject.outcome(place), expected)
    return {
        "damaged": 1,
        "detected": int(not failures),
        "bit_equal": int(not differing),
        "failures": failures + differing[:3],
    }


def _result(comparison: Path) -> Path:
    return sorted(comparison.glob("runs/*/result.json"))[0]


def _result_of(path: Path) -> Noticed:
    arm, steps, _, _, seed = path.parent.name.split("-")
    result = RunJob(arm, int(seed), int(steps)).read_result(path.parents[2])
    return Noticed(False, f"read as {str(result)[:80]}")
