"""Making batches ahead changes when they are made, and nothing else."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from sadm.core.errors import UserError
from sadm.data import BatchStream, ImageSet, Prefetcher

PATIENCE = 10.0  # seconds until a thread that does not come is given up


def stream() -> BatchStream:
    pixels = torch.randint(0, 256, (17, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = ImageSet(pixels, torch.arange(17) % 3, ("a", "b", "c"), tuple(map(str, range(17))), "stream")
    return BatchStream(images, 6, seed=2, flip=True)


def waited_for(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")}


class Calls:
    """Remembers for which steps it was called."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def __call__(self, step: int) -> int:
        self.steps.append(step)
        return step * step


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_batches_are_those_of_the_stream(workers: int) -> None:
    alone = stream()
    with Prefetcher(stream().batch, workers) as ahead:
        for step in [*range(20), 7, 8, 9, 3, 10**9, 10**9 + 1, 0, 0]:  # in order, from elsewhere, and once more
            batch, expected = ahead.get(step), alone.batch(step)
            assert torch.equal(batch.x0, expected.x0)
            assert torch.equal(batch.index, expected.index)
            assert batch.cond.label is not None
            assert expected.cond.label is not None
            assert torch.equal(batch.cond.label, expected.cond.label)


@pytest.mark.parametrize("workers", [1, 3])
def test_few_are_made_ahead(workers: int) -> None:
    calls = Calls()
    with Prefetcher(calls, workers) as ahead:
        for step in (4, 5):
            assert ahead.get(step) == step * step
            last = step + 2 * workers
            assert waited_for(lambda last=last: len(calls.steps) == last - 3)
            time.sleep(0.02)  # for one too many, if there was one
            assert sorted(calls.steps) == list(range(4, last + 1))


def test_they_are_made_while_the_caller_works() -> None:
    made = threading.Event()

    def make(step: int) -> int:
        if step == 1:
            made.set()
        return step

    with Prefetcher(make) as ahead:
        ahead.get(0)
        assert made.wait(PATIENCE)


def test_an_error_arrives_with_its_step_and_work_can_go_on() -> None:
    calls = Calls()

    def make(step: int) -> int:
        if step == 3 and calls.steps.count(3) == 0:
            calls(step)
            raise UserError("image 'a.png' was removed during the run.")
        return calls(step)

    with Prefetcher(make, 2) as ahead:
        assert [ahead.get(step) for step in range(3)] == [0, 1, 4]
        with pytest.raises(UserError, match=r"'a\.png' was removed"):
            ahead.get(3)
        assert [ahead.get(step) for step in (3, 4)] == [9, 16]


def test_an_error_of_a_step_that_nobody_asks_for_is_not_raised() -> None:
    def make(step: int) -> int:
        if step > 2:
            raise RuntimeError("past the end")
        return step

    with Prefetcher(make, 2) as ahead:
        assert [ahead.get(step) for step in range(3)] == [0, 1, 2]


@pytest.fixture
def ctrl_c_raises() -> Iterator[None]:
    """Whatever started the tests: a shell lets commands in its background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_raises")
def test_ctrl_c_while_waiting_ends_the_threads() -> None:
    stuck, go_on = threading.Event(), threading.Event()

    def make(step: int) -> int:
        if step == 5:  # the thread runs for long by then, and the caller comes to wait for this very step
            stuck.set()
            go_on.wait(PATIENCE)
        return step

    def interrupt() -> None:
        stuck.wait(PATIENCE)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
        go_on.set()

    def work() -> None:
        with Prefetcher(make) as ahead:
            for step in range(7):
                ahead.get(step)

    before = threads()
    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        work()
    other.join()
    assert threads() == before


def test_closing_ends_the_threads_and_may_be_repeated() -> None:
    before = threads()
    ahead = Prefetcher(Calls(), 3)
    ahead.get(0)
    assert len(threads() - before) >= 1
    ahead.close()
    ahead.close()
    assert threads() == before


def test_a_prefetcher_without_workers_is_refused() -> None:
    with pytest.raises(UserError, match="0 workers was asked for; expected at least 1"):
        Prefetcher(Calls(), 0)
