from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from test_models import compressed

import compress
import evaluate
import finetune
import index_magnitudes
from junkdna import models, scoring, tasks
from junkdna import state as states
from junkdna.catalog import Model, Variant
from junkdna.config import read_catalog
from junkdna.files import DataError, sha256
from junkdna.metrics import METRICS
from junkdna.tasks import Question
from support import MIRROR, PROJECT, needs_mirror


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with their manifests and a data set with its own."""
    root = tmp_path_factory.mktemp("scoring")
    tiny.save_model(root / "encoder", encoder=True)
    tiny.save_model(root / "decoder", encoder=False)
    draw = np.random.default_rng(0)
    words = [" ".join(f"w{i}" for i in draw.integers(0, 40, draw.integers(1, 12))) for _ in range(40)]
    rows = [{"sentence": text, "label": i % 2, "score": i / 7} for i, text in enumerate(words)]
    for split in ("train", "validation"):
        tiny.save_rows(root / "data/files", "default", split, rows)
    choices = [[f"w{j}", f"w{j + 1} w{j}", f"w{j + 2}", "w0 w1 w2"] for j in range(1, 37)]
    asked = [{"question": words[j], "choices": options, "answer": j % 4} for j, options in enumerate(choices)]
    tiny.save_rows(root / "data/files", "options", "validation", asked)
    answers = [{"question": text, "answer": "w3"} for text in words]
    tiny.save_rows(root / "data/files", "questions", "validation", answers)
    tiny.save_rows(root / "data/files", "text", "validation", [{"text": text} for text in words])
    tiny.write_manifest(root / "data")
    return root


@pytest.fixture(scope="module")
def decoder(folder: Path):
    return models.open_state(folder / "decoder/manifest.json", tiny.MODEL, tiny.task("generation"))


def naive(model, tokenizer, prompt: str, option: str) -> float:
    ids, begin = tokenizer(prompt + option)["input_ids"], len(tokenizer(prompt)["input_ids"])
    with torch.no_grad():
        logs = model(torch.tensor([ids], device=model.device)).logits[0].log_softmax(-1)
    return sum(float(logs[i - 1, ids[i]]) for i in range(begin, len(ids)))


@pytest.mark.parametrize("scoring_of", ["text", "letter"])
@pytest.mark.parametrize("size", [1, 5, 64])
def test_options_are_scored_as_one_at_a_time(folder, decoder, monkeypatch, scoring_of, size) -> None:
    monkeypatch.setattr(scoring, "BATCH_SEQUENCES", size)
    task = tiny.task("multiple_choice", configs=["options"], scoring=scoring_of)
    questions = tasks.questions(folder / "data/files", task, Variant())
    found = scoring.option_scores(*decoder, questions)
    expected = [[naive(*decoder, q.texts[0], option) for option in q.options] for q in questions]
    assert np.array(found) == pytest.approx(np.array(expected), abs=1e-4)


def test_options_that_share_a_beginning_and_prompts_that_are_too_long(decoder, caplog) -> None:
    model, tokenizer = decoder
    shared = Question("q", ("question : w1 answer :",), options=(" w5 w1", " w5 w2 w3"), target=0.0)
    (found,) = scoring.option_scores(model, tokenizer, [shared])
    assert found == pytest.approx([naive(model, tokenizer, shared.texts[0], o) for o in shared.options], abs=1e-4)
    long = Question("long", (" ".join(["w1"] * 30 + ["w2"] * 62 + [":"]),), options=(" w5", " w6"), target=0.0)
    (cut,) = scoring.option_scores(model, tokenizer, [long])
    text = " ".join(["w2"] * 61 + [":"])
    assert cut == pytest.approx([naive(model, tokenizer, text, o) for o in long.options], abs=1e-4)
    assert "1 of 1 prompts are longer than 64 tokens: their beginnings were cut" in caplog.text
    with pytest.raises(DataError, match="question empty: an option has no token of its own"):
        scoring.option_scores(model, tokenizer, [Question("empty", ("w1",), options=(" ", " w1"), target=0.0)])


@pytest.mark.parametrize("size", [1, 64])
def test_generation_equals_that_of_transformers(folder, decoder, monkeypatch, size) -> None:
    monkeypatch.setattr(scoring, "BATCH_SEQUENCES", size)
    model, tokenizer = decoder
    task = tiny.task("generation", configs=["questions"])
    prompts = [q.texts[0] for q in tasks.questions(folder / "data/files", task, Variant())]
    expected = []
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        out = model.generate(**ids, max_new_tokens=6, do_sample=False)[0, ids["input_ids"].shape[1] :]
        expected.append(tokenizer.decode(out, skip_special_tokens=True).strip())
    assert scoring.generate(model, tokenizer, prompts, 6) == expected


def test_generation_ends_at_a_line_break_and_keeps_the_question(decoder, monkeypatch, caplog) -> None:
    model, tokenizer = decoder
    long = " ".join(["w1"] * 30 + ["w2"] * 62)
    assert scoring.generate(model, tokenizer, [long], 3) == scoring.generate(
        model, tokenizer, [" ".join(["w2"] * 60)], 3
    )
    assert "1 of 1 prompts are longer than 61 tokens" in caplog.text
    monkeypatch.setattr(type(tokenizer), "decode", lambda self, ids, **_: "one two\nthree"[: 6 * len(ids)])
    assert scoring.generate(model, tokenizer, ["w1"], 6) == ["one two"]


def test_contexts_are_cut_by_the_models_tokens(folder, decoder, monkeypatch) -> None:
    model, tokenizer = decoder
    assert scoring.first_tokens(tokenizer, "w1  w2 w3", 2) == "w1  w2"
    assert [scoring.first_tokens(tokenizer, "w1 w2", n) for n in (0, 1, 2, 3)] == ["", "w1", "w1 w2", "w1 w2"]
    task = tiny.task(
        "generation", configs=["questions"], prompt="{context} : {question}", fields={"context": ["question"]}
    )
    seen: list[str] = []
    monkeypatch.setattr(scoring, "generate", lambda _, __, prompts, ___: seen.extend(prompts) or [""] * len(prompts))
    scoring.predict(model, tokenizer, task, Variant(context_tokens=3), folder / "data/files")
    assert len(seen) == 40
    for prompt in seen:
        context, question = prompt.split(" : ")
        assert context.split() == question.split()[:3]


def test_perplexity_of_windows(folder, decoder) -> None:
    model, tokenizer = decoder
    task = tiny.task("perplexity", configs=["text"])
    measured, frame = scoring.evaluate(model, tokenizer, task, folder / "data/files")
    ids = tokenizer("\n\n".join(tasks.texts(folder / "data/files", task)))["input_ids"]
    total = 0.0
    for start in range(0, len(ids), 64):
        window = torch.tensor([ids[start : start + 64]], device=model.device)
        total += float(model(window, labels=window).loss.detach()) * (window.shape[1] - 1)
    tokens = len(ids) - -(-len(ids) // 64)
    assert frame["tokens"].sum() == tokens
    assert measured["all"]["metrics"]["perplexity"] == pytest.approx(np.exp(total / tokens), rel=1e-4)


@pytest.mark.parametrize("encoder", ["encoder", "decoder"])
def test_batches_do_not_change_predictions(folder, monkeypatch, encoder) -> None:
    task = tiny.task("classification")
    manifest = folder / encoder / "manifest.json"
    model, tokenizer = models.open_state(manifest, tiny.MODEL, task)
    frames = []
    for size in (1, 7, 64):
        monkeypatch.setattr(scoring, "BATCH_SEQUENCES", size)
        frames.append(scoring.evaluate(model, tokenizer, task, folder / "data/files")[1])
    for frame in frames[1:]:
        assert frame["prediction"].tolist() == frames[0]["prediction"].tolist()
        assert np.stack(frame["option_scores"]) == pytest.approx(np.stack(frames[0]["option_scores"]), abs=1e-5)


def run(script, folder: Path, model: str, task, out: Path, *more: str) -> None:
    named = {"--model-manifest": folder / model / "manifest.json", "--dataset-manifest": folder / "data/manifest.json"}
    named |= {"--model": tiny.MODEL.model_dump_json(exclude_defaults=True), "--task-name": "toy"}
    named |= {"--task": task.model_dump_json(exclude_defaults=True), "--output-provenance": out / "provenance.json"}
    if script is finetune:
        named |= {"--output-weights": out / "model.safetensors", "--output-manifest": out / "manifest.json"}
    else:
        named |= {"--output-metrics": out / "metrics.json", "--output-predictions": out / "predictions.parquet"}
        named |= {"--model-name": model, "--method": "random", "--level": "0.50"}
    script.main([str(part) for pair in named.items() for part in pair] + list(more))


def test_the_scripts_from_a_state_to_equal_bytes_of_metrics(folder: Path, tmp_path: Path) -> None:
    state = str(compressed(folder / "encoder/manifest.json"))
    task = tiny.task("regression", target="score")
    for name in ("a", "b"):
        trained, out = tmp_path / name / "trained", tmp_path / name
        tuning = ["--state", state, "--transfer", "sparse", "--fraction", "0.50", "--seed", "3"]
        run(finetune, folder, "encoder", task, trained, *tuning)
        weights = [
            "--weights",
            str(trained / "model.safetensors"),
            "--weights-manifest",
            str(trained / "manifest.json"),
        ]
        run(
            evaluate,
            folder,
            "encoder",
            task,
            out,
            *weights,
            "--transfer",
            "sparse",
            "--fraction",
            "0.50",
            "--seed",
            "3",
        )
    for file in ("trained/model.safetensors", "trained/manifest.json", "metrics.json", "predictions.parquet"):
        assert sha256(tmp_path / "a" / file) == sha256(tmp_path / "b" / file), file
    done = json.loads((tmp_path / "a/trained/manifest.json").read_text())
    assert (done["examples"], done["steps"], done["transfer"], len(done["mask_sha256"])) == (20, 12, "sparse", 64)
    found = json.loads((tmp_path / "a/metrics.json").read_text())
    frame = pd.read_parquet(tmp_path / "a/predictions.parquet")
    assert (found["seed"], found["fraction"], found["suite"]) == (3, "0.50", "toy")
    assert found["variants"]["all"]["metrics"]["pearson"] == pytest.approx(METRICS["pearson"].compute(frame))
    assert sorted(p.name for p in (tmp_path / "a/trained").iterdir()) == [
        "manifest.json", "model.safetensors", "provenance.json"
    ]  # fmt: skip
    with pytest.raises(DataError, match="sha256 .*, its manifest says"):
        other = str(tmp_path / "a/trained/provenance.json")
        run(evaluate, folder, "encoder", task, tmp_path, "--weights", other, *weights[2:])
    with pytest.raises(DataError, match="needs fine-tuned weights"):
        run(evaluate, folder, "encoder", task, tmp_path, "--state")


def test_a_fine_tuning_that_diverged_is_a_flagged_cell(folder: Path, tmp_path: Path) -> None:
    rates = {"learning_rate": 1e30, "batch_size": 8, "epochs": 4.0, "max_length": 16}
    task, trained = tiny.task("classification", training=rates), tmp_path / "trained"
    named = ["--transfer", "dense", "--fraction", "1.00", "--seed", "3"]
    run(finetune, folder, "encoder", task, trained, *named)
    done = json.loads((trained / "manifest.json").read_text())
    assert done["diverged"] is True and 0 < done["steps"] <= 20
    assert not list(trained.glob("resume-*"))
    weights, manifest = trained / "model.safetensors", folder / "encoder/manifest.json"
    given = ["--weights", str(weights), "--weights-manifest", str(trained / "manifest.json")]
    run(evaluate, folder, "encoder", task, tmp_path, *named, *given)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert (found["diverged"], found["variants"], found["seed"]) == (True, {}, 3)
    assert len(pd.read_parquet(tmp_path / "predictions.parquet", columns=["variant", "id", "accuracy"])) == 0

    # Compressed after fine-tuning: the mark goes through, and no reader takes it for a state.
    model = ["--model-manifest", str(manifest), "--model", tiny.MODEL.model_dump_json(exclude_defaults=True)]
    given, state = ["--weights", str(weights)], tmp_path / "state.safetensors"
    index_magnitudes.main([*model, *given, "--output", str(tmp_path / "index.json")])
    method = ["--method", "magnitude", "--module", "pruning.magnitude", "--levels", "0.50"]
    compress.main([*model, *given, *method, "--index", str(tmp_path / "index.json"), "--outputs", str(state)])
    for use in (
        lambda: states.load(state),
        lambda: states.base_of(manifest, tiny.MODEL, weights),
        lambda: models.open_state(manifest, tiny.MODEL, task, weights=weights),
    ):
        with pytest.raises(DataError, match="safetensors: .*(diverged|no readable compressed state|schema)"):
            use()


def test_a_compressed_model_is_evaluated_as_it_is(folder: Path, tmp_path: Path) -> None:
    state = str(compressed(folder / "decoder/manifest.json"))
    task = tiny.task("generation", configs=["questions"], chance=0.0)
    run(evaluate, folder, "decoder", task, tmp_path / "pruned", "--state", state)
    run(evaluate, folder, "decoder", task, tmp_path / "dense", "--state")
    frames = [pd.read_parquet(tmp_path / name / "predictions.parquet") for name in ("pruned", "dense")]
    assert list(frames[0].columns[:7]) == list(scoring.COLUMNS)
    assert frames[0]["prediction"].tolist() != frames[1]["prediction"].tolist()
    assert json.loads((tmp_path / "dense/metrics.json").read_text())["seed"] is None


@needs_mirror
@pytest.mark.parametrize("name", ["mmlu", "triviaqa", "wikitext2", "cola", "sst2"])
def test_real_tasks_give_finite_metrics(name: str) -> None:
    catalog = read_catalog([PROJECT / "config/catalog", PROJECT / "config/catalog/real"])
    task = catalog.tasks[name].model_copy(update={"evaluate_limit": 6})
    base = MIRROR / "models/raincandy-u/TinyStories-656K"
    model = Model.model_validate({"source": {"type": "local", "path": str(base)}})
    tokenizer = models.load_tokenizer(base)
    loaded = models.load_model(base, model, task, tokenizer)
    data = MIRROR / "datasets" / catalog.datasets[task.dataset].id
    measured, frame = scoring.evaluate(loaded, tokenizer, task, data)
    assert set(measured) == set(task.variants)
    assert len(frame) == 6 * len(task.variants)
    assert all(np.isfinite(value) for found in measured.values() for value in found["metrics"].values())
