"""A number with its uncertainty from two sources, replicates and examples, and the tests that follow from it.

Replicates are fine-tuning seeds or draws of the calibration data; one level up, units of evidence or ways of pruning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

from junkdna.bootstrap import SEED, variance
from junkdna.statistics import CONFIDENCE, Estimate

POWER = 0.80
DRAWS = 20_000  # of simulated studies behind a detectable effect
TAIL = (1 - CONFIDENCE) / 2
LEAST = -100.0  # log10 of the smallest p that is told apart from 0


@dataclass(frozen=True)
class Effect:
    """An estimate whose error is the sum of two: Student's t from the replicates and a normal one from the examples.

    Half the width of its interval is sqrt(t^2 between + z^2 examples), each source with its own quantile (Zou and
    Donner 2008, "Construction of confidence limits about effect measures"); p-values invert that. Degrees of freedom
    after Satterthwaite would make it too narrow for two or three seeds.

    Attributes:
        between: variance of the value that varying replicates cause; 0 with one replicate.
        examples: variance that the draw of the examples causes.
        df: degrees of freedom of ``between``.
    """

    value: float
    between: float
    examples: float
    df: int

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(self.between + self.examples)

    def half_width(self, tail: float) -> float:
        """How far the error goes with this probability in one direction, which is below 0.5."""
        seeds = stdtrit(self.df, tail) ** 2 * self.between if self.between else 0.0
        return math.sqrt(seeds + ndtri(tail) ** 2 * self.examples)

    def interval(self) -> Estimate:
        """The value and its 95 % interval."""
        half = self.half_width(TAIL)
        return Estimate(self.value, self.value - half, self.value + half)

    def p_above(self, bound: float = 0.0) -> float:
        """One-sided p against `at most bound`: small where the value lies above it."""
        distance = self.value - bound
        if math.isnan(distance):
            return math.nan
        if distance == 0 or self.error == 0:
            return 0.0 if distance > 0 else 1.0 if self.error == 0 else 0.5
        if self.half_width(10**LEAST) < abs(distance):
            log = LEAST
        else:
            log = brentq(lambda log: self.half_width(10**log) - abs(distance), LEAST, math.log10(0.5))
        return 10**log if distance > 0 else 1 - 10**log

    def p_below(self, bound: float) -> float:
        """One-sided p against `at least bound`: small where the value lies below it."""
        return Effect(-self.value, self.between, self.examples, self.df).p_above(-bound)


UNDEFINED = Effect(math.nan, math.nan, math.nan, 0)


def effect(values: np.ndarray, draws: np.ndarray) -> Effect:
    """Mean over replicates, for other replicates and other examples.

    What differs between replicates holds the noise of the examples within a replicate already; so of the bootstrap
    only the variance that the replicates share is added (two-way random-effects analysis of variance). Where they
    share no example it is about 0, and what is left is the t test over replicates.

    Args:
        values: one per replicate, shape (n,).
        draws: bootstrap over examples with draws common to the replicates, shape (n, draws).
    """
    n = len(values)
    if not n or not np.isfinite(values).all():
        return UNDEFINED
    if n == 1:
        return Effect(float(values[0]), 0.0, float(np.nanvar(draws)), 0)
    whole, each = float(variance(draws.mean(0))), float(variance(draws, 1).mean())
    common = min(max((n * whole - each) / (n - 1), 0.0), whole)
    return Effect(float(values.mean()), float(values.var(ddof=1) / n), common, n - 1)


def mean_of(parts: list[Effect], draws: np.ndarray) -> tuple[Effect, np.ndarray]:
    """Mean of effects whose replicates have nothing in common, for just these parts.

    Args:
        draws: bootstrap over examples of each part's mean over replicates, shape (parts, draws).

    Returns:
        The effect, degrees of freedom after Satterthwaite (1946), and its draws.
    """
    if len(parts) == 1:
        return parts[0], draws[0]
    value, n = float(np.mean([part.value for part in parts])), len(parts)
    between = np.array([part.between for part in parts]) / n**2
    known = between > 0
    df = between.sum() ** 2 / (between[known] ** 2 / np.array([p.df for p in parts])[known]).sum() if known.any() else 0
    # What examples alone do to each part, together: parts that share examples vary alike.
    scale = [math.sqrt(p.examples / v) if (v := np.nanvar(d)) else 0.0 for p, d in zip(parts, draws, strict=True)]
    centred = (draws - np.nanmean(draws, axis=1, keepdims=True)) * np.array(scale)[:, None]
    drawn = value + centred.mean(0)
    return Effect(value, float(between.sum()), float(np.nanvar(drawn)), df), drawn


def pooled(parts: list[Effect], draws: np.ndarray) -> Effect:
    """Mean of effects for other parts of their kind: what differs between them counts as an error of the mean.

    The t interval over parts, but with no smaller variance than the parts' own errors allow: the modified Knapp-Hartung
    interval of a random-effects meta-analysis (Roever, Knapp and Friede 2015) with equal weights.
    """
    fixed, _ = mean_of(parts, draws)
    if len(parts) == 1:
        return fixed
    random = effect(np.array([part.value for part in parts]), draws)
    least = fixed.between + fixed.examples - random.examples
    return Effect(random.value, max(random.between, least), random.examples, random.df)


def detectable(found: Effect, alpha: float, power: float = POWER) -> float:
    """Smallest true effect that a two-sided test at ``alpha`` finds with this probability, given such errors.

    The power of the t test is exact: the variance between replicates is drawn from its chi-squared distribution.
    """
    if not found.error > 0:
        return found.error  # 0, or not defined
    generator = np.random.default_rng(SEED)
    noise = found.error * generator.standard_normal(DRAWS)
    estimated = found.between
    if found.between:
        estimated = found.between * generator.chisquare(found.df, DRAWS) / found.df
    tail = alpha / 2
    t = stdtrit(found.df, tail) ** 2 if found.between else 0.0
    return float(np.quantile(np.sqrt(t * estimated + ndtri(tail) ** 2 * found.examples) - noise, power))
