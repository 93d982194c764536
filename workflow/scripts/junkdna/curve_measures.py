"""What a whole curve says: critical sparsity, area under the drop curve, knee; each with an interval.

A curve is one series in one panel over the levels of one kind, with the dense model at 0. Levels lie at the share of
the weights that is removed (sparsity, N:M), or of the bits of a 16-bit weight (bits); magnitude bands lie side by side
rather than on top of each other, so that they have an area only, over the middles of the bands.

Shares of the dense performance are formed per seed or replicate, then averaged over seeds, as in the table of points;
the measures are those of the averaged curve. Intervals hold for other examples and, with several seeds, other seeds
(:func:`junkdna.statistics.both_ways`).

A curve that never falls below 95 % has its critical level beyond the last level: `critical` is empty and
`critical_reached` says which share of the replicates get there. Such replicates count as larger than any level, so an
empty upper end of the interval means the same: beyond the last level.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from junkdna import levels
from junkdna.curves import CURVE, DENSE, curves, level_rank
from junkdna.outcomes import Outcome, Point, points_of, reference_of
from junkdna.statistics import CONFIDENCE, ROUNDING, Replicate, both_ways, percentile_interval, retained

THRESHOLD = 0.95
FULL_BITS = 16
TASK = ["task", "variant", "fraction"]
COLUMNS = [
    *("experiment", "panel", "series", "model", "method", "transfer", "kind", *TASK, "metric"),
    *("n_levels", "first", "last", "n_examples", "n_seeds"),
    *("critical", "critical_ci_low", "critical_ci_high", "critical_reached", "between"),
    *("area", "area_ci_low", "area_ci_high"),
    *("knee", "knee_ci_low", "knee_ci_high", "knee_found"),
]


def position(level: str) -> float:
    """Where a level lies on the horizontal axis, 0 to 1."""
    parsed = levels.parse(level)
    if parsed.kind == "bits":
        return 1 - parsed.bits / FULL_BITS
    return float(parsed.low + parsed.high) / 2 if parsed.kind == "band" else float(parsed.sparsity)


def critical(x: np.ndarray, share: np.ndarray) -> np.ndarray:
    """First position at which the share falls below 95 %, between two levels on the line that joins them.

    Args:
        x: positions, ascending, shape (levels,).
        share: shares of the dense performance, 1 at the first position, shape (..., levels).

    Returns:
        Shape (...): infinite where the share never falls below, NaN where a share is.
    """
    below = share < THRESHOLD
    after = np.maximum(below.argmax(-1), 1)[..., None]
    high, low = (np.take_along_axis(share, index, -1)[..., 0] for index in (after - 1, after))
    left, right = x[after - 1][..., 0], x[after][..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = left + (right - left) * (high - THRESHOLD) / (high - low)
    return np.where(np.isnan(share).any(-1), np.nan, np.where(below.any(-1), found, np.inf))


def area(x: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mean relative drop over the range of the levels, by the trapezoid rule; arguments as of :func:`critical`."""
    return np.trapezoid(1 - share, x) / (x[-1] - x[0])


def knee(x: np.ndarray, share: np.ndarray, sensitivity: float = 1.0) -> np.ndarray:
    """Position where the drop sets in: the knee by Kneedle (Satopaa et al. 2011), without smoothing.

    A drop that grows is turned by half, as the paper does with convex curves: the steep end comes first. With position
    and drop scaled to [0, 1], candidates are the inner local maxima of position minus drop. The first candidate after
    which this difference falls by ``sensitivity`` mean steps of position, before it rises again, is the knee.

    Returns:
        Shape (...); NaN where there is no knee, as in a curve without a drop.
    """
    drop = 1 - share
    low, high = drop.min(-1, keepdims=True), drop.max(-1, keepdims=True)
    scaled = (x - x[0]) / (x[-1] - x[0])
    # Undefined comparisons with NaN are false, so that a curve without a drop has no candidate.
    difference = (scaled - (drop - low) / np.where(high - low > ROUNDING, high - low, np.nan))[..., ::-1]
    positions, step = x[::-1], sensitivity / (len(x) - 1)
    found, candidate, threshold = (np.full(share.shape[:-1], start) for start in (np.nan, np.nan, -np.inf))
    for i in range(1, len(x)):
        here = difference[..., i]
        found = np.where(np.isnan(found) & (here < threshold), candidate, found)
        if i + 1 < len(x):
            before, after = difference[..., i - 1], difference[..., i + 1]
            peak, trough = (here >= before) & (here >= after), (here <= before) & (here <= after)
            threshold = np.where(peak, here - step, np.where(trough, -np.inf, threshold))
            candidate = np.where(peak, positions[i], candidate)
    return found


