"""Masks and codes as bytes: eight masks, or a code of any width without padding bits, in the order of the elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

ROWS = 128  # of a matrix at a time
CHUNK = 1 << 16  # codes at a time: eight of them are a word of 64 bits, and the words stay in the cache
CUDA_CHUNK = 1 << 24  # a GPU wants few and large operations


def pack_mask(mask: torch.Tensor) -> torch.Tensor:
    """One bit per element; uint8 of ceil(n / 8) bytes."""
    return pack_codes(mask.view(torch.uint8), 1) if mask.is_cuda else torch.from_numpy(np.packbits(mask.numpy()))


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
    flat, shifts, chunk = codes.reshape(-1), _shifts(bits, codes.device), CUDA_CHUNK if codes.is_cuda else CHUNK
    packed = flat.new_empty(-(-len(flat) * bits // 8))
    for first in range(0, len(flat), chunk):
        words = (_rows(flat[first : first + chunk], 8).long() << shifts).sum(1)
        rest = packed[first * bits // 8 :]
        found = words.view(torch.uint8).view(-1, 8)[:, :bits].flip(1).reshape(-1)[: len(rest)]
        rest[: len(found)] = found
    return packed.cpu()


def unpack_codes(packed: torch.Tensor, bits: int, shape: Sequence[int]) -> torch.Tensor:
    """What :func:`pack_codes` packed; uint8."""
    count, shifts = math.prod(shape), _shifts(bits, packed.device)
    found = packed.new_empty(-(-count // 8), 8)
    for words, part in zip(found.split(CHUNK // 8), packed.split(CHUNK // 8 * bits), strict=True):
        read = part.new_zeros(len(words), 8)
        read[:, :bits] = _rows(part, bits).flip(1)
        words.copy_((read.view(torch.int64) >> shifts) & (1 << bits) - 1)
    return found.view(-1)[:count].view(*shape)


def _shifts(bits: int, device: torch.device) -> torch.Tensor:
    """Where in a word each of eight codes begins: the first is the highest, (8,)."""
    return torch.arange(7, -1, -1, device=device) * bits


def _rows(flat: torch.Tensor, width: int) -> torch.Tensor:
    """In rows, the last one filled up with zeros."""
    return torch.nn.functional.pad(flat, (0, -len(flat) % width)).view(-(-len(flat) // width), width)
