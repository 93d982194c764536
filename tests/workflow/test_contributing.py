"""CONTRIBUTING.md's recipes, done as they stand: a new method, model, task and experiment, run to their figure."""

from __future__ import annotations

import re

import pandas as pd
from micro import Project

from support import PROJECT


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
