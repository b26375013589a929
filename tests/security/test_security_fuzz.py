"""A slice of `python -m benchmarks.fuzz`: forged files are taken or refused in words."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.fuzz.mutations import changed, edited
from benchmarks.fuzz.running import Target, fuzz
from benchmarks.fuzz.targets import TARGETS
from sadm.core.errors import UserError

SLICE = 60  # inputs of each reader
FIRST = 10_000  # seed of the slice; the long form begins at 0


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader(name: str) -> None:
    found = fuzz(TARGETS[name], SLICE, FIRST)
    assert found.inputs == found.accepted + found.refused == SLICE, found.failures
    assert found.failures == []
    assert found.refused > SLICE // 4  # inputs that are all valid would show nothing


def test_failures_are_seen_and_counted() -> None:
    def read(data: bytes, folder: Path) -> None:
        if len(data) % 3 == 1:
            raise UserError("refused")
        if len(data) % 3 == 2:
            raise KeyError("forgotten")

    target = Target(0, lambda folder: lambda chance: b"x" * chance.randrange(9), read)
    found, again = fuzz(target, 90), fuzz(target, 90)
    assert found.inputs == 90
    assert 0 < found.accepted + found.refused < 90
    assert [failure["what"] for failure in found.failures] == ["KeyError: 'forgotten'"]
    assert (found.accepted, found.refused) == (again.accepted, again.refused)  # the same inputs each time


def test_mutations_change_what_they_are_given() -> None:
    chance, data, value = random.Random(0), bytes(range(100)), {"a": [1, {"b": 2}], "c": "x"}
    assert sum(edited(data, chance, 1) != data for _ in range(200)) > 180
    draw = changed([value])
    assert sum(draw(chance) != value for _ in range(200)) > 150
    assert value == {"a": [1, {"b": 2}], "c": "x"}
