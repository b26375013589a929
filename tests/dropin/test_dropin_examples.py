"""The game in other people's loops: the scripts in examples/, run and taken apart."""

from __future__ import annotations

import copy
import importlib
import inspect
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from sadm.data import BatchStream, ImageSet
from sadm.diffusion import EDMDenoiser
from sadm.models import DiT
from sadm.structure import ConvEncoder, StructureGame, wiener_weight

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
NEEDS = {"diffusers_ddpm": "diffusers", "flow_matching": "torch", "accelerate_accumulation": "accelerate"}
D = torch.float64
RATIO, FRACTION, SIZE = 0.5, 0.5, 8

HIDDEN = "hidden_layer"
every_example = pytest.mark.parametrize("name", NEEDS)
every_script = pytest.mark.parametrize("name", [*NEEDS, HIDDEN])


def needed(name: str) -> None:
    package = NEEDS.get(name, "diffusers")
    pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[dev]'")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Opens an example as a module that trains on 48 images."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def open_example(name: str) -> ModuleType:
        needed(name)
        module = importlib.import_module(name)
        monkeypatch.setattr(module, "digits", few_digits)
        return module

    yield open_example
    if "accelerate" in sys.modules:
        sys.modules["accelerate"].state.AcceleratorState._reset_state(reset_partial_state=True)


def few_digits(batch: int) -> BatchStream:
    draws = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (48, 1, 8, 8), generator=draws, dtype=torch.uint8)
    labels = torch.arange(48) % 3
    pixels[labels == 0, :, :4] //= 4
    pixels[labels == 1, :, 4:] //= 4
    images = ImageSet(pixels, labels, ("a", "b", "c"), tuple(f"image {i}" for i in range(48)), "few digits")
    return BatchStream(images, batch, seed=0)


def train(module: ModuleType, out: Path, amount: int = 1, **options: Any) -> dict[str, Any]:
    """Runs an example for `amount` pieces of 3 steps and returns what it saved."""
    epochs = "epochs" in inspect.signature(module.main).parameters
    length = {"epochs": amount} if epochs else {"steps": 3 * amount}
    module.main(out, **length, batch=16, encoder_steps=3, **options)
    if not epochs:
        return torch.load(out / "last.pt", weights_only=True)
    saved = {
        "net": load_file(out / "model.safetensors"),
        "optimiser": torch.load(out / "optimizer.bin", weights_only=True),
    }
    game = out / "custom_checkpoint_1.pkl"
    return {**saved, "game": torch.load(game, weights_only=True)} if game.exists() else saved


def equal_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# ---- as a user runs them ---------------------------------------------------------------------------------------------


@every_script
def test_the_command_in_its_docstring_trains(name: str, tmp_path: Path) -> None:
    needed(name)
    size = ["--epochs", "1"] if name == "accelerate_accumulation" else ["--steps", "40", "--batch", "16"]
    command = [sys.executable, f"examples/{name}.py", "--out", str(tmp_path), "--encoder-steps", "10", *size]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    lines = re.findall(r"^step \d+: loss (\S+), structure gap (\S+)$", run.stdout, re.MULTILINE)
    losses, gaps = ([float(line[column]) for line in lines] for column in (0, 1))
    assert len(losses) == 2
    assert losses[1] < 0.9 * losses[0]
    assert all(0 < gap < 4 for gap in gaps)


