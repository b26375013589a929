"""AdamW and Muon: what each moves, and how; that they resume to the same bits; what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sadm.cli.main import run
from sadm.core.errors import UserError
from sadm.training.checkpoint import load_checkpoint, save_checkpoint
from sadm.training.config import OptimiserConfig
from sadm.training.learner import learning_rate_at
from sadm.training.muon import StackedMuon
from sadm.training.optimisers import BETAS, Together, block_matrices, build_optimiser
from tiny import equal_bits, tiny_config, tiny_images, tiny_learner

MUON = OptimiserConfig(kind="muon", learning_rate=0.01)


def network(**more: nn.Module) -> nn.ModuleDict:
    torch.manual_seed(0)
    block = nn.ModuleDict({"wide": nn.Linear(5, 12), "narrow": nn.Linear(12, 5, bias=False), **more})
    return nn.ModuleDict(
        {
            "first": nn.Linear(5, 5),
            "blocks": nn.ModuleList([block]),
            "table": nn.Embedding(4, 5),
            "last": nn.Linear(5, 3),
        }
    )


def with_gradients(net: nn.Module, seed: int) -> nn.Module:
    draws = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draws)
    return net


def test_muon_moves_the_matrices_and_convolutions_of_blocks_and_adamw_everything_else() -> None:
    net = network(conv=nn.Conv2d(1, 2, 3))
    optimiser = build_optimiser(net, MUON)
    assert isinstance(optimiser, Together)
    block = net["blocks"][0]
    assert [id(part) for part in optimiser.parts["muon"].param_groups[0]["params"]] == [
        id(block["wide"].weight),
        id(block["narrow"].weight),
        id(block["conv"].weight),
    ]
    everything = [id(part) for group in optimiser.param_groups for part in group["params"]]
    assert sorted(everything) == sorted(map(id, net.parameters()))


def test_a_first_step_of_muon_is_nearly_orthogonal_and_as_long_as_one_of_adamw() -> None:
    """Against the singular value decomposition: the directions of the gradient, all of them alike up to the iteration's error."""
    net = with_gradients(network(), 1)
    matrices = block_matrices(net)
    before = [matrix.detach().clone() for matrix in matrices]
    build_optimiser(net, MUON).step()
    for matrix, old in zip(matrices, before, strict=True):
        assert matrix.grad is not None
        step = (old - matrix.detach()).double() / (0.01 * 0.2 * max(matrix.shape) ** 0.5)
        u, _, v = torch.linalg.svd(matrix.grad.double(), full_matrices=False)
        turned = u.T @ step @ v.T
        assert turned.diagonal().min() > 0.65
        assert turned.diagonal().max() < 1.25
        assert (turned - turned.diagonal().diag()).abs().max() < 0.05


