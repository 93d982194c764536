"""Does the drop grow with difficulty? A trend test at each level of every panel and difficulty axis.

- `rise` is the effect size: the slope of the relative drop over the ranks of the series, times the steps from the
  easiest to the hardest; for two series their difference. `rise_corrected` is the same of the chance-corrected drop.
- `test` is one-sided, against no trend: Page's test with seeds as blocks (`page over seeds`); with one state and
  the same questions in every series, Page's test with questions as blocks (`page over examples`); with other
  questions in each, the Jonckheere-Terpstra test (`jonckheere`). Over examples the outcome is the share of a right
  answer that is lost, for the answers that the dense model had right. Two series over seeds have the paired t test
  (`paired t`), two over examples, or a metric that is not a mean over examples, the bootstrap of `rise`.
- `tau` is Kendall's rank correlation of drop and difficulty, averaged over seeds, with the p of all orders of the
  series within a seed; 1 is a monotonic rise. With few series and seeds few orders exist: `smallest_p` and
  `tau_smallest_p` say what a perfect order would give, before correction.
- `test_statistic` is Page's L over seeds, a standard score over examples, tau-b of all examples for Jonckheere, else
  effect over standard error.
- `p_holm` and `tau_p_holm` are corrected over the levels, methods and models of a panel and axis (Holm 1979).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from junkdna.bootstrap import SEED
from junkdna.curves import CURVE, curves, difficulty_axes
from junkdna.drops import CORRECTED, RELATIVE, Drop, alike
from junkdna.effects import Effect, effect
from junkdna.outcomes import Outcome, Point, points_of, reference_of
from junkdna.statistics import percentile_interval

COLUMNS = [
    *("experiment", "panel", "axis", "model", "method", "level", "sparsity", "transfer"),
    *("n_series", "easiest", "hardest", "mean_drop", "rise", "rise_ci_low", "rise_ci_high"),
    *("rise_corrected", "rise_corrected_ci_low", "rise_corrected_ci_high"),
    *("test", "test_statistic", "p", "p_holm", "smallest_p"),
    *("tau", "tau_ci_low", "tau_ci_high", "tau_p", "tau_p_holm", "tau_smallest_p"),
    *("n_seeds", "n_examples"),
]
FAMILY = ["panel", "axis"]
ALL_ORDERS = 7  # of so many series every order is enumerated, of more a sample


def trends(
    plan: dict[str, Any],
    outcomes: dict[Point, Outcome],
    table: pd.DataFrame,
    measured: Mapping[str, Mapping[Point, Drop]],
) -> pd.DataFrame:
    """One row per level of every panel, axis, model, method and transfer; none where the series have no order.

    Args:
        measured: :func:`junkdna.drops.drops` of the same outcomes.
    """
    experiment = plan["experiment"]
    rows = []
    if experiment["ordered"]:
        for keys, group in ordered_groups(experiment, table):
            row = _tested(list(group["point"]), plan, outcomes, measured) | {
                "experiment": experiment["name"],
                "sparsity": group["sparsity"].iloc[0],
                "easiest": group["series"].iloc[0],
                "hardest": group["series"].iloc[-1],
            }
            rows.append(keys | row)
    found = pd.DataFrame(rows, columns=COLUMNS)
    for name in ("p", "tau_p"):
        found[f"{name}_holm"] = found.groupby(FAMILY, sort=False)[name].transform(holm)
    return found


def ordered_groups(experiment: dict[str, Any], table: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The series that are compared, easiest first: one group per panel, axis, level and what tells curves apart.

    The column `point` holds the points.
    """
    pinned = {key for series in experiment["series"] for key in series["where"]}
    axis = {label: name for name, labels in difficulty_axes(experiment).items() for label in labels}
    found = curves(experiment, table)
    found = found.assign(axis=found["series"].map(axis), point=points_of(found))
    keys = ["panel", "axis", *(key for key in CURVE if key not in pinned), "level"]
    groups = []
    for values, group in found.groupby(keys, sort=False):
        # What the series fix themselves differs within a group.
        named = {key: " | ".join(dict.fromkeys(group[key])) for key in CURVE} | dict(zip(keys, values, strict=True))
        if len(group) > 1:
            groups.append((named, group))
    return groups


