"""Pre-trained models as transformers classes, with a compressed or fine-tuned state applied.

Safetensors only, no remote code, no network.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMultipleChoice,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.initialization import no_init_weights

from junkdna import state as states
from junkdna.catalog import Model, Task
from junkdna.expression_model import ExpressionModel
from junkdna.expressions import written
from junkdna.files import DataError, atomic_path, read_json

log = logging.getLogger(__name__)

# Its report of heads that are missing or not used is expected here; what must not be missing is checked below.
transformers.logging.set_verbosity_error()

LOCAL = {"local_files_only": True, "trust_remote_code": False}
LABELLED = ("classification", "regression")
# What the architectures call the dropout of hidden states.
DROPOUTS = ("dropout", "hidden_dropout_prob", "resid_pdrop", "dropout_rate")
# Position 0 of these is the padding id plus one.
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "longformer")
# Part of the body's class, but not of every checkpoint.
FRESH = ("pooler.",)


def device() -> torch.device:
    """The accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_config(folder: Path) -> transformers.PretrainedConfig:
    """The folder's configuration."""
    return AutoConfig.from_pretrained(folder, **LOCAL)


def load_tokenizer(folder: Path) -> transformers.PreTrainedTokenizerBase:
    """A tokenizer that pads on the right, and pads with the end of text where it has no padding token."""
    tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    folder: Path,
    model: Model,
    task: Task,
    tokenizer: transformers.PreTrainedTokenizerBase,
    seed: int = 0,
    weights: Path | None = None,
) -> transformers.PreTrainedModel:
    """Load a model for a task: an encoder with a fresh head, an encoder-decoder or a causal language model.

    Args:
        folder: with config.json and *.safetensors.
        seed: of the fresh head.
        weights: a fine-tuned state that replaces the folder's weights.

    Raises:
        DataError: weights are missing or of other shapes, or the architecture has no such class.
    """
    config = task_config(folder, task, tokenizer)
    dtype = getattr(torch, model.dtype)
    auto = AutoModelForSequenceClassification if task.kind in LABELLED else AutoModelForCausalLM
    auto = AutoModelForSeq2SeqLM if task.kind == "translation" else auto
    auto = AutoModelForMultipleChoice if task.picks_by_head else auto
    auto = ExpressionModel if task.kind == "expression" else auto
    if type(config) not in auto._model_mapping:
        by = f" and scoring {task.scoring}" if task.kind == "multiple_choice" else ""
        raise DataError(
            f"{folder}: {config.model_type}: transformers has no model of it for tasks of kind {task.kind}{by}"
        )
    torch.manual_seed(seed)
    if weights is not None:
        with no_init_weights():
            loaded = auto.from_config(config, dtype=dtype, trust_remote_code=False)
        load_weights(loaded, weights)
    else:
        loaded, info = auto.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **LOCAL
        )
        _complete(loaded, folder, dtype, info["missing_keys"])
    return loaded.to(device()).eval()


def task_config(
    folder: Path, task: Task, tokenizer: transformers.PreTrainedTokenizerBase
) -> transformers.PretrainedConfig:
    """The folder's configuration with the task's head and the tokenizer's padding."""
    config = load_config(folder)
    if task.kind in LABELLED:
        config.num_labels = task.n_classes if task.kind == "classification" else 1
        config.problem_type = "regression" if task.kind == "regression" else "single_label_classification"
    if task.picks_by_head:
        config.num_labels = 1  # a score per option
    if task.kind == "expression":
        config.expression_constants = [written(constant) for constant in task.constants]
    if task.training and task.training.dropout is not None:
        names = [name for name in DROPOUTS if hasattr(config, name)]
        if not names:
            raise DataError(f"{folder}: training.dropout: {config.model_type} has none of {', '.join(DROPOUTS)}")
        for name in names:
            setattr(config, name, task.training.dropout)
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    return config


def _complete(loaded: transformers.PreTrainedModel, folder: Path, dtype: torch.dtype, missing: set[str]) -> None:
    """Fill weights of the body that the folder holds under another name only.

    A language model that ties its embeddings may save them as ``lm_head.weight`` alone. Its own class knows that, a
    sequence classifier does not and would start from random embeddings.
    """
    prefix = f"{loaded.base_model_prefix}."
    lost = sorted(n for n in missing if n.startswith(prefix) and not n.removeprefix(prefix).startswith(FRESH))
    if not lost:
        return
    architecture = (AutoConfig.from_pretrained(folder, **LOCAL).architectures or ["none"])[0]
    original = getattr(transformers, architecture, None)
    found: dict[str, torch.Tensor] = {}
    if original is not None and original is not type(loaded):
        whole, info = original.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **LOCAL
        )
        found = {n: t for n, t in whole.state_dict().items() if n not in info["missing_keys"]}
    if absent := [name for name in lost if name not in found]:
        raise DataError(f"{folder}: weights of the body are missing: {', '.join(absent)}; fetch the model again")
    target = loaded.state_dict()
    with torch.no_grad():
        for name in lost:
            target[name].copy_(found[name])
    log.info("%s: took %s from %s", folder, ", ".join(lost), architecture)