@pytest.mark.parametrize(("kind", "apart"), [("adamw", 0.0), ("muon", 0.02)])
def test_steps_are_those_of_torchs_optimisers_apart(kind: str, apart: float) -> None:
    """Bit for bit; of Muon, whose iteration torch runs in bfloat16, as far as that is exact."""
    config = OptimiserConfig(kind=kind, learning_rate=0.01, weight_decay=0.1)
    ours, theirs = network(), network()
    optimiser = build_optimiser(ours, config)
    matrices = block_matrices(theirs) if kind == "muon" else []
    rest = [part for part in theirs.parameters() if all(part is not matrix for matrix in matrices)]
    expected: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=0.01, betas=BETAS, weight_decay=0.1, fused=True),
    ]
    if matrices:
        expected.append(torch.optim.Muon(matrices, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
    for step in range(3):
        with_gradients(ours, step)
        with_gradients(theirs, step)
        for each in (optimiser, *expected):
            each.step()
            each.zero_grad()
    assert all(part.grad is None for part in ours.parameters())
    start, turned = network().state_dict(), {id(matrix) for matrix in block_matrices(ours) if kind == "muon"}
    for (name, own), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if id(own) in turned:
            moved = (other - start[name]).abs().max()
            assert 0 < (own - other).abs().max() < apart * moved
        else:
            assert torch.equal(own, other)


def test_a_training_with_muon_resumes_bit_for_bit(tmp_path: Any) -> None:
    config, images = tiny_config(signal="none", optimiser={"kind": "muon"}), tiny_images()
    whole = tiny_learner(config, images)
    for _ in range(4):
        whole.advance()
    save_checkpoint(tmp_path / "step", whole.state_dict())
    restored = tiny_learner(config, images)
    restored.load_state_dict(load_checkpoint(tmp_path / "step"))
    for _ in range(4):
        whole.advance()
        restored.advance()
    assert equal_bits(whole.denoiser.net.state_dict(), restored.denoiser.net.state_dict())
    rates = {group["lr"] for group in restored.optimiser.param_groups}
    assert rates == {learning_rate_at(7, config.optimiser)}


def test_without_a_signal_the_optimiser_alone_tells_two_trainings_apart() -> None:
    images = tiny_images()
    learners = [
        tiny_learner(tiny_config(signal="none", optimiser={"kind": kind}), images) for kind in ("adamw", "muon")
    ]

    def differing() -> set[str]:
        first, second = (learner.denoiser.net.state_dict() for learner in learners)
        return {name for name in first if not torch.equal(first[name], second[name])}

    for learner in learners:
        learner.advance()
    assert not differing()  # a network that begins as the zero function has no gradient in its blocks yet
    for learner in learners:
        learner.advance()
    assert differing()
    assert all(name.startswith("blocks.") and name.endswith("weight") for name in differing())


@pytest.mark.parametrize("units", [False, True])
def test_large_matrices_are_turned_in_bfloat16_where_a_processor_has_units_for_it(
    units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units}, raising=False)

    def chosen(rows: int, columns: int) -> type:
        net = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(columns, rows), nn.Linear(4, 4)])})
        return type(build_optimiser(net, MUON).parts["muon"])

    assert chosen(4 * 128, 128) is StackedMuon
    assert chosen(129, 4 * 129) is (torch.optim.Muon if units else StackedMuon)
    net = nn.ModuleDict({"blocks": nn.ModuleList([nn.Conv2d(200, 200, 3)])})
    assert type(build_optimiser(net, MUON).parts["muon"]) is StackedMuon  # torch's takes no convolution
    monkeypatch.delattr(torch.optim, "Muon")  # as before torch 2.9
    assert chosen(129, 4 * 129) is StackedMuon


def test_what_muon_can_not_do_is_refused() -> None:
    with pytest.raises(UserError, match="works on whole matrices, and --parallel.strategy shares them out"):
        build_optimiser(network(), MUON, sharded=True)
    for matrix in block_matrices(frozen := network()):
        matrix.requires_grad_(False)
    with pytest.raises(UserError, match="none of them learns. Use adamw"):
        build_optimiser(frozen, MUON)
    with pytest.raises(UserError, match="none of them learns. Use adamw"):
        build_optimiser(nn.Linear(3, 3), MUON)


def test_muon_on_the_command_line(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    short = "--net.width=16 --net.depth=1 --optimiser.steps=3 --sampling.steps=2 --signal=none".split()
    command = ["train", "--data", "digits", *short, "--optimiser.kind", "muon"]
    assert run([*command, "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    capsys.readouterr()
    assert run([*command, "--optimiser.decay", "linear", "--out", str(tmp_path / "run")]) == 2
    assert "optimiser.decay" in capsys.readouterr().err


@pytest.mark.parametrize(("step", "expected"), [(0, 0.5), (1, 1.0), (2, 1.0), (6, 0.5), (9, 0.125), (20, 0.0)])
def test_a_straight_way_down(step: int, expected: float) -> None:
    config = OptimiserConfig(learning_rate=1.0, steps=10, warmup_steps=2, decay="linear")
    assert learning_rate_at(step, config) == pytest.approx(expected)
