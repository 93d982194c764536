"""Greedy continuation of prompts."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicLayer

from junkdna.sharing import fits


class Roomy(DynamicLayer):
    """Keys and values of a layer with room for all that come: a step writes its own and copies none of the others.

    Args:
        room: tokens.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.buffers = room, []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        new = (key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(*new)
            self.buffers = [part.new_empty(*part.shape[:2], self.room, part.shape[3]) for part in new]
        begin = self.get_seq_length()
        end = begin + key_states.shape[2]
        for buffer, part in zip(self.buffers, new, strict=True):
            buffer[:, :, begin:end] = part
        self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        length = self.get_seq_length()
        self.buffers = [buffer[indices] for buffer in self.buffers]
        self.keys, self.values = (buffer[:, :, :length] for buffer in self.buffers)


@torch.no_grad()
def continued(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], max_new_tokens: int
) -> list[str]:
    """Texts up to a line break or the end of the text, which a row that has reached it is run no further for.

    Args:
        prompts: token ids; padded on the left where their lengths differ, which the model has to take.
    """
    longest = max(map(len, prompts))
    tokens = torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts], device=model.device)
    gaps = torch.tensor([[longest - len(ids)] for ids in prompts], device=model.device)
    cache, known, padded = None, 0, bool(gaps.any())
    if fits(model):
        room = longest + max_new_tokens
        cache = Cache(layers=[Roomy(room) for _ in range(model.config.num_hidden_layers)])
    written: list[list[int]] = [[] for _ in prompts]
    texts, rows = [""] * len(prompts), list(range(len(prompts)))
    for _ in range(max_new_tokens):
        places = torch.arange(known + tokens.shape[1], device=model.device)
        spaced = {"attention_mask": (places >= gaps).long(), "position_ids": (places[known:] - gaps).clamp(min=0)}
        out = model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1, **(spaced if padded else {}))
        cache, known, tokens = out.past_key_values, len(places), out.logits[:, -1].argmax(-1, keepdim=True)
        going = []
        for place, (row, token) in enumerate(zip(rows, tokens[:, 0].tolist(), strict=True)):
            if token != tokenizer.eos_token_id:
                written[row].append(token)
                texts[row] = tokenizer.decode(written[row], skip_special_tokens=True)
                if "\n" not in texts[row]:
                    going.append(place)
        if not going:
            break
        if len(going) < len(rows):
            kept, rows = torch.tensor(going, device=model.device), [rows[place] for place in going]
            tokens, gaps = tokens[kept], gaps[kept]
            cache.batch_select_indices(kept)
    return [text.split("\n")[0].strip() for text in texts]
