"""Magnitude band: only the weights whose rank in the order of absolute values lies in [low, high) go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from junkdna.checkpoint import Base
from junkdna.levels import Level
from junkdna.pruning.ranks import Threshold, indexed_threshold, removed


def compress(base: Base, level: Level, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Take the two thresholds that bound the band from the index of the model."""
    low, high = (indexed_threshold(base.index, end) for end in (level.low, level.high))
    return {"zeros": high[0] - low[0], "thresholds": [low, high]}, {}


def masks(
    base: Base, level: Level, params: dict[str, Any], rule: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield names and masks (True = keep)."""
    low, high = (removed(base.checkpoint.tensors(base.names), Threshold(*values)) for values in rule["thresholds"])
    for (name, below), (_, within) in zip(low, high, strict=True):
        yield name, below | ~within
