"""Difficulty scores of every series: axis rank, dense model's error, gap to humans, true difficulty.

The human gap is (human - dense) / human on the task's own metric. Where human and model are both poor it says
nothing, so the dense model's error, 1 - chance-corrected metric, stands beside it, and whether the task tells
the pre-trained model from its untrained twin at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from junkdna.curves import difficulty_axes, references
from junkdna.files import DataError
from junkdna.metrics import METRICS
from junkdna.outcomes import read_outcomes
from junkdna.statistics import UNDEFINED, Estimate, chance_corrected
from junkdna.tables import points
from junkdna.tidy import read_plan

COLUMNS = [
    "experiment",
    "panel",
    "series",
    "model",
    "task",
    "variant",
    "fraction",
    "axis_rank",
    "metric",
    "dense_metric",
    "dense_ci_low",
    "dense_ci_high",
    "chance",
    "dense_error",
    "human",
    "human_gap",
    "true_difficulty",
    "control_metric",
    "control_ci_low",
    "control_ci_high",
    "informative",
]


def read_human(path: Path) -> dict[str, dict[str, float]]:
    """Key to metric to human score, as fractions.

    Raises:
        DataError: not YAML, or a score that is not a number in (0, 1].
    """
    try:
        entries = yaml.safe_load(path.read_text())["scores"]
        scores = {key: dict(entry["metrics"]) for key, entry in entries.items()}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: not a file of human scores ({error!r}); expected scores: KEY: metrics: METRIC: n"
        ) from None
    for key, metrics in scores.items():
        for metric, score in metrics.items():
            if not isinstance(score, int | float) or not 0 < score <= 1:
                raise DataError(f"{path}: scores.{key}.metrics.{metric}: {score!r}: a number in (0, 1] is expected")
    return scores


def score_difficulty(plans: list[Path], human: Path) -> pd.DataFrame:
    """One row per experiment, panel, series and model, in the order of the experiments.

    ``informative`` is `yes` where the dense metric is better than the untrained twin's and their 95 %
    intervals do not meet, `no` where they do, `no control` without a twin. Empty fields: no rank (series
    without an order), no published human score, no true difficulty, no control, a dense metric without a
    chance level to correct for.

    Raises:
        DataError: a plan, cell or human score cannot be used.
    """
    scores = read_human(human)
    rows = []
    for path in plans:
        plan = read_plan(path)
        table = points(plan, read_outcomes(plan, dense_only=True))
        experiment = plan["experiment"]
        ranks = {s: rank for axis in difficulty_axes(experiment).values() for rank, s in enumerate(axis, start=1)}
        for panel in experiment["panels"]:
            for series in experiment["series"]:
                found = references(experiment, table, panel["label"], series["label"])
                for _, dense in found[found["control"] == 0].iterrows():
                    same = (found[["task", "variant", "fraction"]] == dense[["task", "variant", "fraction"]]).all(
                        axis=1
                    )
                    twins = [m for m, about in plan["models"].items() if about["untrained_twin_of"] == dense["model"]]
                    control = found[same & found["model"].isin(twins)]
                    row = {"panel": panel["label"], "series": series["label"]}
                    row["axis_rank"] = ranks[series["label"]] if experiment["ordered"] else None
                    rows.append(row | _scores(dense, control, plan["tasks"][dense["task"]], scores, human))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"axis_rank": "Int64"})


def _scores(
    dense: pd.Series,
    control: pd.DataFrame,
    task: dict[str, Any],
    scores: dict[str, dict[str, float]],
    file: Path,
) -> dict[str, Any]:
    better = METRICS[dense["metric"]].higher_is_better
    human = _human(task, dense["metric"], scores, file)
    twin = Estimate(*control.iloc[0][["value", "ci_low", "ci_high"]]) if len(control) else UNDEFINED
    informative = "no control"
    if len(control):
        apart = dense["ci_low"] > twin.high if better else dense["ci_high"] < twin.low
        informative = "yes" if apart else "no"
    true = task["variants"][dense["variant"]].get("true_difficulty")
    return {
        **{key: dense[key] for key in ("experiment", "model", "task", "variant", "fraction", "metric", "chance")},
        "dense_metric": dense["value"],
        "dense_ci_low": dense["ci_low"],
        "dense_ci_high": dense["ci_high"],
        "dense_error": 1 - chance_corrected(dense["value"], 1.0, dense["chance"], True) if better else float("nan"),
        "human": human,
        "human_gap": (human - dense["value"]) / human,
        "true_difficulty": true if true is not None else task.get("true_difficulty"),
        "control_metric": twin.value,
        "control_ci_low": twin.low,
        "control_ci_high": twin.high,
        "informative": informative,
    }


def _human(task: dict[str, Any], metric: str, scores: dict[str, dict[str, float]], file: Path) -> float:
    key = task.get("human")
    if key is None:
        return float("nan")
    if key not in scores:
        raise DataError(f"{file}: scores: no {key!r}, which a task of the catalog names; there are {', '.join(scores)}")
    return scores[key].get(metric, float("nan"))
