"""Evaluated cells of a plan, read back with checks."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from junkdna.curves import DENSE
from junkdna.files import DataError, read_json
from junkdna.metrics import METRICS, Metric
from junkdna.statistics import Replicate, Scores

REMEDY = "delete the cell's folder so that it is evaluated again"
# metrics.json may be rounded; a larger difference means that the two files are of different runs.
TOLERANCE = 1e-4
# What is known of a single answer, beside the columns of the metric; read where the kind of task has it.
ANSWERS = ("prediction", "y_pred", "y_true", "option_scores", "accuracy", "exact_match")


@dataclass(frozen=True, order=True)
class Point:
    """One state, or its seeds together, on one variant of a task."""

    model: str
    method: str
    level: str
    transfer: str
    task: str
    variant: str
    fraction: str


# Seeds of the fine-tuning and of the calibration data.
Draw = tuple[int | None, int | None]


@dataclass
class Outcome:
    """The scores of a point and what is known of it from the plan.

    Attributes:
        diverged: the seeds that were left out, as their fine-tuning, or the dense model's, diverged; `2/0` is seed 2
            with the calibration data of seed 0.
    """

    scores: Scores
    chance: float
    metric: str
    kind: str
    sparsity: float
    control: bool
    diverged: tuple[str, ...]


def read_outcomes(plan: dict[str, Any], dense_only: bool = False) -> dict[Point, Outcome]:
    """Read the evaluated cells of a plan, the seeds of a point together.

    A seed counts where its fine-tuning and that of the dense model to compare with gave a model, so that a point and
    its reference are means over the same seeds.

    Raises:
        DataError: a file is missing, truncated, or does not hold what the plan says.
    """
    frames: dict[Point, dict[Draw, pd.DataFrame]] = defaultdict(dict)
    planned: dict[Point, dict[Draw, dict[str, Any]]] = defaultdict(dict)
    chances: dict[Point, float] = {}
    for cell in plan["cells"]:
        if dense_only and cell["method"] != DENSE:
            continue
        folder, task = Path(cell["path"]), plan["tasks"][cell["task"]]
        draw = cell["seed"], cell["calibration_seed"]
        points = {variant: _point(cell, variant) for variant in task["variants"]}
        for point in points.values():
            planned[point][draw] = cell
        measured = _read_metrics(folder / "metrics.json", cell, task)
        predictions = read_predictions(folder / "predictions.parquet", METRICS[task["metric"]].columns)
        for variant, found in measured.items():
            rows = predictions[predictions["variant"] == variant]
            if len(rows) != found["n_examples"]:
                raise DataError(
                    f"{folder}: variant {variant!r}: metrics.json counts {found['n_examples']} examples, "
                    f"predictions.parquet {len(rows)}; {REMEDY}"
                )
            frames[points[variant]][draw] = rows
            chances[points[variant]] = float(found["chance"])
            _check_agreement(folder, variant, task["metric"], rows, found["metrics"][task["metric"]])
    return {point: _outcome(plan, point, planned, frames, chances) for point in planned}


def _point(cell: dict[str, Any], variant: str) -> Point:
    return Point(*(cell[key] for key in ("model", "method", "level", "transfer", "task")), variant, cell["fraction"])


def _outcome(
    plan: dict[str, Any],
    point: Point,
    planned: dict[Point, dict[Draw, dict[str, Any]]],
    frames: dict[Point, dict[Draw, pd.DataFrame]],
    chances: dict[Point, float],
) -> Outcome:
    """The outcome of a point from the cells and predictions of all points."""
    cells, metric, reference = planned[point], plan["tasks"][point.task]["metric"], reference_of(point, plan)
    cell = list(cells.values())[-1]
    lost = {seed for seed, _ in planned.get(reference, {})} - {seed for seed, _ in frames.get(reference, {})}
    kept = {draw: frame for draw, frame in frames.get(point, {}).items() if draw[0] not in lost}
    # By the fine-tuning seed alone, where the calibration data was drawn once.
    drawn_once = len({calibration for _, calibration in cells}) == 1
    replicates = {draw[0] if drawn_once else draw: frame for draw, frame in kept.items()}
    left_out = [f"{seed}" if drawn_once else f"{seed}/{drawn}" for seed, drawn in cells if (seed, drawn) not in kept]
    return Outcome(
        scores=_scores(point, replicates, metric, Path(cell["path"])),
        chance=_chance(METRICS[metric], chances.get(point, float("nan"))),
        metric=metric,
        kind=cell["kind"],
        sparsity=float(cell["sparsity"]),
        control=bool(cell["control"]),
        diverged=tuple(left_out),
    )


def reference_of(point: Point, plan: dict[str, Any]) -> Point:
    """The dense point that ``point`` is compared with; for an untrained control the pre-trained model's."""
    model = plan["models"][point.model].get("untrained_twin_of")
    model = model if model in plan["models"] else point.model
    transfer = "none" if point.transfer == "none" else DENSE
    return Point(model, DENSE, DENSE, transfer, point.task, point.variant, point.fraction)


