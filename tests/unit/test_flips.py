from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from junkdna import flips, responses
from junkdna.flips import Observed
from junkdna.responses import Responses, Series, State, estimate

SERIES = Series("task", "all", "1.00")
LEVELS = {"0.50": 2.5, "0.70": 0.5, "0.80": -1.0}


def simulate(seed: int, slope: float, methods: tuple[str, ...] = ("a", "b", "c"), items: int = 300) -> Responses:
    """States answer items of known difficulty; in the first method alone, ``slope`` says how much that matters."""
    generator = np.random.default_rng(seed)
    difficulty = generator.normal(0, 1.2, items)
    states, right = [State("m", "dense", "dense", "none", None, None)], [np.ones(items, np.uint8)]
    for method in methods:
        for level, ability in LEVELS.items():
            steep = slope if method == methods[0] else 1.0
            states.append(State("m", method, level, "none", None, None))
            right.append((generator.random(items) < expit(ability - steep * difficulty)).astype(np.uint8))
    ids = np.array([f"{i:03}" for i in range(items)])
    return Responses(states, ids, np.stack(right))


def observed(difficulty: np.ndarray, lost: np.ndarray, levels: tuple[str, ...] = ("0.50",)) -> Observed:
    """Of levels of one curve, to examples that are numbered from 0."""
    questions, third = np.arange(len(difficulty)), flips._thirds(difficulty)
    curve = ("m", "a", "none", "sparsity")
    return Observed(curve, SERIES, "other methods", [*levels], questions, difficulty, third, lost.astype(np.uint8))


def of_first_method(found: Responses) -> pd.Series:
    table = flips.predict(flips.observe(estimate({SERIES: found})))
    return table[(table["method"] == "a") & (table["task"] == "task")].iloc[0]


def test_difficulty_that_matters_is_found_and_only_that() -> None:
    row = of_first_method(simulate(1, slope=1.0))
    assert row["learnt_from"] == "other methods" and row["odds_ratio"] > 1.5 and row["ci_low"] > 1.2
    against = of_first_method(simulate(2, slope=-1.0))
    assert against["ci_high"] < 1


def test_difficulty_that_does_not_matter_is_not_found() -> None:
    """The cells to predict do not enter the difficulty, or their own chance losses would look predicted."""
    rows = [of_first_method(simulate(seed, slope=0.0, items=120)) for seed in range(25)]
    assert sum(row["p"] <= 0.05 for row in rows) <= 4
    assert 0.9 < np.exp(np.mean([math.log(row["odds_ratio"]) for row in rows])) < 1.1


def test_odds_cover_the_truth_where_answers_of_an_example_are_alike() -> None:
    generator, covered, n = np.random.default_rng(3), [], 150
    for _ in range(500):
        alike, difficulty = 1.5 * generator.standard_normal(n), generator.standard_normal(n)
        chance = expit(alike - np.array(list(LEVELS.values()))[:, None])
        found = flips.regress([observed(difficulty, generator.random((3, n)) < chance, tuple(LEVELS))])
        covered.append(found["ci_low"] <= 1 <= found["ci_high"])
    # 500 draws have a standard error of 1 point.
    assert 0.93 <= np.mean(covered) <= 0.97


def test_regression_is_an_ordinary_logistic_one() -> None:
    """Against statsmodels with a column for each level of each part, errors clustered by example."""
    from statsmodels.api import GLM, families

    generator, parts, rows = np.random.default_rng(4), [], []
    for n in (200, 150):
        x, ability = generator.standard_normal(n), np.array([0.3, -0.5, -9.0])
        parts.append(observed(x, generator.random((3, n)) < expit(0.8 * x - ability[:, None]), tuple(LEVELS)))
        rows += [
            {"part": n, "level": i, "x": x[k], "id": k, "lost": parts[-1].lost[i, k]}
            for i in range(3)
            for k in range(n)
        ]
    table = pd.DataFrame(rows)
    assert table.groupby(["part", "level"])["lost"].nunique().tolist() == [2, 2, 1] * 2  # the last says nothing
    table = table[table["level"] < 2]
    design = pd.get_dummies(table["part"] + table["level"]).assign(x=table["x"]).astype(float)
    clustered = {"cov_type": "cluster", "cov_kwds": {"groups": table["id"].to_numpy()}}
    expected = GLM(table["lost"].astype(float), design, family=families.Binomial()).fit(tol=1e-12, **clustered)
    found = flips.regress(parts)
    low, high = expected.conf_int().loc["x"]
    assert (found["n_examples"], found["n_answers"]) == (200, 3 * 350)
    assert math.log(found["odds_ratio"]) == pytest.approx(expected.params["x"], rel=1e-9)
    assert (math.log(found["ci_low"]), math.log(found["ci_high"])) == pytest.approx((low, high), rel=1e-8)
    assert found["p"] == pytest.approx(expected.pvalues["x"], rel=1e-6)


def test_one_method_is_predicted_from_other_seeds() -> None:
    found = simulate(5, slope=1.0, methods=("a",))
    again = simulate(5, slope=1.0, methods=("a",))
    states = [s._replace(seed=seed, transfer="dense" if s.method == "dense" else "sparse")
              for seed, one in ((0, found), (1, again)) for s in one.states]  # fmt: skip
    both = Responses(states, found.ids, np.concatenate([found.right, again.right]))
    row = of_first_method(both)
    assert row["learnt_from"] == "other seeds" and row["n_answers"] == 2 * 3 * 300
    alone = flips.observe(estimate({SERIES: found}))
    assert not alone and not len(flips.predict(alone)) and not len(flips.by_third(alone))


def test_only_right_dense_answers_can_be_lost_and_thirds_rise() -> None:
    found = simulate(6, slope=1.5)
    found.right[0, :100] = 0
    kept = flips.observe(estimate({SERIES: found}))
    assert [one.questions.tolist() for one in kept] == [[*range(100, 300)]] * 3 and {len(one.lost) for one in kept} == {
        3
    }
    thirds = flips.by_third(kept)
    first = thirds[(thirds["method"] == "a") & (thirds["level"] == "0.70")]
    assert first["third"].tolist() == list(flips.THIRDS) and first["lost"].is_monotonic_increasing
    assert (first["ci_low"] < first["lost"]).all() and first["n_examples"].sum() == 200


def test_too_few_losses_give_no_odds() -> None:
    found = simulate(7, slope=1.0)
    found.right[1:4] = 1
    found.right[1, :3] = 0
    row = of_first_method(found)
    assert row["n_lost"] == 3 and math.isnan(row["odds_ratio"])


@pytest.mark.filterwarnings("error")
def test_difficulty_without_error_gives_no_odds() -> None:
    x = np.linspace(-1, 1, 60)
    found = flips.regress([observed(x, x[None] > 0)])
    assert found["n_lost"] == 30 and "odds_ratio" not in found


def test_items_table() -> None:
    found = simulate(8, slope=1.0)
    table = responses.estimate({SERIES: found}).table()
    assert table.columns.tolist() == ["task", "variant", "fraction", "id", "difficulty", "right", "states"]
    assert table["right"].tolist() == found.right.sum(0).tolist() and set(table["states"]) == {10}
    order = table.groupby("right")["difficulty"].mean()
    assert order.is_monotonic_decreasing
