"""Errors that are meant to be read by the person who ran the command."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can mend: what was given, what was expected, what to do.

    The command line prints it without a traceback and exits with code 2.

    Attributes:
        said_by_another: another process of the same training prints it.
    """

    said_by_another = False


class DivergedError(UserError):
    """A number that training depends on became NaN or infinite; stopped before the weights changed.

    Args:
        message: what and where, and what to do.
        step: at which it happened.
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class InterruptedRun(Exception):  # noqa: N818 - a request to stop is no error
    """A run was stopped on request after saving; the same command goes on from there.

    The command line prints it and exits with code 130, as shells expect after Ctrl-C.

    Attributes:
        said_by_another: another process of the same training prints it.
    """

    said_by_another = False
