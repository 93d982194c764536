"""Fine-tuning: a plain loop (plain_finetuning.py) against ours, with the same data order, masks and start.

Two cases, both a classification with dropout 0, sparse transfer and half of the weights gone: the encoder organism on
tasks of its world, and a randomly initialised model of the shape of RoBERTa-base on texts as long as QNLI's, of which
``--steps`` says how many batches. Processor seconds of one thread, tokenization and set-up included, in turns; on a GPU
wall clock. Then once under torch.profiler, on a CPU only. ``--group``: ours groups texts by length, so curves differ.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import io
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from unittest.mock import patch

import machine
import plain_finetuning
import torch
import transformers
from transformers import PreTrainedModel, RobertaConfig, RobertaForSequenceClassification

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "scripts"))
from junkdna import models, tasks, training, transfers
from junkdna.catalog import Model, Task
from junkdna.config import read_catalog
from junkdna.tasks import Question
from junkdna.world.datasets import write_datasets

PROJECT = Path(__file__).resolve().parents[2]
ENCODER = PROJECT / "resources/organisms/encoder"
SEED = 0
SPARSITY = 0.5
QNLI = {"mu": 51, "sigma": 18}  # tokens of an input, of which there are 20 to 128
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SHAPES = {"base": {}, "large": {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}}
SHAPES["large"]["num_hidden_layers"] = 24


def mark() -> float | torch.cuda.Event:
    """A point of time, in processor seconds; of a GPU, when it has done all that was asked before."""
    if not torch.cuda.is_available():
        return time.process_time()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def between(first: float | torch.cuda.Event, last: float | torch.cuda.Event) -> float:
    """Seconds."""
    if isinstance(last, float):
        return last - first
    last.synchronize()
    return first.elapsed_time(last) / 1e3


@dataclass(frozen=True)
class Run:
    """Seconds of a training, of one step without what is done once, and of its masks; the losses."""

    seconds: float
    step: float
    masks: float
    losses: list

    @classmethod
    def of(cls, owner: object, name: str, train: Callable[[], list]) -> Run:
        """What ``train`` takes, which calls ``owner.name`` for the masks and returns the losses."""
        keep, marks = getattr(owner, name), []

        def timed(*args: object, **options: object) -> None:
            before = mark()
            keep(*args, **options)
            marks.append((before, mark()))

        with patch.object(owner, name, timed):
            begun = mark()
            losses = train()
            ended = mark()
        masks = [between(*each) for each in marks[1:]]  # the first has kernels to load, on a GPU
        step = between(marks[0][1], marks[-1][1]) / (len(marks) - 1)
        return cls(between(begun, ended), step, statistics.median(masks), losses)


@dataclass(frozen=True)
class Case:
    """A model, made anew for each training, and what to train it on."""

    name: str
    make: Callable[[], PreTrainedModel]
    task: Task
    questions: list[Question]
    steps: int
    grouped: bool

    def train(self, precision: str) -> Run:
        """Ours, with the loss curve."""
        model, tokenizer = self.make().to(models.device()), models.load_tokenizer(ENCODER)
        tokenizer.model_max_length = model.config.max_position_embeddings - 2
        wanted = {"autocast": precision == "bfloat16", "steps": self.steps, "epochs": None}
        wanted |= {"group_by_length": self.grouped}
        task = self.task.model_copy(update={"training": self.task.training.model_copy(update=wanted)})
        masks = {name: mask.bool() for name, mask in plain_finetuning.prune(model, SPARSITY).items()}
        given = (model, tokenizer, task, self.questions)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            options = {"transfer": "sparse", "masks": masks, "seed": SEED, "resume": Path(folder)}
            return Run.of(transfers.KeepZero, "on_optimizer_step", lambda: training.fine_tune(*given, **options).curve)

    def train_plainly(self) -> Run:
        """The peer, with the loss of each step."""
        model, asked = self.make().to(models.device()), self.task.training
        tokenizer = models.load_tokenizer(ENCODER)
        masks = plain_finetuning.prune(model, SPARSITY)
        texts, labels = [q.texts[0] for q in self.questions], [int(q.target) for q in self.questions]
        warmup = round(asked.warmup_fraction * self.steps)
        options = {"steps": self.steps, "batch": asked.batch_size, "rate": asked.learning_rate, "warmup": warmup}

        def train() -> list[float]:
            data = plain_finetuning.encode(tokenizer, texts, labels, asked.max_length)
            data = {key: tensor.to(model.device) for key, tensor in data.items()}
            return plain_finetuning.fine_tune(model, data, masks, seed=SEED, **options)

        return Run.of(plain_finetuning, "multiply", train)


def organism(world: Path, name: str, args: argparse.Namespace) -> Case:
    """The encoder organism on a task of its world, as the catalog trains it."""
    task = read_catalog([PROJECT / "config/catalog"]).tasks[name]
    questions = tasks.training_questions(world, task, 1.0)
    steps = task.training.steps or round(task.training.epochs * -(-len(questions) // task.training.batch_size))

    def make() -> PreTrainedModel:
        return models.load_model(ENCODER, Model(source={"type": "local", "path": ENCODER}), task, tokenizer, SEED)

    tokenizer = models.load_tokenizer(ENCODER)
    return Case(f"organism, {name}", make, task, questions, 5 if args.few else steps, args.group)


def shape(name: str, like: Task, args: argparse.Namespace) -> Case:
    """The shape of a RoBERTa, random, on random words."""
    size = {"vocab_size": 50265, "max_position_embeddings": 514, **SHAPES[name]}
    config = RobertaConfig(**size, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    if args.few:
        config.num_hidden_layers = 1
    torch.manual_seed(SEED)
    first = RobertaForSequenceClassification(config).eval()

    draw, words = Random(SEED), [word for word in models.load_tokenizer(ENCODER).get_vocab() if word.isalpha()]
    lengths = [min(128, max(20, round(draw.gauss(**QNLI)))) - 2 for _ in range(32 * args.steps)]
    texts = [" ".join(draw.choices(words, k=length)) for length in lengths]
    wanted = {"batch_size": 32, "max_length": 128, "learning_rate": 2e-5, "steps": 1}
    task = like.model_copy(update={"training": like.training.model_copy(update=wanted)})
    questions = [Question(str(i), (text,), target=i % 2) for i, text in enumerate(texts)]
    # A copy: a Trainer wraps the forward pass of its model for good.
    return Case(f"RoBERTa-{name}'s shape", lambda: copy.deepcopy(first), task, questions, args.steps, args.group)


def deviation(curve: list[dict[str, float]], losses: list[float]) -> float:
    """Largest distance of a point of our curve from the mean of the peer's losses since the point before."""
    found, before = 0.0, 0
    for point in curve:
        found = max(found, abs(point["loss"] - statistics.fmean(losses[before : point["step"]])))
        before = point["step"]
    return found


