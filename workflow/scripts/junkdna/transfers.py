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


def is_on_gpu(weight: torch.Tensor) -> bool:
    return weight.is_cuda


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

    On a GPU the weights are moved side by side in memory, so that one operator reaches them all.
    """

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(pairs)
        self.weights, self.masks = [weight.detach() for weight, _ in pairs], [mask for _, mask in pairs]
        self.joined = is_on_gpu(self.weights[0])
        if self.joined:
            self.weights = [torch.cat([weight.flatten() for weight in self.weights])]
            parts = self.weights[0].split([mask.numel() for mask in self.masks])
            for (weight, _), part in zip(pairs, parts, strict=True):
                weight.data = part.view_as(weight)
            self.masks = [torch.cat([mask.flatten() for mask in self.masks])]


class KeepZero(KeepAlways):
    """Sparse: zero after every step, the last one included."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(pairs)
        # A CPU multiplies faster than it selects; for a GPU fewer bytes count.
        self.masks = [~mask if self.joined else mask.to(self.weights[0].dtype) for mask in self.masks]

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        if self.joined:
            self.weights[0].masked_fill_(self.masks[0], 0)
        else:
            torch._foreach_mul_(self.weights, self.masks)

    def verify(self) -> None:
        assert not bool(self.outside().any()), "sparse transfer: a pruned weight is not zero after training"


class KeepFrozen(KeepAlways):
    """Dense with freezing: the pre-trained values after every step, whatever momentum and decay did."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(pairs)
        self.pretrained = [weight.clone() for weight in self.weights]

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        # A selection, not a product: it keeps the sign of zeros.
        for weight, mask, values in zip(self.weights, self.masks, self.pretrained, strict=True):
            torch.where(mask, weight, values, out=weight)

    def verify(self) -> None:
        frozen = torch.cat([values[~mask] for values, mask in zip(self.pretrained, self.masks, strict=True)])
        same = torch.equal(self.outside(), frozen)
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
