"""Every compressed point against its dense reference, example by example.

- `changed` is the share of the examples with another answer; `lost` went from right to wrong, `gained` from wrong to
  right. Free answers are compared after normalisation. Regression and other tasks without answers that are right or
  wrong have empty fields.
- `mcnemar_p` is the exact test that `lost` and `gained` are equally likely (McNemar 1947), of seeds twice the median
  over them: a valid p-value whatever their dependence, and seeds share their examples (Vovk and Wang 2020).
- `kl` is the Kullback-Leibler divergence of the compressed model's distribution over the options (or classes) from
  the dense model's, in bits per example; empty where options were not scored.
- `difference` is the metric minus the dense metric. All intervals are paired: the same examples and seeds on both
  sides (:func:`junkdna.statistics.both_ways`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import bdtr, log_softmax

from junkdna.curves import DENSE
from junkdna.metrics import normalize_answer
from junkdna.outcomes import Outcome, Point, reference_of, right_answers
from junkdna.statistics import UNDEFINED, Estimate, Scores, both_ways, percentile_interval

KEYS = ["experiment", "model", "method", "level", "sparsity", "transfer", "task", "variant", "fraction", "metric"]
MEASURES = ["difference", "changed", "lost", "gained", "kl"]
COLUMNS = [*KEYS, "n_examples", "n_seeds", "mcnemar_p"]
COLUMNS += [name for measure in MEASURES for name in (measure, f"{measure}_ci_low", f"{measure}_ci_high")]


def mcnemar(lost: np.ndarray, gained: np.ndarray) -> float:
    """Exact two-sided p-value of numbers of lost and gained answers, one of each per seed."""
    fewer, every = np.minimum(lost, gained), (lost + gained).astype(int)
    each = np.minimum(1.0, 2 * bdtr(fewer, every, 0.5))
    return float(each[0]) if len(each) == 1 else float(min(1.0, 2 * np.median(each)))


def divergence(dense: pd.Series, other: pd.Series) -> np.ndarray:
    """KL divergence from ``dense`` in bits per example, of log-likelihoods or logits of the options, shape (n,)."""
    lengths = dense.map(len).to_numpy()
    mask = np.arange(lengths.max()) < lengths[:, None]
    logs = []
    for side in (dense, other):
        padded = np.full(mask.shape, -np.inf)
        padded[mask] = np.concatenate(side.to_numpy())
        # Of what is not there, 0: it adds exp(0) * (0 - 0).
        logs.append(np.where(mask, log_softmax(padded, axis=1), 0.0))
    return (np.exp(logs[0]) * (logs[0] - logs[1])).sum(1) / np.log(2)


def compare(plan: dict[str, Any], outcomes: dict[Point, Outcome], table: pd.DataFrame) -> pd.DataFrame:
    """One row per compressed point, in the order of the table of points."""
    points = table[(table["method"] != DENSE) & (table["control"] == 0) & (table["n_seeds"] > 0)]
    rows = []
    for _, row in points.iterrows():
        point = Point(*(row[key] for key in Point.__dataclass_fields__))
        scores = outcomes[point].scores
        dense = outcomes[reference_of(point, plan)].scores.like(scores)
        rows.append({**row[[*KEYS, "n_examples", "n_seeds"]], **_compared(scores, dense)})
    return pd.DataFrame(rows, columns=COLUMNS)


def _compared(scores: Scores, dense: Scores) -> dict[str, float]:
    found = dict.fromkeys(MEASURES, UNDEFINED)
    values = np.array([scores.values[seed] - dense.values[seed] for seed in scores.frames])
    found["difference"] = _interval(values, scores.seed_replicates - dense.seed_replicates)
    p = float("nan")
    sides = [[right_answers(frame, scores.metric) for frame in side.frames.values()] for side in (scores, dense)]
    if all(answers is not None for side in sides for answers in side):
        right, was_right = (np.stack(side) for side in sides)
        lost, gained = was_right * (1 - right), (1 - was_right) * right
        found |= {"changed": _mean(scores, _changed(scores, dense))}
        found |= {"lost": _mean(scores, lost), "gained": _mean(scores, gained)}
        p = mcnemar(lost.sum(1), gained.sum(1))
    pairs = [(dense.frames[seed], frame) for seed, frame in scores.frames.items()]
    if all("option_scores" in frame and frame["option_scores"].notna().all() for pair in pairs for frame in pair):
        found["kl"] = _mean(scores, np.stack([divergence(*(f["option_scores"] for f in pair)) for pair in pairs]))
    named = {m: e for measure, e in found.items() for m, e in _named(measure, e)}
    return {"mcnemar_p": p, **named}


def _changed(scores: Scores, dense: Scores) -> np.ndarray:
    """1 where the answer is another one, shape (seeds, examples)."""

    # As its metric compares answers: number_match would miss a sign without it.
    words = scores.metric.name in ("exact_match", "f1", "contains", "contains_either")

    def answers(frame: pd.DataFrame) -> np.ndarray:
        text, chosen = frame["prediction"], frame["y_pred"]
        return np.where(chosen.notna(), chosen.astype(str), text.map(normalize_answer) if words else text)

    return np.stack([answers(f) != answers(dense.frames[seed]) for seed, f in scores.frames.items()]).astype(float)


def _mean(scores: Scores, values: np.ndarray) -> Estimate:
    return _interval(values.mean(1), scores.mean_replicates(values))


def _interval(values: np.ndarray, replicates: np.ndarray) -> Estimate:
    return percentile_interval(float(values.mean()), both_ways(values, replicates))


def _named(measure: str, estimate: Estimate) -> list[tuple[str, float]]:
    return [(measure, estimate.value), (f"{measure}_ci_low", estimate.low), (f"{measure}_ci_high", estimate.high)]
