"""Pre-training of small models on real text with transformers.Trainer, resumable from its own checkpoints."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.nn import functional
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
    Trainer,
    TrainingArguments,
    set_seed,
)

from junkdna.resuming import Resumable, last_whole_checkpoint
from junkdna.text.corpus import IGNORED, Sequences
from junkdna.text.recipe import TextModel, TextRecipe
from junkdna.training import StopAtNaN, attend_fast, be_deterministic
from junkdna.world.tokenizer import BOS, EOS, PAD

LOGGED = 200  # points of the loss curve
SAVE_SECONDS = 120.0  # between checkpoints, at least
COLUMNS = ["step", "tokens", "loss", "learning_rate", "seconds"]


def build_model(recipe: TextRecipe, part: TextModel) -> PreTrainedModel:
    """A model with fresh weights, drawn from torch's generator."""
    common = {"vocab_size": recipe.vocabulary, "bos_token_id": BOS, "pad_token_id": PAD, "eos_token_id": EOS}
    if part.kind == "decoder":
        return LlamaForCausalLM(LlamaConfig(**common, **part.architecture))
    model = RobertaForMaskedLM(RobertaConfig(**common, type_vocab_size=1, **part.architecture))
    positions = model.roberta.embeddings.position_embeddings.weight
    with torch.no_grad():
        positions[PAD + 1 :] = sinusoids(len(positions) - PAD - 1, positions.shape[1], model.config.initializer_range)
    return model


def sinusoids(length: int, width: int, deviation: float) -> torch.Tensor:
    """Where learned positions start: sines and cosines (Vaswani et al. 2017), shape (length, width), scaled.

    From them a head can look a step aside with one matrix; from random rows each pair of positions has to be learned by
    itself. Their share in the result was not measured (resources/small/README.md).
    """
    angles = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return deviation * math.sqrt(2) * torch.cat([angles.sin(), angles.cos()], dim=1)


def has_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("bf16"))


class TextTrainer(Trainer):
    """Computes logits only where there is a label; an encoder's first steps may be causal.

    What a masked token is can be learned only through attention, which averages over everything at first, so a short
    training ends among bags of words. The next token can be learned from the last one, and attention along with it: a
    causal start saves most of an encoder's training (Gisserot-Boukhlef et al. 2025, arXiv 2507.00994).
    """

    causal_steps = 0

    def compute_loss(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor], *_: Any, **__: Any) -> torch.Tensor:
        """Mean cross-entropy in nats."""
        ids, chosen = inputs["input_ids"], inputs["labels"] != IGNORED
        causal = self.state.global_step < self.causal_steps
        with self.accelerator.autocast():
            read = model.base_model(input_ids=ids, attention_mask=causal_mask(ids) if causal else None)
            logits = model.lm_head(read.last_hidden_state[chosen])
        return functional.cross_entropy(logits.float(), inputs["labels"][chosen])


def causal_mask(ids: torch.Tensor) -> torch.Tensor:
    """What is added to attention scores so that no token sees a later one, shape (sequences, 1, tokens, tokens)."""
    tokens = ids.shape[1]
    later = torch.full((tokens, tokens), torch.finfo(torch.float32).min, device=ids.device).triu(1)
    return later.expand(len(ids), 1, -1, -1)


