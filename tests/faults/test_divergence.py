"""A fine-tuning whose loss becomes NaN, in a whole run: the others complete, the tables list it and leave it out."""

from __future__ import annotations

import json

import pandas as pd
from provoke import TUNED, completes, remove, run

from micro import Project

RATE = "learning_rate=training.learning_rate,"
# Of one seed of one mode: everything else keeps its own rate.
HIGH = 'learning_rate=1e30 if seed == 1 and "/sparse/" in str(folder) else training.learning_rate,'


def test_one_seed_diverges(finished: Project, done: Project) -> None:
    cells = f"finetune/{TUNED}/1", f"evaluate/{TUNED}/1/lexical"
    remove(done, *cells)
    done.edit("workflow/scripts/junkdna/training.py", RATE, HIGH)
    # By time alone, or the edited module would redo the other fine-tunings too.
    status, said = run(done, "--rerun-triggers", "mtime", "--", "all_figures")
    assert status == 0, said[-3000:]
    results = done.root / "results"
    assert json.loads((results / cells[0] / "manifest.json").read_text())["diverged"] is True
    assert json.loads((results / cells[1] / "metrics.json").read_text())["diverged"] is True
    assert "diverged" in (results / f"logs/finetune/{TUNED}/1.log").read_text()

    table = pd.read_csv(results / "tables/trained.csv", dtype=str, keep_default_na=False)
    whole = pd.read_csv(finished.root / "results/tables/trained.csv", dtype=str, keep_default_na=False)
    sparse = table["transfer"] == "sparse"
    assert set(table.loc[sparse, "diverged"]) == {"1"} and set(table.loc[sparse, "n_seeds"]) == {"1"}
    pd.testing.assert_frame_equal(table[~sparse], whole[~sparse])
    alone = json.loads((results / f"evaluate/{TUNED}/0/lexical/metrics.json").read_text())["variants"]["all"]
    assert float(table.loc[sparse, "value"].iloc[0]) == round(alone["metrics"]["accuracy"], 6)
    assert "lexical, 0.50: 1." in (results / "tables/trained.md").read_text()
    assert "Diverged, left out: 1" in (results / "figures/trained.svg").read_text()

    done.edit("workflow/scripts/junkdna/training.py", HIGH, RATE)
    remove(done, *cells)
    completes(done, finished)
