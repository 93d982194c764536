"""Corrupted and truncated files, and a cell that raises: each is named in its own log, the other cells complete."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from provoke import RANDOM, TUNED, check_whole, completes, damage, flipped, remove, run, truncated

from junkdna.answers import OPTIONS, TEXT, Reader
from junkdna.files import DataError
from junkdna.metrics import METRICS
from junkdna.predictions import write_predictions
from micro import Project

SLICE, BLOCKS = "organism-decoder/magnitude_slice/0.30to0.40", "organism-decoder/magnitude_nm/2of4"
DENSE = "evaluate/organism-decoder/dense/dense/none/closed_book"
CODE = "workflow/scripts/junkdna/pruning/random.py"
RAISES = '\n\ndef compress(*_):\n    raise RuntimeError("this cell raises")\n'


def told(project: Project, said: str, job: str, *expected: str) -> None:
    """Snakemake names the log of the failed job, and the log says what is wrong."""
    log = f"results/logs/{job}.log"
    assert log in said
    text = (project.root / log).read_text()
    assert all(part in text for part in expected), text[-2000:]


def flipped_score(content: bytes) -> bytes:
    """One bit in the middle of the options' scores; the footer has no checksum."""
    group = pq.read_metadata(io.BytesIO(content)).row_group(0)
    column = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.startswith(OPTIONS))
    start, end = column.data_page_offset, column.data_page_offset + column.total_compressed_size
    return content[:start] + flipped(content[start:end]) + content[end:]


def test_each_fault_is_named_and_the_rest_completes(finished: Project, done: Project) -> None:
    results, whole = done.root / "results", (done.root / CODE).read_text()
    (done.root / CODE).write_text(whole + RAISES)
    damaged = {
        f"compress/{SLICE}/state.safetensors": truncated,
        f"compress/{BLOCKS}/state.safetensors": flipped,
        f"finetune/{TUNED}/0/model.safetensors": flipped,
        f"finetune/{TUNED}/1/manifest.json": truncated,
    }
    for file, change in damaged.items():
        damage(results / file, change)
    remove(done, f"evaluate/{SLICE}/none/options", f"evaluate/{BLOCKS}/none/options", DENSE)
    remove(done, *(f"evaluate/{TUNED}/{seed}/lexical" for seed in (0, 1)))
    status, said = run(done, "--keep-going", "all_figures")
    assert status != 0
    told(done, said, "compress/organism-decoder/random/0.50", "Traceback", "RuntimeError: this cell raises")
    told(done, said, f"evaluate/{SLICE}/none/options", "state.safetensors: no readable compressed state", "delete it")
    told(done, said, f"evaluate/{BLOCKS}/none/options", "state")
    told(done, said, f"evaluate/{TUNED}/0/lexical", "model.safetensors: sha256", "delete it")
    told(done, said, f"evaluate/{TUNED}/1/lexical", "manifest.json: cannot be read as JSON", "delete it")
    for cell in (f"evaluate/{SLICE}/none/options", f"evaluate/{BLOCKS}/none/options", f"evaluate/{TUNED}/0/lexical"):
        assert not list((results / cell).glob("*"))
    assert len(list((results / DENSE).iterdir())) == 3, "a cell without a fault completes"

    # What the messages say to do; and two faults more, in files that only the tables read.
    (done.root / CODE).write_text(whole)
    for file in damaged:
        (results / file).unlink()
    check_whole(done, finished)
    more = {f"{RANDOM.replace('random/0.50', 'magnitude/0.30')}/metrics.json": truncated}
    more[f"evaluate/{TUNED.replace('sparse', 'dense_frozen')}/1/lexical/predictions.parquet"] = flipped_score
    for file, change in more.items():
        damage(results / file, change)
    status, said = run(done, "--keep-going", "all_figures")
    assert status != 0
    told(done, said, "tables/asked", "metrics.json: cannot be read as JSON", "delete it")
    told(done, said, "tables/trained", "predictions.parquet: cannot be read as parquet", "delete")
    for file in more:
        (results / file).unlink()
    completes(done, finished)


def predictions(path: Path) -> pd.DataFrame:
    return pd.DataFrame(Reader().read(path, "task", METRICS["f1"], [TEXT, "y_pred", OPTIONS, "exact_match"])["all"])


def test_a_flipped_bit_of_predictions_is_seen(tmp_path: Path) -> None:
    """Wherever it lies in the columns that are read: their pages carry checksums."""
    texts = [f"answer {i * 7919 % 104729}" for i in range(300)]
    frame = pd.DataFrame({"variant": "all", "id": [f"i{i}" for i in range(300)], "prediction": texts})
    frame = frame.assign(reference=texts, y_pred=np.nan, y_true=np.nan, option_scores=None)
    write_predictions(tmp_path / "p.parquet", frame.assign(exact_match=1.0, f1=1.0))
    content = (tmp_path / "p.parquet").read_bytes()
    first = predictions(tmp_path / "p.parquet")
    footer, seen = len(content) - 8 - int.from_bytes(content[-8:-4], "little"), 0
    for place in range(4, footer, 5):
        (tmp_path / "p.parquet").write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        try:
            assert predictions(tmp_path / "p.parquet").equals(first), place
        except DataError:
            seen += 1
    assert seen > 100
    (tmp_path / "p.parquet").write_bytes(content[:-1])
    with pytest.raises(DataError, match="cannot be read as parquet"):
        predictions(tmp_path / "p.parquet")
