"""What each method learns and keeps of a DiT-XL/2: counted on shapes alone, without memory for it."""

from __future__ import annotations

from typing import Any

from benchmarks.common import store
from benchmarks.finetuning.grid import RATES
from benchmarks.finetuning.trainings import NAME

NETWORK, SHAPE, CLASSES = "DiT-XL/2", (4, 32, 32), 1000
TARGET_CLASSES = 100
"""Of a data set such as those of the paper's fine-tuning table."""
BYTES = 4


def run_shapes() -> None:
    """Counts and stores."""
    store(NAME, "shapes", shapes())


def shapes() -> dict[str, Any]:
    """By method, the parameters that learn, their share of all, and the bytes of what is kept."""
    import torch

    from sadm.finetuning.config import FinetuneConfig
    from sadm.finetuning.tuning import share_that_learns, tune
    from sadm.models.presets import dit_by_name

    rows = {}
    with torch.device("meta"):
        whole, _ = share_that_learns(dit_by_name(NETWORK, SHAPE, num_classes=CLASSES, out_channels=2 * SHAPE[0]))
        for method in RATES:
            net = dit_by_name(NETWORK, SHAPE, num_classes=TARGET_CLASSES, out_channels=2 * SHAPE[0])
            tune(net, FinetuneConfig(method=method))  # type: ignore[arg-type]
            learns, _ = share_that_learns(net)
            rows[method] = {
                "learning": learns,
                "trainable_share": learns / whole,
                "adapter_bytes": BYTES * learns,
            }
    return {"network": NETWORK, "parameters": whole, "classes": TARGET_CLASSES, "methods": rows}
