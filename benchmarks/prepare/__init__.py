"""Does `sadm prepare` find the copies that were planted, and no others? And how fast is it, beside imagehash alone?

python -m benchmarks.prepare --quick     # JSON within 50 s
python -m benchmarks.prepare --run       # all sets of images (make fashion-mnist), larger files; stores the result
python -m benchmarks.prepare --summary
"""

from benchmarks.prepare.page import section

__all__ = ["section"]
"""The command line of `benchmarks.prepare`."""
