"""Does the audit find planted copies, and leave fresh real images alone?

python -m benchmarks.audit --quick     digits alone, within 50 s, as JSON
python -m benchmarks.audit --run       digits, Fashion-MNIST and surfaces; stores the result
python -m benchmarks.audit --summary   recall and false alarms of the stored result
"""

from benchmarks.audit.page import section

__all__ = ["section"]
