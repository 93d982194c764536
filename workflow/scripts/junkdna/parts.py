"""A training step in parts of similar length: the gradient of the whole batch without most of its padding.

The order of the data, the batches and, but for rounding and the draws of dropout, all that is learnt are those of whole
batches. Sorting the data by length (`group_by_length`) saves more, and changes the batches.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Trainer

# Tokens, padding included, that have to be saved by a further part. On a CPU its own passes forward and backward, and
# its sum of gradients, cost as much as 100 tokens, under autocast as 50 to 320 (tests/bench/finetune.py --cost).
COST = 192
COST_AUTOCAST = 384


def cut(lengths: list[int], cost: int) -> list[list[int]]:
    """Indices in parts, longest first, so that tokens with padding, and ``cost`` for each part, are fewest."""
    if len(lengths) * max(lengths) - sum(lengths) <= cost:
        return [list(range(len(lengths)))]
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    least, starts = [0], [0]  # of the first examples: their cost, and where the last part starts
    for end in range(1, len(order) + 1):
        found = [least[start] + (end - start) * lengths[order[start]] + cost for start in range(end)]
        least.append(min(found))
        starts.append(found.index(least[-1]))
    parts, end = [], len(order)
    while end:
        parts.append(order[starts[end] : end])
        end = starts[end]
    return parts[::-1]


class PartsTrainer(Trainer):
    """A Trainer of models whose loss is the mean over the examples of a batch, padded on the right."""

    share = 1.0

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        mask, rows = inputs["attention_mask"], len(inputs["labels"])
        lengths = mask.sum(-1).reshape(rows, -1).amax(1).tolist()
        parts = cut(lengths, COST_AUTOCAST if self.args.bf16 else COST)
        if len(parts) == 1:
            return super().training_step(model, inputs, num_items_in_batch)
        losses = []
        for part in parts:
            longest, self.share = lengths[part[0]], len(part) / rows
            padded = {key: inputs[key][part][..., :longest] for key in ("input_ids", "attention_mask")}
            losses.append(super().training_step(model, {**padded, "labels": inputs["labels"][part]}))
        self.share = 1.0
        return torch.stack(losses).sum()

    def compute_loss(self, *args: Any, **options: Any) -> Any:
        return super().compute_loss(*args, **options) * self.share
