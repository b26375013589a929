"""A model in operation: do new images still look like those that it was trained on, and does it still draw what comes in?"""

from sadm.experiments.monitoring.page import described, headline, render_monitor
from sadm.experiments.monitoring.runs import FOLDER, Monitored, monitor_run
from sadm.experiments.monitoring.texts import texts

__all__ = ["FOLDER", "Monitored", "described", "headline", "monitor_run", "render_monitor", "texts"]
