"""The grid, the seeds and what is tuned, fixed before anything was trained. Changing a line here makes earlier results void."""

from __future__ import annotations

from typing import Any

SEARCH_SEEDS = (0, 1)
REPORT_SEEDS = (100, 101, 102)
IMAGES = (50, 500)
TRANSFERS = {
    "classes": "five classes of Fashion-MNIST to the other five",
    "textures": "Fashion-MNIST (five classes) to grey surface textures",
}
FROM_CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat")
SIDE = 16
HELD_OUT = 2700
"""Held-out images of a target, of which a third each serves judges, reference and floor."""
RECIPE = "fashion_mnist_16"
"""Of `benchmarks.pinned`."""
SOURCE_STEPS = 1500
"""Steps of the source model, the recipe's own."""
STEPS, BATCH = 300, 32
"""Of a plain fine-tuning."""
SHARE = 0.7
"""Structure is trained at this share of plain fine-tuning's cost, too."""
COST_STEPS = 200
"""Steps of each arm in the interleaved measurement of cost."""
_LOW_RANK = (8e-3, 1.6e-2, 3.2e-2, 6.4e-2)
_FEW_LEARN = (3.2e-2, 6.4e-2, 1.28e-1, 2.56e-1)
RATES = {
    "full": (1e-3, 2e-3, 4e-3, 8e-3),
    "lora": _LOW_RANK,
    "dora": _LOW_RANK,
    "difffit": _FEW_LEARN,
    "bitfit": _FEW_LEARN,
    "vpt": _FEW_LEARN,
    "adapter": _FEW_LEARN,
}
"""Learning rates that each method is tried with, plain and with structure alike."""
JUDGES = ("mlp", "pixels")
"""The deciding judges: a classifier trained on other images, and principal components of the pixels."""
_UNBOUND = {"ratio": None}
"""The bound in a hidden layer came later than the grid."""
_OWN = {"encoder_training": "supervised", "encoder_stride": 2, "encoder_steps": 100, "every": 2, "end": 1.0}
_SOURCE = {"encoder_training": "source", "every": 2, "end": 1.0}
FORMS: dict[str, dict[str, Any]] = {
    "hidden": {"signal": "hidden", "control": _UNBOUND, "structure": _OWN},
    "hidden - source": {"signal": "hidden", "control": _UNBOUND, "structure": _SOURCE},
    "game - source": {"signal": "structure", "structure": {**_SOURCE, "adversary": "frozen"}},
    "anchor": {"signal": "anchor", "anchor": {"every": 2}, "structure": {"end": 1.0}},
}
"""Forms of structure, of which the search chooses one: in a hidden layer, relations as a small encoder sees them that is
pre-trained on the new images, or as the source model does; those at the output, without an adversary; the source model's own
relations, kept."""
FORM_METHODS = ("full", "lora", "difffit")
"""Methods with which the search tries them."""
MORE_FORMS: dict[str, dict[str, Any]] = {
    "hidden - weight 1": {**FORMS["hidden"], "control": {**_UNBOUND, "weight": 1.0}},
    "hidden - first half": {"signal": "hidden", "control": _UNBOUND, "structure": {**_OWN, "end": 0.5}},
    "game - labels": {"signal": "structure", "structure": _OWN},
    "game - labels - half": {"signal": "structure", "structure": {**_OWN, "ratio": 0.25}},
}
"""What was tried after the grid, because it had gone against structure: a hidden layer at a fifth of the weight, or in the first
half alone; the paper's game with an encoder that learned the new labels and ascends, at its ratio and at half of it."""
MORE_METHODS = ("full", "lora")
"""Methods with which they were tried."""
CURVE_IMAGES = (10, 5000)
"""Images of the learning curves, besides the grid's."""
CURVE_METHODS = 2
"""Methods with learning curves: the best ones of the grid, fine-tuned plainly."""
CHOSEN = "hidden - source"
"""The form that the search chose: the smallest FD - floor in the geometric mean over methods, cells, judges and seeds."""
