"""What happens to a file on its way, and what somebody may do to it on purpose, drawn at random."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Draw = Callable[[random.Random], Any]
"""Makes one input."""

_KINDS = ("flip", "set", "cut", "drop", "repeat", "insert", "number")
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, ord('"'), ord("["), ord("{"), ord("-"), ord("9"))
_NUMBERS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF)

_ODD: Sequence[Any] = (
    *(None, True, False, 0, -1, 1, 2, 3, 7, 2**31, 2**63, 2**64, 10**18, 10**400, -(10**18), 0.5, -0.5, 1e308, 1e-320),
    *(float("nan"), float("inf"), "", "a", "../x", "/etc/passwd", "\0", "\u202e", "é" * 50, "1", "nan", "x" * 3000),
    *([], {}, [[]], [None], {"a": {}}, ["a", "b"], [1, 2, 3], [-1], [10**12, 10**12]),
)


def mutated(seeds: Sequence[bytes]) -> Draw:
    """Valid files with some bytes changed, cut out, repeated or put in; one in twenty is random behind a valid beginning."""

    def draw(chance: random.Random) -> bytes:
        data = chance.choice(seeds)
        if chance.random() < 0.05:
            return data[: chance.randrange(9)] + chance.randbytes(chance.randrange(200))
        return edited(data, chance, chance.randint(1, 4))

    return draw


def edited(data: bytes, chance: random.Random, edits: int) -> bytes:
    """`data` after some edits, half of them near the beginning, where headers are."""
    content = bytearray(data)
    for _ in range(edits):
        kind, value = chance.choice(_KINDS), chance.randrange(256)
        place = chance.randrange(max(1, min(len(content), 64) if chance.random() < 0.5 else len(content)))
        if chance.random() < 0.3:
            value = chance.choice(_INTERESTING)
        if kind == "cut":
            del content[chance.randrange(len(content) + 1) :]
        elif kind == "drop":
            del content[place : place + 1 + value % 16]
        elif kind == "repeat":
            content[place:place] = content[place : place + 1 + value % 64] * chance.randint(1, 5)
        elif kind == "insert":
            content.insert(place, value)
        elif kind == "number":
            size = chance.choice((2, 4, 8))
            number = chance.choice(_NUMBERS) & (256**size - 1)
            content[place : place + size] = number.to_bytes(size, chance.choice(("little", "big")))
        elif place < len(content):
            content[place] = content[place] ^ (1 << value % 8) if kind == "flip" else value
    return bytes(content)


def changed(seeds: Sequence[Any]) -> Draw:
    """Valid values of JSON in which fields are set to something odd, left out, added, or set to what stands elsewhere."""
    texts = [json.dumps(seed) for seed in seeds]

    def draw(chance: random.Random) -> Any:
        root = [json.loads(chance.choice(texts))]
        for _ in range(chance.randint(1, 3)):
            _change(root, chance)
        return root[0]

    return draw


def _change(root: list[Any], chance: random.Random) -> None:
    places = list(_places(root))
    holder, key = chance.choice(places)
    kind, odd = chance.choice(("set", "set", "drop", "add", "copy")), copy.deepcopy(chance.choice(_ODD))
    if kind == "drop" and holder is not root:
        del holder[key]
    elif kind == "add" and isinstance(holder[key], dict):
        holder[key][chance.choice(("a", "b", "0", "x" * 300))] = odd
    elif kind == "add" and isinstance(holder[key], list):
        holder[key].append(odd)
    elif kind == "copy":
        other, name = chance.choice(places)
        holder[key] = copy.deepcopy(other[name])
    else:
        holder[key] = odd


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key in a value, the containers' own first."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def one_of(*draws: Draw) -> Draw:
    """Any of them."""
    return lambda chance: chance.choice(draws)(chance)


def as_json(seeds: Sequence[Any]) -> Draw:
    """JSON with changed fields, and now and then with changed bytes."""
    values, damaged = changed(seeds), mutated([json.dumps(seed).encode() for seed in seeds])
    return one_of(*[lambda chance: json.dumps(values(chance)).encode()] * 3, damaged)


def lines_of_json(seeds: Sequence[Any]) -> Draw:
    """Up to three such values, a line for each."""
    values = changed(seeds)
    return lambda chance: "\n".join(json.dumps(values(chance)) for _ in range(chance.randint(1, 3))).encode()
