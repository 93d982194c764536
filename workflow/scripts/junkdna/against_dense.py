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

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import bdtr

from junkdna.answers import OPTIONS, TEXT, Frame, log_shares, right_answers
from junkdna.curves import DENSE
from junkdna.metrics import Metric, normalize_answer
from junkdna.outcomes import Outcome, Point, reference_of
from junkdna.statistics import UNDEFINED, Estimate, Scores, both_ways, check_pair, percentile_intervals

KEYS = ["experiment", "model", "method", "level", "sparsity", "transfer", "task", "variant", "fraction", "metric"]
MEASURES = ["difference", "changed", "lost", "gained", "kl"]
COLUMNS = [*KEYS, "n_examples", "n_seeds", "mcnemar_p"]
COLUMNS += [name for measure in MEASURES for name in (measure, f"{measure}_ci_low", f"{measure}_ci_high")]


def mcnemar(lost: np.ndarray, gained: np.ndarray) -> float:
    """Exact two-sided p-value of numbers of lost and gained answers, one of each per seed."""
    fewer, every = np.minimum(lost, gained), (lost + gained).astype(int)
    each = np.minimum(1.0, 2 * bdtr(fewer, every, 0.5))
    return float(each[0]) if len(each) == 1 else float(min(1.0, 2 * np.median(each)))


def compare(
    plan: dict[str, Any], outcomes: dict[Point, Outcome], lot: Iterable[Point]
) -> dict[Point, dict[str, float]]:
    """The measures of some points; those of compressed models under study of which a seed is left.

    Args:
        outcomes: of these points and of the dense ones that they are compared with, with all that is known of answers.

    Raises:
        DataError: a point and its reference differ in seeds or examples.
    """
    groups: dict[tuple[int, int], dict[Point, tuple[Scores, Scores]]] = {}
    for point in lot:
        scores = outcomes[point].scores
        if point.method != DENSE and not outcomes[point].control and scores.frames:
            dense = outcomes[reference_of(point, plan)].scores.like(scores)
            check_pair(scores, dense)
            groups.setdefault((id(scores.ids), len(scores.frames)), {})[point] = (scores, dense)
    return {p: row for pairs in groups.values() for p, row in zip(pairs, compared([*pairs.values()]), strict=True)}


def table(points: pd.DataFrame, rows: dict[Point, dict[str, float]]) -> pd.DataFrame:
    """The measures of points in the order of their table."""
    names = list(Point.__dataclass_fields__)
    found = [(row, rows.get(Point(*(row[name] for name in names)))) for row in points.to_dict("records")]
    kept = [{key: row[key] for key in [*KEYS, "n_examples", "n_seeds"]} | own for row, own in found if own]
    return pd.DataFrame(kept, columns=COLUMNS)


def compared(pairs: list[tuple[Scores, Scores]]) -> list[dict[str, float]]:
    """The measures of states and their dense references, all with the same examples and as many seeds."""
    first = pairs[0][0]
    found = {measure: [UNDEFINED] * len(pairs) for measure in MEASURES}
    values = np.array([[scores.values[seed] - dense.values[seed] for seed in scores.frames] for scores, dense in pairs])
    drawn = np.stack([scores.seed_replicates - dense.seed_replicates for scores, dense in pairs])
    found["difference"] = _intervals(values, drawn)
    frames = [[(frame, dense.frames[seed]) for seed, frame in scores.frames.items()] for scores, dense in pairs]
    p = [math.nan] * len(pairs)
    right, was_right = (_gathered(frames, lambda pair, s=s: right_answers(pair[s], first.metric)) for s in (0, 1))
    if right is not None and was_right is not None:
        lost, gained = was_right * (1 - right), (1 - was_right) * right
        changed = _gathered(frames, lambda pair: _changed(*pair, first.metric))
        found |= _means(first, {"changed": changed, "lost": lost, "gained": gained})
        p = [mcnemar(*counts) for counts in zip(lost.sum(2, dtype=float), gained.sum(2, dtype=float), strict=True)]
    if all(OPTIONS in frame for pair in frames for both in pair for frame in both):
        found |= _means(first, {"kl": divergences(frames)})
    return [
        {"mcnemar_p": p[i], **{m: end for measure in MEASURES for m, end in _named(measure, found[measure][i])}}
        for i in range(len(pairs))
    ]


def divergences(frames: list[list[tuple[Frame, Frame]]]) -> np.ndarray:
    """KL divergence from the dense model's options in bits per example, shape (states, seeds, examples)."""
    dense = {id(before): log_shares(before) for pair in frames for _, before in pair}
    shares = {key: np.exp(logs) for key, logs in dense.items()}
    found = [
        [(shares[id(before)] * (dense[id(before)] - log_shares(frame))).sum(0) for frame, before in pair]
        for pair in frames
    ]
    return np.array(found) / np.log(2)


def _gathered(frames: list[list[tuple[Frame, Frame]]], of: Callable[..., np.ndarray | None]) -> np.ndarray | None:
    """What is found of every pair, shape (states, seeds, examples); None where one has nothing."""
    found = [[of(both) for both in pair] for pair in frames]
    return None if any(one is None for pair in found for one in pair) else np.array(found)


def _changed(frame: Frame, dense: Frame, metric: Metric) -> np.ndarray:
    """1 where the answer is another one."""
    chosen, before = frame["y_pred"], dense["y_pred"]
    if not (np.isnan(chosen).any() or np.isnan(before).any()):
        return (chosen != before).astype(np.uint8)
    # As its metric compares answers: number_match would miss a sign without it.
    words = metric.name in ("exact_match", "f1", "contains", "contains_either")
    sides = [
        [
            str(float(number)) if number == number else normalize_answer(text) if words else text
            for number, text in zip(side["y_pred"], side.get(TEXT, side["y_pred"]), strict=True)
        ]
        for side in (frame, dense)
    ]
    return np.array([a != b for a, b in zip(*sides, strict=True)], dtype=np.uint8)


def _means(scores: Scores, measures: dict[str, np.ndarray]) -> dict[str, list[Estimate]]:
    """The means of measures of shape (states, seeds, examples), resampled together: one large product is faster."""
    drawn = scores.mean_replicates(np.stack([*measures.values()]))
    return {name: _intervals(each.mean(2), own) for (name, each), own in zip(measures.items(), drawn, strict=True)}


def _intervals(values: np.ndarray, replicates: np.ndarray) -> list[Estimate]:
    """Of shapes (states, seeds) and (states, seeds, REPLICATES)."""
    return percentile_intervals(values.mean(1), both_ways(values.T, replicates.transpose(1, 2, 0)))


def _named(measure: str, estimate: Estimate) -> list[tuple[str, float]]:
    return [(measure, estimate.value), (f"{measure}_ci_low", estimate.low), (f"{measure}_ci_high", estimate.high)]
