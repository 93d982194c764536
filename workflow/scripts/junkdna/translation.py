"""Translation with encoder-decoder models: how texts are framed, and how translations are written.

mBART (Liu et al. 2020) reads ``words </s> source`` and writes ``words </s>`` after the code of the target language.
The frame is made here from the codes' ids, so that any tokenizer that has the codes will do. A model without language
codes (BART, Marian) gets its tokenizer's own frame and its configuration's start token.
"""

from __future__ import annotations

import logging

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from junkdna.catalog import Task
from junkdna.files import DataError

log = logging.getLogger(__name__)


def frame(tokenizer: PreTrainedTokenizerBase, texts: list[str], language: str | None, length: int) -> list[list[int]]:
    """Token ids of texts, cut to ``length`` with their frame; how many were cut is logged.

    Raises:
        DataError: the tokenizer does not know the language.
    """
    if language is None:
        sequences = tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        end: list[int] = [tokenizer.eos_token_id] if sequences[0][-1:] == [tokenizer.eos_token_id] else []
        sequences = [ids[: len(ids) - len(end)] for ids in sequences]
    else:
        sequences = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        end = [tokenizer.eos_token_id, language_id(tokenizer, language)]
    kept = length - len(end)
    if cut := sum(len(ids) > kept for ids in sequences):
        log.warning("%d of %d texts are longer than %d tokens and were cut", cut, len(sequences), length)
    return [ids[:kept] + end for ids in sequences]


def language_id(tokenizer: PreTrainedTokenizerBase, language: str) -> int:
    """The id of a language's code.

    Raises:
        DataError: the tokenizer has no such code.
    """
    found = tokenizer.convert_tokens_to_ids(language)
    if found in (None, tokenizer.unk_token_id):
        known = [token for token in tokenizer.all_special_tokens if "_" in token]
        raise DataError(
            f"languages: {language!r}: the tokenizer has no such code; there are {', '.join(known) or 'none'}"
        )
    return found


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, task: Task, sources: list[str], targets: list[str], length: int
) -> list[dict[str, list[int]]]:
    """Inputs and labels of translations to learn from. The label's last token is what the decoder starts with."""
    source, target = task.languages or (None, None)
    inputs, labels = frame(tokenizer, sources, source, length), frame(tokenizer, targets, target, length)
    return [{"input_ids": ids, "labels": wanted} for ids, wanted in zip(inputs, labels, strict=True)]


@torch.no_grad()
def translate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sources: list[list[int]], task: Task, longest: int
) -> list[str]:
    """Translations of framed texts of one length: without padding, a batch changes no prediction.

    Args:
        longest: tokens that the decoder can take.
    """
    start = language_id(tokenizer, task.languages[1]) if task.languages else model.config.decoder_start_token_id
    # In place of the folder's own, which may hold penalties and a number of beams.
    model.generation_config = GenerationConfig(
        max_new_tokens=min(task.max_new_tokens, longest - 1),
        num_beams=task.num_beams,
        do_sample=False,
        decoder_start_token_id=start,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    tokens = torch.tensor(sources, device=model.device)
    written = model.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    return [text.strip() for text in tokenizer.batch_decode(written, skip_special_tokens=True)]
