"""A byte-level BPE tokenizer trained on a corpus; encoder and decoder share it and differ in how they frame a text."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from junkdna.files import DataError
from junkdna.world.tokenizer import SPECIAL


def train_tokenizer(texts: Iterator[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE (Radford et al. 2019): any text can be written, so nothing is unknown; special tokens come first.

    Raises:
        DataError: the text is too short for so many tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocabulary:
        raise DataError(f"vocabulary: {vocabulary}: the corpus gives {tokenizer.get_vocab_size()} tokens")
    return tokenizer
