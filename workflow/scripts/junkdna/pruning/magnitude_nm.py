"""Magnitude N:M: in each block of M consecutive input weights of a row, the N of largest absolute value stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from junkdna.checkpoint import Checkpoint, check_divisible
from junkdna.levels import Level


def compress(
    checkpoint: Checkpoint, names: list[str], level: Level, params: dict[str, Any], index: dict | None
) -> dict[str, Any]:
    """The rule is the whole state: the weights themselves say what goes."""
    check_divisible(checkpoint, level, names)
    return {"zeros": checkpoint.numel(names) * (level.m - level.n) // level.m}


def masks(
    checkpoint: Checkpoint, names: list[str], level: Level, params: dict[str, Any], rule: dict[str, Any]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield names and masks (True = keep). Of equal weights the first go."""
    for name, weight in checkpoint.tensors(names):
        rows = weight.T if checkpoint.transposed else weight
        blocks = rows.abs().reshape(-1, level.m)
        order = blocks.argsort(dim=1, stable=True)
        keep = torch.ones_like(blocks, dtype=torch.bool).scatter_(1, order[:, : level.m - level.n], False)
        keep = keep.view(rows.shape)
        yield name, (keep.T if checkpoint.transposed else keep).contiguous()
