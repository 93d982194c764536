"""From shards of text to sequences of token ids: documents in a seeded order, packed without padding, masked."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from junkdna.files import DataError, read_json
from junkdna.text.recipe import TextModel
from junkdna.world.tokenizer import BOS, EOS, MASK, SPECIAL

IGNORED = -100  # label of what is not predicted, as everywhere in transformers
OPENED: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open, ".txt": open}
CHUNK = 100  # documents encoded at a time


def documents(manifest: Path) -> Iterator[str]:
    """The documents of a fetched corpus, shard by shard; their paragraphs are lines.

    Raises:
        DataError: the manifest or a shard cannot be read.
    """
    found = read_json(manifest)
    for name in sorted(found["files"]):
        file = Path(found["path"], name)
        try:
            with OPENED[file.suffix](file, "rt", encoding="utf-8") as lines:
                for text, document in groupby(lines, key=lambda line: bool(line.strip())):
                    if text:
                        yield "".join(document).strip()
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            raise DataError(f"{file}: unreadable ({error}); fetch the corpus again") from error


def encode(texts: Iterator[str], tokenizer: Tokenizer, kind: str) -> list[np.ndarray]:
    """Token ids of each document, uint16; the decoder's in ``<s>`` and ``</s>``, the encoder's with ``</s>`` behind."""
    front = [BOS] if kind == "decoder" else []
    tokenizer.encode_special_tokens = True  # a "<s>" in a text is three characters
    found = []
    while chunk := list(islice(texts, CHUNK)):
        encodings = tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
        found += [np.array([*front, *e.ids, EOS], dtype=np.uint16) for e in encodings]
    return found


def pack(encoded: list[np.ndarray], part: TextModel, seed: int) -> np.ndarray:
    """All sequences of a training in their order, uint16 of shape (steps * rows, sequence).

    Documents follow each other in a seeded order, a new one for each pass over them, and are cut into sequences
    wherever these end, so that each token of a pass is in one sequence. The sequences are then shuffled: a book is many
    of them. An encoder's have ``<s>`` and ``</s>`` around them (RoBERTa's FULL-SENTENCES, Liu et al. 2019).

    Raises:
        DataError: there is no text.
    """
    training = part.training
    rows, frame = training.steps * training.rows, 2 if part.kind == "encoder" else 0
    needed = rows * (training.sequence - frame)
    total = sum(map(len, encoded))
    if not total:
        raise DataError("corpus: no documents in its shards")
    rng = np.random.default_rng(seed)
    stream = [encoded[i] for _ in range(-(-needed // total)) for i in rng.permutation(len(encoded))]
    packed = rng.permutation(np.concatenate(stream)[:needed].reshape(rows, -1))
    return np.pad(packed, ((0, 0), (1, 1)), constant_values=((0, 0), (BOS, EOS))) if frame else packed


def mask(row: np.ndarray, share: float, vocabulary: int, seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Corrupted input and labels of sequence ``number``: of the chosen tokens 80 % become the mask, 10 % any token.

    BERT's corruption (Devlin et al. 2019), drawn anew for each sequence of a training (RoBERTa's dynamic masking) and
    from (seed, number) alone, so that a resumed training sees the same. Special tokens are never chosen.
    """
    rng = np.random.default_rng([seed, number])
    chosen = (rng.random(len(row)) < share) & (row >= len(SPECIAL))
    fate, other = rng.random(len(row)), rng.integers(len(SPECIAL), vocabulary, len(row))
    inputs = np.where(chosen & (fate < 0.8), MASK, np.where(chosen & (fate >= 0.9), other, row))
    return inputs, np.where(chosen, row, IGNORED)


class Sequences(torch.utils.data.Dataset):
    """Packed sequences with their labels: the next tokens in the causal steps of a training, then the masked ones."""

    def __init__(self, rows: np.ndarray, part: TextModel, vocabulary: int, seed: int) -> None:
        self.rows, self.share, self.vocabulary, self.seed = rows, part.masked, vocabulary, seed
        self.causal = part.causal_steps * part.training.rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        row = self.rows[number].astype(np.int64)
        if number < self.causal:
            inputs, labels = row, np.append(row[1:], IGNORED)
        else:
            inputs, labels = mask(row, self.share, self.vocabulary, self.seed, number)
        return {"input_ids": torch.from_numpy(inputs), "labels": torch.from_numpy(labels)}
