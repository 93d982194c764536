"""Exact selection of the smallest scores of one matrix, ties by position."""

from __future__ import annotations

import numpy as np
import torch

from junkdna.levels import Level
from junkdna.pruning.ranks import rank_of

CUDA_ROWS = 64  # kthvalue has one multiprocessor work on each row: of few rows, sorting takes a thirtieth of the time


def smallest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Which elements of each row are among its ``count`` smallest (True), the first of equal ones.

    Args:
        scores: (rows, columns), finite.
    """
    if not count:
        return torch.zeros_like(scores, dtype=torch.bool)
    bound = _smallest_bound(scores, count)
    gone = scores <= bound
    if int(torch.count_nonzero(gone)) > count * len(gone):  # some more equal the bound: the last of these stay
        equal = scores == bound
        wanted = equal.sum(1, keepdim=True) - gone.sum(1, keepdim=True) + count
        gone &= ~equal | (equal.cumsum(1, dtype=torch.int32) <= wanted)
    return gone


def _smallest_bound(scores: torch.Tensor, count: int) -> torch.Tensor:
    """The ``count``-th smallest of each row, (rows, 1)."""
    if scores.is_cpu:  # numpy's partition uses vector instructions; kthvalue takes six times as long
        found = np.partition(scores.numpy(), count - 1, axis=1)[:, count - 1 : count]
        return torch.from_numpy(found.copy())
    if len(scores) < CUDA_ROWS:
        return scores.sort(dim=1).values[:, count - 1 : count]
    return scores.kthvalue(count, dim=1, keepdim=True).values


def smallest_in_blocks(scores: torch.Tensor, level: Level) -> torch.Tensor:
    """Which elements go (True) so that of each block of M consecutive ones in a row the N largest stay."""
    blocks = scores.reshape(-1, level.m)
    order = blocks.argsort(dim=1, stable=True)
    gone = torch.zeros_like(blocks, dtype=torch.bool).scatter_(1, order[:, : level.m - level.n], True)
    return gone.view(scores.shape)


def select(scores: torch.Tensor, level: Level) -> torch.Tensor:
    """Which elements go (True): ``round(s * columns)`` of each row, or M - N of each block of M."""
    if level.m:
        return smallest_in_blocks(scores, level)
    return smallest(scores, rank_of(level.sparsity, scores.shape[1]))
