"""Text on a terminal: names come from anybody's files, and a terminal obeys some of the characters in them."""

from __future__ import annotations

import re
import sys

# What moves the cursor, colours, clears or answers (C0, C1, DEL), ends a line where none ends, turns the direction of what
# follows, or is half of a surrogate pair, which can't be written at all.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    """The text with each character that a terminal would obey written as ``\\u001b``; line breaks and tabs stay.

    JSON stays JSON that says the same.
    """
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def say(text: object) -> None:
    """Prints a text of any origin to standard output."""
    print(printable(text), flush=True)


def complain(text: object) -> None:
    """Prints a text of any origin to standard error."""
    print(printable(text), file=sys.stderr, flush=True)
