"""Compressed states: the smallest faithful description of what a method did to a checkpoint, and the way back.

A state is one safetensors file whose metadata holds a manifest: base model and its digests, method, level, params, the
method's rule, zeros per weight and the sha256 of mask and tensors. Mask and weights are made again from base, rule and
tensors, and checked.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
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
from junkdna.checkpoint import Base, Checkpoint, prunable
from junkdna.files import DataError, atomic_path, read_json, sha256
from junkdna.levels import parse
from junkdna.pruning.ranks import rank_of, thresholds

SCHEMA = 2
INDEX_STEPS = 1000  # the finest sparsity that levels.py admits


@dataclass(frozen=True)
class State:
    """A compressed state; ``manifest`` holds plain JSON values, ``tensors`` what a method cannot say in those."""

    manifest: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(f"junkdna.{self.manifest['module']}")

    @property
    def removes(self) -> bool:
        """Whether the method removes weights; a quantization does not."""
        return hasattr(self.module, "masks")


# Of a fine-tuning that diverged, which has no weights: no reader takes it for a state, as it has no schema.
NOTHING = State({"diverged": True}, {})


@dataclass(frozen=True)
class Restored:
    """One weight of a compressed model, in the checkpoint's layout.

    Attributes:
        mask: True = keep; None if the method removes none.
        values: new values; None if those that stay are the base's.
    """

    name: str
    mask: torch.Tensor | None
    values: torch.Tensor | None


def base_of(
    manifest: Path, model: Model, weights: Path | None = None, heads: bool = False
) -> tuple[dict[str, Any], Base]:
    """A source manifest's content, and its checkpoint with the prunable weights.

    Args:
        weights: a fine-tuned state of the model, to take in the place of the pre-trained weights.
        heads: its head is prunable too.
    """
    source = read_json(manifest)
    checkpoint = Checkpoint(source["path"], weights)
    if weights is not None:
        source = source | {"files": {weights.name: sha256(weights)}}
    names = prunable(checkpoint.infos, model.prunable_include, model.prunable_exclude, heads)
    return source, Base(checkpoint, names)


def index_magnitudes(base: Base) -> dict[str, Any]:
    """Global thresholds of every sparsity k/1000, in one go.

    Returns:
        ``{"count": weights, "thresholds": {rank: [rank, bits, ties]}}``, see :mod:`junkdna.pruning.ranks`.
    """
    count = base.checkpoint.numel(base.names)
    ranks = sorted({rank_of(Fraction(step, INDEX_STEPS), count) for step in range(INDEX_STEPS + 1)})
    found = thresholds(lambda: base.checkpoint.tensors(base.names), ranks)
    return {"count": count, "thresholds": {str(t.rank): [t.rank, t.bits, t.ties] for t in found}}


def mask_digest(masks: Iterable[tuple[str, torch.Tensor]]) -> tuple[str, list[int]]:
    """sha256 over the names and packed bits of masks, and the zeros of each."""
    digest, zeros = hashlib.sha256(), []
    for name, mask in masks:
        digest.update(name.encode() + np.packbits(mask.numpy()).tobytes())
        zeros.append(mask.numel() - int(mask.sum()))
    return digest.hexdigest(), zeros


def tensor_digest(tensors: dict[str, torch.Tensor]) -> str:
    """sha256 over the names and bytes of a state's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def create(
    source: dict[str, Any], base: Base, *, method: str, module: str, levels: list[str], params: dict[str, Any]
) -> list[State]:
    """Compress a checkpoint at each level.

    Args:
        source: manifest of the base model.
        levels: more than one only for a calibrated method that propagates dense activations.

    Raises:
        DataError: no weight is prunable, or one cannot be compressed at this level.
        AssertionError: the mask does not have exactly the zeros that the method set out to make.
    """
    if not base.names:
        raise DataError(f"{base.checkpoint.folder}: no prunable weight; see `prunable_include` and `prunable_exclude`")
    code, parsed = importlib.import_module(f"junkdna.{module}"), [parse(level) for level in levels]
    if hasattr(code, "compress_levels"):
        found = code.compress_levels(base, parsed, params)
    else:
        found = [code.compress(base, level, params) for level in parsed]
    weights = base.checkpoint.numel(base.names)
    states = []
    for level, (rule, tensors) in zip(parsed, found, strict=True):
        digest, zeros = None, [0] * len(base.names)
        if hasattr(code, "masks"):
            masks = code.masks(base, level, params, rule, tensors)
            masks = tqdm(masks, total=len(base.names), desc=f"{method} {level.text}", unit="weight")
            digest, zeros = mask_digest(masks)
        assert sum(zeros) == rule["zeros"], f"{method} {level.text}: {sum(zeros)} zeros, {rule['zeros']} wanted"
        manifest = {
            "schema": SCHEMA,
            "base": {"name": source["name"], "files": _weights(source)},
            "method": method,
            "module": module,
            "level": level.text,
            "params": params,
            "rule": rule,
            "names_sha256": hashlib.sha256("\n".join(base.names).encode()).hexdigest(),
            "weights": weights,
            "zeros": zeros,
            "sparsity": sum(zeros) / weights,
            "mask_sha256": digest,
            "tensors_sha256": tensor_digest(tensors),
        }
        states.append(State(manifest, tensors))
    return states


