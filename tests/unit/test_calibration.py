"""Calibration sequences from parquet, gzipped JSON lines and plain text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny

from junkdna import calibration, models
from junkdna.catalog import CalibrationData
from junkdna.files import DataError

# Document d has 4 + 3 d words, which say where they stand.
DOCUMENTS = [" ".join(f"w{(7 * d + i) % 40}" for i in range(4 + 3 * d)) for d in range(12)]
TOKENIZER = tiny.tokenizer(encoder=False)
SAMPLINGS = ["long", "joined", "whole"]


def write(folder: Path, form: str, texts: list[str | None] = DOCUMENTS, split: str = "train") -> Path:
    (folder / "default").mkdir(parents=True, exist_ok=True)
    file = folder / "default" / f"{split}-00000"
    if form == "parquet":
        pq.write_table(pa.table({"text": texts, "url": [""] * len(texts)}), file.with_suffix(".parquet"))
    elif form == "json.gz":
        with gzip.open(folder / "default" / f"c4-{split}.00000-of-01024.json.gz", "wt", encoding="utf-8") as lines:
            lines.writelines(json.dumps({"text": text, "url": ""}) + "\n" for text in texts)
    else:
        file.with_suffix(".txt").write_text("\n\n".join(texts), encoding="utf-8")
    return folder


def spec(**changes: Any) -> CalibrationData:
    return CalibrationData(**({"dataset": "data", "n_samples": 6, "seq_len": 9} | changes))


def draw(folder: Path, seed: int = 0, longest: int = 64, **changes: Any) -> list[list[int]]:
    return calibration.sequences(TOKENIZER, folder, spec(**changes), longest, seed)


def ids(text: str) -> list[int]:
    return TOKENIZER(text)["input_ids"]


def within(part: list[int], whole: list[int]) -> bool:
    return any(whole[i : i + len(part)] == part for i in range(len(whole)))


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("form", ["parquet", "json.gz", "txt"])
def test_every_form_gives_the_same(tmp_path: Path, form: str, sampling: str) -> None:
    folders = [write(tmp_path / name, name) for name in {form, "parquet"}]
    found = [draw(folder, sampling=sampling) for folder in folders]
    assert all(sequences == found[0] for sequences in found) and len(found[0]) == 6
    assert calibration.documents(folders[0], spec()) == DOCUMENTS


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_seed_decides(tmp_path: Path, sampling: str) -> None:
    folder = write(tmp_path, "parquet")
    assert draw(folder, 3, sampling=sampling) == draw(folder, 3, sampling=sampling)
    assert draw(folder, 3, sampling=sampling) != draw(folder, 4, sampling=sampling)


def test_long_takes_windows_of_documents_that_are_long_enough(tmp_path: Path) -> None:
    folder = write(tmp_path, "parquet")
    found = draw(folder, n_samples=200, seq_len=30)
    documents = [ids(text) for text in DOCUMENTS]
    sources = [[d for d, whole in enumerate(documents) if within(sequence, whole)] for sequence in found]
    assert all(len(sequence) == 30 for sequence in found)
    # Documents 9 to 11 have 32, 35 and 38 tokens with the one that begins them; each window of each occurs.
    assert {d for of in sources for d in of} == {9, 10, 11} and all(sources)
    windows = {tuple(whole[i : i + 30]) for whole in documents[9:] for i in range(len(whole) - 29)}
    assert set(map(tuple, found)) == windows


def test_joined_takes_windows_of_all_documents(tmp_path: Path) -> None:
    folder = write(tmp_path, "parquet")
    whole = ids("\n\n".join(DOCUMENTS))
    found = draw(folder, n_samples=50, seq_len=60, sampling="joined")
    assert all(len(sequence) == 60 and within(sequence, whole) for sequence in found)
    assert len({tuple(sequence) for sequence in found}) > 30
    other = draw(folder, n_samples=50, seq_len=60, sampling="joined", separator=" : ")
    assert all(within(sequence, ids(" : ".join(DOCUMENTS))) for sequence in other) and other != found


def test_whole_takes_documents_as_they_are_and_none_twice(tmp_path: Path) -> None:
    folder = write(tmp_path, "parquet")
    found = draw(folder, n_samples=12, seq_len=20, sampling="whole")
    assert sorted(found) == sorted(ids(text)[:20] for text in DOCUMENTS)
    assert found != [ids(text)[:20] for text in DOCUMENTS]
    assert len({len(sequence) for sequence in found}) > 4


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_sequence_is_no_longer_than_the_model_takes(tmp_path: Path, sampling: str) -> None:
    found = draw(write(tmp_path, "parquet"), longest=5, seq_len=2048, sampling=sampling)
    assert {len(sequence) for sequence in found} == {5}


def test_draw_reads_what_the_model_can_take(tmp_path: Path) -> None:
    tiny.save_model(tmp_path / "model", encoder=True)
    folder = write(tmp_path / "data", "txt", [" ".join(DOCUMENTS)])
    found = calibration.draw(tmp_path / "model/files", folder, spec(seq_len=2048), 0)
    config = models.load_config(tmp_path / "model/files")
    assert {len(sequence) for sequence in found} == {40} and config.max_position_embeddings == 42


def test_empty_texts_and_other_splits_do_not_count(tmp_path: Path) -> None:
    folder = write(tmp_path, "parquet", ["", "w1 w2", None, "  ", "w3\n"])
    write(tmp_path, "parquet", ["w9"], split="validation")
    assert calibration.documents(folder, spec()) == ["w1 w2", "w3"]
    assert calibration.documents(folder, spec(split="validation")) == ["w9"]


def test_errors_name_the_key_and_the_value(tmp_path: Path) -> None:
    folder = write(tmp_path, "parquet")
    with pytest.raises(
        DataError, match=r"calibration\.seq_len: 50: no document of 12 is that long; .*`sampling: joined`"
    ):
        draw(folder, seq_len=50)
    with pytest.raises(DataError, match=r"calibration\.seq_len: 500: "):
        draw(folder, seq_len=500, longest=500, sampling="joined")
    with pytest.raises(DataError, match=r"calibration\.n_samples: 13; there are 12 documents"):
        draw(folder, n_samples=13, sampling="whole")
    with pytest.raises(
        DataError, match=r"train-00000\.parquet: calibration\.text: no column 'sentence'; there are \['text'"
    ):
        draw(folder, text="sentence")
    with pytest.raises(
        DataError, match=r"calibration\.split: 'test': no text; the files there are train-00000\.parquet"
    ):
        draw(folder, split="test")
    with pytest.raises(DataError, match=r"calibration\.split: 'train': no text; the files there are none"):
        draw(folder, config="other")


def test_a_missing_key_of_json_lines_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"json\.gz: calibration\.text: a line has no column 'sentence'"):
        draw(write(tmp_path, "json.gz"), text="sentence")


def test_a_truncated_file_names_the_file(tmp_path: Path) -> None:
    for form in ("json.gz", "parquet"):
        folder = write(tmp_path / form, form)
        (file,) = (folder / "default").iterdir()
        file.write_bytes(file.read_bytes()[:-20])
        with pytest.raises(DataError, match=rf"{file.name}: unreadable .*; fetch the data set again"):
            draw(folder)