class SaveAtLog(Resumable, StopAtNaN):
    """Saves at logged points, and on SIGTERM; gives each point the seconds of training so far.

    Those lost by an interruption are left out.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def state(self) -> dict[str, Any]:
        """What goes into the checkpoint."""
        saved, now = super().state(), time.monotonic()
        saved["attributes"]["seconds"] = now - getattr(self, "start", now)
        return saved

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        super().on_train_begin(args, state, control)
        self.last = time.monotonic()
        self.start = self.last - state.stateful_callbacks[type(self).__name__]["attributes"]["seconds"]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        super().on_log(args, state, control, logs)
        state.log_history[-1]["seconds"] = time.monotonic() - self.start
        if time.monotonic() - self.last >= self.seconds and state.global_step < state.max_steps:
            control.should_save, self.last = True, time.monotonic()


def arguments(part: TextModel, seed: int, folder: Path, bfloat16: bool) -> TrainingArguments:
    """AdamW with linear warm-up; nothing evaluated, reported or saved that is not needed."""
    training = part.training
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=training.steps,
        per_device_train_batch_size=training.rows,
        train_sampling_strategy="sequential",  # they are shuffled already
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.schedule,
        warmup_steps=round(training.warmup_fraction * training.steps),
        adam_beta1=training.betas[0],
        adam_beta2=training.betas[1],
        weight_decay=training.weight_decay,
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        seed=seed,
        bf16=bfloat16,
        use_cpu=not torch.cuda.is_available(),
        logging_strategy="steps",
        logging_steps=max(1, training.steps // LOGGED),
        logging_nan_inf_filter=False,
        save_strategy="no",
        save_total_limit=1,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
    )


def pretrain_text(
    recipe: TextRecipe, part: TextModel, rows: Any, resume: Path, save_seconds: float = SAVE_SECONDS
) -> tuple[PreTrainedModel, pd.DataFrame]:
    """Train one model on packed sequences (:func:`junkdna.text.corpus.pack`).

    Args:
        resume: folder for the checkpoints of an interrupted training; continues from one that is there.
        save_seconds: between checkpoints, at least.

    Returns:
        The float32 model in evaluation mode, and the curve: mean loss in nats since the point before, and seconds.

    Raises:
        Diverged: the loss is not finite.
        SystemExit: SIGTERM came; a checkpoint was saved.
    """
    set_seed(recipe.seed)
    be_deterministic()
    model = build_model(recipe, part)
    attend_fast(model)
    trainer = TextTrainer(
        model,
        arguments(part, recipe.seed, resume, has_bfloat16()),
        train_dataset=Sequences(rows, part, recipe.vocabulary, recipe.seed),
        callbacks=[saver := SaveAtLog(save_seconds)],
    )
    trainer.causal_steps = part.causal_steps if part.kind == "encoder" else 0
    saver.trainer = trainer
    with saver.heeding_sigterm():
        trainer.train(resume_from_checkpoint=last_whole_checkpoint(resume))
    model.config.use_cache = True  # the Trainer has turned it off, and a saved decoder would write slowly
    curve = pd.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])
    curve["tokens"] = curve["step"] * part.training.batch_tokens
    return model.cpu().eval(), curve[COLUMNS]


def model_card(name: str, recipe: TextRecipe, part: TextModel, model: PreTrainedModel, curve: pd.DataFrame) -> str:
    """Markdown that says what the folder holds and how it was made."""
    outside = model.num_parameters() - model.get_input_embeddings().weight.numel()
    last = curve.iloc[-1]
    kind = "RoBERTa-architecture encoder" if part.kind == "encoder" else "Llama-architecture decoder"
    return f"""---
library_name: transformers
language: en
---

# Small model: {name}

A {kind} pre-trained by this project on real English text, to test the hypothesis on natural language.
It is far too small to be of use for anything else.

- parameters: {model.num_parameters():,}, of them {outside:,} outside the token embeddings; saved in bfloat16
- recipe: version {recipe.version}, seed {recipe.seed} (`resources/small/recipe.yaml`), corpus `{recipe.corpus}`
- training: {int(last.step):,} steps, {int(last.tokens):,} tokens, {last.seconds / 60:.1f} minutes, in
  {"bfloat16 autocast" if has_bfloat16() else "float32"}; hardware and versions in `provenance.json`
- last loss: {last.loss:.3f} nats, perplexity {math.exp(last.loss):.1f} of
  {"masked" if part.kind == "encoder" else "next"} tokens (`training_curve.csv`)
"""
