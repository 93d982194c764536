"""The reasoning tasks of the paper's catalog: on a mirror's data, or on rows made in the hub's schema, they train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny

from junkdna import models, scoring, tasks, training
from junkdna.catalog import Task
from junkdna.config import read_catalog
from support import MIRROR, PROJECT, needs_mirror

CATALOG = read_catalog([PROJECT / "config/catalog", PROJECT / "config/catalog/paper"])


def short(name: str) -> Task:
    """A task of the catalog with 20 steps and 32 examples."""
    task = CATALOG.tasks[name]
    steps = task.training.model_copy(update={"epochs": None, "steps": 20})
    return task.model_copy(update={"training": steps, "evaluate_limit": 32, "train_limit": 320})


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
    assert (set(measured), len(frame)) == (set(task.variants), 32)
    assert all(np.isfinite(value) for found in measured.values() for value in found["metrics"].values())


@needs_mirror
@pytest.mark.parametrize("name", ["csqa", "svamp"])
def test_tasks_on_the_mirror(name: str, tmp_path: Path) -> None:
    trained_and_scored(short(name), MIRROR / "datasets" / CATALOG.datasets[CATALOG.tasks[name].dataset].id, tmp_path)


def test_winogrande_on_rows_of_the_hubs_schema(tmp_path: Path) -> None:
    names = [("Ann", "Eve"), ("Tom", "Ian"), ("Joy", "Kim")]
    rows = [
        {"sentence": f"{one} met {other} and _ said {i}.", "option1": one, "option2": other, "answer": "12"[i % 2]}
        for i, (one, other) in enumerate(names * 16)
    ]
    for split in ("train", "validation"):
        tiny.save_rows(tmp_path / "data", "winogrande_xl", split, rows)
    trained_and_scored(short("winogrande"), tmp_path / "data", tmp_path)


@needs_mirror
def test_mawps_with_placeholders_on_the_mirror(tmp_path: Path) -> None:
    columns = {"text": ["Question"], "equation": "Equation", "numbers": "Numbers", "target": "Answer"}
    task = short("mawps").model_copy(update={**columns, "evaluate_split": "validation"})
    trained_and_scored(task, MIRROR / "datasets/local/mawps", tmp_path)


def test_mawps_on_rows_of_the_hubs_schema(tmp_path: Path) -> None:
    rows = [
        {"question": f"Ann had {i + 3} pens and lost {i + 1}. How many?", "expression": f"{i + 3} - {i + 1}"}
        | {"result": "2", "result_float": 2.0}
        for i in range(40)
    ]
    for split in ("train", "test"):
        tiny.save_rows(tmp_path / "data", "data", split, rows)
    trained_and_scored(short("mawps"), tmp_path / "data", tmp_path)
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
