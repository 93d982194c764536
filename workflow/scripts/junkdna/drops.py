"""Relative drops of every compressed point, per seed and per bootstrap draw: what trends and claims are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from junkdna.curves import DENSE
from junkdna.files import DataError, atomic_path
from junkdna.outcomes import Outcome, Point, reference_of
from junkdna.statistics import ROUNDING, Replicate, Scores, retained, same_ids, shared

RELATIVE, CORRECTED = "relative_drop", "chance_corrected_drop"
ROWS = 1000  # written at a time


@dataclass(frozen=True)
class Drop:
    """A point against its dense reference.

    Attributes:
        values: drop of each replicate, shape (replicates,); NaN where there is nothing to lose.
        draws: the same over resampled examples, draws common to the replicates, shape (replicates, draws).
        seeds: names of the replicates.
    """

    values: np.ndarray
    draws: np.ndarray
    seeds: tuple[Replicate, ...]

    def like(self, seeds: tuple[Replicate, ...]) -> Drop:
        """The same for these replicates, which may be fewer or also vary the calibration data.

        Raises:
            DataError: one is of a seed that was not run.
        """
        found = {seed: row for row, seed in enumerate(self.seeds)}
        wanted = [seed if seed in found else seed[0] if isinstance(seed, tuple) else seed for seed in seeds]
        if not set(wanted) <= set(found):
            raise DataError(f"series of one panel were run with seeds {list(self.seeds)} and {list(seeds)}")
        rows = [found[seed] for seed in wanted]
        return Drop(self.values[rows], self.draws[rows], seeds)


def alike(series: list[Drop]) -> list[Drop]:
    """The series with the same replicates in each, one per seed and calibration draw; none if no seed is in all."""
    common = series[0].seeds
    for one in series[1:]:
        common = tuple(shared(common, one.seeds))
    return [one.like(common) for one in series]


def drop(scores: Scores, dense: Scores, chance: float | None = None) -> Drop:
    """1 - metric / dense metric, or with ``chance`` 1 - (metric - chance) / (dense - chance).

    The first is the paper's. It cannot reach 1 where guessing pays, and stops the sooner, the fewer the options; so
    series with different chance levels are compared by the second.

    Raises:
        DataError: the two sides differ in seeds or examples.
    """
    dense = dense.like(scores)
    if set(scores.frames) != set(dense.frames) or not same_ids(scores.ids, dense.ids):
        raise DataError(f"{scores.group}: other seeds or examples than the dense reference; evaluate both again")
    sides = [np.array([side.values[seed] for seed in scores.frames]) for side in (scores, dense)]
    drawn = [scores.seed_replicates, dense.seed_replicates]
    better = scores.metric.higher_is_better
    values, draws = (1 - left(*pair, better, chance) for pair in (sides, drawn))
    return Drop(values, draws, tuple(scores.frames))


def left(value: np.ndarray, dense: np.ndarray, better: bool, chance: float | None = None) -> np.ndarray:
    """What is left of the dense metric, or with ``chance`` of what it is better than chance."""
    if chance is None:
        return retained(value, dense, better)
    gain = dense - chance if better else chance - dense
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gain > ROUNDING, (value - chance) / (dense - chance), np.nan)


class Drops(Mapping[Point, Drop]):
    """Drops of points by one measure, formed when they are asked for: all together would fill the memory.

    Args:
        pairs: point to its scores, its reference's, and the chance level to correct for or None.
    """

    def __init__(self, pairs: dict[Point, tuple[Scores, Scores, float | None]]) -> None:
        self._pairs = pairs

    def __getitem__(self, point: Point) -> Drop:
        return drop(*self._pairs[point])

    def __iter__(self) -> Iterator[Point]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


def drops(plan: dict[str, Any], outcomes: dict[Point, Outcome]) -> dict[str, Drops]:
    """Measure (RELATIVE, CORRECTED) to the drops of all compressed points of the models under study."""
    compressed = {
        point: (outcome.scores, outcomes[reference_of(point, plan)].scores, outcome.chance)
        for point, outcome in outcomes.items()
        if point.method != DENSE and not outcome.control and outcome.scores.frames
    }
    plain = {point: (*sides, None) for point, (*sides, _) in compressed.items()}
    return {RELATIVE: Drops(plain), CORRECTED: Drops(compressed)}


def write(path: Path, measured: Mapping[str, Mapping[Point, Drop]]) -> None:
    """Write drops as parquet, one row per point and measure; draws in single precision."""
    names = [(measure, point) for measure, found in measured.items() for point in found]
    with atomic_path(path) as aside, ExitStack() as stack:
        writer = None
        for start in range(0, max(1, len(names)), ROWS):
            rows = [_row(measure, point, measured[measure][point]) for measure, point in names[start : start + ROWS]]
            table = pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False)
            writer = writer or stack.enter_context(pq.ParquetWriter(aside, table.schema))
            writer.write_table(table)


def _row(measure: str, point: Point, one: Drop) -> dict[str, Any]:
    draws = one.draws.astype(np.float32).ravel()
    return {"measure": measure, **vars(point), "seeds": json.dumps(one.seeds), "values": one.values, "draws": draws}


def read(path: Path) -> dict[str, dict[Point, Drop]]:
    """Read what :func:`write` wrote.

    Raises:
        DataError: the file is missing or not such a table.
    """
    measured: dict[str, dict[Point, Drop]] = {RELATIVE: {}, CORRECTED: {}}
    try:
        for row in pd.read_parquet(path).itertuples(index=False):
            point = Point(*(getattr(row, name) for name in Point.__dataclass_fields__))
            seeds = tuple(tuple(seed) if isinstance(seed, list) else seed for seed in json.loads(row.seeds))
            draws = np.asarray(row.draws, dtype=float).reshape(len(seeds), -1)
            measured[row.measure][point] = Drop(np.asarray(row.values, dtype=float), draws, seeds)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read as drops ({error}); delete it so that it is made again") from None
    return measured
