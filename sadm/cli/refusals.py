"""What the option parser says of a value that a configuration refuses: the configuration's own words, not pydantic's."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from pydantic import ValidationError
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

from sadm.core.config import Config, explained


def in_own_words() -> ConstructorRegistry:
    """For `tyro.cli`: configurations are built as it builds them, and refuse with a sentence for each key."""
    registry, asking = ConstructorRegistry(), set[type]()

    @registry.struct_rule
    def configuration(info: StructTypeInfo) -> StructConstructorSpec | None:
        kind: Any = info.type
        if not (isinstance(kind, type) and issubclass(kind, Config)) or kind in asking:
            return None
        asking.add(kind)  # the rules are asked once more, for tyro's own answer
        try:
            found = ConstructorRegistry.get_struct_spec(info)
        finally:
            asking.remove(kind)
        if not isinstance(found, StructConstructorSpec):
            return None
        return dataclasses.replace(found, instantiate=_building(kind))

    return registry


def _building(kind: type[Config]) -> Any:
    @functools.wraps(kind, updated=())
    def build(**values: Any) -> Config:
        try:
            return kind(**values)
        except ValidationError as error:
            raise ValueError(explained(kind, error)) from error

    return build
