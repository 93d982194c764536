"""Round to nearest: every weight becomes the nearest value of its group's grid. The control of GPTQ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from tqdm import tqdm

from junkdna.checkpoint import Base, group_length
from junkdna.levels import Level
from junkdna.packing import pack_codes, unpack_codes
from junkdna.quantization.grid import Grid

PARAMS = {"group": "int"}


def compress(base: Base, level: Level, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Codes and grids of every weight."""
    tensors: dict[str, torch.Tensor] = {}
    for name in tqdm(base.names, desc=f"round to {level.bits} bits", unit="weight"):
        weight = base.weight(name).float()
        grid = Grid.of(weight, level.bits, group_length(weight.shape[1], params["group"], name))
        tensors |= stored(name, grid, grid.encode(weight.T))
    return {"zeros": 0}, tensors


def stored(name: str, grid: Grid, codes: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a state keeps of a quantized weight."""
    parts = {"codes": pack_codes(codes, grid.bits), **grid.tensors()}
    return {f"{name}.{part}": tensor for part, tensor in parts.items()}


def weights(
    base: Base, level: Level, params: dict[str, Any], rule: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield names and weights, float32: the grid's values are not rounded further."""
    for name in base.names:
        shape = base.shape(name)
        grid = Grid.restored(tensors, name, shape, level.bits, params["group"])
        codes = unpack_codes(tensors[f"{name}.codes"], level.bits, shape)
        yield name, base.stored(name, grid.decode(codes))
