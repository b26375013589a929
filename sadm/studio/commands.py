"""From what was filled in on the page to the words of a command. Nothing here knows of the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sadm.core.errors import UserError

Value = str | int | float | bool | None
"""What a field of the page holds."""


def options(**values: Value) -> list[str]:
    """``--name=value`` for each that is filled in; of those that are on or off, ``--name`` for each that is on."""
    words = []
    for name, value in values.items():
        option = f"--{name.replace('__', '.').replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None and value is not False and value != "":  # 0 is a number, such as that of guidance
            words.append(f"{option}={value:g}" if isinstance(value, float) else f"{option}={value}")
    return words


def train(
    out: Path,
    data: str,
    recipe: str,
    signal: str,
    steps: int | None,
    resolution: int | None,
    flip: bool,
    tell: Sequence[str],
) -> list[str]:
    """A training."""
    words = ["train", *options(out=str(out), recipe=recipe, data=_source(data), signal=signal)]
    return [*words, *_training("", steps, resolution, flip, tell)]


def compare(
    out: Path,
    data: str,
    recipe: str,
    seeds: int,
    lang: str,
    steps: int | None,
    resolution: int | None,
    flip: bool,
    tell: Sequence[str],
) -> list[str]:
    """A comparison of plain and structure-guided training, with a report."""
    many = _whole("seeds", seeds)
    if not many or many < 2:
        raise UserError(
            f"seeds: {seeds}; expected at least 2, since each is trained with and without structure guidance."
        )
    chosen = [str(100 + number) for number in range(many)]
    words = ["compare", *options(out=str(out), recipe=recipe, data=_source(data), lang=lang)]
    return [*words, "--audit", *_training("train.", steps, resolution, flip, tell), "--seeds", *chosen]


def _training(prefix: str, steps: int | None, resolution: int | None, flip: bool, tell: Sequence[str]) -> list[str]:
    """Options that all trainings have."""
    values: dict[str, Value] = {
        f"{prefix}optimiser.steps": _whole("steps", steps),
        f"{prefix}data.resolution": _whole("size", resolution),
        f"{prefix}data.flip": flip,
    }
    return [*options(**values), *([f"--{prefix}data.tell", *tell] if tell else [])]


def sample(
    run: Path, out: Path, count: int, label: str | None, seed: int, guidance_scale: float | None, steps: int | None
) -> list[str]:
    """Images from a model."""
    words = options(out=str(out), count=_at_least_one("count", count), label=label, seed=_whole("seed", seed))
    return ["sample", str(run), *words, *options(guidance_scale=guidance_scale, steps=_whole("steps", steps))]


def defects(
    run: Path,
    out: Path,
    defect: Sequence[str],
    count: int,
    severity: tuple[float, float] | None,
    place: str,
    region: str | None,
    layout: str,
    measure: bool,
) -> list[str]:
    """Defects on good images."""
    span = None if severity is None else f"{severity[0]:g}:{severity[1]:g}"
    words = options(out=str(out), count=_at_least_one("count", count), severity=span, place=place, region=region)
    words += options(layout=layout, measure=measure)
    return ["defects", str(run), *words, *(["--defect", *defect] if defect else [])]


def _source(text: str) -> str:
    if not text.strip():
        raise UserError(
            "no images were named: give the path of a folder on this machine, or a built-in set such as digits."
        )
    return text.strip()


def _whole(what: str, value: float | None) -> int | None:
    """A field of numbers may hold 3.0; 0 stands for what was left open, since the page can't show an empty field of numbers."""
    if not value:
        return None
    if value != int(value) or value < 0:
        raise UserError(f"{what}: {value:g}; expected a whole number.")
    return int(value)


def _at_least_one(what: str, value: float | None) -> int:
    number = _whole(what, value)
    if not number:
        raise UserError(f"{what}: {value}; expected at least 1.")
    return number


def augment(run: Path, out: Path, target: str, with_real: bool, measure: bool) -> list[str]:
    """Classes filled up."""
    return ["augment", str(run), *options(out=str(out), target=target, with_real=with_real, measure=measure)]


def inpaint(
    run: Path, out: Path, images: Path, mask: Path | None, proposals: int, label: str | None, resize: bool = True
) -> list[str]:
    """A part made anew; `resize` brings images to the model's size, which must be a square then."""
    if mask is None:
        raise UserError("nothing is painted: paint over the part that is to be made anew.")
    words = options(images=str(images), out=str(out), mask=str(mask), proposals=_at_least_one("proposals", proposals))
    return ["inpaint", str(run), *words, *options(label=label, resize=resize)]


def restore(
    run: Path,
    out: Path,
    images: Path,
    damage: str,
    mask: Path | None,
    proposals: int,
    noise: float | None = None,
    resize: bool = True,
) -> list[str]:
    """Damage undone; `noise` is how much there is, of that damage; `resize` as of `inpaint`."""
    if damage == "mask" and mask is None:
        raise UserError("nothing is painted: paint over the part that is missing.")
    words = options(images=str(images), out=str(out), damage=damage, proposals=_at_least_one("proposals", proposals))
    shown = None if damage != "mask" else str(mask)
    level = float(noise) if damage == "noise" and noise is not None else None
    return ["restore", str(run), *words, *options(mask=shown, noise=level, resize=resize)]


def vary(
    run: Path, out: Path, images: Path, strength: float, proposals: int, label: str | None, resize: bool = True
) -> list[str]:
    """Variations; `resize` as of `inpaint`."""
    words = options(images=str(images), out=str(out), strength=float(strength))
    return [
        "vary",
        str(run),
        *words,
        *options(proposals=_at_least_one("proposals", proposals), label=label, resize=resize),
    ]
