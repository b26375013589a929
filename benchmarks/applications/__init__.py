"""What a factory gets: generated defects for an inspection, more images of a rare class, restored drawings.

python -m benchmarks.applications --run [--only defects]   what is stored is not measured again
python -m benchmarks.applications --summary
"""

from benchmarks.applications.page import section

__all__ = ["section"]
