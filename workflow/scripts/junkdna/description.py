"""Prequential description length of the answers to a task, in bits per example.

For fine-tuned tasks this is online coding (Blier and Ollivier 2018, "The description length of deep learning models";
Voita and Titov 2020, "Information-theoretic probing with minimum description length"). The training data are sent in
blocks that end at the fractions f_1 < f_2 < ... at which dense models were trained: the first block with uniform codes,
each other with the model that was trained on all blocks before it. A block's cost per example is the log-loss of that
model on the evaluation split, which estimates that of the next block:

    L(p) = (f_1 log2 C + sum over f_i < p of (f_(i+1) - f_i) loss(f_i)) / p,

with C classes and p the fraction of the series. A task that was trained at one fraction only has no such code.

Tasks that are asked as they are need no training data: the length is what the dense model needs to name the right
option, -log2 of its share of the probability of all options. Predictions of other kinds of task do not hold the
probability of the right answer, so that these have no length.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from junkdna.answers import N_OPTIONS, OPTIONS, log_shares
from junkdna.statistics import UNDEFINED, Estimate, Scores, both_ways, percentile_interval


def answer_bits(scores: Scores) -> np.ndarray | None:
    """Bits that the right answer takes, shape (seeds, examples); None where options were not scored."""
    rows = []
    for frame in scores.frames.values():
        if OPTIONS not in frame or np.isnan(frame["y_true"]).any():
            return None
        rows.append(-log_shares(frame)[frame["y_true"].astype(int), np.arange(len(frame["id"]))] / np.log(2))
    return np.array(rows)


def asked(scores: Scores) -> Estimate:
    """Description length of a task that is asked as it is."""
    bits = answer_bits(scores)
    return UNDEFINED if bits is None else _mean(scores, bits)


def online(trained: Mapping[float, Scores], fraction: float) -> Estimate:
    """Description length of the first ``fraction`` of a task's training data.

    Args:
        trained: fraction to the dense models' scores on the evaluation split, the same examples at each.
    """
    ends = sorted(f for f in trained if f <= fraction)
    bits = {end: answer_bits(trained[end]) for end in ends}
    if len(trained) < 2 or any(found is None for found in bits.values()):
        return UNDEFINED
    first = trained[ends[0]]
    seeds = [seed for seed in first.frames if all(seed in trained[end].frames for end in ends)]
    if not seeds:
        return UNDEFINED
    classes = np.array([first.frames[seed][N_OPTIONS] for seed in seeds])
    total = ends[0] * np.log2(classes)
    for start, end in itertools.pairwise(ends):
        rows = [list(trained[start].frames).index(seed) for seed in seeds]
        total = total + (end - start) * bits[start][rows]
    return _mean(first, total / fraction)


def _mean(scores: Scores, values: np.ndarray) -> Estimate:
    return percentile_interval(float(values.mean()), both_ways(values.mean(1), scores.mean_replicates(values)))
