"""The record of a run: what tables, figures and page read of its cells, in a few small files that can be kept in git.

    manifest.json               versions, definitions of models, methods and tasks, facts of the models, digests
    cells.csv.xz                a row per evaluated cell: metrics.json and provenance.json, a column per key
    trainings.csv.xz            a row per fine-tuning: its manifest.json, without the curve, and provenance.json
    predictions/TASK.csv.xz     a row per example; a column that all cells share has its name, one that differs
                                between cells is `name:N`, where N counts the cells of the task in cells.csv.xz

Everything is exact but `option_scores`: kept are the differences to the first option's score, to SCORE_DECIMALS
decimals. Their softmax is all that is read of them, for the columns `kl*` of `*_against_dense.csv` and
`description_length*` of `difficulty.csv`; nothing else differs in a table made from the record.

Read while Snakemake parses the Snakefile, so nothing heavy is imported here.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from junkdna.catalog import Catalog
from junkdna.files import DataError, atomic_path, read_json
from junkdna.grid import Cell, method_of

SCHEMA = 1
SCORE_DECIMALS = 4
MANIFEST, CELLS, TRAININGS = "manifest.json", "cells.csv.xz", "trainings.csv.xz"
KEPT = ("metrics.json", "provenance.json")
SEPARATOR = "/"
# A copy of the manifest beside unpacked cells, which tells them from evaluated ones.
MARK = "recorded.json"


def predictions_file(task: str) -> str:
    return f"predictions/{task}.csv.xz"


def files(cells: Iterable[Cell]) -> list[str]:
    """The files of a record of these cells."""
    return [MANIFEST, CELLS, TRAININGS, *map(predictions_file, sorted({cell.task for cell in cells}))]


def definitions(cells: Iterable[Cell], catalog: Catalog) -> dict[str, Any]:
    """What the catalog says of the cells' models, methods, tasks and data sets, keys at their default left out.

    What only tables show, such as labels, is not in it: it may be edited after a run.
    """
    cells = list(cells)
    names = {cell.model for cell in cells}
    models = names | {catalog.models[name].untrained_twin_of for name in names} - {None}
    tasks = {cell.task: catalog.tasks[cell.task] for cell in cells}
    stages = {"evaluate": {cell.task for cell in cells}, "train": {cell.task for cell in cells if cell.trained}}
    methods = {method_of(cell.method)[0] for cell in cells if cell.compressed}
    return {
        "models": {name: _dumped(catalog.models[name]) for name in sorted(models)},
        "methods": {name: _dumped(catalog.methods[name], {"module", "params"}) for name in sorted(methods)},
        "tasks": {
            name: {stage: _dumped(task.for_stage(stage)) for stage in stages if name in stages[stage]}
            for name, task in sorted(tasks.items())
        },
        "datasets": {name: _dumped(catalog.datasets[name]) for name in sorted({t.dataset for t in tasks.values()})},
    }


def _dumped(entry: Any, include: set[str] | None = None) -> dict[str, Any]:
    return entry.model_dump(mode="json", exclude_defaults=True, include=include)


def check(folder: Path, cells: Iterable[Cell], defined: dict[str, Any]) -> None:
    """See that a record holds these cells, made as they are defined now.

    Raises:
        DataError: a file is missing or unreadable, a definition differs, or a cell is not there.
    """
    manifest = read_manifest(folder)
    for kind, entries in defined.items():
        for name, entry in entries.items():
            problem = _difference(manifest["definitions"].get(kind, {}).get(name), entry, f"{kind}.{name}")
            if problem:
                raise DataError(f"{folder / MANIFEST}: {problem}; record the run again, or take its configuration")
    held = {row["cell"] for row in read_table(folder / CELLS)}
    missing = [cell.path for cell in cells if cell.path not in held]
    if missing:
        raise DataError(
            f"{folder / CELLS}: no cell {missing[0]}, which the configuration asks for ({len(missing)} are missing, "
            f"{len(held)} are there); record a run that has it, or leave it out"
        )


def _difference(recorded: Any, wanted: Any, place: str) -> str:
    """Where two values differ first, in words; empty if they do not."""
    if isinstance(recorded, dict) and isinstance(wanted, dict):
        found = (_difference(recorded.get(k), wanted.get(k), f"{place}.{k}") for k in sorted(recorded | wanted))
        return next(filter(None, found), "")
    shown = ["absent" if value is None else repr(value) for value in (recorded, wanted)]
    return "" if recorded == wanted else f"{place}: {shown[0]} in the record, {shown[1]} in the configuration"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises:
    DataError: there is none, or it is of another kind.
    """
    manifest = read_json(folder / MANIFEST)
    found = manifest.get("schema") if isinstance(manifest, dict) else None
    if found != SCHEMA:
        raise DataError(f"{folder / MANIFEST}: schema: {found!r}: {SCHEMA} is expected; record the run again")
    return manifest


def write_table(path: Path, columns: list[str], rows: Iterable[Iterable[str]]) -> None:
    """Write texts as xz-compressed CSV; equal rows give equal bytes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    with atomic_path(path) as aside:
        # Preset 9 saves nothing: its dictionary is larger than the files, and takes 700 MB.
        aside.write_bytes(lzma.compress(text.getvalue().encode(), preset=6 | lzma.PRESET_EXTREME))


def read_rows(path: Path) -> list[list[str]]:
    """The lines of such a file, the first with the names.

    Raises:
        DataError: the file is missing or truncated.
    """
    try:
        with lzma.open(path, "rt", encoding="utf-8", newline="") as handle:
            return list(csv.reader(handle))
    except (OSError, EOFError, ValueError, lzma.LZMAError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV in xz ({error}); get the record again") from None


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of such a file, by the names of its columns."""
    names, *rows = read_rows(path)
    return [dict(zip(names, row, strict=True)) for row in rows]


def flat(value: dict[str, Any], *place: str) -> dict[str, str]:
    """Nested values by the path of their keys, each as JSON: {"a": {"b": 1}} is {"a/b": "1"}."""
    found: dict[str, str] = {}
    for key, inner in value.items():
        if SEPARATOR in key:
            raise DataError(f"{SEPARATOR.join((*place, key))}: a key of a cell's JSON may not hold {SEPARATOR!r}")
        if isinstance(inner, dict) and inner:
            found |= flat(inner, *place, key)
        else:
            found[SEPARATOR.join((*place, key))] = json.dumps(inner)
    return found


def nested(row: dict[str, str], part: str) -> dict[str, Any]:
    """What :func:`flat` was made from, of the columns below ``part``; empty fields are keys that were not there."""
    found: dict[str, Any] = {}
    for name, text in row.items():
        first, *keys, last = name.split(SEPARATOR) if SEPARATOR in name else (name, "")
        if first == part and text:
            inner = found
            for key in keys:
                inner = inner.setdefault(key, {})
            inner[last] = json.loads(text)
    return found
