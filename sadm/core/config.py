"""Typed configuration: unknown keys are refused with the nearest valid one, whether they come from YAML or from code."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sadm.core.errors import UserError
from sadm.core.files import write_atomically

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Strength = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]

_MOST_CHARACTERS = 1_000_000
_MOST_NODES = 100_000
"""In a YAML file; no configuration comes near. Aliases of aliases of aliases stand for any number of values."""


class Config(BaseModel):
    """Base of all configurations: immutable, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


C = TypeVar("C", bound=Config)


def build_config(kind: type[C], values: Mapping[str, Any], where: str) -> C:
    """Validates `values` as a configuration of type `kind`.

    Args:
        kind: the configuration's class.
        values: nested mapping of keys to values.
        where: where the values came from, for the message.

    Raises:
        UserError: an unknown key (with the nearest valid one) or an invalid value (with what was expected).
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {explained(kind, error)}.") from error


def explained(kind: type[BaseModel], error: ValidationError) -> str:
    """What is wrong with the values of a configuration of type `kind`, key by key, without a full stop."""
    return "; ".join(_explain(kind, dict(issue)) for issue in error.errors())


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML mapping, safely (no objects are constructed).

    Raises:
        UserError: the file is missing, is no YAML, or holds something other than a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}.") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Parses a YAML mapping, safely; `where` names its origin in messages.

    Raises:
        UserError: it is no YAML, holds something other than a mapping, or more than any configuration does once its aliases are
            written out.
    """
    try:
        values = _plain(text)
    except RecursionError as error:
        raise UserError(f"{where} is not valid YAML: it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:  # a date that is none is a ValueError
        raise UserError(f"{where} is not valid YAML: {error}") from error
    except Exception as error:  # for a value that doesn't fit its explicit tag, PyYAML raises almost anything
        raise UserError(f"{where} is not valid YAML ({type(error).__name__}: {error}).") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{where} holds a {type(values).__name__}; expected 'key: value' lines.")
    return values


def _plain(text: str) -> Any:
    """What a YAML text says; raises a ValueError where that is too much."""
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"it has {len(text)} characters; expected at most {_MOST_CHARACTERS}")
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _written_out(node, {}) > _MOST_NODES:
            raise ValueError(f"its aliases stand for more than {_MOST_NODES} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _written_out(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """How many values a node holds where every alias is written out; `known` remembers those of nodes."""
    if node not in known:
        if isinstance(node, yaml.ScalarNode):
            node.value.encode("utf-8")  # half of a surrogate pair can't be written to any file
            return 1
        known[node] = _MOST_NODES  # of a node within itself
        parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[node] = 1 + sum(_written_out(part, known) for part in parts)
    return known[node]


def write_yaml(path: str | Path, config: Config) -> None:
    """Writes a configuration as YAML, atomically, keys in the order of their definition."""
    write_atomically(path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Nested union of two mappings; `override` wins."""
    merged = dict(base)
    for key, value in override.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` becomes ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, name + "."))
        else:
            flat[name] = value
    return flat


def differences(given: Config, stored: Config, ignoring: tuple[str, ...] = ()) -> list[str]:
    """Lines ``key: stored X, given Y`` for every key in which two configurations differ.

    Args:
        given: the configuration asked for now.
        stored: the configuration found.
        ignoring: dotted keys, or prefixes ending in a dot, that may differ.
    """
    ours, theirs = flatten(given.model_dump(mode="json")), flatten(stored.model_dump(mode="json"))
    skip = tuple(key for key in ignoring if key.endswith("."))
    return [
        f"{key}: stored {theirs.get(key)!r}, given {ours.get(key)!r}"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key) and key not in ignoring and not (skip and key.startswith(skip))
    ]


def _explain(kind: type[BaseModel], issue: dict[str, Any]) -> str:
    path = [str(part) for part in issue["loc"]]
    key = ".".join(path)
    if issue["type"] == "extra_forbidden":
        valid = _fields_at(kind, path[:-1])
        near = difflib.get_close_matches(path[-1], valid, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"valid keys are {', '.join(valid)}"
        return f"unknown key '{key}'; {hint}"
    given = "" if issue["type"] == "missing" else f" (given: {issue['input']!r})"
    message = issue["msg"].removeprefix("Value error, ")
    return f"'{key}': {message}{given}" if key else f"{message}"


def _fields_at(kind: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = kind.model_fields.get(part)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        kind = annotation
    return list(kind.model_fields)
