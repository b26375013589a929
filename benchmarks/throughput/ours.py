"""This package: the trainer's own step, and `generate`."""

from __future__ import annotations

import torch

from benchmarks.throughput.shapes import Shape


class Ours:
    """Plain training and sampling as `sadm train --signal none` and `sadm sample` do them.

    Args:
        shape: of network and images.
        images: [N, C, H, W] in [-1, 1].
        labels: [N].
    """

    name = "sadm"

    def __init__(self, shape: Shape, images: torch.Tensor, labels: torch.Tensor) -> None:
        from sadm.data import ImageSet
        from sadm.training.config import NetConfig, TrainConfig
        from sadm.training.learner import Learner
        from sadm.training.spec import ModelSpec

        self.shape = shape
        names = tuple(f"made up/{index}" for index in range(len(images)))
        classes = tuple(map(str, range(shape.classes)))
        pixels = ((images + 1) * 127.5).round().to(torch.uint8).cpu()
        data = ImageSet(pixels, labels.cpu(), classes, names, "made up")
        net = NetConfig(patch=shape.patch, width=shape.width, depth=shape.depth, heads=shape.heads)
        spec = ModelSpec(shape.image, net, 0.5, classes, (1,) * shape.classes)
        change = {
            "signal": "none",
            "net": net,
            "device": str(images.device),
            "optimiser": {"batch": shape.train_batch, "steps": 10**6, "learning_rate": 1e-4},
        }
        self.learner = Learner(TrainConfig.model_validate(change), data, spec, [])
        self.model = self.learner.denoiser.net

    def train_step(self) -> None:
        """One step of the trainer."""
        self.learner.advance()

    def sample(self) -> torch.Tensor:
        """A batch of images from the averaged network by the solver of the recipes."""
        from sadm.diffusion import SamplerSettings, generate, image_seeds

        shape, count = self.shape, self.shape.sample_batch
        settings = SamplerSettings("dpmpp_2m", shape.sample_steps, shape.guidance_scale, batch=count)
        labels = torch.arange(count) % shape.classes
        denoiser, device = self.learner.spec.around(self.learner.ema.module).eval(), self.learner.device
        return generate(denoiser, shape.image, image_seeds(0, count), labels, shape.classes, settings, device)

    def compile(self) -> None:
        """Has torch compile the network and its average."""
        self.model.compile()
        self.learner.ema.module.compile()
