"""Any cell as an ordinary Hugging Face folder."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig

from junkdna import models
from junkdna.catalog import Model, Task
from junkdna.files import DataError, atomic_path, read_json
from junkdna.state import load

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
        state: compressed state, exported in the base's own architecture.
        weights, task: a fine-tuned state and its task, exported as a sequence classifier.

    Raises:
        DataError: the state is not of this base, or the base's architecture is unknown.
    """
    base, source = models.model_folder(manifest), read_json(manifest)
    tokenizer = models.load_tokenizer(base)
    if weights is not None and task is not None:
        exported = models.load_model(base, model, task, tokenizer, weights=weights)
        what, details = "fine-tuned", f"Head: {task.kind}, {exported.config.num_labels} output(s)."
    else:
        exported = _original(base, model)
        what, details = "dense", "The weights are those of the base."
        if state is not None:
            models.apply_masks(exported, models.load_masks(manifest, model, state)[0])
            made = load(state).manifest
            what = f"{made['method']} {made['level']}"
            details = f"Sparsity {made['sparsity']:.4f} of the prunable weights, mask sha256 {made['mask_sha256']}."
    with atomic_path(folder / ".export") as aside:
        exported.save_pretrained(aside, max_shard_size="1000GB")
        tokenizer.save_pretrained(aside)
        card = CARD.format(base=source.get("name", base.name), what=what, details=details)
        (aside / "README.md").write_text(card)
        # The weights last: who finds them finds the folder complete.
        for file in sorted(aside.iterdir(), key=lambda file: (file.suffix == ".safetensors", file.name)):
            os.replace(file, folder / file.name)
    (folder / ".export").rmdir()


def _original(folder: Path, model: Model) -> transformers.PreTrainedModel:
    """The base in the class that it was saved from."""
    architecture = (AutoConfig.from_pretrained(folder, **models.LOCAL).architectures or ["none"])[0]
    if not hasattr(transformers, architecture):
        raise DataError(f"{folder / 'config.json'}: architectures: {architecture!r} is not a class of transformers")
    loader = getattr(transformers, architecture)
    dtype = getattr(torch, model.dtype)
    return loader.from_pretrained(folder, dtype=dtype, use_safetensors=True, **models.LOCAL).eval()
