from __future__ import annotations

import copy
import math

import pytest
import torch

from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed, generator
from sadm.data import BatchStream
from sadm.diffusion import EDMDenoiser
from sadm.models import DiT
from sadm.training.ema import EMA
from sadm.training.learner import learning_rate_at
from tiny import equal_bits, tiny_config, tiny_images, tiny_learner


def plain_diffusion(config, images, sigma_data, steps):
    """Plain EDM training written out again, with loss.backward() through the whole graph."""
    torch.manual_seed(derive_seed(config.seed, "network"))
    net = DiT(images.shape, config.net.patch, config.net.width, config.net.depth, config.net.heads, num_classes=3)
    denoiser = EDMDenoiser(net, sigma_data)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=1.0, betas=(0.9, 0.99), weight_decay=config.optimiser.weight_decay, fused=True
    )
    stream = BatchStream(images, config.optimiser.batch, config.seed)
    for step in range(steps):
        batch, draws = stream.batch(step), generator(config.seed, "training", step)
        count = len(batch.x0)
        sigma = (-1.2 + 1.2 * torch.randn(count, generator=draws)).exp()
        noise = torch.randn(batch.x0.shape, generator=draws)
        dropped = torch.rand(count, generator=draws) < config.process.label_dropout
        cond = batch.cond.with_label_dropped(dropped, 3)
        x0_hat = denoiser(batch.x0 + sigma[:, None, None, None] * noise, sigma, cond)
        weight = (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()
        loss = (weight * (x0_hat - batch.x0).square().flatten(1).mean(1)).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.optimiser.clip)
        optimiser.param_groups[0]["lr"] = learning_rate_at(step, config.optimiser)
        optimiser.step()
    return net


def test_structure_off_is_plain_diffusion_bit_for_bit():
    config, images = tiny_config(signal="none"), tiny_images()
    learner = tiny_learner(config, images)
    for _ in range(12):
        learner.advance()
    oracle = plain_diffusion(config, images, learner.spec.sigma_data, 12)
    assert equal_bits(learner.denoiser.net.state_dict(), oracle.state_dict())


@pytest.mark.parametrize("structure", [{"ratio": 0.0}, {"end": 0.0}], ids=["ratio 0", "ended at once"])
def test_a_game_without_strength_changes_no_bit(structure):
    images = tiny_images()
    plain, game = (
        tiny_learner(tiny_config(signal=signal, structure=structure), images) for signal in ("none", "structure")
    )
    for _ in range(6):
        plain.advance()
        game.advance()
    assert equal_bits(plain.denoiser.net.state_dict(), game.denoiser.net.state_dict())
    assert equal_bits(plain.ema.module.state_dict(), game.ema.module.state_dict())


def test_the_game_changes_the_weights_and_moves_the_encoder():
    images = tiny_images()
    plain, game = (tiny_learner(tiny_config(signal=signal), images) for signal in ("none", "structure"))
    encoder = copy.deepcopy(game.signals[0].game.discriminator.encoder.state_dict())
    for _ in range(3):
        plain.advance()
        log = game.advance()
    assert not equal_bits(plain.denoiser.net.state_dict(), game.denoiser.net.state_dict())
    assert not equal_bits(encoder, game.signals[0].game.discriminator.encoder.state_dict())
    assert log["g_structure"] < log["g_dsm"]


def test_one_backward_pass_through_the_network_a_step():
    learner = tiny_learner(tiny_config(signal="structure"), tiny_images())
    passes = []
    learner.denoiser.net.final_layer.linear.weight.register_hook(lambda gradient: passes.append(1))
    for _ in range(4):
        learner.advance()
    assert len(passes) == 4


@pytest.mark.parametrize("signal", ["none", "structure"])
def test_state_goes_on_bit_for_bit(signal):
    config, images = tiny_config(signal=signal), tiny_images()
    whole, first, second = (tiny_learner(config, images) for _ in range(3))
    for _ in range(12):
        whole.advance()
    for _ in range(6):
        first.advance()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(6):
        second.advance()
    assert equal_bits(whole.denoiser.net.state_dict(), second.denoiser.net.state_dict())
    assert equal_bits(whole.ema.module.state_dict(), second.ema.module.state_dict())


def test_seeds_differ_and_repeat():
    images = tiny_images()
    runs = []
    for seed in (0, 0, 1):
        learner = tiny_learner(tiny_config(signal="structure", seed=seed), images)
        for _ in range(3):
            learner.advance()
        runs.append(learner.denoiser.net.state_dict())
    assert equal_bits(runs[0], runs[1])
    assert not equal_bits(runs[0], runs[2])


def test_a_loss_that_is_not_finite_stops_before_the_weights_change():
    learner = tiny_learner(tiny_config(signal="none"), tiny_images())
    learner.advance()
    with torch.no_grad():
        learner.denoiser.net.final_layer.linear.bias.fill_(torch.nan)
    before = copy.deepcopy(learner.denoiser.net.state_dict())
    with pytest.raises(UserError, match="loss became nan at step 1.*learning-rate"):
        learner.advance()
    after = learner.denoiser.net.state_dict()
    assert all(torch.equal(before[name].nan_to_num(7), after[name].nan_to_num(7)) for name in before)
    assert learner.step == 1


def test_ema_against_the_formula():
    module = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(1.0)
    ema = EMA(module, half_life=100.0, warmup=0.5)
    expected = 1.0
    for step in range(1, 40):
        with torch.no_grad():
            module.weight.fill_(float(step))
        seen = 10 * step
        ema.update(10, seen)
        decay = 2 ** (-10 / min(100.0, 0.5 * seen))
        expected = decay * expected + (1 - decay) * step
        assert ema.module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_learning_rate_rises_then_follows_a_cosine():
    config = tiny_config(optimiser={"steps": 110, "warmup_steps": 10, "learning_rate": 0.5}).optimiser
    assert learning_rate_at(0, config) == pytest.approx(0.05)
    assert learning_rate_at(9, config) == pytest.approx(0.5)
    assert learning_rate_at(60, config) == pytest.approx(0.25)
    assert learning_rate_at(109, config) == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 0.99)))
    constant = config.model_copy(update={"decay": "constant"})
    assert learning_rate_at(109, constant) == 0.5
