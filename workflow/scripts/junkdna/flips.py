"""Does an example's own difficulty predict at which level it is lost?

Of the examples that the dense model answers right, those that a compressed state answers wrong are lost. For each
compressed curve of a series, a logistic regression of lost on the example's difficulty, with an effect for each level
and seed: a proportional-odds reading, in which difficulty shifts the level at which an example is lost. Errors are
clustered by example, which levels and seeds share. `odds_ratio` is per standard deviation of the difficulty within the
series; above 1, harder examples are lost first.

The difficulty is learnt without the cells that it is to predict, or it would contain what it predicts: from all other
methods' answers (of the same model, the method is left out at every level, transfer and seed), or, where no other
method was run on the series, seed by seed from the other seeds. Methods that remove nearly the same weights (global and
layerwise magnitude) are still nearly the same cells; random removal owes the others least. Dense answers stay in: among
the examples that are modelled, the dense answer of the same seed is the same, right. Rows whose `task` is `all` hold
the series of a method together, each with levels of its own; those are the rows that the figure shows, in thirds of
difficulty.

A state that falls to guessing one class loses the examples of the others, under every method: there, difficulty is
mostly the class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit, ndtr, ndtri

from junkdna.curve_measures import position
from junkdna.curves import DENSE, level_rank
from junkdna.levels import parse
from junkdna.responses import Difficulties, Responses, Series
from junkdna.statistics import CONFIDENCE

ALL = "all"
CURVE = ["model", "method", "transfer"]
COLUMNS = [
    *(*CURVE, "kind", "task", "variant", "fraction", "learnt_from", "n_examples", "n_answers", "n_lost"),
    *("odds_ratio", "ci_low", "ci_high", "p"),
]
THIRDS = ("easiest third", "middle third", "hardest third")
LEVEL_COLUMNS = [*CURVE, "kind", "level", "position", "third", "lost", "ci_low", "ci_high", "n_examples"]
# Fewer lost, or kept, answers than this say nothing about what distinguishes them.
ENOUGH = 10
STEPS, LONGEST, CLOSE = 100, 1.0, 1e-9  # of Newton's method, which may overshoot, and the one after which it ends


@dataclass(frozen=True)
class Observed:
    """What the levels of a curve, of one kind and with one seed, lose of a series.

    Attributes:
        curve: values of CURVE and the kind of the levels.
        levels: one per state; twice where the calibration data was drawn twice.
        questions: numbers of the examples that the dense reference has right; of a task the same in all series.
        difficulty: theirs in standard deviations, shape (examples,).
        third: 0 (easiest), 1 or 2, shape (examples,).
        lost: 1 where the answer is lost, shape (levels, examples).
    """

    curve: tuple[str, str, str, str]
    series: Series
    learnt_from: str
    levels: list[str]
    questions: np.ndarray
    difficulty: np.ndarray
    third: np.ndarray
    lost: np.ndarray


def observe(difficulties: Difficulties) -> list[Observed]:
    """The answers of compressed states to examples that their dense reference has right."""
    observed, numbers = [], {}
    for series, found in difficulties.responses.items():
        questions = np.array([numbers.setdefault((series.task, i), len(numbers)) for i in found.ids.tolist()])
        dense = {(s.model, s.seed): row for s, row in zip(found.states, found.right, strict=True) if s.method == DENSE}
        for (model, method, transfer, seed), rows, others, source in _curves(found):
            reference = dense.get((model, seed))
            if reference is None:
                continue
            kept = reference == 1
            difficulty = difficulties.of_items(series, others)[kept]
            if not kept.any() or np.ptp(difficulty) == 0:
                continue
            of_kind: dict[str, list[int]] = {}
            for row in rows:
                of_kind.setdefault(parse(found.states[row].level).kind, []).append(row)
            for kind, own in of_kind.items():
                observed.append(
                    Observed(
                        (model, method, transfer, kind),
                        series,
                        source,
                        [found.states[row].level for row in own],
                        questions[kept],
                        (difficulty - difficulty.mean()) / difficulty.std(),
                        _thirds(difficulty),
                        1 - found.right[own][:, kept],
                    )
                )
    return observed


def _curves(found: Responses) -> Iterator[tuple[tuple[str, str, str, Any], list[int], np.ndarray, str]]:
    """Of each curve and seed: their names, their rows, which rows to learn difficulty from, and what these are.

    Left out where nothing else was compressed.
    """
    curves: dict[tuple[str, str, str, Any], list[int]] = {}
    for row, s in enumerate(found.states):
        curves.setdefault((s.model, s.method, s.transfer, s.seed), []).append(row)
    compressed = np.array([s.method != DENSE for s in found.states])
    ways, seeds = (
        pd.factorize(pd.Series(list(names), dtype=object))[0]
        for names in (((s.model, s.method) for s in found.states), (f"{s.seed}" for s in found.states))
    )
    for names, rows in ((names, rows) for names, rows in curves.items() if compressed[rows[0]]):
        for codes, source in ((ways, "other methods"), (seeds, "other seeds")):
            others = codes != codes[rows[0]]
            if (others & compressed).any():
                yield names, rows, others, source
                break


def _thirds(difficulty: np.ndarray) -> np.ndarray:
    """0, 1, 2 for the easiest, middle, hardest third; equal difficulties stay together."""
    below = np.searchsorted(np.sort(difficulty), difficulty, side="left")
    upto = np.searchsorted(np.sort(difficulty), difficulty, side="right")
    return np.clip(3 * (below + upto) // (2 * len(difficulty)), 0, 2)


def predict(observed: list[Observed]) -> pd.DataFrame:
    """One row per curve and series, then one per curve with all its series."""
    rows = []
    for curve, own in _grouped(observed, lambda one: one.curve).items():
        named = dict(zip([*CURVE, "kind"], curve, strict=True))
        for series, parts in _grouped(own, lambda one: one.series).items():
            rows.append(named | series._asdict() | regress(parts))
        rows.append(named | dict.fromkeys(Series._fields, ALL) | regress(own))
    return pd.DataFrame(rows, columns=COLUMNS)


def _grouped(observed: list[Observed], key: Callable[[Observed], Any]) -> dict[Any, list[Observed]]:
    groups: dict[Any, list[Observed]] = {}
    for one in observed:
        groups.setdefault(key(one), []).append(one)
    return groups


def regress(observed: list[Observed]) -> dict[str, Any]:
    """Odds ratio of being lost per standard deviation of difficulty.

    Left out where fewer than ENOUGH answers are lost, or kept, or where difficulty tells the two apart without error:
    the odds have no upper end then.
    """
    row = {
        "learnt_from": " | ".join(sorted({one.learnt_from for one in observed})),
        "n_examples": len(np.unique(np.concatenate([one.questions for one in observed]))),
        "n_answers": sum(one.lost.size for one in observed),
        "n_lost": sum(int(one.lost.sum()) for one in observed),
    }
    # A level where all answers, or none, are lost says nothing about which are lost first.
    mixed = [replace(one, lost=one.lost[np.ptp(one.lost, axis=1) == 1]) for one in observed]
    mixed = [one for one in mixed if len(one.lost)]
    lost = sum(int(one.lost.sum()) for one in mixed)
    enough = min(lost, sum(one.lost.size for one in mixed) - lost) >= ENOUGH
    slope, error = _logistic(mixed) if enough else (np.nan, np.nan)
    if not (np.isfinite(slope) and error > 0):
        return row
    half = ndtri((1 + CONFIDENCE) / 2) * error
    ends = np.exp(slope + np.array([0.0, -half, half]))
    row |= dict(zip(("odds_ratio", "ci_low", "ci_high"), ends, strict=True))
    return row | {"p": float(2 * ndtr(-abs(slope / error)))}


def _logistic(observed: list[Observed]) -> tuple[float, float]:
    """Slope of a logistic regression of lost on difficulty with an effect for each level of each part; its error.

    Newton's method on whole matrices: the effects, thousands in a large grid, are eliminated one by one, as no answer
    has two of them. The error is clustered by question, with the usual correction for few clusters (Cameron and
    Miller 2015, "A practitioner's guide to cluster-robust inference"). NaN where there is no finite slope.
    """
    slope, effects = 0.0, [logit(one.lost.mean(1)) for one in observed]
    for _ in range(STEPS):
        parts = [_centred(one, slope, effect) for one, effect in zip(observed, effects, strict=True)]
        curvature = sum(bend for *_, bend in parts)
        step = np.clip(sum(score.sum() for score, *_ in parts) / curvature, -LONGEST, LONGEST)
        changes = [np.clip(own - middle * step, -LONGEST, LONGEST) for _, own, middle, _ in parts]
        if max(abs(step), *(np.abs(change).max() for change in changes)) < CLOSE:
            break
        slope, effects = slope + step, [e + change for e, change in zip(effects, changes, strict=True)]
    else:
        return np.nan, np.nan
    questions = np.concatenate([one.questions for one in observed])
    sums = np.bincount(questions, np.concatenate([score for score, *_ in parts]))
    clusters, answers = len(np.unique(questions)), sum(one.lost.size for one in observed)
    few = clusters / (clusters - 1) * (answers - 1) / (answers - 1 - sum(map(len, effects)))
    return slope, float(np.sqrt(few * (sums**2).sum()) / curvature)


def _centred(one: Observed, slope: float, effects: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Of the slope, the effects eliminated: score of each example and curvature; of the effects: step and mean."""
    log_odds = effects[:, None] + slope * one.difficulty
    weight, rest = expit(log_odds) * expit(-log_odds), one.lost - expit(log_odds)
    total = weight.sum(1)
    middle = weight @ one.difficulty / total
    away = one.difficulty - middle[:, None]
    return (rest * away).sum(0), rest.sum(1) / total, middle, float((weight * away**2).sum())


