"""Magnitude N:M: in each block of M consecutive input weights of a row, the N of largest absolute value stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from junkdna.checkpoint import Base, check_divisible
from junkdna.levels import Level
from junkdna.pruning.selection import smallest_in_blocks


def compress(base: Base, level: Level, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The rule is the whole state: the weights themselves say what goes."""
    check_divisible(base.checkpoint, level, base.names)
    return {"zeros": base.checkpoint.numel(base.names) * (level.m - level.n) // level.m}, {}


def masks(
    base: Base, level: Level, params: dict[str, Any], rule: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield names and masks (True = keep). Of equal weights the first go."""
    for name in base.names:
        yield name, base.stored(name, ~smallest_in_blocks(base.weight(name).abs(), level))
