"""Plans and tidy tables as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from junkdna.files import DataError, atomic_path, read_json

NAMES = [
    "experiment",
    "model",
    "method",
    "level",
    "transfer",
    "task",
    "variant",
    "fraction",
    "metric",
    "kind",
    "panel",
    "axis",
    "series",
    "easy",
    "easiest",
    "hardest",
    "test",
    "hard",
    "comparison",
    "interval",
    "between",
    "reference_model",
    "twin",
    "first",
    "second",
    "third",
    "learnt_from",
    "informative",
    "diverged",
    "source",
    *("scale", "claim", "statement", "experiments", "statistic", "verdict"),
    *("rule", "left_out", "over", "set", "levels"),
]


def read_plan(path: Path) -> dict[str, Any]:
    """Read a plan.

    Raises:
        DataError: it is not JSON or lacks a key.
    """
    plan = read_json(path)
    missing = {"experiment", "reported", "tasks", "models", "methods", "cells"} - set(
        plan if isinstance(plan, dict) else {}
    )
    if missing:
        raise DataError(f"{path}: not a plan: missing {', '.join(sorted(missing))}")
    return plan


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write with six decimals, so that equal values give equal bytes; undefined values are empty."""
    rounded = table.copy()
    numbers = rounded.select_dtypes("floating").columns
    rounded[numbers] = rounded[numbers].astype(float).round(6) + 0.0  # no negative zero
    with atomic_path(path) as aside:
        rounded.to_csv(aside, index=False, float_format="%.6f", lineterminator="\n", encoding="utf-8")


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table that :func:`write_csv` wrote; names stay text (`0.50`, `none`), empty numbers are NaN.

    Raises:
        DataError: the file is missing or not such a table.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        numbers = [column for column in table.columns if column not in NAMES]
        return table.assign(**{column: pd.to_numeric(table[column]) for column in numbers})
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a table ({error}); delete it so that it is made again") from None
