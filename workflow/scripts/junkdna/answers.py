"""The predictions of evaluated cells as arrays by column: read fast, sorted by id, and kept small.

A column whose numbers are all whole and below 256, as right and wrong are, is kept in one byte each. The cells of a
task share their ids, so these are one array, whose identity says that two cells are of the same examples.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from junkdna.files import DataError
from junkdna.metrics import Metric

REMEDY = "delete the cell's folder so that it is evaluated again"
KEYS = ("variant", "id")
TEXT, OPTIONS, N_OPTIONS = "prediction", "option_scores", "n_options"

# Column to values of one variant, one per example: numbers, or texts; of OPTIONS a row, of which N_OPTIONS count.
Frame = dict[str, np.ndarray]
Rows = np.ndarray | slice


class Reader:
    """Reads cells one after another."""

    def __init__(self) -> None:
        # Task to KEYS of its last cell, not decoded, and what follows from them: of each variant the sorted ids, and
        # the rows in which they stand.
        self._known: dict[str, tuple[list[bytes], dict[str, tuple[np.ndarray, Rows]]]] = {}

    def read(self, path: Path | str, task: str, metric: Metric, more: Iterable[str] = ()) -> dict[str, Frame]:
        """Variant to the columns that a metric needs, and those of ``more`` that are there.

        The text of an answer is left out where every answer is a number too; options where an example has none.

        Raises:
            DataError: the file cannot be read, lacks a column, or has empty fields in one.
        """
        wanted = [*KEYS, *metric.columns]
        try:
            with open(path, "rb") as handle:
                content = handle.read()
            # Not buffered ahead: that starts threads, which takes longer than to read a small file.
            file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False, page_checksum_verification=True)
            names, keys = file.schema_arrow.names, _stored(file, content)
            skipped = {TEXT, *(KEYS if keys == self._known.get(task, (None,))[0] else ())}
            chosen = [name for name in dict.fromkeys([*wanted, *more]) if name in names and name not in skipped]
            table = file.read(chosen, use_threads=False)
            columns = {n: table[n].to_numpy().astype(float) for n in chosen if n not in (*KEYS, OPTIONS)}
            if TEXT in more and TEXT in names and np.isnan(columns.get("y_pred", np.nan)).any():
                columns[TEXT] = file.read([TEXT], use_threads=False)[TEXT].to_numpy()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{path}: cannot be read as parquet ({error}); {REMEDY}") from None
        for name in wanted:
            if name not in names:
                raise DataError(f"{path}: no column {name!r}; there are {', '.join(names)}; {REMEDY}")
        empty = [n for n in wanted if (n in chosen and table[n].null_count) or np.isnan(columns.get(n, 0)).any()]
        if empty:
            raise DataError(f"{path}: empty fields in {', '.join(empty)}; {REMEDY}")
        if not table.num_rows:
            return {}
        if KEYS[0] in chosen:
            self._known[task] = keys, self._layout(task, table)
        options = _lists(table[OPTIONS]) if OPTIONS in chosen else None
        frames = {}
        for variant, (ids, rows) in self._known[task][1].items():
            frames[variant] = {"id": ids} | {name: compact(column[rows]) for name, column in columns.items()}
            if options is not None:
                frames[variant] |= _options(*(part[rows] for part in options))
        return frames

    def _layout(self, task: str, table: pa.Table) -> dict[str, tuple[np.ndarray, Rows]]:
        variants, ids = (table[name].to_numpy().astype(str) for name in KEYS)
        before, layout = self._known.get(task, (None, {}))[1], {}
        for variant in dict.fromkeys(variants.tolist()):
            rows = np.flatnonzero(variants == variant)
            rows = rows[np.argsort(ids[rows], kind="stable")]
            known = before.get(variant, (None,))[0]
            named = known if known is not None and np.array_equal(known, ids[rows]) else ids[rows]
            # A slice is not copied.
            layout[variant] = named, slice(rows[0], rows[-1] + 1) if (np.diff(rows) == 1).all() else rows
        return layout


def _stored(file: pq.ParquetFile, content: bytes) -> list[bytes]:
    """KEYS as they are stored, encoded and compressed: equal bytes are equal texts."""
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    places = [place for place, name in enumerate(file.schema.names) if name in KEYS]
    found = [group.column(place) for group in groups for place in places]
    starts = [c.dictionary_page_offset if c.has_dictionary_page else c.data_page_offset for c in found]
    return [content[start : start + c.total_compressed_size] for start, c in zip(starts, found, strict=True)]


def compact(values: np.ndarray) -> np.ndarray:
    """The same numbers in one byte each, if these hold them."""
    if values.dtype != float:
        return values
    with np.errstate(invalid="ignore"):
        small = values.astype(np.uint8)
    return small if (small == values).all() else values


def _lists(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray] | None:
    """Lists of numbers as rows of a matrix, and their lengths; None if the column has no lists."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if not len(array) or not pa.types.is_list(array.type):
        return None
    ends = array.offsets.to_numpy()
    return _padded(array.values.to_numpy()[ends[0] : ends[-1]], np.diff(ends))


def _padded(flat: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if (lengths == lengths[0]).all():
        return flat.reshape(len(lengths), -1), lengths
    mask = np.arange(lengths.max()) < lengths[:, None]
    found = np.full(mask.shape, -np.inf)
    found[mask] = flat
    return found, lengths


def _options(matrix: np.ndarray, lengths: np.ndarray) -> Frame:
    return {OPTIONS: matrix[:, : lengths.max()], N_OPTIONS: lengths} if lengths.all() else {}


def of_table(table: Any) -> Frame:
    """A data frame of pandas as a frame."""
    columns = {name: table[name].to_numpy() for name in table if name != OPTIONS}
    lists = [] if OPTIONS not in table else table[OPTIONS].tolist()
    if any(values is None for values in lists) or not lists:
        return columns
    return columns | _options(*_padded(np.concatenate(lists), np.array([len(values) for values in lists])))


def log_shares(frame: Frame) -> np.ndarray:
    """Logarithms of the options' shares of the probability, shape (options, examples); 0 of what is not there."""
    # Examples last: NumPy is slow where it sums many short rows, and so is scipy's log_softmax.
    options = frame[OPTIONS].T.astype(float, order="C")
    options -= options.max(0)
    options -= np.log(np.exp(options).sum(0))
    return np.where(np.arange(len(options))[:, None] < frame[N_OPTIONS], options, 0.0)


def right_answers(frame: Frame, metric: Metric) -> np.ndarray | None:
    """1 where an answer is right, 0 where it is wrong, shape (examples,); None for tasks without such answers.

    By the task's own metric where that says so, else by accuracy or exact match.
    """
    return next((frame[name] for name in right_columns(metric) if name in frame), None)


def right_columns(metric: Metric) -> list[str]:
    return [metric.name] if metric.is_binary else ["accuracy", "exact_match"]
