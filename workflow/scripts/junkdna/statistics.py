"""Intervals: bootstrap over examples where one state was scored, t over seeds where several were trained.

With several seeds the value is the mean over seeds and the interval is Student's t on the seeds' values: it
holds for other seeds on these examples. With one seed, or none (no training), it is the percentile bootstrap
over examples (Efron and Tibshirani 1993, chapter 13): it holds for other examples and this state. Ratios and
differences are formed within a seed, or within a bootstrap replicate, before averaging. Nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import stdtrit

from junkdna.answers import Frame, of_table
from junkdna.bootstrap import SEED, resamples, sums, variance
from junkdna.files import DataError

CONFIDENCE = 0.95
# Metrics are ratios of counts or correlations: a smaller difference is rounding.
ROUNDING = 1e-9


# What tells the scored states of a point apart: None, a fine-tuning seed, or that seed and the calibration's.
Replicate = int | None | tuple[int | None, int | None]


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; NaN where the quantity is not defined."""

    value: float
    low: float
    high: float


UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"))


def shared(own: Iterable[Replicate], other: Iterable[Replicate]) -> dict[Replicate, Replicate]:
    """The replicates that two sides have in common, and what each is called on the own side.

    Where one side also varies the calibration data, which a dense model has not, a replicate is a draw of these.
    A seed that diverged on one side is not in common.
    """
    own, other = list(own), list(other)
    if own == other:
        return dict(zip(own, own, strict=True))
    finer = own if any(isinstance(key, tuple) for key in own) else other

    def named(key: Replicate, known: list[Replicate]) -> Replicate:
        return key[0] if isinstance(key, tuple) and key not in known else key

    return {key: named(key, own) for key in finer if named(key, own) in own and named(key, other) in other}


@dataclass
class Scores:
    """The scored examples of one variant of a task: one frame per seed, or one under ``None`` where nothing was
    drawn; none where the fine-tuning diverged with all seeds.

    Args:
        group: examples of different groups are different, whatever their ids; the task's name.
        metric: a metric of :mod:`junkdna.metrics`.
        frames: replicate to predictions, columns by name, one entry per example; the same ids in all.

    Raises:
        DataError: no example, an id occurs twice, or the seeds differ in their ids.
    """

    group: str
    metric: Any
    frames: dict[Replicate, Frame]
    ids: np.ndarray = field(init=False)
    values: dict[Replicate, float] = field(init=False)
    # Of a mean the sums over resamples, whole numbers where the answers are; of other metrics their values.
    _drawn: np.ndarray | None = field(init=False, default=None)
    _strata: dict[bytes, np.ndarray] = field(init=False, default_factory=dict)
    _alike: dict[tuple, Scores] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        ordered = sorted(self.frames.items(), key=lambda item: str(item[0]))
        self.frames = {seed: _by_id(frame) for seed, frame in ordered}
        self.ids = next((frame["id"] for frame in self.frames.values()), np.array([], dtype=str))
        if self.frames and not len(self.ids):
            raise DataError(f"{self.group}: predictions hold no example")
        if (self.ids[1:] == self.ids[:-1]).any():
            raise DataError(f"{self.group}: an example id occurs twice in one variant; ids must be unique")
        for seed, frame in self.frames.items():
            if not same_ids(frame["id"], self.ids):
                raise DataError(f"{self.group}: seed {seed}: other example ids than seed {next(iter(self.frames))}")
        self.values = {seed: float(self.metric.compute(frame)) for seed, frame in self.frames.items()}

    @property
    def several(self) -> bool:
        return len(self.frames) > 1

    def like(self, other: Scores) -> Scores:
        """The replicates that ``other`` has too, under common names; see :func:`shared`."""
        common = shared(self.frames, other.frames)
        if list(common) == list(self.frames):
            return self
        key = tuple(common.items())
        if key not in self._alike:
            made = Scores(self.group, self.metric, {key: self.frames[seed] for key, seed in common.items()})
            if made.frames:
                draw([self])
                made._drawn = self._drawn[[list(self.frames).index(common[name]) for name in made.frames]]
            self._alike[key] = made
        return self._alike[key]

    def forget(self) -> None:
        """Free what the metric does not need."""
        kept = {"id", *self.metric.columns}
        self.frames = {s: {n: column for n, column in f.items() if n in kept} for s, f in self.frames.items()}

    def replicates(self, shared: np.ndarray | None = None) -> np.ndarray:
        """Bootstrap replicates of the only frame's metric, shape (REPLICATES,).

        The draws follow from the ids, so that frames with the same ids are resampled jointly and frames
        without a common id independently. ``shared`` (bool per example) marks the examples that the other
        side of a contrast has too: the two strata are then drawn apart, and the shared one alike on both
        sides.
        """
        if shared is None or shared.all() or not shared.any():
            return self.seed_replicates[0]
        key = shared.tobytes()
        if key not in self._strata:
            frame = next(iter(self.frames.values()))
            self._strata[key] = np.concatenate(
                [self.metric.resampled(frame, rows) for rows in resamples(self.group, self.ids, shared)]
            )
        return self._strata[key]

    @property
    def seed_replicates(self) -> np.ndarray:
        """Bootstrap replicates of each frame's metric, all with the same draws, shape (frames, REPLICATES)."""
        if self._drawn is None:
            draw([self])
        return self._drawn / len(self.ids) if self.metric.is_mean else self._drawn

    def mean_replicates(self, values: np.ndarray) -> np.ndarray:
        """Bootstrap replicates of means over the examples with the draws of :attr:`seed_replicates`.

        Args:
            values: one value per example in the order of ``ids``, shape (..., examples).

        Returns:
            Shape (..., REPLICATES).
        """
        return sums(self.group, self.ids, values) / len(self.ids)


