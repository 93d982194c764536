from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from junkdna import agreement as module
from junkdna.agreement import agreement, kendall


def test_one_block_is_scipys_tau() -> None:
    generator = np.random.default_rng(1)
    for n in (3, 6, 15):
        x, y = generator.integers(0, 5, n).astype(float), generator.standard_normal(n)
        found, p = kendall(x, y, np.zeros(n, int))
        expected = stats.kendalltau(x, y)
        assert found.value == pytest.approx(expected.statistic)
        assert p == pytest.approx(stats.permutation_test(
            (x,), lambda x, y=y: stats.kendalltau(x, y).statistic, permutation_type="pairings", n_resamples=999, rng=1
        ).pvalue, abs=0.06)  # fmt: skip


def test_blocks_are_not_compared_with_each_other() -> None:
    x, y = np.array([1.0, 2, 1, 2]), np.array([10.0, 11, 1, 0])
    assert kendall(x, y, np.array([0, 0, 1, 1]))[0].value == 0
    # Orders within both blocks agree, though the blocks as such are the wrong way round.
    value, p = kendall(np.array([1.0, 2, 3, 10, 11, 12]), np.array([7.0, 8, 9, 1, 2, 3]), np.array([0, 0, 0, 1, 1, 1]))
    assert value.value == 1
    # One of 36 orders within the blocks agrees as well, and one disagrees as well.
    assert p == pytest.approx(2 / 36, abs=0.02)


def test_intervals_cover_and_tests_keep_their_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERMUTATIONS", 99)
    generator, n = np.random.default_rng(2), 15
    for rho in (0.0, 0.6):
        covered, found = [], []
        for _ in range(400):
            x = generator.standard_normal(n)
            y = rho * x + math.sqrt(1 - rho**2) * generator.standard_normal(n)
            tau, p = kendall(x, y, np.zeros(n, int))
            covered.append(tau.low <= 2 / math.pi * math.asin(rho) <= tau.high)
            found.append(p <= 0.05)
        # 400 draws have a standard error of 1.1 points.
        assert 0.93 <= np.mean(covered) <= 0.97
        assert np.mean(found) <= 0.07 if rho == 0 else np.mean(found) > 0.5


def test_no_interval_of_few_series_or_without_width() -> None:
    steps = np.arange(12.0)
    assert math.isnan(kendall(steps[:7], steps[:7] ** 2 % 5, np.zeros(7, int))[0].low)
    assert math.isnan(kendall(steps, steps, np.zeros(12, int))[0].low)
    constant, p = kendall(steps, np.zeros(12), np.zeros(12, int))
    assert math.isnan(constant.value) and math.isnan(p)


def table(**changes: object) -> pd.DataFrame:
    rows = []
    for experiment, panel, tasks in (("one", "a", "xyz"), ("one", "b", "xyz"), ("two", "a", "vw")):
        for rank, task in enumerate(tasks, start=1):
            named = {"experiment": experiment, "panel": panel, "axis": "A", "model": "m", "task": task}
            scores = {"axis_rank": rank, "dense_error": ord(task), "irt_difficulty": -ord(task)}
            rows.append(named | {"variant": "all", "fraction": "1.00"} | scores)
    empty = {"true_difficulty": np.nan, "human_gap": np.nan, "description_length": np.nan}
    return pd.DataFrame(rows).assign(**empty | changes)


def test_repeated_panels_count_once_and_ranks_are_not_pooled() -> None:
    found = agreement(table())
    one = found[(found["experiment"] == "one") & (found["first"] == "axis_rank") & (found["second"] == "dense_error")]
    assert one["n_series"].item() == 3 and one["tau"].item() == 1
    pooled = found[found["experiment"] == "all"]
    assert pooled[["first", "second"]].to_numpy().tolist() == [["dense_error", "irt_difficulty"]]
    assert pooled["n_series"].item() == 5 and pooled["tau"].item() == -1
