"""Networks, failures and money, against simulations and naive loops; and the page that states the formulas."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path

import pytest

from sadm.core.errors import UserError
from sadm.experiments.planning import failures, network
from sadm.experiments.planning.devices import DEVICES, Gpu, device_named
from sadm.experiments.planning.money import Hours
from sadm.experiments.planning.network import Cluster, all_reduce, gather, hops, structure_bytes, traffic
from sadm.experiments.planning.parallel import local_batch, shards
from sadm.training.parallel_config import ParallelConfig

PAGE = Path(__file__).parents[3] / "docs" / "plan.md"


def ring(pieces: int) -> tuple[int, int]:
    """Pieces that each process sends to sum, and to gather, what is cut into as many pieces as there are processes."""
    parts = [[{process} for _ in range(pieces)] for process in range(pieces)]
    sent = 0
    while any(len(parts[p][k]) < pieces for p in range(pieces) for k in [(p + 1) % pieces]):  # reduce-scatter
        moved = [((p - sent) % pieces, p) for p in range(pieces)]
        copies = [set(parts[p][k]) for k, p in moved]
        for (k, p), copy in zip(moved, copies, strict=True):
            parts[(p + 1) % pieces][k] |= copy
        sent += 1
    reduced = sent
    while any(len(part) < pieces for own in parts for part in own):  # gather
        copies = [[set(part) for part in own] for own in parts]
        for p in range(pieces):
            for k in range(pieces):
                if len(copies[p][k]) == pieces:
                    parts[(p + 1) % pieces][k] = {*range(pieces)}
        sent += 1
    return sent, reduced


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_a_ring_sends_what_the_formulas_say(count: int) -> None:
    reduced, scattered = ring(count)
    assert all_reduce(count, count) == pytest.approx(reduced)
    assert gather(count, count) == pytest.approx(scattered)


def test_traffic_by_strategy() -> None:
    weights, gradients = 1e9, 4e8
    cluster = Cluster(16, 8, link=100.0, network=10.0, latency=0.0)
    ddp = traffic(ParallelConfig(), cluster, weights, gradients, 0)
    assert ddp.weights == 2 * 15 / 16 * gradients
    assert ddp.weights_seconds == pytest.approx(ddp.weights / 10e9)
    fsdp = traffic(ParallelConfig(strategy="fsdp", accumulate=3), cluster, weights, gradients, 0)
    assert fsdp.weights == pytest.approx(3 * 15 / 16 * (2 * weights + gradients))
    hybrid = traffic(ParallelConfig(strategy="hybrid"), cluster, weights, gradients, 0)
    inside, across = 7 / 8 * (2 * weights + gradients), 2 * 1 / 2 * gradients / 8
    assert hybrid.weights == pytest.approx(inside + across)
    assert hybrid.weights_seconds == pytest.approx(inside / 100e9 + across / 10e9)
    alone = traffic(ParallelConfig(), Cluster(1), weights, gradients, structure_bytes(64, 64, None, 1))
    assert (alone.weights, alone.structure, alone.exposed(1.0)) == (0, 0, 0)


def test_traffic_hides_behind_the_backward_pass_and_the_structures_does_not() -> None:
    sent = network.Traffic(0, 0, weights_seconds=1.0, structure_seconds=0.25)
    assert sent.exposed(computing=0.75) == pytest.approx(0.5 + 0.25)
    assert sent.exposed(computing=10.0, taking_part=0.5) == pytest.approx(0.125)


def test_structure_traffic_grows_with_embeddings_never_with_images() -> None:
    assert structure_bytes(256, 64, None, 4) == 3 * 3 / 4 * 4 * 256 * 64
    assert structure_bytes(512, 64, None, 4) == 2 * structure_bytes(256, 64, None, 4)
    assert structure_bytes(10**6, 0, (32, 96), 4) == 2 * 3 / 4 * 4 * 128**2
    assert [hops(count) for count in (1, 2, 8, 1000)] == [0, 2, 6, 20]


def test_failures_cost_what_a_simulation_of_them_does() -> None:
    """A Poisson process of failures; saving and restarting can fail, too, as in Daly's model."""
    save, mtbf, restart, interval = 20.0, 500.0, 30.0, 120.0
    draws = random.Random(0)
    segments, elapsed = 4000, 0.0
    for _ in range(segments):
        left = draws.expovariate(1 / mtbf)
        while left < interval + save:  # lost: computed again after a restart, which may fail as well
            elapsed += left
            left = draws.expovariate(1 / mtbf)
            while left < restart:
                elapsed += left
                left = draws.expovariate(1 / mtbf)
            elapsed += restart
            left = draws.expovariate(1 / mtbf)
        elapsed += interval + save
    expected = failures.overhead(interval, save, mtbf, restart)
    assert elapsed / (segments * interval) - 1 == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("save", "mtbf"), [(1.0, 1000.0), (60.0, 3600.0), (100.0, 400.0)])
