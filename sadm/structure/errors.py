"""The package's own error, so that it needs nothing but torch."""


class StructureError(ValueError):
    """The game can't be played on what was given; the message says what is expected."""