def max_tokens(config: transformers.PretrainedConfig, tokenizer: transformers.PreTrainedTokenizerBase) -> int:
    """Longest input in tokens."""
    positions = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    if config.model_type in OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    return int(min(positions, tokenizer.model_max_length))


def restored(
    manifest: Path, model: Model, state: states.State, weights: Path | None = None
) -> Iterator[states.Restored]:
    """The compressed weights of a state one after the other, by the checkpoint's names.

    Args:
        weights: the fine-tuned weights that were compressed, if it was not the pre-trained ones.

    Raises:
        DataError: the state is of another base.
    """
    return states.restore(state, *states.base_of(manifest, model, weights))


def matched(
    model: transformers.PreTrainedModel, tensors: dict[str, torch.Tensor]
) -> list[tuple[torch.nn.Parameter, torch.Tensor]]:
    """The parameter of each mask or weight. Checkpoints of a bare body lack the body's prefix.

    Raises:
        DataError: a compressed weight does not exist in the model, or has another shape.
    """
    parameters = dict(model.named_parameters())
    pairs = []
    for name, tensor in tensors.items():
        parameter = parameters.get(name, parameters.get(f"{model.base_model_prefix}.{name}"))
        if parameter is None or parameter.shape != tensor.shape:
            found = "no such weight" if parameter is None else f"shape {tuple(parameter.shape)}"
            raise DataError(
                f"{type(model).__name__}: compressed weight {name} of shape {tuple(tensor.shape)}: {found}; exclude it "
                "with `prunable_exclude`"
            )
        pairs.append((parameter, tensor.to(parameter.device)))
    return pairs


@torch.no_grad()
def apply_state(model: transformers.PreTrainedModel, weights: Iterable[states.Restored]) -> None:
    """Put compressed weights into a model: new values where the method changes those that stay, else zeros."""
    for weight in weights:
        if weight.values is not None:
            ((parameter, values),) = matched(model, {weight.name: weight.values})
            parameter.copy_(values)
        else:
            ((parameter, mask),) = matched(model, {weight.name: weight.mask})
            parameter.masked_fill_(~mask, 0)


def tied_to(model: torch.nn.Module) -> dict[str, str]:
    """Weights that are other ones under a second name, such as an output layer that is the embedding: name to name."""
    return getattr(model, "all_tied_weights_keys", None) or {}


def save_weights(model: torch.nn.Module, path: Path) -> None:
    """Write all weights, tied ones once; equal weights give equal bytes."""
    tied = tied_to(model)
    tensors = {n: tensor.detach().cpu().contiguous() for n, tensor in model.state_dict().items() if n not in tied}
    with atomic_path(path) as aside:
        save_file(tensors, aside, metadata={"format": "pt"})


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Put what :func:`save_weights` wrote in the place of the model's weights, which may be without values.

    Raises:
        DataError: the file is truncated, its weights are not the model's, or the fine-tuning diverged.
    """
    try:
        tensors = load_file(path)
        if not tensors:
            raise DataError(f"{path}: this fine-tuning diverged: there are no weights")
        tensors |= {name: tensors[source] for name, source in tied_to(model).items()}
        dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
        tensors = {name: tensor.to(dtypes.get(name, tensor.dtype)) for name, tensor in tensors.items()}
        model.load_state_dict(tensors, assign=True)
        model.tie_weights()
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise DataError(
            f"{path}: not the weights of this model ({error}); delete it so that it is made again"
        ) from error


def open_state(
    manifest: Path,
    model: Model,
    task: Task,
    state: Path | None = None,
    weights: Path | None = None,
) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    """A dense, compressed or fine-tuned model, or one fine-tuned and then compressed, with its tokenizer."""
    folder = model_folder(manifest)
    tokenizer = load_tokenizer(folder)
    loaded = load_model(folder, model, task, tokenizer, weights=weights)
    if state is not None:
        apply_state(loaded, restored(manifest, model, states.load(state), weights))
    return loaded, tokenizer


def model_folder(manifest: Path) -> Path:
    """The folder that a model's manifest names."""
    source: dict[str, Any] = read_json(manifest)
    return Path(source["path"])
