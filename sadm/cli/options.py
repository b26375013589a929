"""What the commands share in parsing: a recipe or a file below the options that the user typed."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import Any

import tyro

from sadm.cli.refusals import in_own_words
from sadm.core.errors import UserError


def parse(kind: Any, arguments: list[str], command: str, description: str, default: Any = None) -> Any:
    """Parses `arguments` as `kind`, a dataclass or configuration.

    Args:
        kind: its fields are the options.
        arguments: without the command's name.
        command: for the usage line.
        description: of the command, with examples.
        default: values of options that are not given.
    """
    given = {} if default is None else {"default": default}
    return tyro.cli(
        kind, args=arguments, prog=f"sadm {command}", description=description, registry=in_own_words(), **given
    )


def take(arguments: list[str], *names: str) -> tuple[list[str | None], list[str]]:
    """Takes ``--NAME VALUE`` and ``--NAME=VALUE`` out of the arguments, for options that are needed before the others.

    Args:
        arguments: as typed.
        names: without the dashes.

    Returns:
        The values in the order of `names`, None for those not given, and the remaining arguments.

    Raises:
        UserError: a value is missing.
    """
    values: dict[str, str | None] = dict.fromkeys(names)
    rest, words = [], iter(arguments)
    for word in words:
        name, separator, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in values:
            rest.append(word)
        elif separator:
            values[name] = value
        else:
            values[name] = next(words, None)
            if values[name] is None:
                raise UserError(f"--{name} needs a value.")
    return list(values.values()), rest


def network_defaults(arguments: list[str], place: str = "") -> dict[str, Any]:
    """What ``--net.kind`` and ``--net.named`` ask for, as a change of the training's configuration, before the other options.

    A recipe's sizes would otherwise stand beside them: those of another kind of network mean nothing, others contradict a name.

    Args:
        arguments: as typed.
        place: of the training's options, such as ``train.``.
    """
    (kind, named), _ = take(arguments, f"{place}net.kind", f"{place}net.named")
    asked = {"kind": kind, "named": None if named == "None" else named}
    net = {key: value for key, value in asked.items() if value is not None}
    return {"net": net} if net else {}


def take_all(arguments: list[str], name: str) -> tuple[list[str], list[str]]:
    """Takes every ``--NAME VALUE`` and ``--NAME=VALUE`` out of the arguments, for an option that may be repeated.

    Returns:
        The values in the order given, and the remaining arguments.

    Raises:
        UserError: a value is missing.
    """
    values, rest, words = [], [], iter(arguments)
    for word in words:
        if word == f"--{name}":
            value = next(words, None)
            if value is None:
                raise UserError(f"--{name} needs a value.")
            values.append(value)
        elif word.startswith(f"--{name}="):
            values.append(word.removeprefix(f"--{name}="))
        else:
            rest.append(word)
    return values, rest


def speaks() -> bool:
    """Whether this process talks to the user: of several that torchrun has started, the first."""
    return os.environ.get("RANK", "0") == "0"


def refuse_given(options: Any, names: Iterable[str], why: str) -> None:
    """Refuses options that mean nothing here.

    Args:
        options: a dataclass whose fields have defaults.
        names: of fields that must be left at them.
        why: goes on after the options' names.

    Raises:
        UserError: some were given.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) != defaults[name]]
    if given:
        raise UserError(f"{', '.join(given)} {why}.")


def required(value: str | None, name: str, command: str) -> str:
    """The value of an option that has no default.

    Raises:
        UserError: it is missing.
    """
    if value is None:
        raise UserError(f"--{name} is missing. See: sadm {command} --help")
    return value
