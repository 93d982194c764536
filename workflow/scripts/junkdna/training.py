"""Fine-tuning with transformers.Trainer in the four transfer modes."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import LabelSmoother

from junkdna.catalog import Task
from junkdna.expression_model import ProblemCollator, encode_problems, labelled
from junkdna.files import DataError
from junkdna.graphs import MULTIPLE, GraphTrainer, recordable
from junkdna.models import LABELLED, matched, max_tokens
from junkdna.parts import PartsTrainer
from junkdna.resuming import Resumable, last_whole_checkpoint
from junkdna.tasks import Question, per_option
from junkdna.transfers import start
from junkdna.translation import encode_pairs

log = logging.getLogger(__name__)

LOGGED = 20  # points of the loss curve
SAVE_EVERY = 500  # steps; shorter runs are cheaper to repeat than to save
IGNORED = -100  # label of padding, as everywhere in transformers


@dataclass(frozen=True)
class Outcome:
    """What a training did; ``curve`` holds {"step", "loss"} with the loss averaged since the point before."""

    steps: int
    examples: int
    curve: list[dict[str, float]]


class Diverged(ArithmeticError):  # noqa: N818 - a result, not an error
    """The loss, or a weight, of a training is not finite; ``step`` is where that was seen."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} at step {step}: diverged; lower `training.learning_rate`?")
        self.step = step


