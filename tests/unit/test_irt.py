from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate
from scipy.special import expit
from scipy.stats import norm

from junkdna import irt
from junkdna.irt import Group, fit


def simulate(
    generator: np.random.Generator, ability: np.ndarray, means: list[float], items: int = 200, spread: float = 1.2
) -> tuple[list[Group], list[np.ndarray]]:
    """Groups answered by two thirds of the states each, and the true difficulties."""
    groups, truth = [], []
    for mean in means:
        states = np.sort(generator.choice(len(ability), 2 * len(ability) // 3, replace=False))
        difficulty = generator.normal(mean, spread, items)
        chance = expit(ability[states][:, None] - difficulty)
        groups.append(Group(states, (generator.random(chance.shape) < chance).astype(np.uint8)))
        truth.append(difficulty)
    return groups, truth


def test_known_parameters_are_recovered() -> None:
    generator = np.random.default_rng(1)
    ability, means = generator.normal(0, 1.5, 45), [-3.0, -1.0, 0.0, 1.0, 2.5]
    ability -= ability.mean()
    groups, truth = simulate(generator, ability, means)
    found = fit(groups, len(ability))
    assert np.abs(found.ability - ability).max() < 0.6 and np.corrcoef(found.ability, ability)[0, 1] > 0.99
    assert found.mean == pytest.approx(means, abs=0.35)
    assert np.polyfit(means, found.mean, 1)[0] == pytest.approx(1, abs=0.06)
    assert found.spread == pytest.approx(np.full(5, 1.2), abs=0.25)
    for number, (group, difficulty) in enumerate(zip(groups, truth, strict=True)):
        estimated = found.difficulties(number, group)
        # Posterior means: a regression of the truth on them has slope 1.
        assert np.polyfit(estimated, difficulty, 1)[0] == pytest.approx(1, abs=0.15)
        assert np.corrcoef(estimated, difficulty)[0, 1] > 0.8


def test_likelihood_is_the_integral() -> None:
    """The sum over nodes against scipy's quadrature of the same model, answer by answer."""
    ability, mean, spread = np.array([-1.0, 0.5, 2.0]), 0.4, 1.1
    joint = irt._log_joint(irt._losses(ability).sum(0), np.arange(4), mean, spread)
    for answers in ([0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]):

        def density(b: float, answers: list[int] = answers) -> float:
            p = expit(ability - b)
            return float(np.prod(np.where(answers, p, 1 - p)) * norm.pdf(b, mean, spread))

        expected = integrate.quad(density, -15, 15)[0]
        summed = np.exp(joint[sum(answers)] + np.dot(answers, ability)).sum()
        assert summed == pytest.approx(expected, rel=1e-6)
        posterior = integrate.quad(lambda b, f=density: b * f(b), -15, 15)[0] / expected
        group = Group(np.arange(3), np.array(answers)[:, None])
        known = irt.Fit(ability, np.array([mean]), np.array([0.1]), np.array([spread]))
        assert known.difficulties(0, group) == pytest.approx([posterior], rel=1e-5, abs=1e-8)


def test_means_cover_the_truth() -> None:
    """Differences of means, since the origin is the average ability."""
    generator, covered = np.random.default_rng(2), []
    for _ in range(300):
        ability = generator.normal(0, 1, 20)
        # All states answer both groups: what the states have in common cancels.
        truth = [generator.normal(mean, 1.2, 80) for mean in (-1.0, 0.5)]
        groups = [
            Group(np.arange(20), (generator.random((20, 80)) < expit(ability[:, None] - b)).astype(np.uint8))
            for b in truth
        ]
        found = fit(groups, 20)
        error = math.hypot(*found.error)
        covered.append(abs(found.mean[1] - found.mean[0] - 1.5) <= 1.96 * error)
    # 300 draws: the standard error of the coverage is 1.3 points.
    assert 0.93 <= np.mean(covered) <= 0.97


def test_states_and_items_that_say_nothing_stay_finite() -> None:
    groups = [Group(np.arange(4), np.ones((4, 30), np.uint8)), Group(np.arange(4), np.eye(4, 30, dtype=np.uint8))]
    found = fit(groups, 4)
    assert all(np.isfinite(part).all() for part in vars(found).values())
    assert found.mean[0] < found.mean[1]


def test_items_are_learnt_from_the_rows_given() -> None:
    right = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.uint8)
    group = Group(np.arange(4), right)
    known = irt.Fit(np.zeros(4), np.zeros(1), np.ones(1), np.ones(1))
    first, second = known.difficulties(0, group, np.array([True, True, False, False]))
    assert first < 0 < second
    assert known.difficulties(0, group) == pytest.approx([0, 0], abs=1e-9)