@every_example
def test_a_ratio_of_zero_is_plain_training_bit_for_bit(
    name: str, example: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    module = example(name)
    plain = train(module, tmp_path / "plain", plain=True)["net"]
    assert equal_bits(train(module, tmp_path / "zero", ratio=0.0)["net"], plain)
    assert not equal_bits(train(module, tmp_path / "half", ratio=0.5)["net"], plain)


@every_example
def test_a_resumed_run_ends_with_the_same_weights_of_both_players(
    name: str, example: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    module = example(name)
    whole = train(module, tmp_path / "whole", 2)
    first = train(module, tmp_path / "parts", 1)
    parts = train(module, tmp_path / "parts", 2)
    for state, other, same in ((whole, parts, True), (whole, first, False)):
        assert equal_bits(state["net"], other["net"]) is same
        encoders = (part["game"]["discriminator"]["encoder"] for part in (state, other))
        assert equal_bits(*encoders) is same
    assert parts["game"]["step"] == whole["game"]["step"] == 2 * first["game"]["step"]


@every_script
def test_the_loops_optimiser_holds_the_network_alone(
    name: str, example: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    state = train(example(name), tmp_path)
    (group,) = state["optimiser"]["param_groups"]
    trained = [tensor for key, tensor in state["net"].items() if not key.endswith("pos_embed")]
    assert len(group["params"]) == len(trained)
    moments = [moment["exp_avg"].shape for moment in state["optimiser"]["state"].values()]
    assert sorted(moments) == sorted(tensor.shape for tensor in trained)


def test_in_a_hidden_layer_a_weight_of_zero_is_plain_training_and_a_resumed_run_the_same(
    example: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    module = example(HIDDEN)
    plain = train(module, tmp_path / "plain", plain=True)["net"]
    assert equal_bits(train(module, tmp_path / "zero", weight=0.0)["net"], plain)
    whole, first = train(module, tmp_path / "whole", 2), train(module, tmp_path / "parts", 1)
    parts = train(module, tmp_path / "parts", 2)
    assert not equal_bits(first["net"], plain)
    assert equal_bits(parts["net"], whole["net"])
    assert parts["game"]["step"] == 6


# ---- the gradient, done again by hand --------------------------------------------------------------------------------


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def filled(module: nn.Module, seed: int, scale: float = 0.2) -> nn.Module:
    """In float64, with random weights everywhere (a DiT starts as the zero function)."""
    module = module.to(D).eval()
    for number, parameter in enumerate(module.parameters()):
        parameter.data = scale * normal(1000 * seed + number, *parameter.shape)
    return module


def frozen_game(seed: int = 1) -> StructureGame:
    encoder = filled(ConvEncoder(1, width=4, stages=1, embedding=6), seed)
    options = {"adversary": "frozen", "relation": "cosine", "penalty": "squared", "noise_weight": wiener_weight}
    return StructureGame(encoder, ratio=RATIO, k_max=math.inf, fraction=FRACTION, **options)  # type: ignore[arg-type]


def gap_of(encoder: nn.Module, x0: torch.Tensor, x0_hat: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The structure gap, pair by pair."""
    e, e_hat = encoder(x0), encoder(x0_hat)
    cost, total = torch.zeros((), dtype=D), 0.0
    for i in range(len(x0)):
        for j in range(len(x0)):
            if i != j:
                pair = math.sqrt(1 / (1 + (2 * float(sigma[i])) ** 2) / (1 + (2 * float(sigma[j])) ** 2))
                real, denoised = (F.cosine_similarity(v[i], v[j], dim=0) for v in (e, e_hat))
                cost, total = cost + pair * (real - denoised) ** 2, total + pair
    return cost / total


def by_hand(
    encoder: nn.Module,
    parameters: list[nn.Parameter],
    loss: torch.Tensor,
    output: torch.Tensor,
    x0: torch.Tensor,
    x0_hat: torch.Tensor,
    sigma: torch.Tensor,
) -> list[torch.Tensor]:
    """Gradient of the loss, plus each image's gradient of the gap through the network, scaled to its share."""
    total = list(torch.autograd.grad(loss, parameters, retain_graph=True))
    (g_dsm,) = torch.autograd.grad(loss, output, retain_graph=True)
    players = sorted(range(len(x0)), key=lambda i: -float(sigma[i]))[: math.ceil(FRACTION * len(x0))]
    gap = gap_of(encoder, x0[players], x0_hat[players], sigma[players])
    (g_gap,) = torch.autograd.grad(gap, output, retain_graph=True)
    norms = sorted(float(g_gap[i].norm()) for i in players)
    for i in players:
        alone = torch.stack([x0_hat[j] if j == i else x0_hat[j].detach() for j in players])
        gradients = torch.autograd.grad(
            gap_of(encoder, x0[players], alone, sigma[players]), parameters, retain_graph=True
        )
        k = RATIO * float(g_dsm[i].norm()) / (float(g_gap[i].norm()) + 1e-3 * norms[(len(norms) - 1) // 2])
        total = [sum_ + k * gradient for sum_, gradient in zip(total, gradients, strict=True)]
    return total


def same_gradients(net: nn.Module, expected: list[torch.Tensor]) -> None:
    largest = max(float(value.abs().max()) for value in expected)  # some biases, before a norm, have no gradient at all
    for parameter, value in zip(net.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, value, rtol=1e-8, atol=1e-10 * largest)


def untouched(game: StructureGame) -> None:
    assert all(parameter.grad is None for parameter in game.discriminator.encoder.parameters())


def test_the_gradient_in_the_diffusers_loop(example: Callable[[str], ModuleType]) -> None:
    module, game = example("diffusers_ddpm"), frozen_game()
    net, scheduler = unet().to(D), module.DDPMScheduler(num_train_timesteps=1000)
    x0, noise = normal(2, SIZE, 1, 8, 8), normal(3, SIZE, 1, 8, 8)
    t = torch.tensor([0, 40, 100, 200, 300, 500, 800, 999])
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=D), 0)[t].reshape(-1, 1, 1, 1)
    # The scheduler keeps its table in float32; the oracle is given the same numbers, checked against the definition.
    torch.testing.assert_close(scheduler.alphas_cumprod[t].to(D), alpha_bar.flatten(), rtol=2e-4, atol=0)
    scheduler.alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=D), 0)

    x_t = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise
    eps_hat = net(x_t, t).sample
    x0_hat = (x_t - (1 - alpha_bar).sqrt() * eps_hat) / alpha_bar.sqrt()
    sigma = ((1 - alpha_bar) / alpha_bar).sqrt().flatten()
    loss = ((eps_hat - noise) ** 2).mean()
    expected = by_hand(game.discriminator.encoder, list(net.parameters()), loss, eps_hat, x0, x0_hat, sigma)
    total, shown = module.losses(net, scheduler, game, x0, noise, t)
    total.backward()
    assert float(shown) == pytest.approx(float(loss.detach()), rel=1e-12)
    same_gradients(net, expected)
    untouched(game)


def unet() -> nn.Module:
    torch.manual_seed(4)
    return sys.modules["diffusers"].UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    )


def test_the_gradient_in_the_flow_matching_loop(example: Callable[[str], ModuleType]) -> None:
    module, game = example("flow_matching"), frozen_game()
    net = filled(DiT((1, 8, 8), patch=4, width=16, depth=1, heads=2), 5)
    x0, noise = normal(2, SIZE, 1, 8, 8), normal(3, SIZE, 1, 8, 8)
    t = torch.linspace(0, 1, SIZE, dtype=D)  # t = 1 is pure noise: an infinite level
    time = t.reshape(-1, 1, 1, 1)
    x_t = (1 - time) * x0 + time * noise
    v_hat = net(x_t, t, module.Cond())
    loss = ((v_hat - (noise - x0)) ** 2).mean()
    arguments = (loss, v_hat, x0, x_t - time * v_hat, t / (1 - t))
    expected = by_hand(game.discriminator.encoder, list(net.parameters()), *arguments)
    module.losses(net, game, x0, noise, t)[0].backward()
    same_gradients(net, expected)
    untouched(game)


def test_the_clean_image_is_what_the_velocity_says(example: Callable[[str], ModuleType]) -> None:
    """With the true velocity, x0_hat is x0: no gap, whatever the time; and t / (1 - t) is the noise level of x_t / (1 - t)."""
    module = example("flow_matching")
    x0, noise, t = normal(2, SIZE, 1, 8, 8), normal(3, SIZE, 1, 8, 8), torch.linspace(0, 0.999, SIZE, dtype=D)
    seen = []

    def spy(loss: torch.Tensor, *rest: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        seen.append((*rest, output))
        return torch.zeros_like(loss)

    module.losses(lambda x_t, t, cond: noise - x0, spy, x0, noise, t)
    ((real, x0_hat, level, output),) = seen
    assert torch.equal(real, x0)
    assert torch.equal(output, noise - x0)
    torch.testing.assert_close(x0_hat, x0, rtol=0, atol=1e-12)
    time = t.reshape(-1, 1, 1, 1)
    scaled = ((1 - time) * x0 + time * noise) / (1 - time)
    torch.testing.assert_close(scaled, x0 + level.reshape(-1, 1, 1, 1) * noise, rtol=1e-12, atol=1e-12)


def test_an_ascending_encoder_learns_in_the_call_and_not_in_the_backward_pass(
    example: Callable[[str], ModuleType],
) -> None:
    module = example("flow_matching")
    net, encoder = filled(DiT((1, 8, 8), patch=4, width=16, depth=1, heads=2), 5), frozen_game().discriminator.encoder
    encoder.requires_grad_(True)
    game = StructureGame(encoder, adversary="ascend", learning_rate=1e-3)
    states = [copy.deepcopy(encoder.state_dict())]
    total, _ = module.losses(net, game, normal(2, SIZE, 1, 8, 8), normal(3, SIZE, 1, 8, 8), torch.rand(SIZE, dtype=D))
    states.append(copy.deepcopy(encoder.state_dict()))
    total.backward()
    assert not equal_bits(states[0], states[1])
    assert equal_bits(states[1], encoder.state_dict())
    untouched(game)
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_accumulation_under_accelerate_is_the_mean_of_the_micro_batches(
    example: Callable[[str], ModuleType],
) -> None:
    module, game = example("accelerate_accumulation"), frozen_game()
    denoiser = EDMDenoiser(filled(DiT((1, 8, 8), patch=4, width=16, depth=1, heads=2), 5))
    batches = []
    for seed in (10, 20):
        sigma = normal(seed, SIZE).exp()
        batches.append((normal(seed + 1, SIZE, 1, 8, 8), normal(seed + 2, SIZE, 1, 8, 8), sigma))
    expected: list[torch.Tensor] = [torch.zeros_like(p) for p in denoiser.parameters()]
    for x0, noise, sigma in batches:
        x0_hat = denoiser(x0 + sigma.reshape(-1, 1, 1, 1) * noise, sigma, module.Cond())
        weight = (sigma**2 + 0.25) / (0.5 * sigma) ** 2
        loss = (weight * ((x0 - x0_hat) ** 2).flatten(1).mean(1)).mean()
        part = by_hand(game.discriminator.encoder, list(denoiser.parameters()), loss, x0_hat, x0, x0_hat, sigma)
        expected = [sum_ + gradient / 2 for sum_, gradient in zip(expected, part, strict=True)]

    accelerator = module.Accelerator(gradient_accumulation_steps=2, cpu=True)
    optimiser = torch.optim.SGD(denoiser.parameters(), lr=0.0)
    prepared, optimiser = accelerator.prepare(denoiser, optimiser)
    for number, batch in enumerate(batches):
        with accelerator.accumulate(prepared):
            accelerator.backward(module.losses(prepared, game, *batch)[0])
            assert accelerator.sync_gradients is (number == 1)
    same_gradients(denoiser, expected)
    untouched(game)
    assert game.step == 2  # one call for each micro-batch


# ---- reduced precision -----------------------------------------------------------------------------------------------


def test_a_unet_under_bf16_autocast_gets_about_the_same_gradient(example: Callable[[str], ModuleType]) -> None:
    module = example("diffusers_ddpm")
    net, scheduler = unet(), module.DDPMScheduler(num_train_timesteps=1000)
    x0, noise = normal(2, SIZE, 1, 8, 8).float(), normal(3, SIZE, 1, 8, 8).float()
    t = torch.tensor([0, 40, 100, 200, 300, 400, 500, 600])
    gradients = []
    for enabled in (False, True):
        game = frozen_game()
        game.discriminator.encoder.float()
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            total, _ = module.losses(net, scheduler, game, x0, noise, t)
        total.backward()
        assert game.last is not None
        assert game.last.gap.dtype == torch.float32
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in net.parameters()]))
    assert gradients[1].dtype == torch.float32
    assert not torch.equal(*gradients)
    assert float((gradients[1] - gradients[0]).norm() / gradients[0].norm()) < 0.05
