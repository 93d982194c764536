"""The page of a run: its sentences follow from the tables by the rules that it states."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from simulated import write_cells
from test_record import CELLS, write_run
from test_reported import CATALOG, DATA_ADEQUACY

import aggregate
import write_page
from junkdna import comparison, grid, markdown, recording
from junkdna import page as pages
from junkdna.config import Experiment, read_catalog
from junkdna.files import DataError, write_json
from junkdna.tidy import read_csv, write_csv
from junkdna.twins import COLUMNS as TWIN_COLUMNS
from support import PROJECT

METHODS = {"magnitude": "Magnitude (global)", "random": "Random"}


def trend(level: str, mean_drop: float, rise: float, p: float, **changes: Any) -> dict[str, Any]:
    row = {"panel": "QNLI", "axis": "Training data", "model": "m", "method": "magnitude", "transfer": "sparse"}
    row |= {"level": level, "mean_drop": mean_drop, "easiest": "100 %", "hardest": "10 %", "p_holm": p}
    for name in ("rise", "rise_corrected"):
        row |= {name: rise, f"{name}_ci_low": rise - 0.1, f"{name}_ci_high": rise + 0.1}
    return row | changes


def test_trends_are_told_at_the_level_nearest_to_a_drop_of_30_percent() -> None:
    rows = [trend("0.30", 0.05, 0.01, 0.2), trend("0.50", 0.33, 0.2, 0.01), trend("0.70", 0.8, 0.0, 0.9)]
    rows += [trend("0.50", float("nan"), float("nan"), float("nan"), method="random")]
    one, other = pages.trend_sentences(pd.DataFrame(rows), METHODS)
    assert one == (
        "QNLI, Magnitude (global): at 50 % the drop's rise from 100 % to 10 % is 20.0 [10.0, 30.0] points (corrected "
        "for chance 20.0 [10.0, 30.0]; mean drop 33 %). Told from 0 at 1 of 3 levels (50 %)."
    )
    assert other == "QNLI, Random: no drop is defined."
    rows = [trend("0.50", 0.3, 0.1, 0.9), trend("0.50", 0.3, 0.1, 0.9, model="large")]
    assert [s.split(":")[0] for s in pages.trend_sentences(pd.DataFrame(rows), METHODS)] == [
        "QNLI, Magnitude (global), m",
        "QNLI, Magnitude (global), large",
    ]


def contrast(panel: str, easy: str, hard: str, low: float, high: float, **changes: Any) -> dict[str, Any]:
    row = {"panel": panel, "model": "m", "method": "magnitude", "transfer": f"{easy} | {hard}", "level": "0.50"}
    ends = {"difference": (low + high) / 2, "ci_low": low, "ci_high": high, "nearest_30": 1}
    return row | {"easy": easy, "hard": hard} | ends | changes


def test_pairs_are_counted_by_the_side_of_0_on_which_their_intervals_lie() -> None:
    rows = [contrast("A", "Sparse", "Frozen", -0.3, -0.1), contrast("B", "Sparse", "Frozen", -0.1, 0.2)]
    rows += [contrast("C", "Sparse", "Frozen", 0.1, 0.2), contrast("C", "Sparse", "Frozen", -9, -8, nearest_30=0)]
    found = pd.DataFrame(rows)
    assert list(pages.pair_sentences(found)) == [
        "*Frozen* loses less than *Sparse* in 1 of 3 curves, more in 1; in 1 the two cannot be told apart."
    ]
    lines = pages.pair_table(found, METHODS).splitlines()
    assert lines[0] == "| drop, in points | Frozen less Sparse |" and len(lines) == 5
    assert lines[2] == "| A, Magnitude (global) | -20.0 [-30.0, -10.0] at 50 % |"


def test_curves_say_where_they_leave_the_dense_model() -> None:
    row = {"panel": "P", "series": "Wanda", "kind": "sparsity", "critical": 0.4, "critical_reached": 0.9}
    row |= {"between": "dense | 0.50", "area": 0.1, "area_ci_low": 0.05, "area_ci_high": 0.2}
    one, other = pages.curve_sentences(pd.DataFrame([row, row | {"critical": float("nan"), "critical_reached": 0.0}]))
    assert one == (
        "P, Wanda (sparsity): falls below 95 % of the dense model between dense and 50 %; mean drop over the levels "
        "10.0 [5.0, 20.0] points."
    )
    assert "stays above 95 % of the dense model at all levels" in other


def reported_row(series: str, level: str, ours: float, theirs: float, half: float) -> dict[str, Any]:
    row = {"experiment": "e", "panel": "QNLI", "series": series, "method": "magnitude", "level": level, "ours": ours}
    row |= {"reported": theirs, "uncertainty": 1.0, "difference": ours - theirs}
    return row | {"difference_low": ours - theirs - half, "difference_high": ours - theirs + half}


def test_agreement_with_the_paper_is_by_interval_and_by_order() -> None:
    rows = [reported_row("Easy", "0.30", 99, 98, 3), reported_row("Easy", "0.50", 70, 95, 5)]
    rows += [reported_row("Easy", "0.70", 90, 60, 5)]
    # Same order, opposite order, and one where the paper has the two too close to tell.
    rows += [reported_row("Hard", "0.30", 90, 80, 5), reported_row("Hard", "0.50", 75, 80, 9)]
    rows += [reported_row("Hard", "0.70", 50, 59, 9)]
    experiment = {"ordered": True, "series_title": "Task", "series": [{"label": "Easy"}, {"label": "Hard"}]}
    assert list(pages.reported_sentences(pd.DataFrame(rows), experiment)) == [
        "QNLI, Easy: ours agrees at 1 of 3 levels (30 %); it is above at 70 %, by up to 30 points; it is below at "
        "50 %, by up to 25 points.",
        "QNLI, Hard: ours agrees at 2 of 3 levels (50 %, 70 %); it is above at 30 %, by up to 10 points.",
        "QNLI: Easy and Hard are in the paper's order at 1 of 2 levels (30 %).",
    ]


def test_words() -> None:
    assert [markdown.joined(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert (
        markdown.counted([], 1, "level") == "none of 1 level"
        and markdown.points(-0.0001, -0.1, 0) == "0.0 [-10.0, 0.0]"
    )
    assert markdown.table(["a", "b"], [["x|y", "1"]]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run like the paper's E1 on simulated cells, with a record."""
    plan = grid.plan(experiment := Experiment(**DATA_ADEQUACY), grid.expand(experiment), CATALOG, str(tmp_path))
    write_cells(plan, lambda cell, _: 0.9 - 0.4 * cell["sparsity"] * (cell["fraction"] == "0.10"), examples=60)
    write_json(tmp_path / "plan.json", plan)
    name = plan["experiment"]["name"]
    kinds = ("table", "contrasts", "curves", "against_dense", "trends")
    named = {kind: tmp_path / (f"{name}.csv" if kind == "table" else f"{name}_{kind}.csv") for kind in kinds}
    named |= {"drops": tmp_path / "drops", "markdown": tmp_path / f"{name}.md", "latex": tmp_path / "latex"}
    given = [part for kind, path in named.items() for part in (f"--{kind.replace('_', '-')}", str(path))]
    aggregate.main(["--plan", str(tmp_path / "plan.json"), *given])
    write_csv(tmp_path / "against_reported.csv", comparison.against_reported(plan, read_csv(named["table"])))
    twin = dict.fromkeys(TWIN_COLUMNS, 0.5) | {"model": "roberta", "variant": "all", "fraction": "1.00"}
    twin |= {"transfer": "dense", "metric": "accuracy", "n_seeds": 3, "matters": 1}
    rows = [twin | {"task": "qnli"}, twin | {"task": "sst2", "matters": 0}]
    write_csv(tmp_path / "pretraining.csv", pd.DataFrame(rows))
    (tmp_path / "claims.md").write_text("# The claims\n\nText.\n\n## C1: More\n")
    (tmp_path / "data_adequacy.png").write_bytes(b"image")
    write_run(tmp_path / "run")
    recording.pack(tmp_path / "run", CELLS, read_catalog([PROJECT / "config/catalog"]), tmp_path / "record")
    return tmp_path


