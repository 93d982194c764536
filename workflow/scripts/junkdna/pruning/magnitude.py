"""Magnitude pruning: the weights of smallest absolute value go, over all weights together or in each matrix.

One threshold for all is what the reference code does to encoders; one per matrix is what it does to decoders.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from junkdna.checkpoint import Base
from junkdna.files import DataError
from junkdna.levels import Level
from junkdna.pruning.ranks import Threshold, indexed_threshold, rank_of, removed, thresholds

PARAMS = {"scope": ["global", "layer"]}


def compress(base: Base, level: Level, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Find the thresholds. ``params["scope"]``: "global" (from the index of the model) or "layer".

    Raises:
        DataError: another scope.
    """
    if params.get("scope") not in ("global", "layer"):
        raise DataError(f"pruning.magnitude: params.scope is {params.get('scope')!r}; allowed are 'global' and 'layer'")
    if params["scope"] == "global":
        threshold = indexed_threshold(base.index, level.sparsity)
        return {"zeros": threshold[0], "thresholds": [threshold]}, {}
    found, checkpoint = [], base.checkpoint
    for name in base.names:
        rank = rank_of(level.sparsity, checkpoint.numel([name]))
        (threshold,) = thresholds(lambda name=name: checkpoint.tensors([name]), [rank])
        found.append([threshold.rank, threshold.bits, threshold.ties])
    return {"zeros": sum(rank for rank, _, _ in found), "thresholds": found}, {}


def masks(
    base: Base, level: Level, params: dict[str, Any], rule: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield names and masks (True = keep)."""
    found = [Threshold(*values) for values in rule["thresholds"]]
    groups = [base.names] if params["scope"] == "global" else [[name] for name in base.names]
    for threshold, group in zip(found, groups, strict=True):
        for name, gone in removed(base.checkpoint.tensors(group), threshold):
            yield name, ~gone
