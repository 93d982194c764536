"""Rank agreement of the difficulty scores over the series: Kendall's tau-b with an interval and a permutation test.

Within an experiment, series are compared with series of the same panel and difficulty axis only; a panel that repeats
the series of another counts once. `all` compares the series of all experiments that have a score in common; ranks along
an axis and true difficulties have no common unit, so they are left out there. Series of different models are never
compared.

The interval is the percentile bootstrap over series. It is empty with fewer than eight series, which say nothing of
others; where ties leave tau undefined in more than a twentieth of the replicates; and where all replicates are equal,
as with a tau of 1, since they then have no width. `p` is two-sided, from permutations within panel and axis.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from junkdna.bootstrap import REPLICATES, SEED
from junkdna.statistics import CONFIDENCE, ROUNDING, UNDEFINED, Estimate, percentile_interval

SCORES = {
    "axis_rank": "Axis rank",
    "true_difficulty": "True difficulty",
    "human_gap": "Human gap",
    "dense_error": "Dense error",
    "description_length": "Description length",
    "irt_difficulty": "Item response",
}
OF_ONE_AXIS = ("axis_rank", "true_difficulty")
ALL = "all"
ENOUGH = 8
PERMUTATIONS = 999
SERIES = ["model", "task", "variant", "fraction"]
COLUMNS = ["experiment", "model", "first", "second", "n_series", "tau", "ci_low", "ci_high", "p"]


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """One row per experiment, model and pair of scores that both have at least two comparable series.

    Args:
        table: the difficulty scores, with columns of SCORES, SERIES, `experiment`, `panel` and `axis`.
    """
    rows = []
    for (name, model), group in table.groupby(["experiment", "model"], sort=False):
        rows += _pairs(name, model, _blocks(group), list(SCORES))
    pooled = [score for score in SCORES if score not in OF_ONE_AXIS]
    for model, group in table.groupby("model", sort=False):
        rows += _pairs(ALL, model, group.drop_duplicates(SERIES).assign(block=0), pooled)
    return pd.DataFrame(rows, columns=COLUMNS)


def _blocks(group: pd.DataFrame) -> pd.DataFrame:
    """Number the panels and axes as `block`; what repeats the series of an earlier one is dropped."""
    parts, seen = [], set()
    for _, block in group.groupby(["panel", "axis"], sort=False):
        block = block.drop_duplicates(SERIES)
        key = frozenset(block[SERIES].itertuples(index=False, name=None))
        if key not in seen:
            parts.append(block.assign(block=len(seen)))
            seen.add(key)
    return pd.concat(parts)


def _pairs(name: str, model: str, group: pd.DataFrame, scores: list[str]) -> list[dict[str, object]]:
    rows = []
    for first, second in itertools.combinations(scores, 2):
        both = group.dropna(subset=[first, second])
        both = both[both.groupby("block")["block"].transform("size") > 1]
        if len(both) < 2:
            continue
        x, y = (both[score].to_numpy(dtype=float) for score in (first, second))
        tau, p = kendall(x, y, both["block"].to_numpy())
        found = {"n_series": len(both), "tau": tau.value, "ci_low": tau.low, "ci_high": tau.high, "p": p}
        rows.append({"experiment": name, "model": model, "first": first, "second": second, **found})
    return rows


def kendall(x: np.ndarray, y: np.ndarray, block: np.ndarray) -> tuple[Estimate, float]:
    """Kendall's tau-b of pairs within blocks, and its two-sided permutation p; NaN if a score is constant.

    Args:
        x, y, block: of each series, shape (series,).
    """
    same = block[:, None] == block
    signs = [np.sign(np.round(v[:, None] - v, 9)) * same for v in (x, y)]
    parts = [signs[0] * signs[1], signs[0] ** 2, signs[1] ** 2]
    if not parts[1].any() or not parts[2].any():
        return UNDEFINED, float("nan")
    value = parts[0].sum() / np.sqrt(parts[1].sum() * parts[2].sum())
    generator, n = np.random.default_rng(SEED), len(x)
    interval = Estimate(value, float("nan"), float("nan"))
    if n >= ENOUGH:
        drawn = generator.integers(0, n, (REPLICATES, n))
        counts = np.stack([np.bincount(rows, minlength=n) for rows in drawn]).astype(float)
        # A series paired with itself adds 0: drawing one twice makes no tie.
        sums = [np.einsum("bi,ij,bj->b", counts, part, counts, optimize=True) for part in parts]
        with np.errstate(divide="ignore", invalid="ignore"):
            replicates = sums[0] / np.sqrt(sums[1] * sums[2])
        defined = replicates[np.isfinite(replicates)]
        if len(defined) >= CONFIDENCE * REPLICATES and np.ptp(defined) > ROUNDING:
            interval = percentile_interval(float(value), defined)
    # Sorting by block and a random number permutes within blocks.
    keys = block + generator.random((PERMUTATIONS, n))
    orders = np.argsort(keys, axis=1)
    back = np.argsort(block, kind="stable")
    permuted = np.empty_like(orders)
    permuted[:, back] = orders
    sums = np.array([(signs[0] * signs[1][np.ix_(order, order)]).sum() for order in permuted])
    p = (1 + np.sum(np.abs(sums) >= abs(parts[0].sum()) - 1e-9)) / (1 + PERMUTATIONS)
    return interval, float(p)
