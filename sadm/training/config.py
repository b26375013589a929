"""What can be configured in a training run. Imports no torch, so that the command line answers at once."""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sadm.core.config import (
    Config,
    Count,
    Fraction,
    Positive,
    PositiveFloat,
    Strength,
    build_config,
    parse_yaml,
    read_yaml,
)
from sadm.core.errors import UserError
from sadm.finetuning.config import FinetuneConfig
from sadm.training import parallel_config
from sadm.training.data_config import DataConfig
from sadm.training.net_config import NetConfig, merge_training
from sadm.training.parallel_config import ParallelConfig
from sadm.training.restraint_config import ANCHOR_WEIGHT, AnchorConfig, EarlyStopConfig, PriorConfig
from sadm.training.shapes import why_not, why_not_sides
from sadm.training.signal_config import OF_PAIRS, ControlConfig, Signal, StructureConfig

Solver = Literal["heun", "dpmpp_2m", "dpmpp_2m_sde", "euler", "ddim", "ddpm"]
Grid = Literal["karras", "native"]
Beta = Annotated[float, Field(gt=0, lt=1)]
USUAL_BETAS = (1e-4, 0.02)
"""First and last beta of DDPM (2006.11239, section 4)."""
Spacing = Literal["trailing", "leading", "linspace"]


class DenoiserConfig(Config):
    """How a network is put behind the denoiser's contract; docs/processes.md."""

    kind: Literal["edm", "vp", "flow"] = "edm"
    """edm = EDM (2206.00364); vp = variance-preserving timesteps (DDPM, DiT); flow = straight lines (SiT, JiT)."""
    schedule: Literal["linear", "scaled_linear", "cosine"] = "linear"
    """vp: betas that rise linearly (2006.11239), or whose roots do (2112.10752), or alphas along a cosine (2102.09672)."""
    betas: tuple[Beta, Beta] | None = None
    """vp: first and last beta of a linear or scaled linear schedule; None = 0.0001 and 0.02."""
    timesteps: Annotated[int, Field(ge=2)] = 1000
    """vp: number of timesteps of the schedule."""
    prediction: Literal["eps", "v", "x0"] | None = None
    """What the network predicts; None = eps for vp, v for flow. edm has a target of its own."""
    learned_variance: bool = False
    """vp: the network returns a variance, too, as published DiT models do; it is used in sampling and not trained here."""
    reversed_time: bool = False
    """flow: the network counts time from noise to data, as published SiT models do."""

    @model_validator(mode="before")
    @classmethod
    def _usual_target_is_none(cls, values: Any) -> Any:
        """One form of each configuration: a kind's own prediction, or the usual betas, said aloud, equal None."""
        usual = {"vp": "eps", "flow": "v"}
        if isinstance(values, dict) and values.get("prediction") == usual.get(values.get("kind", ""), ""):
            values = {**values, "prediction": None}
        if isinstance(values, dict) and values.get("betas") in (USUAL_BETAS, list(USUAL_BETAS)):
            values = {**values, "betas": None}
        return values

    @model_validator(mode="after")
    def _target_exists(self) -> DenoiserConfig:
        targets = {"edm": (), "vp": ("eps", "v", "x0"), "flow": ("v", "x0")}[self.kind]
        if self.prediction is not None and self.prediction not in targets:
            choice = f"one of {', '.join(targets)}" if targets else "none, since EDM has a target of its own"
            raise ValueError(f"process.prediction with kind '{self.kind}': expected {choice}, got '{self.prediction}'")
        for name, kind in (("learned_variance", "vp"), ("reversed_time", "flow")):
            if getattr(self, name) and self.kind != kind:
                raise ValueError(f"process.{name} has a meaning for kind '{kind}' alone, got '{self.kind}'")
        own = DenoiserConfig.model_fields
        for name in ("schedule", "betas", "timesteps"):
            if getattr(self, name) != own[name].default and self.kind != "vp":
                raise ValueError(f"process.{name} has a meaning for kind 'vp' alone, got '{self.kind}'")
        if self.betas is not None and self.schedule == "cosine":
            raise ValueError(f"process.betas ({self.betas}) has no meaning for process.schedule 'cosine'")
        if self.betas is not None and self.betas[0] > self.betas[1]:
            raise ValueError(f"process.betas must not fall, got {self.betas[0]} to {self.betas[1]}")
        return self


