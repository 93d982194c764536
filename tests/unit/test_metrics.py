from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix, f1_score, matthews_corrcoef

from junkdna import catalog, metrics
from junkdna.metrics import METRICS, chance_level, contains, contains_either, exact_match, f1, normalize_answer


def frame(seed: int, classes: int | None) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    if classes is None:
        y_true = draw.integers(0, 6, 60).astype(float)
        return pd.DataFrame({"y_true": y_true, "y_pred": (y_true + draw.normal(0, 2, 60)).round(1)})
    return pd.DataFrame({name: draw.integers(0, classes, 60).astype(float) for name in ("y_true", "y_pred")})


ORACLES = {
    "matthews": lambda f: matthews_corrcoef(f.y_true, f.y_pred),
    "f1_binary": lambda f: f1_score(f.y_true, f.y_pred, zero_division=0),
    "pearson": lambda f: stats.pearsonr(f.y_true, f.y_pred).statistic,
    "spearman": lambda f: stats.spearmanr(f.y_true, f.y_pred).statistic,
}


@pytest.mark.parametrize(
    ("name", "classes"), [("matthews", 2), ("matthews", 5), ("f1_binary", 2), ("pearson", None), ("spearman", None)]
)
def test_resampled_values_are_those_of_the_libraries(name: str, classes: int | None) -> None:
    found = frame(3, classes)
    indices = np.random.default_rng(0).integers(0, 60, (40, 60))
    expected = [ORACLES[name](found.iloc[rows]) for rows in indices]
    assert METRICS[name].compute(found) == pytest.approx(ORACLES[name](found))
    assert METRICS[name].resampled(found, indices) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("name", ["matthews", "f1_binary", "pearson", "spearman"])
def test_constant_predictions_score_zero(name: str) -> None:
    found = pd.DataFrame({"y_true": [0.0, 1.0, 1.0, 0.0], "y_pred": 0.0})
    assert METRICS[name].compute(found) == 0
    assert METRICS[name].resampled(found, np.array([[0, 1, 2, 3], [1, 1, 1, 1]])).tolist() == [0, 0]


def test_resampled_means_and_perplexity() -> None:
    found = pd.DataFrame({"accuracy": [1.0, 0.0, 1.0], "nll": [1.0, 4.0, 6.0], "tokens": [1.0, 2.0, 3.0]})
    indices = np.array([[0, 1, 2], [1, 1, 2]])
    assert METRICS["accuracy"].resampled(found, indices) == pytest.approx([2 / 3, 1 / 3])
    assert METRICS["perplexity"].compute(found) == pytest.approx(np.exp(11 / 6))
    assert METRICS["perplexity"].resampled(found, indices) == pytest.approx(np.exp([11 / 6, 2]))
    assert not METRICS["perplexity"].higher_is_better


def test_every_metric_of_the_catalog_exists() -> None:
    assert {name for names in catalog.METRICS.values() for name in names} == set(METRICS)


def test_confusion() -> None:
    y_true, y_pred = np.array([[0, 1, 2, 2]]), np.array([[0, 2, 2, 1]])
    assert metrics.confusion(y_true, y_pred)[0].tolist() == confusion_matrix(y_true[0], y_pred[0]).tolist()


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Sunset Boulevard!", "sunset boulevard"),
        ("Sunset_Blvd.", "sunset blvd"),
        ("a  Man, an Apple & the 'end'", "man apple end"),
        ("‘Sunset’ Bld", "sunset bld"),  # noqa: RUF001 - quotation marks of the official list
        ("theatre another", "theatre another"),
        ("rock-and-roll", "rock and roll"),
    ],
)
def test_official_normalisation(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


# Aliases of the first question of TriviaQA's published sample (tc_1: which American-born Sinclair won the Nobel Prize
# for Literature in 1930; tc_3: which city David Soul comes from).
SINCLAIR = (
    "Sinclair Lewis",
    "(Harry) Sinclair Lewis",
    "Harry Sinclair Lewis",
    "Lewis, (Harry) Sinclair",
    "Grace Hegger",
)
CHICAGO = ("Chicago", "City of Chicago, Illinois", "Chi-Beria", "The Windy City", "Chicago, Illinois")


@pytest.mark.parametrize(
    ("prediction", "answers", "strict", "overlap", "lenient", "either"),
    [
        ("sinclair lewis", SINCLAIR, 1, 1, 1, 1),
        ("Harry Sinclair-Lewis.", SINCLAIR, 1, 1, 1, 1),
        ("Lewis Sinclair", SINCLAIR, 0, 1, 0, 0),
        ("Upton Sinclair", SINCLAIR, 0, 0.5, 0, 0),
        ("Windy City", CHICAGO, 1, 1, 1, 1),
        ("He comes from Chicago", CHICAGO, 0, 0.4, 1, 1),
        ("Illinois", CHICAGO, 0, 2 / 3, 0, 1),
        ("", CHICAGO, 0, 0, 0, 0),
        ("anything", ("The",), 0, 0, 0, 0),
    ],
)
def test_answers_are_scored_by_the_best_of_all_aliases(prediction, answers, strict, overlap, lenient, either) -> None:
    assert exact_match(prediction, answers) == strict
    assert f1(prediction, answers) == pytest.approx(overlap)
    assert contains(prediction, answers) == lenient
    assert contains_either(prediction, answers) == either


def test_chance() -> None:
    y_true = np.array([0.0, 1.0, 1.0, 1.0])
    assert chance_level(0.25, y_true, None) == 0.25
    assert chance_level("uniform", y_true, np.array([2, 2, 4, 4])) == pytest.approx(0.375)
    assert chance_level("majority", y_true, np.array([2, 2, 2, 2])) == 0.75
    with pytest.raises(metrics.DataError, match="no classes or options"):
        chance_level("uniform", y_true, None)
