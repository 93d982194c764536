"""One-parameter item-response model: P(state r answers item i) = logistic(ability_r - difficulty_i).

Items of a group (one variant of a task at one fraction of the data) are a sample from a normal distribution of
difficulties, whose mean and spread are estimated with the abilities of the states by marginal maximum likelihood
(random-item Rasch model; De Boeck 2008, "Random item IRT models"). Many items and few states make items, not states,
the side to integrate over. Given the abilities, an item's number of right answers says all about it, so a group enters
through a histogram of these numbers. Weak priors keep states that answer everything, or nothing, finite: abilities and
means are N(0, 3), the logarithm of a spread N(0, 1).

States that answer several groups put these on one scale. Groups that share no state are joined only by the prior, that
states are equally able on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

PRIOR_SD = 3.0
# Difficulties to sum over: finer than the posterior of an item that some dozen states answer.
NODES = np.linspace(-15, 15, 121)
LIMITS = {"ability": (-12.0, 12.0), "mean": (-10.0, 10.0), "log_spread": (np.log(0.2), np.log(6.0))}


@dataclass(frozen=True)
class Group:
    """Items that the same states answer.

    Args:
        states: numbers of the states, shape (states,).
        right: 1 where a state is right, shape (states, items).
    """

    states: np.ndarray
    right: np.ndarray

    @cached_property
    def sums(self) -> np.ndarray:
        """How many states have each item right, shape (items,)."""
        return self.right.sum(0).astype(int)


@dataclass(frozen=True)
class Fit:
    """Estimates: ability of each state; mean, its standard error, and spread of the difficulties of each group."""

    ability: np.ndarray
    mean: np.ndarray
    error: np.ndarray
    spread: np.ndarray

    @cached_property
    def losses(self) -> np.ndarray:
        """:func:`_losses` of all states."""
        return _losses(self.ability)

    def difficulties(self, number: int, group: Group, rows: np.ndarray | None = None) -> np.ndarray:
        """Posterior mean difficulty of each item of the group with this number, shape (items,).

        Args:
            rows: bool per row of ``group.right``: whether to learn from it; all if absent.
        """
        rows = np.ones(len(group.states), bool) if rows is None else rows
        right, places = np.unique(group.sums - group.right[~rows].sum(0, dtype=int), return_inverse=True)
        logs = _log_joint(self.losses[group.states[rows]].sum(0), right, self.mean[number], self.spread[number])
        return (np.exp(logs - logsumexp(logs, axis=1, keepdims=True)) @ NODES)[places]


def _losses(ability: np.ndarray) -> np.ndarray:
    """What the log-probability of a state's answer lacks, right or wrong, at each node; shape (states, nodes)."""
    return np.logaddexp(0, ability[:, None] - NODES)


def _log_joint(losses: np.ndarray, right: np.ndarray, mean: float, spread: float) -> np.ndarray:
    """Log-probability of numbers of right answers and a difficulty, up to the abilities of those who are right.

    Args:
        losses: sum of :func:`_losses` over the states, shape (nodes,).

    Returns:
        Shape (numbers, nodes).
    """
    return _log_prior(mean, spread) - losses - right[:, None] * NODES


def _log_prior(mean: float, spread: float) -> np.ndarray:
    prior = -0.5 * ((NODES - mean) / spread) ** 2
    return prior - logsumexp(prior)


def fit(groups: list[Group], n_states: int) -> Fit:
    """Estimate all parameters; ``n_states`` is the number of states in all groups together."""
    if not groups:
        return Fit(*(np.array([]),) * 4)
    histograms = [np.bincount(group.sums, minlength=len(group.states) + 1) for group in groups]
    totals = np.zeros(n_states)
    for group in groups:
        np.add.at(totals, group.states, group.right.sum(1))

    sds = np.concatenate([np.full(n_states + len(groups), PRIOR_SD), np.ones(len(groups))])
    answers = sum(group.right.size for group in groups)

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        ability, mean, logs = np.split(parameters, [n_states, n_states + len(groups)])
        value, gradient = -ability @ totals, -np.concatenate([totals, np.zeros(2 * len(groups))])
        success, losses = expit(ability[:, None] - NODES), _losses(ability)
        for number, (group, counts) in enumerate(zip(groups, histograms, strict=True)):
            spread = np.exp(logs[number])
            joint = _log_joint(losses[group.states].sum(0), np.arange(len(counts)), mean[number], spread)
            norm = logsumexp(joint, axis=1)
            value -= counts @ norm
            at = counts @ np.exp(joint - norm[:, None])
            gradient[group.states] += success[group.states] @ at
            surplus, scaled = (
                at - counts.sum() * np.exp(_log_prior(mean[number], spread)),
                (NODES - mean[number]) / spread,
            )
            gradient[n_states + number] -= surplus @ scaled / spread
            gradient[n_states + len(groups) + number] -= surplus @ scaled**2
        # Per answer, so that the first step is short whatever the size of the data.
        value, gradient = value + 0.5 * np.sum((parameters / sds) ** 2), gradient + parameters / sds**2
        return value / answers, gradient / answers

    limits = [LIMITS["ability"]] * n_states + [LIMITS["mean"]] * len(groups) + [LIMITS["log_spread"]] * len(groups)
    options = {"maxiter": 3000, "maxfun": 6000, "ftol": 1e-11, "gtol": 1e-7}
    found = minimize(objective, np.zeros(len(limits)), jac=True, method="L-BFGS-B", bounds=limits, options=options)
    ability, mean, logs = np.split(found.x, [n_states, n_states + len(groups)])
    spread = np.exp(logs)
    losses = _losses(ability)
    errors = [
        _error(losses[group.states].sum(0), counts, mean[i], spread[i])
        for i, (group, counts) in enumerate(zip(groups, histograms, strict=True))
    ]
    return Fit(ability, mean, np.array(errors), spread)


def _error(losses: np.ndarray, counts: np.ndarray, mean: float, spread: float) -> float:
    """Standard error of a group's mean given the abilities, from the outer product of the items' scores."""
    joint = _log_joint(losses, np.arange(len(counts)), mean, spread)
    surplus = np.exp(joint - logsumexp(joint, axis=1, keepdims=True)) - np.exp(_log_prior(mean, spread))
    scaled = (NODES - mean) / spread
    scores = np.stack([surplus @ scaled / spread, surplus @ scaled**2])
    information = (scores * counts) @ scores.T + np.diag([1 / PRIOR_SD**2, 1.0])
    return float(np.sqrt(np.linalg.inv(information)[0, 0]))
