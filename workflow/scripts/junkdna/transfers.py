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
    """Dense transfer: keeps nothing. The other modes say after every optimizer step what the masks demand."""

    def __init__(self, pairs: Pairs) -> None:
        self.weights = [weight for weight, _ in pairs]
        self.masks = [mask for _, mask in pairs]

    def verify(self) -> None:
        """Assert what the mode promises of the weights outside the masks."""


class KeepZero(Keeper):
    """Sparse: zero after every step, the last one included."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(pairs)
        self.factors = [mask.to(weight.dtype) for weight, mask in pairs]

    @torch.no_grad()
    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        torch._foreach_mul_(self.weights, self.factors)

    def verify(self) -> None:
        for weight, mask in zip(self.weights, self.masks, strict=True):
            assert not bool(weight.detach()[~mask].any()), "sparse transfer: a pruned weight is not zero after training"


class KeepFrozen(Keeper):
    """Dense with freezing: the pre-trained values after every step, whatever momentum and decay did."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(pairs)
        self.pretrained = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        # A selection, not a product: it keeps the sign of zeros.
        for weight, mask, values in zip(self.weights, self.masks, self.pretrained, strict=True):
            weight.copy_(torch.where(mask, weight, values))

    def verify(self) -> None:
        for weight, mask, values in zip(self.weights, self.masks, self.pretrained, strict=True):
            same = torch.equal(weight.detach()[~mask], values[~mask])
            assert same, "dense_frozen transfer: a frozen weight differs from the pre-trained one"


class ZeroOnce(Keeper):
    """Sparse to dense: zero at the start only."""

    def verify(self) -> None:
        pruned = [weight.detach()[~mask] for weight, mask in zip(self.weights, self.masks, strict=True)]
        moved = sum(int(values.count_nonzero()) for values in pruned)
        assert moved or not sum(map(len, pruned)), "sparse_to_dense transfer: no pruned weight moved from zero"


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
