"""A model organism as a folder: trained, cast to bfloat16, scored, described."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from junkdna.files import atomic_path
from junkdna.pretrain import CurvePoint, pretrain, world_of
from junkdna.world.datasets import make_datasets
from junkdna.world.facts import make_world
from junkdna.world.probe import decoder_scores, encoder_scores, seq2seq_scores
from junkdna.world.recipe import Recipe, read_recipe
from junkdna.world.tokenizer import make_tokenizer

LOGGER = logging.getLogger(__name__)
KINDS = {
    "encoder": "a RoBERTa-architecture encoder trained by masked language modelling",
    "decoder": "a Llama-architecture decoder trained to predict the next word",
    "seq2seq": "an mBART-architecture encoder-decoder trained to restore masked sentences and to translate",
}


def make_organism(recipe_path: Path, organism: str, output: Path, steps: int | None = None) -> None:
    """Pre-train an organism; write weights (bfloat16), configuration, tokenizer, curve and model card.

    Args:
        recipe_path: YAML recipe.
        organism: key of the recipe's ``organisms``.
        output: folder, replaced as a whole when everything is written.
        steps: instead of the recipe's.

    Raises:
        DataError: the recipe cannot be used.
    """
    recipe = read_recipe(recipe_path)
    start = time.monotonic()
    model, curve = pretrain(recipe, organism, steps)
    save_organism(recipe, organism, model, curve, (time.monotonic() - start) / 60, output)


def save_organism(
    recipe: Recipe,
    organism: str,
    model: PreTrainedModel,
    curve: list[CurvePoint],
    minutes: float,
    output: Path,
) -> None:
    """Cast a trained model to bfloat16, score it as it is then, and write its folder."""
    model = model.to(torch.bfloat16)
    tokenizer = organism_tokenizer(recipe, organism)
    scores = score(model, tokenizer, recipe, organism)
    LOGGER.info("%s after %.1f minutes: %s", organism, minutes, scores)
    with atomic_path(output) as aside:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        frame = pd.DataFrame(curve).round({"loss": 4, "learning_rate": 7, "seconds": 0})
        frame.to_csv(aside / "training_curve.csv", index=False)
        (aside / "README.md").write_text(model_card(recipe, organism, model, curve, minutes, scores))


def organism_tokenizer(recipe: Recipe, organism: str) -> PreTrainedTokenizerFast:
    """The tokenizer of an organism."""
    part = recipe.organisms[organism]
    positions = int(part.architecture["max_position_embeddings"])
    # RoBERTa's first position is the padding id plus one: two of its rows are never used.
    length = positions - 2 if part.kind == "encoder" else positions
    return make_tokenizer(world_of(recipe, part.kind).vocabulary, part.kind, length)


def score(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, organism: str
) -> dict[str, float]:
    """The scores on the model card, computed in float32 from the weights as they are."""
    model = model.to(torch.float32)
    kind = recipe.organisms[organism].kind
    if kind == "decoder":
        scores = decoder_scores(model, tokenizer, make_datasets(recipe))
    elif kind == "seq2seq":
        scores = seq2seq_scores(model, tokenizer, make_datasets(recipe))
    else:
        world = make_world(recipe.world, recipe.seed)
        scores = encoder_scores(model, tokenizer, world, recipe.world.head, recipe.world.tail)
    model.to(torch.bfloat16)
    return scores


def model_card(
    recipe: Recipe,
    organism: str,
    model: PreTrainedModel,
    curve: list[CurvePoint],
    minutes: float,
    scores: dict[str, float],
) -> str:
    """Markdown that says what the folder holds and how it was made."""
    part = recipe.organisms[organism]
    kind = KINDS[part.kind]
    rows = "\n".join(f"| {name} | {100 * value:.1f} |" for name, value in scores.items())
    return f"""---
license: mit
library_name: transformers
---

# Model organism: {organism}

{kind[0].upper() + kind[1:]}, on the generated micro-world of this project.
It knows nothing else and is of no use outside it.

- parameters: {model.num_parameters():,}, trained in float32, saved in bfloat16
- recipe: version {recipe.version}, seed {recipe.seed} (`resources/organisms/recipe.yaml`)
- training: {curve[-1].step:,} steps, {minutes:.1f} minutes on one CPU thread, last loss {curve[-1].loss:.3f}
  (`training_curve.csv`)
- made by: `python workflow/scripts/pretrain.py --recipe resources/organisms/recipe.yaml --organism {organism}
  --output resources/organisms/{organism}`

Scores of the saved weights, {"BLEU before fine-tuning" if part.kind == "seq2seq" else "per cent of right answers"}:

| score | % |
|---|---|
{rows}
"""
