"""Sequences that begin alike, run so that what they share is computed once.

Sorted, the sequences are the leaves of a tree whose inner nodes are common beginnings: demonstrations, then the prompt
of a question, then its options. Where that costs less than running them apart, all sequences below a node are packed
into one row, in which a token sees its own beginning only. Else, where it saves enough, the keys and values of the
node's beginning are computed once and serve every row below.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache

from junkdna.training import pad_right

# Each is tested. All other architectures run every sequence by itself.
FAMILIES = ("gpt2", "gpt_neox", "llama", "opt")
KERNELS = ("eager", "sdpa")
# Pairs of a token and one that it may see that cost as much as one token. Too few or too many cost time, not results.
PAIRS = 512
# A cached beginning costs a run of its own, and smaller batches below it: it has to save so many tokens.
WORTH = 512
MOST = 2048  # tokens of a row of several sequences: its mask has as many columns

Ids = tuple[int, ...]
Batches = Callable[[list[int]], Iterable[list[int]]]


@dataclass
class Row:
    """Sequences in one row, without the beginning that is cached.

    Attributes:
        tokens: those of all sequences, each shared one once.
        positions: of the tokens in their sequences.
        slots: sequence to the places of its tokens in the row.
    """

    tokens: list[int]
    positions: list[int]
    slots: dict[int, list[int]]

    @property
    def visible(self) -> np.ndarray:
        """(tokens, tokens), whether the first sees the second."""
        found = np.zeros((len(self.tokens), len(self.tokens)), dtype=bool)
        for slots in self.slots.values():
            found[np.ix_(slots, slots)] = np.tri(len(slots), dtype=bool)
        return found


@dataclass
class Node:
    """A beginning to be cached, from token ``start`` to ``end`` of any sequence below it, and what follows on it."""

    start: int
    end: int
    sample: int
    rows: list[Row] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)


def fits(model: PreTrainedModel) -> bool:
    """Whether the model takes masks and positions that are not those of a plain row."""
    return model.config.model_type in FAMILIES and model.config._attn_implementation in KERNELS


def plan(sequences: list[Ids], needed: list[int]) -> Node:
    """What to cache and what to pack.

    Args:
        sequences: sorted and distinct.
        needed: first position of each whose logits are asked for; no such position is cached.
    """
    arrays = [np.array(ids) for ids in sequences]
    shared = np.array([0, *map(_shared, arrays, arrays[1:])])
    root = Node(0, 0, 0)
    _grow(root, 0, len(sequences), sequences, shared, needed)
    return root


def _shared(one: np.ndarray, other: np.ndarray) -> int:
    size = min(len(one), len(other))
    differ = one[:size] != other[:size]
    return int(differ.argmax()) if differ.any() else size


def _grow(node: Node, low: int, high: int, sequences: list[Ids], shared: np.ndarray, needed: list[int]) -> None:
    """Place sequences ``low`` to ``high``, which all begin with what is cached at the node."""
    waiting = [(low, high)]
    while waiting:
        low, high = waiting.pop()
        if high - low < 2:
            node.rows.append(_row(range(low, high), sequences, shared, node.end))
            continue
        lengths = np.array([len(ids) - node.end for ids in sequences[low:high]])
        common = shared[low + 1 : high] - node.end
        least = int(common.min())
        starts = np.array([0, *(1 + np.flatnonzero(common == least))])  # of parts that share more
        added = lengths - np.array([0, *common])
        packed = int(added.sum())
        parts = np.add.reduceat(added, starts) + least
        parts[0] -= least
        cheaper = _cost(packed, node.end) <= min(_cost(lengths, node.end).sum(), _cost(parts, node.end).sum())
        if cheaper and packed <= MOST:
            node.rows.append(_row(range(low, high), sequences, shared, node.end))
            continue
        end = min(node.end + least, *needed[low:high])
        if (end - node.end) * (high - low - 1) >= WORTH:
            child = Node(node.end, end, low)
            node.nodes.append(child)
            _grow(child, low, high, sequences, shared, needed)
            continue
        cuts = [*(low + starts).tolist(), high]
        waiting += list(itertools.pairwise(cuts))


def _cost(length: Any, cached: int) -> Any:
    return length + length * (cached + length) / PAIRS


def _row(members: Iterable[int], sequences: list[Ids], shared: np.ndarray, start: int) -> Row:
    row, path = Row([], [], {}), []
    for i in members:
        path = path[: shared[i] - start] if row.slots else []
        new = sequences[i][start + len(path) :]
        row.positions += range(start + len(path), len(sequences[i]))
        path = path + list(range(len(row.tokens), len(row.tokens) + len(new)))
        row.tokens += new
        row.slots[i] = path
    return row


def run(
    model: PreTrainedModel, sequences: list[Ids], needed: list[int], batches: Batches
) -> Iterator[tuple[int, torch.Tensor]]:
    """Each sequence's number and its logits from the position that it needs, (positions, words).

    Args:
        sequences: sorted and distinct; needed: see :func:`plan`.
        batches: lengths of rows, with what is cached, to batches of them.
    """
    apart = list(range(len(sequences)))
    if fits(model):
        tree = plan(sequences, needed)
        apart = [i for row in tree.rows if len(row.slots) == 1 for i in row.slots]
        tree.rows = [row for row in tree.rows if len(row.slots) > 1]
        yield from _run(model, tree, None, sequences, needed, batches)
    # Without a mask of their own, which kernels are faster at.
    for numbers in batches([len(sequences[i]) for i in apart]):
        batch = [apart[number] for number in numbers]
        tokens = pad_right([list(sequences[i]) for i in batch], 0)["input_ids"].to(model.device)
        first = min(needed[i] for i in batch)
        logits = model(tokens, logits_to_keep=tokens.shape[1] - first, use_cache=False).logits
        for row, i in enumerate(batch):
            yield i, logits[row, needed[i] - first : len(sequences[i]) - first]


def _run(
    model: PreTrainedModel,
    node: Node,
    cache: DynamicCache | None,
    sequences: list[Ids],
    needed: list[int],
    batches: Batches,
) -> Iterator[tuple[int, torch.Tensor]]:
    for numbers in batches([node.end + len(row.tokens) for row in node.rows]):
        rows = [node.rows[i] for i in numbers]
        # What is read is at the end of a row, for the longest one too.
        first = [min(slots[needed[i] - node.end] for i, slots in row.slots.items()) for row in rows]
        keep = max(len(row.tokens) - begin for row, begin in zip(rows, first, strict=True))
        logits = _forward(model, rows, cache, node.end, keep)
        for row, found in zip(rows, logits, strict=True):
            for i, slots in row.slots.items():
                places = torch.tensor(slots[needed[i] - node.end :]) - len(row.tokens) + keep
                yield i, found[places.to(found.device)]
    for child in node.nodes:
        ids = torch.tensor([sequences[child.sample][child.start : child.end]], device=model.device)
        known = _widened(cache, 1) if cache else DynamicCache(config=model.config)
        model(ids, past_key_values=known, use_cache=True, logits_to_keep=1)
        yield from _run(model, child, known, sequences, needed, batches)


def _widened(cache: DynamicCache, rows: int) -> DynamicCache:
    """The keys and values of one row for several rows. They are not copied, and adding to them leaves the old ones."""
    wide = copy.copy(cache)
    wide.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in wide.layers:
        layer.keys, layer.values = (part.expand(rows, -1, -1, -1) for part in (layer.keys, layer.values))
    return wide


def _forward(
    model: PreTrainedModel, rows: list[Row], cache: DynamicCache | None, cached: int, keep: int
) -> torch.Tensor:
    """Logits of the last ``keep`` places. Rows are padded on the left; there a token sees what is cached and itself."""
    length = max(len(row.tokens) for row in rows)
    tokens, positions = (torch.zeros(len(rows), length, dtype=torch.long) for _ in range(2))
    visible = torch.eye(length, dtype=torch.bool).repeat(len(rows), 1, 1)
    for i, row in enumerate(rows):
        begin = length - len(row.tokens)
        tokens[i, begin:], positions[i, begin:] = torch.tensor(row.tokens), torch.tensor(row.positions)
        visible[i, begin:, begin:] = torch.from_numpy(row.visible)
    seen = torch.cat([torch.ones(len(rows), length, cached, dtype=torch.bool), visible], dim=2)[:, None]
    # Added to the scores, as every kernel takes it.
    mask = torch.zeros(seen.shape, dtype=model.dtype).masked_fill(~seen, torch.finfo(model.dtype).min)
    return model(
        tokens.to(model.device),
        attention_mask=mask.to(model.device),
        position_ids=positions.to(model.device),
        past_key_values=_widened(cache, len(rows)) if cache else None,
        use_cache=cache is not None,
        logits_to_keep=keep,
    ).logits
