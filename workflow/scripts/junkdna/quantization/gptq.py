"""GPTQ (Frantar et al. 2022): quantize column by column, moving each column's error into the columns to come."""

from __future__ import annotations

from typing import Any

import torch

from junkdna.checkpoint import Base, check_divisible, group_length
from junkdna.elimination import eliminate, transposed
from junkdna.hessian import Gram, factor
from junkdna.levels import Level
from junkdna.packing import pack_codes
from junkdna.quantization.grid import Grid
from junkdna.quantization.rtn import weights
from junkdna.streaming import Solution, stream

CALIBRATED = True
PARAMS = {"propagate": ["compressed", "dense"], "damping": "float", "group": "int", "act_order": "bool"}

__all__ = ["CALIBRATED", "PARAMS", "compress_levels", "prepare", "solve", "weights"]

Prepared = tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]


def prepare(gram: Gram, params: dict[str, Any], name: str) -> Prepared:
    """Order of the columns (None: their own), and in that order the factor of the inverse Hessian and unused inputs.

    ``act_order``: the inputs of largest second moment first, while there are most columns left to make up for them.
    """
    order = gram.diagonal().argsort(descending=True, stable=True) if params["act_order"] else None
    return order, *factor(gram, params["damping"], name, order)


def solve(weight: torch.Tensor, prepared: Prepared, level: Level, params: dict[str, Any]) -> Solution:
    """Quantize one weight of shape (out, in)."""
    order, upper, dead = prepared
    columns = transposed(weight)
    group = group_length(weight.shape[1], params["group"])
    if order is None:
        columns[dead] = 0
        grid = Grid.empty(weight.shape, level.bits, group, weight.device)
        eliminate(columns, upper, grid.round, [(group, grid.fit)])
    else:
        columns[order[dead]] = 0
        # A group's columns come at different times: its grid is that of the weights before any update.
        grid, places = Grid.of(columns.T, level.bits, group), order.tolist()
        fixed = eliminate(columns[order], upper, lambda column, values: grid.round(places[column], values), [])
        columns[order] = fixed
    codes = grid.encode(columns)
    return Solution(grid.decode(codes), {"codes": pack_codes(codes, grid.bits), **grid.tensors()}, zeros=0)


def compress_levels(base: Base, levels: list[Level], params: dict[str, Any]) -> list[tuple[dict, dict]]:
    """One streaming pass; see :func:`junkdna.streaming.stream`."""
    for level in levels:
        check_divisible(base.checkpoint, level, base.names, params["group"])
    return stream(base, levels, params, Gram, prepare, solve)
