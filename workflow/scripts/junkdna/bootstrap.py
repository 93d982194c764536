"""Resamples of examples, alike for all states that answered the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

REPLICATES = 1000
CHUNK = 2_000_000  # indices drawn at a time, 16 MB
SEED = 0


def resamples(group: str, ids: np.ndarray, shared: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Row numbers of REPLICATES resamples, in parts of shape (some, examples).

    Args:
        group: examples of different groups are different, whatever their ids.
        shared: bool per example, of strata that are drawn apart; one stratum if absent.
    """
    shared = np.ones(len(ids), bool) if shared is None else shared
    strata = [rows for rows in (np.flatnonzero(shared), np.flatnonzero(~shared)) if len(rows)]
    parts = [_drawn_rows(_digest(group, ids[rows]), len(rows), len(ids)) for rows in strata]
    for drawn in zip(*parts, strict=True):
        yield np.concatenate([rows[some] for rows, some in zip(strata, drawn, strict=True)], axis=1)


def sums(group: str, ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums of values over the resamples of one stratum, shape (..., examples) to (..., REPLICATES).

    Whole numbers of one byte are summed in single precision, which is exact below 2^24.
    """
    exact = values.dtype == np.uint8 and len(ids) * int(values.max(initial=0)) < 2**24
    counts = _drawn_counts(_digest(group, ids), len(ids), REPLICATES, np.float32 if exact else float)
    # As one matrix: NumPy would multiply a stack of them one by one, each too small to be fast.
    flat = values.reshape(-1, len(ids)).astype(counts.dtype) @ counts.T
    return flat.astype(float).reshape(*values.shape[:-1], -1)


def variance(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Of the values that are defined; `nanvar` takes twice as long, also where all are."""
    found = values.var(axis)
    return found if np.isfinite(found).all() else np.nanvar(values, axis)


def _digest(group: str, ids: np.ndarray) -> int:
    text = "\0".join([group, *ids.tolist()])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _drawn_rows(digest: int, n: int, n_examples: int) -> Iterator[np.ndarray]:
    """REPLICATES draws of n from n, in parts of shape (some, n), as many as ``n_examples`` at a time allow."""
    source, chunk = np.random.default_rng([SEED, digest]), max(1, CHUNK // n_examples)
    for start in range(0, REPLICATES, chunk):
        yield source.integers(0, n, (min(chunk, REPLICATES - start), n))


@lru_cache(maxsize=8)
def _drawn_counts(digest: int, n: int, replicates: int, dtype: type) -> np.ndarray:
    """How often each example is in each resample, shape (replicates, n); points of one task share it."""
    counts = [
        np.bincount((rows + n * np.arange(len(rows))[:, None]).ravel(), minlength=rows.size).reshape(-1, n)
        for rows in _drawn_rows(digest, n, n)
    ]
    return np.concatenate(counts).astype(dtype)
