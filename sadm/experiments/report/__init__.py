"""The decision report: one HTML file, English or Japanese, that says whether SADM paid and how sure that is."""

from sadm.experiments.report.pictures import Pictures
from sadm.experiments.report.render import render_report
from sadm.experiments.report.verdict import verdict_sentence

__all__ = ["Pictures", "render_report", "verdict_sentence"]
