"""Evaluated cells of a plan, read back with checks."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from junkdna.answers import OPTIONS, REMEDY, TEXT, Frame, Reader, right_columns
from junkdna.curves import DENSE
from junkdna.files import DataError, read_json
from junkdna.metrics import METRICS, Metric
from junkdna.statistics import Replicate, Scores

# metrics.json may be rounded; a larger difference means that the two files are of different runs.
TOLERANCE = 1e-4
# What is known of a single answer, beside the columns of the metric and whether it is right.
COMPARED = (TEXT, "y_pred", OPTIONS)
LOT = 32  # states whose answers are in memory whole


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


def points_of(table: Any) -> list[Point]:
    """The point of each row of a table."""
    return [Point(*key) for key in zip(*(table[name] for name in Point.__dataclass_fields__), strict=True)]


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
    """Read the evaluated cells of a plan, the seeds of a point together, in the plan's order; see :func:`read_lots`."""
    return in_order(plan, (item for lot in read_lots(plan, dense_only) for item in lot.items()))


def in_order(plan: dict[str, Any], found: Iterable[tuple[Point, Outcome]]) -> dict[Point, Outcome]:
    """Points in the order of the plan's cells."""
    found = dict(found)
    named = (_point(cell, variant) for cell in plan["cells"] for variant in plan["tasks"][cell["task"]]["variants"])
    return {point: found[point] for point in dict.fromkeys(named) if point in found}


def read_lots(plan: dict[str, Any], dense_only: bool = False) -> Iterator[dict[Point, Outcome]]:
    """Read the evaluated cells of a plan, LOT states of one task at a time, what they are compared with before them.

    A seed counts where its fine-tuning and that of the dense model to compare with gave a model, so that a point and
    its reference are means over the same seeds.

    Raises:
        DataError: a file is missing, truncated, or does not hold what the plan says.
    """
    states: dict[Point, dict[Draw, dict[str, Any]]] = defaultdict(dict)
    for cell in plan["cells"]:
        if cell["method"] == DENSE or not dense_only:
            states[_point(cell, "")][cell["seed"], cell["calibration_seed"]] = cell
    bases = {state: reference_of(state, plan) for state in states}
    reader, diverged = Reader(), {}
    for task in plan["tasks"]:
        ordered = sorted(
            (state for state in states if state.task == task),
            key=lambda state: (state != bases[state], state.method != DENSE),
        )
        lots = [ordered[start : start + LOT] for start in range(0, len(ordered), LOT)]
        with ThreadPoolExecutor(1) as ahead:
            for lot, coming in zip_longest(lots, lots[1:], fillvalue=[]):
                ahead.submit(_ask_for, [cell["path"] for state in coming for cell in states[state].values()])
                found: dict[Point, Outcome] = {}
                for state in lot:
                    read = {draw: _read_cell(reader, cell, plan["tasks"][task]) for draw, cell in states[state].items()}
                    diverged[state] = {seed for (seed, _), frames in read.items() if not frames}
                    lost = diverged.get(bases[state], set())
                    found |= _outcomes(plan["tasks"][task], state, states[state], read, lost)
                yield found


def _ask_for(folders: list[str]) -> None:
    """Have the system read what cells hold while others are worked on: it may lie on a disk far away."""
    for path in (f"{folder}/{name}" for folder in folders for name in ("metrics.json", "predictions.parquet")):
        with suppress(OSError, AttributeError):  # reading a file will say that it is missing; macOS cannot do this
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(descriptor)


def _point(cell: dict[str, Any], variant: str) -> Point:
    return Point(*(cell[key] for key in ("model", "method", "level", "transfer", "task")), variant, cell["fraction"])


def _outcomes(
    task: dict[str, Any],
    state: Point,
    cells: dict[Draw, dict[str, Any]],
    read: dict[Draw, dict[str, tuple[Frame, dict[str, Any]]]],
    lost: set[int | None],
) -> dict[Point, Outcome]:
    """The outcomes of a state on every variant, from its cells, without the seeds that are ``lost``."""
    cell, metric = list(cells.values())[-1], METRICS[task["metric"]]
    kept = {draw: found for draw, found in read.items() if found and draw[0] not in lost}
    # By the fine-tuning seed alone, where the calibration data was drawn once.
    drawn_once = len({calibration for _, calibration in cells}) == 1
    left_out = [f"{seed}" if drawn_once else f"{seed}/{drawn}" for seed, drawn in cells if (seed, drawn) not in kept]
    outcomes = {}
    for variant in task["variants"]:
        point = replace(state, variant=variant)
        frames = {draw[0] if drawn_once else draw: found[variant][0] for draw, found in kept.items()}
        scores = _scores(point, frames, metric, Path(cell["path"]))
        chance = math.nan
        for draw, found in kept.items():
            computed, stated = scores.values[draw[0] if drawn_once else draw], found[variant][1]
            _check_agreement(cells[draw]["path"], variant, metric.name, computed, stated["metrics"][metric.name])
            chance = float(stated["chance"])
        outcomes[point] = Outcome(
            scores=scores,
            chance=_chance(metric, chance),
            metric=metric.name,
            kind=cell["kind"],
            sparsity=float(cell["sparsity"]),
            control=bool(cell["control"]),
            diverged=tuple(left_out),
        )
    return outcomes


def reference_of(point: Point, plan: dict[str, Any]) -> Point:
    """The dense point that ``point`` is compared with; for an untrained control the pre-trained model's."""
    model = plan["models"][point.model].get("untrained_twin_of")
    model = model if model in plan["models"] else point.model
    transfer = "none" if point.transfer == "none" else DENSE
    return Point(model, DENSE, DENSE, transfer, point.task, point.variant, point.fraction)


def _chance(metric: Metric, chance: float) -> float:
    """NaN where the task names no chance level: 0 is the catalog's default, and no perplexity is 0."""
    return chance if metric.higher_is_better or chance > 0 else float("nan")


def _scores(point: Point, frames: dict[Replicate, Frame], metric: Metric, folder: Path) -> Scores:
    try:
        return Scores(point.task, metric, frames)
    except DataError as error:
        raise DataError(f"{folder}/predictions.parquet: variant {point.variant!r}: {error}; {REMEDY}") from None


def _read_cell(reader: Reader, cell: dict[str, Any], task: dict[str, Any]) -> dict[str, tuple[Frame, dict[str, Any]]]:
    """Variant to its predictions and what metrics.json says of it; nothing where the fine-tuning diverged."""
    folder, metric = cell["path"], METRICS[task["metric"]]
    measured = _read_metrics(f"{folder}/metrics.json", cell, task)
    more = [*right_columns(metric), *COMPARED, *(["y_true"] if cell["method"] == DENSE else [])]
    frames = reader.read(f"{folder}/predictions.parquet", cell["task"], metric, more)
    for variant, found in measured.items():
        rows = len(frames[variant]["id"]) if variant in frames else 0
        if rows != found["n_examples"]:
            raise DataError(
                f"{folder}: variant {variant!r}: metrics.json counts {found['n_examples']} examples, "
                f"predictions.parquet {rows}; {REMEDY}"
            )
    return {variant: (frames[variant], found) for variant, found in measured.items()}


def _read_metrics(path: str, cell: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
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


def _check_agreement(folder: str, variant: str, metric: str, computed: float, stated: float) -> None:
    if not abs(computed - stated) <= TOLERANCE * max(1.0, abs(stated)):
        raise DataError(
            f"{folder}: variant {variant!r}: metrics.json says {metric} {stated}, predictions.parquet gives "
            f"{computed}; the two are of different runs; {REMEDY}"
        )
