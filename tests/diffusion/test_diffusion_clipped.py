"""x0_hat brought into the range of images at every step."""

from __future__ import annotations

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.diffusion import SamplerSettings, VPDenoiser, VPSchedule, generate, image_seeds, prepare
from sadm.diffusion.clipped import Clipped

X = 3 * torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
SIGMA = torch.tensor([0.05, 0.5, 2.0, 90.0])


class Net(torch.nn.Module):
    """Predicts a noise that is not there, so that x0_hat leaves [-1, 1]; with a variance on request."""

    def __init__(self, variance: bool) -> None:
        super().__init__()
        self.variance = variance

    def forward(self, z: torch.Tensor, c_noise: torch.Tensor, cond: Cond) -> torch.Tensor:
        return torch.cat([0.4 * z, 0.3 * z.tanh()], dim=1) if self.variance else 0.4 * z


@pytest.mark.parametrize("variance", [False, True])
def test_every_way_to_ask_is_clipped_and_nothing_else(variance: bool) -> None:
    denoiser = VPDenoiser(Net(variance), VPSchedule.linear(), learned_variance=variance)
    clipped, time = Clipped(denoiser), denoiser.path.time(SIGMA)
    assert float(denoiser(X, SIGMA, Cond()).abs().max()) > 1.5
    assert torch.equal(clipped(X, SIGMA, Cond()), denoiser(X, SIGMA, Cond()).clamp(-1, 1))
    assert torch.equal(clipped.at(X, time, Cond()), denoiser.at(X, time, Cond()).clamp(-1, 1))
    for ours, theirs in ((clipped.predict, denoiser.predict), (clipped.predict_at, denoiser.predict_at)):
        level = SIGMA if theirs == denoiser.predict else time
        found, wanted = ours(X, level, Cond()), theirs(X, level, Cond())
        assert torch.equal(found.x0_hat, wanted.x0_hat.clamp(-1, 1))
        assert (found.variance is None) is not variance
        assert not variance or torch.equal(found.variance, wanted.variance)  # type: ignore[arg-type]
    assert (clipped.path, clipped.schedule) == (denoiser.path, denoiser.schedule)


def test_samplers_use_it_where_it_is_asked_for() -> None:
    denoiser = VPDenoiser(Net(False), VPSchedule.linear())
    settings = SamplerSettings("ddim", 5, clip=True)
    assert isinstance(prepare(denoiser, None, settings)[0], Clipped)
    draw = [
        generate(denoiser, (1, 2, 2), image_seeds(0, 6), None, None, SamplerSettings("ddim", 5, clip=clip))
        for clip in (False, True)
    ]
    assert not torch.allclose(*draw, atol=1e-3)
    with pytest.raises(ValueError, match="latents have no bounds; leave clip out"):
        SamplerSettings(clamp=False, clip=True).check()
