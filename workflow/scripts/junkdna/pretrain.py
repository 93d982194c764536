"""Pre-training of the model organisms from scratch, on a CPU.

The encoder learns masked words (RobertaForMaskedLM), the decoder the next word (LlamaForCausalLM), the seq2seq to write
sentences from masked or foreign ones (MBartForConditionalGeneration).
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass

import torch
from torch.nn import functional
from tqdm import tqdm
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MBartConfig,
    MBartForConditionalGeneration,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
)

from junkdna.files import DataError
from junkdna.world.batches import Batch, DecoderBatches, EncoderBatches, PairBatches
from junkdna.world.corpus import Corpus
from junkdna.world.facts import World, make_world
from junkdna.world.languages import Languages, Pairs
from junkdna.world.recipe import OrganismKind, OrganismRecipe, Recipe, TrainingRecipe
from junkdna.world.tokenizer import BOS, EOS, PAD, SPECIAL

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class CurvePoint:
    """Mean loss of the steps since the last point, in nats per (weighted) target."""

    step: int
    loss: float
    learning_rate: float
    seconds: float


Batches = DecoderBatches | EncoderBatches | PairBatches


def world_of(recipe: Recipe, kind: OrganismKind) -> World | Languages:
    """What the documents of a kind of organism are about."""
    if kind == "seq2seq":
        return Languages(recipe.languages, recipe.seed)
    return make_world(recipe.world, recipe.seed)


def build_model(recipe: OrganismRecipe, world: World | Languages) -> PreTrainedModel:
    """A model with fresh weights, drawn from torch's generator."""
    common = {
        "vocab_size": len(SPECIAL) + len(world.vocabulary),
        "bos_token_id": BOS,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
    }
    if recipe.kind == "encoder":
        return RobertaForMaskedLM(RobertaConfig(**common, type_vocab_size=1, **recipe.architecture))
    if recipe.kind == "seq2seq":
        return MBartForConditionalGeneration(MBartConfig(**common, **recipe.architecture))
    return LlamaForCausalLM(LlamaConfig(**common, **recipe.architecture))


def pretrain(
    recipe: Recipe, organism: str, steps: int | None = None, every: int = 100
) -> tuple[PreTrainedModel, list[CurvePoint]]:
    """Train one organism.

    Args:
        recipe: world, mix of documents, architecture, optimisation and seed.
        organism: key of the recipe's ``organisms``.
        steps: of each stage, instead of the recipe's, for a quick look.
        every: steps between two points of the training curve.

    Returns:
        The float32 model in evaluation mode and the training curve.

    Raises:
        DataError: the recipe has no such organism, or lacks its masking.
    """
    if organism not in recipe.organisms:
        raise DataError(f"organism {organism!r} is not in the recipe; allowed are {', '.join(recipe.organisms)}")
    part = recipe.organisms[organism]
    torch.manual_seed(recipe.seed)
    world = world_of(recipe, part.kind)
    model = build_model(part, world).train()
    # For so few tokens plain attention is faster than the fused kernel under autocast.
    model.set_attn_implementation("eager")
    LOGGER.info("%s: %d parameters", organism, model.num_parameters())
    curve: list[CurvePoint] = []
    for number, stage in enumerate(part.stages):
        training = stage.training if steps is None else stage.training.model_copy(update={"steps": steps})
        batches = make_batches(part, world, stage.mix, training, recipe.seed + number)
        _optimise(model, batches, training, every, curve)
        # Each stage starts from what a saved organism holds.
        model.to(torch.bfloat16).to(torch.float32)
    return model.eval(), curve


def make_batches(
    part: OrganismRecipe,
    world: World | Languages,
    mix: dict[str, float],
    training: TrainingRecipe,
    seed: int,
) -> Batches:
    """The seeded stream of batches of one stage."""
    if isinstance(world, Languages):
        return PairBatches(world, Pairs(world, mix, seed), training)
    corpus = Corpus(world, mix, part.uniform_people, seed)
    if part.kind == "decoder":
        return DecoderBatches(world, corpus, training)
    if part.masking is None:
        raise DataError("organisms: an encoder has no masking in the recipe")
    return EncoderBatches(world, corpus, training, part.masking, seed)


def _optimise(
    model: PreTrainedModel,
    batches: Batches,
    training: TrainingRecipe,
    every: int,
    curve: list[CurvePoint],
) -> None:
    """Run one stage and append its points to ``curve``, whose steps and seconds go on from the last stage."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": training.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=training.learning_rate,
        betas=training.betas,
        fused=True,
    )
    done, before = (curve[-1].step, curve[-1].seconds) if curve else (0, 0.0)
    total, start = 0.0, time.monotonic()
    for step in tqdm(range(1, training.steps + 1), desc="pretrain", mininterval=5):
        rate = training.learning_rate * _schedule(step, training)
        for group in optimizer.param_groups:
            group["lr"] = rate
        for batch in (parts := batches.draw()):
            loss = batch_loss(model, batch, training.bfloat16) / len(parts)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip)
        optimizer.step()
        optimizer.zero_grad()
        if step % every == 0 or step == training.steps:
            loss = total / (step % every or every)
            curve.append(CurvePoint(done + step, loss, rate, before + time.monotonic() - start))
            LOGGER.info("step %d: loss %.4f, %.0f s", done + step, loss, curve[-1].seconds)
            total = 0.0


def _schedule(step: int, training: TrainingRecipe) -> float:
    if step <= training.warmup:
        return step / training.warmup
    done = (step - training.warmup) / max(1, training.steps - training.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def batch_loss(model: PreTrainedModel, batch: Batch, bfloat16: bool = False) -> torch.Tensor:
    """Weighted mean cross-entropy of the targets, in nats."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        logits = model(input_ids=batch.inputs, **attention_inputs(batch)).logits
    chosen = batch.targets >= 0
    losses = functional.cross_entropy(logits[chosen].float(), batch.targets[chosen], reduction="none")
    weights = batch.weights[chosen]
    return (losses * weights).sum() / weights.sum()


def attention_inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """What each token may attend to, a sentence's own words or the earlier ones of its document; what was written."""
    if batch.documents is None:
        mask = {"attention_mask": (batch.inputs != PAD).long()}
        return mask if batch.decoder_inputs is None else mask | {"decoder_input_ids": batch.decoder_inputs}
    length = batch.inputs.shape[1]
    same = batch.documents[:, :, None] == batch.documents[:, None, :]
    seen = same & torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    # Positions count from the start of each document, as when it is alone.
    return {"attention_mask": mask[:, None], "position_ids": seen.sum(-1) - 1}
