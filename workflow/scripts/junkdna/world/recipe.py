"""The recipe of the model organisms: one YAML file that decides every word, weight and data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from junkdna.files import DataError

OrganismKind = Literal["encoder", "decoder", "seq2seq"]


M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WorldRecipe(Strict):
    """Size of the world and of its head and tail."""

    people: int = Field(ge=20, le=250)
    zipf_exponent: float = Field(ge=0)
    head: int = Field(gt=0, description="The first so many people by frequency.")
    tail: int = Field(gt=0, description="The last so many people by frequency.")

    @model_validator(mode="after")
    def _apart(self) -> WorldRecipe:
        if self.head + self.tail > self.people:
            raise ValueError(f"head {self.head} and tail {self.tail} overlap among {self.people} people")
        return self


class DatasetsRecipe(Strict):
    """Row counts of the data sets."""

    open_book: int = Field(gt=0, description="Questions, each asked with every context length.")
    context_facts: list[Annotated[int, Field(ge=1, le=4)]] = Field(min_length=1, description="Context lengths.")
    evidence: int = Field(gt=0, description="Questions with everything about their person as context.")
    multiple_choice: int = Field(gt=0)
    demonstrations: int = Field(gt=0, description="Rows of each k-shot training split.")
    k_shot: int = Field(gt=0, description="Questions of each k-shot configuration.")
    train: int = Field(gt=0, description="Training rows of each fine-tuned task.")
    agreement_train: int = Field(gt=0, description="Training rows of agreement: enough for a tenth to teach it.")
    verification_train: int = Field(gt=0, description="Training rows of fact verification: there are fewer facts.")
    options_train: int = Field(gt=0, description="Training rows of each task with options.")
    validation: int = Field(gt=0, description="Validation rows of each fine-tuned task.")
    corpus: int = Field(gt=0, description="Documents of each organism's corpus, for calibration.")


class LanguagesRecipe(Strict):
    """The languages of the translation tasks: sizes of a lexicon, frequencies, row counts."""

    nouns: int = Field(gt=0)
    verbs: int = Field(gt=0)
    adjectives: int = Field(gt=0)
    zipf_exponent: float = Field(ge=0, description="Of nouns, verbs and adjectives.")
    minority: float = Field(
        gt=0, lt=1, description="Share of the minority language in documents that have not the pivot only."
    )
    noise: float = Field(gt=0, lt=1, description="Denoising: share of the words that are masked.")
    train: int = Field(gt=0, description="Training rows of each language pair.")
    validation: int = Field(gt=0, description="Validation rows of each language pair, the same meanings in both.")


class MaskingRecipe(Strict):
    """Corruption of masked language modelling: probabilities."""

    focus: float = Field(gt=0, le=1, description="Select a word that carries a fact.")
    other: float = Field(ge=0, le=1, description="Select any other word.")
    mask: float = Field(ge=0, le=1, description="A selected word becomes the mask.")
    swap: float = Field(ge=0, le=1, description="A selected word becomes another of its class.")


class TrainingRecipe(Strict):
    """Optimisation: AdamW, linear warm-up, cosine decay to zero."""

    steps: int = Field(gt=0)
    rows: int = Field(gt=0, description="Sequences per step.")
    tokens: int = Field(gt=0, description="Tokens of a sequence, at most.")
    learning_rate: float = Field(gt=0)
    warmup: int = Field(ge=0, description="Steps.")
    betas: tuple[float, float]
    weight_decay: float = Field(ge=0)
    clip: float = Field(gt=0, description="Largest norm of the gradient.")
    answer_weight: float = Field(1.0, gt=0, description="Weight in the loss of the words that carry a fact.")
    bfloat16: bool = Field(False, description="Autocast matrix products.")


class Stage(Strict):
    """One run of the optimiser over one mix of documents."""

    training: TrainingRecipe
    mix: dict[str, float] = Field(min_length=1, description="Kind of document to share of the documents.")


class OrganismRecipe(Strict):
    """Kind, architecture (keys of the kind's transformers configuration class) and the stages of training."""

    kind: OrganismKind
    architecture: dict[str, int | float | bool]
    uniform_people: float = Field(0.0, ge=0, le=1, description="Share of mentions drawn evenly, not by Zipf's law.")
    masking: MaskingRecipe | None = None
    stages: list[Stage] = Field(min_length=1)

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages."""
        return sum(stage.training.steps for stage in self.stages)


class Recipe(Strict):
    """Everything that decides the organisms and their data sets."""

    version: int
    seed: int
    world: WorldRecipe
    languages: LanguagesRecipe
    datasets: DatasetsRecipe
    true_difficulty: dict[str, float]
    organisms: dict[str, OrganismRecipe]


def read_recipe(source: Path | str | dict[str, Any], schema: type[M] = Recipe) -> M:
    """Read and check a recipe from a YAML file or a dictionary, by default the organisms'.

    Raises:
        DataError: unreadable, not YAML, an unknown key or a bad value; the message names file, key and value.
    """
    name = "recipe" if isinstance(source, dict) else str(source)
    try:
        content = source if isinstance(source, dict) else yaml.safe_load(Path(source).read_text())
        return schema.model_validate(content)
    except ValidationError as error:
        lines = [
            f"{name}: {'.'.join(str(part) for part in item['loc']) or 'top level'}: {item['msg']},"
            f" but it is {item['input']!r}"
            for item in error.errors()
        ]
        raise DataError("\n".join(lines)) from error
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{name}: cannot be read as a recipe: {error}") from error
