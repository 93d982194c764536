"""A task of lm-evaluation-harness by name, through the workflow, on a compressed model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from micro import Project, copy_project
from support import HARNESS, MIRROR, needs_harness, needs_mirror

TASK = {
    "task": "colours",
    "dataset_path": "someone/colours",  # the hub's; ours is read instead
    "dataset_name": "plain",
    "output_type": "multiple_choice",
    "test_split": "test",
    "fewshot_split": "dev",
    "fewshot_config": {"sampler": "first_n"},
    "doc_to_text": "question : {{question}} answer :",
    "doc_to_choice": "{{options}}",
    "doc_to_target": "right",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
        {"metric": "mcc", "aggregation": "matthews_corrcoef", "higher_is_better": True},
    ],
}
WRITTEN = {key: TASK[key] for key in ("dataset_path", "test_split", "fewshot_split", "doc_to_text")} | {
    "task": "written",
    "output_type": "generate_until",
    "doc_to_target": "{{options[right]}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    "filter_list": [
        {"name": "first-word", "filter": [{"function": "regex", "regex_pattern": "(\\w+)"}, {"function": "take_first"}]}
    ],
}
CATALOG = {
    "datasets": {"colours": {"type": "local", "path": "data"}},
    "tasks": {
        "colours": {
            "label": "Colours",
            "kind": "lm_eval",
            "harness_task": "colours",
            "include_path": "my_tasks",
            "dataset": "colours",
            "configs": ["plain"],
            "metric": "acc_norm",
            "chance": "uniform",
            "evaluate_limit": 20,
            "variants": {"shots_0": {}, "shots_2": {"shots": 2}},
        },
        "written": {
            "label": "Colours, written",
            "kind": "lm_eval",
            "harness_task": "written",
            "include_path": "my_tasks",
            "dataset": "colours",
            "configs": ["plain"],
            "metric": "exact_match,first-word",
        },
    },
}
EXPERIMENT = {
    "name": "colours",
    "id": "E7",
    "title": "Colours",
    "question": "Does it run?",
    "models": ["organism-decoder"],
    "methods": {"magnitude": ["0.60"]},
    "tasks": ["colours", "written"],
    "panels": [{"label": "Colours"}],
    "series": [
        {"label": "Written", "where": {"task": "written"}},
        {"label": "2 shots", "where": {"variant": "shots_2"}},
        {"label": "0 shots", "where": {"variant": "shots_0"}},
    ],
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = copy_project(tmp_path / "project")
    options = ["red", "green and blue", "white"]
    for split, n in (("test", 30), ("dev", 4)):
        rows = pd.DataFrame({"question": [f"what is {i} ?" for i in range(n)], "right": [i % 3 for i in range(n)]})
        (project.root / "data/plain").mkdir(parents=True, exist_ok=True)
        rows.assign(options=[options] * n).to_parquet(project.root / f"data/plain/{split}-00000-of-00001.parquet")
    (project.root / "my_tasks").mkdir()
    for task in (TASK, WRITTEN, TASK | {"task": "split", "fewshot_split": "train"}):
        (project.root / f"my_tasks/{task['task']}.yaml").write_text(yaml.safe_dump(task))
    (project.root / "config/catalog/colours.yaml").write_text(yaml.safe_dump(CATALOG))
    project.experiment(EXPERIMENT)
    project.configure(experiments=["config/experiments/micro/colours.yaml"], limits={})
    return project


def test_without_the_harness_it_is_an_error_before_any_job(project: Project) -> None:
    done = project.snakemake("-n", "colours", check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0 and "'colours' is of kind lm_eval" in text and "envs/harness.txt" in text


@needs_harness
def test_a_task_by_name_gives_a_table(project: Project) -> None:
    project.python = str(HARNESS)
    project.snakemake("colours", timeout=600)
    table = pd.read_csv(project.root / "results/tables/colours.csv")
    written, table = (found for _, found in table.groupby(table["task"] == "colours"))
    assert list(written["metric"]) == 2 * ["exact_match,first-word"] and list(written["n_examples"]) == [30, 30]
    assert len(table) == 2 * 2 and set(table["metric"]) == {"acc_norm"} and set(table["n_examples"]) == {20}
    assert (table["chance"] - 1 / 3).abs().max() < 1e-6 and not table[["value", "ci_low", "ci_high"]].isna().any(
        axis=None
    )

    cell = project.root / "results/evaluate/organism-decoder/dense/dense/none/written"
    rows = pd.read_parquet(cell / "predictions.parquet")
    assert not rows["prediction"].str.contains(" ").any() and set(rows["reference"]) == {
        "red",
        "green and blue",
        "white",
    }
    assert list(rows["exact_match,first-word"]) == list((rows["prediction"] == rows["reference"]).astype(float))

    cell = project.root / "results/evaluate/organism-decoder/magnitude/0.60/none/colours"
    rows, lengths = pd.read_parquet(cell / "predictions.parquet"), np.array([3, 14, 5])
    assert list(rows.groupby("variant").size()) == [20, 20]
    # The harness normalises by the length of an option.
    guess = np.array([np.argmax(scores / lengths) for scores in rows["option_scores"]])
    assert list(rows["acc_norm"]) == list((guess == rows["y_true"]).astype(float))
    assert list(rows["y_true"]) == [int(name) % 3 for name in rows["id"]]
    measured = json.loads((cell / "metrics.json").read_text())["variants"]
    for name, found in measured.items():
        assert found["metrics"]["acc_norm"] == pytest.approx(rows[rows["variant"] == name]["acc_norm"].mean())

    (project.root / "my_tasks/colours.yaml").write_text(yaml.safe_dump(TASK | {"doc_to_text": "{{question}}"}))
    assert {job.rule for job in project.plan("colours")} >= {"evaluate_compressed", "aggregate"}


@needs_harness
@needs_mirror
def test_a_task_that_comes_with_the_harness(project: Project) -> None:
    data = MIRROR / "datasets/tau/commonsense_qa"
    task = CATALOG["tasks"]["colours"] | {"harness_task": "commonsense_qa", "configs": ["default"], "metric": "acc"}
    del task["include_path"]
    changed = {"datasets": {"colours": {"type": "local", "path": str(data)}}, "tasks": {"colours": task}}
    (project.root / "config/catalog/colours.yaml").write_text(yaml.safe_dump(changed))
    project.experiment(EXPERIMENT, tasks=["colours"], series=EXPERIMENT["series"][1:])
    project.python = str(HARNESS)
    cell = "results/evaluate/organism-decoder/dense/dense/none/colours"
    project.snakemake(f"{cell}/metrics.json")
    rows = pd.read_parquet(project.root / cell / "predictions.parquet")
    keys = pd.read_parquet(data / "default/validation-00000-of-00001.parquet")["answerKey"]
    assert len(rows) == 2 * 20 and list(rows["reference"]) == [keys[int(name)] for name in rows["id"]]
    assert list(rows["acc"]) == list((rows["prediction"] == rows["reference"]).astype(float))
    assert list(rows["y_true"]) == ["ABCDE".index(letter) for letter in rows["reference"]]


@needs_harness
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"harness_task": "split"}, "the split 'train', which split of the harness reads; there are dev, test"),
        ({"harness_task": "colors"}, "'colors': no task in my_tasks"),
        ({"metric": "f1"}, "'f1': colours of the harness has acc, acc_norm, mcc"),
        ({"metric": "mcc"}, "'mcc': of the harness's metrics, only means"),
        ({"metric": "acc,strict"}, "colours of the harness has filters none"),
        ({"configs": ["fancy"]}, "no configuration 'fancy'"),
    ],
)
def test_what_the_harness_does_not_have_is_named(project: Project, changes: dict, expected: str) -> None:
    changed = {**CATALOG, "tasks": {**CATALOG["tasks"], "colours": CATALOG["tasks"]["colours"] | changes}}
    (project.root / "config/catalog/colours.yaml").write_text(yaml.safe_dump(changed))
    project.python = str(HARNESS)
    path = "results/evaluate/organism-decoder/dense/dense/none/colours/metrics.json"
    done = project.snakemake(path, check=False)
    log = project.root / "results/logs/evaluate/organism-decoder/dense/dense/none/colours.log"
    assert done.returncode != 0 and expected in log.read_text()
