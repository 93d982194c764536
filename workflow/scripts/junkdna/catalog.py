"""What the catalog may hold: models, data sets, methods and tasks, as pydantic models that forbid unknown keys.

Apart from config.py because the jobs read these: a new key of the configuration must not redo a fine-tuning. Imported
while Snakemake parses the Snakefile, so nothing heavy is imported here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from junkdna import levels

TRANSFERS = ("none", "dense", "sparse", "sparse_to_dense", "dense_frozen", "zero_shot")
KINDS = (
    *("generation", "multiple_choice", "classification", "regression", "perplexity", "translation", "expression"),
    "lm_eval",
)
METRICS = {
    "generation": ("exact_match", "f1", "contains", "contains_either", "number_match"),
    "multiple_choice": ("accuracy",),
    "classification": ("accuracy", "matthews", "f1_binary"),
    "regression": ("pearson", "spearman"),
    "perplexity": ("perplexity",),
    "translation": ("bleu", "chrf"),
    "expression": ("accuracy",),
    "lm_eval": (),  # whatever the harness reports
}


def _name(value: str) -> str:
    # Names become directories, wildcards and words of a shell command.
    if not value or not all(c.isascii() and (c.isalnum() or c in "_-.") for c in value) or value[0] in "-.":
        raise ValueError("allowed are letters, digits, '_', '-' and '.', not starting with '-' or '.'")
    return value


def _level(value: str) -> str:
    return levels.parse(value).text


def _fraction(value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number <= 1 or value != f"{number:.2f}":
        raise ValueError("a fraction is written with two decimals, 0.01 to 1.00, in quotes")
    return value


Name = Annotated[str, AfterValidator(_name)]
LevelText = Annotated[str, AfterValidator(_level)]
FractionText = Annotated[str, AfterValidator(_fraction)]
Revision = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hub(Strict):
    """A repository of the Hugging Face hub, or the folder `mirror` holds under its id."""

    type: Literal["hub"]
    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="organisation/name")
    revision: Revision | None = Field(None, description="Commit to download; required unless `mirror` is set.")
    branch: str = Field("main", description="Where `make pin` looks up the commit of an entry without `revision`.")
    sha256: dict[str, Digest] = Field({}, description="File name to digest; checked wherever the file came from.")
    files: list[str] = Field([], description="data sets: patterns of the files to take; all parquet if absent.")


class Local(Strict):
    """A folder on this machine, absolute or relative to the working directory."""

    type: Literal["local"]
    path: Path
    sha256: dict[str, Digest] = Field({}, description="File name to digest; checked.")
    files: list[str] = Field([], description="data sets: patterns of the files to take; all parquet if absent.")


class Builtin(Strict):
    """Something that comes with the project: a model below resources/, or the data sets of the organisms' world."""

    type: Literal["builtin"]
    path: str = Field(
        pattern="^(world|(organisms|small)/[a-z0-9-]+)$", description="`world`, `organisms/NAME` or `small/NAME`."
    )

    @property
    def family(self) -> str:
        """Folder of resources/ with its list of digests."""
        return "organisms" if self.path == "world" else self.path.split("/")[0]


class Corpus(Strict):
    """Plain text to pre-train on: shards with a paragraph on each line and an empty line between documents."""

    type: Literal["corpus"]
    path: Path = Field(description="Folder, absolute or relative to the working directory.")
    sha256: dict[Annotated[str, Field(pattern=r"\.txt(\.xz|\.gz)?$")], Digest] = Field(
        min_length=1, description="Shard (.txt, .txt.xz or .txt.gz) to digest; these are read, in the order of names."
    )


Source = Annotated[Hub | Local | Builtin, Field(discriminator="type")]
DataSource = Annotated[Hub | Local | Builtin | Corpus, Field(discriminator="type")]


class CalibrationData(Strict):
    """Text from which the calibrated methods learn what a model's layers see."""

    dataset: Name = Field(description="Key of `datasets`.")
    config: str = Field("default", description="Folder of the data set.")
    split: str = Field("train", description="Files whose names hold this are read: parquet, .json.gz or .txt.")
    text: str = Field("text", description="Column with the text.")
    n_samples: int = Field(128, gt=0, description="Sequences.")
    seq_len: int = Field(2048, gt=1, description="Tokens of a sequence; at most what the model can take.")
    sampling: Literal["long", "joined", "whole"] = Field(
        "long", description="Windows of documents that are long enough, windows of all joined, or whole documents."
    )
    separator: str = Field("\n\n", description="Between documents that are joined.")


