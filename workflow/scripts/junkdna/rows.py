"""The rows of a data set's parquet files, with the columns that are needed.

The hub's columns are taken as they are; a dotted name enters nested values (``answer.aliases``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from junkdna.files import DataError

ID_COLUMNS = ("id", "question_id")
BATCH_ROWS = 256  # read at a time: evidence texts are long, and often the first rows suffice

Row = dict[str, Any]


def read_rows(folder: Path, config: str, split: str, columns: list[str]) -> Iterator[tuple[str, Row]]:
    """Ids and rows of a split; the row's configuration is under ``__config``.

    Raises:
        DataError: a configuration, split or column does not exist.
    """
    number = 0
    for file in files_of(folder, config, split):
        check_file(file, columns)
        with _open(file) as opened:
            names = opened.schema_arrow.names
            identity = next((column for column in ID_COLUMNS if column in names), None)
            # Whole top-level columns: entering structs by leaf would lose the pairing of their lists.
            needed = dict.fromkeys([c.split(".")[0] for c in columns] + [identity] * bool(identity))
            for row in (r for b in opened.iter_batches(BATCH_ROWS, columns=list(needed)) for r in b.to_pylist()):
                row["__config"] = config
                yield str(row[identity]) if identity else f"{config}-{number:06d}", row
                number += 1


def value(row: Any, column: str) -> Any:
    """The value of a dotted column; lists are entered element by element, or at a number (None if too short)."""
    for part in column.split("."):
        if part.isdigit():
            row = row[int(part)] if row is not None and int(part) < len(row) else None
        else:
            row = [element[part] for element in row] if isinstance(row, list) else row[part]
    return row


def flat(found: Any) -> list[Any]:
    """The values in lists within lists, in order; what is not there is left out."""
    if isinstance(found, list):
        return [value for element in found for value in flat(element)]
    return [] if found is None else [found]


def files_of(folder: Path, config: str, split: str) -> list[Path]:
    """The files of a split.

    Raises:
        DataError: there is no such configuration or split.
    """
    place = _place(folder, config)
    # The second form is that of the branches in which the hub converts a data set to parquet.
    if files := sorted(place.glob(f"{split}-*-of-*.parquet")) or sorted(place.glob(f"{split}/*.parquet")):
        return files
    configs = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if place.name not in configs:
        raise DataError(f"{folder}: no configuration {config!r}; there are {', '.join(configs) or 'none'}")
    splits = sorted({path.name.rsplit("-", 3)[0] for path in place.glob("*-*-of-*.parquet")})
    raise DataError(f"{place}: no split {split!r}; there are {', '.join(splits) or 'none'}")


def splits_of(folder: Path, config: str) -> dict[str, list[Path]]:
    """Every split of a configuration to its files.

    Raises:
        DataError: there is no such configuration, or no split in it.
    """
    place = _place(folder, config)
    names = {path.name.rsplit("-", 3)[0] for path in place.glob("*-*-of-*.parquet")}
    names |= {path.parent.name for path in place.glob("*/*.parquet")}
    return {split: files_of(folder, config, split) for split in sorted(names) or ["any"]}


def _place(folder: Path, config: str) -> Path:
    if config == "default" and not (folder / config).is_dir() and (folder / "data").is_dir():
        return folder / "data"  # where the hub keeps the files of a data set that has one configuration
    return folder / config


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: truncated or not parquet ({error}); fetch the file again") from error


def check_file(file: Path, columns: Iterable[str]) -> None:
    """Check that a file has dotted columns; numbers among their parts are places in lists.

    Raises:
        DataError: one is missing; names those that are there.
    """
    with _open(file) as opened:
        schema = opened.schema_arrow
    paths = set(_paths(pa.struct(list(schema))))
    for column in columns:
        if ".".join(part for part in column.split(".") if not part.isdigit()) not in paths:
            raise DataError(f"{file}: no column {column!r}; there are {', '.join(sorted(paths))}")


def _paths(kind: pa.DataType, prefix: str = "") -> Iterator[str]:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _paths(kind.value_type, prefix)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield f"{prefix}{field.name}"
            yield from _paths(field.type, f"{prefix}{field.name}.")
