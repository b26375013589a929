"""Does the monitor see drift, and leave images without drift alone?

python -m benchmarks.monitor --run       digits, Fashion-MNIST and surfaces; goes on where it stopped; stores the result
python -m benchmarks.monitor --summary   false alarms and detection of the stored result
"""

from benchmarks.monitor.page import section

__all__ = ["section"]