def draw(points: Iterable[Scores]) -> None:
    """Form the bootstrap replicates of points that have none yet, those of the same examples together."""
    groups: dict[tuple[str, int, str], list[Scores]] = {}
    for scores in points:
        if scores._drawn is None and scores.frames:
            if scores.metric.is_mean:
                groups.setdefault((scores.group, id(scores.ids), scores.metric.name), []).append(scores)
            else:
                parts = [
                    [scores.metric.resampled(frame, rows) for frame in scores.frames.values()]
                    for rows in resamples(scores.group, scores.ids)
                ]
                scores._drawn = np.concatenate(parts, axis=1)
    for (group, _, name), same in groups.items():
        values = np.stack([frame[name] for scores in same for frame in scores.frames.values()])
        drawn = sums(group, same[0].ids, values)
        if values.dtype == np.uint8:
            drawn = drawn.astype(np.min_scalar_type(int(drawn.max())))
        ends = np.cumsum([len(scores.frames) for scores in same])
        for scores, part in zip(same, np.split(drawn, ends[:-1]), strict=True):
            scores._drawn = part.copy()


def same_ids(one: np.ndarray, other: np.ndarray) -> bool:
    return one is other or np.array_equal(one, other)


def _by_id(frame: Any) -> Frame:
    """The columns of a frame, also of pandas, in the order of the ids."""
    frame = frame if isinstance(frame, dict) else of_table(frame)
    ids = frame["id"]
    if ids.dtype.kind == "U" and (ids[1:] >= ids[:-1]).all():
        return frame
    order = np.argsort(ids.astype(str), kind="stable")
    return {name: column[order] for name, column in frame.items()} | {"id": ids.astype(str)[order]}


def t_interval(values: list[float] | np.ndarray) -> Estimate:
    """Mean over seeds and Student's t interval; ``values`` has one entry per seed, at least two."""
    values = np.asarray(values, dtype=float)
    half = stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def percentile_interval(value: float, replicates: np.ndarray) -> Estimate:
    """``value`` with the central 95 % of its bootstrap replicates, without undefined ones (0 / 0)."""
    defined = replicates[np.isfinite(replicates)]
    if not len(defined) or not np.isfinite(value):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))


def percentile_intervals(values: np.ndarray, replicates: np.ndarray) -> list[Estimate]:
    """:func:`percentile_interval` of values of shape (n,) with replicates of shape (REPLICATES, n)."""
    if not (np.isfinite(values).all() and np.isfinite(replicates).all()):
        return [percentile_interval(*pair) for pair in zip(values.tolist(), replicates.T, strict=True)]
    ordered = np.sort(np.ascontiguousarray(replicates.T), axis=1)  # faster than what quantile does with columns
    ends = np.quantile(ordered, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=1)
    return [Estimate(*row) for row in np.vstack([values, ends]).T.tolist()]


def both_ways(values: np.ndarray, replicates: np.ndarray) -> np.ndarray:
    """Replicates of a mean over seeds that vary seeds and examples both: the hierarchical bootstrap.

    Examples vary by the bootstrap, alike in all seeds. Seeds vary by Student's t, since three of them cannot be
    resampled: each replicate adds a combination of the seeds' deviations with random weights, so that the sum is
    multivariate t with n - 1 degrees of freedom and keeps the correlation between the points of a curve. What differs
    between seeds holds the noise of the examples within a seed already; so the bootstrap is shrunk to the variance
    that examples have in common over seeds (the two-way random-effects analysis; Owen 2007, "The pigeonhole
    bootstrap"). With one seed these are the replicates over examples as they are.

    Args:
        values: a statistic, or several, of each seed, shape (seeds, ...).
        replicates: its bootstrap over examples with draws common to the seeds, shape (seeds, REPLICATES, ...).

    Returns:
        Shape (REPLICATES, ...).
    """
    n = len(values)
    if n == 1:
        return replicates[0]
    mean, centre = values.mean(0), replicates.mean(0)
    whole, each = variance(centre, 0), variance(replicates, 1).mean(0)
    common = np.clip((n * whole - each) / (n - 1), 0, whole)
    kept = np.sqrt(np.divide(common, whole, out=np.zeros_like(whole), where=whole > 0))
    generator = np.random.default_rng(SEED)
    weights = generator.standard_normal((len(centre), n))
    weights -= weights.mean(1, keepdims=True)
    weights /= np.sqrt(n * generator.chisquare(n - 1, (len(centre), 1)))
    return mean + kept * (centre - mean) + np.tensordot(weights, values - mean, 1)


