"""Random pruning: a uniformly drawn set of weights goes. The control of every other method."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from junkdna.checkpoint import Base
from junkdna.levels import Level
from junkdna.pruning.ranks import Threshold, rank_of, removed, thresholds

PARAMS = {"seed": "int"}


def _scores(base: Base, seed: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Uniform scores per weight, from a stream of its own per tensor, so that the order of tensors does not matter."""
    for name in base.names:
        key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8])
        draw = np.random.Generator(np.random.PCG64(key)).random(base.checkpoint.infos[name].shape, dtype=np.float32)
        yield name, torch.from_numpy(draw)


def compress(base: Base, level: Level, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Find the threshold on the scores. ``params["seed"]``: the draw."""
    # DEVIATION: the paper draws each weight by itself (Bernoulli); we remove exactly round(s * n) in all, so that this
    # control has the very sparsity of the methods it is compared with.
    rank = rank_of(level.sparsity, base.checkpoint.numel(base.names))
    (found,) = thresholds(lambda: _scores(base, params["seed"]), [rank])
    return {"zeros": rank, "thresholds": [[found.rank, found.bits, found.ties]]}, {}


def masks(
    base: Base, level: Level, params: dict[str, Any], rule: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield names and masks (True = keep)."""
    threshold = Threshold(*rule["thresholds"][0])
    for name, gone in removed(_scores(base, params["seed"]), threshold):
        yield name, ~gone
