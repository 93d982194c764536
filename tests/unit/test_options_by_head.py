"""Multiple choice by an encoder: options from columns, labels of any form, a fresh head, trained and read again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from test_models import compressed, masks_of
from test_scoring import run

import evaluate
import finetune
from junkdna import models, scoring, tasks, training
from junkdna.catalog import Task, Variant
from junkdna.config import ConfigError, read_catalog
from junkdna.files import DataError

ROWS = [
    {
        "question": f"w{i} w{i % 7} question",
        "choices": {"label": list("ABC"), "text": [f"w{(i + k) % 40}" for k in range(3)]},
        "answer": "ABC"[i % 3],
    }
    for i in range(1, 31)
]
BLANKS = [
    {"sentence": f"w1 answer _ : w{i}", "option1": f"w{i}", "option2": "w3 w4", "answer": "12"[i % 2]}
    for i in range(1, 21)
]
TRAINING = {"learning_rate": 1e-2, "batch_size": 4, "steps": 12, "max_length": 32}


def asked(**changes: object) -> Task:
    named = {"prompt": "{question}", "choices": "choices.text", "labels": "choices.label", "scoring": "head"}
    return tiny.task("multiple_choice", **(named | {"training": TRAINING} | changes))


def filled(**changes: object) -> Task:
    named = {"configs": ["blanks"], "prompt": "{sentence}", "choices": ["option1", "option2"], "labels": ["1", "2"]}
    return asked(**(named | {"blank": "_"} | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("head")
    tiny.save_model(root / "encoder", encoder=True)
    for split in ("train", "validation"):
        tiny.save_rows(root / "data/files", "default", split, ROWS)
        tiny.save_rows(root / "data/files", "blanks", split, BLANKS)
    tiny.write_manifest(root / "data")
    return root


def test_the_head_reads_each_option_with_the_prompt(folder: Path) -> None:
    data = folder / "data/files"
    first = tasks.questions(data, asked(option="{letter} : {choice}"), Variant())[0]
    assert (first.texts, first.options) == (("w1 w1 question",), ("A : w1", "B : w2", "C : w3"))
    assert (first.shown, first.target) == (("w1", "w2", "w3"), 1.0)
    assert [q.texts for q in tasks.per_option([first])][1] == ("w1 w1 question", "B : w2")
    second = tasks.questions(data, filled(), Variant())[1]
    assert (second.texts, second.options) == ((), ("w1 answer w2 : w2", "w1 answer w3 w4 : w2"))
    assert (second.shown, second.target) == (("w2", "w3 w4"), 0.0)
    assert tasks.training_questions(data, filled(), 0.1) == tasks.questions(data, filled(), Variant())[:2]
    kept = tasks.questions(data, asked(), Variant(n_options=2))
    assert {len(q.options) for q in kept} == {2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": list("AB")}, "row default-000001: answer: 'C': one of A, B is expected"),
        ({"labels": list("XABC")}, "answer: 'C': one of X, A, B is expected"),
        ({"labels": None}, "answer: 'B': an index of the 3 options is expected"),
        ({"blank": "w1"}, "'w1 w1 question': 'w1' is expected once"),
        ({"labels": "choices.letter"}, "no column 'choices.letter'"),
        ({"choices": ["question", "option1"]}, "no column 'option1'"),
    ],
)
def test_rows_that_cannot_be_asked(folder: Path, changes: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tasks.questions(folder / "data/files", asked(**changes), Variant())


def test_a_catalog_that_cannot_be_asked(tmp_path: Path) -> None:
    base = json.loads(asked().model_dump_json(exclude_defaults=True))
    for changes, message in (
        ({"variants": {"k": {"shots": 1}}}, "a head takes no demonstrations"),
        ({"scoring": "letter", "blank": "_"}, "`blank` goes with scoring head"),
    ):
        content = {"datasets": {"data": {"type": "builtin", "path": "world"}}, "tasks": {"t": base | changes}}
        (tmp_path / "catalog.yaml").write_text(json.dumps(content))
        with pytest.raises(ConfigError, match=message):
            read_catalog([tmp_path])


@pytest.mark.parametrize("task", [asked(), filled()], ids=["pairs", "blanks"])
def test_batches_do_not_change_the_scores_and_the_class_agrees(folder: Path, monkeypatch, task: Task) -> None:
    model, tokenizer = models.open_state(folder / "encoder/manifest.json", tiny.MODEL, task)
    frames = []
    for size in (1, 7, 64):
        monkeypatch.setattr(scoring, "BATCH_SEQUENCES", size)
        measured, frame = scoring.evaluate(model, tokenizer, task, folder / "data/files")
        frames.append(np.stack(frame["option_scores"]))
    for scores in frames[1:]:
        assert scores == pytest.approx(frames[0], abs=1e-5)
    assert measured["all"]["chance"] == pytest.approx(1 / len(frame["option_scores"][0]))
    questions = tasks.questions(folder / "data/files", task, Variant())
    for question, scores in zip(questions[:5], frames[0], strict=False):
        read = [tokenizer(*question.texts, option)["input_ids"] for option in question.options]
        batch = {
            key: tensor[None].to(model.device)
            for key, tensor in training.pad_right(read, tokenizer.pad_token_id).items()
        }
        with torch.no_grad():
            assert model(**batch).logits[0].cpu().numpy() == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("task", [asked(), filled()], ids=["pairs", "blanks"])
def test_from_a_state_to_metrics_by_the_scripts(folder: Path, tmp_path: Path, task: Task) -> None:
    state = compressed(folder / "encoder/manifest.json")
    tuning = ["--transfer", "sparse", "--fraction", "1.00", "--seed", "3"]
    run(finetune, folder, "encoder", task, tmp_path, "--state", str(state), *tuning)
    weights = ["--weights", str(tmp_path / "model.safetensors")]
    run(evaluate, folder, "encoder", task, tmp_path, *weights, *tuning)
    frame = pd.read_parquet(tmp_path / "predictions.parquet")
    found = json.loads((tmp_path / "metrics.json").read_text())["variants"]["all"]
    assert found["metrics"]["accuracy"] == frame["accuracy"].mean()
    assert all(np.isfinite(scores).all() for scores in frame["option_scores"])
    tuned, _ = models.open_state(
        folder / "encoder/manifest.json", tiny.MODEL, task, weights=tmp_path / "model.safetensors"
    )
    saved = models.load_file(tmp_path / "model.safetensors")
    assert saved.keys() == tuned.state_dict().keys()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in tuned.cpu().state_dict().items())
    masks = masks_of(folder / "encoder/manifest.json", state)
    assert masks and not any("classifier" in name or "pooler" in name for name in masks)
    assert all(not tuned.get_parameter(name)[~mask].any() for name, mask in masks.items())
    with pytest.raises(DataError, match="needs fine-tuned weights"):
        run(evaluate, folder, "encoder", task, tmp_path, "--state")


def test_the_head_learns_which_option_is_right(folder: Path, tmp_path: Path) -> None:
    """The right option is one of w0 to w19, wherever it stands."""
    task = asked(training=TRAINING | {"batch_size": 10, "steps": 60})
    model, tokenizer = models.open_state(folder / "encoder/manifest.json", tiny.MODEL, task)
    questions = []
    for i in range(40):
        options = (f"w{i % 20}", f"w{20 + 7 * i % 20}")
        target = i % 2
        questions.append(tasks.Question(str(i), ("w5",), options=options[:: 1 - 2 * target], target=float(target)))
    training.fine_tune(model, tokenizer, task, questions, transfer="dense", masks=None, seed=0, resume=tmp_path / "r")
    read = training.encode(tasks.per_option(questions), tokenizer, 32)
    scores = scoring.label_logits(model, read, tokenizer.pad_token_id, options=True).reshape(-1, 2)
    assert (scores.argmax(1) == [q.target for q in questions]).mean() >= 0.95


def test_what_cannot_be_trained(folder: Path) -> None:
    questions = [tasks.Question(str(n), ("w1",), options=("w2",) * n, target=0.0) for n in (2, 3)]
    tokenizer = models.load_tokenizer(folder / "encoder/files")
    with pytest.raises(DataError, match="training questions with 2 and 3 options: one number is expected"):
        training.encode_options(questions, tokenizer, 32)
    decoder = tiny.save_model(folder / "decoder", encoder=False)
    with pytest.raises(DataError, match="llama: transformers has no model .* kind multiple_choice and scoring head"):
        models.open_state(decoder, tiny.MODEL, asked())


def test_the_hubs_folder_of_a_single_configuration(folder: Path, tmp_path: Path) -> None:
    tiny.save_rows(tmp_path, "data", "validation", ROWS[:4])
    assert len(tasks.questions(tmp_path, asked(), Variant())) == 4