def retained(value: np.ndarray | float, dense: np.ndarray | float, higher_is_better: bool) -> np.ndarray | float:
    """Share of the dense performance that is left, 1 = all.

    metric / dense metric; for a metric where lower is better (perplexity) dense metric / metric. NaN where
    the denominator is not above 0: there is nothing to lose.
    """
    above, below = (value, dense) if higher_is_better else (dense, value)
    if isinstance(above, float) and isinstance(below, float):  # NumPy is slow with single numbers
        return above / below if below > ROUNDING else float("nan")
    above, below = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > ROUNDING, above / below, np.nan)


def chance_corrected(value: float, dense: float, chance: float, higher_is_better: bool) -> float:
    """(metric - chance) / (dense - chance); NaN unless the dense model is better than chance."""
    gain = dense - chance if higher_is_better else chance - dense
    return (value - chance) / (dense - chance) if gain > ROUNDING else float("nan")


def estimate_value(scores: Scores) -> Estimate:
    """The metric itself."""
    if not scores.frames:
        return UNDEFINED
    if scores.several:
        return t_interval(list(scores.values.values()))
    return percentile_interval(next(iter(scores.values.values())), scores.replicates())


def estimate_retained(scores: Scores, dense: Scores) -> Estimate:
    """Share of the dense performance that is left, seed by seed or replicate by replicate on the same
    examples.

    Raises:
        DataError: the two sides differ in seeds or examples.
    """
    dense = dense.like(scores)
    check_pair(scores, dense)
    better = scores.metric.higher_is_better
    shares = [float(retained(scores.values[seed], dense.values[seed], better)) for seed in scores.values]
    if not shares or not np.isfinite(shares).all():
        return UNDEFINED
    if scores.several:
        return t_interval(shares)
    return percentile_interval(shares[0], retained(scores.replicates(), dense.replicates(), better))


@dataclass(frozen=True)
class Pair:
    """A compressed state and its dense reference on the same examples and seeds."""

    scores: Scores
    dense: Scores

    def like(self, other: Scores) -> Pair:
        """Both sides with the replicates that ``other`` has too; see :meth:`Scores.like`."""
        scores = self.scores.like(other)
        return Pair(scores, self.dense.like(scores))

    def drops(self) -> dict[Replicate, float]:
        """Relative drop of each replicate."""
        better = self.scores.metric.higher_is_better
        return {s: 1 - float(retained(v, self.dense.values[s], better)) for s, v in self.scores.values.items()}

    def drop_replicates(self, shared: np.ndarray | None) -> np.ndarray:
        sides = self.scores.replicates(shared), self.dense.replicates(shared)
        return 1 - retained(*sides, self.scores.metric.higher_is_better)


def drop_difference(easy: Pair, hard: Pair) -> Estimate:
    """Relative drop of the hard side minus that of the easy side, both :meth:`Pair.like` the other.

    With several seeds: t interval on the seeds' differences. Otherwise a paired bootstrap: ids that both
    sides have are drawn jointly, other ids independently.

    Raises:
        DataError: a side's dense reference differs in seeds or examples, or the sides differ in seeds.
    """
    for pair in (easy, hard):
        check_pair(pair.scores, pair.dense)
    low, high = easy.drops(), hard.drops()
    if set(low) != set(high):
        raise DataError(f"{easy.scores.group}, {hard.scores.group}: the sides of a contrast differ in seeds")
    differences = [high[seed] - low[seed] for seed in low]
    if not differences or not np.isfinite(differences).all():
        return UNDEFINED
    if easy.scores.several:
        return t_interval(differences)
    sides = easy.scores.ids, hard.scores.ids
    common = [None, None]
    if easy.scores.group == hard.scores.group and not same_ids(*sides):
        common = [np.isin(sides[0], sides[1]), np.isin(sides[1], sides[0])]
    drawn = [pair.drop_replicates(shared) for pair, shared in zip((easy, hard), common, strict=True)]
    return percentile_interval(differences[0], drawn[1] - drawn[0])


def check_pair(scores: Scores, dense: Scores) -> None:
    """Check that a state and its reference can be compared.

    Raises:
        DataError: they differ in seeds or examples.
    """
    if set(scores.frames) != set(dense.frames):
        raise DataError(f"{scores.group}: seeds {list(scores.frames)} have dense references {list(dense.frames)}")
    if not same_ids(scores.ids, dense.ids):
        raise DataError(f"{scores.group}: other example ids than the dense reference; evaluate both again")
