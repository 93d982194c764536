"""Column by column: fix a weight of every row, move its error into the columns that are still free.

The common core of SparseGPT (Frantar and Alistarh 2023, algorithm 1) and GPTQ (Frantar et al. 2022, algorithm 1), which
differ in what a column becomes. Works on the transposed weight, so that a column lies in one piece, and in two levels:
rank-one updates inside some 32 columns, matrix products for the rest of a block of some 128 and for all that follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch

BLOCK = 128
INNER = 32

# Called with the first column of a stretch and its weights, (columns, rows), before any of them is fixed.
Begin = Callable[[int, torch.Tensor], None]
# What a column becomes: its index and its weights (rows,) to its final weights (rows,).
Fix = Callable[[int, torch.Tensor], torch.Tensor]


def transposed(weight: torch.Tensor) -> torch.Tensor:
    """A float32 copy (in, out) of a weight (out, in), for :func:`eliminate` to overwrite."""
    return weight.T.to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def eliminate(weight: torch.Tensor, factor: torch.Tensor, fix: Fix, begins: list[tuple[int, Begin]]) -> torch.Tensor:
    """Fix all columns from left to right.

    Args:
        weight: (columns, rows) float32, transposed; overwritten.
        factor: upper Cholesky factor of the inverse Hessian, (columns, columns).
        begins: lengths, and what is called at the begin of each stretch of so many columns, in this order, with the
            weights as updated by all columns before it.

    Returns:
        The fixed weights, (columns, rows).
    """
    columns = len(weight)
    block, inner = _block_sizes(length for length, _ in begins if length < columns)
    errors = torch.empty(min(block, columns), weight.shape[1], dtype=weight.dtype, device=weight.device)
    scales = factor.diagonal().tolist()
    for start in range(0, columns, block):
        stop = min(start + block, columns)
        for first in range(start, stop, inner):
            last = min(first + inner, stop)
            for column in range(first, last):
                for length, begin in begins:
                    if column % length == 0:
                        begin(column, weight[column : column + length])
                fixed = fix(column, weight[column])
                error = errors[column - start]
                torch.sub(weight[column], fixed, out=error).div_(scales[column])
                weight[column] = fixed
                weight[column + 1 : last].addr_(factor[column, column + 1 : last], error, alpha=-1)
            done = errors[first - start : last - start]
            weight[last:stop].addmm_(factor[first:last, last:stop].T, done, alpha=-1)
        weight[stop:].addmm_(factor[start:stop, stop:].T, errors[: stop - start], alpha=-1)
    return weight


def _block_sizes(lengths: Iterable[int]) -> tuple[int, int]:
    """Outer and inner block such that no stretch begins before all that comes earlier has reached its end."""
    lengths = list(lengths)
    common = math.lcm(1, *lengths)
    block = max(common, BLOCK // common * common)
    inner = math.lcm(INNER, *(length for length in lengths if length < INNER))
    return block, inner if all(length % inner == 0 for length in lengths if length >= INNER) else block
