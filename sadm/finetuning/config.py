"""What can be configured in fine-tuning. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal

from sadm.core.config import Config, Positive, PositiveFloat

Method = Literal["full", "lora", "dora", "difffit", "bitfit", "vpt", "adapter"]

METHODS: tuple[Method, ...] = ("full", "lora", "dora", "difffit", "bitfit", "vpt", "adapter")
MERGEABLE: tuple[Method, ...] = ("full", "lora", "dora", "difffit", "bitfit")
"""Methods after which the weights can be written as those of the plain network."""
USUAL: dict[str, Any] = {
    "signal": "none",
    "optimiser": {"steps": 300, "batch": 32, "warmup_steps": 20, "ema_half_life": 2000.0},
    "log": {"checkpoint_every": 100},
}
"""What differs from training from scratch."""


class FinetuneConfig(Config):
    """Which parameters of a trained model learn; the others stay as they are and are not saved again."""

    method: Method = "full"
    """full = all;
    lora = a low-rank update of each matrix in a residual branch (2106.09685), through peft;
    dora = the same, with the matrix's magnitude learned apart (2402.09353), through peft;
    difffit = biases, norms, and a scale on each residual branch (2304.06648);
    bitfit = biases (2106.10199);
    vpt = learned tokens in each transformer block (2203.12119, deep);
    adapter = a narrow network beside each MLP (2205.13535).
    Class embeddings, and what does not fit the new images, learn with all of them.
    """
    rank: Positive = 8
    """lora, dora: rank of an update; adapter: width of the narrow network."""
    alpha: PositiveFloat | None = None
    """lora, dora: an update is multiplied by alpha / rank; None = by 1."""
    prompts: Positive = 8
    """vpt: learned tokens in each block."""
    adapter_scale: PositiveFloat = 0.1
    """adapter: factor on what the narrow network adds."""
    renamed: dict[str, str] = {}
    """New classes that start from an old one of another name, as {new: old}; classes of the same name do anyway."""