def _weights(source: dict[str, Any]) -> dict[str, str]:
    return {file: digest for file, digest in source["files"].items() if file.endswith(".safetensors")}


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def save(state: State, path: Path) -> None:
    """Write a state; equal states give equal bytes."""
    manifest = json.loads(json.dumps(state.manifest))
    signed = json.dumps(manifest | {"manifest_sha256": _digest(manifest)}, sort_keys=True)
    with atomic_path(path) as aside:
        save_file(state.tensors, aside, metadata={"manifest": signed})


def load(path: Path) -> State:
    """Read a state.

    Raises:
        DataError: the file is truncated, no state, of another schema, or its tensors are not those of its manifest.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            manifest = json.loads(handle.metadata()["manifest"])
            if manifest.pop("manifest_sha256") != _digest(manifest):
                raise ValueError("its manifest has another sha256 than it says")
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: no readable compressed state ({error}); delete it so that it is made again"
        ) from error
    if manifest.get("schema") != SCHEMA:
        raise DataError(f"{path}: schema {manifest.get('schema')}, this version reads {SCHEMA}; delete it")
    if tensor_digest(tensors) != manifest["tensors_sha256"]:
        raise DataError(f"{path}: its tensors are not those of its manifest; delete it so that it is made again")
    return State(manifest, tensors)


def with_head(state: State, source: dict[str, Any], base: Base) -> Iterator[Restored]:
    """What the method of a state does to a checkpoint that has a fresh head too, weights restored one after the other.

    The head depends on task and seed, so no state that fine-tunings share can hold its mask: the weights are compressed
    again, body and head together, and a global threshold counts both, as the reference code's does.
    """
    manifest = state.manifest
    base = replace(base, index=index_magnitudes(base))
    given = {key: manifest[key] for key in ("method", "module", "params")}
    (whole,) = create(source, base, levels=[manifest["level"]], **given)
    return restore(whole, source, base)


def restore(state: State, source: dict[str, Any], base: Base) -> Iterator[Restored]:
    """Make a state's masks and weights again from the base, in the order of its names.

    Raises:
        DataError: the base is not the one that was compressed, or the masks differ from the recorded digest (raised
            after the last weight).
    """
    manifest = state.manifest
    wanted = hashlib.sha256("\n".join(base.names).encode()).hexdigest()
    if _weights(source) != manifest["base"]["files"] or wanted != manifest["names_sha256"]:
        raise DataError(
            f"state of {manifest['base']['name']} ({manifest['method']} {manifest['level']}): "
            f"{base.checkpoint.folder} is not the base it was made from (other files or prunable weights); compress "
            "again"
        )
    digest = hashlib.sha256()
    given = (base, parse(manifest["level"]), manifest["params"], manifest["rule"], state.tensors)
    nothing = itertools.repeat((None, None))
    masks = state.module.masks(*given) if state.removes else nothing
    weights = state.module.weights(*given) if hasattr(state.module, "weights") else nothing
    for name, (_, mask), (_, values) in zip(base.names, masks, weights, strict=False):
        if mask is not None:
            digest.update(name.encode() + np.packbits(mask.numpy()).tobytes())
        yield Restored(name, mask, values)
    if state.removes and digest.hexdigest() != manifest["mask_sha256"]:
        raise DataError(f"state of {manifest['base']['name']}: the mask differs from the recorded one; compress again")
