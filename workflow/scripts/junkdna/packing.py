"""Masks and codes as bytes: eight masks, or a code of any width without padding bits, in the order of the elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch


def pack_mask(mask: torch.Tensor) -> torch.Tensor:
    """One bit per element; uint8 of ceil(n / 8) bytes."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy()))


def unpack_mask(packed: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """What :func:`pack_mask` packed."""
    bits = np.unpackbits(packed.numpy(), count=math.prod(shape))
    return torch.from_numpy(bits.view(bool)).view(*shape)


def pack_codes(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """The low ``bits`` of each uint8 element; uint8 of ceil(n * bits / 8) bytes."""
    flat = codes.cpu().numpy().reshape(-1, 1)
    return torch.from_numpy(np.packbits(np.unpackbits(flat, axis=1)[:, 8 - bits :]))


def unpack_codes(packed: torch.Tensor, bits: int, shape: Sequence[int]) -> torch.Tensor:
    """What :func:`pack_codes` packed; uint8."""
    found = np.unpackbits(packed.numpy(), count=math.prod(shape) * bits).reshape(-1, bits)
    low = np.zeros((len(found), 8), dtype=np.uint8)
    low[:, 8 - bits :] = found
    return torch.from_numpy(np.packbits(low, axis=1)).view(*shape)
