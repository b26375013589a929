"""The training step of the DiT paper's code (Peebles & Xie 2023, arXiv 2212.09748), stated anew, on diffusers' DiT.

Linear betas over 1000 steps, mean squared error of the predicted noise, AdamW at a constant rate without decay, clipping or
warm-up, a tenth of the labels dropped, and averaged weights. The original's average forgets over ten thousand steps, more than
a short training has; shorter ones are kept beside it, and the search chooses. The variance is not learned: it would cost a
second output, and none of the samplers uses it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.peers import schedulers
from benchmarks.peers.contestant import CLASSES, Sampler, Task, count_parameters, labels_of, seeded

SIZES: dict[str, dict[str, Any]] = {
    "small": {"patch": 4, "width": 56, "depth": 4, "heads": 4},
    "medium": {"patch": 4, "width": 88, "depth": 4, "heads": 4},
    "large": {"patch": 4, "width": 120, "depth": 4, "heads": 4},
}
"""A little narrower than ours, since diffusers' DiT has an embedder of time and class in every block."""
LABEL_DROPOUT = 0.1
AVERAGES: dict[str, Callable[[int], float]] = {
    "adapted": lambda step: min(0.9999, (1 + step) / (10 + step)),
    "0.999": lambda step: 0.999,
    "0.9999": lambda step: 0.9999,
}
"""Decay of the averaged weights after so many steps."""
MAIN = "adapted"
SAMPLERS = {
    **{f"{name}, {MAIN}": _with for name, _with in schedulers.SAMPLERS.items()},
    **{f"dpmpp 20, {average}": schedulers.SAMPLERS["dpmpp 20"] for average in AVERAGES if average != MAIN},
}


class DiTLoop:
    """DiTTransformer2DModel in a restated loop."""

    title = "DiT training step restated, on diffusers' DiT"
    sizes, batch, in_environment = SIZES, 64, True
    samplers = {
        name: Sampler(f"{found.title}; EMA {name.split(', ')[1]}", found.nfe, found.settings | {"average": name.split(", ")[1]})
        for name, found in SAMPLERS.items()
    }  # fmt: skip

    def start(self, task: Task) -> DiTTraining:
        return DiTTraining(task, seeded(task.seed, lambda: self.build(task.size, task.images.shape)), self.batch)

    def build(self, size: str, shape: tuple[int, int, int]) -> Any:
        """A network initialised as the paper does it, which diffusers leaves to its loader."""
        from diffusers import DiTTransformer2DModel

        sizes = self.sizes[size]
        net: Any = DiTTransformer2DModel(
            num_attention_heads=sizes["heads"],
            attention_head_dim=sizes["width"] // sizes["heads"],
            in_channels=shape[0],
            out_channels=shape[0],
            num_layers=sizes["depth"],
            sample_size=shape[1],
            patch_size=sizes["patch"],
            num_embeds_ada_norm=CLASSES,
        )
        initialise(net)
        return net

    def versions(self) -> dict[str, str]:
        import diffusers

        return {"diffusers": diffusers.__version__}


class DiTTraining:
    """See `contestant.Training`."""

    setup_seconds = 0.0

    def __init__(self, task: Task, net: Any, batch: int) -> None:
        from sadm.data import BatchStream

        # In train mode diffusers would drop labels anew in every block; here they are dropped once, in the step.
        self.net, self.task, self.step = net.eval(), task, 0
        self.stream = BatchStream(task.images, batch, task.seed)
        self.alphas_bar = alphas_bar()
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=task.learning_rate, weight_decay=0.0, fused=True)
        self.averages = {name: copy.deepcopy(self.net).requires_grad_(False) for name in AVERAGES}
        self.parameters = count_parameters(self.net)

    def advance(self) -> float:
        from sadm.core.seeds import generator

        batch = self.stream.batch(self.step)
        draws = generator(self.task.seed, "training", self.step)
        t = torch.randint(schedulers.NOISE_STEPS, (len(batch.x0),), generator=draws)  # [B]
        noise = torch.randn(batch.x0.shape, generator=draws)  # [B, C, H, W]
        dropped = torch.rand(len(batch.x0), generator=draws) < LABEL_DROPOUT  # [B]
        label = torch.where(dropped, CLASSES, labels_of(batch))  # the last row of the table is the null class
        loss = noise_loss(noise_of(self.net), self.alphas_bar, batch.x0, label, t, noise)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        self._average()
        return float(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        current = list(self.net.parameters())
        for name, decay in AVERAGES.items():
            torch._foreach_lerp_(list(self.averages[name].parameters()), current, 1 - decay(self.step))

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "net": self.net.state_dict(),
            "averages": {name: net.state_dict() for name, net in self.averages.items()},
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
        self.net.load_state_dict(state["net"])
        for name, net in self.averages.items():
            net.load_state_dict(state["averages"][name])
        self.optimiser.load_state_dict(state["optimiser"])

    def draw(self, labels: torch.Tensor, first: int, seed: int, sampler: Sampler) -> torch.Tensor:
        settings = dict(sampler.settings)
        predict = noise_of(self.averages[settings.pop("average")])
        plain = Sampler(sampler.title, sampler.nfe, settings)
        return schedulers.draw(predict, self.task.images.shape, labels, first, seed, plain)


def noise_of(net: Any) -> schedulers.Net:
    """A network's predicted noise, called as the schedulers call it."""

    def predict(x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        predicted: torch.Tensor = net(x_t, timestep=t, class_labels=label).sample
        return predicted

    return predict


def alphas_bar(first: float = 1e-4, last: float = 0.02, count: int = schedulers.NOISE_STEPS) -> torch.Tensor:
    """Share of the variance that is signal after each noise step: products of 1 - beta for linear betas; float64 [count]."""
    return (1 - torch.linspace(first, last, count, dtype=torch.float64)).cumprod(0)


def noise_loss(
    predict: schedulers.Net,
    kept: torch.Tensor,
    x0: torch.Tensor,
    label: torch.Tensor,
    t: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """Mean squared error of the predicted noise, in ``x_t = sqrt(kept_t) x0 + sqrt(1 - kept_t) noise``.

    Args:
        predict: the network.
        kept: see `alphas_bar` [count].
        x0: clean images [B, C, H, W].
        label: [B].
        t: noise steps [B].
        noise: unit Gaussian [B, C, H, W].
    """
    share = kept[t].float()[:, None, None, None]  # [B, 1, 1, 1]
    x_t = share.sqrt() * x0 + (1 - share).sqrt() * noise
    return F.mse_loss(predict(x_t, t, label), noise)


def initialise(net: nn.Module) -> None:
    """The paper's initialisation: Xavier for linear layers and the patch embedding, normal with deviation 0.02 for embedders,
    zero for what modulates the blocks and for the last layer, so that the network starts as the zero function."""
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            if "timestep_embedder" in name:
                nn.init.normal_(module.weight, std=0.02)
            elif name.endswith(("norm1.linear", "proj_out_1", "proj_out_2")):
                nn.init.zeros_(module.weight)
            else:
                nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.data.flatten(1))
            nn.init.zeros_(module.get_parameter("bias"))


CONTESTANTS = {"dit_loop": DiTLoop()}
