"""The encoder with an expression decoder: well-formed answers, a decoder that learns, is saved and is never pruned."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from test_models import compressed, masks_of
from test_scoring import run
from transformers import AutoModel, RobertaModel

import evaluate
import finetune
from junkdna import exporting, expressions, models, scoring, state, tasks, training
from junkdna.catalog import Task, Variant
from junkdna.config import ConfigError, read_catalog
from junkdna.expression_model import encode_problems, vocabulary
from junkdna.files import DataError

FORMS = [
    ("{0} boys had {1} pens each.", "How many pens are there?", "( {0}.0 * {1}.0 )", lambda a, b: a * b),
    ("Ann had {0} pens and lost {1} of them.", "How many are left?", "( {0}.0 - {1}.0 )", lambda a, b: a - b),
    ("Tom has {0} cups and {1} pans.", "How many things has he?", "( {0}.0 + {1}.0 )", lambda a, b: a + b),
    ("Of {0} cups {1} broke.", "What percentage broke?", "( ( {1}.0 / {0}.0 ) * 100.0 )", lambda a, b: 100 * b / a),
]


def rows(count: int) -> list[dict[str, str]]:
    """Rows in the schema of SVAMP."""
    draw, found = random.Random(0), []
    for i in range(count):
        body, question, equation, answer = FORMS[i % len(FORMS)]
        a, b = draw.randint(20, 99), draw.randint(2, 19)
        texts = (text.format(a, b) for text in (body, question, equation))
        found.append(dict(zip(("Body", "Question", "Equation"), texts, strict=True)) | {"Answer": repr(answer(a, b))})
    return found


TRAINING = {"learning_rate": 3e-3, "batch_size": 8, "steps": 12, "max_length": 64}


def problems(**changes: object) -> Task:
    base = {"label": "Task", "kind": "expression", "dataset": "data", "configs": ["default"], "metric": "accuracy"}
    base |= {"text": ["Body", "Question"], "equation": "Equation", "target": "Answer", "training": TRAINING}
    return Task.model_validate(base | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("expression")
    made = rows(32)
    for split in ("train", "validation"):
        tiny.save_rows(root / "data/files", "default", split, made)
    tiny.write_manifest(root / "data")
    tiny.save_roberta(root / "encoder", [f"{row['Body']} {row['Question']}" for row in made])
    return root


def opened(folder: Path, task: Task, weights: Path | None = None):
    return models.open_state(folder / "encoder/manifest.json", tiny.MODEL, task, weights=weights)


def test_slots_are_the_tokens_of_the_numbers(folder: Path, caplog) -> None:
    task = problems()
    questions = tasks.training_questions(folder / "data/files", task, 1.0)
    assert questions[3].expression == ("*", "/", "number1", "number0", "100")
    _, tokenizer = opened(folder, task)
    for question, example in zip(questions, encode_problems(questions, tokenizer, 64), strict=True):
        numbers = [str(number) for number in question.problem.numbers]
        first = [tokenizer.decode(example["input_ids"][slot]).strip() for slot in example["slots"]]
        assert len(first) == 2 and all(found and n.startswith(found) for n, found in zip(numbers, first, strict=True))
    # A number that was cut is no slot.
    (cut,) = encode_problems(questions[:1], tokenizer, 4)
    assert len(cut["slots"]) == 2 and cut["slots"][1] == -1
    assert "1 of 1 problems have numbers beyond 4 tokens" in caplog.text


def test_a_random_decoder_writes_complete_expressions_in_any_batch(folder: Path, monkeypatch) -> None:
    task = problems(constants=[1, 0.01])
    model, _ = opened(folder, task)
    assert vocabulary(model.config) == ["+", "-", "*", "/", "1", "0.01"]
    torch.manual_seed(1)
    for weight in model.solver.parameters():  # far from the small values of a fresh decoder
        torch.nn.init.normal_(weight, std=0.5)
    with torch.no_grad():
        model.solver.fixed.bias[:4] += 3  # so that expressions would never end
    weights = folder / "random.safetensors"
    models.save_weights(model, weights)
    model, tokenizer = opened(folder, task, weights)
    found = []
    for size in (1, 5, 64):
        monkeypatch.setattr(scoring, "BATCH_SEQUENCES", size)
        measured, frame = scoring.evaluate(model, tokenizer, task, folder / "data/files")
        found.append(frame)
    assert all(frame["prediction"].equals(found[0]["prediction"]) for frame in found[1:])
    assert measured["all"]["n_examples"] == 32 and measured["all"]["chance"] == 0
    assert found[0]["prediction"].str.count(r"[-+*/]").max() == expressions.LONGEST // 2
    for text, value in zip(frame["prediction"], frame["y_pred"], strict=True):
        again = expressions.evaluate(expressions.parse(text), [])
        assert np.isnan(value) if again is None else float(again) == pytest.approx(value, rel=1e-6)


def test_a_text_without_numbers_has_no_answer(folder: Path, tmp_path: Path) -> None:
    made = [{"Body": "Many", "Question": "cups?", "Equation": "1", "Answer": "1"}, *rows(3)]
    tiny.save_rows(tmp_path, "default", "validation", made)
    model, tokenizer = opened(folder, problems(constants=[]))
    _, frame = scoring.evaluate(model, tokenizer, problems(constants=[]), tmp_path)
    assert frame["prediction"].ne("").tolist() == [False, True, True, True]
    assert frame["accuracy"][0] == 0 and np.isnan(frame["y_pred"][0])


def test_it_learns_32_problems(folder: Path, tmp_path: Path) -> None:
    task = problems(training=TRAINING | {"steps": 150})
    questions = tasks.training_questions(folder / "data/files", task, 1.0)
    model, tokenizer = opened(folder, task)
    before = scoring.evaluate(model, tokenizer, task, folder / "data/files")[0]["all"]["metrics"]["accuracy"]
    training.fine_tune(
        model, tokenizer, task, questions, transfer="dense", masks=None, seed=0, resume=tmp_path / "resume"
    )
    after, frame = scoring.evaluate(model, tokenizer, task, folder / "data/files")
    assert before < 0.3 and after["all"]["metrics"]["accuracy"] > 0.9
    body, asked = rows(4)[3]["Body"], frame["prediction"][3]
    a, b = (word for word in body.split() if word.isdigit())
    assert asked == f"({b} / {a}) * 100"


@pytest.mark.parametrize("transfer", ["sparse", "dense_frozen"])
def test_from_a_state_to_metrics_by_the_scripts(folder: Path, tmp_path: Path, transfer: str) -> None:
    task, manifest = problems(), folder / "encoder/manifest.json"
    pruned = compressed(manifest)
    tuning = ["--transfer", transfer, "--fraction", "1.00", "--seed", "3"]
    run(finetune, folder, "encoder", task, tmp_path, "--state", str(pruned), *tuning)
    weights = tmp_path / "model.safetensors"
    run(evaluate, folder, "encoder", task, tmp_path, "--weights", str(weights), *tuning)
    frame = pd.read_parquet(tmp_path / "predictions.parquet")
    found = json.loads((tmp_path / "metrics.json").read_text())["variants"]["all"]
    assert found["metrics"] == {"accuracy": frame["accuracy"].mean()}
    tuned, _ = opened(folder, task, weights)
    saved = models.load_file(weights)
    assert saved.keys() == tuned.state_dict().keys()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in tuned.cpu().state_dict().items())
    masks, start = masks_of(manifest, pruned), models.load_file(folder / "encoder/files/model.safetensors")
    for name, mask in masks.items():
        kept = torch.zeros_like(start[name]) if transfer == "sparse" else start[name]
        assert torch.equal(tuned.get_parameter(name)[~mask], kept[~mask])
    # Compressing the fine-tuned weights, as zero_shot does, leaves the decoder alone.
    _, base = state.base_of(manifest, tiny.MODEL, weights)
    assert set(base.names) == set(masks) and any(name.startswith("solver.") for name in saved)
    with pytest.raises(DataError, match="needs fine-tuned weights"):
        run(evaluate, folder, "encoder", task, tmp_path, "--state")


def test_the_body_is_the_checkpoints_and_the_export_holds_it(folder: Path, tmp_path: Path) -> None:
    task, manifest = problems(), folder / "encoder/manifest.json"
    model, tokenizer = opened(folder, task)
    model.cpu()
    expected = RobertaModel.from_pretrained(folder / "encoder/files", add_pooling_layer=False).eval()
    ids = torch.tensor([[0, 9, 12, 30, 2]])
    assert torch.equal(model.base_model(ids).last_hidden_state, expected(ids).last_hidden_state)
    again, other = (
        models.load_model(folder / "encoder/files", tiny.MODEL, task, tokenizer, seed).cpu() for seed in (0, 1)
    )
    for name, weight in model.solver.named_parameters():
        assert torch.equal(weight, again.solver.get_parameter(name)), "the same seed, the same decoder"
    assert not torch.equal(model.solver.query.weight, other.solver.query.weight)
    # A checkpoint of the bare body has no prefix.
    expected.save_pretrained(tmp_path / "bare/files")
    tokenizer.save_pretrained(tmp_path / "bare/files")
    bare, _ = models.open_state(tiny.write_manifest(tmp_path / "bare"), tiny.MODEL, task)
    assert torch.equal(bare.cpu().base_model(ids).last_hidden_state, expected(ids).last_hidden_state)
    models.save_weights(model, tmp_path / "w.safetensors")
    exporting.export(manifest, tiny.MODEL, tmp_path / "out", weights=tmp_path / "w.safetensors", task=task)
    body = AutoModel.from_pretrained(tmp_path / "out", add_pooling_layer=False).eval()
    assert torch.equal(body(ids).last_hidden_state, expected(ids).last_hidden_state)


def test_fresh_weights_may_learn_faster(folder: Path, tmp_path: Path) -> None:
    """The first step of AdamW moves a weight by its learning rate."""
    questions = tasks.training_questions(folder / "data/files", problems(), 1.0)
    moved = {}
    for rate in (None, 1e-2):
        changes = {"learning_rate": 1e-4, "head_learning_rate": rate, "steps": 1, "warmup_fraction": 0}
        task = problems(training=TRAINING | changes)
        model, tokenizer = opened(folder, task)
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        training.fine_tune(
            model, tokenizer, task, questions, transfer="dense", masks=None, seed=0, resume=tmp_path / "resume"
        )
        largest = {
            name: float((weight.detach() - before[name]).abs().max()) for name, weight in model.named_parameters()
        }
        moved[rate] = largest["solver.query.weight"], largest["roberta.encoder.layer.0.output.dense.weight"]
    assert moved[None] == pytest.approx((1e-4, 1e-4), rel=0.1)
    assert moved[1e-2] == pytest.approx((1e-2, 1e-4), rel=0.1)


def test_an_interrupted_training_with_two_rates_ends_with_the_same_weights(folder, tmp_path, monkeypatch) -> None:
    task = problems(training=TRAINING | {"head_learning_rate": 1e-2})
    questions = tasks.training_questions(folder / "data/files", task, 1.0)

    def tuned(name: str) -> dict[str, torch.Tensor]:
        model, tokenizer = opened(folder, task)
        options = {"transfer": "dense", "masks": None, "seed": 0, "save_every": 5, "resume": tmp_path / name}
        training.fine_tune(model, tokenizer, task, questions, **options)
        return model.state_dict()

    def interrupt(self, args, state, control, **_):
        if state.global_step == 8:
            raise KeyboardInterrupt

    whole = tuned("whole")
    with monkeypatch.context() as patch:
        patch.setattr(training.StopAtNaN, "on_step_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tuned("again")
    resumed = tuned("again")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_rows_that_cannot_be_learnt_are_left_out_and_rows_that_cannot_be_read_named(folder, tmp_path, caplog) -> None:
    made = rows(6)
    made[1]["Equation"], made[2]["Equation"] = "( 7.0 + 1.0 )", "x = 3"
    tiny.save_rows(tmp_path, "default", "train", made)
    assert [q.id for q in tasks.training_questions(tmp_path, problems(), 1.0)] == [
        "default-000000", "default-000003", "default-000004", "default-000005"
    ]  # fmt: skip
    assert "2 of 6 training rows are left out, first row default-000001: 7.0 is neither in the text" in caplog.text
    with pytest.raises(DataError, match="no row has an equation that can be learnt"):
        tiny.save_rows(tmp_path / "none", "default", "train", made[1:3])
        tasks.training_questions(tmp_path / "none", problems(), 1.0)
    made[0]["Answer"] = "many"
    tiny.save_rows(tmp_path, "default", "train", made)
    with pytest.raises(DataError, match="default: row default-000000: 'many' is not a number"):
        tasks.training_questions(tmp_path, problems(), 1.0)
    with pytest.raises(DataError, match="training.max_length: 3: no problem is left whose numbers fit"):
        short = problems(training=TRAINING | {"max_length": 3})
        questions = tasks.training_questions(folder / "data/files", short, 1.0)
        training.prepare(*opened(folder, short), short, questions)


def test_numbers_of_their_own_column(tmp_path: Path) -> None:
    row = {"Question": "N_00 boys had N_01 pens each .", "Numbers": "8.0 2.0", "Equation": "N_00*N_01", "Answer": 16.0}
    tiny.save_rows(tmp_path, "default", "validation", [row])
    task = problems(text=["Question"], numbers="Numbers")
    (question,) = tasks.questions(tmp_path, task, Variant())
    assert question.texts == ("8 boys had 2 pens each .",) and question.target == 16
    tiny.save_rows(tmp_path, "default", "validation", [row | {"Numbers": [8.0, 2.5]}])
    assert tasks.questions(tmp_path, task, Variant())[0].texts == ("8 boys had 2.5 pens each .",)
    tiny.save_rows(tmp_path, "default", "validation", [row | {"Numbers": "8.0"}])
    with pytest.raises(DataError, match="row default-000000: N_01: there are 1 numbers"):
        tasks.questions(tmp_path, task, Variant())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"equation": None}, "kind expression needs equation"),
        ({"variants": {"k": {"shots": 1}}}, "a head takes no demonstrations"),
        ({"training": TRAINING | {"label_smoothing": 0.1}}, "kind expression has no classes"),
    ],
)
def test_a_catalog_that_cannot_be_asked(tmp_path: Path, changes: dict, message: str) -> None:
    base = json.loads(problems().model_dump_json(exclude_defaults=True))
    content = {"datasets": {"data": {"type": "builtin", "path": "world"}}, "tasks": {"t": base | changes}}
    (tmp_path / "catalog.yaml").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        read_catalog([tmp_path])
