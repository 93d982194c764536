"""Masks and codes as bytes: eight masks, or a code of any width without padding bits, in the order of the elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

ROWS = 128  # of a matrix at a time
CHUNK = 1 << 16  # codes at a time: a byte for each of their bits stays in the cache; a multiple of 8


def pack_mask(mask: torch.Tensor) -> torch.Tensor:
    """One bit per element; uint8 of ceil(n / 8) bytes."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy()))


def unpack_mask(packed: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """What :func:`pack_mask` packed."""
    bits = np.unpackbits(packed.numpy(), count=math.prod(shape))
    return torch.from_numpy(bits.view(bool)).view(*shape)


def selected(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The elements of a matrix where the mask holds, in order; ``masked_select`` needs several copies of its input."""
    found = values.new_empty(int(torch.count_nonzero(mask)))
    rest = found
    for rows, kept in zip(values.split(ROWS), mask.split(ROWS), strict=True):
        part = rows.masked_select(kept)
        rest[: len(part)] = part
        rest = rest[len(part) :]
    return found


def pack_codes(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """The low ``bits`` of each uint8 element; uint8 of ceil(n * bits / 8) bytes."""
    flat = codes.cpu().numpy().reshape(-1, 1)
    packed = np.empty(-(-len(flat) * bits // 8), dtype=np.uint8)
    for first in range(0, len(flat), CHUNK):
        part = np.packbits(np.unpackbits(flat[first : first + CHUNK], axis=1)[:, 8 - bits :])
        packed[first * bits // 8 :][: len(part)] = part
    return torch.from_numpy(packed)


def unpack_codes(packed: torch.Tensor, bits: int, shape: Sequence[int]) -> torch.Tensor:
    """What :func:`pack_codes` packed; uint8."""
    found = np.unpackbits(packed.numpy(), count=math.prod(shape) * bits).reshape(-1, bits)
    low = np.zeros((len(found), 8), dtype=np.uint8)
    low[:, 8 - bits :] = found
    return torch.from_numpy(np.packbits(low, axis=1)).view(*shape)
