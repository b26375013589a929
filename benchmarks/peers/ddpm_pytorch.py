"""denoising-diffusion-pytorch (lucidrains), in an environment of its own: it requires torchvision.

Network, diffusion, loss and sampling are the library's; optimiser, average and clipping are those of its `Trainer`, which reads
image folders only and knows no classes. Harness and data order are those of the others. Variants are the library's options and
what users change first.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from benchmarks.operators import register_missing_operators
from benchmarks.peers.contestant import CLASSES, Sampler, Task, count_parameters, seeded, share_of_rate

PACKAGE = "denoising-diffusion-pytorch"
SIZES: dict[str, dict[str, Any]] = {
    "small": {"conditional": True, "dim": 8, "dim_mults": (1, 2, 4)},
    "medium": {"conditional": True, "dim": 16, "dim_mults": (1, 2, 2)},
    "large": {"conditional": False, "dim": 16, "dim_mults": (1, 2, 4), "attn_heads": (1, 2, 4), "attn_dim_head": 16},
}
"""The conditional network's attention at full resolution has a fixed width that costs most of a step on a processor; the
unconditional one's can be narrowed, so one size does without classes."""
VARIANTS: dict[str, dict[str, Any]] = {
    "batch 32": {"batch": 32},
    "batch 64": {"batch": 64},
    "v": {"objective": "pred_v"},
    "x0": {"objective": "pred_x0"},
    "linear betas": {"beta_schedule": "linear"},
    "min-SNR": {"min_snr": True},
    "longer average": {"average": 0.999},
    "average of every step": {"average_every": 1},
    "cosine rate": {"rate": "cosine"},
    "beta2 0.999": {"beta2": 0.999},
    "all labels": {"label_dropout": 0.0},
    "offset noise": {"offset_noise": 0.1},
    "warm-up": {"warmup": 0.1},
    "weight decay": {"weight_decay": 0.01},
}
BATCH = 16
"""The default of the library's `Trainer`; larger ones are among the variants."""
SAMPLERS = {
    "ddim 25": Sampler("the library's DDIM, eta 0", 25, {"steps": 25, "eta": 0.0}),
    "ddim 50": Sampler("the library's DDIM, eta 0", 50, {"steps": 50, "eta": 0.0}),
    "ddim eta 1 50": Sampler("the library's DDIM, eta 1 (its default)", 50, {"steps": 50, "eta": 1.0}),
    **{
        f"guided {scale:g} 25": Sampler(
            f"the library's DDIM, eta 0, guidance scale {scale:g}", 50, {"steps": 25, "eta": 0.0, "scale": scale}
        )
        for scale in (1.25, 1.5, 2.0)
    },
}
"""Its guidance knows no interval of noise levels."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What sizes and variants set; the library's defaults otherwise.

    Attributes:
        net: arguments of the library's network.
        conditional: whether it knows classes.
        label_dropout: share of labels dropped; the library's default, 0.5, is for strong guidance, and the others drop a tenth.
        objective: what the network predicts; None = noise with classes, v without.
        rate: "constant", or "cosine" down to zero.
        warmup: share of the steps.
        weight_decay: decoupled from the gradient, as AdamW has it.
    """

    net: dict[str, Any]
    conditional: bool
    batch: int
    label_dropout: float = 0.1
    objective: str | None = None
    beta_schedule: str | None = None
    min_snr: bool = False
    average: float = 0.995
    average_every: int = 10
    beta2: float = 0.99
    rate: str = "constant"
    offset_noise: float = 0.0
    warmup: float = 0.0
    weight_decay: float = 0.0

    @property
    def diffusion(self) -> dict[str, Any]:
        """Arguments of the library's diffusion."""
        chosen = {"objective": self.objective, "beta_schedule": self.beta_schedule}
        always = {"min_snr_loss_weight": self.min_snr, "offset_noise_strength": self.offset_noise}
        return always | {name: value for name, value in chosen.items() if value is not None}


