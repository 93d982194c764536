from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from simulated import options_plan, trained, write_cells

from junkdna import tables
from junkdna.curve_measures import COLUMNS, area, critical, knee, measure, position
from junkdna.outcomes import read_outcomes
from junkdna.statistics import both_ways

X = np.array([0.0, 0.3, 0.5, 0.6, 0.7, 0.8])
RIGHT = np.array([0.95, 0.94, 0.92, 0.85, 0.6, 0.3])


def test_critical_by_hand() -> None:
    x = np.array([0.0, 0.5, 0.7])
    shares = np.array([[1.0, 1.0, 0.90], [1.0, 0.90, 0.99], [1.0, 0.96, 0.95], [1.0, 0.9, np.nan]])
    assert critical(x, shares) == pytest.approx([0.6, 0.25, np.inf, np.nan], nan_ok=True)


def test_area_by_hand() -> None:
    # A drop from 0 to 0.4 over the first half of the range, then constant.
    assert area(np.array([0.0, 0.4, 0.8]), np.array([1.0, 0.6, 0.6])) == pytest.approx(0.3)


def test_knee_of_the_paper() -> None:
    """Figure 2 of Satopaa et al. 2011, y = -1 / (x + 0.1) + 5 has its knee at 2/9; turned by half, at 7/9."""
    x = np.linspace(0, 1, 10)
    y = 5 - 1 / (x + 0.1)
    assert knee(x, y[::-1] / y.max()) == pytest.approx(7 / 9)


def test_knee_needs_a_bend() -> None:
    x = np.linspace(0, 1, 6)
    shares = np.stack([np.ones(6), 1 - x, 1 - x**8, 1 - np.sqrt(x)])
    assert knee(x, shares) == pytest.approx([np.nan, np.nan, 0.8, np.nan], nan_ok=True)


def test_positions() -> None:
    found = [position(level) for level in ("0.50", "2of8", "4bit", "0.30to0.40", "dense")]
    assert found == pytest.approx([0.5, 0.75, 0.75, 0.35, 0.0])


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.2), (5, 0.2)])
def test_intervals_cover_the_truth(seeds: int, spread: float) -> None:
    """Simulated states of known strength; examples keep some of their score in every state, as real ones do."""
    generator, sims, n = np.random.default_rng(11), 600, 200
    threshold, felt = norm.ppf(RIGHT), spread * np.array([0.2, 0.4, 0.6, 1, 1, 1])
    many = norm.cdf(threshold + generator.standard_normal((100_000, 1)) * felt)
    truth = np.insert((many[:, 1:] / many[:, :1]).mean(0), 0, 1.0)
    drawn = np.apply_along_axis(np.bincount, 1, generator.integers(0, n, (600, n)), minlength=n) / n
    covered = []
    for _ in range(sims):
        latent = math.sqrt(0.7) * generator.standard_normal(n) + math.sqrt(0.3) * generator.standard_normal(
            (seeds, 6, n)
        )
        ability = threshold + generator.standard_normal((seeds, 1)) * felt
        right = (latent < ability[:, :, None]).astype(float)
        values, replicates = right.mean(-1), np.moveaxis(right @ drawn.T, 1, -1)
        shares = both_ways(values[:, 1:] / values[:, :1], replicates[..., 1:] / replicates[..., :1])
        shares = np.insert(shares, 0, 1.0, axis=-1)
        ends = [np.quantile(f(X, shares), [0.025, 0.975], method="inverted_cdf") for f in (critical, area)]
        covered.append([low <= f(X, truth) <= high for f, (low, high) in zip((critical, area), ends, strict=True)])
    # 600 draws have a standard error of 0.9 points.
    assert ((np.mean(covered, axis=0) >= 0.93) & (np.mean(covered, axis=0) <= 0.97)).all(), np.mean(covered, axis=0)


def measured(root: Path, plan: dict, strength: dict[str, float], examples: int = 300) -> pd.DataFrame:
    write_cells(plan, lambda cell, variant: strength[cell["level"]] if variant == "eight" else 0.9, examples)
    outcomes = read_outcomes(plan)
    return measure(plan, outcomes, tables.points(plan, outcomes))


STRENGTH = {"dense": 0.9, "0.30": 0.9, "0.50": 0.85, "0.70": 0.4}


def test_a_row_per_curve(tmp_path: Path) -> None:
    found = measured(tmp_path, options_plan(tmp_path, ("0.70", "0.30", "0.50")), STRENGTH)
    assert found.columns.tolist() == COLUMNS and found["series"].tolist() == ["2", "8"]
    hard = found.iloc[1]
    assert (hard["first"], hard["last"], hard["n_levels"], hard["n_seeds"]) == (0, 0.7, 3, 1)
    assert 0.3 < hard["critical_ci_low"] <= hard["critical"] <= hard["critical_ci_high"] < 0.7
    assert hard["between"] in ("0.30 | 0.50", "0.50 | 0.70") and hard["critical_reached"] == 1
    assert hard["area_ci_low"] < hard["area"] < hard["area_ci_high"] and hard["knee"] == 0.5


def test_a_curve_that_never_falls_is_censored(tmp_path: Path) -> None:
    easy = measured(tmp_path, options_plan(tmp_path, ("0.30", "0.50", "0.70")), STRENGTH).iloc[0]
    assert math.isnan(easy["critical"]) and math.isnan(easy["critical_ci_high"]) and easy["between"] == ""
    assert easy["critical_reached"] < 0.5 and easy["last"] == 0.7


def test_measures_are_those_of_the_mean_over_seeds(tmp_path: Path) -> None:
    plan = trained(options_plan(tmp_path, ("0.30", "0.50", "0.70")))
    found = measured(tmp_path, plan, STRENGTH, examples=100).iloc[1]
    outcomes = read_outcomes(plan)
    table = tables.points(plan, outcomes)
    shares = table[(table["variant"] == "eight") & (table["method"] == "magnitude")]["percent_of_dense"] / 100
    x, shares = np.array([0, 0.3, 0.5, 0.7]), np.array([1.0, *shares])
    assert found["n_seeds"] == 3
    assert found["area"] == pytest.approx(area(x, shares)) and found["critical"] == pytest.approx(critical(x, shares))


def test_a_band_has_an_area_only(tmp_path: Path) -> None:
    plan = options_plan(tmp_path, ("0.00to0.10", "0.10to0.20"))
    found = measured(tmp_path, plan, {"dense": 0.9, "0.00to0.10": 0.9, "0.10to0.20": 0.5}).iloc[1]
    assert (found["first"], found["last"]) == pytest.approx((0.05, 0.15)) and 0.1 < found["area"] < 0.4
    assert found[["critical", "critical_reached", "knee", "knee_found"]].isna().all()
