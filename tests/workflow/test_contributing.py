"""CONTRIBUTING.md's recipes, done as they stand: a new method, model, task and experiment, run to their figure."""

from __future__ import annotations

import re

import pandas as pd

from micro import Project
from support import PROJECT

STRANGERS_TASK = """
datasets:
  birds: {type: local, path: stranger}
tasks:
  birds:
    label: Colours of birds
    kind: multiple_choice
    dataset: birds
    configs: [birds]
    evaluate_split: heldout
    demonstration_split: shown
    prompt: "{query}"
    choices: mc.texts
    target: mc.gold
    option: "{letter} : {choice}"
    cue: " answer :"
    scoring: text
    metric: accuracy
    chance: uniform
    variants:
      easy: {where: {kind: easy}}
      hard: {where: {kind: hard}}
      shown_two: {shots: 3, n_options: 2}
"""
STRANGERS_EXPERIMENT = """
name: birds
id: E5
title: Colours of birds
question: Does a stranger's task run?
models: [organism-decoder]
methods: {magnitude: ["0.60"], random: ["0.50"]}
tasks: [birds]
panels: [{label: Magnitude, where: {method: magnitude}}, {label: Random, where: {method: random}}]
series: [{label: easy, where: {variant: easy}}, {label: hard, where: {variant: hard}}]
"""


def test_the_recipes_give_a_figure(fresh: Project) -> None:
    text = (PROJECT / "CONTRIBUTING.md").read_text()
    recipes = re.findall(r"^```\w+ (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(recipes) == 5
    for path, content in recipes:
        assert not (fresh.root / path).exists()
        assert len(content.splitlines()) <= 30
        (fresh.root / path).write_text(content)
    fresh.configure(experiments=["config/experiments/my_experiment.yaml"], limits={"my-task": {"evaluate": 40}})
    fresh.snakemake("my_experiment")
    table = pd.read_csv(fresh.root / "results/tables/my_experiment.csv")
    # Two variants of the dense model, its control, two sparsities and the new method.
    assert len(table) == 2 * (2 + 2 + 1)
    assert set(table["method"]) == {"dense", "magnitude", "checkerboard"}
    assert (fresh.root / "results/figures/my_experiment.png").stat().st_size > 5000


def test_a_strangers_multiple_choice_task_is_a_yaml_entry(fresh: Project) -> None:
    """Columns, labels and splits are the stranger's own; there is no `id`, and options and answer are nested."""
    colours = ["red", "green", "white", "black", "blue"]
    for split, n in (("heldout", 15), ("shown", 3)):
        folder = fresh.root / "stranger/birds"
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "query": f"colour of bird {i} ?",
                "kind": "hard" if i % 3 else "easy",
                "mc": {"texts": colours, "gold": i % 5},
            }
            for i in range(n)
        ]
        pd.DataFrame(rows).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    (fresh.root / "config/catalog/stranger.yaml").write_text(STRANGERS_TASK)
    (fresh.root / "config/experiments/birds.yaml").write_text(STRANGERS_EXPERIMENT)
    fresh.configure(experiments=["config/experiments/birds.yaml"], limits={})
    fresh.snakemake("birds")

    table = pd.read_csv(fresh.root / "results/tables/birds.csv").set_index(["method", "variant"])
    assert len(table) == 3 * 3 and set(table["metric"]) == {"accuracy"}
    for method in ("dense", "magnitude", "random"):
        assert dict(table.loc[method]["n_examples"]) == {"easy": 5, "hard": 10, "shown_two": 15}
        assert dict(table.loc[method]["chance"].round(4)) == {"easy": 0.2, "hard": 0.2, "shown_two": 0.5}
    folder = fresh.root / "results/evaluate/organism-decoder/magnitude/0.60/none/birds"
    rows = pd.read_parquet(folder / "predictions.parquet")
    assert set(rows["prediction"]) <= set(colours)
    right = (rows["prediction"] == rows["reference"]).groupby(rows["variant"]).mean()
    assert (table.loc["magnitude"]["value"] - right).abs().max() < 1e-6
    assert (fresh.root / "results/figures/birds.png").stat().st_size > 5000
