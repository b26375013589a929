"""A calibration finds a machine's law where times follow one, says what it measured, and a plan is put together from it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from sadm.core.errors import UserError
from sadm.experiments.planning import calibration
from sadm.experiments.planning.calibration import Calibration, calibrate
from sadm.experiments.planning.devices import DEVICES, Gpu
from sadm.experiments.planning.flops import count
from sadm.experiments.planning.network import Cluster
from sadm.experiments.planning.plan import Plan, plan
from sadm.experiments.planning.subject import Subject, base_for, subject_of
from sadm.experiments.planning.table import lines_of
from sadm.training.config import OptimiserConfig, TrainConfig, load_train_config
from sadm.training.parallel_config import ParallelConfig

SMALL = {"net": {"patch": 4, "width": 32, "depth": 5, "heads": 2}, "optimiser": {"steps": 10, "batch": 8}}


def subject(**changes: Any) -> Subject:
    base = base_for(None)
    return subject_of(base, load_train_config(overrides={**SMALL, **changes}))


def law(learners: dict[str, Any], *_: object) -> dict[str, float]:
    """Seconds of a step: 2 and 3 for each block; 0.5 more with a signal, 0.1 if its features are kept."""
    extra = {"fresh": 0.5, "cached": 0.1}
    return {name: 2 + 3 * learner.config.net.depth + extra.get(name, 0) for name, learner in learners.items()}


def test_a_whole_network_lies_on_the_line_through_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_timed", law)
    monkeypatch.setattr(calibration, "_process_memory", lambda *_: (100.0, 1.25))
    found = calibrate(subject(), device="cpu")
    assert found.step_seconds == pytest.approx(2 + 3 * 5)
    assert (found.signal_seconds, found.cached_seconds) == (pytest.approx(0.5), pytest.approx(0.1))
    assert found.measured == {"less": 5, "more": 17, "fresh": 5.5, "cached": 5.1}
    assert found.batch == 8
    plain = calibrate(subject(signal="none"), device="cpu")
    assert (plain.signal_seconds, plain.pretrain_seconds) == (0, 0)
    assert set(plain.measured) == {"less", "more"}
    flipped = calibrate(subject(data={"flip": True}), device="cpu")  # each image is new each time
    assert "cached" not in flipped.measured
    assert flipped.cached_seconds == flipped.signal_seconds


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_network_that_is_too_large_is_tried_with_fewer_blocks(monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
    monkeypatch.setattr(calibration, "_timed", law)
    monkeypatch.setattr(calibration, "_process_memory", lambda *_: (100.0, 1.0))
    own = subject(signal="none", net={**SMALL["net"], "depth": depth})
    steps = 8 * count(own.shape, own.config, own.classes).step / 1e9
    monkeypatch.setattr(calibration, "STEP_GFLOP", 0.999 * steps)
    found = calibrate(own, device="cpu")
    assert found.measured == {"less": 5, "more": {1: 8, 2: 8, 5: 11}[depth]}
    assert found.step_seconds == pytest.approx((2 + 3 * depth) * 8 / found.batch)


def test_batches_that_are_too_long_are_tried_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_timed", law)
    monkeypatch.setattr(calibration, "_process_memory", lambda *_: (100.0, 1.0))
    monkeypatch.setattr(calibration, "STEP_GFLOP", 1e-6)
    found = calibrate(subject(signal="none"), device="cpu")
    assert found.batch == 2
    assert found.step_seconds == pytest.approx((2 + 3 * 5) * 8 / 2)


def test_what_muon_takes_more_does_not_grow_with_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second for each number of a matrix; five blocks of an attention, an MLP and a modulation of width 32."""
    monkeypatch.setattr(calibration, "_timed", law)
    monkeypatch.setattr(calibration, "_process_memory", lambda *_: (100.0, 1.0))
    monkeypatch.setattr(calibration, "STEP_GFLOP", 1e-6)
    monkeypatch.setattr(calibration, "_longer", lambda size, count, config, device: count * size[0] * size[1])
    found = calibrate(subject(signal="none", optimiser={**SMALL["optimiser"], "kind": "muon"}), device="cpu")
    matrices = 32 * 32 * (3 + 1 + 4 + 4 + 6)
    assert found.step_seconds == pytest.approx((2 + 3 * 5) * 8 / 2 + 5 * matrices)


def test_a_step_of_muon_takes_longer() -> None:
    """Not how much longer: eight matrix products of 256 rows against none."""
    longer = calibration._longer((256, 1024), 8, OptimiserConfig(kind="muon"), torch.device("cpu"))
    assert longer > 0


