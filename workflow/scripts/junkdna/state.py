"""Compressed states: the smallest faithful description of what a method did to a checkpoint, and the way back.

A state is one safetensors file whose metadata holds a manifest: base model and its digests, method, level, params, the
method's rule, zeros per weight and the sha256 of the mask. The mask is made again from base and rule, and checked.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from junkdna.catalog import Model
from junkdna.checkpoint import Checkpoint, prunable
from junkdna.files import DataError, atomic_path, read_json
from junkdna.levels import parse
from junkdna.pruning.ranks import rank_of, thresholds

SCHEMA = 1
INDEX_STEPS = 1000  # the finest sparsity that levels.py admits


@dataclass(frozen=True)
class State:
    """A compressed state; ``manifest`` holds plain JSON values, ``tensors`` what a method cannot say in those."""

    manifest: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(f"junkdna.{self.manifest['module']}")


def base_of(manifest: Path, model: Model) -> tuple[dict[str, Any], Checkpoint, list[str]]:
    """A source manifest's content, its checkpoint, and the names of the prunable weights."""
    source = read_json(manifest)
    checkpoint = Checkpoint(source["path"])
    return source, checkpoint, prunable(checkpoint.infos, model.prunable_include, model.prunable_exclude)


def index_magnitudes(checkpoint: Checkpoint, names: list[str]) -> dict[str, Any]:
    """Global thresholds of every sparsity k/1000, in one go.

    Returns:
        ``{"count": weights, "thresholds": {rank: [rank, bits, ties]}}``, see :mod:`junkdna.pruning.ranks`.
    """
    count = checkpoint.numel(names)
    ranks = sorted({rank_of(Fraction(step, INDEX_STEPS), count) for step in range(INDEX_STEPS + 1)})
    found = thresholds(lambda: checkpoint.tensors(names), ranks)
    return {"count": count, "thresholds": {str(t.rank): [t.rank, t.bits, t.ties] for t in found}}


def mask_digest(masks: Iterable[tuple[str, torch.Tensor]]) -> tuple[str, list[int]]:
    """sha256 over the names and packed bits of masks, and the zeros of each."""
    digest, zeros = hashlib.sha256(), []
    for name, mask in masks:
        digest.update(name.encode() + np.packbits(mask.numpy()).tobytes())
        zeros.append(mask.numel() - int(mask.sum()))
    return digest.hexdigest(), zeros


def create(
    source: dict[str, Any],
    checkpoint: Checkpoint,
    names: list[str],
    *,
    method: str,
    module: str,
    level: str,
    params: dict[str, Any],
    index: dict[str, Any] | None = None,
) -> State:
    """Compress a checkpoint.

    Args:
        source: manifest of the base model.
        names: prunable weights, sorted.
        index: of global magnitudes, for the methods that read it.

    Raises:
        DataError: no weight is prunable, or one cannot be compressed at this level.
        AssertionError: the mask does not have exactly the zeros that the method set out to make.
    """
    if not names:
        raise DataError(f"{checkpoint.folder}: no prunable weight; see `prunable_include` and `prunable_exclude`")
    code, parsed = importlib.import_module(f"junkdna.{module}"), parse(level)
    rule = code.compress(checkpoint, names, parsed, params, index)
    masks = code.masks(checkpoint, names, parsed, params, rule)
    digest, zeros = mask_digest(tqdm(masks, total=len(names), desc=f"{method} {level}", unit="weight"))
    assert sum(zeros) == rule["zeros"], f"{method} {level}: {sum(zeros)} zeros, {rule['zeros']} wanted"
    weights = checkpoint.numel(names)
    manifest = {
        "schema": SCHEMA,
        "base": {"name": source["name"], "files": _weights(source)},
        "method": method,
        "module": module,
        "level": level,
        "params": params,
        "rule": rule,
        "names_sha256": hashlib.sha256("\n".join(names).encode()).hexdigest(),
        "weights": weights,
        "zeros": zeros,
        "sparsity": sum(zeros) / weights,
        "mask_sha256": digest,
    }
    return State(manifest, {})


def _weights(source: dict[str, Any]) -> dict[str, str]:
    return {file: digest for file, digest in source["files"].items() if file.endswith(".safetensors")}


def save(state: State, path: Path) -> None:
    """Write a state; equal states give equal bytes."""
    with atomic_path(path) as aside:
        save_file(state.tensors, aside, metadata={"manifest": json.dumps(state.manifest, sort_keys=True)})


def load(path: Path) -> State:
    """Read a state.

    Raises:
        DataError: the file is truncated, no state, or of another schema.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            manifest = json.loads(handle.metadata()["manifest"])
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: no readable compressed state ({error}); delete it so that it is made again"
        ) from error
    if manifest.get("schema") != SCHEMA:
        raise DataError(f"{path}: schema {manifest.get('schema')}, this version reads {SCHEMA}; delete it")
    return State(manifest, tensors)


def masks(
    state: State, source: dict[str, Any], checkpoint: Checkpoint, names: list[str]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Make a state's masks again from the base (True = keep), in the order of ``names``.

    Raises:
        DataError: the base is not the one that was compressed, or the masks differ from the recorded digest (raised
            after the last mask).
    """
    manifest = state.manifest
    wanted = hashlib.sha256("\n".join(names).encode()).hexdigest()
    if _weights(source) != manifest["base"]["files"] or wanted != manifest["names_sha256"]:
        raise DataError(
            f"state of {manifest['base']['name']} ({manifest['method']} {manifest['level']}): {checkpoint.folder} is "
            "not the base it was made from (other files or prunable weights); compress again"
        )
    digest = hashlib.sha256()
    level = parse(manifest["level"])
    for name, mask in state.module.masks(checkpoint, names, level, manifest["params"], manifest["rule"]):
        digest.update(name.encode() + np.packbits(mask.numpy()).tobytes())
        yield name, mask
    if digest.hexdigest() != manifest["mask_sha256"]:
        raise DataError(f"state of {manifest['base']['name']}: the mask differs from the recorded one; compress again")
