"""Any cell as an ordinary Hugging Face folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig

from junkdna import models
from junkdna.catalog import Model, Task
from junkdna.files import DataError, atomic_path, read_json
from junkdna.levels import parse
from junkdna.packing import unpack_codes
from junkdna.quantization.grid import Grid
from junkdna.state import base_of, load

CARD = """---
base_model: {base}
library_name: transformers
---

# {base}, {what}

Written by `export` of the junk-dna project. {details}
Zeros are stored as zeros: this file is as large as the dense model's.
"""


def export(
    manifest: Path,
    model: Model,
    folder: Path,
    state: Path | None = None,
    weights: Path | None = None,
    task: Task | None = None,
) -> None:
    """Write config.json, model.safetensors, tokenizer and card into ``folder``.

    Args:
        manifest: of the base model.
        state: compressed state of the base, exported in its own architecture, or of ``weights``.
        weights, task: a fine-tuned state and its task, exported as a sequence classifier or encoder-decoder.

    Raises:
        DataError: the state is not of this base, or the base's architecture is unknown.
    """
    base, source = models.model_folder(manifest), read_json(manifest)
    tokenizer = models.load_tokenizer(base)
    if weights is not None and task is not None:
        exported = models.load_model(base, model, task, tokenizer, weights=weights)
        outputs = f", {exported.config.num_labels} output(s)" if task.kind in models.LABELLED else ""
        what, details = "fine-tuned", f"Head: {task.kind}{outputs}."
    else:
        exported = _original(base, model)
        what, details = "dense", "The weights are those of the base."
    if state is not None:
        loaded = load(state)
        models.apply_state(exported, models.restored(manifest, model, loaded, weights))
        made = loaded.manifest
        what = f"{made['method']} {made['level']}" if weights is None else f"{what}, {made['method']} {made['level']}"
        details = f"Sparsity {made['sparsity']:.4f} of the prunable weights, mask sha256 {made['mask_sha256']}."
        if not loaded.removes:
            details = f"Weights on a grid of {made['level']}, written as floats; codes sha256 {made['tensors_sha256']}."
    with atomic_path(folder / ".export") as aside:
        exported.save_pretrained(aside, max_shard_size="1000GB")
        tokenizer.save_pretrained(aside)
        card = CARD.format(base=source.get("name", base.name), what=what, details=details)
        (aside / "README.md").write_text(card)
        _publish(aside, folder)
    (folder / ".export").rmdir()


def export_packed(manifest: Path, model: Model, folder: Path, state: Path) -> None:
    """Write a quantized model in compressed-tensors' pack-quantized format.

    In float32, whatever the base is: the format's scales have the model's data type, and ours are not rounded further.
    compressed-tensors 0.20 reads it back exactly; transformers 5.23 cannot yet, since it expects the zero points of an
    asymmetric grid unpacked.

    Raises:
        DataError: the state is not of this base or not quantized, or the format cannot hold the architecture.
    """
    # Only here: the other stages need no compressed-tensors.
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    base_folder, made = models.model_folder(manifest), load(state)
    _, base = base_of(manifest, model)
    level, params = parse(made.manifest["level"]), made.manifest["params"]
    if not level.bits or base.checkpoint.transposed:
        made_by = f"{made.manifest['method']} {level.text}"
        raise DataError(f"{state}: {made_by}: the packed form is for quantized Linear layers only")
    exported = _original(base_folder, model).to(torch.float32)
    models.apply_state(exported, models.restored(manifest, model, made))
    tensors = {name: tensor.contiguous() for name, tensor in exported.state_dict().items()}
    groups: dict[int, list[str]] = {}  # length to layers
    offset = 1 << (level.bits - 1)  # the format's codes are signed
    names = {id(parameter): name for name, parameter in exported.named_parameters()}
    for weight in base.names:
        ((parameter, _),) = models.matched(exported, {weight: torch.empty(base.shape(weight))})
        layer = names[id(parameter)].removesuffix(".weight")
        grid = Grid.restored(made.tensors, weight, base.shape(weight), level.bits, params["group"])
        groups.setdefault(grid.group if grid.group < base.shape(weight)[1] else 0, []).append(layer)
        codes = unpack_codes(made.tensors[f"{weight}.codes"], level.bits, base.shape(weight))
        del tensors[f"{layer}.weight"]
        tensors[f"{layer}.weight_packed"] = pack_to_int32((codes.int() - offset).to(torch.int8), level.bits)
        tensors[f"{layer}.weight_shape"] = torch.tensor(codes.shape)
        tensors[f"{layer}.weight_scale"] = grid.scale.T.contiguous()
        zero = (grid.zero.T.int() - offset).to(torch.int8)
        tensors[f"{layer}.weight_zero_point"] = pack_to_int32(zero, level.bits, packed_dim=0).contiguous()
    for tied, source in models.tied_to(exported).items():
        if source in tensors:
            tensors.pop(tied, None)
    exported.config.quantization_config = _packed_config(level.bits, groups)
    with atomic_path(folder / ".export") as aside:
        exported.config.save_pretrained(aside)
        models.load_tokenizer(base_folder).save_pretrained(aside)
        save_file(tensors, aside / "model.safetensors", metadata={"format": "pt"})
        _publish(aside, folder)
    (folder / ".export").rmdir()


def _packed_config(bits: int, groups: dict[int, list[str]]) -> dict[str, Any]:
    """The `quantization_config` of the format; a group of length 0 is the whole row."""
    schemes = {}
    for number, (length, layers) in enumerate(sorted(groups.items())):
        weights = {"num_bits": bits, "type": "int", "symmetric": False, "dynamic": False}
        weights |= {"strategy": "group", "group_size": length} if length else {"strategy": "channel"}
        schemes[f"group_{number}"] = {"targets": layers, "weights": weights, "format": "pack-quantized"}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": schemes,
        "ignore": [],
    }


def _publish(aside: Path, folder: Path) -> None:
    """Move a finished export into place, the weights last: who finds them finds the folder complete."""
    for file in sorted(aside.iterdir(), key=lambda file: (file.suffix == ".safetensors", file.name)):
        os.replace(file, folder / file.name)


def _original(folder: Path, model: Model) -> transformers.PreTrainedModel:
    """The base in the class that it was saved from."""
    architecture = (AutoConfig.from_pretrained(folder, **models.LOCAL).architectures or ["none"])[0]
    if not hasattr(transformers, architecture):
        raise DataError(f"{folder / 'config.json'}: architectures: {architecture!r} is not a class of transformers")
    loader = getattr(transformers, architecture)
    dtype = getattr(torch, model.dtype)
    return loader.from_pretrained(folder, dtype=dtype, use_safetensors=True, **models.LOCAL).eval()