def rise_weights(n: int) -> np.ndarray:
    """Weights of ``n`` ordered values whose sum is the least-squares slope over ranks, times n - 1."""
    centred = np.arange(n) - (n - 1) / 2
    return (n - 1) * centred / (centred**2).sum()


def rise(series: list[Drop]) -> Effect:
    """Rise of the drop from the first to the last of series with the same replicates."""
    weights = rise_weights(len(series))
    return effect(*(sum(w * part for w, part in zip(weights, parts, strict=True)) for parts in _parts(series)))


def _parts(series: list[Drop]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [one.values for one in series], [one.draws for one in series]


def _tested(
    points: list[Point],
    plan: dict[str, Any],
    outcomes: dict[Point, Outcome],
    measured: Mapping[str, Mapping[Point, Drop]],
) -> dict[str, Any]:
    series = alike([measured[RELATIVE][point] for point in points])
    plain, corrected = rise(series), rise(alike([measured[CORRECTED][point] for point in points]))
    row: dict[str, Any] = {
        "n_series": len(points),
        "n_seeds": len(series[0].seeds),
        "n_examples": min(len(outcomes[point].scores.ids) for point in points),
        "mean_drop": float(np.mean([one.values.mean() for one in series])) if series[0].seeds else float("nan"),
        "test": "undefined",
    }
    for name, found in (("rise", plain), ("rise_corrected", corrected)):
        estimate = found.interval()
        row |= {name: estimate.value, f"{name}_ci_low": estimate.low, f"{name}_ci_high": estimate.high}
    if np.isfinite(plain.value):
        values, draws = (np.stack(parts, axis=-1) for parts in _parts(series))
        row |= _kendall(values, draws)
        row |= _trend(values, plain, [(outcomes[point], outcomes[reference_of(point, plan)]) for point in points])
    return row


def _trend(values: np.ndarray, found: Effect, pairs: list[tuple[Outcome, Outcome]]) -> dict[str, Any]:
    seeds, n = values.shape
    if seeds > 1 and n > 2:
        tested = stats.page_trend_test(values, method="exact")
        smallest = 1 / math.factorial(n) ** seeds
        return {
            "test": "page over seeds",
            "test_statistic": tested.statistic,
            "p": tested.pvalue,
            "smallest_p": smallest,
        }
    if seeds > 1:
        score = found.value / found.error if found.error else np.nan
        return {"test": "paired t", "test_statistic": score, "p": found.p_above()}
    lost = [lost_answers(*pair) for pair in pairs] if n > 2 else [None]
    if all(one is not None for one in lost):
        same = all(one.index.equals(lost[0].index) for one in lost)
        blocks = pd.concat(lost, axis=1).dropna().to_numpy() if same else None
        name, (statistic, p) = ("page over examples", page_blocks(blocks)) if same else ("jonckheere", jonckheere(lost))
        return {"test": name, "test_statistic": statistic, "p": p}
    score = found.value / found.error if found.error else np.nan
    return {"test": "bootstrap", "test_statistic": score, "p": found.p_above()}


def lost_answers(outcome: Outcome, dense: Outcome) -> pd.Series | None:
    """Share of each answer that was lost, by id; NaN where the dense answer was wrong.

    None where the metric is not a mean over examples.
    """
    metric = outcome.scores.metric
    if not metric.is_mean:
        return None
    before, after = (next(iter(o.scores.frames.values()))[metric.name] for o in (dense, outcome))
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.Series(np.where(before > 0, 1 - after / before, np.nan), index=outcome.scores.ids)


def page_blocks(values: np.ndarray) -> tuple[float, float]:
    """Page's (1963) test for many blocks, with the variance that ties leave; one-sided.

    Without ties it is the usual normal approximation. For two outcomes it is the Cochran-Mantel-Haenszel correlation
    test of outcome and series, stratified by block (Landis, Heyman and Koch 1978).

    Args:
        values: shape (blocks, series), series from easy to hard.

    Returns:
        Standard score and p; 0 and 1 where no block has a difference.
    """
    ranks = stats.rankdata(values, axis=1)
    centred = ranks - ranks.mean(1, keepdims=True)
    order = np.arange(values.shape[1]) - (values.shape[1] - 1) / 2
    variance = (centred**2).sum() * (order**2).sum() / (values.shape[1] - 1)
    score = float((centred @ order).sum() / math.sqrt(variance)) if variance > 0 else 0.0
    return score, float(stats.norm.sf(score)) if variance > 0 else 1.0


def jonckheere(groups: list[pd.Series]) -> tuple[float, float]:
    """Jonckheere-Terpstra test that values grow from group to group; one-sided, normal, with the variance under ties.

    Its statistic is Kendall's S between group and value, so scipy's tau has its p (Kendall 1970, chapter 4).

    Returns:
        Kendall's tau-b and p; 0 and 1 where all values are equal.
    """
    value = np.concatenate([group.dropna().to_numpy() for group in groups])
    group = np.repeat(np.arange(len(groups)), [int(group.notna().sum()) for group in groups])
    if len(np.unique(value)) < 2 or len(np.unique(group)) < 2:
        return 0.0, 1.0
    found = stats.kendalltau(group, value, method="asymptotic", alternative="greater")
    return float(found.statistic), float(found.pvalue)


def tau_b(values: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of values with their position on the last axis; 0 where all are equal."""
    signs = _signs(values)
    pairs, untied = signs.shape[-1], np.abs(signs).sum(-1)
    return signs.sum(-1) / np.sqrt(pairs * np.maximum(untied, 1))


def _signs(values: np.ndarray) -> np.ndarray:
    first, second = np.triu_indices(values.shape[-1], 1)
    return np.sign(values[..., second] - values[..., first])


def _kendall(values: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """Tau of values of shape (seeds, series); interval by resampling seeds and, within them, examples."""
    seeds, n = values.shape
    tau = float(tau_b(values).mean())
    chosen = np.random.default_rng(SEED).integers(0, seeds, (seeds, draws.shape[1]))
    estimate = percentile_interval(tau, np.take_along_axis(tau_b(draws), chosen, 0).mean(0))
    return {
        "tau": tau,
        "tau_ci_low": estimate.low,
        "tau_ci_high": estimate.high,
        "tau_p": orders_p(values),
        "tau_smallest_p": 1 / math.factorial(n) ** seeds,
    }


def orders_p(values: np.ndarray) -> float:
    """Share of all orders within the blocks (rows) whose concordance is at least as large as the one found."""
    n = values.shape[1]
    if n <= ALL_ORDERS:
        orders = np.array(list(itertools.permutations(range(n))))
    else:
        generator = np.random.default_rng(SEED)
        orders = np.argsort(generator.random((math.factorial(ALL_ORDERS), n)), axis=1)
    span = n * (n - 1) // 2
    share = np.ones(1)
    for block in values:
        concordance = _signs(block[orders]).sum(1).astype(int) + span
        share = np.convolve(share, np.bincount(concordance, minlength=2 * span + 1) / len(orders))
    found = int(_signs(values).sum()) + span * len(values)
    return min(1.0, float(share[found:].sum()))


def holm(p: pd.Series) -> pd.Series:
    """Holm's (1979) correction over the p-values that are defined.

    Own lines, because statsmodels' multipletests collects garbage at every call, up to a third of a second.
    """
    known = p.dropna().sort_values().astype(float)
    steps = known * np.arange(len(known), 0, -1)
    return steps.cummax().clip(upper=1.0).reindex(p.index)
