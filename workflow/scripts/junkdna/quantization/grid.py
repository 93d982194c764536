"""Asymmetric grids: each row's weights of a group of inputs become ``(code - zero) * scale``.

Min-max, as GPTQ's (Frantar et al. 2022): the grid spans the smallest to the largest weight of the group, 0 included, so
that a zero stays zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from junkdna.checkpoint import group_length


@dataclass
class Grid:
    """The grids of one weight of shape (out, in); ``scale`` and ``zero`` are (in / group, out), float32."""

    bits: int
    group: int
    scale: torch.Tensor
    zero: torch.Tensor

    @classmethod
    def empty(cls, shape: Sequence[int], bits: int, group: int, device: torch.device) -> Grid:
        """Grids to be fitted group by group."""
        values = torch.zeros(shape[1] // group, shape[0], device=device)
        return cls(bits, group, values, values.clone())

    @classmethod
    def of(cls, weight: torch.Tensor, bits: int, group: int) -> Grid:
        """Grids of a whole weight (out, in)."""
        grid = cls.empty(weight.shape, bits, group, weight.device)
        for first in range(0, weight.shape[1], group):
            grid.fit(first, weight[:, first : first + group].T)
        return grid

    @classmethod
    def restored(cls, tensors: dict[str, torch.Tensor], name: str, shape: Sequence[int], bits: int, group: int) -> Grid:
        """What :meth:`tensors` stored under a weight's name."""
        scale, zero = tensors[f"{name}.scale"], tensors[f"{name}.zero"].float()
        return cls(bits, group_length(shape[1], group, name), scale, zero)

    @property
    def most(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1

    def fit(self, first: int, block: torch.Tensor) -> None:
        """Span the grid of the group that begins at input ``first`` over its weights, (inputs, out)."""
        low, high = block.amin(0).clamp_(max=0).float(), block.amax(0).clamp_(min=0).float()
        scale = (high - low) / self.most
        # Where all are zero, or too small for a step, any step does.
        scale = torch.where(scale > 0, scale, 1.0)
        self.scale[first // self.group] = scale
        self.zero[first // self.group] = torch.round(-low / scale)

    def round(self, column: int, values: torch.Tensor) -> torch.Tensor:
        """The nearest grid values of one input's weights, (out,)."""
        scale, zero = self.scale[column // self.group], self.zero[column // self.group]
        return ((values / scale).round_().add_(zero).clamp_(0, self.most) - zero).mul_(scale)

    def encode(self, columns: torch.Tensor) -> torch.Tensor:
        """Codes of the nearest grid values; from (in, out) weights to uint8 of (out, in)."""
        codes = torch.empty(columns.T.shape, dtype=torch.uint8, device=columns.device)
        grids = zip(columns.split(self.group), codes.split(self.group, 1), self.scale, self.zero, strict=True)
        for values, part, scale, zero in grids:  # of a group: no float32 copy of the whole
            part.copy_((values / scale).round_().add_(zero).clamp_(0, self.most).T)
        return codes

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Weights of codes, float32, both (out, in)."""
        values = codes.float()
        grouped = values.view(len(codes), -1, self.group)
        grouped.sub_(self.zero.T.unsqueeze(2)).mul_(self.scale.T.unsqueeze(2))
        return values

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a state stores beside the codes."""
        return {"scale": self.scale.cpu(), "zero": self.zero.to(torch.uint8).cpu()}