def measure(plan: dict[str, Any], outcomes: dict[Point, Outcome], table: pd.DataFrame) -> pd.DataFrame:
    """One row per curve of an experiment, in the order of its panels and series; of seeds that no level lost."""
    found = curves(plan["experiment"], table)
    grouped = found.groupby(["panel", "series", *CURVE, "kind", *TASK, "metric"], sort=False)
    rows = [dict(zip(grouped.keys, key, strict=True)) | _measured(plan, outcomes, group) for key, group in grouped]
    return pd.DataFrame(rows).assign(experiment=plan["experiment"]["name"])[COLUMNS]


def _measured(plan: dict[str, Any], outcomes: dict[Point, Outcome], group: pd.DataFrame) -> dict[str, Any]:
    points = sorted(points_of(group), key=lambda point: level_rank(point.level))
    band = group["kind"].iloc[0] == "band"
    names = [*([] if band else [DENSE]), *(point.level for point in points)]
    x = np.array([position(name) for name in names])
    frames = [outcomes[point].scores.frames for point in points]
    seeds = [seed for seed in frames[0] if all(seed in others for others in frames)]
    row = {
        "n_levels": len(points),
        "first": x[0],
        "last": x[-1],
        "n_examples": len(outcomes[points[0]].scores.ids),
        "n_seeds": len(seeds),
    }
    if not seeds:
        return row | dict.fromkeys(COLUMNS[COLUMNS.index("critical") :], np.nan) | {"between": ""}
    shares, replicates = _shares(plan, outcomes, points, seeds, start=not band)
    if band:
        row |= dict.fromkeys([c for c in COLUMNS if c.startswith(("critical", "knee"))], np.nan) | {"between": ""}
    else:
        row |= _critical(x, shares, replicates, names) | _knee(x, shares, replicates)
    mean = percentile_interval(float(area(x, shares)), area(x, replicates)) if len(x) > 1 else None
    ends = (mean.value, mean.low, mean.high) if mean else (np.nan,) * 3
    return row | dict(zip(("area", "area_ci_low", "area_ci_high"), ends, strict=True))


def _shares(
    plan: dict[str, Any], outcomes: dict[Point, Outcome], points: list[Point], seeds: list[Replicate], start: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Mean shares of the dense performance at each level, and their replicates: (levels,), (REPLICATES, levels)."""
    values, replicates = [], []
    for point in points:
        scores = outcomes[point].scores
        rows = [list(scores.frames).index(seed) for seed in seeds]
        dense, better = outcomes[reference_of(point, plan)].scores.like(scores), scores.metric.higher_is_better
        values.append([float(retained(scores.values[seed], dense.values[seed], better)) for seed in seeds])
        replicates.append(retained(scores.seed_replicates[rows], dense.seed_replicates[rows], better))
    values, replicates = np.array(values).T, np.stack(replicates, axis=-1)
    shares, drawn = values.mean(0), both_ways(values, replicates)
    if start:
        shares, drawn = (np.insert(a, 0, 1.0, axis=-1) for a in (shares, drawn))
    return shares, drawn


def _critical(x: np.ndarray, shares: np.ndarray, replicates: np.ndarray, names: list[str]) -> dict[str, Any]:
    value, drawn = float(critical(x, shares)), critical(x, replicates)
    ends, reached, between = (np.nan, np.nan), np.nan, ""
    drawn = drawn[~np.isnan(drawn)]
    if not np.isnan(value) and len(drawn):
        # Not interpolated: an end of the interval is one of the replicates, be it infinite.
        ends = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="inverted_cdf")
        reached = float(np.isfinite(drawn).mean())
    if np.isfinite(value):
        after = int((shares < THRESHOLD).argmax())
        between = f"{names[after - 1]} | {names[after]}"
    low, high, value = (end if np.isfinite(end) else np.nan for end in (*ends, value))
    return {
        "critical": value,
        "critical_ci_low": low,
        "critical_ci_high": high,
        "critical_reached": reached,
        "between": between,
    }


def _knee(x: np.ndarray, shares: np.ndarray, replicates: np.ndarray) -> dict[str, float]:
    value, drawn = float(knee(x, shares)), knee(x, replicates)
    found = percentile_interval(value, drawn)
    return {
        "knee": value,
        "knee_ci_low": found.low,
        "knee_ci_high": found.high,
        "knee_found": float(np.isfinite(drawn).mean()),
    }
