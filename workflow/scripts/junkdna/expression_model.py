"""An encoder that answers arithmetic word problems: a small fresh decoder writes a prefix expression over its states.

After GTS and the RoBERTa baselines of SVAMP (see expressions.py), with a plain transformer decoder in place of their
tree decoder: it attends to the encoder's states, and a number of the text is scored, and read back, by the encoder's
state at its first token (pointer networks, Vinyals et al. 2015). Decoding is greedy over the tokens that keep the
expression well-formed.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import Seq2SeqLMOutput

from junkdna.expressions import LONGEST, OPERATORS, Problem, evaluate, infix
from junkdna.files import DataError
from junkdna.tasks import Question

log = logging.getLogger(__name__)

LAYERS = 2
ABSENT = -1  # place of a slot that a text does not have, or that was cut
IGNORED = -100  # label of padding


class ExpressionModel(PreTrainedModel):
    """An encoder under its own name, so that its weights are called as in its checkpoint, and ``solver``, the decoder.

    Args:
        config: of the encoder, with ``expression_constants``, the constants as text.
    """

    _model_mapping = AutoModel._model_mapping  # the encoders that it takes, named as by transformers' automatic classes
    _supports_sdpa = True  # as its encoder

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        body = AutoModel.from_config(config, trust_remote_code=False)
        if getattr(body, "pooler", None) is not None:
            body.pooler = None  # nothing here reads it
        self.base_model_prefix = body.base_model_prefix
        self.add_module(body.base_model_prefix, body)
        self.solver = Solver(config, len(vocabulary(config)))
        self.post_init()

    @classmethod
    def from_config(cls, config: PreTrainedConfig, **options: Any) -> ExpressionModel:
        """With fresh weights."""
        options.pop("trust_remote_code", None)
        return cls._from_config(config, **options)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, slots: torch.Tensor, labels: torch.Tensor
    ) -> Seq2SeqLMOutput:
        """Loss and logits of known expressions.

        Args:
            input_ids, attention_mask: shape (texts, tokens).
            slots: index of each slot's token, ABSENT as padding, shape (texts, slots).
            labels: ids of :func:`vocabulary`, then of the slots; IGNORED as padding; shape (texts, steps).
        """
        states = self.base_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = self.solver(states, attention_mask, slots, labels[:, :-1].clamp(min=0))
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)
        return Seq2SeqLMOutput(loss=loss, logits=logits)

    @torch.no_grad()
    def solve(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, slots: torch.Tensor) -> list[list[int]]:
        """The expression of each text, greedily and always complete; empty for one without numbers and constants."""
        states = self.base_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        ids = torch.empty(len(slots), 0, dtype=torch.long, device=slots.device)
        operands = (slots != ABSENT).any(1) | bool(self.config.expression_constants)
        needed, lengths = operands.long(), torch.zeros_like(operands, dtype=torch.long)
        for left in reversed(range(LONGEST)):
            logits = self.solver(states, attention_mask, slots, ids)[:, -1]
            # An operator needs one operand more, and all that are needed then have to fit.
            logits[:, : len(OPERATORS)].masked_fill_((needed >= left)[:, None], -torch.inf)
            chosen = logits.argmax(-1)
            ids, lengths = torch.cat([ids, chosen[:, None]], 1), lengths + (needed > 0)
            needed = torch.where(needed > 0, needed + torch.where(chosen < len(OPERATORS), 1, -1), 0)
            if not needed.any():
                break
        return [row[:length] for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)]


class Solver(nn.Module):
    """Scores the next token of expressions: one of a fixed vocabulary, or a slot of the text."""

    def __init__(self, config: PreTrainedConfig, size: int) -> None:
        super().__init__()
        width, dropout = config.hidden_size, getattr(config, "hidden_dropout_prob", 0.1)
        self.token = nn.Embedding(size + 1, width)  # the last one starts
        self.step = nn.Embedding(LONGEST, width)
        layer = nn.TransformerDecoderLayer(
            width, config.num_attention_heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, LAYERS, norm=nn.LayerNorm(width))
        self.fixed, self.query = nn.Linear(width, size), nn.Linear(width, width)
        self.slot = nn.Linear(width, 2 * width)

    def forward(
        self, states: torch.Tensor, attention_mask: torch.Tensor, slots: torch.Tensor, ids: torch.Tensor
    ) -> torch.Tensor:
        """Logits after the start and after each id: (texts, steps) to (texts, steps + 1, vocabulary + slots)."""
        texts, width = len(states), states.shape[-1]
        at = slots.clamp(min=0)[..., None].expand(-1, -1, width)
        read, key = self.slot(states.gather(1, at)).chunk(2, -1)
        table = torch.cat([self.token.weight.expand(texts, -1, -1), read], 1)
        start = self.fixed.out_features
        shifted = torch.cat([ids.new_full((texts, 1), start), torch.where(ids < start, ids, ids + 1)], 1)
        inputs = table.gather(1, shifted[..., None].expand(-1, -1, width))
        steps = shifted.shape[1]
        hidden = self.layers(
            inputs + self.step.weight[:steps],
            states,
            tgt_mask=torch.ones(steps, steps, dtype=torch.bool, device=ids.device).triu(1),
            memory_key_padding_mask=attention_mask == 0,
        )
        copied = self.query(hidden) @ key.mT / width**0.5
        copied = copied.masked_fill((slots == ABSENT)[:, None], -torch.inf)
        return torch.cat([self.fixed(hidden), copied], -1)


class ProblemCollator:
    """Pads problems on the right: tokens, slots and labels."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        pads = {"input_ids": self.pad, "attention_mask": 0, "slots": ABSENT, "labels": IGNORED}
        return {
            key: nn.utils.rnn.pad_sequence(
                [torch.tensor(example[key], dtype=torch.long) for example in batch],
                batch_first=True,
                padding_value=pad,
            )
            for key, pad in pads.items()
            if key in batch[0]
        }


