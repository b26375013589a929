"""Batches made ahead in background threads, while the caller works on the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

from sadm.core.errors import UserError

T = TypeVar("T")

_AHEAD = 2  # results in store for each worker: one being made, one ready


class Prefetcher(Generic[T]):
    """Calls `make` for the steps to come in threads, so that `get` finds its result ready.

    What `get` returns is what ``make(step)`` returns, for any number of workers: they change when something is made, never what.
    Threads serve, rather than processes, because torch copies and converts without the interpreter's lock.

    Use as a context manager, or call `close`.

    Args:
        make: gives the result of a step; called from several threads at once where there are several workers.
        workers: threads. At most two results for each are held or being made, beside the one that the caller has.

    Raises:
        UserError: there is no worker.
    """

    def __init__(self, make: Callable[[int], T], workers: int = 1) -> None:
        if workers < 1:
            raise UserError(f"a prefetcher with {workers} workers was asked for; expected at least 1.")
        self.make = make
        self._ahead = _AHEAD * workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
        self._pending: deque[tuple[int, Future[T]]] = deque()  # consecutive steps

    def get(self, step: int) -> T:
        """The result of `step` >= 0, which is expected to be one more than last time; any other starts afresh from there.

        Raises:
            Exception: what `make` raised for this step; asked for again, the step is made again.
        """
        if self._pending and self._pending[0][0] != step:
            self._drop()
        self._fill(step)
        _, current = self._pending.popleft()
        try:
            result = current.result()
        except BaseException:  # of `make`, or Ctrl-C while waiting: what comes after may never be asked for
            self._drop()
            raise
        self._fill(step + 1)
        return result

    def close(self) -> None:
        """Ends the threads, after what they are making now; may be called again."""
        self._drop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Prefetcher[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fill(self, first: int) -> None:
        """Makes up for what was taken, `first` being the step that comes next."""
        for step in range(first + len(self._pending), first + self._ahead):
            self._pending.append((step, self._pool.submit(self.make, step)))

    def _drop(self) -> None:
        for _, future in self._pending:
            future.cancel()
        self._pending.clear()
