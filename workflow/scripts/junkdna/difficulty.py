"""Difficulty scores of every series.

- Rank along the experiment's axis; true difficulty, where it is known by construction.
- Human gap: (human - dense) / human on the task's own metric. Where human and model are both poor it says nothing, so
  the dense model's error, 1 - chance-corrected metric, stands beside it, and whether the task tells the pre-trained
  model from its untrained twin at all.
- Description length of the answers under dense models (:mod:`junkdna.description`).
- Item-response difficulty: the mean over a series' examples (:mod:`junkdna.irt`). It rests on the answers of compressed
  states too, so that it holds part of what pruning does: not a score to test a drop of the same states against.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from scipy.special import ndtri

from junkdna import description
from junkdna.curves import DENSE, difficulty_axes, references
from junkdna.files import DataError
from junkdna.metrics import METRICS
from junkdna.outcomes import Outcome, Point
from junkdna.responses import Difficulties, Series
from junkdna.statistics import CONFIDENCE, UNDEFINED, Estimate, Scores, chance_corrected
from junkdna.tables import points

COLUMNS = [
    "experiment",
    "panel",
    "series",
    "axis",
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
    *("description_length", "description_length_ci_low", "description_length_ci_high"),
    *("irt_difficulty", "irt_ci_low", "irt_ci_high"),
    "control_metric",
    "control_ci_low",
    "control_ci_high",
    "informative",
]


OF_TWIN = ["model", "task", "variant", "fraction", "transfer"]  # what a comparison with the twin is of


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


def score_difficulty(
    plans: list[dict[str, Any]],
    dense: list[dict[Point, Outcome]],
    compared: list[pd.DataFrame],
    human: Path,
    difficulties: Difficulties,
) -> pd.DataFrame:
    """One row per experiment, panel, series and model whose fine-tuning did not diverge, in the experiments' order.

    ``informative`` is `yes` where pre-training matters by :mod:`junkdna.twins`, `no` where it does not, `no
    control` where the experiment did not run the untrained twin. Empty fields: no rank (series
    without an order), no published human score, no true difficulty, no control, a dense metric without a
    chance level to correct for, no description length, no answers that are right or wrong.

    Args:
        dense: outcomes of each plan's dense cells.
        compared: each plan's :func:`junkdna.twins.compare`.

    Raises:
        DataError: a human score cannot be used.
    """
    scores, rows = read_human(human), []
    trained = _trained(dense)
    for plan, outcomes, beside in zip(plans, dense, compared, strict=True):
        table, experiment = points(plan, outcomes), plan["experiment"]
        places = {
            label: {"axis": axis, "axis_rank": rank if experiment["ordered"] else None}
            for axis, labels in difficulty_axes(experiment).items()
            for rank, label in enumerate(labels, start=1)
        }
        for panel, series in itertools.product(experiment["panels"], experiment["series"]):
            found = references(experiment, table, panel["label"], series["label"])
            for _, row in found[(found["control"] == 0) & (found["n_seeds"] > 0)].iterrows():
                control = beside[(beside[OF_TWIN] == row[OF_TWIN]).all(axis=1)]
                named = {"panel": panel["label"], "series": series["label"], **places[series["label"]]}
                named |= _scores(row, control, plan["tasks"][row["task"]], scores, human)
                named |= _length(row, outcomes, trained) | _item_response(row, difficulties)
                rows.append(named)
    return pd.DataFrame(rows, columns=COLUMNS).astype({"axis_rank": "Int64"})


def _trained(dense: list[dict[Point, Outcome]]) -> dict[tuple[str, ...], dict[float, Scores]]:
    """Model, task and variant to fraction to the scores of dense fine-tuned models, of all plans together."""
    found: dict[tuple[str, ...], dict[float, Scores]] = {}
    for point, outcome in ((p, o) for outcomes in dense for p, o in outcomes.items() if p.transfer == DENSE):
        if not outcome.scores.frames:  # every seed diverged
            continue
        fractions = found.setdefault((point.model, point.task, point.variant), {})
        known = fractions.get(float(point.fraction))
        if known is None or len(known.frames) < len(outcome.scores.frames):
            fractions[float(point.fraction)] = outcome.scores
    return found


def _length(
    row: pd.Series, outcomes: dict[Point, Outcome], trained: dict[tuple[str, ...], dict[float, Scores]]
) -> dict[str, float]:
    if row["transfer"] == DENSE:
        known = trained[row["model"], row["task"], row["variant"]]
        found = description.online(known, float(row["fraction"]))
    else:
        found = description.asked(outcomes[Point(*(row[key] for key in Point.__dataclass_fields__))].scores)
    name = "description_length"
    return {name: found.value, f"{name}_ci_low": found.low, f"{name}_ci_high": found.high}


def _item_response(row: pd.Series, difficulties: Difficulties) -> dict[str, float]:
    series = Series(*(row[key] for key in Series._fields))
    if series not in difficulties.groups:
        return {}
    number, half = difficulties.number(series), ndtri((1 + CONFIDENCE) / 2)
    mean, error = difficulties.fit.mean[number], difficulties.fit.error[number]
    return {"irt_difficulty": mean, "irt_ci_low": mean - half * error, "irt_ci_high": mean + half * error}


def _scores(
    dense: pd.Series,
    control: pd.DataFrame,
    task: dict[str, Any],
    scores: dict[str, dict[str, float]],
    file: Path,
) -> dict[str, Any]:
    better = METRICS[dense["metric"]].higher_is_better
    human = _human(task, dense["metric"], scores, file)
    twin, informative = UNDEFINED, "no control"
    if len(control):
        twin = Estimate(*control.iloc[0][["twin_value", "twin_ci_low", "twin_ci_high"]])
        informative = "yes" if control["matters"].all() else "no"
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