class ProcessConfig(DenoiserConfig):
    """How images and noise are mixed, what the network predicts, and at which noise levels it learns."""

    weighting: Literal["edm", "eps", "x0", "velocity", "min_snr", "sigmoid"] | None = None
    """Weight of the squared error by noise level; None = the process's own: mean squares on what the network predicts.
    velocity = mean squares on a flow's velocity, at times of at least 0.05.
    """
    min_snr_gamma: PositiveFloat = 5.0
    """min_snr: bound on the signal-to-noise ratio (2303.09556)."""
    sigmoid_bias: float = 0.0
    """sigmoid: ln SNR at which the weight is one half (2410.19324)."""
    density: Literal["log_normal", "uniform"] | None = None
    """Noise levels learned at: ln sigma is normal (for flow that is logit-normal time), or each time alike;
    None = log_normal for edm and flow, uniform for vp.
    """
    stratified: bool = False
    """Draw one noise level from each of as many equal shares as the batch has images."""
    sigma_data: PositiveFloat | None = None
    """Standard deviation of the data; None = measured on the training images."""
    p_mean: float | None = None
    """log_normal: mean of ln sigma; None = the process's usual one (edm -1.2, flow 0, flow that predicts x0 0.8)."""
    p_std: PositiveFloat | None = None
    """log_normal: standard deviation of ln sigma; None = the process's usual one (edm 1.2, flow 1, flow that predicts x0 0.8)."""
    label_dropout: Fraction = 0.1
    """Share of labels replaced by the null class, for classifier-free guidance."""

    @model_validator(mode="after")
    def _levels_exist(self) -> ProcessConfig:
        if self.kind == "edm" and self.density == "uniform":
            raise ValueError("process.density 'uniform' needs a process that ends: kind 'vp' or 'flow', got 'edm'")
        if self.kind == "vp" and self.density == "log_normal":
            raise ValueError(
                "process.density 'log_normal' would leave the timesteps of kind 'vp'. Use 'uniform', or kind 'edm' or 'flow'"
            )
        return self

    @property
    def denoiser(self) -> DenoiserConfig:
        """The part that a trained model keeps."""
        return DenoiserConfig(**{name: getattr(self, name) for name in DenoiserConfig.model_fields})


class OptimiserConfig(Config):
    """Steps, learning rate and averaging of weights."""

    steps: Positive = 1000
    """Training steps."""
    batch: Positive = 64
    """Images a step."""
    kind: Literal["adamw", "muon"] = "adamw"
    """adamw; muon = Muon for weight matrices and convolutions of the network's blocks, AdamW for everything else."""
    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate; Muon's steps are scaled so that it serves both."""
    warmup_steps: Count = 50
    """Steps of linear warm-up."""
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    """What follows the warm-up: down to zero along a cosine or a straight line, or constant."""
    weight_decay: Strength = 0.0
    """Decoupled weight decay."""
    clip: PositiveFloat | None = 1.0
    """Largest norm of the network's gradient; None = no clipping."""
    ema_half_life: PositiveFloat = 5000.0
    """Half-life of the averaged weights, in images."""
    ema_warmup: Strength = 0.1
    """Early on, the half-life is at most this share of the images seen so far; 0 = no warm-up."""


