"""The overlay of reported values, switched on for an experiment that has run already."""

from __future__ import annotations

import pandas as pd

from micro import TRAINED, Project

SERIES = {
    "sparse": "Sparse Transfer",
    "to dense": "Sparse to Dense Transfer",
    "frozen": "Dense Transfer with Freezing",
}


def test_switched_on_it_redraws_and_compares(done: Project) -> None:
    path = done.root / "results/tables/against_reported.csv"
    done.snakemake("results/tables/against_reported.csv")
    assert len(pd.read_csv(path)) == 0

    before = (done.root / "results/figures/trained.png").read_bytes()
    done.experiment(
        TRAINED,
        reported=True,
        panels=[{"label": "Lexical", "reported": {"figure": "TRUE_GEM", "panel": "SST-2 (50% data)"}}],
        series=[series | {"reported": {"series": SERIES[series["label"]]}} for series in TRAINED["series"]],
    )
    assert {job.rule for job in done.plan()} - {"score_difficulty", "plot_difficulty", "claims"} == {
        "plan", "aggregate", "plot", "against_reported", "all_figures",
    }  # fmt: skip
    done.snakemake("all_figures")
    assert (done.root / "results/figures/trained.png").read_bytes() != before
    table, ours = pd.read_csv(path), pd.read_csv(done.root / "results/tables/trained.csv")
    assert list(table["series"]) == list(SERIES) and set(table["level"]) == {0.5}
    # Read from the paper's figure at 50 %.
    assert list(table["reported"]) == [97.12, 97.31, 99.18]
    wanted = ours[ours["method"] == "magnitude"].set_index("transfer")["percent_of_dense"]
    assert dict(zip(table["transfer"], table["ours"], strict=True)) == dict(wanted)
    assert done.plan() == []
