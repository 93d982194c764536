"""Every task of config/paper.yaml trains 20 steps, or answers 32 questions, with a small random model of its kind.

On a mirror's data where it has them, else on rows made in the hub's schema.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_translation
import tiny
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from junkdna import models, scoring, tasks, training
from junkdna.catalog import Task
from junkdna.config import read_all
from support import MIRROR, PROJECT, needs_mirror

_, CATALOG, EXPERIMENTS = read_all([PROJECT / "config/paper.yaml"])
NAMES = sorted({name for experiment in EXPERIMENTS.values() for name in experiment.tasks})
TEXT = "The question of the answer: which of these texts was read by a model, and how many of them? A. B. C. D."
PEOPLE = [("Ann", "Eve"), ("Tom", "Ian"), ("Joy", "Kim")]
# Rows in the schema of the hub, by data set and configuration, of what no mirror here has: number to row.
ROWS: dict[tuple[str, str], Callable[[int], dict[str, Any]]] = {
    ("glue", "qqp"): lambda i: {"question1": f"Who is {i}?", "question2": f"What is {i}?", "label": i % 2, "idx": i},
    ("glue", "stsb"): lambda i: {"sentence1": f"It is {i}.", "sentence2": "It is 7.", "label": i % 50 / 10, "idx": i},
    ("winogrande", "winogrande_xl"): lambda i: {
        "sentence": f"{PEOPLE[i % 3][0]} met {PEOPLE[i % 3][1]} and _ said {i}.",
        "option1": PEOPLE[i % 3][0],
        "option2": PEOPLE[i % 3][1],
        "answer": "12"[i % 2],
    },
    ("calc_mawps", "default"): lambda i: {
        "question": f"Ann had {i + 3} pens and lost {i + 1}. How many?",
        "expression": f"{i + 3} - {i + 1}",
        "result": "2",
        "result_float": 2.0,
    },
}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a Llama with random weights and Vicuna's 2,048 positions."""
    folder = tmp_path_factory.mktemp("decoder")
    torch.manual_seed(0)
    tokenizer = tiny.byte_tokenizer([TEXT])
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ids = {"vocab_size": len(tokenizer), "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    LlamaForCausalLM(LlamaConfig(**sizes, **ids, max_position_embeddings=2048)).save_pretrained(folder / "files")
    tokenizer.save_pretrained(folder / "files")
    return tiny.write_manifest(folder)


def short(name: str) -> Task:
    """A task of the catalog with 20 steps and 32 examples."""
    task = CATALOG.tasks[name]
    changes: dict[str, Any] = {"evaluate_limit": 32, "train_limit": 320}
    if task.training:
        changes["training"] = task.training.model_copy(update={"epochs": None, "steps": 20})
    return task.model_copy(update=changes)


def trained_and_scored(task: Task, data: Path, tmp_path: Path) -> None:
    """Fine-tune a small random RoBERTa, save it, read it again and evaluate it."""
    tasks.check_columns(data, task, "train")
    questions = tasks.training_questions(data, task, 1.0)
    texts = [text for question in questions for text in (*question.texts, *question.options)]
    manifest = tiny.save_roberta(tmp_path / "model", texts)
    model, tokenizer = models.open_state(manifest, tiny.MODEL, task)
    options = {"transfer": "dense", "masks": None, "seed": 0, "resume": tmp_path / "resume"}
    done = training.fine_tune(model, tokenizer, task, questions, **options)
    models.save_weights(model, tmp_path / "model.safetensors")
    assert done.steps == 20 and all(np.isfinite(point["loss"]) for point in done.curve)
    again, _ = models.open_state(manifest, tiny.MODEL, task, weights=tmp_path / "model.safetensors")
    tasks.check_columns(data, task, "evaluate")
    measured, frame = scoring.evaluate(again, tokenizer, task, data)
    assert set(measured) == set(task.variants) and len(frame) == 32
    assert all(np.isfinite(value) for found in measured.values() for value in found["metrics"].values())


def asked_and_scored(task: Task, data: Path, manifest: Path) -> None:
    """Evaluate a causal language model as it is."""
    tasks.check_columns(data, task, "evaluate")
    model, tokenizer = models.open_state(manifest, tiny.MODEL, task)
    measured, frame = scoring.evaluate(model, tokenizer, task, data)
    rows = {variant: int((frame["variant"] == variant).sum()) for variant in task.variants}
    # The mirror's TriviaQA has 11 records.
    assert set(rows.values()) == ({11} if task.dataset == "trivia_qa" else {32}) and set(measured) == set(rows)
    assert all(np.isfinite(value) for found in measured.values() for value in found["metrics"].values())


def data_for(task: Task, tmp_path: Path) -> tuple[Task, Path]:
    """The task, with the configurations that are there (a mirror may have some of 57 subjects), and its data."""
    if made := ROWS.get((task.dataset, task.configs[0])):
        for split in {task.train_split, task.evaluate_split}:
            tiny.save_rows(tmp_path / "data", task.configs[0], split, [made(i) for i in range(320)])
        return task, tmp_path / "data"
    if not MIRROR.is_dir():
        pytest.skip(f"REAL DATA NOT TESTED: no mirror folder at {MIRROR}")
    folder = MIRROR / "datasets" / CATALOG.datasets[task.dataset].id
    configs = [config for config in task.configs if (folder / config).is_dir()]
    assert configs, f"{folder}: neither there nor in ROWS"
    return task.model_copy(update={"configs": configs}), folder


@pytest.mark.parametrize("name", [name for name in NAMES if CATALOG.tasks[name].kind != "translation"])
def test_a_task_of_the_paper_runs(name: str, decoder: Path, tmp_path: Path) -> None:
    task, data = data_for(short(name), tmp_path)
    if task.training:
        trained_and_scored(task, data, tmp_path)
    else:
        asked_and_scored(task, data, decoder)


def test_the_tasks_of_translation_are_tested_with_their_kind() -> None:
    translated = {name for name in NAMES if CATALOG.tasks[name].kind == "translation"}
    assert {CATALOG.tasks[name].dataset for name in translated} == set(test_translation.HUB)


@needs_mirror
def test_mawps_with_placeholders_on_the_mirror(tmp_path: Path) -> None:
    columns = {"text": ["Question"], "equation": "Equation", "numbers": "Numbers", "target": "Answer"}
    task = short("mawps").model_copy(update={**columns, "evaluate_split": "validation"})
    trained_and_scored(task, MIRROR / "datasets/local/mawps", tmp_path)


def test_few_shots_of_mawps(tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = [ROWS["calc_mawps", "default"](i) for i in range(40)]
        tiny.save_rows(tmp_path / "data", "data", split, rows)
    variant = CATALOG.tasks["mawps_few_shot"].variants["few_shot"]
    asked = tasks.questions(tmp_path / "data", CATALOG.tasks["mawps_few_shot"], variant)[-1]
    demonstrations = asked.texts[0].split("\n\n")
    assert demonstrations[0] == "Q: Ann had 3 pens and lost 1. How many?\nA: 2" and len(demonstrations) == 9
    assert asked.answers == ("2",)


@needs_mirror
def test_few_shots_of_svamp_on_the_mirror() -> None:
    """A decoder that tells toy stories answers in the form that is scored."""
    base = MIRROR / "models/raincandy-u/TinyStories-656K"
    task = CATALOG.tasks["svamp_few_shot"].model_copy(update={"evaluate_limit": 32})
    tokenizer = models.load_tokenizer(base)
    loaded = models.load_model(base, tiny.MODEL, task, tokenizer)
    data = MIRROR / "datasets" / CATALOG.datasets["svamp"].id
    measured, frame = scoring.evaluate(loaded, tokenizer, task, data)
    found = measured["few_shot"]["metrics"]
    assert len(frame) == 32 and found["number_match"] == frame["number_match"].mean()
    assert all(np.isfinite(value) for value in found.values())
