"""A page in the browser for what the command line does: trainings, images, reviews, reports. Nothing in it leaves the machine."""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio is imported, which would look outside otherwise
