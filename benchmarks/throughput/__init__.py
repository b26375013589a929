"""How fast a training step and a network evaluation are: this package, diffusers' DiT in its usual loop, and the 14-line loop.

python -m benchmarks.throughput --quick     # s2 and the small recipes, small batches: JSON within a minute
python -m benchmarks.throughput --run       # every shape at full length, with peak memory; stores the result
python -m benchmarks.throughput --run --bfloat16   # the same with products in bfloat16, for processors that multiply it faster
python -m benchmarks.throughput --summary
"""

from benchmarks.throughput.page import section

__all__ = ["section"]
