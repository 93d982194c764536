"""Which series can show what pruning takes of pre-trained weights, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from junkdna.claims import Rules

TASK = ["model", "task", "variant", "fraction"]


@dataclass(frozen=True)
class Telling:
    """Which series can show what pruning takes, by model, task, variant and fraction.

    Attributes:
        errors: the dense model's error in each that can.
        reasons: why the others cannot.
        untested: models and tasks without a run of the untrained twin, where that is asked for.
    """

    errors: dict[tuple[str, ...], float]
    reasons: dict[tuple[str, ...], str]
    untested: list[str]


def find(rules: Rules, difficulty: pd.DataFrame, pretraining: pd.DataFrame) -> Telling:
    """Tell the series that can lose what pre-training gave from the others.

    The dense model has to be better than chance, its 95 % interval above it, and pre-training has to matter wherever in
    the configuration the untrained twin was run on that task; a task without a twin's run counts.

    Args:
        difficulty: scores of the series (:mod:`junkdna.difficulty`).
        pretraining: dense models beside their twins (:mod:`junkdna.twins`).
    """
    # Only a metric where higher is better has a dense error.
    clear = np.where(
        difficulty["dense_error"].notna(),
        difficulty["dense_ci_low"] > difficulty["chance"],
        difficulty["dense_ci_high"] < difficulty["chance"],
    )
    lost = pretraining[pretraining["matters"] == 0] if rules.needs_pretraining else pretraining[:0]
    same = {(row.model, row.task, row.variant): _beside(row) for row in lost.itertuples()}
    errors, reasons = {}, {}
    for key, better, row in zip(keys(difficulty), clear, difficulty.itertuples(), strict=True):
        if key[:3] in same:
            reasons[key] = same[key[:3]]
        elif better:
            errors[key] = row.dense_error
        else:
            reasons[key] = _beside_chance(row)
    run = set(pretraining["model"] + " on " + pretraining["task"])
    untested = dict.fromkeys(difficulty["model"] + " on " + difficulty["task"]) if rules.needs_pretraining else {}
    return Telling(errors, reasons, [name for name in untested if name not in run])


def _beside(row: Any) -> str:
    difference = f"{row.difference:.3f} [{row.difference_ci_low:.3f}, {row.difference_ci_high:.3f}]"
    values = f"{row.metric} {row.value:.3f}, untrained {row.twin_value:.3f}, difference {difference}"
    return f"pre-training does not matter ({values})"


def _beside_chance(row: Any) -> str:
    if pd.isna(row.chance):
        return f"the task has no chance level ({row.metric})"
    interval = f"{row.dense_metric:.3f} [{row.dense_ci_low:.3f}, {row.dense_ci_high:.3f}]"
    return f"the dense model is not better than chance ({row.metric} {interval}, chance {row.chance:g})"


def keys(table: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """Model, task, variant and fraction of every row."""
    return table[TASK].itertuples(index=False, name=None)


def silent(where: str, group: pd.DataFrame, telling: Telling, few: bool) -> list[str]:
    """What of a panel says nothing and why, as one line, if there is any.

    Args:
        where: name of the panel.
        group: its rows.
        few: fewer than two of its series are left.
    """
    found: dict[str, dict[str, None]] = {}
    for key in dict.fromkeys(keys(group)):
        if key not in telling.errors:
            _, task, variant, fraction = key
            name = task if variant == "all" else f"{task}/{variant}"
            name += f" at {100 * float(fraction):g} % of the data" if fraction != "1.00" else ""
            found.setdefault(telling.reasons[key], {})[name] = None
    if not found:
        return [f"{where}: fewer than two series"] if few else []
    reasons = ", and ".join(f"{', '.join(names)}: {reason}" for reason, names in found.items())
    return [f"{where}: {reasons}{', which leaves nothing to compare' if few else ''}"]
