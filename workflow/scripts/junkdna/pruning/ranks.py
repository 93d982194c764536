"""Exact selection by rank over many tensors, without sorting and without holding them together.

The absolute value of an IEEE float is ordered like its bit pattern without the sign. So a histogram of bit patterns
gives every threshold exactly: one pass for 16-bit floats; for float32 a pass over the high 16 of 31 bits and one over
the low 15 of the values in the few bins that hold a wanted rank. All ranks cost the same two passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from junkdna.files import DataError

Scores = Callable[[], Iterable[tuple[str, torch.Tensor]]]

CHUNK = 1 << 18  # elements at a time: the temporaries stay in the cache
LOW_BITS = 15


@dataclass(frozen=True)
class Threshold:
    """The ``rank`` smallest scores: all with a bit pattern below ``bits``, and the first ``ties`` equal to it.

    Ties are taken by position: tensors in the order of their names, elements row by row.
    """

    rank: int
    bits: int
    ties: int


def rank_of(fraction: Fraction, count: int) -> int:
    """Number of weights that a fraction of ``count`` stands for, exactly rounded."""
    return round(fraction * count)


def indexed_threshold(index: dict[str, Any] | None, fraction: Fraction) -> list[int]:
    """A threshold over all weights, as [rank, bits, ties], from the index that is made once per model.

    Raises:
        DataError: there is no index.
    """
    if index is None:
        raise DataError("this method reads the index of global magnitudes; set `indexed: true` in its catalog entry")
    return index["thresholds"][str(rank_of(fraction, index["count"]))]


def bit_pattern(scores: torch.Tensor) -> np.ndarray:
    """Bit patterns of the absolute values, flat; ordered as the absolute values are."""
    flat = scores.detach().contiguous().view(-1)
    if flat.dtype == torch.float32:
        return flat.view(torch.int32).numpy() & np.int32(0x7FFFFFFF)
    if flat.dtype in (torch.float16, torch.bfloat16):
        return flat.view(torch.int16).numpy() & np.int16(0x7FFF)
    raise DataError(f"weights of type {flat.dtype} cannot be ranked; float32, float16 and bfloat16 can")


def _chunks(scores: Scores) -> Iterator[np.ndarray]:
    kind = None
    for name, tensor in scores():
        if kind not in (None, tensor.dtype):
            raise DataError(f"{name}: is {tensor.dtype}, others are {kind}; one threshold needs one data type")
        kind = tensor.dtype
        flat = tensor.detach().contiguous().view(-1)
        for start in range(0, flat.numel(), CHUNK):
            yield bit_pattern(flat[start : start + CHUNK])


def thresholds(scores: Scores, ranks: Sequence[int]) -> list[Threshold]:
    """Find, for each rank, what separates so many smallest absolute values from the rest.

    Args:
        scores: called for each pass; yields names and tensors in a fixed order, all of one floating type.
        ranks: numbers of weights, 0 to the count of all.

    Raises:
        DataError: the tensors are of different types, or of one that is not a float of 16 or 32 bits.
        ValueError: a rank is negative or above the number of weights.
    """
    high = np.zeros(1 << 16, dtype=np.int64)
    shift = 0
    for chunk in _chunks(scores):
        shift = LOW_BITS if chunk.dtype == np.int32 else 0
        high += np.bincount(chunk >> shift, minlength=len(high))
    found = [_bucket(high, rank) for rank in ranks]
    if not shift:
        return [Threshold(rank, bucket, rest) for rank, (bucket, rest) in zip(ranks, found, strict=True)]
    wanted = sorted({bucket for bucket, _ in found})
    low = _low_histograms(scores, wanted, np.min_scalar_type(high.sum()))
    result = []
    for rank, (bucket, rest) in zip(ranks, found, strict=True):
        position, ties = _bucket(low[wanted.index(bucket)], rest)
        result.append(Threshold(rank, (bucket << LOW_BITS) + position, ties))
    return result


def _bucket(counts: np.ndarray, rank: int) -> tuple[int, int]:
    """The bin that holds the ``rank``-th smallest value, and how many of its values belong to the smallest."""
    total = np.cumsum(counts, dtype=np.int64)
    if not 0 <= rank <= total[-1]:
        raise ValueError(f"rank {rank} of {total[-1]} weights")
    if rank == 0:
        return 0, 0
    position = int(np.searchsorted(total, rank))
    return position, rank - int(total[position] - counts[position])


def _low_histograms(scores: Scores, wanted: list[int], counts_type: np.dtype) -> np.ndarray:
    """Histogram of the low bits within each wanted bin: (len(wanted), 2**LOW_BITS) counts."""
    row = np.full(1 << 16, -1, dtype=np.int32)
    row[wanted] = np.arange(len(wanted))
    low = np.zeros(len(wanted) << LOW_BITS, dtype=counts_type)
    for chunk in _chunks(scores):
        rows = row[chunk >> LOW_BITS]
        inside = np.flatnonzero(rows >= 0)
        keys = (rows[inside] << LOW_BITS) | (chunk[inside] & ((1 << LOW_BITS) - 1))
        values, counts = np.unique(keys, return_counts=True)  # few values: cheaper than a histogram of every bin
        low[values] += counts.astype(counts_type)
    return low.reshape(len(wanted), -1)


def removed(scores: Iterable[tuple[str, torch.Tensor]], threshold: Threshold) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each tensor's name and which of its elements are among the smallest (True = removed)."""
    ties = threshold.ties
    for name, tensor in scores:
        bits = bit_pattern(tensor)
        out = bits < threshold.bits
        if ties:
            equal = np.flatnonzero(bits == threshold.bits)[:ties]
            out[equal] = True
            ties -= len(equal)
        yield name, torch.from_numpy(out).view(tensor.shape)
