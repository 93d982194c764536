"""Time our evaluation against lm-evaluation-harness on the same questions, and print a table.

``python tests/bench/evaluation.py`` starts itself again in the environment of `make harness`, which has both. They
take turns in one process, on one model in memory, in float32 on one thread. Times are processor seconds from the rows
on disk (the harness: from rows in memory) to scored answers; imports and loading are in neither. The harness gets the
best of its batch sizes, found by a run of each. The questions are random words in the lengths of MMLU, of multiple
choice whose options are texts, and of TriviaQA without and with evidence.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import machine
import numpy as np
import pandas as pd
import torch
import transformers
import yaml
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "oracle"))
from test_harness_agreement import MMLU, harness_task

from junkdna import models, scoring
from junkdna.catalog import Task
from support import HARNESS, PROJECT

TOLERANCE = 1e-3  # of log-likelihoods, float32
SHIPPED = PROJECT / "resources/small/decoder"
LETTERS = {"kind": "multiple_choice", "scoring": "letter", "option": "{letter}. {choice}", "cue": "\nAnswer:"}
TEXTS = {"kind": "multiple_choice", "scoring": "text", "prompt": "Question: {question}\nAnswer:"}
ANSWER = {"kind": "generation", "metric": "exact_match", "max_new_tokens": 32, "target": "text"}
EVIDENCE = "Context: {context}\nQuestion: {question}\nAnswer:"
# Name to our task, demonstrations, words of a question, of an option and of the evidence, and the bar.
CASES: dict[str, tuple[dict[str, Any], int, tuple[int, int], tuple[int, int], tuple[int, int], float]] = {
    "MMLU, 5 shots, letters": (LETTERS | {"prompt": "{question}"}, 5, (20, 70), (4, 20), (0, 1), 3),
    "options as texts": (TEXTS, 0, (20, 70), (4, 20), (0, 1), 2),
    "TriviaQA, closed book": (ANSWER | {"prompt": TEXTS["prompt"]}, 0, (10, 22), (1, 4), (0, 1), 1.5),
    "TriviaQA, evidence": (ANSWER | {"prompt": EVIDENCE}, 0, (10, 22), (1, 4), (150, 250), 1.5),
}
Answers = tuple[list[str], np.ndarray]  # what was answered, and the scores of options


def wide(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Save a random Llama, wide enough that products of matrices take the time, whose answers end by and by."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 1408}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=2, **sizes))
    (newline,) = tokenizer("\n", add_special_tokens=False)["input_ids"]
    model.lm_head.weight.data[newline] *= 3  # so that the line break is sometimes the likeliest
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """A model in float32 and its tokenizer, with room for five demonstrations: the positions are rotary."""
    model, tokenizer = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32), models.load_tokenizer(folder)
    model.config.max_position_embeddings = tokenizer.model_max_length = 4096
    return model.eval(), tokenizer


def write_rows(folder: Path, case: str, number: int, tokenizer: PreTrainedTokenizerBase) -> None:
    """Random questions in ``folder``/default, five of them as demonstrations."""
    _, _, question, option, context, _ = CASES[case]
    draw = np.random.default_rng(0)
    words = sorted(word[1:] for word in tokenizer.get_vocab() if word[0] == "\u0120" and word[1:].isalpha())

    def text(bounds: tuple[int, int]) -> str:
        return " ".join(draw.choice(words, draw.integers(*bounds)))

    (folder / "default").mkdir(parents=True)
    for split, rows in (("dev", 5), ("test", number)):
        made = [
            {"question": text(question), "choices": [text(option) for _ in range(4)], "answer": int(draw.integers(4))}
            | {"text": text(option), "context": text(context)}
            for _ in range(rows)
        ]
        pd.DataFrame(made).to_parquet(folder / "default" / f"{split}-00000-of-00001.parquet")


def ours(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, task: Task, folder: Path) -> Answers:
    frame = scoring.predict(model, tokenizer, task, task.variants["all"], folder)
    if task.kind == "generation":
        return frame["prediction"].tolist(), np.zeros(0)
    return frame["y_pred"].astype(int).astype(str).tolist(), np.stack(frame["option_scores"])


def harness(case: str, task: Task, data: Path, folder: Path) -> Callable[[Any], Answers]:
    """What asks a model of the harness, its rows loaded."""
    from lm_eval import evaluate
    from lm_eval.tasks import TaskManager

    shots = CASES[case][1]
    prompt: dict[str, Any] = {"doc_to_choice": "choices", "doc_to_target": "answer"}
    if task.kind == "generation":
        prompt = {"output_type": "generate_until", "doc_to_target": "text"}
        prompt["generation_kwargs"] = {"until": ["\n"], "max_gen_toks": task.max_new_tokens, "do_sample": False}
        prompt["metric_list"] = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
    elif task.scoring == "letter":
        prompt["doc_to_choice"] = list("ABCD")
    plain = (task.prompt or "").replace("{", "{{").replace("}", "}}")
    harness_task(folder, "bench", data, "default", task, shots, doc_to_text=MMLU if shots else plain, **prompt)
    file = folder / "bench.yaml"
    content = yaml.safe_load(file.read_text())
    content["dataset_kwargs"]["cache_dir"] = str(folder / "cache")
    file.write_text(yaml.safe_dump(content))
    loaded = TaskManager(include_path=str(folder), include_defaults=False).load("bench")

    def ask(lm: Any) -> Answers:
        found = evaluate(lm, loaded, bootstrap_iters=0)["samples"]["bench"]
        found = [sample["filtered_resps"] for sample in sorted(found, key=lambda sample: sample["doc_id"])]
        if task.kind == "generation":
            return [answers[0].strip() for answers in found], np.zeros(0)
        scores = np.array([[score for score, _ in options] for options in found])
        return [str(best) for best in scores.argmax(1)], scores

    return ask


def seconds(call: Callable[[], Answers]) -> tuple[float, Answers]:
    begun = time.process_time()
    answers = call()
    return time.process_time() - begun, answers


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def prepared(
    folder: Path, case: str, args: argparse.Namespace, root: Path
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase, Task]:
    """Model, tokenizer and task of a case, whose rows are written to ``root``/data."""
    model, tokenizer = load(folder)
    further = {"dataset": "bench", "configs": ["default"], "evaluate_split": "test", "demonstration_split": "dev"}
    keys = {"label": case, "metric": "accuracy", "chance": "uniform", "choices": "choices", "target": "answer"}
    own = CASES[case][0]
    if own["kind"] == "generation":
        del keys["choices"], keys["chance"]
    keys |= further | own | {"variants": {"all": {"shots": CASES[case][1]}}}
    write_rows(root / "data", case, args.questions, tokenizer)
    return model, tokenizer, Task.model_validate(keys)


def compare(folder: Path, case: str, args: argparse.Namespace, root: Path) -> str:
    """A row of the table.

    Raises:
        SystemExit: an answer differs, or scores do by more than rounding.
    """
    from lm_eval.models.huggingface import HFLM

    model, tokenizer, task = prepared(folder, case, args, root)
    (root / "tasks").mkdir()
    ask = harness(case, task, root / "data", root / "tasks")
    lms = {size: HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size) for size in args.batches}
    expected, _ = ours(model, tokenizer, task, root / "data")
    tried = {size: seconds(lambda lm=lm: ask(lm))[0] for size, lm in lms.items()}
    best = min(tried, key=lambda size: tried[size])
    times: list[tuple[float, float]] = []
    for _ in range(args.runs):
        slow, (answers, theirs) = seconds(lambda: ask(lms[best]))
        fast, (found, mine) = seconds(lambda: ours(model, tokenizer, task, root / "data"))
        apart = float(np.abs(mine - theirs).max(initial=0))
        if not found == expected == answers or apart > TOLERANCE:
            wrong = [pair for pair in zip(answers, found, strict=True) if len(set(pair)) > 1]
            sys.exit(f"{case}: scores differ by up to {apart}, {len(wrong)} answers: {wrong[:5]}")
        times.append((slow, fast))
    ratios = [slow / fast for slow, fast in times]
    sides = [spread([pair[side] for pair in times]) for side in (0, 1)]
    bar = CASES[case][-1]
    met = "met" if statistics.median(ratios) >= bar else "missed"
    return f"| {folder.name} | {case} | {best} | {' | '.join(sides)} | {spread(ratios)} | {bar:g}, {met} |"


def profiled(folder: Path, case: str, args: argparse.Namespace, root: Path) -> str:
    """A row of what our evaluation spends its time on, and the share that its products would take at full speed."""
    model, tokenizer, task = prepared(folder, case, args, root)

    def call() -> Answers:
        return ours(model, tokenizer, task, root / "data")

    call()
    taken = machine.best(call, args.runs)
    with FlopCounterMode(display=False) as counter:
        call()
    speed = machine.product_speed(
        scoring.CPU_TOKENS, model.config.hidden_size, model.config.intermediate_size, torch.float32
    )
    reached = counter.get_total_flops() / speed / taken
    found = machine.shares(call)
    products, python = found["matrix products"], found["Python"]
    parts = [f"{share:.0%}" for share in (products, 1 - products - python, python, reached)]
    return f"| {folder.name} | {case} | {taken:.2f} | {' | '.join(parts)} |"


def main() -> None:
    """Print the table; end with an error if an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=48)
    parser.add_argument("--runs", type=int, default=5, help="paired runs")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], help="sizes that the harness tries")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--models", nargs="+", choices=["decoder", "wide"], default=["decoder", "wide"])
    parser.add_argument("--profile", action="store_true", help="what ours spends its time on; needs no harness")
    args = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    if find_spec("lm_eval") is None and not args.profile:
        if not HARNESS.exists():
            sys.exit(f"no {HARNESS}: run `make harness`")
        os.execv(HARNESS, [str(HARNESS), __file__, *sys.argv[1:]])
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    print(f"{args.questions} questions, {args.runs} paired runs, processor seconds of one thread: median (min-max)\n")
    head = ["model", "questions", "harness's batch", "harness", "ours", "ratio", "bar"]
    if args.profile:
        head = ["model", "questions", "s", "matrix products", "other operators", "Python", "products at full speed"]
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    with tempfile.TemporaryDirectory() as folder:
        wide(Path(folder, "wide"), models.load_tokenizer(SHIPPED))
        for model in args.models:
            for number, case in enumerate(args.cases):
                path = SHIPPED if model == "decoder" else Path(folder, "wide")
                row = profiled if args.profile else compare
                print(row(path, case, args, Path(folder, f"{model}-{number}")), flush=True)


if __name__ == "__main__":
    main()
