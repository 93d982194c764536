"""Where pre-training matters: every dense model beside its untrained twin (`tables/pretraining.csv`).

One row per model, twin, task, variant, share of the training data and transfer, wherever an experiment ran the twin; a
comparison that several experiments share has one row, of the experiment with the most seeds. Columns:

- experiments: the experiments that ran both.
- transfer: `dense` where both were fine-tuned, `none` where they were asked as they are.
- metric, chance: chance is empty for a perplexity whose task names none.
- value, ci_low, ci_high; twin_value, twin_ci_low, twin_ci_high: the metric with the interval of all tables.
- difference, difference_ci_low, difference_ci_high: how much better the pre-trained model is; for a metric where lower
  is better, how much lower. Formed seed by seed and, over the bootstrap, on the same examples; the interval holds for
  other seeds and other examples (:func:`junkdna.effects.effect`).
- n_examples, n_seeds.
- matters: 1 where the two intervals lie apart, the pre-trained model's on the better side, and that of the difference
  is above 0; else 0. Both, for neither is the stricter everywhere: the first adds the widths of two intervals where the
  difference takes the root of their squares, the second counts seeds and examples together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from junkdna.effects import effect
from junkdna.files import DataError
from junkdna.outcomes import Outcome, Point, reference_of
from junkdna.statistics import estimate_value, same_ids

KEY = ["model", "twin", "task", "variant", "fraction", "transfer"]
COLUMNS = [
    *("experiments", *KEY, "metric", "chance", "value", "ci_low", "ci_high"),
    *("twin_value", "twin_ci_low", "twin_ci_high"),
    *("difference", "difference_ci_low", "difference_ci_high", "n_examples", "n_seeds", "matters"),
]


def compare(plan: dict[str, Any], outcomes: dict[Point, Outcome]) -> pd.DataFrame:
    """The rows of one experiment; none without a twin of one of its models.

    Args:
        outcomes: of its dense cells at least.

    Raises:
        DataError: model and twin differ in seeds or examples.
    """
    rows = []
    for point, outcome in outcomes.items():
        base = reference_of(point, plan)
        if base.model != point.model and outcome.scores.frames:  # not where all seeds diverged
            named = vars(point) | {"model": base.model, "twin": point.model}
            named["experiments"] = plan["experiment"]["name"]
            rows.append({key: named[key] for key in ("experiments", *KEY)} | _difference(outcomes[base], outcome))
    return pd.DataFrame(rows, columns=COLUMNS)


def merge(compared: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several experiments, each comparison once."""
    found = [table for table in compared if len(table)]
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    rows = pd.concat(found, ignore_index=True)
    rows["experiments"] = rows.groupby(KEY)["experiments"].transform(", ".join)
    return rows.loc[rows.groupby(KEY, sort=False)["n_seeds"].idxmax()].reset_index(drop=True)


def _difference(outcome: Outcome, twin: Outcome) -> dict[str, Any]:
    scores, other = outcome.scores.like(twin.scores), twin.scores
    if set(scores.frames) != set(other.frames) or not same_ids(scores.ids, other.ids):
        raise DataError(f"{scores.group}: other seeds or examples than its untrained twin's; evaluate both again")
    sign = 1 if scores.metric.higher_is_better else -1
    values = np.array([scores.values[seed] - other.values[seed] for seed in scores.frames])
    draws = scores.seed_replicates - other.seed_replicates
    difference = effect(sign * values, sign * draws).interval()
    value, untrained = estimate_value(scores), estimate_value(other)
    apart = value.low > untrained.high if sign > 0 else value.high < untrained.low
    return {
        **{"metric": outcome.metric, "chance": outcome.chance},
        **{"value": value.value, "ci_low": value.low, "ci_high": value.high},
        **{"twin_value": untrained.value, "twin_ci_low": untrained.low, "twin_ci_high": untrained.high},
        "difference": difference.value,
        **{"difference_ci_low": difference.low, "difference_ci_high": difference.high},
        **{"n_examples": len(scores.ids), "n_seeds": len(scores.frames)},
        "matters": int(apart and difference.low > 0),
    }
