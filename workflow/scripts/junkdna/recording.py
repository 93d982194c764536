"""Writing a run's record, and a run's files from a record (:mod:`junkdna.record` has the format)."""

from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from junkdna import record
from junkdna.catalog import Catalog
from junkdna.checkpoint import read_header, weight_files
from junkdna.config import PROJECT
from junkdna.files import DataError, read_json, sha256, write_json
from junkdna.grid import Cell, digest
from junkdna.predictions import TEXTS, write_predictions

KEYS = ("variant", "id")
SCORES = "option_scores"
TOKENS = re.compile(r"(word_embeddings|embed_tokens|wte|shared)\.weight$")


def pack(results: Path, cells: list[Cell], catalog: Catalog, output: Path) -> None:
    """Write the record of evaluated cells, the manifest last.

    Args:
        results: folder of the run.
        cells: in the order that they get in the record.

    Raises:
        DataError: a file of a cell cannot be read, or the cells of a task were asked different examples.
    """
    evaluated = [_row("cell", cell.path, results / "evaluate" / cell.path, record.KEPT) for cell in cells]
    _write(output / record.CELLS, "cell", evaluated)
    states = sorted({cell.state for cell in cells if cell.trained and cell.transfer != "zero_shot"})
    trained = [_row("training", s, results / "finetune" / s, ("manifest.json", "provenance.json")) for s in states]
    _write(output / record.TRAININGS, "training", trained)
    columns = {}
    for task in sorted({cell.task for cell in cells}):
        paths = [results / "evaluate" / cell.path / "predictions.parquet" for cell in cells if cell.task == task]
        columns[task] = _pack_predictions(paths, output / record.predictions_file(task))
    defined = record.definitions(cells, catalog)
    written = [name for name in record.files(cells) if name != record.MANIFEST]
    write_json(
        output / record.MANIFEST,
        {
            "schema": record.SCHEMA,
            "version": tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"],
            "git_commits": sorted({json.loads(row["provenance/git_commit"]) or "unknown" for row in evaluated}),
            "configuration": digest([defined, [cell.path for cell in cells]]),
            "cells": len(cells),
            "score_decimals": record.SCORE_DECIMALS,
            "definitions": defined,
            "models": {
                name: model_facts(results / "sources/models" / name / "manifest.json")
                for name, entry in defined["models"].items()
                if "untrained_twin_of" not in entry
            },
            "columns": columns,
            "sha256": {name: sha256(output / name) for name in written},
        },
    )


def _row(key: str, name: str, folder: Path, files: tuple[str, ...]) -> dict[str, str]:
    row = {key: name}
    for file in files:
        content = read_json(folder / file)
        content.pop("loss_curve", None)
        row |= record.flat(content, file.removesuffix(".json"))
    return row


def _write(path: Path, key: str, rows: list[dict[str, str]]) -> None:
    columns = [key, *sorted({name for row in rows for name in row} - {key})]
    record.write_table(path, columns, ([row.get(name, "") for name in columns] for row in rows))


def _pack_predictions(paths: list[Path], output: Path) -> dict[str, Any]:
    """Write the predictions of the cells of one task.

    Returns:
        {"names": the columns in their order, "empty": numbers of the cells without predictions}.
    """
    empty = [number for number, path in enumerate(paths) if not pq.read_metadata(path).num_rows]
    # Columns are those of a cell that has predictions, where there is one.
    names = next(
        (pq.read_schema(p).names for n, p in enumerate(paths) if n not in empty), pq.read_schema(paths[0]).names
    )
    filled = {number: path for number, path in enumerate(paths) if number not in empty}
    columns: dict[str, list[str]] = {}
    for name in names:
        found = {number: _texts(path, name) for number, path in filled.items()}
        first = next(iter(found.values()), [])
        for number, values in found.items():
            if name in KEYS and values != first:
                raise DataError(f"{filled[number]}: {name}: other examples than in {next(iter(filled.values()))}")
        if all(values == first for values in found.values()):
            columns[name] = first
        else:
            columns |= {f"{name}:{number}": values for number, values in found.items()}
    record.write_table(output, list(columns), zip(*columns.values(), strict=True))
    return {"names": names, "empty": empty}


