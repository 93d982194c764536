"""Magnitude band: only the weights whose rank in the order of absolute values lies in [low, high) go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from junkdna.checkpoint import Checkpoint
from junkdna.levels import Level
from junkdna.pruning.ranks import Threshold, indexed_threshold, removed


def compress(
    checkpoint: Checkpoint, names: list[str], level: Level, params: dict[str, Any], index: dict | None
) -> dict[str, Any]:
    """Take the two thresholds that bound the band from the index of the model."""
    low, high = (indexed_threshold(index, end) for end in (level.low, level.high))
    return {"zeros": high[0] - low[0], "thresholds": [low, high]}


def masks(
    checkpoint: Checkpoint, names: list[str], level: Level, params: dict[str, Any], rule: dict[str, Any]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield names and masks (True = keep)."""
    low, high = (removed(checkpoint.tensors(names), Threshold(*values)) for values in rule["thresholds"])
    for (name, below), (_, within) in zip(low, high, strict=True):
        yield name, below | ~within