class Collator:
    """Pads a batch on the right; options of a question become a second axis.

    Args:
        multiple: of which the tokens of an example of the batch are one, or ``most``, which none exceeds.
    """

    def __init__(self, pad: int, dtype: torch.dtype, most: int, multiple: int = 1) -> None:
        self.pad, self.dtype, self.most, self.multiple = pad, dtype, most, multiple

    def __call__(self, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        read = [example["input_ids"] for example in batch]
        options = isinstance(read[0][0], list)
        flat = [ids for several in read for ids in several] if options else read
        length = min(self.most, math.ceil(max(map(len, flat)) / self.multiple) * self.multiple)
        inputs = pad_right(flat, self.pad, length)
        if options:
            inputs = {key: tensor.unflatten(0, (len(read), -1)) for key, tensor in inputs.items()}
        return {**inputs, "labels": torch.tensor([example["label"] for example in batch], dtype=self.dtype)}


class PairCollator:
    """Pads inputs and labels, and starts the decoder as the architecture does: mBART with the label's language code."""

    def __init__(self, pad: int, model: PreTrainedModel) -> None:
        self.pad, self.model = pad, model

    def __call__(self, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        inputs = pad_right([example["input_ids"] for example in batch], self.pad)
        labels = pad_right([example["labels"] for example in batch], IGNORED)["input_ids"]
        started = self.model.prepare_decoder_input_ids_from_labels(labels)
        return {**inputs, "labels": labels, "decoder_input_ids": started}


def pad_right(sequences: list[list[int]], pad: int, length: int | None = None) -> dict[str, torch.Tensor]:
    """Token ids and attention mask, both of shape (sequences, ``length`` or that of the longest)."""
    length = length or max(map(len, sequences))
    return {
        "input_ids": torch.tensor([s + [pad] * (length - len(s)) for s in sequences]),
        "attention_mask": torch.tensor([[1] * len(s) + [0] * (length - len(s)) for s in sequences]),
    }


def encode(questions: list[Question], tokenizer: PreTrainedTokenizerBase, length: int) -> list[list[int]]:
    """Token ids of one or two texts each, cut to ``length``; how many were cut is logged."""
    pairs = [list(column) for column in zip(*(question.texts for question in questions), strict=True)]
    # A tokenizer that was told to cut does not say what it cut.
    found = tokenizer(*pairs, verbose=False)["input_ids"]
    cut = [i for i, ids in enumerate(found) if len(ids) > length]
    if cut:
        log.warning("%d of %d inputs are longer than %d tokens and were cut", len(cut), len(found), length)
        long = [[column[i] for i in cut] for column in pairs]
        for i, ids in zip(cut, tokenizer(*long, truncation=True, max_length=length)["input_ids"], strict=True):
            found[i] = ids
    return found


def encode_options(questions: list[Question], tokenizer: PreTrainedTokenizerBase, length: int) -> list[list[list[int]]]:
    """Token ids of each option of each question, as :func:`encode`.

    Raises:
        DataError: the questions differ in their number of options, which a batch cannot hold.
    """
    counts = sorted({len(question.options) for question in questions})
    if len(counts) > 1:
        raise DataError(f"training questions with {' and '.join(map(str, counts))} options: one number is expected")
    ids = encode(per_option(questions), tokenizer, length)
    return [ids[i : i + counts[0]] for i in range(0, len(ids), counts[0])]


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    questions: list[Question],
    *,
    transfer: str,
    masks: dict[str, torch.Tensor] | None,
    seed: int,
    resume: Path,
    save_every: int = SAVE_EVERY,
) -> Outcome:
    """Fine-tune ``model`` in place.

    Args:
        masks: True = keep, by weight; None for the dense transfer and only for it.
        resume: folder for the checkpoints of an interrupted training; continues from one that is there.
        save_every: steps between checkpoints.

    Raises:
        DataError: the task cannot be fine-tuned, or the masks do not fit the transfer mode.
        Diverged: the loss or a weight is not finite.
        AssertionError: the weights after training are not what the transfer mode promises.
        SystemExit: SIGTERM came; the checkpoint is in ``resume``.
    """
    training = task.training
    if training is None or not (task.has_head or task.kind == "translation"):
        kinds = f"{', '.join((*LABELLED, 'translation', 'expression'))}, or multiple_choice with scoring head"
        raise DataError(f"task of kind {task.kind}: cannot be fine-tuned; give it `training`, and a kind of {kinds}")
    if (masks is None) != (transfer == "dense"):
        raise DataError(f"transfer {transfer!r}: {'needs a' if masks is None else 'takes no'} compressed state")
    pairs = matched(model, masks or {})
    keeper = start(transfer, pairs)
    data, collate = prepare(model, tokenizer, task, questions)
    if training.batch_tokens:
        data, one = token_batches(data, training.batch_tokens), collate

        def collate(batch: list[Any]) -> dict[str, torch.Tensor]:
            return one(batch[0])

    batches = len(data) if training.batch_tokens else math.ceil(len(data) / training.batch_size)
    steps = training.steps or math.ceil(training.epochs * math.ceil(batches / training.accumulate))
    smoothed = task.kind == "translation" or training.label_smoothing > 0
    set_seed(seed)
    be_deterministic()
    if training.autocast:
        attend_fast(model)
    plain = isinstance(collate, Collator) and not smoothed and training.accumulate == 1
    quick = PartsTrainer if not torch.cuda.is_available() else GraphTrainer if recordable(model.config) else Trainer
    trainer = (quick if plain else Trainer)(
        model,
        arguments(task, steps, seed, resume, save_every),
        train_dataset=data,
        data_collator=collate,
        # Of translations without smoothing too: mBART's own loss does not know of further batches of a step.
        compute_loss_func=LabelSmoother(training.label_smoothing) if smoothed else None,
        callbacks=[keeper, StopAtNaN(), resumable := Resumable()],
    )
    # Counting them walks over all parameters at each step, which a small model feels.
    trainer.floating_point_ops = lambda inputs: 0
    resumable.trainer = trainer
    if training.head_learning_rate is not None:
        hasten(trainer, training.head_learning_rate)
    with resumable.heeding_sigterm():
        trainer.train(resume_from_checkpoint=last_whole_checkpoint(resume))
    model.eval()
    if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
        raise Diverged(steps, "a weight is not finite")
    keeper.verify()
    return Outcome(
        steps,
        len(questions),
        [
            {"step": entry["step"], "loss": round(entry["loss"], 6)}
            for entry in trainer.state.log_history
            if "loss" in entry
        ],
    )


def be_deterministic() -> None:
    """Have a GPU give equal bits each time, as a CPU does.

    The Trainer's ``full_determinism`` allows matrix products 128 KB to work in and has all new memory filled, both of
    which cost time.
    """
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # eight times 4 MiB, as cuBLAS wants it
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False


def attend_fast(model: PreTrainedModel) -> None:
    """Attention written out, on a CPU: a third faster for an encoder's short sequences under autocast."""
    if not torch.cuda.is_available():
        model.set_attn_implementation("eager")


def prepare(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, questions: list[Question]
) -> tuple[list[Any], Callable[[list[Any]], dict[str, torch.Tensor]]]:
    """Encoded examples of a task and what makes a batch of them."""
    length = min(task.training.max_length, max_tokens(model.config, tokenizer))
    if task.kind == "translation":
        texts = [q.texts[0] for q in questions], [q.answers[0] for q in questions]
        return encode_pairs(tokenizer, task, *texts, length), PairCollator(tokenizer.pad_token_id, model)
    read = encode_options if task.picks_by_head else encode
    if task.kind == "expression":
        data = labelled(encode_problems(questions, tokenizer, length), questions, model.config)
        if not data:
            raise DataError(f"training.max_length: {length}: no problem is left whose numbers fit")
        return data, ProblemCollator(tokenizer.pad_token_id)
    number, dtype = (float, torch.float32) if task.kind == "regression" else (int, torch.long)
    data = [
        {"input_ids": ids, "label": number(q.target)}
        for ids, q in zip(read(questions, tokenizer, length), questions, strict=True)
    ]
    return data, Collator(tokenizer.pad_token_id, dtype, length, MULTIPLE if torch.cuda.is_available() else 1)


def hasten(trainer: Trainer, rate: float) -> None:
    """Give the weights outside the pre-trained body a learning rate of their own, on the same schedule."""
    optimizer = trainer.create_optimizer()
    body = {id(weight) for weight in trainer.model.base_model.parameters()}
    for group in list(optimizer.param_groups):
        fresh = [weight for weight in group["params"] if id(weight) not in body]
        group["params"] = [weight for weight in group["params"] if id(weight) in body]
        optimizer.add_param_group({**group, "params": fresh, "lr": rate})


def token_batches(data: list[dict[str, Any]], most: int) -> list[list[dict[str, Any]]]:
    """Examples of similar length in batches of at most ``most`` tokens, padding included, as fairseq makes them.

    Counted is the longer of inputs and labels. An example that is longer than ``most`` is a batch of its own.
    """
    lengths = [max(len(e["input_ids"]), len(e.get("labels", ()))) for e in data]
    batches: list[list[dict[str, Any]]] = []
    for i in sorted(range(len(data)), key=lambda i: lengths[i]):
        if not batches or (len(batches[-1]) + 1) * lengths[i] > most:
            batches.append([])
        batches[-1].append(data[i])
    return batches


def arguments(task: Task, steps: int, seed: int, folder: Path, save_every: int) -> TrainingArguments:
    """AdamW with linear warm-up, clipped at 1; nothing evaluated, reported or saved that is not needed."""
    training, warmup = task.training, task.training.warmup_steps
    asked = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=training.batch_size or 1,  # by tokens, an item of the data is a batch
        gradient_accumulation_steps=training.accumulate,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        lr_scheduler_type=training.schedule,
        warmup_steps=round(training.warmup_fraction * steps) if warmup is None else warmup,
        optim="adamw_torch_fused",
        max_grad_norm=1.0,
        seed=seed,
        data_seed=seed,
        bf16=training.autocast,
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length" if training.group_by_length else "random",
        logging_strategy="steps",
        logging_steps=max(1, steps // LOGGED),
        logging_nan_inf_filter=False,
        save_strategy="steps" if steps > save_every else "no",
        save_steps=save_every,
        save_total_limit=1,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
    )
    asked._n_gpu = min(1, asked.n_gpu)  # with more in sight the Trainer would give each a batch
    return asked


class StopAtNaN(TrainerCallback):
    """Ends a training whose loss is not finite, at the next logged point."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if not math.isfinite(logs.get("loss", 0.0)):
            raise Diverged(state.global_step, f"the loss is {logs['loss']}")


def describe(outcome: Outcome, model: PreTrainedModel) -> dict[str, Any]:
    """What a manifest says of a training."""
    return {
        "steps": outcome.steps,
        "examples": outcome.examples,
        "final_loss": outcome.curve[-1]["loss"],
        "loss_curve": outcome.curve,
        "parameters": model.num_parameters(),
    }
