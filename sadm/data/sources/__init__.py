"""Where images come from: one file for each kind of source, and one way to open them all."""

from sadm.data.sources.opening import BUILT_IN_SOURCES, list_source, load_split, open_source

__all__ = ["BUILT_IN_SOURCES", "list_source", "load_split", "open_source"]