def test_dalys_interval_is_nearly_the_best(save: float, mtbf: float) -> None:
    best = min(failures.overhead(t * save / 10, save, mtbf, 60) for t in range(1, 2000))
    found = failures.overhead(failures.daly(save, mtbf), save, mtbf, 60)
    assert found <= 1.01 * best + 1e-3
    assert failures.young(save, mtbf) == math.sqrt(2 * save * mtbf)
    assert failures.daly(3 * mtbf, mtbf) == mtbf


def test_more_devices_fail_more_often() -> None:
    few, many = (failures.failures(1e10, count) for count in (8, 16384))
    assert few.mtbf_hours == pytest.approx(2048 * many.mtbf_hours)
    assert many.mtbf_hours == pytest.approx(54 * 24 / 419)
    assert few.daly_seconds > many.daly_seconds
    assert few.overhead < many.overhead


def test_money_is_of_all_devices() -> None:
    hours = Hours(training=10.0, sampling=1.0, lost=0.5, devices=4)
    assert (hours.elapsed, hours.paid, hours.price(2.0)) == (11.5, 46.0, 92.0)


def test_devices_have_sources_and_unknown_ones_are_refused() -> None:
    assert all("NVIDIA" in device.source for device in DEVICES.values())
    assert DEVICES["h100"].gpu("bfloat16").tflops == 989.4
    with pytest.raises(UserError, match="V100 .* has no tensor cores for bfloat16"):
        DEVICES["v100"].peak("bfloat16")
    with pytest.raises(UserError, match=r"unknown device 'h10'; there are v100, .*\(nearest: 'h100'\)"):
        device_named("h10")
    usual = Gpu()
    assert DEVICES["a100"].gpu("float32") == usual


def test_a_batch_is_spread() -> None:
    assert local_batch(ParallelConfig(accumulate=2), 100, 8) == 7  # of 100 images, 16 micro-batches have 6 or 7
    for parallel, batch, count, said in (
        (ParallelConfig(), 7, 8, "a batch of 7 can't be spread over 8 devices"),
        (ParallelConfig(accumulate=4), 31, 8, "in 4 micro-batches each: that needs at least 32 images"),
        (ParallelConfig(), 7, 0, "--count is 0"),
    ):
        with pytest.raises(UserError, match=said):
            local_batch(parallel, batch, count)
    assert [shards(ParallelConfig(strategy=strategy), 64, 8) for strategy in ("ddp", "fsdp", "hybrid")] == [1, 64, 8]


def test_the_page_states_the_formulas_of_the_code() -> None:
    """Each formula of docs/plan.md in a block marked `formula` is evaluated and compared with the function that it names."""
    text = PAGE.read_text(encoding="utf-8")
    values = {
        "N": 16,
        "G": 4e8,
        "W": 1e9,
        "B": 256,
        "d": 64,
        "D": 1152,
        "C": 1e10,
        "M": 5000.0,
        "R": 600.0,
        "t": 900.0,
        "a": 2,
    }
    values |= {"s": 20.0, "n": 8}
    exact = {
        "all_reduce": all_reduce(values["G"], 16),
        "gather": gather(values["W"], 16),
        "fsdp": traffic(
            ParallelConfig(strategy="fsdp", accumulate=2), Cluster(16), values["W"], values["G"], 0
        ).weights,
        "hybrid": traffic(
            ParallelConfig(strategy="hybrid", accumulate=2), Cluster(16), values["W"], values["G"], 0
        ).weights,
        "embeddings": structure_bytes(256, 64, None, 16),
        "grams": structure_bytes(256, 0, (64, 1152), 16),
        "young": failures.young(20.0, 5000.0),
        "daly": failures.daly(20.0, 5000.0),
        "overhead": failures.overhead(900.0, 20.0, 5000.0, 600.0),
    }
    found = dict(re.findall(r"^(\w+) = ([^\n]+)$", text, flags=re.MULTILINE))
    assert set(exact) <= set(found)
    for name, value in exact.items():
        stated = eval(found[name], {"sqrt": math.sqrt, "exp": math.exp}, values)  # noqa: S307 - our own page
        assert stated == pytest.approx(value, rel=1e-9), name
    for device in DEVICES:
        assert f"| {device} |" in text
