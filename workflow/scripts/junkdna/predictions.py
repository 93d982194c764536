"""Predictions per example as parquet, in one schema for every kind of task."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from junkdna.files import atomic_path
from junkdna.metrics import METRICS

TEXTS = ("variant", "id", "prediction", "reference")
# Other numbers are few and shrink little; setting up their decompression takes longer than reading them.
COMPRESSION = dict.fromkeys((*TEXTS, "option_scores.list.element"), "zstd")


def none(metric: str) -> pd.DataFrame:
    """No predictions: of a state whose fine-tuning diverged."""
    named = (*TEXTS, "y_pred", "y_true", "option_scores", *METRICS[metric].columns)
    return pd.DataFrame(columns=list(dict.fromkeys(named)))


def write_predictions(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame of predictions; equal frames give equal bytes.

    Args:
        frame: columns of text (TEXTS), ``option_scores`` (a list of numbers or None), the others numbers.
    """
    scores = [None if value is None else [float(x) for x in value] for value in frame["option_scores"]]
    columns = {
        name: pa.array(scores, pa.list_(pa.float64()))
        if name == "option_scores"
        else pa.array(frame[name].tolist(), pa.string() if name in TEXTS else pa.float64())
        for name in frame.columns
    }
    keys = {"compression": COMPRESSION, "use_dictionary": [name for name in columns if name != "option_scores"]}
    with atomic_path(path) as aside:
        pq.write_table(pa.table(columns), aside, write_page_checksum=True, **keys)
