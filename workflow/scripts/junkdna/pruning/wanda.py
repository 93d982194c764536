"""Wanda (Sun et al. 2023): the weights of smallest ``|w_ij| * ||x_j||_2`` in each output row go; the others stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from junkdna.checkpoint import Base, check_divisible
from junkdna.files import DataError
from junkdna.hessian import SquaredNorms
from junkdna.levels import Level
from junkdna.packing import pack_mask, unpack_mask
from junkdna.pruning.selection import select
from junkdna.streaming import Solution, stream

CALIBRATED = True
ROWS = 128  # scored at a time: rows do not depend on each other, and a few float64 copies stay in the cache
CUDA_ROWS = 4096  # a GPU wants few and large operations
PARAMS = {"propagate": ["compressed", "dense"]}


def prepare(norms: SquaredNorms, params: dict[str, Any], name: str) -> torch.Tensor:
    """Squared norm of each input, (in,).

    Raises:
        DataError: not finite.
    """
    squared_norms = norms.finish()
    if not bool(torch.isfinite(squared_norms).all()):
        raise DataError(f"{name}: its inputs on the calibration data hold NaN or infinite values")
    return squared_norms


def solve(weight: torch.Tensor, squared_norms: torch.Tensor, level: Level, params: dict[str, Any]) -> Solution:
    """Prune one weight.

    Args:
        weight: (out, in).
        squared_norms: of each input over the calibration tokens, float64, (in,).
    """
    # Squares keep the order; in float64 they round nothing that two float32 scores would tell apart.
    parts = weight.split(CUDA_ROWS if weight.is_cuda else ROWS)
    gone = torch.cat([select(rows.double().square_().mul_(squared_norms), level) for rows in parts])
    keep = ~gone
    return Solution(weight * keep, {"mask": pack_mask(keep)}, int(torch.count_nonzero(gone)))


def compress_levels(base: Base, levels: list[Level], params: dict[str, Any]) -> list[tuple[dict, dict]]:
    """One streaming pass; see :func:`junkdna.streaming.stream`."""
    for level in levels:
        check_divisible(base.checkpoint, level, base.names)
    return stream(base, levels, params, SquaredNorms, prepare, solve)


def masks(
    base: Base, level: Level, params: dict[str, Any], rule: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield names and masks (True = keep)."""
    for name in base.names:
        yield name, base.stored(name, unpack_mask(tensors[f"{name}.mask"], base.shape(name)))
