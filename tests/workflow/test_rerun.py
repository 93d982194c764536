"""What reruns, and what does not: decision 4 of the design."""

from __future__ import annotations

import time
from collections import Counter

import pandas as pd

from micro import ASKED, Project

AGGREGATES = {"plan", "aggregate", "plot", "score_difficulty", "plot_difficulty", "claims", "all_figures"}


def work(project: Project) -> list:
    return [job for job in project.plan() if job.rule not in AGGREGATES]


def test_finished_run_has_nothing_to_do(finished: Project) -> None:
    assert "Nothing to be done" in finished.snakemake("-n", "all_figures").stdout
    for name in ("asked", "trained"):
        table = pd.read_csv(finished.root / f"results/tables/{name}.csv", dtype={"fraction": str})
        assert len(table)
        assert not table[["value", "ci_low", "ci_high", "percent_of_dense", "relative_drop"]].isna().any().any()
        for suffix in ("svg", "png"):
            assert (finished.root / f"results/figures/{name}.{suffix}").stat().st_size > 5000


def test_touching_any_file_reruns_nothing(done: Project) -> None:
    time.sleep(1.1)  # file systems keep whole seconds at worst
    for folder in ("workflow", "config", "resources", "results"):
        for file in (done.root / folder).rglob("*"):
            if file.is_file():
                file.touch()
    assert done.plan() == []


def test_reformatting_reruns_nothing(done: Project) -> None:
    for file in (done.root / "workflow/scripts").rglob("*.py"):
        file.write_text("# A comment on top.\n" + file.read_text() + "\n\n# And one below.\n")
    assert done.plan() == []


def test_editing_a_method_reruns_its_cells_alone(done: Project) -> None:
    path = "workflow/scripts/junkdna/pruning/random.py"
    (done.root / path).write_text((done.root / path).read_text() + "\n_EDITED = True\n")
    jobs = done.plan()
    tables = {"aggregate": 1, "plot": 1, "score_difficulty": 1, "plot_difficulty": 1, "claims": 1, "all_figures": 1}
    assert Counter(j.rule for j in jobs) == Counter({"compress": 1, "evaluate_compressed": 2, **tables})
    assert all("/random/" in j.output for j in jobs if j.rule in ("compress", "evaluate_compressed"))


def test_editing_the_figures_redraws_only(done: Project) -> None:
    path = "workflow/scripts/junkdna/figures.py"
    (done.root / path).write_text((done.root / path).read_text() + "\n_EDITED = True\n")
    assert Counter(j.rule for j in done.plan()) == Counter({"plot": 2, "plot_difficulty": 1, "all_figures": 1})


def test_new_level_adds_just_its_cells(done: Project) -> None:
    done.configure(levels={"few": ["0.30", "0.45", "0.60"]})
    jobs = work(done)
    assert Counter(j.rule for j in jobs) == Counter({"compress": 1, "evaluate_compressed": 2})
    assert all("/magnitude/0.45/" in j.output for j in jobs)


def test_editing_a_task_reruns_its_evaluations_not_its_training(done: Project) -> None:
    done.configure(
        limits={"closed_book": {"evaluate": 24}, "options": {"evaluate": 24}, "lexical": {"train": 96, "evaluate": 30}}
    )
    assert Counter(j.rule for j in work(done)) == Counter({"evaluate_finetuned": 8})


def test_deleted_metrics_recompute_the_evaluation_and_its_aggregates(done: Project) -> None:
    cell = "organism-encoder/magnitude/0.50/sparse/lexical/0.50/1/lexical"
    before = done.tables()
    (done.root / f"results/evaluate/{cell}/metrics.json").unlink()
    rules = Counter(j.rule for j in done.plan())
    assert rules["evaluate_finetuned"] == 1
    assert "finetune" not in rules and "compress" not in rules
    done.snakemake("all_figures")
    assert done.tables() == before
    assert done.plan() == []


def test_one_cell_alone(fresh: Project) -> None:
    path = "results/evaluate/organism-decoder/magnitude/0.60/none/closed_book/metrics.json"
    assert Counter(j.rule for j in fresh.plan(path)) == Counter(
        {"fetch_model": 1, "fetch_dataset": 1, "index_magnitudes": 1, "compress": 1, "evaluate_compressed": 1}
    )


def test_a_removed_level_reruns_the_aggregates_only(done: Project) -> None:
    done.experiment(ASKED, methods={**ASKED["methods"], "random": ["0.50"], "magnitude": ["0.30"]})
    assert work(done) == []
    assert {"plan", "aggregate", "plot"} <= {j.rule for j in done.plan()}
