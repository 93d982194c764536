"""Texts of a configuration and targets that try to be commands, paths or markup: a real run takes them as text."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from micro import ASKED, Project

TEXT = "\"quotes' $(touch owned) `touch owned` ; touch owned > owned\n<script>owned</script> \\ {{x}} "
RESULTS = "out 'put' $(touch owned)"
CELL = "evaluate/organism-decoder/random/0.50/none/hostile"


def test_texts_of_the_configuration_reach_the_job_as_they_are(fresh: Project) -> None:
    task = {
        **{"label": TEXT, "kind": "multiple_choice", "dataset": "world", "configs": ["multiple_choice"]},
        **{"prompt": TEXT + "question : {question} answer :", "choices": "choices", "target": "answer"},
        **{"scoring": "text", "metric": "accuracy", "chance": "uniform", "variants": {"two": {"n_options": 2}}},
    }
    (fresh.root / "config/catalog/hostile.yaml").write_text(yaml.safe_dump({"tasks": {"hostile": task}}))
    fresh.experiment(
        ASKED,
        **{"title": TEXT, "question": TEXT, "caption": TEXT, "tasks": ["hostile"], "methods": {"random": ["0.50"]}},
        controls=[],
        **{"panels": [{"label": TEXT}], "series": [{"label": TEXT, "where": {"variant": "two"}}]},
    )
    fresh.configure(
        experiments=["config/experiments/micro/asked.yaml"],
        limits={"hostile": {"evaluate": 12}},
        pathvars={"results": RESULTS},
    )
    targets = f"{CELL}/metrics.json", "tables/asked.md", "figures/asked.svg"
    fresh.snakemake(*(f"{RESULTS}/{target}" for target in targets), timeout=900)
    assert len(pd.read_parquet(fresh.root / RESULTS / CELL / "predictions.parquet")) == 12
    # The rules hand on what the catalog says, to the last character.
    plan = json.loads((fresh.root / RESULTS / "plans/asked.json").read_text())
    assert plan["experiment"]["title"] == plan["experiment"]["series"][0]["label"] == TEXT
    assert not list(fresh.root.rglob("owned*"))


@pytest.mark.parametrize(
    "target",
    [
        "results/pretrain/x;touch owned;/model.safetensors",
        "results/pretrain/$(touch owned)/training_curve.csv",
        "results/sources/datasets/`touch owned`/manifest.json",
        "results/evaluate/../../organism-decoder/random/0.50/none/options/metrics.json",
    ],
)
def test_targets_that_are_commands_or_paths_are_no_jobs(fresh: Project, target: str) -> None:
    done = fresh.snakemake(target, check=False)
    assert done.returncode != 0 and "MissingRuleException" in done.stdout + done.stderr
    assert not list(fresh.root.rglob("owned"))
