"""This package: plain training, and structure guidance in a hidden layer, as `sadm train` does them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from benchmarks.peers.contestant import Sampler, Task, count_parameters
from benchmarks.pinned import pinned_recipe

LEAN = {"encoder_stride": 2, "encoder_stages": 3, "encoder_batch": 64, "every": 2, "end": 0.5}
"""What the recipes for networks of this size set, found by `benchmarks.structure`."""
SECONDS_PER_ENCODER_STEP = 1.5
"""The encoder gets a step for so many seconds of the budget, which is about the recipes' share of a step for six to ten."""
MOST_ENCODER_STEPS = 1000
SIZES: dict[str, dict[str, Any]] = {
    "small": {"patch": 4, "width": 64, "depth": 4, "heads": 4},
    "medium": {"patch": 4, "width": 96, "depth": 4, "heads": 4},
    "large": {"patch": 4, "width": 128, "depth": 4, "heads": 4},
}
UNET_CHANNELS = {"small": (16, 32, 32), "medium": (16, 32, 64), "large": (32, 64, 64)}
"""As the UNets of diffusers have them here."""
VARIANTS: dict[str, dict[str, Any]] = {
    "batch 32": {"optimiser": {"batch": 32}},
    "batch 128": {"optimiser": {"batch": 128}},
    "straight lines": {"process": {"kind": "flow"}},
    "lower noise": {"process": {"p_mean": -1.0}},
    "higher noise": {"process": {"p_mean": 0.2}},
    "highest noise": {"process": {"p_mean": 0.8}},
    "patch 2": {"net": {"patch": 2}},
    "patch 7": {"net": {"patch": 7}},
    "six blocks": {"net": {"depth": 6}},
    "modern blocks": {"net": {"qk_norm": True, "rope": True, "swiglu": True}},
    "UNet": {"net": {"kind": "unet"}, "optimiser": {"batch": 16}},
    "Muon": {"optimiser": {"kind": "muon"}},
    "straight way down": {"optimiser": {"decay": "linear"}},
    "shorter average": {"optimiser": {"ema_half_life": 2500}},
}
GUIDED = {"solver": "dpmpp_2m", "steps": 20, "guidance_scale": 1.25}
SAMPLERS = {
    "dpmpp_2m 20": Sampler("DPM-Solver++(2M)", 20, {"solver": "dpmpp_2m", "steps": 20}),
    "dpmpp_2m 50": Sampler("DPM-Solver++(2M)", 50, {"solver": "dpmpp_2m", "steps": 50}),
    "heun 25": Sampler("Heun", 49, {"solver": "heun", "steps": 25}),
    "guided 20": Sampler("DPM-Solver++(2M), guidance scale 1.25", 40, GUIDED),
    "guided inside 20": Sampler(
        "DPM-Solver++(2M), Karras grid, guidance scale 1.5 for sigma from 0.25 to 5",
        26,
        {**GUIDED, "grid": "karras", "guidance_scale": 1.5, "guidance_low": 0.25, "guidance_high": 5.0},
    ),
}


class Ours:
    """A `Learner` of the package's trainer.

    Args:
        title: what it is, for a table.
        signal: of the training.
    """

    sizes, variants, samplers, batch, in_environment = SIZES, VARIANTS, SAMPLERS, 64, True

    def __init__(self, title: str, signal: str) -> None:
        self.title, self.signal = title, signal

    def config(self, task: Task) -> Any:
        """The configuration of a run, which `sadm train` would take as well."""
        from sadm.core.config import merge

        encoder_steps = min(MOST_ENCODER_STEPS, max(1, round(task.budget / SECONDS_PER_ENCODER_STEP)))
        change = {
            "signal": self.signal,
            "seed": task.seed,
            "device": "cpu",
            "net": self._net(task),
            "structure": LEAN | {"encoder_steps": 0 if task.restored else encoder_steps},
            "optimiser": {
                "steps": task.steps,
                "batch": self.batch,
                "learning_rate": task.learning_rate,
                "warmup_steps": min(50, task.steps // 10),
                "ema_half_life": 10000,
            },
        }
        other = {part: values for part, values in task.changes.items() if part != "net"}
        return pinned_recipe("fashion_mnist", merge(change, other))

    def _net(self, task: Task) -> dict[str, Any]:
        change = task.changes.get("net", {})
        if change.get("kind") == "unet":
            return {"kind": "unet", "unet": {"channels": UNET_CHANNELS[task.size], "layers": 1}}
        return {**self.sizes[task.size], **change}

    def start(self, task: Task) -> OurTraining:
        from sadm.core.progress import Silent
        from sadm.training.learner import Learner
        from sadm.training.signals import prepare_signals
        from sadm.training.spec import spec_for

        config = self.config(task)
        prepared = prepare_signals(config, task.images, Silent())
        spec = spec_for(task.images, config.net, config.process)
        learner = Learner(config, task.images, spec, prepared.signals)
        return OurTraining(learner, prepared.pretrain_cpu_seconds)

    def versions(self) -> dict[str, str]:
        from sadm import __version__

        return {"sadm": __version__}


class OurTraining:
    """See `contestant.Training`."""

    def __init__(self, learner: Any, setup_seconds: float) -> None:
        self.learner, self.setup_seconds = learner, setup_seconds
        self.parameters = count_parameters(learner.denoiser)

    @property
    def step(self) -> int:
        return int(self.learner.step)

    @property
    def batch(self) -> int:
        return int(self.learner.config.optimiser.batch)

    def advance(self) -> float:
        return float(self.learner.advance()["loss"])

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self.learner.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state)

    def draw(self, labels: torch.Tensor, first: int, seed: int, sampler: Sampler) -> torch.Tensor:
        from sadm.diffusion import SamplerSettings, generate, image_seeds

        spec = self.learner.spec
        denoiser = spec.around(self.learner.ema.module).eval()
        seeds = image_seeds(seed, first + len(labels))[first:]
        settings = dataclasses.replace(SamplerSettings(), **sampler.settings)
        return generate(denoiser, spec.shape, seeds, labels, len(spec.class_names) or None, settings)


CONTESTANTS = {
    "ours_plain": Ours("sadm, plain training", "none"),
    "ours_structure": Ours("sadm, structure in a hidden layer", "hidden"),
}