def vocabulary(config: PreTrainedConfig) -> list[str]:
    """The fixed tokens, operators first."""
    return [*OPERATORS, *config.expression_constants]


def encode_problems(
    questions: list[Question], tokenizer: PreTrainedTokenizerBase, length: int
) -> list[dict[str, list[int]]]:
    """Token ids of problems, cut to ``length``, and where each number begins; how many lost a number is logged.

    Raises:
        DataError: the tokenizer cannot tell which token holds a character.
    """
    if not tokenizer.is_fast:
        raise DataError(f"{type(tokenizer).__name__}: kind expression needs a tokenizer with offsets (tokenizer.json)")
    found = tokenizer([question.texts[0] for question in questions], truncation=True, max_length=length)
    examples = []
    for i, question in enumerate(questions):
        tokens = [found.char_to_token(i, place) for place in question.problem.places]
        slots = [ABSENT if token is None else token for token in tokens]
        ids = found["input_ids"][i]
        examples.append({"input_ids": ids, "attention_mask": [1] * len(ids), "slots": slots})
    if cut := sum(ABSENT in example["slots"] for example in examples):
        log.warning("%d of %d problems have numbers beyond %d tokens, which are cut", cut, len(examples), length)
    return examples


def labelled(
    examples: list[dict[str, list[int]]], questions: list[Question], config: PreTrainedConfig
) -> list[dict[str, list[int]]]:
    """The examples with the ids of their expressions. Those that need a number that was cut are left out."""
    ids = {token: i for i, token in enumerate(vocabulary(config))}
    known = []
    for example, question in zip(examples, questions, strict=True):
        numbered = ids | {f"number{j}": len(ids) + j for j, at in enumerate(example["slots"]) if at != ABSENT}
        if all(token in numbered for token in question.expression):
            known.append(example | {"labels": [numbered[token] for token in question.expression]})
    return known


def solution(ids: list[int], problem: Problem, config: PreTrainedConfig) -> tuple[str, float]:
    """A predicted expression for people, and its value; NaN if it has none."""
    fixed = vocabulary(config)
    tokens = [fixed[i] if i < len(fixed) else f"number{i - len(fixed)}" for i in ids]
    value = evaluate(tokens, problem.numbers) if tokens else None
    return infix(tokens, problem.numbers) if tokens else "", math.nan if value is None else float(value)
