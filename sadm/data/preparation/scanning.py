"""Looking at every record of a listing, on all cores, going on where an earlier scan was stopped."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from sadm.core.errors import InterruptedRun
from sadm.core.stopping import StopRequest
from sadm.data.decoding import pillow_settings
from sadm.data.fitting import Fit
from sadm.data.preparation.facts import Facts
from sadm.data.preparation.journal import Journal
from sadm.data.preparation.looking import look
from sadm.data.records import Listing, Progress

_AHEAD = 4  # records a thread may be ahead of the one that is written down


def scan(
    listing: Listing,
    folder: Path,
    source: str,
    fit: Fit | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> list[Facts]:
    """Looks at every record once.

    Threads, not processes: decoding, averaging and hashing run without the interpreter's lock.

    Args:
        listing: of the source.
        folder: where what was found is written down as it is found; content that is still the same is not decoded again.
        source: identity of the source, so that two are not mixed in one folder.
        fit: its limit on pixels and its white level are heeded.
        jobs: threads; None = one for each core.
        progress: called with (records done, records in all).

    Returns:
        Facts of each record, in the order of the listing.

    Raises:
        InterruptedRun: stopped by Ctrl-C or SIGTERM; the same call goes on from there.
        UserError: the folder cannot be written, or holds the scan of another source.
    """
    fit = fit or Fit()
    journal = Journal(folder, source, fit.white_level)
    records, found = listing.records, list[Facts]()
    threads = jobs or os.cpu_count() or 1
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        stack.enter_context(pillow_settings(fit))
        stack.enter_context(journal.appending())
        pool = ThreadPoolExecutor(threads)
        stack.callback(pool.shutdown, cancel_futures=True)
        pending: deque[Future[Facts]] = deque()
        waiting = iter(records)
        while len(found) < len(records):
            while not stop.requested and len(pending) < _AHEAD * threads and (record := next(waiting, None)):
                pending.append(pool.submit(look, record, journal.known.get(record.name), fit))
            if not pending:
                raise InterruptedRun(
                    f"Stopped after {len(found)} of {len(records)} images. To go on, run the same command."
                )
            found.append(pending.popleft().result())
            journal.add(found[-1])
            if progress is not None:
                progress(len(found), len(records))
    journal.finish(found)
    return found
