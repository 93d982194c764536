"""The word-level tokenizer of the organisms, as ordinary fast tokenizers of transformers."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from junkdna.world.recipe import OrganismKind

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BOS, PAD, EOS, UNK, MASK = range(len(SPECIAL))


def token_ids(vocabulary: tuple[str, ...]) -> dict[str, int]:
    """Word -> id, the special tokens first."""
    return {word: i for i, word in enumerate((*SPECIAL, *vocabulary))}


def make_tokenizer(vocabulary: tuple[str, ...], kind: OrganismKind, max_length: int) -> PreTrainedTokenizerFast:
    """Build the tokenizer: words and punctuation marks, each one token.

    The encoder's frames one or two texts, ``<s> a </s> b </s>``. The decoder's writes ``<s>`` in front and
    nothing behind, so that a prompt can be continued.
    """
    backend = Tokenizer(models.WordLevel(token_ids(vocabulary), unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    single, pair = ("<s> $A </s>", "<s> $A </s> $B </s>") if kind == "encoder" else ("<s> $A", "<s> $A $B")
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=max_length,
        padding_side="right" if kind == "encoder" else "left",
        model_input_names=["input_ids", "attention_mask"],
    )
