"""Tiny random models with a word tokenizer, and data sets in files, for the tests of training and evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MBartConfig,
    MBartForConditionalGeneration,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

from junkdna.catalog import Model, Task
from junkdna.files import sha256, write_json

WORDS = [f"w{i}" for i in range(40)] + ["question", "answer", ":", "A", "B", "C", "D", "."]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
MODEL = Model.model_validate({"source": {"type": "local", "path": "."}})


def tokenizer(encoder: bool) -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    forms = ("<s> $A </s>", "<s> $A </s> $B </s>") if encoder else ("<s> $A", "<s> $A $B")
    backend.post_processor = processors.TemplateProcessing(
        single=forms[0], pair=forms[1], special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def byte_tokenizer(texts: list[str], size: int = 500) -> PreTrainedTokenizerFast:
    """RoBERTa's kind of tokenizer, byte-level pairs, trained on texts."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet)
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def save_roberta(folder: Path, texts: list[str]) -> Path:
    """Save a small RoBERTa of 512 tokens with random weights and a tokenizer of these texts; returns its manifest."""
    torch.manual_seed(0)
    bytewise = byte_tokenizer(texts)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    sizes |= {"vocab_size": len(bytewise), "max_position_embeddings": 514, "type_vocab_size": 1}
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    RobertaForMaskedLM(RobertaConfig(**sizes, **ids)).save_pretrained(folder / "files")
    bytewise.save_pretrained(folder / "files")
    return write_manifest(folder)


def save_model(folder: Path, encoder: bool, tie: bool = False) -> Path:
    """Save a tiny model; returns its manifest."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    sizes |= {"vocab_size": len(SPECIAL) + len(WORDS), "initializer_range": 0.3}
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    if encoder:
        model = RobertaForMaskedLM(RobertaConfig(**sizes, **ids, max_position_embeddings=42, type_vocab_size=1))
    else:
        model = LlamaForCausalLM(
            LlamaConfig(**sizes, **ids, max_position_embeddings=64, num_key_value_heads=1, tie_word_embeddings=tie)
        )
    model.save_pretrained(folder / "files")
    tokenizer(encoder).save_pretrained(folder / "files")
    return write_manifest(folder)


def save_translator(folder: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Save a tiny mBART with a tokenizer that has language codes; returns its manifest."""
    torch.manual_seed(0)
    sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64}
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "init_std": 0.3}
    model = MBartForConditionalGeneration(MBartConfig(vocab_size=len(tokenizer), **sizes, **ids))
    model.save_pretrained(folder / "files")
    tokenizer.save_pretrained(folder / "files")
    return write_manifest(folder)


def write_manifest(folder: Path) -> Path:
    files = {
        p.relative_to(folder / "files").as_posix(): sha256(p) for p in (folder / "files").rglob("*") if p.is_file()
    }
    write_json(folder / "manifest.json", {"name": "tiny", "path": str(folder / "files"), "files": files})
    return folder / "manifest.json"


def save_rows(folder: Path, config: str, split: str, rows: list[dict[str, Any]]) -> Path:
    """Write a split of a data set; returns the data set's folder."""
    (folder / config).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / config / f"{split}-00000-of-00001.parquet")
    return folder


def task(kind: str, **changes: Any) -> Task:
    """A task on a data set with columns named as below."""
    base: dict[str, Any] = {"label": "Task", "kind": kind, "dataset": "data", "configs": ["default"]}
    training = {"learning_rate": 1e-2, "batch_size": 4, "steps": 12, "max_length": 16}
    base |= {
        "classification": {"text": ["sentence"], "n_classes": 2, "metric": "accuracy", "training": training},
        "regression": {"text": ["sentence"], "metric": "pearson", "training": training},
        "multiple_choice": {
            "prompt": "question : {question} answer :",
            "choices": "choices",
            "target": "answer",
            "scoring": "text",
            "metric": "accuracy",
            "chance": "uniform",
        },
        "generation": {"prompt": "question : {question} answer :", "target": "answer", "metric": "exact_match"},
        "perplexity": {"text": ["text"], "metric": "perplexity"},
        "translation": {
            "text": ["translation.en"],
            "target": "translation.ru",
            "languages": ["en_XX", "ru_RU"],
            "metric": "bleu",
            "max_new_tokens": 12,
            "training": training,
        },
    }[kind]
    return Task.model_validate(base | changes)
