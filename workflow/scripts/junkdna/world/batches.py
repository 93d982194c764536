"""Pre-training batches: packed rows for the decoder, corrupted sentences for the encoder, pairs for the seq2seq."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from junkdna.files import DataError
from junkdna.world.corpus import Corpus
from junkdna.world.facts import World
from junkdna.world.languages import Languages, Pairs
from junkdna.world.recipe import MaskingRecipe, TrainingRecipe
from junkdna.world.tokenizer import BOS, EOS, MASK, PAD, token_ids


class Batch(NamedTuple):
    """Tensors of shape (rows, tokens): input ids, targets of each position (-100: none) and their weights.

    ``documents`` numbers the document of each token in its row where several share it. ``decoder_inputs`` is what an
    encoder-decoder has written when it chooses a target.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    documents: torch.Tensor | None = None
    decoder_inputs: torch.Tensor | None = None


class DecoderBatches:
    """Rows of whole documents, each ``<s> words </s>``, one after the other; targets are the next tokens."""

    def __init__(self, world: World, corpus: Corpus, training: TrainingRecipe) -> None:
        self._ids = token_ids(world.vocabulary)
        self._corpus, self._training = corpus, training

    def draw(self) -> list[Batch]:
        """The next batch."""
        shape = (self._training.rows, self._training.tokens + 1)
        tokens = np.full(shape, PAD, dtype=np.int64)
        weights = np.zeros(shape, dtype=np.float32)
        documents = np.zeros(shape, dtype=np.int64)
        pending: list = []
        for row in range(shape[0]):
            end = 0
            while True:
                document = pending.pop() if pending else self._corpus.draw()
                length = len(document.words) + 2
                if length > shape[1]:
                    raise DataError(f"training.tokens: {self._training.tokens} is less than a document's {length}")
                if end + length > shape[1]:
                    # A document that does not fit opens the next row.
                    pending.append(document)
                    break
                tokens[row, end : end + length] = [BOS, *(self._ids[word] for word in document.words), EOS]
                weights[row, end + 1 : end + length] = 1.0
                documents[row, end:] += 1
                for i in document.focus:
                    weights[row, end + 1 + i] = self._training.answer_weight
                end += length
        targets = np.where(weights > 0, tokens, -100)
        shifted = (tokens[:, :-1], targets[:, 1:], weights[:, 1:], documents[:, :-1])
        return [Batch(*(torch.from_numpy(array.copy()) for array in shifted))]


class EncoderBatches:
    """Sentences and pairs, ``<s> a [</s> b] </s>``, corrupted; targets are the selected words."""

    def __init__(
        self, world: World, corpus: Corpus, training: TrainingRecipe, masking: MaskingRecipe, seed: int
    ) -> None:
        self._ids = token_ids(world.vocabulary)
        self._corpus, self._training, self._masking = corpus, training, masking
        self._rng = np.random.default_rng(seed)
        # Row i of the table lists the words that may replace word i; a word without a class gets the mask.
        width = max(len(others) for others in world.classes.values())
        self._others = np.full((len(self._ids), width), MASK, dtype=np.int64)
        self._n_others = np.ones(len(self._ids), dtype=np.int64)
        for word, others in world.classes.items():
            self._others[self._ids[word], : len(others)] = [self._ids[other] for other in others]
            self._n_others[self._ids[word]] = len(others)

    def draw(self) -> list[Batch]:
        """The next batch, as a half of short sentences and one of long ones: little padding."""
        documents = sorted((self._corpus.draw() for _ in range(self._training.rows)), key=lambda d: len(d.words))
        middle = len(documents) // 2
        return [self._corrupt(documents[:middle]), self._corrupt(documents[middle:])]

    def _corrupt(self, documents: list) -> Batch:
        shape = (len(documents), len(documents[-1].words) + 2)
        tokens = np.full(shape, PAD, dtype=np.int64)
        select = np.zeros(shape)
        for row, document in enumerate(documents):
            length = len(document.words)
            tokens[row, : length + 2] = [BOS, *(self._ids[word] for word in document.words), EOS]
            select[row, 1 : length + 1] = self._masking.other
            select[row, [i + 1 for i in document.focus]] = self._masking.focus
        select[tokens <= EOS] = 0.0
        chosen = self._rng.random(shape) < select
        how = self._rng.random(shape)
        other = self._others[tokens, (self._rng.random(shape) * self._n_others[tokens]).astype(np.int64)]
        swapped = chosen & (how >= self._masking.mask) & (how < self._masking.mask + self._masking.swap)
        inputs = np.where(chosen & (how < self._masking.mask), MASK, np.where(swapped, other, tokens))
        return Batch(
            torch.from_numpy(inputs),
            torch.from_numpy(np.where(chosen, tokens, -100)),
            torch.from_numpy(chosen.astype(np.float32)),
        )


class PairBatches:
    """Texts to read and to write; the decoder starts with the code of the language that it writes."""

    def __init__(self, languages: Languages, pairs: Pairs, training: TrainingRecipe) -> None:
        self._ids = token_ids(languages.vocabulary)
        self._pairs, self._training = pairs, training

    def draw(self) -> list[Batch]:
        """The next batch, as a half of short sentences and one of long ones: little padding."""
        pairs = sorted((self._pairs.draw() for _ in range(self._training.rows)), key=lambda pair: len(pair[1]))
        middle = len(pairs) // 2
        return [self._padded(half) for half in (pairs[:middle], pairs[middle:])]

    def _padded(self, pairs: list[tuple[list[str], list[str]]]) -> Batch:
        sources, targets = (
            [[self._ids[word] for word in words] for words in side] for side in zip(*pairs, strict=True)
        )
        if max(map(len, sources + targets)) > self._training.tokens:
            raise DataError(f"training.tokens: {self._training.tokens} is less than a document's words")
        wanted = _pad(targets, -100)
        started = _pad([[ids[-1], *ids[:-1]] for ids in targets], PAD)
        return Batch(_pad(sources, PAD), wanted, (wanted >= 0).float(), decoder_inputs=started)


def _pad(sequences: list[list[int]], value: int) -> torch.Tensor:
    longest = max(map(len, sequences))
    return torch.tensor([ids + [value] * (longest - len(ids)) for ids in sequences])
