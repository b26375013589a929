"""Nothing is lost on the way: kills, full disks, damaged files, jumping clocks, two runs in one folder, NaN, and a long training.

python -m benchmarks.faults --run                        all of it; goes on where it stopped; stores the counts
python -m benchmarks.faults --run --only kills disks     these parts alone
python -m benchmarks.faults --quick                      a few cases of each part in some minutes; stores nothing
python -m benchmarks.faults --summary                    the stored counts

`make faults` is the first of these, followed by the table.
"""

from benchmarks.faults.page import section

__all__ = ["section"]
