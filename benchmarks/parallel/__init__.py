"""N processes against one: do they compute the same loss, gradients and weights?

python -m benchmarks.parallel --quick
python -m benchmarks.parallel --run
"""

from benchmarks.parallel.page import section

__all__ = ["section"]
