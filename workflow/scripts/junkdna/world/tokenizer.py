"""The word-level tokenizer of the organisms, as ordinary fast tokenizers of transformers."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from junkdna.world.languages import CODES
from junkdna.world.recipe import OrganismKind

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BOS, PAD, EOS, UNK, MASK = range(len(SPECIAL))


def token_ids(vocabulary: tuple[str, ...]) -> dict[str, int]:
    """Word -> id, the special tokens first."""
    return {word: i for i, word in enumerate((*SPECIAL, *vocabulary))}


def make_tokenizer(vocabulary: tuple[str, ...], kind: OrganismKind, max_length: int) -> PreTrainedTokenizerFast:
    """Build the tokenizer: words and punctuation marks, each one token."""
    backend = Tokenizer(models.WordLevel(token_ids(vocabulary), unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return framed(backend, kind, max_length)


def framed(backend: Tokenizer, kind: OrganismKind, max_length: int) -> PreTrainedTokenizerFast:
    """A tokenizer of transformers from a vocabulary whose first entries are ``SPECIAL``.

    The encoder's frames one or two texts, ``<s> a </s> b </s>``. The decoder's writes ``<s>`` in front and
    nothing behind, so that a prompt can be continued. The seq2seq's frames nothing: whoever uses it knows the language,
    whose code stands behind a text.
    """
    frames = {"encoder": ("<s> $A </s>", "<s> $A </s> $B </s>"), "decoder": ("<s> $A", "<s> $A $B")}
    if kind in frames:
        single, pair = frames[kind]
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
        padding_side="left" if kind == "decoder" else "right",
        model_input_names=["input_ids", "attention_mask"],
        **({"extra_special_tokens": list(CODES.values())} if kind == "seq2seq" else {}),
    )
