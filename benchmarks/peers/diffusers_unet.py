"""diffusers: a class-conditional UNet2DModel, trained as its unconditional example does it.

Optimiser, averaged weights, clipping and schedule are the example's; its warm-up is shortened to a tenth of a short training.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.peers import schedulers
from benchmarks.peers.contestant import CLASSES, Sampler, Task, count_parameters, seeded

SIZES: dict[str, dict[str, Any]] = {
    "small": {"channels": (16, 32, 32), "layers": 1},
    "medium": {"channels": (16, 32, 64), "layers": 1},
    "large": {"channels": (32, 64, 64), "layers": 1},
}
GROUPS, HEAD = 8, 8
BATCH = 16
"""The example's, which in short trials reached a lower loss than 32 in the same CPU-seconds."""
MOST_WARMUP = 500
"""Steps of warm-up in the example; here at most a tenth of the training."""


class DiffusersUNet:
    """UNet2DModel + DDPMScheduler, noise prediction, AdamW, EMA with warm-up, cosine schedule with warm-up."""

    title = "diffusers UNet2DModel, example's training loop"
    sizes, samplers, batch, in_environment = SIZES, schedulers.SAMPLERS, BATCH, True

    def start(self, task: Task) -> UNetTraining:
        return UNetTraining(task, seeded(task.seed, lambda: self.build(task.size, task.images.shape)), self.batch)

    def build(self, size: str, shape: tuple[int, int, int]) -> Any:
        """A freshly initialised network."""
        from diffusers import UNet2DModel

        channels, layers = self.sizes[size]["channels"], self.sizes[size]["layers"]
        rest = len(channels) - 1
        return UNet2DModel(
            sample_size=shape[1],
            in_channels=shape[0],
            out_channels=shape[0],
            layers_per_block=layers,
            block_out_channels=channels,
            down_block_types=("DownBlock2D",) * rest + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * rest,
            norm_num_groups=GROUPS,
            attention_head_dim=HEAD,
            num_class_embeds=CLASSES,
        )

    def versions(self) -> dict[str, str]:
        import diffusers

        return {"diffusers": diffusers.__version__}


class UNetTraining:
    """See `contestant.Training`."""

    setup_seconds = 0.0

    def __init__(self, task: Task, net: Any, batch: int) -> None:
        from diffusers import DDPMScheduler
        from diffusers.optimization import get_cosine_schedule_with_warmup
        from diffusers.training_utils import EMAModel

        from sadm.data import BatchStream

        self.net, self.task, self.step = net.train(), task, 0
        self.stream = BatchStream(task.images, batch, task.seed)
        self.scheduler: Any = DDPMScheduler(num_train_timesteps=schedulers.NOISE_STEPS, beta_schedule="linear")
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=task.learning_rate, betas=(0.95, 0.999), weight_decay=1e-6, fused=True
        )
        warmup = min(MOST_WARMUP, task.steps // 10)
        self.schedule = get_cosine_schedule_with_warmup(self.optimiser, warmup, task.steps)
        self.ema = EMAModel(self.net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
        self.parameters = count_parameters(self.net)

    def advance(self) -> float:
        from sadm.core.seeds import generator

        batch = self.stream.batch(self.step)
        draws = generator(self.task.seed, "training", self.step)
        t = torch.randint(schedulers.NOISE_STEPS, (len(batch.x0),), generator=draws)  # [B]
        noise = torch.randn(batch.x0.shape, generator=draws)  # [B, C, H, W]
        x_t = self.scheduler.add_noise(batch.x0, noise, t)
        loss = F.mse_loss(self.net(x_t, t, class_labels=batch.cond.label).sample, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.ema.step(self.net.parameters())
        self.step += 1
        return float(loss.detach())

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
            return schedulers.draw(self._predict, self.task.images.shape, labels, first, seed, sampler)
        finally:
            self.net.train()
            self.ema.restore(self.net.parameters())

    def _predict(self, x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        predicted: torch.Tensor = self.net(x_t, t, class_labels=label).sample
        return predicted


CONTESTANTS = {"diffusers_unet": DiffusersUNet()}
