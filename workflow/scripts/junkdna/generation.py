"""Greedy continuation of prompts."""

from __future__ import annotations

import functools

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicLayer

from junkdna.sharing import Batches, fits


class Roomy(DynamicLayer):
    """Keys and values of a layer with room for all that come: a step writes its own and copies none of the others.

    Args:
        parts: layers that have read some of the rows each, with the places of these; all end at ``length``.
        room: tokens.
    """

    def __init__(self, parts: list[tuple[list[int], DynamicLayer]], length: int, room: int) -> None:
        super().__init__()
        rows = sum(len(places) for places, _ in parts)
        first = parts[0][1]
        self.lazy_initialization(first.keys, first.values)
        self.buffers = []
        for side in ("keys", "values"):
            heads, width = getattr(first, side).shape[1::2]
            # Zeros: what no row may see is multiplied by 0, which memory that holds anything need not survive.
            buffer = getattr(first, side).new_zeros(rows, heads, room, width)
            for places, part in parts:
                buffer[places, :, length - part.get_seq_length() : length] = getattr(part, side)
            self.buffers.append(buffer)
        self._show(rows, length)

    def _show(self, rows: int, length: int) -> None:
        self.keys, self.values = (buffer[:rows, :, :length] for buffer in self.buffers)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, begin = len(key_states), self.get_seq_length()
        end = begin + key_states.shape[2]
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:rows, :, begin:end] = new
        self._show(rows, end)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Each row that is kept is in its place already, or comes from behind those."""
        (moved,) = (indices != torch.arange(len(indices), device=indices.device)).nonzero(as_tuple=True)
        for buffer in self.buffers:
            buffer[moved] = buffer[indices[moved]]
        self._show(len(indices), self.get_seq_length())


def _next(
    model: PreTrainedModel, ids: torch.Tensor, gaps: torch.Tensor, cache: Cache | None
) -> tuple[Cache, torch.Tensor]:
    """The cache and the likeliest next tokens, of shape (rows, 1); ``gaps`` of the same shape precede each row."""
    known = cache.get_seq_length() if cache is not None else 0
    spaced = {}
    if gaps.any():
        places = torch.arange(known + ids.shape[1], device=ids.device)
        spaced = {"attention_mask": (places >= gaps).long(), "position_ids": (places[known:] - gaps).clamp(min=0)}
    out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **spaced)
    return out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)


def _read(model: PreTrainedModel, prompts: list[list[int]], room: int, parts: Batches) -> tuple[Cache, torch.Tensor]:
    """As ``_next``, of prompts of any lengths, read in parts: many rows are quicker to write together, few to read."""
    lengths = [len(ids) for ids in prompts]
    tokens, read = torch.empty(len(prompts), 1, dtype=torch.long, device=model.device), []
    for rows in parts(lengths):
        longest = max(lengths[row] for row in rows)
        gaps = torch.tensor([[longest - lengths[row]] for row in rows], device=model.device)
        ids = [[0] * (longest - lengths[row]) + prompts[row] for row in rows]
        cache, tokens[rows] = _next(model, torch.tensor(ids, device=model.device), gaps, None)
        read.append((rows, cache.layers))
    layers = zip(*(layers for _, layers in read), strict=True)
    places = [rows for rows, _ in read]
    return Cache(layers=[Roomy(list(zip(places, layer, strict=True)), max(lengths), room) for layer in layers]), tokens


def _moved_up(going: list[int]) -> list[int]:
    """The places in ascending order, of which the last fill the gaps: few rows have to be moved."""
    stay, movers = set(going), iter(place for place in going if place >= len(going))
    return [place if place in stay else next(movers) for place in range(len(going))]


@torch.no_grad()
def continued(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int,
    parts: Batches,
) -> list[str]:
    """Texts up to a line break or the end of the text, which a row that has reached it is run no further for.

    Args:
        prompts: token ids, of one length if the model does not fit.
        parts: of prompts to read at a time.
    """
    longest = max(map(len, prompts))
    gaps = torch.tensor([[longest - len(ids)] for ids in prompts], device=model.device)
    if fits(model):
        known, tokens = _read(model, prompts, longest + max_new_tokens, parts)
    else:
        known, tokens = _next(model, torch.tensor(prompts, device=model.device), gaps, None)

    @functools.cache
    def ends(token: int) -> bool:
        return token == tokenizer.eos_token_id or "\n" in tokenizer.decode([token])

    written: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    for left in reversed(range(max_new_tokens)):
        going = []
        for place, (row, token) in enumerate(zip(rows, tokens[:, 0].tolist(), strict=True)):
            written[row].append(token)
            if not ends(token):
                going.append(place)
        if not going or not left:
            break
        if len(going) < len(rows):
            places = _moved_up(going)
            kept, rows = torch.tensor(places, device=model.device), [rows[place] for place in places]
            tokens, gaps = tokens[kept], gaps[kept]
            known.batch_select_indices(kept)
        known, tokens = _next(model, tokens, gaps, known)
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in written]
    return [text.split("\n")[0].strip() for text in texts]