class SamplingConfig(Config):
    """Drawing samples."""

    solver: Solver = "dpmpp_2m"
    """dpmpp_2m = multistep DPM-Solver++(2M), one network evaluation a step; heun = Heun's method, two of them;
    dpmpp_2m_sde = as that, with fresh noise in each step;
    euler = Euler's method; ddim = Euler's, exact in the noise, with fresh noise if eta > 0; ddpm = ancestral sampling.
    """
    steps: Positive = 20
    """Sampling steps; network evaluations are 2 * steps - 1 with 'heun', steps with the others. The defaults are the fewest
    evaluations within 2 % of 250 on Fashion-MNIST (docs/results.md).
    """
    guidance_scale: Strength = 1.0
    """Classifier-free guidance; 1 = off."""
    sigma_min: PositiveFloat = 0.002
    """Last noise level before 0."""
    sigma_max: PositiveFloat = 80.0
    """First noise level."""
    rho: PositiveFloat = 7.0
    """Bend of the grid of noise levels; larger = more steps at low noise."""
    batch: Positive = 256
    """Images at a time; changes nothing but memory and speed."""
    eta: Fraction = 0.0
    """ddim: share of the noise drawn afresh in each step; 0 = deterministic, 1 = ancestral."""
    grid: Grid = "native"
    """native = the process's own times; karras = EDM's noise levels, from sigma_max to sigma_min (for EDM, the same)."""
    spacing: Spacing = "trailing"
    """Which timesteps the native grid takes of a process that has timesteps: 'leading' leaves out the noisiest."""
    shift: PositiveFloat = 1.0
    """Factor on the noise levels of the native grid of a flow on straight lines; above 1, more steps at high noise."""
    guidance_low: Strength = 0.0
    """Guide at noise levels above this only (arXiv 2404.07724)."""
    guidance_high: PositiveFloat | None = None
    """Guide at noise levels up to this only; None = no bound."""
    clip: bool = False
    """Bring x0_hat into [-1, 1] at every step, as many published models of pixels were sampled; not for latents."""
    from_infinity: bool | None = None
    """Start as if sampling came from sigma = inf, at no cost, rather than from noise alone, which forgets the images' mean;
    None = where the process is EDM's.
    """

    @model_validator(mode="after")
    def _ordered(self) -> SamplingConfig:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(
                f"sampling.sigma_min ({self.sigma_min}) must be below sampling.sigma_max ({self.sigma_max})"
            )
        if self.guidance_high is not None and self.guidance_low >= self.guidance_high:
            raise ValueError(
                f"sampling.guidance_low ({self.guidance_low}) must be below sampling.guidance_high ({self.guidance_high})"
            )
        return self

    @model_validator(mode="after")
    def _has_meaning(self) -> SamplingConfig:
        if self.eta and self.solver != "ddim":
            raise ValueError(
                f"sampling.eta ({self.eta}) has no meaning for solver '{self.solver}'. Use solver 'ddim', or eta 0"
            )
        if self.shift != 1 and self.grid != "native":
            raise ValueError(f"sampling.shift ({self.shift}) needs grid 'native', got '{self.grid}'. Use shift 1")
        return self


class LogConfig(Config):
    """How often a run reports and saves; changes no weight."""

    every: Positive = 20
    """Steps between lines in metrics.jsonl."""
    checkpoint_every: Positive = 500
    """Steps between checkpoints."""
    keep: Positive = 2
    """Checkpoints kept; the last one always is."""
    samples: Count = 64
    """Images in the grid drawn with each checkpoint; 0 = none."""


