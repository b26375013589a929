"""diffusers' DiTTransformer2DModel, trained and sampled as its examples do."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from benchmarks.throughput.shapes import Shape

TIMES = 1000


class DiffusersLoop:
    """Its scheduler adds the noise and takes the sampler's steps, its EMAModel averages.

    Its DiT embeds time and class once more in each block, where the others do so once: more parameters, and small products
    of one row an image.

    Args:
        shape: of network and images.
        images: [N, C, H, W] in [-1, 1].
        labels: [N].
    """

    name = "diffusers"

    def __init__(self, shape: Shape, images: torch.Tensor, labels: torch.Tensor) -> None:
        from diffusers import DDIMScheduler, DDPMScheduler, DiTTransformer2DModel
        from diffusers.training_utils import EMAModel

        self.shape, self.images, self.labels = shape, images, labels
        self.model = DiTTransformer2DModel(
            num_attention_heads=shape.heads,
            attention_head_dim=shape.width // shape.heads,
            in_channels=shape.image[0],
            out_channels=shape.image[0],
            num_layers=shape.depth,
            sample_size=shape.image[1],
            patch_size=shape.patch,
            num_embeds_ada_norm=shape.classes,
        )
        self.device = images.device
        self.model.to(self.device).train()
        self.ema = EMAModel(self.model.parameters(), decay=0.9999)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0, fused=True)
        self.noising = DDPMScheduler(num_train_timesteps=TIMES)
        self.sampling = DDIMScheduler(num_train_timesteps=TIMES)

    def train_step(self) -> None:
        """One batch; the model drops labels by itself in training."""
        index = torch.randint(len(self.images), (self.shape.train_batch,), device=self.device)
        x0, y = self.images[index], self.labels[index]
        t, noise = torch.randint(TIMES, (len(x0),), device=self.device), torch.randn_like(x0)
        noisy = self.noising.add_noise(x0, noise, t)
        loss = F.mse_loss(self.model(noisy, timestep=t, class_labels=y).sample, noise)
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.ema.step(self.model.parameters())

    @torch.no_grad()
    def sample(self) -> torch.Tensor:
        """A batch of images by its DDIM scheduler, guided in one batch of double size where guidance is on."""
        shape, count = self.shape, self.shape.sample_batch
        self.model.eval()
        x = torch.randn(count, *shape.image, device=self.device)
        y = torch.arange(count, device=self.device) % shape.classes
        self.sampling.set_timesteps(shape.sample_steps)
        for t in self.sampling.timesteps:
            x = self.sampling.step(self.noise_hat(x, t.to(self.device).expand(count), y), t, x).prev_sample
        self.model.train()
        return x

    def noise_hat(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The network's noise, guided."""
        if self.shape.guidance_scale == 1:
            return self.model(x, timestep=t, class_labels=y).sample
        none = torch.full_like(y, self.shape.classes)
        both = self.model(torch.cat([x, x]), timestep=torch.cat([t, t]), class_labels=torch.cat([y, none])).sample
        with_class, without = both.chunk(2)
        return without + self.shape.guidance_scale * (with_class - without)
