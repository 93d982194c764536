"""The four transfer modes: what each does to the weights outside the mask.

From the same pre-trained weights and the same mask M (1 = keep): ``dense`` trains everything; ``sparse`` zeroes the
weights outside M and keeps them zero; ``sparse_to_dense`` zeroes them once and trains them again; ``dense_frozen``
zeroes nothing and keeps the weights outside M at their pre-trained values.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

from junkdna.files import DataError

Pairs = list[tuple[torch.nn.Parameter, torch.Tensor]]


class Keeper(TrainerCallback):
    """Dense transfer: keeps nothing."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs

    def outside(self) -> torch.Tensor:
        """The weights outside the masks, one after the other."""
        return torch.cat([weight.detach()[~mask] for weight, mask in self.pairs])

    def verify(self) -> None:
        """Assert what the mode promises of the weights outside the masks."""


class KeepAlways(Keeper):
    """Does after every optimizer step what the masks demand.

    The weights are moved side by side in memory, so that one operator reaches them all.
    """

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(pairs)
        self.flat = torch.cat([weight.detach().flatten() for weight, _ in pairs])
        self.mask = torch.cat([mask.flatten() for _, mask in pairs])
        for (weight, _), part in zip(pairs, self.flat.split([mask.numel() for _, mask in pairs]), strict=True):
            weight.data = part.view_as(weight)


class KeepZero(KeepAlways):
    """Sparse: zero after every step, the last one included."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(pairs)
        # A CPU multiplies faster than it selects; for a GPU fewer bytes count.
        self.operand = ~self.mask if self.flat.is_cuda else self.mask.to(self.flat.dtype)

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        if self.flat.is_cuda:
            self.flat.masked_fill_(self.operand, 0)
        else:
            self.flat.mul_(self.operand)

    def verify(self) -> None:
        assert not bool(self.outside().any()), "sparse transfer: a pruned weight is not zero after training"


class KeepFrozen(KeepAlways):
    """Dense with freezing: the pre-trained values after every step, whatever momentum and decay did."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(pairs)
        self.pretrained = self.flat.clone()

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        # A selection, not a product: it keeps the sign of zeros.
        torch.where(self.mask, self.flat, self.pretrained, out=self.flat)

    def verify(self) -> None:
        same = torch.equal(self.outside(), self.pretrained[~self.mask])
        assert same, "dense_frozen transfer: a frozen weight differs from the pre-trained one"


class ZeroOnce(Keeper):
    """Sparse to dense: zero at the start only."""

    def verify(self) -> None:
        pruned = self.outside()
        assert pruned.any() or not len(pruned), "sparse_to_dense transfer: no pruned weight moved from zero"


@torch.no_grad()
def start(transfer: str, pairs: Pairs) -> Keeper:
    """Bring the weights to where the mode starts; return what keeps them there.

    Raises:
        DataError: there is no such mode.
    """
    modes = {"dense": Keeper, "sparse": KeepZero, "sparse_to_dense": ZeroOnce, "dense_frozen": KeepFrozen}
    if transfer not in modes:
        raise DataError(f"transfer: {transfer!r}; allowed: {', '.join(modes)}")
    if transfer in ("sparse", "sparse_to_dense"):
        for weight, mask in pairs:
            weight.masked_fill_(~mask, 0)
    return modes[transfer](pairs)