class TrainConfig(Config):
    """A training run: equal configurations on equal images give equal weights."""

    seed: Count = 0
    """Seed of everything random in this run (the split into training and held-out images does not depend on it)."""
    signal: Signal = "hidden"
    """What is added to denoising:
    none = nothing, plain diffusion;
    structure = structure-guided adversarial training, the paper's game at the output;
    features = each image against itself in the structure encoder;
    labels = the structure encoder's classifier;
    dispersive = hidden representations repel each other (2506.09027);
    contrastive = predictions keep away from other pairs' targets (2506.05350);
    repa = a hidden layer is aligned with the structure encoder (2410.06940);
    hidden = a hidden layer relates the images of a batch as the structure encoder does;
    sampled = experimental: batches sampled in a few steps are distributed as real ones, in the structure encoder;
    anchor = the network relates the images of a batch as the model does that the training starts from (2104.06820).
    """
    start_from: str | None = None
    """A model or run folder whose averaged weights the training starts from; None = from scratch. Classes, channels and sizes of
    images may differ.
    """
    device: str = "auto"
    """'auto' = the accelerator if there is one, else 'cpu'; random draws are the same everywhere."""
    data: DataConfig = DataConfig()
    net: NetConfig = NetConfig()
    process: ProcessConfig = ProcessConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    early_stop: EarlyStopConfig = EarlyStopConfig()
    structure: StructureConfig = StructureConfig()
    control: ControlConfig = ControlConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    anchor: AnchorConfig = AnchorConfig()
    prior: PriorConfig = PriorConfig()
    parallel: ParallelConfig = ParallelConfig()
    sampling: SamplingConfig = SamplingConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _has_pairs(self) -> TrainConfig:
        signal = self.signal if self.signal in OF_PAIRS or not self.anchored else "anchor"
        own = self.optimiser.batch - self.prior_batch
        if own < 1:
            raise ValueError(
                f"prior.share takes {self.prior_batch} of optimiser.batch {self.optimiser.batch} and leaves none for the new "
                "images. Use a larger batch or a smaller share"
            )
        if signal in OF_PAIRS and own < 2:
            less = f" less {self.prior_batch} of the prior" if self.prior_batch else ""
            raise ValueError(
                f"signal '{signal}' is about pairs of images: optimiser.batch must be at least 2, got "
                f"{self.optimiser.batch}{less}. Use a larger batch or --signal none"
            )
        return self

    @model_validator(mode="after")
    def _signal_can_work(self) -> TrainConfig:
        weight, training = self.control.weight, self.structure.encoder_training
        if self.signal in ("contrastive", "sampled") and self.process.kind != "edm":
            raise ValueError(f"signal '{self.signal}' is made for process.kind 'edm', got '{self.process.kind}'")
        if self.signal == "contrastive" and "damage" in self.data.tell:
            raise ValueError(
                "signal 'contrastive' knows no denoiser that starts from a damaged image, as data.tell 'damage' has it. Use "
                "another --signal, or leave 'damage' out"
            )
        if self.signal == "contrastive" and weight is not None and weight >= 1:
            raise ValueError(
                f"control.weight must be below 1 with signal 'contrastive', got {weight}: from 1 on, its loss has no minimum"
            )
        if self.signal == "structure" and training == "source" and self.structure.adversary == "ascend":
            raise ValueError(
                "structure.encoder_training 'source' leaves nothing that could play: structure.adversary must be 'classify' or "
                "'frozen', got 'ascend'"
            )
        self._target_can_be_met()
        if self.signal == "labels" and training not in ("auto", "supervised"):
            raise ValueError(
                "signal 'labels' uses the encoder's classifier: structure.encoder_training must be 'supervised' or 'auto', "
                f"got '{training}'"
            )
        return self

    def _target_can_be_met(self) -> None:
        game = self.structure
        if game.target == "images":
            return
        if self.signal != "structure":
            raise ValueError(
                f"structure.target '{game.target}' is an option of signal 'structure', got '{self.signal}'"
            )
        if game.adversary == "classify" or game.memory:
            raise ValueError(
                f"structure.target '{game.target}' goes with adversary 'ascend' or 'frozen' and without a memory, got "
                f"'{game.adversary}' and {game.memory}"
            )
        if game.relation not in ("cosine", "rbf"):
            raise ValueError(
                f"structure.target '{game.target}' gives affinities from 0 to 1: structure.relation must be 'cosine' or 'rbf', "
                f"got '{game.relation}'"
            )

    @model_validator(mode="after")
    def _has_something_to_tune(self) -> TrainConfig:
        if self.start_from is None:
            given = {
                "finetune.*": self.finetune != FinetuneConfig(),
                "anchor.*": self.anchor != AnchorConfig(),
                "prior.*": self.prior != PriorConfig(),
                "signal 'anchor'": self.signal == "anchor",
                "structure.encoder_training 'source'": self.structure.encoder_training == "source",
            }
            for what in (name for name, there in given.items() if there):
                raise ValueError(
                    f"{what} is about a trained model, and start_from names none. Give --start-from MODEL, or leave it out"
                )
        return self

    @model_validator(mode="after")
    def _can_be_cut(self) -> TrainConfig:
        pieces = self.parallel.accumulate
        if pieces > self.optimiser.batch:
            raise ValueError(
                f"parallel.accumulate cuts a batch into {pieces} micro-batches, and optimiser.batch is {self.optimiser.batch}. "
                "Use a larger batch or fewer micro-batches"
            )
        if pieces > 1 and self.prior.images:
            raise ValueError("prior.images and parallel.accumulate do not go together. Use one of them")
        if pieces > 1 and self.signal == "sampled":
            raise ValueError(
                "signal 'sampled' runs the network itself, which parallel.accumulate does not cut. Leave it at 1"
            )
        if self.parallel.strategy != "ddp" and self.early_stop.every:
            raise ValueError(
                "early_stop needs a whole model in each process: parallel.strategy must be 'ddp', got "
                f"'{self.parallel.strategy}'. Use that, or train without early stopping"
            )
        return self

    @model_validator(mode="after")
    def _network_is_told(self) -> TrainConfig:
        strengths = self.data.augment.strengths
        if self.net.kind == "unet" and any(strengths.values()):
            raise ValueError(
                f"data.augment ({', '.join(strengths)}) needs a network that is told of it, and diffusers' UNet is not: it would "
                "draw augmented images. Use net.kind 'dit', or turn augmentation off; mirror images that may be drawn are "
                "data.flip"
            )
        return self

    @model_validator(mode="after")
    def _takes_several_shapes(self) -> TrainConfig:
        if self.data.fit == "buckets":
            reason = why_not(self) or why_not_sides(self, self.data.bucket_multiple)
            if reason:
                raise ValueError(f"data.fit 'buckets' gives images of several shapes, and {reason}")
        return self

    def with_latents_in(self, folder: Path) -> TrainConfig:
        """The same configuration with a place for the cache of latents, where it needs one and names none."""
        if self.data.autoencoder is None or self.data.latents is not None:
            return self
        return self.model_copy(update={"data": self.data.model_copy(update={"latents": str(folder)})})

    @property
    def prior_batch(self) -> int:
        """Images of each batch that are the source model's own."""
        return max(1, round(self.prior.share * self.optimiser.batch)) if self.prior.images else 0

    @property
    def sees_with_source(self) -> bool:
        """Whether the structure encoder is the model that the training starts from."""
        way, whole = self.structure.encoder_training, self.parallel.strategy == "ddp"  # in each process
        can = self.signal == "hidden" and self.start_from is not None and whole
        return way == "source" or (way == "auto" and can)

    @property
    def anchored(self) -> bool:
        """Whether relations of the model that the training starts from take part."""
        return self.anchor_weight > 0

    @property
    def anchor_weight(self) -> float:
        """The weight of the anchor as a number."""
        usual = ANCHOR_WEIGHT if self.signal == "anchor" else 0.0
        return usual if self.anchor.weight is None else self.anchor.weight

    @property
    def k_max(self) -> float:
        """The bound on balance coefficients as a number."""
        return math.inf if self.structure.k_max is None else self.structure.k_max


