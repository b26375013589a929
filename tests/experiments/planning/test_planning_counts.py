"""What is counted of a network and of a signal, against published figures, torch's counter on a real step, and real memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sadm.core.conditions import Cond
from sadm.core.config import merge
from sadm.core.errors import UserError
from sadm.experiments.planning.flops import count, counted, network_keys, network_of, taking_part
from sadm.experiments.planning.memory import kept, lasting_bytes
from sadm.experiments.planning.signals import probe_config, random_images, signal_cost
from sadm.experiments.planning.subject import base_for
from sadm.experiments.planning.tracking import LiveBytes
from sadm.finetuning.tuning import tune
from sadm.models.gelu import CHUNK, gelu_tanh
from sadm.structure import Schedule
from sadm.training.config import TrainConfig, load_train_config
from sadm.training.learner import Learner
from sadm.training.net_config import merge_training
from sadm.training.optimisers import block_matrices
from sadm.training.spec import ModelSpec, spec_for
from tiny import TINY, tiny_images

UNET = {"kind": "unet", "unet": {"channels": [8, 16], "layers": 1, "groups": 4}}
TABLE = {"s": ("1.4", 33), "b": ("5.6", 130), "l": ("19.7", 458)}
"""Table 1 and the sizes of 2212.09748 that are known for certain: Gflops with patches of 4, millions of parameters."""


def small_config(method: str = "full") -> TrainConfig:
    change = {} if method == "full" else {"start_from": "MODEL", "finetune": {"method": method, "rank": 2}}
    return load_train_config(overrides=merge(change, {"net": {"patch": 2, "width": 32, "depth": 2, "heads": 2}}))


def test_the_largest_published_network_has_its_published_parameters_and_operations() -> None:
    """DiT-XL/2 has 675 million parameters and 118.64 Gflops at 256x256 (2212.09748); 119 and 525 says its README."""
    for side, figures in ((256, ("118.64", "119")), (512, ("524.6", "525"))):
        base = base_for(f"imagenet{side}_dit_xl2")
        assert base.shape is not None
        counts = count(base.shape, base.config, 1000)
        for figure in figures:
            decimals = len(figure.partition(".")[2])
            assert f"{counts.published_gflops:.{decimals}f}" == figure
        assert round(counts.parameters / 1e6) == 675
        assert counts.output == (8, side // 8, side // 8)


@pytest.mark.parametrize("size", TABLE)
def test_smaller_published_networks_have_theirs(size: str) -> None:
    base = base_for(f"imagenet256_dit_{size}4")
    assert base.shape is not None
    counts = count(base.shape, base.config, 1000)
    assert f"{counts.published_gflops:.1f}" == TABLE[size][0]
    assert round(counts.parameters / 1e6) == TABLE[size][1]


@pytest.mark.parametrize("method", ["full", "difffit", "bitfit", "lora", "adapter"])
@pytest.mark.parametrize("side", [8, 16])
def test_a_network_without_numbers_counts_as_one_on_the_cpu(method: str, side: int) -> None:
    if method == "lora":
        pytest.importorskip("peft")
    config = small_config(method)
    counts = count((3, side, side), config, 5)
    assert counts == count((3, side, side), config, 5, whole=True)
    names = tuple("abcde")
    net = ModelSpec((3, side, side), config.net, 0.5, names, (1,) * 5, config.process.denoiser).network().train()
    tune(net, config.finetune)
    x, level, cond = torch.randn(1, 3, side, side), torch.randn(1), Cond(label=torch.tensor([4]))
    assert counted(net, x, level, cond) == counts
    assert counts.learning == sum(part.numel() for part in net.parameters() if part.requires_grad)


@pytest.mark.parametrize(("kind", "net"), [("adamw", {}), ("muon", {}), ("muon", UNET)])
def test_what_lasts_is_what_a_training_holds_to_the_byte(kind: str, net: dict[str, Any]) -> None:
    images = tiny_images()
    own = {"signal": "none", "optimiser": {"kind": kind}, **({"net": net} if net else {})}
    config = load_train_config(overrides=merge_training(TINY, own))
    learner = Learner(config, images, spec_for(images, config.net, config.process), [])
    learner.advance()
    net, whole = learner.denoiser.net, learner.optimiser.state_dict()
    states = [whole["state"]] if kind == "adamw" else [part["state"] for part in whole.values()]
    weights = [part.nbytes for part in net.parameters()]
    moments = [part.nbytes for state in states for entry in state.values() for part in entry.values()]
    average = [part.nbytes for part in learner.ema.module.parameters()]
    gradients = weights  # one for each, in the type of its parameter
    held = sum(weights) + sum(gradients) + sum(moments) + sum(average)
    assert lasting_bytes(count(images.shape, config, images.num_classes)) == held


@pytest.mark.parametrize("recompute", [False, True])
def test_the_operations_of_a_step_are_those_that_a_training_takes(recompute: bool) -> None:
    images = tiny_images()
    config = load_train_config(overrides=merge(TINY, {"signal": "none"}))
    learner = Learner(config, images, spec_for(images, config.net, config.process), [])
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        learner.advance()
    counts = count(images.shape, config, images.num_classes, recompute=recompute)
    taken = counter.get_total_flops() / config.optimiser.batch
    assert counts.step == taken if not recompute else taken < counts.step < taken + counts.forward


def test_the_operations_of_muon_are_those_of_its_step() -> None:
    images = tiny_images()
    config = load_train_config(overrides=merge(TINY, {"signal": "none", "optimiser": {"kind": "muon"}}))
    matrices = block_matrices(spec_for(images, config.net, config.process).build().net)
    for matrix in matrices:
        matrix.grad = torch.randn_like(matrix)
    counts = count(images.shape, config, images.num_classes)
    with FlopCounterMode(display=False) as counter:
        torch.optim.Muon(matrices).step()
    assert counter.get_total_flops() == counts.optimiser > 0
    assert count(images.shape, load_train_config(overrides=TINY), images.num_classes).optimiser == 0


@pytest.mark.parametrize("recompute", [False, True])
def test_what_fake_tensors_keep_is_what_real_ones_do(recompute: bool) -> None:
    """And a network of five blocks is what two smaller ones say."""
    config = probe_config(small_config(), net={"depth": 5})
    found = kept((3, 8, 8), config, 4, recompute=recompute)
    net, _, _, _ = network_of((3, 8, 8), network_keys(config), 1, recompute)
    x, level, cond = torch.randn(4, 3, 8, 8), torch.randn(4), Cond(label=torch.zeros(4, dtype=torch.int64))
    with LiveBytes() as tracker:
        output = net(x, level, cond)
        forward = tracker.held - output.nbytes
    assert found.kept(4) == forward
    assert kept((3, 8, 8), config, 4).kept(4) > 2 * forward if recompute else found.moment(4) > 0


@pytest.mark.parametrize("chunks", [0.5, 1.0, 3.2])
def test_of_a_gelu_in_chunks_without_numbers_one_says_what_all_hold(chunks: float) -> None:
    def held(x: torch.Tensor) -> tuple[int, int]:
        with LiveBytes() as tracker:
            y = gelu_tanh(x)
            kept = tracker.held
            y.sum().backward()
        return kept, tracker.peak

    size = round(chunks * CHUNK)
    with FakeTensorMode():
        without = held(torch.zeros(size, requires_grad=True))
    assert without == held(torch.zeros(size, requires_grad=True))


def test_live_bytes_are_those_of_storages_that_live() -> None:
    before = torch.ones(10)
    with LiveBytes() as tracker:
        before.add_(1)
        first = torch.ones(100)
        view = first[:50]
        second = first * 2
        assert tracker.held == 800
        del second
        assert (tracker.held, tracker.peak) == (400, 800)
        del first
        assert tracker.held == 400
        del view
    assert tracker.held == 0


def test_a_gram_gap_costs_what_its_products_do() -> None:
    """Of n tokens with features of d and D numbers: products [d, n] [n, d], [d, n] [n, D], [D, n] [n, D], and their backward."""
    config, shape = load_train_config(overrides={"net": {"patch": 4, "width": 64, "depth": 3}}), (1, 8, 8)
    counts = count(shape, config, 10)
    hidden = signal_cost(shape, config, 10, counts)
    assert hidden.gram is not None
    d, wide = hidden.gram
    forward = 2 * 4 * (d * d + d * wide + wide * wide)
    backward = 2 * 4 * (d * wide + 2 * wide * wide)
    encoder = signal_encoder(config, shape)
    assert hidden.operations == forward + backward + encoder
    assert signal_cost(shape, config.model_copy(update={"signal": "none"}), 10, counts).operations == 0


def signal_encoder(config: TrainConfig, shape: tuple[int, int, int]) -> float:
    from sadm.training.pretraining import build_encoder

    encoder, _ = build_encoder(shape, config.structure)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder(torch.zeros(2, *shape))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize(("every", "end"), [(1, 1.0), (2, 0.5), (3, 0.7), (7, 0.01)])
def test_the_share_of_steps_is_that_of_the_schedule(every: int, end: float) -> None:
    steps = 97
    config = load_train_config(overrides={"optimiser": {"steps": steps}, "structure": {"every": every, "end": end}})
    schedule = Schedule(round(config.structure.warmup * steps), round(end * steps))
    taken = sum(schedule.strength(step, every) > 0 for step in range(steps))
    assert taking_part(config) == taken / steps


def test_a_network_without_blocks_has_nothing_to_compute_again() -> None:
    pytest.importorskip("diffusers")
    config = load_train_config(overrides={"net": {"kind": "unet"}})
    with pytest.raises(UserError, match="--parallel.recompute is about a network of blocks"):
        count((1, 8, 8), config, 0, recompute=True)
    assert count((1, 8, 8), config, 3).parameters == count((1, 8, 8), config, 3, whole=True).parameters


def test_random_images_have_classes_in_turn() -> None:
    images = random_images((1, 4, 4), 3, 5)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 1, 2, 0, 1]
