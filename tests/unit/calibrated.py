"""Tiny random models of several architectures, and calibrated compression as a plain loop over a whole model."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

from junkdna import models, skeleton
from junkdna import state as states
from junkdna.checkpoint import Base, Calibration, Checkpoint, prunable
from junkdna.levels import parse

DEVICE = models.device()
VOCABULARY = 60
SOURCE = {"name": "m", "files": {"model.safetensors": "0" * 64}}
IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "vocab_size": VOCABULARY}
DECODER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
GQA = DECODER | {"num_key_value_heads": 2, "initializer_range": 0.2, "max_position_embeddings": 64}
BART = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "init_std": 0.2}
BART |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 24, "max_position_embeddings": 64}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.2}
OPT = DECODER | {"ffn_dim": 32, "max_position_embeddings": 64, "word_embed_proj_dim": 16, "init_std": 0.2}
ROBERTA = DECODER | {"initializer_range": 0.2, "max_position_embeddings": 66, "type_vocab_size": 1}
# Class, sizes, and the paths of the lists of blocks; none where the blocks are shared.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "llama": ("LlamaForCausalLM", GQA, ["model.layers"]),
    "qwen2": ("Qwen2ForCausalLM", GQA, ["model.layers"]),
    "gpt2": ("GPT2LMHeadModel", GPT2, ["transformer.h"]),
    "opt": ("OPTForCausalLM", OPT, ["model.decoder.layers"]),
    "roberta": ("RobertaForMaskedLM", ROBERTA, ["roberta.encoder.layer"]),
    "bart": ("BartForConditionalGeneration", BART, ["model.encoder.layers", "model.decoder.layers"]),
    "albert": ("AlbertForMaskedLM", ROBERTA | {"embedding_size": 8}, []),
    "mbart": ("MBartForConditionalGeneration", BART, ["model.encoder.layers", "model.decoder.layers"]),
}
ELIMINATION = {"propagate": "compressed", "damping": 0.01, "group": 128}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "wanda": ("pruning.wanda", {"propagate": "compressed"}),
    "sparsegpt": ("pruning.sparsegpt", ELIMINATION | {"bits": 16}),
    "rtn": ("quantization.rtn", {"group": 128}),
    "gptq": ("quantization.gptq", ELIMINATION | {"act_order": False}),
}
LENGTHS = (9, 14, 14, 5, 9, 14, 21, 5, 9, 14, 14, 9, 21, 9, 14)


def random_model(kind: str, seed: int = 0, **changes: Any) -> transformers.PreTrainedModel:
    name, sizes, _ = ARCHITECTURES[kind]
    cls = getattr(transformers, name)
    torch.manual_seed(seed)
    return cls(cls.config_class(**(IDS | sizes | changes))).eval()


def save_model(folder: Path, kind: str, dtype: torch.dtype = torch.float32, shard: str = "1GB", **changes: Any) -> Path:
    random_model(kind, **changes).to(dtype).save_pretrained(folder, max_shard_size=shard)
    return folder


def ragged(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> list[list[int]]:
    """Random sequences without special tokens."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCABULARY, (length,), generator=draw).tolist() for length in lengths]


def base_of(
    folder: Path,
    sequences: list[list[int]] | None = None,
    dtype: str = "float32",
    exclude: str | None = "wte|wpe",
    include: str | None = None,
) -> Base:
    checkpoint = Checkpoint(folder)
    calibration = Calibration(ragged() if sequences is None else sequences, dtype)
    return Base(checkpoint, prunable(checkpoint.infos, include, exclude), calibration=calibration)


def compress(base: Base, method: str, *levels: str, **changes: Any) -> list[states.State]:
    module, params = ("pruning.magnitude", {"scope": "layer"}) if method == "magnitude" else METHODS[method]
    return states.create(SOURCE, base, method=method, module=module, levels=list(levels), params=params | changes)


def restored(state: states.State, base: Base) -> dict[str, torch.Tensor]:
    """The compressed weights of a state, in the checkpoint's layout."""
    found = {}
    for weight in states.restore(state, SOURCE, base):
        found[weight.name] = weight.values
        if weight.values is None:
            found[weight.name] = base.checkpoint.tensor(weight.name).masked_fill(~weight.mask, 0)
    return found


def compressed(base: Base, method: str, level: str, **changes: Any) -> dict[str, torch.Tensor]:
    return restored(*compress(base, method, level, **changes), base)


def linears(module: nn.Module, path: str) -> dict[str, nn.Module]:
    kinds = (nn.Linear, Conv1D)
    return {f"{path}.{name}.weight": part for name, part in module.named_modules() if isinstance(part, kinds)}


@torch.no_grad()
def forward_with_hooks(
    model: nn.Module, layers: dict[str, nn.Module], batches: list[list[list[int]]], hook: Callable[..., None]
) -> None:
    """Run the whole model; ``hook(name, inputs)`` sees each layer's inputs as (tokens, in)."""
    handles = [
        layer.register_forward_pre_hook(lambda _, args, name=name: hook(name, args[0].flatten(0, -2)))
        for name, layer in layers.items()
    ]
    for ids in batches:
        model.base_model(input_ids=torch.tensor(ids, device=model.device), use_cache=False)
    for handle in handles:
        handle.remove()


@torch.no_grad()
def plain(base: Base, kind: str, method: str, level: str, **changes: Any) -> dict[str, torch.Tensor]:
    """The same method block after block on the whole model, with a statistic for each layer and no streaming."""
    name, _, paths = ARCHITECTURES[kind]
    module, params = METHODS[method]
    code, params = importlib.import_module(f"junkdna.{module}"), params | changes
    measure = code.SquaredNorms if method == "wanda" else code.Gram
    dtype = getattr(torch, base.calibration.dtype)
    model = getattr(transformers, name).from_pretrained(base.checkpoint.folder, dtype=dtype).eval().to(DEVICE)
    batches, found = base.calibration.batches(skeleton.BATCH_TOKENS), {}
    for path in [f"{path}.{number}" for path in paths for number in range(2)]:
        layers = linears(model.get_submodule(path), path)
        width = {name: layer.weight.shape[0 if isinstance(layer, Conv1D) else 1] for name, layer in layers.items()}
        statistics = {name: measure(width[name], DEVICE) for name in layers}
        forward_with_hooks(model, layers, batches, lambda name, x, into=statistics: into[name].add(x))
        for name, layer in layers.items():
            source = name if name in base.checkpoint.infos else name.removeprefix(f"{model.base_model_prefix}.")
            prepared = code.prepare(statistics[name], params, name)
            solved = code.solve(base.weight(source).to(DEVICE), prepared, parse(level), params).weight
            found[source] = base.stored(source, solved.cpu())
            layer.weight.copy_(found[source])
    return found
