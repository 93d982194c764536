"""Panels and series of an experiment as rows of its table."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pandas as pd

from junkdna import levels
from junkdna.files import DataError

DENSE = "dense"
# What tells one curve of a series from another, unless a panel or a series fixes it.
CURVE = ["model", "method", "transfer"]
KINDS = ["dense", "sparsity", "nm", "band", "bits"]
# Dense references and controls have their own method and transfer, and a control has its own model: for them these keys
# select by another column, or not at all.
OF_REFERENCES = {"model": "reference_model", "method": None, "transfer": None}


def difficulty_axes(experiment: dict[str, Any]) -> dict[str, list[str]]:
    """Difficulty axis to the labels of its series, both in the experiment's order."""
    axes: dict[str, list[str]] = {}
    for series in experiment["series"]:
        axes.setdefault(series.get("axis") or experiment["series_title"], []).append(series["label"])
    return axes


def select(frame: pd.DataFrame, *wheres: dict[str, str | list[str]], reference: bool = False) -> pd.DataFrame:
    """Rows whose columns have the wanted values; ``reference`` selects what compressed rows of such values are compared
    with: dense models and their untrained twins."""
    chosen = pd.Series(True, index=frame.index)
    for where in wheres:
        for key, wanted in where.items():
            column = OF_REFERENCES.get(key, key) if reference else key
            if column:
                chosen &= frame[column].isin([wanted] if isinstance(wanted, str) else wanted)
    return frame[chosen]


def curves(experiment: dict[str, Any], table: pd.DataFrame, diverged: bool = False) -> pd.DataFrame:
    """The compressed rows of every panel and series, in the experiment's order, with columns `panel` and
    `series`.

    Args:
        diverged: with the points of which no seed is left.

    Raises:
        DataError: a series selects nothing, two points of one curve have the same level, or no seed of any is left.
    """
    points = table[(table["method"] != DENSE) & (table["control"] == 0)]
    parts = []
    for panel in experiment["panels"]:
        for series in experiment["series"]:
            found = select(points, panel["where"], series["where"])
            parts.append(found.assign(panel=panel["label"], series=series["label"]))
    every = pd.concat(parts, ignore_index=True)
    if every.empty:
        raise DataError(f"{experiment['name']}: panels and series: no point of the table matches any of them")
    for kind, key in (("panels", "panel"), ("series", "series")):
        missing = [part["label"] for part in experiment[kind] if part["label"] not in set(every[key])]
        if missing:
            raise DataError(f"{experiment['name']}: {kind}: {missing[0]!r}: its `where` matches no point of the table")
    twice = every[every.duplicated(["panel", "series", *CURVE, "level"], keep=False)]
    if len(twice):
        row, names = (
            twice.iloc[0],
            sorted(set(twice["task"] + "/" + twice["variant"] + "/" + twice["fraction"])),
        )
        raise DataError(
            f"{experiment['name']}: panel {row.panel!r}, series {row.series!r}: several points at level "
            f"{row.level} of {row.method} ({', '.join(names)}); add task, variant or fraction to `where`"
        )
    left = every[every["n_seeds"] > 0]
    if left.empty:
        raise DataError(
            f"{experiment['name']}: all its fine-tunings, or those of its dense models, diverged; lower "
            "`training.learning_rate` of its tasks"
        )
    return every if diverged else left.reset_index(drop=True)


def references(experiment: dict[str, Any], table: pd.DataFrame, panel: str, series: str) -> pd.DataFrame:
    """The dense and control rows that belong to one series in one panel."""
    wheres = [
        part["where"]
        for kind, label in (("panels", panel), ("series", series))
        for part in experiment[kind]
        if part["label"] == label
    ]
    return select(table[table["method"] == DENSE], *wheres, reference=True)


def level_rank(level: str) -> tuple[int, Fraction, Fraction, int]:
    """Order of levels in tables and figures: by kind, then mildest first."""
    parsed = levels.parse(level)
    return KINDS.index(parsed.kind), *parsed.sort_key[1:]


def level_label(level: str) -> str:
    """How a level is shown: `50 %`, `2:4`, `30-40 %`, `4 bit`, `dense`."""
    parsed = levels.parse(level)
    return {
        "dense": DENSE,
        "sparsity": f"{100 * float(parsed.high):g} %",
        "nm": f"{parsed.n}:{parsed.m}",
        "band": f"{100 * float(parsed.low):g}-{100 * float(parsed.high):g} %",
        "bits": f"{parsed.bits} bit",
    }[parsed.kind]


def metric_label(metric: str) -> str:
    """How a metric is written in figures and tables."""
    known = {"matthews": "Matthews correlation", "f1_binary": "F1", "f1": "F1", "contains": "containment"}
    known |= {"contains_either": "containment either way"}
    return known.get(metric, metric.replace("_", " "))
