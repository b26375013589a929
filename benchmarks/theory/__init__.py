"""The statements of docs/theory.md in numbers, where the posterior mean is known in closed form.

python -m benchmarks.theory --run
python -m benchmarks.theory --summary
"""

from benchmarks.theory.page import write_page

__all__ = ["write_page"]
