"""Does structure guidance pay? Search by successive halving, then the regimes that were fixed before it.

python -m benchmarks.structure --run              # search, then every regime; resumable
python -m benchmarks.structure --run --only A F   # these alone; 'search' is one of them
python -m benchmarks.structure --summary
python -m benchmarks.structure --verify M2        # trains a stored pair anew: does it give what is stored?
"""

from benchmarks.structure.page import section

__all__ = ["section"]