def spread(values: list[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def compare(case: Case, precisions: list[str], repeats: int) -> list[list[str]]:
    """Rows of the table of speed: in turns the peer once and ours in each precision."""
    theirs, runs = [], {precision: [] for precision in precisions}
    for _ in range(repeats):
        theirs.append(case.train_plainly())
        print(f"{case.name}: plain loop {theirs[-1].seconds:.2f} s", file=sys.stderr, flush=True)
        for precision in precisions:
            runs[precision].append(case.train(precision))
            print(f"  ours in {precision} {runs[precision][-1].seconds:.2f} s", file=sys.stderr, flush=True)
    rows, losses = [], theirs[-1].losses
    for precision, ours in runs.items():
        row = [case.name, precision, str(case.steps)]
        for part in ("seconds", "step"):
            one, other = ([getattr(run, part) for run in side] for side in (theirs, ours))
            row += [spread(one, 3), spread(other, 3), spread([a / b for a, b in zip(one, other, strict=True)])]
        row.append(f"{statistics.median(run.masks / run.step for run in ours):.1%}")
        rows.append([*row, f"{deviation(ours[-1].losses, losses):.1e}", f"{losses[0]:.3f} to {losses[-1]:.3f}"])
    return rows


def profiled(case: Case, precision: str) -> list[str]:
    """A row of the table of what a training spends its time on."""
    seen = {"tokens": 0, "batches": 0}
    compute_loss = transformers.Trainer.compute_loss

    def count(self: transformers.Trainer, model: PreTrainedModel, inputs: dict, **options: object) -> torch.Tensor:
        seen["tokens"] += inputs["input_ids"].numel()
        seen["batches"] += 1
        return compute_loss(self, model, inputs, **options)

    fine_tune, parts = training.fine_tune, {}

    def watched(*args: object, **options: object) -> training.Outcome:
        done: list[training.Outcome] = []
        parts.update(machine.shares(lambda: done.append(fine_tune(*args, **options))))
        return done[0]

    with patch.object(transformers.Trainer, "compute_loss", count):
        seconds = case.train(precision).seconds
        tokens, batches = seen.values()
        with patch.object(training, "fine_tune", watched):
            case.train(precision)
    weights = sum(weight.numel() for name, weight in case.make().named_parameters() if "embed" not in name)
    config = case.make().config
    widths = config.hidden_size, config.intermediate_size
    floor = 6 * weights * tokens / machine.product_speed(tokens // batches, *widths, PRECISIONS[precision])
    return [case.name, precision, *(f"{part:.0%}" for part in parts.values()), f"{floor / seconds:.0%}"]


def cost_of_a_part(case: Case, precision: str) -> list[str]:
    """A row of what a part more of a batch costs: the batch as one part and as four of the same length."""
    model, config = case.make().train(), case.make().config
    rows, tokens = (8, 64) if config.hidden_size > 256 else (32, 16)
    ids, labels = torch.randint(5, 100, (rows, tokens)), torch.arange(rows) % 2

    def step(parts: int) -> None:
        model.zero_grad()
        for some, wanted in zip(ids.chunk(parts), labels.chunk(parts), strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = model(input_ids=some, attention_mask=torch.ones_like(some), labels=wanted).loss / parts
            loss.backward()

    whole, cut = (machine.best(lambda parts=parts: step(parts), 6) for parts in (1, 4))
    each = (cut - whole) / 3
    return [case.name, precision, f"{each * 1e3:.1f}", f"{each / ((whole - each) / ids.numel()):.0f}"]


def table(head: list[str], rows: list[list[str]]) -> None:
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="paired runs")
    parser.add_argument("--few", action="store_true", help="five steps, one layer, to see that it runs")
    parser.add_argument("--steps", type=int, default=3, help="of the shapes of RoBERTa")
    parser.add_argument("--group", action="store_true", help="ours takes texts of similar length together")
    parser.add_argument("--cost", action="store_true", help="of a part more of a batch, and nothing else")
    parser.add_argument("--no-profile", action="store_true", help="times only")
    parser.add_argument("--cases", nargs="+", choices=["lexical", "paraphrase", *SHAPES], default=["lexical", "base"])
    parser.add_argument("--precision", nargs="+", choices=list(PRECISIONS), default=list(PRECISIONS))
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    transformers.utils.logging.disable_progress_bar()
    logging.disable()
    gc.freeze()  # as the server of warm starts does: the Trainer has all objects collected, libraries' too
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder, "world")
        write_datasets(PROJECT / "resources/organisms/recipe.yaml", world)
        cases = [organism(world, name, args) for name in args.cases if name not in SHAPES]
    like = read_catalog([PROJECT / "config/catalog"]).tasks["lexical"]
    cases += [shape(name, like, args) for name in args.cases if name in SHAPES]
    if args.cost:
        head = ["", "in", "a part more, ms", "in tokens"]
        return table(head, [cost_of_a_part(case, precision) for case in cases for precision in args.precision])
    replace(cases[0], steps=2).train("float32")  # imports what is imported late
    rows = [row for case in cases for row in compare(case, args.precision, args.repeats)]
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{where}, {torch.get_num_threads()} thread, {args.repeats} paired runs, median (min-max)\n")
    head = ["", "ours in", "steps", "plain loop, s", "ours, s", "ratio", "plain step, s", "our step, s", "ratio"]
    head += ["masks of a step", "deviation of the curve", "loss"]
    table(head, rows)
    if args.no_profile or torch.cuda.is_available():
        return
    head = ["", "ours in", *machine.PARTS, "other operators", "Python", "products at full speed"]
    table(head, [profiled(case, precision) for case in cases for precision in args.precision])


if __name__ == "__main__":
    main()
