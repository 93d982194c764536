"""Weights that are published as PyTorch pickles only, rewritten as safetensors; no code in them is ever run."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors.torch import save_file

from junkdna.checkpoint import shards
from junkdna.files import DataError, atomic_path, read_json, write_json

WHOLE, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


def pickled_files(folder: Path) -> list[Path]:
    """The pickles that hold a model's weights: one, or the shards that an index lists; none if there are none.

    Raises:
        DataError: a shard of the index is missing or lies elsewhere.
    """
    index = folder / INDEX
    if not index.exists():
        return [folder / WHOLE] if (folder / WHOLE).exists() else []
    return shards(index, read_json(index)["weight_map"])


def convert(files: list[Path], target: Path) -> None:
    """Write each pickle as a shard of safetensors and the index of all into a folder; one is in memory at a time.

    Raises:
        DataError: a file holds anything but named tensors, code above all, or is truncated.
    """
    weight_map: dict[str, str] = {}
    for number, file in enumerate(files, start=1):
        shard = f"model-{number:05d}-of-{len(files):05d}.safetensors" if len(files) > 1 else "model.safetensors"
        tensors = _apart(_read(file))
        weight_map |= dict.fromkeys(tensors, shard)
        with atomic_path(target / shard) as aside:
            save_file(tensors, aside, metadata={"format": "pt"})
    if len(files) > 1:
        write_json(target / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})


def _read(file: Path) -> dict[str, torch.Tensor]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{file}: truncated, or holds more than tensors ({reason}); its code is not run. Fetch it again, or name a "
            "`revision` with safetensors"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise DataError(f"{file}: holds {type(found).__name__} of other things than named tensors")
    return found


def _apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tied tensors get memory of their own, which safetensors wants; each name stays."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone().contiguous() if memory in seen else tensor.contiguous()
        seen.add(memory)
    return result
