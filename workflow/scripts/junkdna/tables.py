"""Tidy tables of one experiment: every point with its interval, and the contrasts between its series.

Conventions:
- percent_of_dense is metric / dense metric x 100, per seed, on the same examples, then averaged; dense metric
  / metric x 100 for a metric where lower is better (perplexity). relative_drop is 1 - percent_of_dense / 100.
- The dense row is its own reference. An untrained control is compared with the pre-trained dense model, which
  reference_model names.
- chance_corrected is (metric - chance) / (dense - chance) of the means over seeds: per seed the denominator
  may be near 0.
- An empty field means that the quantity is not defined: percent_of_dense, its interval, relative_drop and
  chance_percent where the dense metric is not above 0, chance_corrected where the dense model is not better
  than chance, chance for perplexity unless the task names one.
- diverged names the seeds whose fine-tuning, or the dense model's, diverged: they count in nothing, and n_seeds
  counts the others. A point without a seed left has n_seeds 0 and no value. No other field is ever empty.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

from junkdna.curves import CURVE, curves, difficulty_axes, level_rank
from junkdna.outcomes import Outcome, Point, reference_of
from junkdna.statistics import (
    Pair,
    chance_corrected,
    drop_difference,
    estimate_retained,
    estimate_value,
    retained,
)

COLUMNS = [
    "experiment",
    "model",
    "method",
    "level",
    "sparsity",
    "transfer",
    "task",
    "variant",
    "fraction",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "percent_of_dense",
    "chance",
    "chance_corrected",
    "relative_drop",
    "n_examples",
    "n_seeds",
    "percent_ci_low",
    "percent_ci_high",
    "control",
    "kind",
    "dense",
    "chance_percent",
    "reference_model",
    "diverged",
]
CONTRAST_COLUMNS = [
    "experiment",
    "panel",
    "model",
    "method",
    "level",
    "sparsity",
    "transfer",
    "comparison",
    "easy",
    "hard",
    "drop_easy",
    "drop_hard",
    "difference",
    "ci_low",
    "ci_high",
    "interval",
    "mean_drop",
    "nearest_30",
    "n_examples_easy",
    "n_examples_hard",
    "n_seeds",
]
TARGET_DROP = 0.30


def points(plan: dict[str, Any], outcomes: dict[Point, Outcome]) -> pd.DataFrame:
    """One row per point in a fixed order: pre-trained before controls, by model, method, level and task."""
    name = plan["experiment"]["name"]
    rows = []
    for point, outcome in outcomes.items():
        dense = reference_of(point, plan)
        rows.append(_row(name, point, outcome, outcomes[dense]) | {"reference_model": dense.model})
    table = pd.DataFrame(rows, columns=COLUMNS)
    return _ordered(table, plan)


def _row(name: str, point: Point, outcome: Outcome, dense: Outcome) -> dict[str, Any]:
    value, share = estimate_value(outcome.scores), estimate_retained(outcome.scores, dense.scores)
    better = outcome.scores.metric.higher_is_better
    beside = dense.scores.like(outcome.scores) if outcome.diverged and outcome.scores.frames else dense.scores
    reference = float(np.mean(list(beside.values.values()))) if beside.frames else float("nan")
    return {
        "experiment": name,
        **vars(point),
        "sparsity": outcome.sparsity,
        "metric": outcome.metric,
        "value": value.value,
        "ci_low": value.low,
        "ci_high": value.high,
        "percent_of_dense": 100 * share.value,
        "chance": outcome.chance,
        "chance_corrected": chance_corrected(value.value, reference, outcome.chance, better),
        "relative_drop": 1 - share.value,
        "n_examples": len(outcome.scores.ids),
        "n_seeds": len(outcome.scores.frames),
        "percent_ci_low": 100 * share.low,
        "percent_ci_high": 100 * share.high,
        "control": int(outcome.control),
        "kind": outcome.kind,
        "dense": reference,
        "chance_percent": 100 * float(retained(outcome.chance, reference, better)),
        "diverged": " ".join(outcome.diverged),
    }


def _ordered(table: pd.DataFrame, plan: dict[str, Any]) -> pd.DataFrame:
    experiment = plan["experiment"]
    ranks = {
        "model": [*experiment["models"], *experiment["controls"]],
        "method": ["dense", *experiment["methods"]],
        "level": sorted(set(table["level"]), key=level_rank),
        "task": experiment["tasks"],
        "transfer": ["dense", *experiment["transfers"]],
    }
    keys = ["control", "model", "method", "level", "transfer", "task", "variant", "fraction"]

    def rank(column: pd.Series) -> pd.Series:
        known = ranks.get(column.name)
        return column.map({value: i for i, value in reversed(list(enumerate(known)))}) if known else column

    return table.sort_values(keys, key=rank, kind="stable", ignore_index=True)


def contrasts(plan: dict[str, Any], outcomes: dict[Point, Outcome], table: pd.DataFrame) -> pd.DataFrame:
    """Hard minus easy relative drop at every level of every panel.

    ``comparison`` is `extreme` (first against last series of a difficulty axis), `adjacent`, or for series without
    an order `pair` (every two, in the order of the experiment). ``nearest_30`` is 1 at the level whose mean drop
    over the two is nearest to 0.30 among the levels of one model, method, transfer, panel and pair; the lowest level
    of equals.
    """
    experiment = plan["experiment"]
    pinned = {key for series in experiment["series"] for key in series["where"]}
    group = [key for key in CURVE if key not in pinned]
    found = curves(experiment, table)
    rows = []
    for panel in dict.fromkeys(found["panel"]):
        here = found[found["panel"] == panel]
        for easy, hard, comparison in _pairs(experiment):
            sides = [here[here["series"] == label] for label in (easy, hard)]
            joined = sides[0].merge(sides[1], on=[*group, "level"], suffixes=("_easy", "_hard"))
            rows += [_contrast(plan, outcomes, both, panel, comparison) for both in joined.to_dict("records")]
    contrasted = pd.DataFrame(rows, columns=CONTRAST_COLUMNS)
    distance = (contrasted["mean_drop"] - TARGET_DROP).abs().round(9)
    keys = [contrasted[key] for key in ("panel", "model", "method", "transfer", "easy", "hard")]
    nearest = distance.dropna().groupby([key[distance.notna()] for key in keys]).idxmin()
    contrasted["nearest_30"] = contrasted.index.isin(nearest).astype(int)
    return contrasted


def _pairs(experiment: dict[str, Any]) -> list[tuple[str, str, str]]:
    pairs: list[tuple[str, str, str]] = []
    for labels in difficulty_axes(experiment).values():
        if not experiment["ordered"]:
            pairs += [(*pair, "pair") for pair in itertools.combinations(labels, 2)]
            continue
        pairs += [(labels[0], labels[-1], "extreme")] if len(labels) > 1 else []
        # Of two series the extreme pair is the adjacent one.
        pairs += [(*pair, "adjacent") for pair in itertools.pairwise(labels)] if len(labels) > 2 else []
    return pairs


def _contrast(
    plan: dict[str, Any], outcomes: dict[Point, Outcome], both: dict[str, Any], panel: str, comparison: str
) -> dict[str, Any]:
    sides = []
    for side in ("easy", "hard"):
        keys = {key: both[key] if key in both else both[f"{key}_{side}"] for key in Point.__dataclass_fields__}
        point = Point(**keys)
        sides.append((point, Pair(outcomes[point].scores, outcomes[reference_of(point, plan)].scores)))
    (first, easy), (second, hard) = sides
    easy, hard = easy.like(hard.scores), hard.like(easy.scores)
    difference = drop_difference(easy, hard)
    drops = [float(np.mean(list(pair.drops().values()) or np.nan)) for pair in (easy, hard)]
    return {
        "experiment": plan["experiment"]["name"],
        "panel": panel,
        "model": _both(first.model, second.model),
        "method": _both(first.method, second.method),
        "level": first.level,
        "sparsity": both["sparsity_easy"],
        "transfer": _both(first.transfer, second.transfer),
        "comparison": comparison,
        "easy": both["series_easy"],
        "hard": both["series_hard"],
        "drop_easy": drops[0],
        "drop_hard": drops[1],
        "difference": difference.value,
        "ci_low": difference.low,
        "ci_high": difference.high,
        "interval": "t over seeds" if easy.scores.several else "bootstrap over examples",
        "mean_drop": sum(drops) / 2,
        "n_examples_easy": len(easy.scores.ids),
        "n_examples_hard": len(hard.scores.ids),
        "n_seeds": len(easy.scores.frames),
    }


def _both(easy: str, hard: str) -> str:
    return easy if easy == hard else f"{easy} | {hard}"
