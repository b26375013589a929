"""diffusers: a class-conditional UNet2DModel, trained as its unconditional example does it.

Optimiser, averaged weights, clipping and schedule are the example's; its warm-up is shortened to a tenth of a short training. A
tenth of the labels is dropped, as the other contestants do it, so that it can be guided.
Variants are what the example's options and the model's offer.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.peers import schedulers
from benchmarks.peers.contestant import CLASSES, Sampler, Task, count_parameters, labels_of, seeded

SIZES: dict[str, dict[str, Any]] = {
    "small": {"channels": (16, 32, 32), "layers": 1},
    "medium": {"channels": (16, 32, 64), "layers": 1},
    "large": {"channels": (32, 64, 64), "layers": 1},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "batch 32": {"batch": 32},
    "batch 64": {"batch": 64},
    "cosine betas": {"beta_schedule": "squaredcos_cap_v2"},
    "v": {"prediction_type": "v_prediction"},
    "x0": {"prediction_type": "sample"},
    "beta1 0.9": {"beta1": 0.9},
    "constant rate": {"rate": "constant_with_warmup"},
    "shorter average": {"average": 0.995},
    "two layers": {"layers": 2},
    "more attention": {"attention": 2},
    "all labels": {"label_dropout": 0.0},
    "scale and shift": {"time_scale_shift": "scale_shift"},
    "min-SNR": {"snr_gamma": 5.0},
    "middle times": {"times": "middle"},
}
GROUPS, HEAD = 8, 8
BATCH = 16
"""The example's; larger ones are among the variants."""
MOST_WARMUP = 500
"""Steps of warm-up in the example; here at most a tenth of the training."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What sizes and variants set; the example's own otherwise.

    Attributes:
        attention: levels that attend, from the last up.
        average: largest decay of the averaged weights.
        rate: name of the learning rate's schedule in diffusers.
        label_dropout: share of labels replaced by the null class.
        snr_gamma: see `schedulers.min_snr_weight`; None = as the example weighs.
        times: see `schedulers.draw_times`.
    """

    channels: tuple[int, ...]
    layers: int
    batch: int
    attention: int = 1
    time_scale_shift: str = "default"
    beta_schedule: str = "linear"
    prediction_type: str = "epsilon"
    beta1: float = 0.95
    rate: str = "cosine"
    average: float = 0.9999
    label_dropout: float = 0.1
    snr_gamma: float | None = None
    times: str = "uniform"

    @property
    def process(self) -> schedulers.Process:
        """Of training and sampling."""
        return schedulers.Process(self.beta_schedule, self.prediction_type)


class DiffusersUNet:
    """UNet2DModel + DDPMScheduler, noise prediction, AdamW, EMA with warm-up, cosine schedule with warm-up."""

    title = "diffusers UNet2DModel, example's training loop"
    samplers = schedulers.SAMPLERS | schedulers.GUIDED
    sizes, variants, batch, in_environment = SIZES, VARIANTS, BATCH, True

    def start(self, task: Task) -> UNetTraining:
        options = self.options(task.size, task.changes)
        return UNetTraining(task, seeded(task.seed, lambda: self.build(options, task.images.shape)), options)

    def options(self, size: str, changes: dict[str, Any]) -> Options:
        """Of a network of that size, with changes."""
        return Options(**{"batch": self.batch, **self.sizes[size], **changes})

    def build(self, options: Options, shape: tuple[int, int, int]) -> Any:
        """A freshly initialised network."""
        from diffusers import UNet2DModel

        plain, attending = len(options.channels) - options.attention, options.attention
        return UNet2DModel(
            sample_size=shape[1],
            in_channels=shape[0],
            out_channels=shape[0],
            layers_per_block=options.layers,
            block_out_channels=options.channels,
            down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",) * attending,
            up_block_types=("AttnUpBlock2D",) * attending + ("UpBlock2D",) * plain,
            norm_num_groups=GROUPS,
            attention_head_dim=HEAD,
            num_class_embeds=CLASSES + 1,  # the last row is the null class
            resnet_time_scale_shift=options.time_scale_shift,
        )

    def versions(self) -> dict[str, str]:
        import diffusers

        return {"diffusers": diffusers.__version__}


class UNetTraining:
    """See `contestant.Training`."""

    setup_seconds = 0.0

    def __init__(self, task: Task, net: Any, options: Options) -> None:
        from diffusers import DDPMScheduler
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel

        from sadm.data import BatchStream

        self.net, self.task, self.options, self.step, self.batch = net.train(), task, options, 0, options.batch
        self.stream = BatchStream(task.images, options.batch, task.seed)
        self.scheduler: Any = DDPMScheduler(schedulers.NOISE_STEPS, **dataclasses.asdict(options.process))
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=task.learning_rate, betas=(options.beta1, 0.999), weight_decay=1e-6, fused=True
        )
        warmup = min(MOST_WARMUP, task.steps // 10)
        self.schedule = get_scheduler(options.rate, self.optimiser, None, warmup, task.steps)
        self.ema = EMAModel(
            self.net.parameters(), decay=options.average, use_ema_warmup=True, inv_gamma=1.0, power=0.75
        )
        self.parameters = count_parameters(self.net)

    def advance(self) -> float:
        from sadm.core.seeds import generator

        batch = self.stream.batch(self.step)
        draws = generator(self.task.seed, "training", self.step)
        t = schedulers.draw_times(len(batch.x0), draws, self.options.times)  # [B]
        noise = torch.randn(batch.x0.shape, generator=draws)  # [B, C, H, W]
        dropped = torch.rand(len(batch.x0), generator=draws) < self.options.label_dropout  # [B]
        label = torch.where(dropped, CLASSES, labels_of(batch))
        x_t = self.scheduler.add_noise(batch.x0, noise, t)
        loss = self._loss(self.net(x_t, t, class_labels=label).sample, batch.x0, noise, t)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.ema.step(self.net.parameters())
        self.step += 1
        return float(loss.detach())

    def _loss(self, predicted: torch.Tensor, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Mean squares on what is predicted; where that is x0, weighted by the signal-to-noise ratio, as in the example."""
        kind, gamma = self.options.prediction_type, self.options.snr_gamma
        target = {"epsilon": noise, "v_prediction": self.scheduler.get_velocity(x0, noise, t), "sample": x0}[kind]
        if gamma is None and kind != "sample":
            return F.mse_loss(predicted, target)
        kept = self.scheduler.alphas_cumprod[t].reshape(-1, 1, 1, 1)  # [B, 1, 1, 1]
        weight = schedulers.min_snr_weight(kept, kind, math.inf if gamma is None else gamma)
        return (weight * (predicted - target).square()).mean()

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])

    def draw(self, labels: torch.Tensor, first: int, seed: int, sampler: Sampler) -> torch.Tensor:
        self.ema.store(self.net.parameters())
        self.ema.copy_to(self.net.parameters())
        self.net.eval()
        try:
            shape, process = self.task.images.shape, self.options.process
            return schedulers.draw(self._predict, shape, labels, first, seed, sampler, process)
        finally:
            self.net.train()
            self.ema.restore(self.net.parameters())

    def _predict(self, x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        predicted: torch.Tensor = self.net(x_t, t, class_labels=label).sample
        return predicted


CONTESTANTS = {"diffusers_unet": DiffusersUNet()}
