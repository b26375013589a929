"""Packages that only some of the work needs, imported when that work begins."""

from __future__ import annotations

import importlib
from typing import Any

from sadm.core.errors import UserError


def import_optional(package: str, extra: str, purpose: str) -> Any:
    """The package.

    Args:
        package: its name in Python.
        extra: the extra of our distribution that installs it.
        purpose: what needs it, for the message.

    Raises:
        UserError: it is not installed or can't be imported; the message names the extra.
    """
    try:
        return importlib.import_module(package)
    except (ImportError, RuntimeError, OSError) as error:  # a package that doesn't fit another fails in all of these
        raise UserError(
            f"{purpose} needs the package {package}, which can't be imported ({error}). Install it: "
            f"pip install 'sadm-diffusion[{extra}]'"
        ) from error
