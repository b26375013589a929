"""Small batches, a small network and a small game, as several test files use them."""

from __future__ import annotations

import torch
from structure_oracles import SmallEncoder, images
from torch import nn

from sadm.structure import Play, StructureGame

BATCH, SHAPE, PIXELS = 6, (2, 3, 3), 18
D = torch.float64
SIGMA = torch.tensor([0.1, 3.0, 0.4, 7.0, 1.5, 0.02], dtype=D)


def batch_of(seed: int, dtype: torch.dtype = D) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x0, x_t and sigma."""
    x0 = images(seed, BATCH, *SHAPE, dtype=dtype)
    return (
        x0,
        x0 + SIGMA.to(dtype).reshape(-1, 1, 1, 1) * images(seed + 50, BATCH, *SHAPE, dtype=dtype),
        SIGMA.to(dtype),
    )


def network(seed: int = 3, dtype: torch.dtype = D) -> nn.Module:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2, 3, padding=1)).to(dtype)
    for number, parameter in enumerate(model.parameters()):
        parameter.data = 0.4 * images(10 * seed + number, *parameter.shape, dtype=dtype)
    return model


def game_of(start: int = 0, dtype: torch.dtype = D, **options: object) -> StructureGame:
    return StructureGame(SmallEncoder(PIXELS, start, dtype), **{"watchdog": None, **options})  # type: ignore[arg-type]


def column(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, 1, 1, 1)


def play_once(game: StructureGame, seed: int = 1, dtype: torch.dtype = D, **options: torch.Tensor) -> Play:
    """One play on the batch of this seed, with a made-up denoising gradient."""
    x0, x0_hat, sigma = batch_of(seed, dtype)
    return game.play(x0, x0_hat, sigma, images(seed + 90, BATCH, *SHAPE, dtype=dtype), **options)


def weights_of(module: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def close(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float = 1e-10) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))
