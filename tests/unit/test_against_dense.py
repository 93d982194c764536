from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, entropy

from junkdna.against_dense import compared, divergences, mcnemar
from junkdna.answers import of_table
from junkdna.metrics import METRICS
from junkdna.statistics import Scores


def scores(answers: dict[int | None, list[int]], truth: list[int], options: list | None = None) -> Scores:
    """Chosen options per seed, with their log-likelihoods where given."""
    frames = {}
    for seed, chosen in answers.items():
        right = [float(a == b) for a, b in zip(chosen, truth, strict=True)]
        frames[seed] = pd.DataFrame({"id": [f"q{i}" for i in range(len(truth))], "prediction": "x"})
        frames[seed] = frames[seed].assign(y_pred=np.array(chosen, float), y_true=np.array(truth, float))
        frames[seed] = frames[seed].assign(accuracy=right, option_scores=options or [None] * len(truth))
    return Scores("task", METRICS["accuracy"], frames)


def test_changed_lost_and_gained_by_hand() -> None:
    truth = [0, 0, 0, 0, 1, 1, 1, 1]
    dense = scores({None: [0, 0, 0, 2, 1, 1, 1, 2]}, truth)
    pruned = scores({None: [0, 0, 1, 1, 2, 1, 1, 1]}, truth)
    found = compared([(pruned, dense)])[0]
    # Questions 2 and 4 are lost, 7 is gained, 3 is wrong in another way.
    assert [found[key] for key in ("changed", "lost", "gained")] == [4 / 8, 2 / 8, 1 / 8]
    assert found["difference"] == -1 / 8 and found["difference_ci_low"] < -1 / 8 < found["difference_ci_high"]
    assert found["mcnemar_p"] == 1.0 and math.isnan(found["kl"])


def test_free_answers_are_compared_after_normalisation() -> None:
    frames = [
        pd.DataFrame({"id": ["a", "b", "c"], "prediction": texts, "y_pred": np.nan, "exact_match": [1.0, 1.0, 0.0]})
        for texts in (["Paris", "Lyon", "x"], ["the paris", "Lyon", "y"])
    ]
    sides = [Scores("task", METRICS["exact_match"], {None: frame}) for frame in frames]
    found = compared([tuple(sides)])[0]
    assert found["changed"] == pytest.approx(1 / 3) and found["lost"] == found["gained"] == 0


def test_an_expression_without_a_value_is_compared_as_it_is_written() -> None:
    frames = []
    for values, texts in (([1.0, 2.0, np.nan], ["1", "+ 1 1", "? 1"]), ([1.0, np.nan, np.nan], ["1", "+ 1", "? 1"])):
        frame = pd.DataFrame({"id": ["a", "b", "c"], "prediction": texts, "y_pred": values, "y_true": 1.0})
        frames.append(frame.assign(accuracy=(frame["y_pred"] == 1).astype(float)))
    sides = [Scores("task", METRICS["accuracy"], {None: frame}) for frame in frames]
    assert compared([tuple(sides)])[0]["changed"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (3, 0), (0, 9), (10, 4), (7, 7), (60, 33)])
def test_mcnemar_is_the_exact_binomial_test(lost: int, gained: int) -> None:
    expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar(np.array([lost]), np.array([gained])) == pytest.approx(expected)


def test_mcnemar_over_seeds_is_valid_whatever_their_dependence() -> None:
    each = [binomtest(k, 20).pvalue for k in (3, 5, 10)]
    assert mcnemar(np.array([3, 5, 10]), np.array([17, 15, 10])) == pytest.approx(2 * sorted(each)[1])
    assert mcnemar(np.array([10, 10]), np.array([10, 10])) == 1.0
    # The same null seed thrice: no more false positives than one test has.
    drawn = np.random.default_rng(3).binomial(40, 0.5, 2000)
    assert np.mean([mcnemar(np.full(3, k), np.full(3, 40 - k)) <= 0.05 for k in drawn]) <= 0.05


def test_divergence_is_scipys() -> None:
    logits = [np.array([1.0, 0.0]), np.array([0.0, -2.0, 3.0]), np.array([-800.0, 0.0])]
    others = [np.array([0.5, 0.7]), np.array([1.0, 1.0, 1.0]), np.array([-900.0, 5.0])]
    expected = []
    for one, other in zip(logits, others, strict=True):
        p, q = (np.exp(v - v.max()) / np.exp(v - v.max()).sum() for v in (one, other))
        expected.append(entropy(p, q, base=2) if q.min() > 0 else 0.0)
    frames = [of_table(pd.DataFrame({"id": ["a", "b", "c"], "option_scores": side})) for side in (others, logits)]
    assert divergences([[tuple(frames)]]) == pytest.approx(np.array([[expected]]))


def test_means_over_seeds_and_no_divergence_from_itself() -> None:
    truth, options = [0, 1, 1, 0], [np.array([0.0, -1.0])] * 4
    dense = scores({0: [0, 1, 1, 0], 1: [0, 1, 0, 0]}, truth, options)
    pruned = scores({0: [0, 1, 0, 0], 1: [1, 1, 1, 1]}, truth, options)
    found = compared([(pruned, dense)])[0]
    assert found["lost"] == pytest.approx((0.25 + 0.5) / 2) and found["gained"] == pytest.approx((0 + 0.25) / 2)
    assert found["kl"] == found["kl_ci_low"] == found["kl_ci_high"] == 0


def test_regression_has_no_answers_that_change() -> None:
    generator = np.random.default_rng(1)
    sides = []
    for noise in (0.3, 1.0):
        truth = generator.standard_normal(50)
        frame = pd.DataFrame({"id": [f"{i:02}" for i in range(50)], "prediction": "x", "y_true": truth})
        frame = frame.assign(y_pred=truth + noise * generator.standard_normal(50), option_scores=None)
        sides.append(Scores("task", METRICS["pearson"], {None: frame}))
    found = compared([(sides[1], sides[0])])[0]
    assert found["difference_ci_high"] < 0
    assert all(math.isnan(found[key]) for key in ("changed", "lost", "gained", "mcnemar_p", "kl"))
