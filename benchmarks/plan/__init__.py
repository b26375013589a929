"""Is a training as dear as `sadm plan --calibrate` says?

python -m benchmarks.plan --run       recipes that run on two cores, each in processes of its own; goes on where it stopped
python -m benchmarks.plan --summary   predicted against measured: CPU-seconds a step, and peak memory
"""

from benchmarks.plan.page import section

__all__ = ["section"]
