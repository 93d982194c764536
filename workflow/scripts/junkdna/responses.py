"""Right and wrong answers of all evaluated cells, example by example, and the difficulty that they give each example.

An item is an example of one variant of a task at one fraction of the training data; a respondent is a state: model,
method, level, transfer and seeds. States that were fine-tuned on several tasks count as one respondent, which puts the
tasks on one scale (:mod:`junkdna.irt`). Tasks whose answers are not right or wrong have no items.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from junkdna import irt
from junkdna.answers import Reader, right_answers, right_columns
from junkdna.files import DataError
from junkdna.metrics import METRICS
from junkdna.statistics import same_ids


class Series(NamedTuple):
    """What has items of its own."""

    task: str
    variant: str
    fraction: str


class State(NamedTuple):
    """A respondent; the dense model has the transfer `dense` if it was fine-tuned, else `none`."""

    model: str
    method: str
    level: str
    transfer: str
    seed: int | None
    calibration_seed: int | None


@dataclass(frozen=True)
class Responses:
    """The answers to the items of one series: 1 where right, shape (states, items)."""

    states: list[State]
    ids: np.ndarray
    right: np.ndarray


def read_responses(plans: Iterable[dict[str, Any]]) -> dict[Series, Responses]:
    """Read each cell of the plans once; untrained twins are left out.

    Raises:
        DataError: a cell cannot be read, or was asked other examples than another.
    """
    rows: dict[Series, dict[State, np.ndarray]] = {}
    ids: dict[Series, np.ndarray] = {}
    seen: set[str] = set()
    reader = Reader()
    for plan in plans:
        for cell in plan["cells"]:
            if cell["control"] or cell["path"] in seen:
                continue
            seen.add(cell["path"])
            path, metric = Path(cell["path"]) / "predictions.parquet", METRICS[plan["tasks"][cell["task"]]["metric"]]
            for variant, frame in reader.read(path, cell["task"], metric, right_columns(metric)).items():
                right, series = right_answers(frame, metric), Series(cell["task"], variant, cell["fraction"])
                if right is None:
                    continue
                if not same_ids(ids.setdefault(series, frame["id"]), frame["id"]):
                    raise DataError(f"{path}: variant {variant!r}: other example ids than in other cells")
                state = State(*(cell[key] for key in State._fields))
                rows.setdefault(series, {})[state] = right.astype(np.uint8)
    return {s: Responses(list(found), ids[s], np.stack(list(found.values()))) for s, found in rows.items()}


@dataclass(frozen=True)
class Difficulties:
    """The item-response model of all series together."""

    responses: dict[Series, Responses]
    groups: dict[Series, irt.Group]
    fit: irt.Fit

    def number(self, series: Series) -> int:
        return list(self.groups).index(series)

    def of_items(self, series: Series, rows: np.ndarray | None = None) -> np.ndarray:
        """Difficulty of each item, learnt from these rows of its responses, bool per row; shape (items,)."""
        return self.fit.difficulties(self.number(series), self.groups[series], rows)

    def table(self) -> pd.DataFrame:
        """One row per item: task, variant, fraction, id, difficulty, and how many of how many states are right."""
        parts = []
        for series, found in self.responses.items():
            counts = {"right": found.right.sum(0).astype(int), "states": len(found.states)}
            parts.append(pd.DataFrame({"id": found.ids, "difficulty": self.of_items(series), **counts}))
            parts[-1] = parts[-1].assign(**series._asdict())
        columns = [*Series._fields, "id", "difficulty", "right", "states"]
        return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def estimate(responses: dict[Series, Responses]) -> Difficulties:
    """Fit the item-response model to the answers to all series."""
    numbers: dict[State, int] = {}
    groups = {}
    for series, found in responses.items():
        states = np.array([numbers.setdefault(state, len(numbers)) for state in found.states])
        groups[series] = irt.Group(states, found.right)
    return Difficulties(responses, groups, irt.fit(list(groups.values()), len(numbers)))
