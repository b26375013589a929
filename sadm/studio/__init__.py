"""A page in the browser for what the command line does: trainings, images, reviews, reports. Nothing in it leaves the machine."""
