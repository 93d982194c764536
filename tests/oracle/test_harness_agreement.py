"""The same questions to the same model, scored by lm-evaluation-harness and by us."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from transformers import AutoModelForCausalLM

from junkdna import models, scoring, tasks
from junkdna.catalog import Task
from junkdna.config import read_catalog
from junkdna.world.datasets import write_datasets
from support import HARNESS, MIRROR, PROJECT, needs_harness, needs_mirror

CATALOG = read_catalog([PROJECT / "config/catalog", PROJECT / "config/catalog/real"])
SUBJECTS = ["abstract_algebra", "international_law", "marketing"]
MMLU = "{{question}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:"
# Where the best two scores are closer, rounding may decide between them. Log-likelihoods, float32.
CLEAR, TOLERANCE = 1e-4, 1e-3


def harness_task(folder: Path, name: str, data: Path, config: str, task: Task, shots: int, **prompt: Any) -> None:
    """Write a task file of the harness that reads the same parquet files."""
    splits = {task.evaluate_split, task.demonstration_split} if shots else {task.evaluate_split}
    content = {
        "task": name,
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": {s: str(data / config / f"{s}-*.parquet") for s in sorted(splits)}},
        "output_type": "multiple_choice",
        "test_split": task.evaluate_split,
        **({"fewshot_split": task.demonstration_split, "fewshot_config": {"sampler": "first_n"}} if shots else {}),
        "num_fewshot": shots,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        **prompt,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))


def run_harness(folder: Path, model: Path, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """Run the task files of a folder in the harness's own environment."""
    command = [HARNESS, PROJECT / "tests/oracle/run_harness.py", "--model", model, "--tasks", folder]
    command += ["--output", folder / "found.json", *arguments]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "found.json").read_text())


def assert_agreement(model: Path, questions: list[tasks.Question], theirs: Iterable[dict[str, Any]]) -> None:
    theirs = list(theirs)
    assert [q.texts[0] for q in questions] == [example["prompt"] for example in theirs]
    assert [[o.strip() for o in q.options] for q in questions] == [[o.strip() for o in e["options"]] for e in theirs]
    assert [q.target for q in questions] == [example["right"] for example in theirs]
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    ours = scoring.option_scores(loaded, models.load_tokenizer(model), questions)
    for found, example in zip(ours, theirs, strict=True):
        wanted = np.array(example["scores"])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)
        second, first = np.sort(wanted)[-2:]
        assert first - second <= CLEAR or found.argmax() == wanted.argmax()


@needs_harness
@needs_mirror
def test_mmlu_with_a_real_model(tmp_path: Path) -> None:
    data, source = MIRROR / "datasets/cais/mmlu", MIRROR / "models/raincandy-u/TinyStories-656K"
    # Its 512 tokens hold few prompts with five examples, and what goes then is a choice (we keep the start token, the
    # harness does not). Its positions are rotary, so a longer window needs no other weights.
    model = tmp_path / "model"
    model.mkdir()
    for file in source.iterdir():
        (model / file.name).symlink_to(file)
    config = json.loads((source / "config.json").read_text())
    (model / "config.json").unlink()
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    (tmp_path / "tasks").mkdir()
    task = CATALOG.tasks["mmlu"]
    for subject in SUBJECTS:
        for shots in (0, 5):
            prompt = {"doc_to_text": MMLU, "doc_to_choice": list("ABCD"), "doc_to_target": "answer"}
            harness_task(tmp_path / "tasks", f"{subject}_{shots}", data, subject, task, shots, **prompt)
    # This model's tokenizer has a token for a colon with the space after it.
    found = run_harness(tmp_path / "tasks", model, "--joint")
    for subject in SUBJECTS:
        for shots in (0, 5):
            single = task.model_copy(update={"configs": [subject]})
            variant = task.variants["options_4"].model_copy(update={"shots": shots})
            assert_agreement(model, tasks.questions(data, single, variant), found[f"{subject}_{shots}"])


@needs_harness
def test_the_organisms_options_as_texts(tmp_path: Path) -> None:
    """No token spans prompt and option here, so the harness is as it comes. The options have several tokens."""
    data, model = tmp_path / "world", PROJECT / "resources/organisms/decoder"
    write_datasets(PROJECT / "resources/organisms/recipe.yaml", data)
    (tmp_path / "tasks").mkdir()
    task = CATALOG.tasks["options"]
    prompt = {"doc_to_text": task.prompt.replace("{", "{{").replace("}", "}}"), "doc_to_choice": "choices"}
    harness_task(tmp_path / "tasks", "options", data, task.configs[0], task, 0, **prompt, doc_to_target=task.target)
    found = run_harness(tmp_path / "tasks", model)
    variant = task.variants["options_8"].model_copy(update={"n_options": None})
    assert_agreement(model, tasks.questions(data, task, variant), found["options"])
