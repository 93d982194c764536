"""Calibration sequences: what the calibrated methods see of a model's language."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from junkdna import models
from junkdna.catalog import CalibrationData
from junkdna.files import DataError

log = logging.getLogger(__name__)

MOST_DRAWS = 1000  # documents drawn for one sequence, before it is said that none is long enough


def draw(model: Path, data: Path, spec: CalibrationData, seed: int) -> list[list[int]]:
    """The sequences of one calibration seed, for the model and the data set in these folders; see :func:`sequences`."""
    tokenizer = models.load_tokenizer(model)
    return sequences(tokenizer, data, spec, models.max_tokens(models.load_config(model), tokenizer), seed)


def documents(folder: Path, spec: CalibrationData) -> list[str]:
    """The texts of a data set's configuration and split: parquet, gzipped JSON lines, or plain text.

    In a plain text file an empty line ends a document.

    Raises:
        DataError: there is no such file, or no such column, or a file cannot be read.
    """
    found = sorted(file for file in (folder / spec.config).glob(f"*{spec.split}*") if file.is_file())
    texts = [text.strip() for file in found for text in _read(file, spec.text) if text]
    texts = [text for text in texts if text]
    if not texts:
        raise DataError(
            f"{folder / spec.config}: calibration.split: {spec.split!r}: no text; the files there are "
            f"{', '.join(sorted(p.name for p in (folder / spec.config).glob('*'))) or 'none'}"
        )
    return texts


def _read(file: Path, column: str) -> Iterator[str | None]:
    try:
        yield from _texts(file, column)
    except DataError:
        raise
    except KeyError as error:
        raise DataError(f"{file}: calibration.text: a line has no column {column!r}") from error
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{file}: unreadable ({error}); fetch the data set again") from error


def _texts(file: Path, column: str) -> Iterator[str | None]:
    if file.suffix == ".parquet":
        parquet = pq.ParquetFile(file)
        if column not in parquet.schema_arrow.names:
            raise DataError(f"{file}: calibration.text: no column {column!r}; there are {parquet.schema_arrow.names}")
        yield from parquet.read(columns=[column])[column].to_pylist()
    elif file.name.endswith(".json.gz"):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield from (json.loads(line)[column] for line in lines)
    elif file.suffix == ".txt":
        yield from file.read_text(encoding="utf-8").split("\n\n")


def sequences(
    tokenizer: PreTrainedTokenizerBase, folder: Path, spec: CalibrationData, longest: int, seed: int
) -> list[list[int]]:
    """Draw ``spec.n_samples`` sequences of token ids.

    `long`: a random window of a random document that is long enough, as the reference draws from C4. `joined`: a random
    window of all documents joined. `whole`: random documents as they are, cut at ``seq_len``, none twice.

    Args:
        longest: tokens that the model can take; a longer ``seq_len`` is cut to it.

    Raises:
        DataError: the documents do not give as many sequences of that length.
    """
    texts, length = documents(folder, spec), min(spec.seq_len, longest)
    rng = np.random.default_rng(seed)
    if spec.sampling == "whole":
        if len(texts) < spec.n_samples:
            raise DataError(f"{folder}: calibration.n_samples: {spec.n_samples}; there are {len(texts)} documents")
        chosen = [texts[i] for i in rng.permutation(len(texts))[: spec.n_samples]]
        return [ids[:length] for ids in tokenizer(chosen, verbose=False)["input_ids"]]
    if spec.sampling == "joined":
        texts = [spec.separator.join(texts)]
    known: dict[int, list[int]] = {}
    found = []
    while len(found) < spec.n_samples:
        for _ in range(MOST_DRAWS):
            number = int(rng.integers(len(texts)))
            if number not in known:
                known[number] = tokenizer(texts[number], verbose=False)["input_ids"]
            ids = known[number]
            if len(ids) >= length:
                break
        else:
            raise DataError(
                f"{folder}: calibration.seq_len: {length}: no document of {len(texts)} is that long; choose a shorter "
                "one, or `sampling: joined`"
            )
        start = int(rng.integers(len(ids) - length + 1))
        found.append(ids[start : start + length])
    log.info("%d calibration sequences of %d tokens from %d texts of %s", len(found), length, len(texts), folder)
    return found