def right_answers(frame: pd.DataFrame, metric: Metric) -> np.ndarray | None:
    """1 where an answer is right, 0 where it is wrong, shape (examples,); None for tasks without such answers.

    By the task's own metric where that says so, else by accuracy or exact match.
    """
    names = [metric.name] if metric.is_binary else ["accuracy", "exact_match"]
    return next((frame[name].to_numpy(dtype=float) for name in names if name in frame), None)


def _chance(metric: Metric, chance: float) -> float:
    """NaN where the task names no chance level: 0 is the catalog's default, and no perplexity is 0."""
    return chance if metric.higher_is_better or chance > 0 else float("nan")


def _scores(point: Point, frames: dict[Replicate, pd.DataFrame], metric: str, folder: Path) -> Scores:
    try:
        return Scores(point.task, METRICS[metric], frames)
    except DataError as error:
        raise DataError(f"{folder}/predictions.parquet: variant {point.variant!r}: {error}; {REMEDY}") from None


def _read_metrics(path: Path, cell: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """What was measured of each variant of the plan; nothing where the fine-tuning diverged."""
    content = read_json(path)
    try:
        for key in ("model", "method", "level", "calibration_seed"):
            if content[key] != cell[key]:
                raise DataError(f"{path}: {key}: {content[key]!r}; this folder is of {cell[key]!r}; {REMEDY}")
        if content.get("diverged"):
            return {}
        variants = {name: content["variants"][name] for name in task["variants"]}
        for name, found in variants.items():
            values = [found["n_examples"], found["chance"], found["metrics"][task["metric"]]]
            if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
                raise DataError(f"{path}: variants.{name}: {values}: finite numbers are expected; {REMEDY}")
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: missing key {error}; {REMEDY}") from None
    return variants


def read_predictions(path: Path, scores: tuple[str, ...]) -> pd.DataFrame:
    """The columns ``scores`` of a cell's predictions, and what is known of its answers.

    Raises:
        DataError: the file cannot be read, lacks a column, or has empty fields in one.
    """
    wanted = ["variant", "id", *scores]
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        frame = file.read(columns=[*wanted, *(name for name in ANSWERS if name not in wanted)]).to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as parquet ({error}); {REMEDY}") from None
    for column in wanted:
        if column not in frame:
            raise DataError(f"{path}: no column {column!r}; there are {', '.join(file.schema_arrow.names)}; {REMEDY}")
    empty = frame[wanted].isna().any()
    if empty.any():
        raise DataError(f"{path}: empty fields in {', '.join(empty[empty].index)}; {REMEDY}")
    return frame


def _check_agreement(folder: Path, variant: str, metric: str, rows: pd.DataFrame, stated: float) -> None:
    computed = float(METRICS[metric].compute(rows))
    if not abs(computed - stated) <= TOLERANCE * max(1.0, abs(stated)):
        raise DataError(
            f"{folder}: variant {variant!r}: metrics.json says {metric} {stated}, predictions.parquet gives "
            f"{computed}; the two are of different runs; {REMEDY}"
        )
