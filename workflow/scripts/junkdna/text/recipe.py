"""The recipe of the small models: one YAML file that decides their text, vocabulary, architecture and training."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from junkdna.files import DataError
from junkdna.world.recipe import Strict, read_recipe


class TextTraining(Strict):
    """AdamW on sequences of equal length, each seen once; clipped at 1."""

    tokens: int = Field(gt=0, description="Tokens seen in all; the last batch may be cut short of them.")
    batch_tokens: int = Field(gt=0, description="Tokens of a step, a multiple of `sequence`.")
    sequence: int = Field(gt=2, description="Tokens of a sequence.")
    learning_rate: float = Field(gt=0)
    schedule: Literal["linear", "cosine"] = Field(description="After the warm-up, to 0.")
    warmup_fraction: float = Field(ge=0, lt=1, description="Share of the steps with linear warm-up.")
    betas: tuple[float, float]
    weight_decay: float = Field(ge=0, description="Of matrices.")

    @model_validator(mode="after")
    def _whole(self) -> TextTraining:
        if self.batch_tokens % self.sequence or self.tokens < self.batch_tokens:
            raise ValueError("batch_tokens must be a multiple of sequence and at most tokens")
        return self

    @property
    def rows(self) -> int:
        """Sequences of a step."""
        return self.batch_tokens // self.sequence

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return self.tokens // self.batch_tokens


class TextModel(Strict):
    """Kind, architecture (keys of RobertaConfig or LlamaConfig), training."""

    kind: Literal["encoder", "decoder"]
    architecture: dict[str, int | float | bool]
    masked: float | None = Field(None, gt=0, lt=1, description="Encoder: share of the tokens to predict.")
    causal: float = Field(
        0.0, ge=0, lt=1, description="Encoder: share of the steps, the first ones, that predict the next token."
    )
    training: TextTraining

    @model_validator(mode="after")
    def _masked(self) -> TextModel:
        if (self.masked is None) != (self.kind == "decoder"):
            raise ValueError("an encoder needs `masked`, a decoder takes none")
        if self.causal and self.kind == "decoder":
            raise ValueError("`causal` is an encoder's: a decoder predicts the next token in all steps")
        return self

    @property
    def causal_steps(self) -> int:
        """Steps that predict the next token, the first ones."""
        return self.training.steps if self.kind == "decoder" else round(self.causal * self.training.steps)

    @property
    def longest(self) -> int:
        """Tokens that the model can take; RoBERTa counts positions from 2."""
        return int(self.architecture["max_position_embeddings"]) - (2 if self.kind == "encoder" else 0)


class TextRecipe(Strict):
    """Everything that decides the small models."""

    version: int
    seed: int = Field(description="Of fresh weights, the order of text, masking.")
    corpus: str = Field(description="Key of `datasets`.")
    vocabulary: int = Field(ge=300, le=2**16, description="Tokens, the five special ones and all bytes among them.")
    models: dict[str, TextModel]


def read_part(path: Path, name: str) -> tuple[TextRecipe, TextModel]:
    """A recipe and its model ``name``.

    Raises:
        DataError: the recipe cannot be used, or has no such model.
    """
    recipe = read_recipe(path, TextRecipe)
    if name not in recipe.models:
        raise DataError(f"{path}: models: no {name!r}; there are {', '.join(recipe.models)}")
    part = recipe.models[name]
    if part.training.sequence > part.longest:
        raise DataError(
            f"{path}: models.{name}.training.sequence: {part.training.sequence} tokens; "
            f"max_position_embeddings leaves {part.longest}"
        )
    return recipe, part
