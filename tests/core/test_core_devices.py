"""Numbers too small for a normal float32, and where they are taken for zero."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from sadm.core.conditions import Cond
from sadm.core.devices import denormals_flushed
from sadm.diffusion import SamplerSettings, generate
from tiny import tiny_config, tiny_images, tiny_learner

SMALL = 1e-30


def product() -> float:
    """Of two normal numbers, 1e-40 itself being none."""
    return float(torch.tensor(SMALL) * torch.tensor(1e-10))


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    torch.set_flush_denormal(False)


def test_they_are_zero_inside_and_numbers_again_outside() -> None:
    assert product() == pytest.approx(1e-40, rel=1e-4)
    with denormals_flushed():
        assert product() == 0
        with denormals_flushed():
            assert product() == 0
        assert product() == 0
    assert product() > 0


def test_what_was_set_before_is_set_again_also_after_an_error() -> None:
    with pytest.raises(KeyError), denormals_flushed():
        raise KeyError
    assert product() > 0
    torch.set_flush_denormal(True)
    with denormals_flushed():
        pass
    assert product() == 0


def test_a_training_step_and_sampling_flush_them_and_leave_the_thread_as_it_was() -> None:
    learner, seen = tiny_learner(tiny_config(signal="none"), tiny_images()), []
    learner.denoiser.net.register_forward_hook(lambda *_: seen.append(product()))
    learner.denoiser.net.final_layer.linear.weight.register_hook(lambda gradient: seen.append(product()))
    learner.advance()
    generate(learner.denoiser.eval(), (1, 8, 8), [0], None, None, SamplerSettings(steps=2))
    assert seen == [0.0] * 4  # forwards, backwards, and two evaluations of the sampler
    assert product() > 0
    learner.denoiser(torch.zeros(1, 1, 8, 8), torch.ones(1), Cond())
    assert seen[-1] > 0
