"""The training step of the DiT paper's code (Peebles & Xie 2023, arXiv 2212.09748), stated anew, on diffusers' DiT.

Linear betas over 1000 steps, mean squared error of the predicted noise, AdamW at a constant rate without decay, clipping or
warm-up, a tenth of the labels dropped, and averaged weights. The original's average forgets over ten thousand steps, more than
a short training has; shorter ones are kept beside it, and the search chooses. The variance is not learned: it would cost a
second output, and none of the samplers uses it. Variants are the code's other betas and targets, and what users change first.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.peers import schedulers
from benchmarks.peers.contestant import CLASSES, Sampler, Task, count_parameters, labels_of, seeded, share_of_rate

SIZES: dict[str, dict[str, Any]] = {
    "small": {"patch": 4, "width": 56, "depth": 4, "heads": 4},
    "medium": {"patch": 4, "width": 88, "depth": 4, "heads": 4},
    "large": {"patch": 4, "width": 120, "depth": 4, "heads": 4},
}
"""A little narrower than ours, since diffusers' DiT has an embedder of time and class in every block."""
VARIANTS: dict[str, dict[str, Any]] = {
    "batch 32": {"batch": 32},
    "batch 128": {"batch": 128},
    "cosine betas": {"beta_schedule": "squaredcos_cap_v2"},
    "v": {"prediction_type": "v_prediction"},
    "x0": {"prediction_type": "sample"},
    "cosine rate": {"rate": "cosine"},
    "warm-up": {"warmup": 0.1},
    "beta2 0.99": {"beta2": 0.99},
    "all labels": {"label_dropout": 0.0},
    "six blocks": {"depth": 6},
    "patch 2": {"patch": 2},
    "patch 7": {"patch": 7},
    "min-SNR": {"snr_gamma": 5.0},
    "middle times": {"times": "middle"},
}
AVERAGES: dict[str, Callable[[int], float]] = {
    "adapted": lambda step: min(0.9999, (1 + step) / (10 + step)),
    "0.999": lambda step: 0.999,
    "0.9999": lambda step: 0.9999,
}
"""Decay of the averaged weights after so many steps."""
MAIN = "adapted"
SAMPLERS = {
    **{f"{name}, {MAIN}": _with for name, _with in (schedulers.SAMPLERS | schedulers.GUIDED).items()},
    **{f"dpmpp 20, {average}": schedulers.SAMPLERS["dpmpp 20"] for average in AVERAGES if average != MAIN},
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What sizes and variants set; the paper's own otherwise.

    Attributes:
        rate: "constant", or "cosine" down to zero.
        warmup: share of the steps.
        label_dropout: share of labels replaced by the null class.
        snr_gamma: see `schedulers.min_snr_weight`; None = every noise step weighs the same.
        times: see `schedulers.draw_times`.
    """

    patch: int
    width: int
    depth: int
    heads: int
    batch: int
    beta_schedule: str = "linear"
    prediction_type: str = "epsilon"
    rate: str = "constant"
    warmup: float = 0.0
    beta2: float = 0.999
    label_dropout: float = 0.1
    snr_gamma: float | None = None
    times: str = "uniform"

    @property
    def process(self) -> schedulers.Process:
        """Of training and sampling."""
        return schedulers.Process(self.beta_schedule, self.prediction_type)


class DiTLoop:
    """DiTTransformer2DModel in a restated loop."""

    title = "DiT training step restated, on diffusers' DiT"
    sizes, variants, batch, in_environment = SIZES, VARIANTS, 64, True
    samplers = {
        name: Sampler(f"{found.title}; EMA {name.split(', ')[1]}", found.nfe, found.settings | {"average": name.split(", ")[1]})
        for name, found in SAMPLERS.items()
    }  # fmt: skip

    def start(self, task: Task) -> DiTTraining:
        options = self.options(task.size, task.changes)
        return DiTTraining(task, seeded(task.seed, lambda: self.build(options, task.images.shape)), options)

    def options(self, size: str, changes: dict[str, Any]) -> Options:
        """Of a network of that size, with changes."""
        return Options(**{"batch": self.batch, **self.sizes[size], **changes})

    def build(self, options: Options, shape: tuple[int, int, int]) -> Any:
        """A network initialised as the paper does it, which diffusers leaves to its loader."""
        from diffusers import DiTTransformer2DModel

        net: Any = DiTTransformer2DModel(
            num_attention_heads=options.heads,
            attention_head_dim=options.width // options.heads,
            in_channels=shape[0],
            out_channels=shape[0],
            num_layers=options.depth,
            sample_size=shape[1],
            patch_size=options.patch,
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

    def __init__(self, task: Task, net: Any, options: Options) -> None:
        from sadm.data import BatchStream

        # In train mode diffusers would drop labels anew in every block; here they are dropped once, in the step.
        self.net, self.task, self.options, self.step, self.batch = net.eval(), task, options, 0, options.batch
        self.stream = BatchStream(task.images, options.batch, task.seed)
        self.alphas_bar = alphas_bar(options.beta_schedule)
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=task.learning_rate, betas=(0.9, options.beta2), weight_decay=0.0, fused=True
        )
        self.averages = {name: copy.deepcopy(self.net).requires_grad_(False) for name in AVERAGES}
        self.parameters = count_parameters(self.net)

    def advance(self) -> float:
        from sadm.core.seeds import generator

        batch = self.stream.batch(self.step)
        draws = generator(self.task.seed, "training", self.step)
        t = schedulers.draw_times(len(batch.x0), draws, self.options.times)  # [B]
        noise = torch.randn(batch.x0.shape, generator=draws)  # [B, C, H, W]
        dropped = torch.rand(len(batch.x0), generator=draws) < self.options.label_dropout  # [B]
        label = torch.where(dropped, CLASSES, labels_of(batch))  # the last row of the table is the null class
        kind, gamma = self.options.prediction_type, self.options.snr_gamma
        loss = squared_error(predictions_of(self.net), self.alphas_bar, batch.x0, label, t, noise, kind, gamma)
        share = share_of_rate((self.step + 1) / self.task.steps, self.options.rate, self.options.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = self.task.learning_rate * share
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
        predict = predictions_of(self.averages[settings.pop("average")])
        plain = Sampler(sampler.title, sampler.nfe, settings)
        shape, process = self.task.images.shape, self.options.process
        return schedulers.draw(predict, shape, labels, first, seed, plain, process)


def predictions_of(net: Any) -> schedulers.Net:
    """What a network predicts, called as the schedulers call it."""

    def predict(x_t: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        predicted: torch.Tensor = net(x_t, timestep=t, class_labels=label).sample
        return predicted

    return predict


def alphas_bar(beta_schedule: str = "linear", count: int = schedulers.NOISE_STEPS) -> torch.Tensor:
    """Share of the variance that is signal after each noise step; float64 [count].

    linear: products of 1 - beta for betas from 0.0001 to 0.02; squaredcos_cap_v2: a squared cosine (2102.09672, equation 17)
    whose betas are at most 0.999.
    """
    if beta_schedule == "linear":
        betas = torch.linspace(1e-4, 0.02, count, dtype=torch.float64)
    else:
        time = torch.arange(count + 1, dtype=torch.float64) / count
        wave = ((time + 0.008) / 1.008 * math.pi / 2).cos().square()
        betas = (1 - wave[1:] / wave[:-1]).clamp(max=0.999)
    return (1 - betas).cumprod(0)


def squared_error(
    predict: schedulers.Net,
    kept: torch.Tensor,
    x0: torch.Tensor,
    label: torch.Tensor,
    t: torch.Tensor,
    noise: torch.Tensor,
    prediction_type: str = "epsilon",
    snr_gamma: float | None = None,
) -> torch.Tensor:
    """Mean squared error of what the network predicts, in ``x_t = sqrt(kept_t) x0 + sqrt(1 - kept_t) noise``.

    Args:
        predict: the network.
        kept: see `alphas_bar` [count].
        x0: clean images [B, C, H, W].
        label: [B].
        t: noise steps [B].
        noise: unit Gaussian [B, C, H, W].
        prediction_type: see `schedulers.Process`.
        snr_gamma: see `schedulers.min_snr_weight`; None = every noise step weighs the same.
    """
    share = kept[t].float()[:, None, None, None]  # [B, 1, 1, 1]
    alpha, beta = share.sqrt(), (1 - share).sqrt()
    target = {"epsilon": noise, "v_prediction": alpha * noise - beta * x0, "sample": x0}[prediction_type]
    predicted = predict(alpha * x0 + beta * noise, t, label)
    if snr_gamma is None:
        return F.mse_loss(predicted, target)
    return (schedulers.min_snr_weight(share, prediction_type, snr_gamma) * (predicted - target).square()).mean()


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