class Model(Strict):
    """A pre-trained model."""

    source: Source | None = Field(None, description="Where the weights come from; absent for an untrained twin.")
    untrained_twin_of: Name | None = Field(
        None, description="Control model: the architecture of that model with fresh random weights."
    )
    seed: int = Field(0, description="Seed of an untrained twin's weights.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="Data type to compute in.")
    prunable_include: str | None = Field(None, description="Regular expression; only matching weights are prunable.")
    prunable_exclude: str | None = Field(None, description="Regular expression; matching weights are not prunable.")
    prune_head: bool = Field(
        False,
        description="Compress the fresh head together with the body when a fine-tuning starts, as the reference does.",
    )
    calibration: CalibrationData | None = Field(None, description="What the calibrated methods see.")

    @model_validator(mode="after")
    def _one_origin(self) -> Model:
        if (self.source is None) == (self.untrained_twin_of is None):
            raise ValueError("give either `source` or `untrained_twin_of`")
        return self


class Method(Strict):
    """A compression method: its module, and the params that it reads."""

    module: Annotated[str, Field(pattern=r"^(pruning|quantization)\.[a-z_]+$")]
    label: str = Field(description="Name in figures and tables.")
    levels: list[Literal["sparsity", "nm", "bits", "band"]] = Field(min_length=1, description="Kinds of level.")
    params: dict[str, int | float | str | bool] = Field({}, description="Only what the method reads.")
    indexed: bool = Field(False, description="Reads the index of global magnitudes made once per model.")


class Training(Strict):
    """How a task is fine-tuned. Exactly one of `epochs` and `steps`, and one of `batch_size` and `batch_tokens`."""

    learning_rate: float = Field(gt=0)
    head_learning_rate: float | None = Field(
        None, gt=0, description="Of the weights outside the pre-trained body; absent: as all others."
    )
    batch_size: int | None = Field(None, gt=0, description="Examples of a batch.")
    batch_tokens: int | None = Field(
        None, gt=0, description="Tokens of a batch at most, padding included: the longer of its inputs and its targets."
    )
    accumulate: int = Field(1, gt=0, description="Batches per optimizer step.")
    epochs: float | None = Field(None, gt=0)
    steps: int | None = Field(None, gt=0)
    warmup_fraction: float = Field(0.06, ge=0, lt=1, description="Share of the steps with linear warm-up.")
    warmup_steps: int | None = Field(None, ge=0, description="Steps of warm-up, instead of a share.")
    schedule: Literal["linear", "inverse_sqrt", "constant_with_warmup"] = Field(
        "linear", description="Learning rate after the warm-up: linear to 0, by the inverse square root, constant."
    )
    weight_decay: float = Field(0.0, ge=0)
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="classification, translation: probability spread over all classes or tokens."
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="Of hidden states, instead of the model's own.")
    max_length: int = Field(gt=0, description="Tokens; longer inputs are cut.")
    autocast: bool = Field(
        False, description="Matrix products in bfloat16, weights and updates in float32: faster with AMX or on a GPU."
    )
    group_by_length: bool = Field(False, description="Batches of similar length, for less padding; with `batch_size`.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Training:
        for one, other in (("epochs", "steps"), ("batch_size", "batch_tokens")):
            if (getattr(self, one) is None) == (getattr(self, other) is None):
                raise ValueError(f"give either `{one}` or `{other}`")
        if self.group_by_length and self.batch_tokens:
            raise ValueError("`batch_tokens` groups by length already: give `group_by_length` with `batch_size` only")
        return self


class Variant(Strict):
    """One way to ask a task: which rows, and what the prompt holds."""

    where: dict[str, str | int | float | bool] = Field({}, description="Column to value: rows to keep.")
    shots: int = Field(0, ge=0, description="In-context demonstrations, the first k of `demonstration_split`.")
    n_options: int | None = Field(None, ge=2, description="Options kept: the answer and seeded random distractors.")
    prompt: str | None = Field(None, description="Template that replaces the task's.")
    context_tokens: int | None = Field(
        None,
        ge=0,
        description="Cut {context} after so many tokens of the model's tokenizer; with 0 leave it out of the `prompt`.",
    )
    true_difficulty: float | None = Field(None, description="Difficulty known by construction, larger is harder.")


class Task(Strict):
    """A data set, how it is asked, and how the answers are scored."""

    version: int = Field(1, description="Raise it when a change makes older results incomparable.")
    label: str = Field(description="Name in figures and tables.")
    kind: Literal[KINDS]
    dataset: Name = Field(description="Key of `datasets`.")
    configs: list[str] = Field(min_length=1, description="Configurations of the data set, read one after the other.")
    train_split: str = "train"
    evaluate_split: str = "validation"
    train_limit: int | None = Field(None, gt=0, description="First rows of the (seeded, fixed) order used to train.")
    evaluate_limit: int | None = Field(None, gt=0, description="Rows scored, a seeded sample; all if absent.")
    evaluate_first: bool = Field(False, description="The first rows are scored instead of a sample.")
    text: list[str] = Field(
        [],
        max_length=2,
        description="Text columns: one or two to classify, or to join to a word problem; one to translate, or of "
        "running text.",
    )
    target: str = Field(
        "label", description="Column of the label, the answer, the translation or the index of the right option."
    )
    languages: list[str] = Field(
        [],
        description="translation: the tokenizer's codes of source and target; none: the model knows one pair.",
    )
    equation: str | None = Field(
        None, description="expression: column with the equation to learn from, infix or prefix, of + - * /."
    )
    numbers: str | None = Field(
        None,
        description="expression: column with the values that fill number0, number1, ... (or N_00) in the text, a list "
        "or split by spaces; absent: the text has them.",
    )
    constants: list[float] = Field(
        [1, 100], description="expression: numbers that an equation may use beside those of the text."
    )
    n_classes: int | None = Field(None, ge=2, description="classification: number of classes.")
    fields: dict[str, list[str]] = Field(
        {}, description="Template field to columns (dots enter nested values, numbers lists); joined by line breaks."
    )
    prompt: str | None = Field(None, description="Template of one question, with {column} or {field}.")
    context_characters: int | None = Field(None, gt=0, description="Cut {context} after so many characters.")
    aliases: list[str] = Field([], description="generation: further columns with accepted answers.")
    max_new_tokens: int = Field(
        8, gt=0, description="Tokens to write at most; the first line is the answer (generation), all (translation)."
    )
    num_beams: int = Field(1, gt=0, description="translation: beams; 1 is greedy.")
    bleu_tokenizer: Literal["13a", "intl", "char", "none"] = Field(
        "13a", description="translation: sacrebleu's tokenizer for BLEU."
    )
    choices: str | list[str] | None = Field(
        None,
        description="Column with the list of options, or one column for each; generation: the answer is one of them.",
    )
    labels: str | list[str] | None = Field(
        None,
        description="multiple_choice: what `target` holds for each option, or the column with that; absent: an index.",
    )
    option: str | None = Field(
        None,
        description="multiple_choice: template of an option, with {letter} and {choice}: as listed after the prompt; "
        "scoring head: as paired with the prompt, {choice} if absent.",
    )
    blank: str | None = Field(
        None, description="multiple_choice, scoring head: the place in the prompt that each option fills."
    )
    cue: str = Field("", description="multiple_choice: text after the options, before the answer.")
    scoring: Literal["letter", "text", "head"] = Field(
        "letter",
        description="multiple_choice: what of an option is scored by log-likelihood; head: a fine-tuned encoder with a "
        "fresh head scores each option as read with the prompt.",
    )
    separator: str = Field("\n\n", description="Text between demonstrations and question.")
    preamble: str = Field("", description="Text before the first demonstration.")
    demonstration_split: str = "train"
    harness_task: str | None = Field(None, description="lm_eval: name of a task in lm-evaluation-harness.")
    include_path: Path | None = Field(
        None, description="lm_eval: folder of task files; absent: those that come with the harness."
    )
    metric: str = Field(
        description="The metric of tables and figures; lm_eval: as the harness reports it, `acc` or `acc,FILTER`."
    )
    chance: float | Literal["uniform", "majority"] = Field(
        0.0, description="Score of guessing: a number, 1 / options, or the share of the commonest answer."
    )
    human: str | None = Field(None, description="Key of resources/human_scores.yaml; absent: no published human score.")
    true_difficulty: float | None = Field(None, description="Difficulty known by construction, larger is harder.")
    training: Training | None = Field(None, description="How it is fine-tuned; absent: it cannot be.")
    variants: dict[Name, Variant] = Field({"all": Variant()}, min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> Task:
        if METRICS[self.kind] and self.metric not in METRICS[self.kind]:
            raise ValueError(f"metric {self.metric!r} is not one of {', '.join(METRICS[self.kind])} for {self.kind}")
        needed = {
            "classification": ("text", "n_classes"),
            "regression": ("text",),
            "multiple_choice": ("prompt", "choices"),
            "generation": ("prompt",),
            "perplexity": ("text",),
            "translation": ("text",),
            "expression": ("text", "equation"),
            "lm_eval": ("harness_task",),
        }[self.kind]
        missing = [key for key in needed if not getattr(self, key)]
        if missing:
            raise ValueError(f"kind {self.kind} needs {', '.join(missing)}")
        for name, variant in self.variants.items():
            if variant.context_tokens and "{context}" not in (variant.prompt or self.prompt or ""):
                raise ValueError(f"variants.{name}.context_tokens: its prompt has no {{context}} to cut")
        if self.kind == "lm_eval" and (len(self.configs) != 1 or self.training):
            raise ValueError("kind lm_eval takes one of `configs` and no `training`")
        for name, variant in self.variants.items() if self.kind == "lm_eval" else ():
            if unread := variant.model_fields_set - {"shots", "true_difficulty"}:
                raise ValueError(f"variants.{name}: kind lm_eval takes `shots` only, not {', '.join(sorted(unread))}")
        if self.kind == "translation" and (len(self.text) != 1 or len(self.languages) not in (0, 2)):
            raise ValueError("kind translation takes one `text` column and two `languages` or none")
        if self.kind in ("regression", "expression") and self.training and self.training.label_smoothing:
            raise ValueError(f"training.label_smoothing: kind {self.kind} has no classes to spread probability over")
        if self.has_head and any(variant.shots for variant in self.variants.values()):
            raise ValueError("a head takes no demonstrations (`shots` of a variant)")
        if self.scoring == "head" and self.training and (self.training.batch_tokens or self.training.group_by_length):
            raise ValueError("scoring head takes `training.batch_size`, not batch_tokens or group_by_length")
        if self.blank and (self.scoring != "head" or self.option):
            raise ValueError("`blank` goes with scoring head and without `option`: the options fill the prompt")
        return self

    @property
    def has_head(self) -> bool:
        """Whether the answers come from a head with fresh weights: nothing to evaluate before a fine-tuning."""
        return self.kind in ("classification", "regression", "expression") or self.picks_by_head

    @property
    def picks_by_head(self) -> bool:
        """Whether a head scores each option of a question."""
        return self.kind == "multiple_choice" and self.scoring == "head"

    def for_stage(self, stage: Literal["train", "evaluate"]) -> Task:
        """This task with each key that the stage does not read at its default: editing those reruns nothing."""
        shown = {"label", "human", "true_difficulty"}
        asked = {"evaluate_split", "evaluate_limit", "evaluate_first", "chance", "variants", "max_new_tokens"}
        asked |= {"separator", "preamble"}
        asked |= {"num_beams", "bleu_tokenizer"}
        unread = shown | (asked if stage == "train" else {"train_limit"})
        defaults = {key: Task.model_fields[key].default for key in unread - {"label"}}
        return self.model_copy(update={**defaults, "label": self.kind})


class Catalog(Strict):
    """Everything an experiment may name. The files of config/catalog are merged; a key may occur once."""

    models: dict[Name, Model] = {}
    datasets: dict[Name, DataSource] = {}
    methods: dict[Name, Method] = {}
    tasks: dict[Name, Task] = {}
