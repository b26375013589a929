"""Parquet files with a column of encoded images, as `datasets`, pandas and the hub write them; read in small batches."""

from __future__ import annotations

import bisect
import collections
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sadm.core.errors import UserError
from sadm.core.optional import import_optional
from sadm.data.records import Content, Listing, Progress, Unreadable
from sadm.data.sources.address import Address, RowsLeft
from sadm.data.sources.columns import Plan, Reach, Rows, cell_bytes, is_null, list_splits, masks_of, plan_columns
from sadm.data.sources.words import first_line, parts_of_files

MAGIC = b"PAR1"
DATA = "data"  # folder of the files in clones of the hub's repositories
_BATCH = 16  # rows read at a time
_KEPT = 64  # rows kept, since threads ask for them nearly but not quite in order


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files of a folder, or of its folder `DATA`; sorted."""
    for place in (folder, folder / DATA):
        files = sorted(place.glob("*.parquet"))
        if files:
            return files
    return []


def list_parquet(address: Address, files: Sequence[Path], progress: Progress | None = None) -> Listing:
    """Lists the rows of Parquet files; see `parts_of_files` for which are held out.

    Raises:
        UserError: a file is damaged, or its columns do not say what the images are.
    """
    datasets = import_optional("datasets", "hub", "reading Parquet files")
    parquet = import_optional("pyarrow.parquet", "hub", "reading Parquet files")
    parts = parts_of_files([path.as_posix() for path in files])
    left = RowsLeft(address)
    plan: Plan | None = None
    splits = []
    for done, (path, part) in enumerate(zip(files, parts, strict=True), 1):
        if left.of(part) == 0:
            continue
        with _errors_of(path), parquet.ParquetFile(path) as file:
            plan = plan or plan_columns(datasets.Features.from_arrow_schema(file.schema_arrow), address)
            rows = _rows(parquet, path, part, file, plan, left.of(part))
        splits.append(rows)
        left.take(part, len(rows.images))
        if progress is not None:
            progress(done, len(files))
    assert plan is not None  # noqa: S101 - there is a file, and rows may be read of it
    return list_splits(address, plan, splits)


@contextlib.contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.strerror:
            raise UserError(f"cannot read {path}: {error.strerror}. Check the file and its permissions.") from error
        raise UserError(
            f"{path} is a damaged Parquet file ({first_line(error)}). Copy or download it again."
        ) from error
    except (ValueError, NotImplementedError) as error:  # what pyarrow's errors are
        raise UserError(
            f"{path} is a damaged Parquet file ({first_line(error)}). Copy or download it again."
        ) from error


def _rows(parquet: Any, path: Path, part: str, file: Any, plan: Plan, limit: int | None) -> Rows:
    needed = [plan.image, *plan.columns, *filter(None, [plan.mask])]
    missing = [name for name in needed if name not in file.schema_arrow.names]
    if missing:
        raise UserError(
            f"{path} has no column '{missing[0]}', which other files of the set have. Give files of one set, or this one alone."
        )
    table = file.read(columns=list(plan.columns)) if plan.columns else None
    count = file.metadata.num_rows if limit is None else min(limit, file.metadata.num_rows)
    cells = {name: table.column(name)[:count].to_pylist() for name in plan.columns} if table is not None else {}

    def contents(column: str) -> list[Content]:
        forward = _Forward(parquet, path, column)
        return [_reader(forward, i, Reach((path.parent,))) for i in range(count)]

    masks = None if plan.mask is None else masks_of(contents(plan.mask), _empty_cells(file, plan.mask, count))
    return Rows(path.name, part, cells, contents(plan.image), masks)


def _empty_cells(file: Any, column: str, count: int) -> list[bool]:
    """Whether each of the first cells of a column of images holds nothing; reads the column, a few rows at a time."""
    batches = file.iter_batches(_BATCH, columns=[column])
    cells = (cell for batch in batches for cell in batch.column(0).to_pylist())
    return [is_null(cell) for cell in itertools.islice(cells, count)]


def _reader(forward: _Forward, row: int, reach: Reach) -> Callable[[], bytes]:
    return lambda: cell_bytes(forward.cell(row), reach)


class _Forward:
    """The cells of one column, by row, from several threads; cheap where they are asked for nearly in order.

    Otherwise reading starts again at the row's group, which Parquet cannot enter halfway.
    """

    def __init__(self, parquet: Any, path: Path, column: str) -> None:
        self._parquet, self._path, self._column = parquet, path, column
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[int, Any] = collections.OrderedDict()
        self._cells: Iterator[Any] = iter(())
        self._next = 0  # row that `_cells` gives next
        self._ends: list[int] = []  # of the row groups

    def cell(self, row: int) -> Any:
        """The cell of a row.

        Raises:
            Unreadable: the file cannot be read, or is shorter than it was.
        """
        with self._lock:
            if row not in self._kept:
                try:
                    self._advance_to(row)
                except (StopIteration, OSError, ValueError) as error:
                    self._ends = []  # so that the next row enters the file anew
                    reason = "it ends early" if isinstance(error, StopIteration) else first_line(error)
                    raise Unreadable(f"{self._path.name} cannot be read ({reason})") from error
            return self._kept[row]

    def _advance_to(self, row: int) -> None:
        group = bisect.bisect_right(self._ends, row)
        if row < self._next or not self._ends or group > bisect.bisect_right(self._ends, self._next):
            self._enter(row)
        while row not in self._kept:
            self._kept[self._next] = next(self._cells)
            self._next += 1
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def _enter(self, row: int) -> None:
        file = self._parquet.ParquetFile(self._path)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        self._ends = list(itertools.accumulate(sizes))
        group = bisect.bisect_right(self._ends, row)
        self._next = self._ends[group - 1] if group else 0
        self._cells = self._read(file, range(group, len(sizes)))

    def _read(self, file: Any, groups: Sequence[int]) -> Iterator[Any]:
        with file:  # closed once its last row is read, so that a thousand files are not open at once
            for group in groups:  # one by one, so that damage in one costs no row of another
                for batch in file.iter_batches(_BATCH, row_groups=[group], columns=[self._column]):
                    yield from batch.column(0).to_pylist()
