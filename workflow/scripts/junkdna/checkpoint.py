"""Pre-trained weights on disk: headers without torch, tensors one at a time.

The headers are read while the Snakefile is parsed, so torch is imported only where a tensor is.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from junkdna.files import DataError, atomic_path, read_json
from junkdna.levels import Level

if TYPE_CHECKING:
    import torch

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
# Embeddings, norms and biases stay; so do heads, which are no part of the body that tasks share.
NOT_PRUNABLE = r"embed|norm|bias|(^|\.)(shared|lm_head|solver)\."
HEADS = r"(^|\.)(classifier|score|pooler|qa_outputs)\."
# GPT-2 stores its linear weights as (input, output); everything else as (output, input).
TRANSPOSED = {"gpt2"}
CHUNK = 1 << 20  # elements tested for NaN at a time: the test makes copies


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: its file, its safetensors data type and its shape."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Tensor names of a safetensors file to what its header says of them.

    Raises:
        DataError: the file is missing, truncated or garbled; the message names it.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > size - 8:
                raise ValueError(f"the header wants {length} bytes of {size}")
            header = json.loads(handle.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if end != size - 8 - length:
            raise ValueError(f"the tensors want {end} bytes, the file has {size - 8 - length}")
        for name, entry in header.items():
            begin, stop = entry["data_offsets"]
            if stop - begin != math.prod(entry["shape"]) * BYTES.get(entry["dtype"], 1):
                raise ValueError(f"tensor {name!r} does not fill its bytes")
        return {name: TensorInfo(path, e["dtype"], tuple(e["shape"])) for name, e in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise DataError(f"{path}: truncated or not safetensors ({error}); fetch the file again") from error


def save_diverged(path: Path) -> None:
    """Write what stands for the weights of a fine-tuning that diverged: a file without a tensor."""
    from safetensors.numpy import save_file

    with atomic_path(path) as aside:
        save_file({}, aside, metadata={"diverged": "true"})


def is_diverged(path: Path) -> bool:
    """Whether fine-tuned weights are those of a fine-tuning that diverged: there are none.

    Raises:
        DataError: as :func:`read_header`.
    """
    return not read_header(path)


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers would load: others beside them may hold the same weights under other names.

    Raises:
        DataError: there are none, or a shard that the index lists is missing or lies elsewhere.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists():
        return [whole]
    if not index.exists():
        raise DataError(f"{folder}: holds neither {whole.name} nor {index.name}; pickled weights are not read")
    found = read_json(index)
    if not isinstance(found, dict) or not isinstance(found.get("weight_map"), dict):
        raise DataError(f"{index}: has no `weight_map` from weights to files; fetch the file again")
    return shards(index, found["weight_map"])


def shards(index: Path, weights: dict[str, str]) -> list[Path]:
    """The files beside an index that its map from weights to files names.

    Raises:
        DataError: one is missing or lies elsewhere: the index is a stranger's, and must not lead out of its folder.
    """
    files = [index.parent / str(name) for name in sorted(set(weights.values()))]
    for file in files:
        if file.parent != index.parent:
            raise DataError(f"{index}: weight_map: {file}: files beside the index are expected")
        if not file.exists():
            raise DataError(f"{file}: missing; {index.name} lists it; fetch the model again")
    return files


def prunable(infos: dict[str, TensorInfo], include: str | None, exclude: str | None, heads: bool = False) -> list[str]:
    """Names of the prunable weights, sorted: 2-D, no embedding, norm, bias or head.

    For encoders this is the rule of the reference code; for decoders it leaves every Linear inside the layers.

    Args:
        include, exclude: regular expressions that narrow the rule down.
        heads: the heads of tasks are prunable too, as in the reference code.
    """
    return sorted(
        name
        for name, info in infos.items()
        if len(info.shape) == 2
        and not re.search(NOT_PRUNABLE, name)
        and (heads or not re.search(HEADS, name))
        and (include is None or re.search(include, name))
        and not (exclude and re.search(exclude, name))
    )


class Checkpoint:
    """A Hugging Face folder with model.safetensors, or several shards of it, opened lazily.

    Args:
        weights: a fine-tuned file whose tensors stand in for those of the folder.
    """

    def __init__(self, folder: Path | str, weights: Path | None = None) -> None:
        self.folder = Path(folder)
        self.infos: dict[str, TensorInfo] = {}
        for file in [weights] if weights else weight_files(self.folder):
            self.infos |= read_header(file)
        if not self.infos:
            raise DataError(f"{weights or self.folder}: holds no weights, as where a fine-tuning diverged")

    @cached_property
    def transposed(self) -> bool:
        """Whether a weight's input axis is its first."""
        config = self.folder / "config.json"
        return config.exists() and read_json(config).get("model_type") in TRANSPOSED

    def width(self, name: str) -> int:
        """Length of a weight's input axis."""
        return self.infos[name].shape[0 if self.transposed else 1]

    def numel(self, names: Iterable[str]) -> int:
        return sum(math.prod(self.infos[name].shape) for name in names)

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor, in its stored data type.

        Raises:
            DataError: it holds NaN or infinity.
        """
        from safetensors import safe_open

        with safe_open(self.infos[name].file, framework="pt") as handle:
            tensor = handle.get_tensor(name)
        # A sum is not finite if any element is not; it is quick, and only where it overflows is each element looked at.
        parts = tensor.view(-1).split(CHUNK)
        if not all(bool(part.sum().isfinite()) or bool(part.isfinite().all()) for part in parts):
            raise DataError(f"{self.infos[name].file}: {name}: holds NaN or infinite values")
        return tensor

    def tensors(self, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
        for name in names:
            yield name, self.tensor(name)


@dataclass(frozen=True)
class Calibration:
    """Token ids of the calibration sequences, and the data type that the model computes in."""

    sequences: list[list[int]]
    dtype: str = "float32"

    def batches(self, tokens: int) -> list[list[list[int]]]:
        """Sequences of equal length together, up to so many tokens: none is padded."""
        by_length: dict[int, list[list[int]]] = defaultdict(list)
        for sequence in self.sequences:
            by_length[len(sequence)].append(sequence)
        sizes = {length: max(1, tokens // length) for length in by_length}
        return [
            by_length[length][start : start + size]
            for length, size in sorted(sizes.items())
            for start in range(0, len(by_length[length]), size)
        ]


@dataclass(frozen=True)
class Base:
    """What a method compresses: a checkpoint, the names of its prunable weights, and what is known of both.

    Attributes:
        names: sorted.
        index: global magnitudes, for the methods that read them.
        calibration: for the calibrated methods.
    """

    checkpoint: Checkpoint
    names: list[str]
    index: dict[str, Any] | None = None
    calibration: Calibration | None = None

    def shape(self, name: str) -> tuple[int, int]:
        """(out, in), however the checkpoint stores it."""
        rows, columns = self.checkpoint.infos[name].shape
        return (columns, rows) if self.checkpoint.transposed else (rows, columns)

    def weight(self, name: str) -> torch.Tensor:
        """A weight as (out, in)."""
        return self.stored(name, self.checkpoint.tensor(name))

    def stored(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """From (out, in) to the checkpoint's own layout, or back."""
        return tensor.T.contiguous() if self.checkpoint.transposed else tensor


def check_divisible(checkpoint: Checkpoint, level: Level, names: Iterable[str], group: int = 0) -> None:
    """Fail if an N:M level, or a group of inputs that share a grid, does not divide the input width of a weight.

    Raises:
        DataError: names the first such weight, its width and the level.
    """
    for name in names:
        width = checkpoint.width(name)
        if level.m and width % level.m:
            raise DataError(
                f"{checkpoint.folder}: level {level.text!r}: width {width} of {name} is not divisible "
                f"by {level.m}; choose an M that divides it, or exclude the weight with `prunable_exclude`"
            )
        if group:
            group_length(width, group, f"{checkpoint.folder}: {name}")


def group_length(width: int, group: int, name: str = "weight") -> int:
    """Inputs that share a grid: ``group``, or the whole row of a weight that is narrower.

    Raises:
        DataError: the group does not divide the width.
    """
    if width > group and width % group:
        raise DataError(
            f"{name}: width {width} is not divisible by the group of {group}; choose a `group` that divides it, or "
            "exclude the weight with `prunable_exclude`"
        )
    return min(width, group)
