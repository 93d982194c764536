from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from junkdna import bootstrap, statistics
from junkdna.files import DataError
from junkdna.metrics import METRICS
from junkdna.statistics import Pair, Scores, drop_difference, estimate_retained, estimate_value

EXAMPLES = 200


def scores(right: np.ndarray | dict, ids: list[str] | None = None, group: str = "task") -> Scores:
    seeds = right if isinstance(right, dict) else {None: right}
    ids = ids or [str(i) for i in range(len(next(iter(seeds.values()))))]
    frames = {
        seed: pd.DataFrame({"id": ids, "y_true": 1.0, "y_pred": values, "accuracy": values})
        for seed, values in seeds.items()
    }
    return Scores(group, METRICS["accuracy"], frames)


def bernoulli(generator: np.random.Generator, probability: float, latent: np.ndarray | None = None) -> np.ndarray:
    """Right answers with this probability; with ``latent`` correlated through it."""
    noise = generator.standard_normal(EXAMPLES)
    mixed = noise if latent is None else math.sqrt(0.6) * latent + math.sqrt(0.4) * noise
    return (stats.norm.cdf(mixed) < probability).astype(float)


def test_t_interval_is_the_textbook_one() -> None:
    found = statistics.t_interval([1.0, 2.0, 4.0])
    assert found.value == pytest.approx(7 / 3)
    expected = stats.ttest_1samp([1.0, 2.0, 4.0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_bootstrap_of_a_mean_is_near_the_normal_interval() -> None:
    right = bernoulli(np.random.default_rng(1), 0.7)
    found = estimate_value(scores(right))
    half = 1.96 * right.std() / math.sqrt(EXAMPLES)
    assert found.value == right.mean()
    assert (found.low, found.high) == pytest.approx((right.mean() - half, right.mean() + half), abs=0.015)


def test_same_ids_are_resampled_jointly_whatever_the_order_of_the_rows() -> None:
    right = bernoulli(np.random.default_rng(2), 0.6)
    ids = [str(i) for i in range(EXAMPLES)]
    shuffled = np.random.default_rng(3).permutation(EXAMPLES)
    first, second = scores(right, ids), scores(right[shuffled], [ids[i] for i in shuffled])
    assert np.array_equal(first.replicates(), second.replicates())
    assert not np.array_equal(first.replicates(), scores(right, [f"other-{i}" for i in ids]).replicates())
    assert not np.array_equal(first.replicates(), scores(right, ids, group="another").replicates())


def test_retained_of_dense_by_itself_is_one_without_width() -> None:
    dense = scores(bernoulli(np.random.default_rng(4), 0.9))
    assert estimate_retained(dense, dense) == statistics.Estimate(1.0, 1.0, 1.0)


def test_retained_per_seed_then_averaged() -> None:
    dense = scores({0: np.array([1.0, 1, 1, 1]), 1: np.array([1.0, 1, 0, 0])})
    half = scores({0: np.array([1.0, 1, 0, 0]), 1: np.array([1.0, 0, 0, 0])})
    third = scores({0: np.array([1.0, 1, 1, 0]), 1: np.array([1.0, 0, 0, 0])})
    assert estimate_retained(half, dense) == statistics.Estimate(0.5, 0.5, 0.5)
    assert estimate_retained(third, dense).value == pytest.approx((0.75 + 0.5) / 2)


def test_lower_is_better_inverts_the_ratio() -> None:
    assert statistics.retained(20.0, 10.0, higher_is_better=False) == 0.5
    assert statistics.retained(5.0, 10.0, higher_is_better=True) == 0.5
    assert np.isnan(statistics.retained(0.3, 0.0, higher_is_better=True))
    assert np.isnan(statistics.retained(0.3, -0.1, higher_is_better=True))


def test_chance_corrected_is_undefined_unless_dense_beats_chance() -> None:
    assert statistics.chance_corrected(0.6, 0.9, 0.5, True) == pytest.approx(0.25)
    assert statistics.chance_corrected(30.0, 10.0, 50.0, False) == pytest.approx(0.5)
    for dense in (0.5, 0.4, 0.5 + 1e-12):
        assert np.isnan(statistics.chance_corrected(0.6, dense, 0.5, True))


def contrast(generator: np.random.Generator, easy: float, hard: float, shared: bool) -> statistics.Estimate:
    """Two variants, dense right with 0.9; the compressed ones with ``easy`` and ``hard``."""
    latent = [generator.standard_normal(EXAMPLES)]
    latent.append(latent[0] if shared else generator.standard_normal(EXAMPLES))
    pairs = []
    for side, probability in enumerate((easy, hard)):
        ids = [f"{0 if shared else side}-{i}" for i in range(EXAMPLES)]
        states = [scores(bernoulli(generator, p, latent[side]), ids) for p in (probability, 0.9)]
        pairs.append(Pair(*states))
    return drop_difference(*pairs)


@pytest.mark.parametrize("shared", [True, False])
def test_bootstrap_contrast_covers_the_truth(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "REPLICATES", 400)
    generator = np.random.default_rng(5)
    truth = (1 - 0.45 / 0.9) - (1 - 0.72 / 0.9)
    found = [contrast(generator, 0.72, 0.45, shared) for _ in range(200)]
    covered = np.mean([estimate.low <= truth <= estimate.high for estimate in found])
    # 200 draws: the standard error of the coverage is 1.5 points.
    assert 0.91 <= covered <= 0.99


def test_t_contrast_covers_the_truth_over_seeds() -> None:
    generator = np.random.default_rng(6)
    covered = []
    for _ in range(200):
        sides = []
        for probability in (0.72, 0.45):
            states = [{s: bernoulli(generator, p) for s in range(3)} for p in (probability, 0.9)]
            sides.append(Pair(*map(scores, states)))
        estimate = drop_difference(*sides)
        covered.append(estimate.low <= 0.3 <= estimate.high)
    assert 0.91 <= np.mean(covered) <= 0.99


def test_contrast_finds_an_effect_and_no_effect() -> None:
    generator = np.random.default_rng(7)
    assert contrast(generator, 0.72, 0.45, shared=True).low > 0.1
    null = [contrast(generator, 0.6, 0.6, shared=True) for _ in range(40)]
    assert sum(not estimate.low <= 0 <= estimate.high for estimate in null) <= 5  # 2 expected


def test_pairing_narrows_the_interval_of_shared_questions() -> None:
    width = []
    for shared in (True, False):
        generator = np.random.default_rng(8)
        found = [contrast(generator, 0.6, 0.6, shared) for _ in range(10)]
        width.append(np.mean([estimate.high - estimate.low for estimate in found]))
    assert width[0] < 0.95 * width[1]


def test_partly_shared_ids_are_drawn_in_strata() -> None:
    right = bernoulli(np.random.default_rng(9), 0.5)
    first = scores(right, [str(i) for i in range(EXAMPLES)])
    second = scores(np.r_[right[100:], right[:100]], [str(i) for i in range(100, 100 + EXAMPLES)])
    estimate = drop_difference(Pair(first, first), Pair(second, second))
    assert estimate == statistics.Estimate(0.0, 0.0, 0.0)
    common = [np.isin(side.ids, np.intersect1d(first.ids, second.ids)) for side in (first, second)]
    drawn = [side.replicates(shared) for side, shared in zip((first, second), common, strict=True)]
    assert 0.1 < np.corrcoef(*drawn)[0, 1] < 0.9


def test_undefined_where_there_is_nothing_to_lose() -> None:
    zero, some = scores(np.zeros(20)), scores(np.r_[np.ones(5), np.zeros(15)])
    assert math.isnan(estimate_retained(some, zero).value)
    assert math.isnan(drop_difference(Pair(some, zero), Pair(some, some)).value)


def test_unlike_sides_are_refused() -> None:
    right = np.ones(10)
    with pytest.raises(DataError, match="twice"):
        scores(right, ["a"] * 10)
    with pytest.raises(DataError, match="seed 1"):
        Scores(
            "task",
            METRICS["accuracy"],
            {
                seed: pd.DataFrame({"id": [f"{seed}"], "accuracy": [1.0], "y_true": [1.0], "y_pred": [1.0]})
                for seed in (0, 1)
            },
        )
    with pytest.raises(DataError, match="example ids"):
        estimate_retained(scores(right), scores(right, [f"x{i}" for i in range(10)]))
    with pytest.raises(DataError, match="seeds"):
        estimate_retained(scores({0: right, 1: right}), scores(right))


@pytest.mark.parametrize(
    ("seeds", "seed_sd", "example_sd", "noise_sd"),
    [(3, 0.1, 0.0, 1.0), (3, 0.0, 0.3, 1.0), (3, 0.1, 0.5, 1.0), (5, 0.05, 1.0, 0.5)],
)
def test_replicates_over_seeds_and_examples_cover_the_truth(
    seeds: int, seed_sd: float, example_sd: float, noise_sd: float
) -> None:
    generator, sims, n = np.random.default_rng(12), 800, 200
    drawn = np.apply_along_axis(np.bincount, 1, generator.integers(0, n, (500, n)), minlength=n) / n
    covered = 0
    for _ in range(sims):
        effects = seed_sd * generator.standard_normal((seeds, 1)) + example_sd * generator.standard_normal(n)
        scored = effects + noise_sd * generator.standard_normal((seeds, n))
        low, high = np.quantile(statistics.both_ways(scored.mean(1), scored @ drawn.T), [0.025, 0.975])
        covered += low <= 0 <= high
    # 800 draws have a standard error of 0.8 points.
    assert 0.93 <= covered / sims <= 0.97


def test_replicates_over_seeds_alone_are_students_t() -> None:
    values = np.array([1.0, 2.0, 4.0])
    same = np.tile(values[:, None], 200_000)
    expected = statistics.t_interval(values)
    found = np.quantile(statistics.both_ways(values, same), [0.025, 0.975])
    assert found == pytest.approx([expected.low, expected.high], rel=0.03)


def test_variance_is_of_the_values_that_are_defined() -> None:
    values = np.random.default_rng(0).random((3, 50, 4))
    for axis in (None, 0, 1):
        assert np.array_equal(bootstrap.variance(values, axis), np.nanvar(values, axis))
    values[0, :, 1] = np.nan
    assert np.array_equal(bootstrap.variance(values, 0), np.nanvar(values, 0))


def test_replicates_of_means_are_those_of_the_metric() -> None:
    generator = np.random.default_rng(13)
    two = scores({seed: bernoulli(generator, 0.7) for seed in (0, 1)})
    right = np.stack([frame["accuracy"] for frame in two.frames.values()])
    alone = [Scores("task", METRICS["accuracy"], {None: frame}).replicates() for frame in two.frames.values()]
    assert two.mean_replicates(right) == pytest.approx(np.stack(alone))
    assert two.seed_replicates == pytest.approx(np.stack(alone))
