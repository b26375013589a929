"""Fine-tuning on a new domain, with and without structure: two transfers, two numbers of images, seven methods, paired seeds.

python -m benchmarks.finetuning --run               # shapes, the search, the grid, learning curves; resumable
python -m benchmarks.finetuning --run --only grid   # that part alone; shapes, rates, forms, curves, more-forms are the others
python -m benchmarks.finetuning --summary
"""

from benchmarks.finetuning.page import section

__all__ = ["section"]
