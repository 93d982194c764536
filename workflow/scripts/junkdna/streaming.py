"""Calibrated compression block by block: one block of the model in memory at a time, whatever the model's size.

The inputs of the first block are caught once. Each block is then read from its shard, run on them to gather statistics
of what reaches its linear layers, compressed, run again through the compressed weights to make the next block's inputs,
and dropped: the scheme of the SparseGPT, Wanda and GPTQ repositories. With ``propagate: dense`` the inputs are those of
the dense model, so one sweep serves every level; that is another, weaker algorithm.

Layers that read the same tensor (query, key and value; gate and up) share one statistic. A pass that only gathers stops
before the last linear layer of the block. Sequences of a batch have equal lengths, so no padding enters a statistic.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from tqdm import tqdm

from junkdna.checkpoint import Base
from junkdna.files import DataError
from junkdna.levels import Level
from junkdna.skeleton import Batch, Skeleton, StopForward

log = logging.getLogger(__name__)


class Statistic(Protocol):
    """What is gathered of the inputs of a linear layer, such as :class:`junkdna.hessian.Gram`."""

    def add(self, inputs: torch.Tensor) -> None:
        """Count in inputs of shape (tokens, in)."""


@dataclass(frozen=True)
class Solution:
    """A compressed weight (out, in) as it is restored, what a state stores of it, and how many were removed."""

    weight: torch.Tensor
    tensors: dict[str, torch.Tensor]
    zeros: int


Prepare = Callable[[Any, dict[str, Any], str], Any]
Solve = Callable[[torch.Tensor, Any, Level, dict[str, Any]], Solution]
Result = tuple[dict[str, Any], dict[str, torch.Tensor]]


@torch.no_grad()
def stream(
    base: Base,
    levels: list[Level],
    params: dict[str, Any],
    statistic: Callable[[int, torch.device], Statistic],
    prepare: Prepare,
    solve: Solve,
) -> list[Result]:
    """Compress a model at each level.

    Args:
        levels: several only if ``params["propagate"]`` is "dense".
        statistic: called with the input width and the device of a layer.
        prepare: called once per shared input, with the finished statistic, ``params`` and the first layer's name.
        solve: called per weight and level, with the weight (out, in), what was prepared, the level and ``params``.

    Returns:
        For each level the method's rule and the tensors of its state.

    Raises:
        DataError: there is no calibration data, an architecture cannot be streamed, a weight lies outside the blocks
            or is shared, nothing reaches a layer, or a weight or activation is not finite.
    """
    dense = params["propagate"] == "dense"
    if len(levels) > 1 and not dense:
        raise DataError("several levels in one sweep need params.propagate 'dense'")
    skeleton = Skeleton.of(base)
    results: list[Result] = [({"zeros": 0}, {}) for _ in levels]
    blocks = [block for stack in skeleton.stacks for block in stack.blocks]
    progress = tqdm(total=len(blocks), desc="compress", unit="block")
    for stack in skeleton.stacks:
        inputs = skeleton.inputs(stack)
        for block in stack.blocks:
            last = block is blocks[-1]
            with skeleton.loaded(block) as module:
                targets = skeleton.targets(block)
                forward = dense and not last
                for names, gathered in gather(module, block, targets, inputs, statistic, skeleton.drop, forward):
                    while targets:  # gathered: until they are compressed, no weight is needed here
                        skeleton.drop(targets.popitem()[0])
                    prepared = prepare(gathered, params, names[0])
                    for name in names:
                        weight = base.weight(name).to(skeleton.device)
                        for level, (rule, tensors) in zip(levels, results, strict=True):
                            solution = solve(weight, prepared, level, params)
                            tensors |= {f"{name}.{part}": tensor for part, tensor in solution.tensors.items()}
                            rule["zeros"] += solution.zeros
                        if not dense:
                            skeleton.replace(name, base.stored(name, solution.weight))
                    del prepared, gathered, weight, solution
                if not dense and not last:
                    for batch in inputs:
                        batch.advance(module)
            _return_memory()
            progress.update()
        stack.outputs = [batch.hidden for batch in inputs]
    progress.close()
    return results


def _return_memory() -> None:
    """Give freed memory back to the system.

    Left alone, glibc keeps it, split up by the small tensors of the states, and the process grows with every block.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def gather(
    module: nn.Module,
    block: str,
    targets: dict[str, nn.Module],
    inputs: list[Batch],
    statistic: Callable[[int, torch.device], Statistic],
    drop: Callable[[str], None],
    forward: bool,
) -> Iterator[tuple[list[str], Statistic]]:
    """Run a block on all inputs; yield the layers that share an input, and its statistic, which is then dropped.

    The widest input comes first, then the most weights: what takes most memory, while few compressed weights are back.

    Args:
        targets: weight name to linear layer.
        drop: called with the names of the weights that the pass does not need, as soon as they are known.
        forward: also replace the hidden states by the block's outputs; else stop before the last layer.
    """
    groups: list[list[str]] = []  # by shared input, in the order of the calls
    gathered: dict[str, Statistic] = {}
    widths: dict[str, int] = {}
    seen: list[torch.Tensor | None] = [None]
    last = ""

    def hook(name: str, layer: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if not last:  # the first batch tells who shares
            if groups and args[0] is seen[0]:
                groups[-1].append(name)
            else:
                groups.append([name])
                widths[name] = args[0].shape[-1]
                gathered[name] = statistic(widths[name], args[0].device)
            seen[0] = args[0]
        if name in gathered:
            gathered[name].add(args[0].reshape(-1, args[0].shape[-1]))
        if name == last and not forward:
            raise StopForward

    handles = [
        layer.register_forward_pre_hook(lambda layer, args, name=name: hook(name, layer, args))
        for name, layer in targets.items()
    ]
    try:
        for batch in inputs:
            try:
                hidden = batch.run(module)
                if forward:
                    batch.hidden = hidden
            except StopForward:
                pass
            if groups and not last:
                last = groups[-1][-1]
                seen[0] = None
                if not forward:
                    drop(last)
    finally:
        for handle in handles:
            handle.remove()
    if missed := sorted(set(targets) - {name for group in groups for name in group}):
        raise DataError(
            f"{missed[0]}: no calibration token reaches this layer of {block}; exclude it with `prunable_exclude`"
        )
    sizes = {name: layer.weight.numel() for name, layer in targets.items()}
    for group in sorted(groups, key=lambda group: (-widths[group[0]], -sum(sizes[name] for name in group))):
        yield group, gathered.pop(group[0])
