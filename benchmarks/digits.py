"""Plain against structure-guided training on scanned digits: the demo's comparison with more seeds.

python -m benchmarks.digits --run
python -m benchmarks.digits --summary
"""

from __future__ import annotations

import shutil

from benchmarks.common import ROOT, RUNS, command_line, store, stored

NAME = "digits"
PICTURE = ROOT / "docs" / "images" / "digits.png"
SEEDS = [100, 101, 102, 103, 104]


def run() -> None:
    """Trains what is missing, then stores numbers and picture."""
    from sadm.core.progress import ConsoleReporter
    from sadm.experiments.compare import compare
    from sadm.experiments.config import CompareConfig
    from sadm.experiments.summary import SAMPLES, short_summary
    from sadm.training.config import load_train_config

    config = CompareConfig(train=load_train_config("digits"), seeds=SEEDS)
    with ConsoleReporter() as reporter:
        comparison = compare(config, RUNS / NAME, reporter)
    store(NAME, "comparison", comparison)
    store(NAME, "summary", short_summary(comparison))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(RUNS / NAME / SAMPLES, PICTURE)
    print(comparison["verdict"]["sentence"])


if __name__ == "__main__":
    command_line(__doc__, run, lambda: stored(NAME, "summary"))
