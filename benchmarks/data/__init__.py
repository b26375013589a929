"""Does training ever wait for its images? Batches a second against what a training step uses up, and against the usual loader.

python -m benchmarks.data --quick     # JSON within 50 s; needs the package datasets
python -m benchmarks.data --run       # more images and turns, reading of larger files, threads in training; stores the result
python -m benchmarks.data --summary
"""

from benchmarks.data.page import section

__all__ = ["section"]
