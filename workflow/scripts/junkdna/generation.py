"""Greedy continuation of prompts."""

from __future__ import annotations

import functools

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicLayer

from junkdna.sharing import Batches, fits
from junkdna.training import pad_right


class Roomy(DynamicLayer):
    """Keys and values of a layer with room for all that come: none is copied to make room for others.

    Args:
        rows: prompts, which all end at ``length``.
        room: tokens.
    """

    def __init__(self, rows: int, length: int, room: int) -> None:
        super().__init__()
        self.shape = rows, length, room

    def place(self, rows: list[int], lengths: list[int], *states: torch.Tensor) -> None:
        """Write the keys and values of whole prompts, which are padded on the right, to their rows."""
        number, end, room = self.shape
        if not self.is_initialized:
            self.lazy_initialization(*states)
            # Zeros: what no row may see is multiplied by 0, which memory that holds anything need not survive.
            self.buffers = [part.new_zeros(number, part.shape[1], room, part.shape[3]) for part in states]
            self._show(number, end)
        for buffer, part in zip(self.buffers, states, strict=True):
            for row, length, new in zip(rows, lengths, part, strict=True):
                buffer[row, :, end - length : end] = new[:, :length]

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


class Passing(DynamicLayer):
    """A layer that stays empty: what is read of whole prompts, the places ``rows`` of a roomy one, goes there."""

    def __init__(self, to: Roomy, rows: list[int], lengths: list[int]) -> None:
        super().__init__()
        self.to, self.rows, self.lengths = to, rows, lengths

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.to.place(self.rows, self.lengths, key_states, value_states)
        return key_states, value_states


def _likeliest(logits: torch.Tensor) -> torch.Tensor:
    """Tokens of shape (rows, 1); on a CPU max takes a third of the time of argmax."""
    return logits.max(-1, keepdim=True).indices


def _read(model: PreTrainedModel, prompts: list[list[int]], room: int, parts: Batches) -> tuple[Cache, torch.Tensor]:
    """As ``_next``, of prompts of any lengths, read in parts: many rows are quicker to write together, few to read.

    Padded on the right, which a causal model cannot see, they need no mask, and attention without one is quicker.
    """
    lengths = [len(ids) for ids in prompts]
    layers = [Roomy(len(prompts), max(lengths), room) for _ in range(model.config.num_hidden_layers)]
    tokens = torch.empty(len(prompts), 1, dtype=torch.long, device=model.device)
    for rows in parts(lengths):
        sizes = [lengths[row] for row in rows]
        ids = pad_right([prompts[row] for row in rows], 0)["input_ids"].to(model.device)
        cache = Cache(layers=[Passing(layer, rows, sizes) for layer in layers])
        states = model.base_model(ids, past_key_values=cache, use_cache=True).last_hidden_state
        last = states[range(len(rows)), [size - 1 for size in sizes]]
        tokens[rows] = _likeliest(model.get_output_embeddings()(last))
    return Cache(layers=layers), tokens


def _next(
    model: PreTrainedModel, ids: torch.Tensor, gaps: torch.Tensor, cache: Cache | None
) -> tuple[Cache, torch.Tensor]:
    """The cache and the likeliest next tokens, of shape (rows, 1); ``gaps`` of the same shape precede each row."""
    spaced = {}
    if gaps.any():
        known = cache.get_seq_length()
        unseen = (torch.arange(known + 1, device=ids.device) < gaps)[:, None, None]
        # Added to the scores, as every kernel takes it.
        mask = torch.zeros(unseen.shape, dtype=model.dtype, device=ids.device)
        mask = mask.masked_fill(unseen, torch.finfo(model.dtype).min)
        spaced = {"attention_mask": mask, "position_ids": known - gaps}
    out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **spaced)
    return out.past_key_values, _likeliest(out.logits[:, -1])


def _moved_up(going: list[int]) -> list[int]:
    """The places in ascending order, of which the last fill the gaps: few rows have to be moved."""
    stay, movers = set(going), iter(place for place in going if place >= len(going))
    return [place if place in stay else next(movers) for place in range(len(going))]


@torch.inference_mode()
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