def by_third(observed: list[Observed]) -> pd.DataFrame:
    """Share of answers lost at each level by third of difficulty, with an interval over examples.

    One row per curve, level and third; series weigh by their examples.
    """
    rows = []
    for curve, own in _grouped(observed, lambda one: one.curve).items():
        for level in dict.fromkeys(level for one in own for level in one.levels):
            lost = [one.lost[[name == level for name in one.levels]] for one in own]
            for third, label in enumerate(THIRDS):
                each = _shares(own, lost, third)
                if not len(each):
                    continue
                mean, spread = each.mean(), each.std(ddof=1) if len(each) > 1 else np.nan
                half = ndtri((1 + CONFIDENCE) / 2) * spread / np.sqrt(len(each))
                named = dict(zip([*CURVE, "kind"], curve, strict=True)) | {"level": level, "position": position(level)}
                ends = {"lost": mean, "ci_low": mean - half, "ci_high": mean + half, "n_examples": len(each)}
                rows.append(named | {"third": label} | ends)
    rows.sort(key=lambda row: (*(row[key] for key in CURVE), level_rank(row["level"]), THIRDS.index(row["third"])))
    return pd.DataFrame(rows, columns=LEVEL_COLUMNS)


def _shares(observed: list[Observed], lost: list[np.ndarray], third: int) -> np.ndarray:
    """Share of the answers to each example of a third that is lost, from the rows ``lost`` of each part."""
    own = [one.third == third for one in observed]
    questions = np.concatenate([one.questions[k] for one, k in zip(observed, own, strict=True)])
    counted, sums = (
        np.bincount(questions, np.concatenate([count(rows[:, k]) for rows, k in zip(lost, own, strict=True)]))
        for count in (lambda r: np.full(r.shape[1], len(r)), lambda r: r.sum(0))
    )
    return sums[counted > 0] / counted[counted > 0]
