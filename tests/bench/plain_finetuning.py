"""Speed peer: pruning and fine-tuning of an encoder as public code does it, one process for each cell of a grid.

The structure is that of the study's public code (VITA-Group/Junk_DNA_Hypothesis) and of the example scripts of
transformers, the lines are not: all weights are sorted for one threshold, every text is padded to the longest that is
allowed, weights and activations are float32, and after each optimizer step a loop over all parameters multiplies those
that have a mask by it. The last step is followed by the mask too, and gradients are clipped at norm 1, as in ours:
losses can then be compared. Progress output and checkpoints are left out, in favour of the peer.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_linear_schedule_with_warmup,
)

Inputs = dict[str, Tensor]


def prunable(model: PreTrainedModel) -> list[str]:
    """Matrices of the body, embeddings left out."""
    named = model.named_parameters()
    return [name for name, w in named if w.dim() == 2 and "embed" not in name and "classifier" not in name]


@torch.no_grad()
def prune(model: PreTrainedModel, sparsity: float) -> dict[str, Tensor]:
    """Zero the share ``sparsity`` of the smallest weights; returns the masks as floats, 1 = keep.

    Of weights that tie at the threshold the first go, by name and place, as in ours: scores can then be compared.
    """
    named = dict(model.named_parameters())
    names = sorted(prunable(model))
    weights = [named[name] for name in names]
    order = torch.sort(torch.cat([weight.abs().flatten() for weight in weights]), stable=True).indices
    kept = torch.ones(len(order), device=order.device).index_fill_(0, order[: round(sparsity * len(order))], 0.0)
    parts = kept.split([weight.numel() for weight in weights])
    masks = {name: part.view_as(named[name]) for name, part in zip(names, parts, strict=True)}
    multiply(model, masks)
    return masks


@torch.no_grad()
def multiply(model: PreTrainedModel, masks: dict[str, Tensor]) -> None:
    """Put the masks on."""
    for name, weight in model.named_parameters():
        if name in masks:
            weight.data = weight.data * masks[name]


def encode(tokenizer: PreTrainedTokenizerBase, texts: list[str], labels: list[int], length: int) -> Inputs:
    """Token ids and attention mask of shape (texts, ``length``), and labels."""
    inputs = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return {
        "input_ids": inputs["input_ids"],
        "attention_mask": inputs["attention_mask"],
        "labels": torch.tensor(labels),
    }


def fine_tune(
    model: PreTrainedModel,
    data: Inputs,
    masks: dict[str, Tensor],
    *,
    steps: int,
    batch: int,
    rate: float,
    warmup: int,
    seed: int,
) -> list[float]:
    """Train in place; returns the loss of each step. Epochs are shuffled by ``seed`` plus their number."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, steps)
    losses: list[float] = []
    epoch, rows = 0, len(data["labels"])
    model.train()
    while len(losses) < steps:
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed + epoch))
        for chosen in order.split(batch)[: steps - len(losses)]:
            loss = model(**{key: tensor[chosen] for key, tensor in data.items()}).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            multiply(model, masks)
            losses.append(loss.item())
        epoch += 1
    return losses


@torch.no_grad()
def accuracy(model: PreTrainedModel, data: Inputs, batch: int) -> float:
    """Share of right classes."""
    model.eval()
    right, labels = 0, data["labels"].split(batch)
    for ids, mask, wanted in zip(
        data["input_ids"].split(batch), data["attention_mask"].split(batch), labels, strict=True
    ):
        right += int((model(input_ids=ids, attention_mask=mask).logits.argmax(-1) == wanted).sum())
    return right / len(data["labels"])


def run_cell(settings: str, level: str, seed: str, output: str) -> None:
    """Prune, fine-tune, evaluate: one cell, or its dense model.

    Args:
        settings: file with the paths of model and data, and how to train.
        output: file for the score.
    """
    asked = json.loads(Path(settings).read_text())
    torch.manual_seed(int(seed))
    tokenizer = AutoTokenizer.from_pretrained(asked["model"])
    model = AutoModelForSequenceClassification.from_pretrained(asked["model"], num_labels=2, dtype=torch.float32)
    masks = {} if level == "dense" else prune(model, float(level))
    split = {}
    for name in ("train", "validation"):
        rows = pd.read_parquet(next(Path(asked["data"]).glob(f"{name}-*.parquet")))
        split[name] = encode(tokenizer, rows[asked["text"]].tolist(), rows["label"].tolist(), asked["length"])
    fine_tune(model, split["train"], masks, seed=int(seed), **asked["training"])
    score = accuracy(model, split["validation"], asked["training"]["batch"])
    Path(output).write_text(json.dumps(score))