def _texts(path: Path, name: str) -> list[str]:
    """A column of predictions as texts."""
    try:
        values = pq.read_table(path, columns=[name])[name].to_pylist()
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{path}: no column {name!r} can be read ({error}); delete the cell's folder") from None
    if name in TEXTS:
        if None in values:
            raise DataError(f"{path}: {name}: an empty field, where a text is expected; delete the cell's folder")
        return values
    return [_scores(value) if name == SCORES else _number(value) for value in values]


def _number(value: float | None) -> str:
    """The shortest text that reads back as this number; empty for none."""
    if value is None or value != value:
        return ""
    return str(int(value)) if float(value).is_integer() else repr(value)


def _scores(values: list[float] | None) -> str:
    """Scores of the options less that of the first, which is left out."""
    if values is None:
        return ""
    if len(values) < 2:
        raise DataError(f"{SCORES}: {values}: at least two options are expected")
    return " ".join(_number(round(value - values[0], record.SCORE_DECIMALS)) or "nan" for value in values[1:])


def unpack(folder: Path, cells: list[Cell], results: Path) -> None:
    """Write the files of these cells from a record that holds them (:func:`junkdna.record.check`).

    Raises:
        DataError: a file of the record is missing, or not the one that was recorded.
    """
    manifest = record.read_manifest(folder)
    for name, wanted in manifest["sha256"].items():
        if not (folder / name).exists() or sha256(folder / name) != wanted:
            raise DataError(f"{folder / name}: missing, or not the file that was recorded; get the record again")
    write_json(results / "evaluate" / record.MARK, manifest)  # first: a killed job leaves no cells without it
    wanted = {cell.path for cell in cells}
    by_task: dict[str, list[str]] = {}
    for row in record.read_table(folder / record.CELLS):
        path = row["cell"]
        by_task.setdefault(path.rsplit("/", 1)[1], []).append(path)
        if path in wanted:
            for file in record.KEPT:
                write_json(results / "evaluate" / path / file, record.nested(row, file.removesuffix(".json")))
    for task in sorted({cell.task for cell in cells}):
        table = record.read_rows(folder / record.predictions_file(task))
        columns = dict(zip(table[0], map(list, zip(*table[1:], strict=True)), strict=True)) if table[1:] else {}
        for number, path in enumerate(by_task[task]):
            if path in wanted:
                frame = _frame(columns, manifest["columns"][task], number)
                write_predictions(results / "evaluate" / path / "predictions.parquet", frame)


def _frame(columns: dict[str, list[str]], about: dict[str, Any], number: int) -> pd.DataFrame:
    """The predictions of one cell."""
    if number in about["empty"]:
        return pd.DataFrame(columns=about["names"])
    texts = {name: columns[name] if name in columns else columns[f"{name}:{number}"] for name in about["names"]}
    return pd.DataFrame({name: _values(name, values) for name, values in texts.items()})


def _values(name: str, texts: list[str]) -> pd.Series:
    if name in TEXTS:
        return pd.Series(texts, dtype=object)
    if name == SCORES:
        return pd.Series([[0.0, *map(float, text.split())] if text else None for text in texts], dtype=object)
    return pd.Series([float(text) if text else float("nan") for text in texts], dtype=float)


def model_facts(manifest: Path) -> dict[str, Any]:
    """What is known of a pre-trained model: its size, the digests of its weights, and how it was pre-trained where
    the files that tell lie beside them."""
    about = read_json(manifest)
    folder = Path(about["path"])
    sizes = {}
    for file in weight_files(folder):
        for name, info in read_header(file).items():
            sizes[name] = math.prod(info.shape)
    tokens = max((size for name, size in sizes.items() if TOKENS.search(name)), default=0)
    facts: dict[str, Any] = {"parameters": sum(sizes.values()), "token_embeddings": tokens}
    facts["sha256"] = {name: value for name, value in about["files"].items() if name.endswith(".safetensors")}
    if (folder / "training_curve.csv").exists():
        last = pd.read_csv(folder / "training_curve.csv").iloc[-1]
        facts["pretraining"] = {
            name: float(last[name]) for name in ("steps", "step", "tokens", "loss", "seconds") if name in last
        }
    if (folder / "provenance.json").exists():
        facts["provenance"] = read_json(folder / "provenance.json")
    return facts