def write(run: Path, *left_out: str) -> str:
    output = run / "out/small.md"
    tables = [
        str(path) for path in sorted(run.glob("*.*")) if path.suffix in (".csv", ".md") and path.name not in left_out
    ]
    texts = {"captions": {"data_adequacy": "How to read it."}, "options": ["--configfile", "config/small.yaml"]}
    write_page.main(
        [
            *("--name", "small", "--plans", str(run / "plan.json"), "--tables", *tables),
            *("--claims", str(run / "claims.md"), "--images", str(run / "data_adequacy.png")),
            *("--record", str(run / "record"), "--texts", json.dumps(texts), "--output", str(output)),
        ]
    )
    return output.read_text()


def test_the_page_tells_run_pretraining_experiments_claims_and_provenance(run: Path) -> None:
    text = write(run)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# Scale `small`: what came out",
        "## What was run",
        "## Does pre-training matter?",
        "## The experiments",
        "### E1: T",
        "## The claims",
        "### C1: More",
        "## Provenance",
    ]
    assert "(`snakemake --cores 2 --configfile config/small.yaml -- page`)" in text
    assert "9 evaluated cells and 4 fine-tunings, with seeds 0 and 1" in text
    # Parameters and steps as on the organism's card, training rows and answers as in its cells.
    assert "| `organism-encoder` | 503,185 | 461,617 | - | 11,000 | 0.940 | 19 min | - |" in text
    assert "| `lexical` | builtin `world` | accuracy | 2 x 20 | 400 |" in text
    assert (
        "matters in 1 of 2 comparisons. It does not, or that cannot be told: sst2, 100 % of the data, roberta." in text
    )
    assert "![T](small/data_adequacy.png)" in text and (run / "out/small/data_adequacy.png").read_bytes() == b"image"
    # sst2 alone: its twin does as well.
    assert "cannot be told, for sst2: what pruning does there says nothing about pre-trained weights.**" in text
    assert "How to read it." in text and "| Question NLI | dense, roberta | accuracy |" in text
    assert "- Question NLI, magnitude: at 90 % the drop's rise from All to A tenth is " in text
    assert "- Question NLI: All and A tenth are in the paper's order at " in text
    # Of 2 panels with 5 levels each one has a reported curve for both series.
    overview = re.search(r"\| E1 T \| (\d+) of 10 \| (\d+) of (\d+) \| (\d+) of (\d+) \|", text)
    told, agree, points, same, apart = map(int, overview.groups())
    compared = read_csv(run / "against_reported.csv")
    within = (compared["difference_low"] <= 0) & (compared["difference_high"] >= 0)
    assert told > 0 and (agree, points) == (within.sum(), len(compared)) and 0 <= same <= apart <= 10
    assert "| commit | 0123 | 13 |" in text and "torch 2.13.0" in text
    assert str(run) not in text and write(run) == text


def test_a_run_without_reported_values_or_twins_has_a_page(run: Path) -> None:
    write_csv(run / "pretraining.csv", pd.DataFrame(columns=TWIN_COLUMNS))
    text = write(run, "against_reported.csv")
    assert "No untrained twin was run" in text and "paper" not in text.split("## The experiments")[1]
    with pytest.raises(DataError, match=r"data_adequacy_trends\.csv: not among the tables"):
        write(run, "data_adequacy_trends.csv")