FREE_TO_CHANGE = ("device", "data.workers", "data.latents", "log.", "sampling.", *parallel_config.FREE_TO_CHANGE)
"""Keys that a resumed run may change: they alter no weight (a device does so by rounding alone; what a cache of latents holds is
checked)."""


def recipe_names() -> list[str]:
    """Names of the packaged recipes."""
    files = resources.files("sadm.recipes").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_train_config(
    recipe: str | None = None, config: str | Path | None = None, overrides: dict[str, Any] | None = None
) -> TrainConfig:
    """A configuration from a packaged recipe, a YAML file on top of it, and overrides on top of both.

    Raises:
        UserError: an unknown recipe or key, an invalid value, a missing file.
    """
    values: dict[str, Any] = {}
    origin = []
    if recipe is not None:
        if recipe not in recipe_names():
            raise UserError(f"unknown recipe '{recipe}'; there are {', '.join(recipe_names())}.")
        values = parse_yaml((resources.files("sadm.recipes") / f"{recipe}.yaml").read_text("utf-8"), f"recipe {recipe}")
        origin.append(f"recipe {recipe}")
    if config is not None:
        values = merge_training(values, read_yaml(config))
        origin.append(str(config))
    if overrides:
        values = merge_training(values, overrides)
        origin.append("overrides")
    return build_config(TrainConfig, values, " + ".join(origin) or "configuration")