class DdpmPytorch:
    """The library's Unet and GaussianDiffusion."""

    title = f"{PACKAGE}, Unet and GaussianDiffusion"
    sizes, variants, samplers, batch, in_environment = SIZES, VARIANTS, SAMPLERS, BATCH, False

    def start(self, task: Task) -> DdpmTraining:
        return DdpmTraining(task, self.options(task.size, task.changes))

    def options(self, size: str, changes: dict[str, Any]) -> Options:
        """Of a network of that size, with changes."""
        net = dict(self.sizes[size])
        return Options(net, net.pop("conditional"), **{"batch": self.batch, **changes})

    def versions(self) -> dict[str, str]:
        from importlib import metadata

        return {name: metadata.version(name) for name in (PACKAGE, "ema-pytorch", "torchvision")}


class DdpmTraining:
    """See `contestant.Training`."""

    setup_seconds = 0.0

    def __init__(self, task: Task, options: Options) -> None:
        register_missing_operators()
        from ema_pytorch import EMA

        from sadm.data import BatchStream

        self.task, self.options, self.step, self.batch = task, options, 0, options.batch
        self.net = seeded(task.seed, lambda: self._build(task.images.shape[0]))
        self.diffusion = self._diffusion(self.net)
        self.stream = BatchStream(task.images, options.batch, task.seed)
        self.optimiser = torch.optim.AdamW(  # without decay of weights the library's Adam
            self.net.parameters(),
            lr=task.learning_rate,
            betas=(0.9, options.beta2),
            weight_decay=options.weight_decay,
            fused=True,
        )
        self.ema = EMA(self.net, beta=options.average, update_every=options.average_every, include_online_model=False)
        self.parameters = count_parameters(self.net)

    def _build(self, channels: int) -> Any:
        options = self.options
        further = {"channels": channels, **options.net}
        if options.conditional:
            from denoising_diffusion_pytorch.classifier_free_guidance import Unet

            return Unet(num_classes=CLASSES, cond_drop_prob=options.label_dropout, **further)
        from denoising_diffusion_pytorch import Unet

        return Unet(**further)

    def _diffusion(self, net: Any, **sampling: Any) -> Any:
        further = {"image_size": self.task.images.shape[1], "timesteps": 1000, **self.options.diffusion, **sampling}
        if self.options.conditional:
            from denoising_diffusion_pytorch.classifier_free_guidance import GaussianDiffusion

            return GaussianDiffusion(net, **further)
        from denoising_diffusion_pytorch import GaussianDiffusion

        return GaussianDiffusion(net, **further)

    def advance(self) -> float:
        from sadm.core.seeds import derive_seed

        batch = self.stream.batch(self.step)
        condition = {"classes": batch.cond.label} if self.options.conditional else {}
        with torch.random.fork_rng(devices=[]):  # the library draws from the global generator
            torch.manual_seed(derive_seed(self.task.seed, "training", self.step))
            loss = self.diffusion((batch.x0 + 1) / 2, **condition)
        loss.backward()
        share = share_of_rate((self.step + 1) / self.task.steps, self.options.rate, self.options.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = self.task.learning_rate * share
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.ema.update()
        self.step += 1
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])

    @torch.no_grad()
    def draw(self, labels: torch.Tensor, first: int, seed: int, sampler: Sampler) -> torch.Tensor:
        from sadm.core.seeds import derive_seed

        settings = sampler.settings
        scale = settings.get("scale", 1.0)
        net = self.ema.ema_model.eval()
        diffusion = self._diffusion(net, sampling_timesteps=settings["steps"], ddim_sampling_eta=settings["eta"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "image", first))
            if not self.options.conditional:
                images = diffusion.sample(batch_size=len(labels))
            else:
                with PairAtScaleOne(net):
                    images = diffusion.sample(labels, cond_scale=scale, rescaled_phi=0.0)
        return (images * 2 - 1).clamp(-1, 1)


class PairAtScaleOne:
    """Mends the conditional network while sampling: at guidance scale 1 it returns one prediction (of release 2.3.4),
    whereas its caller unpacks two, which fails for any batch but one of two images."""

    def __init__(self, net: Any) -> None:
        self.net, self.original = net, net.forward_with_cond_scale

    def __enter__(self) -> None:
        def pair(*inputs: Any, **options: Any) -> Any:
            found = self.original(*inputs, **options)
            return found if isinstance(found, tuple) else (found, found)

        self.net.forward_with_cond_scale = pair

    def __exit__(self, *error: object) -> None:
        del self.net.forward_with_cond_scale


CONTESTANTS = {"ddpm_pytorch": DdpmPytorch()}