def test_a_plan_with_muon_has_its_operations_and_fewer_moments() -> None:
    adamw, muon = (
        plan(subject(optimiser={**SMALL["optimiser"], "kind": kind}), DEVICES["a100"].gpu("float32"), Cluster(1))
        for kind in ("adamw", "muon")
    )
    moved = 5 * 32 * 32 * (3 + 1 + 4 + 4 + 6)
    assert adamw.memory.moments - muon.memory.moments == 4 * (
        moved + 5 * 5
    )  # a moment of each, and a counter of a matrix
    assert adamw.checkpoint - muon.checkpoint == 4 * (moved + 5 * 5)
    assert muon.step.plain - adamw.step.plain == muon.counts.optimiser > 0
    assert muon.hours.training > adamw.hours.training
    assert "for Muon" in "\n".join(lines_of(muon))
    assert "for Muon" not in "\n".join(lines_of(adamw))


def test_the_mean_step_is_that_of_the_schedule() -> None:
    found = Calibration("cpu", 1.0, 0.5, 0.1, 0.0, None, 1.0, {}, 8)
    # 10 steps of 8 images, in every second of which the signal sees 8 of 20 images: half of what it sees is new.
    own = dataclasses.replace(subject(structure={"every": 2}), images=20)
    assert found.mean_step(own) == pytest.approx(1 + 0.5 * (0.5 * 0.5 + 0.5 * 0.1))
    assert found.mean_step(dataclasses.replace(own, images=None)) == pytest.approx(1.25)
    assert found.mean_step(subject(signal="none")) == 1.0


def test_a_real_calibration_measures_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SLICE", 0.0)
    own = subject()
    found = calibrate(own, seconds=0.0, device="cpu")
    assert found.measured["less"] > 0
    assert found.base_mib is not None
    assert found.base_mib > 50
    assert found.allocator >= 1
    gpu = calibration.machine(found, own, 8)
    whole = plan(own, gpu, Cluster(1), calibration=found)
    assert whole.process_mib is not None
    assert whole.process_mib == pytest.approx(found.base_mib + found.allocator * whole.memory.total / 2**20)
    assert whole.step.seconds == found.mean_step(own)


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(UserError, match="this machine can't be measured: "):
        calibration.measured_apart(dataclasses.replace(subject(), shape=(1, 7, 7)), subject().config)


def planned(config: TrainConfig | None = None, devices: int = 1, **parallel: Any) -> Plan:
    base = base_for(None)
    own = subject_of(base, config or load_train_config(overrides=SMALL))
    return plan(own, DEVICES["a100"].gpu("float32"), Cluster(devices), ParallelConfig(**parallel))


def test_hours_follow_from_operations() -> None:
    found, gpu = planned(), Gpu()
    each = found.step.plain + found.step.taking_part * found.step.structure
    assert found.hours.training == pytest.approx(10 * gpu.hours(each))
    assert found.step.plain == 8 * found.counts.step
    assert found.hours.lost == pytest.approx(found.hours.training * found.failures.overhead)
    two = planned(devices=2)
    assert two.step.computing == pytest.approx(found.step.computing / 2)
    assert two.step.waiting > 0 == found.step.waiting


def test_memory_by_strategy() -> None:
    one, ddp, fsdp = planned(), planned(devices=4), planned(devices=4, strategy="fsdp")
    for part in ("weights", "gradients", "moments", "averages"):
        assert getattr(fsdp.memory, part) == pytest.approx(getattr(ddp.memory, part) / 4)
        assert getattr(ddp.memory, part) == getattr(one.memory, part)
    assert ddp.memory.buckets == ddp.memory.gradients
    assert one.memory.buckets == 0
    assert planned(accumulate=4).memory.activations == pytest.approx(one.memory.activations / 4)
    assert planned(recompute=True).memory.activations < one.memory.activations / 2
    assert planned(precision="bfloat16").memory.weights == one.memory.weights
    facts = one.as_dict()
    assert facts["memory"]["total"] == pytest.approx(sum(v for k, v in facts["memory"].items() if k != "total"))
    assert facts["checkpoint_bytes"] > 16 * one.counts.learning


def test_what_says_the_shape() -> None:
    assert subject().shape == (1, 8, 8)
    assert subject(data={"resolution": 16, "channels": 3}).shape == (3, 16, 16)
    assert subject(data={"source": "images", "resolution": 64, "autoencoder": "vae"}).shape == (4, 8, 8)
    with pytest.raises(UserError, match="nothing says how large the images of my/images become: give"):
        subject(data={"source": "my/images"})
    base = base_for("imagenet512_dit_b8")
    assert (base.shape, base.classes, base.config.net.patch) == ((4, 64, 64), 1000, 8)
    with pytest.raises(UserError, match=r"unknown recipe 'digit'; .*nearest: 'digits'"):
        base_for("digit")
    with pytest.raises(UserError, match="--arm is about an experiment"):
        base_for("digits", arm="plain")
