"""The contestants do the same work, and the arithmetic of `benchmarks.throughput`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
import torch

from benchmarks.throughput import __main__ as command
from benchmarks.throughput import page
from benchmarks.throughput.diffusers_dit import DiffusersLoop
from benchmarks.throughput.measure import (
    AS_USUAL,
    CONTESTANTS,
    Effort,
    Manner,
    against_better_peer,
    as_precise,
    build,
    interleaved,
    made_up_data,
    rate_against_peak,
    train_flops,
)
from benchmarks.throughput.memory import TINY, main
from benchmarks.throughput.ours import Ours
from benchmarks.throughput.plain_dit import TIMES, PlainLoop
from benchmarks.throughput.shapes import Shape, shapes

CPU = torch.device("cpu")
SHAPE = Shape((2, 16, 16), 4, 32, 2, 4, 5, train_batch=4, sample_batch=3, sample_steps=3, guidance_scale=2.0)


def plain_loop(shape: Shape = SHAPE) -> PlainLoop:
    """With weights that depend on the condition, which those at initialisation might not."""
    torch.manual_seed(0)
    return PlainLoop(shape, *made_up_data(shape, CPU))


def test_the_plain_loops_loss_is_the_error_of_the_noise_of_a_linear_schedule() -> None:
    loop = plain_loop()
    x0, noise = torch.randn(4, 2, 16, 16), torch.randn(4, 2, 16, 16)
    y, t = torch.tensor([0, 1, 2, 5]), torch.tensor([0, 10, 500, TIMES - 1])
    errors = []
    for i in range(4):
        kept = 1.0
        for step in range(int(t[i]) + 1):
            kept *= 1 - (1e-4 + (0.02 - 1e-4) * step / (TIMES - 1))
        noisy = kept**0.5 * x0[i] + (1 - kept) ** 0.5 * noise[i]
        errors.append((loop.model(noisy[None], t[i : i + 1], y[i : i + 1])[0] - noise[i]).square().mean())
    assert float(loop.loss(x0, y, t, noise).detach()) == pytest.approx(
        float(torch.stack(errors).mean().detach()), rel=1e-4
    )


def test_the_plain_loop_learns() -> None:
    loop = plain_loop()
    x0, y, t, noise = torch.randn(4, 2, 16, 16), torch.arange(4), torch.full((4,), 300), torch.randn(4, 2, 16, 16)
    before = float(loop.loss(x0, y, t, noise).detach())
    for group in loop.optimiser.param_groups:
        group["lr"] = 1e-3
    for _ in range(60):
        loop.train_step()
    assert float(loop.loss(x0, y, t, noise).detach()) < 0.9 * before
    average, current = next(loop.ema.parameters()), next(loop.model.parameters())
    assert not torch.equal(average, current)


def test_contestants_have_the_same_network_but_for_the_embedders_of_diffusers() -> None:
    ours, theirs, plain = ({n: p.numel() for n, p in c.model.named_parameters()} for c in build(SHAPE, CPU))
    fixed_positions = SHAPE.width * 16  # a parameter without gradient in the plain loop, a buffer in the others
    assert sum(ours.values()) == sum(plain.values()) - fixed_positions
    inside_blocks = sum(
        count for name, count in theirs.items() if ".norm1.emb." in name
    )  # one for each block, not one in all
    assert inside_blocks > 0
    assert sum(theirs.values()) - inside_blocks + inside_blocks // SHAPE.depth == sum(ours.values())


def test_operations_of_a_step_are_those_of_its_products() -> None:
    d, tokens, batch, pixels = SHAPE.width, 16, SHAPE.train_batch, SHAPE.image[0] * SHAPE.patch**2
    per_token = SHAPE.depth * 12 * d * d + pixels * d  # qkv, projection, MLP; output
    per_image = SHAPE.depth * 6 * d * d + 2 * d * d + 256 * d + d * d  # modulation of blocks and output; time
    attention = SHAPE.depth * 2 * tokens * tokens * d
    forward = 2 * batch * (tokens * per_token + per_image + attention)
    images = 2 * batch * tokens * pixels * d  # no gradient of the image is asked for: forward and weights only
    time = 2 * batch * 256 * d  # nor of the time's frequencies
    assert train_flops(plain_loop()) == 3 * forward + 2 * images - time


@pytest.mark.parametrize("shape", [SHAPE, TINY])
def test_all_contestants_count_alike(shape: Shape) -> None:
    counts = {c.name: train_flops(c) for c in build(shape, CPU)}
    assert counts[Ours.name] == counts[PlainLoop.name] <= counts[DiffusersLoop.name] < 1.5 * counts[Ours.name]


@pytest.mark.parametrize("kind", CONTESTANTS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_samples_are_a_batch_of_finite_images(kind: type, scale: float) -> None:
    (contestant,) = build(dataclasses.replace(SHAPE, guidance_scale=scale), CPU, (kind,))
    contestant.train_step()
    images = contestant.sample()
    assert images.shape == (3, 2, 16, 16)
    assert bool(images.isfinite().all())


def test_the_ratio_is_the_median_over_turns_against_the_faster_peer() -> None:
    seconds = {"sadm": [1.0, 2.0, 4.0], "a": [2.0, 3.0, 40.0], "b": [1.5, 4.0, 8.0]}  # ratios 2, 1.5, 10 and 1.5, 2, 2
    assert against_better_peer(seconds) == 2.0
    assert against_better_peer({**seconds, "c": [0.5, 4.0, 2.0]}) == 0.5


def test_turns_go_round_and_stop_when_the_time_is_up() -> None:
    calls: list[str] = []

    def work(name: str) -> Callable[[], None]:
        return lambda: calls.append(name)

    found = interleaved({"a": work("a"), "b": work("b")}, Effort(turns=3, slice_seconds=0.0), CPU)
    assert calls == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert {name: len(turns) for name, turns in found.items()} == {"a": 3, "b": 3}


def test_utilisation_is_operations_a_second_over_the_peak() -> None:
    found = {"contestants": {"sadm": {"train_flops": 300, "train_seconds": 2.0}}}
    rate_against_peak(found, 600.0)
    assert found["flop_utilisation"] == found["contestants"]["sadm"]["flop_utilisation"] == 0.25


def test_quick_shapes_keep_the_network_and_are_small() -> None:
    for shape in shapes().values():
        quick = shape.quick()
        assert (quick.width, quick.patch, quick.image) == (shape.width, shape.patch, shape.image)
        assert quick.train_batch <= shape.train_batch
        assert quick.sample_steps <= shape.sample_steps


def test_quick_prints_what_it_promises_and_the_page_shows_it() -> None:
    found = json.loads(json.dumps(command.quick(chosen={"s2": SHAPE, "digits": TINY})))
    assert set(found["shapes"]) == {"s2", "digits"}
    for shape in found["shapes"].values():
        assert {"train_ratio", "sample_ratio", "flop_utilisation", "blocks", "train_batch"} <= shape.keys()
        assert 0 < shape["flop_utilisation"] < 1
        assert shape["turns"]["train"] >= 3
    assert found["matmul_peak_gflops"] > 0
    lines = page.table(found)
    assert sum("| 14-line loop |" in line for line in lines) == 2
    assert "1 thread; torch" in lines[0]


@pytest.mark.parametrize("kind", CONTESTANTS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("manner", [AS_USUAL, Manner(bfloat16=True)])
def test_products_of_every_contestant_are_in_the_precision_asked_for(kind: type, manner: Manner) -> None:
    (contestant,), seen = build(SHAPE, CPU, (kind,)), set()
    for module in contestant.model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    for work in (contestant.train_step, contestant.sample):
        as_precise(work, CPU, manner.dtype(CPU))()
    assert seen == {torch.bfloat16 if manner.bfloat16 else torch.float32}


def test_a_result_in_bfloat16_says_so_and_has_a_name_of_its_own() -> None:
    manner = Manner(bfloat16=True)
    effort = Effort(turns=3, slice_seconds=0.0, peak_seconds=0.0, peak_shapes=1)
    found = command.measure_all({"digits": TINY}, effort, {}, manner)
    assert found["precision"] == "bfloat16 autocast"
    assert "bfloat16 autocast; matrix product" in page.table(found)[0]
    assert (AS_USUAL.suffix, manner.suffix, Manner(True, True).suffix) == ("", "-bfloat16", "-compiled-bfloat16")


def test_shapes_are_added_to_a_stored_result() -> None:
    effort = Effort(turns=3, slice_seconds=0.0, peak_seconds=0.0, peak_shapes=1)
    first = command.measure_all({"digits": TINY}, effort, {}, AS_USUAL)
    kept: list[str] = []
    both = command.measure_all(
        {"s2": TINY}, effort, {**first, "matmul_peak_gflops": 1e6}, AS_USUAL, lambda found: kept.extend(found["shapes"])
    )
    assert kept == ["digits", "s2"]
    assert both["matmul_peak_gflops"] == 1e6  # a peak that was seen once counts for all
    assert both["shapes"]["digits"]["flop_utilisation"] < 1e-3


@pytest.mark.parametrize("kind", CONTESTANTS, ids=lambda kind: kind.name)
def test_peak_memory_is_printed(
    kind: type, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.throughput.memory.shapes", lambda: {"tiny": TINY})
    main(kind.name, "tiny")
    assert float(capsys.readouterr().out) >= 0


def test_nothing_stored_gives_no_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "result_names", lambda benchmark: [])
    assert page.section() is None
