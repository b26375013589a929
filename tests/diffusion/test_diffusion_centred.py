"""A denoiser that starts from a picture: against the posterior mean of images that lie around it."""

from __future__ import annotations

import pytest
import torch
from diffusion_nets import SHAPE, Constant, GaussianOnPath, Net, normal

from sadm.core.conditions import Cond
from sadm.diffusion import Centred, EDMDenoiser, FlowDenoiser, VPDenoiser, VPSchedule, heun

Y = 0.3 * normal(7)
SIGMA = torch.tensor([0.2, 1.0, 6.0], dtype=torch.float64)
TOLD = Cond(
    image=torch.cat([-torch.ones(SHAPE[0], 1, *SHAPE[2:], dtype=torch.float64), Y], dim=1)
)  # a mask comes first
DENOISERS = {
    "edm": EDMDenoiser(Net(), 0.4).double(),
    "vp": VPDenoiser(Net(), VPSchedule.linear()).double(),
    "flow": FlowDenoiser(Net()).double(),
}


@pytest.mark.parametrize("kind", DENOISERS)
def test_it_is_the_posterior_mean_of_images_around_the_picture(kind: str) -> None:
    path = DENOISERS[kind].path
    around_zero, around_y = GaussianOnPath(path, 0.0, 0.4), GaussianOnPath(path, Y, 0.4)  # type: ignore[arg-type]
    centred, x_t, t = Centred(around_zero, SHAPE[1]), normal(8), path.time(1.7)  # type: ignore[arg-type]
    close = torch.testing.assert_close
    close(centred(x_t, SIGMA, TOLD), around_y(x_t, SIGMA, TOLD))
    close(centred.predict(x_t, SIGMA, TOLD).x0_hat, around_y(x_t, SIGMA, TOLD))
    close(centred.at(x_t, t, TOLD), around_y.at(x_t, t, TOLD))
    close(centred.predict_at(x_t, t, TOLD).x0_hat, around_y.at(x_t, t, TOLD))


@pytest.mark.parametrize("kind", DENOISERS)
def test_without_a_picture_nothing_changes(kind: str) -> None:
    denoiser = DENOISERS[kind]
    centred, x_t = Centred(denoiser, SHAPE[1]), normal(8)
    for cond in (Cond(), Cond(image=torch.zeros_like(TOLD.image))):  # type: ignore[arg-type]
        assert torch.equal(centred(x_t, SIGMA, cond), denoiser(x_t, SIGMA, cond))
        assert torch.equal(
            centred.at(x_t, denoiser.path.time(0.5), cond), denoiser.at(x_t, denoiser.path.time(0.5), cond)
        )
    assert torch.equal(centred.loss_weight(SIGMA), denoiser.loss_weight(SIGMA))
    assert (centred.net, centred.path, list(centred.state_dict())) == (denoiser.net, denoiser.path, [])


def test_a_network_of_zeros_answers_with_the_picture_where_all_is_noise() -> None:
    centred = Centred(EDMDenoiser(Constant(torch.zeros(SHAPE, dtype=torch.float64))), SHAPE[1])
    found = centred(normal(8), torch.full((SHAPE[0],), 1e4, dtype=torch.float64), TOLD)
    torch.testing.assert_close(found, Y, atol=1e-6, rtol=0)


def test_a_solver_ends_where_the_probability_flow_of_images_around_the_picture_does() -> None:
    """For N(y, s^2), x - y shrinks by s / sqrt(s^2 + sigma^2) on the way from sigma to 0."""
    spread, noise = 0.4, normal(9)
    centred = Centred(GaussianOnPath(DENOISERS["edm"].path, 0.0, spread), SHAPE[1])  # type: ignore[arg-type]
    sigmas = 5 * torch.linspace(1, 0, 401, dtype=torch.float64) ** 3
    found = heun(centred, noise, sigmas, TOLD)
    torch.testing.assert_close(found, Y + (5 * noise - Y) * spread / (spread**2 + 25) ** 0.5, atol=1e-4, rtol=0)
