from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from junkdna.description import answer_bits, asked, online
from junkdna.metrics import METRICS
from junkdna.statistics import Scores


def scores(logits: dict[int | None, np.ndarray], truth: np.ndarray) -> Scores:
    frames = {
        seed: pd.DataFrame(
            {
                "id": [f"{i:03}" for i in range(len(truth))],
                "y_true": truth.astype(float),
                "accuracy": (values.argmax(1) == truth).astype(float),
                "option_scores": list(values),
            }
        )
        for seed, values in logits.items()
    }
    return Scores("task", METRICS["accuracy"], frames)


def test_bits_are_the_log_loss() -> None:
    generator = np.random.default_rng(1)
    logits, truth = generator.normal(0, 2, (40, 4)), generator.integers(0, 4, 40)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = log_loss(truth, probabilities) / math.log(2)
    found = asked(scores({None: logits}, truth))
    assert found.value == pytest.approx(expected) and found.low < expected < found.high
    assert asked(scores({None: np.zeros((40, 4))}, truth)).value == 2


def test_online_code_by_hand() -> None:
    """Two classes; a model of the first quarter takes 0.5 bits, one of the first half 0.25."""
    truth = np.zeros(20, int)

    def model(bits: float) -> Scores:
        odds = math.log(2**-bits / (1 - 2**-bits))
        return scores({seed: np.tile([odds, 0.0], (20, 1)) for seed in (0, 1)}, truth)

    trained = {0.25: model(0.5), 0.5: model(0.25), 1.0: model(0.01)}
    assert online(trained, 1.0).value == pytest.approx(0.25 * 1 + 0.25 * 0.5 + 0.5 * 0.25)
    assert online(trained, 0.5).value == pytest.approx((0.25 * 1 + 0.25 * 0.5) / 0.5)
    assert online(trained, 0.25).value == pytest.approx(1)
    assert math.isnan(online({1.0: model(0.1)}, 1.0).value)


def test_a_task_that_is_learnt_sooner_is_described_in_fewer_bits() -> None:
    """Simulated learners: the loss at a fraction falls with the fraction, faster for the easy task."""
    generator, truth = np.random.default_rng(2), np.random.default_rng(3).integers(0, 2, 200)

    def learner(strength: float) -> Scores:
        sign = np.where(truth == 1, 1.0, -1.0)
        draws = {s: strength * sign[:, None] * [-1, 1] + generator.normal(0, 1, (200, 2)) for s in (0, 1, 2)}
        return scores(draws, truth)

    easy, hard = ({f: learner(rate * f) for f in (0.1, 0.25, 0.5, 1.0)} for rate in (6.0, 1.0))
    assert online(easy, 1.0).high < online(hard, 1.0).low


def test_no_length_without_the_probability_of_the_answer() -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "y_true": np.nan, "option_scores": None, "exact_match": [1.0, 0.0]})
    found = Scores("task", METRICS["exact_match"], {None: frame})
    assert answer_bits(found) is None and math.isnan(asked(found).value)
