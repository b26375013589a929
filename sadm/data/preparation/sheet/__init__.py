"""The contact sheet: one HTML file that says what was found and shows it."""

from sadm.data.preparation.sheet.render import render_sheet

__all__ = ["render_sheet"]
