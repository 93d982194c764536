"""SparseGPT (Frantar and Alistarh 2023): prune, and let the weights that stay make up for it, column by column.

With ``bits`` below 16 the weights that stay are quantized at their column too (section 3.5, joint sparsification and
quantization), on the grids of GPTQ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from junkdna.checkpoint import Base, check_divisible, group_length
from junkdna.elimination import BLOCK, eliminate, transposed
from junkdna.hessian import Gram, factor
from junkdna.levels import Level
from junkdna.packing import pack_codes, pack_mask, selected, unpack_codes, unpack_mask
from junkdna.pruning.ranks import rank_of
from junkdna.pruning.selection import smallest, smallest_in_blocks
from junkdna.quantization.grid import Grid
from junkdna.streaming import Solution, stream

CALIBRATED = True
WHOLE = 16  # bits: not quantized
PARAMS = {"propagate": ["compressed", "dense"], "damping": "float", "bits": [2, 3, 4, 6, 8, 16], "group": "int"}

Factor = tuple[torch.Tensor, torch.Tensor]


def prepare(gram: Gram, params: dict[str, Any], name: str) -> Factor:
    """Factor of the inverse Hessian, and the inputs that never occurred."""
    return factor(gram, params["damping"], name)


def solve(weight: torch.Tensor, prepared: Factor, level: Level, params: dict[str, Any]) -> Solution:
    """Prune one weight of shape (out, in): exactly ``round(s * n)`` of each 128 columns, or N:M in each row."""
    upper, dead = prepared
    columns = transposed(weight)
    columns[dead] = 0
    gone = torch.zeros(columns.shape, dtype=torch.bool, device=columns.device)
    variance = upper.diagonal().square()

    def choose(first: int, block: torch.Tensor) -> None:
        scores = (block.square() / variance[first : first + len(block), None]).T.contiguous()
        if level.m:
            found = smallest_in_blocks(scores, level)
        else:
            found = smallest(scores.view(1, -1), rank_of(level.sparsity, scores.numel())).view(scores.shape)
        gone[first : first + len(block)] = found.T

    begins, grid = [(level.m or BLOCK, choose)], None
    if params["bits"] < WHOLE:
        grid = Grid.empty(weight.shape, params["bits"], group_length(weight.shape[1], params["group"]), weight.device)
        begins.append((grid.group, grid.fit))

    def fix(column: int, values: torch.Tensor) -> torch.Tensor:
        kept = values if grid is None else grid.round(column, values)
        return kept.masked_fill(gone[column], 0)

    eliminate(columns, upper, fix, begins)
    keep = ~gone.T.contiguous()
    tensors = {"mask": pack_mask(keep)}
    if grid is None:
        solved = columns.T.to(weight.dtype)
        tensors["values"] = selected(solved, keep).cpu()
    else:
        codes = grid.encode(columns)
        solved = grid.decode(codes).masked_fill_(~keep, 0)
        tensors |= {"codes": pack_codes(codes.masked_select(keep), grid.bits), **grid.tensors()}
    return Solution(solved, tensors, int(torch.count_nonzero(gone)))


def compress_levels(base: Base, levels: list[Level], params: dict[str, Any]) -> list[tuple[dict, dict]]:
    """One streaming pass; see :func:`junkdna.streaming.stream`."""
    for level in levels:
        check_divisible(base.checkpoint, level, base.names, params["group"] if params["bits"] < WHOLE else 0)
    return stream(base, levels, params, Gram, prepare, solve)


def masks(
    base: Base, level: Level, params: dict[str, Any], rule: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield names and masks (True = keep)."""
    for name in base.names:
        yield name, base.stored(name, unpack_mask(tensors[f"{name}.mask"], base.shape(name)))


def weights(
    base: Base, level: Level, params: dict[str, Any], rule: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield names and weights, zero where pruned: in the base's data type, or float32 where they are on a grid."""
    for name in base.names:
        shape = base.shape(name)
        keep = unpack_mask(tensors[f"{name}.mask"], shape)
        if params["bits"] == WHOLE:
            values = tensors[f"{name}.values"]
            found = torch.zeros(shape, dtype=values.dtype).masked_scatter_(keep, values)
        else:
            grid = Grid.restored(tensors, name, shape, params["bits"], params["group"])
            codes = torch.zeros(shape, dtype=torch.uint8)
            codes[keep] = unpack_codes(tensors[f"{name}.codes"], params["bits"], (int(keep.sum()),))
            found = grid.decode(codes).masked_fill_(~keep, 0)
        yield name, base.stored(name, found)
