"""Reported values: read, matched to curves, drawn and compared on simulated results of experiments like the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import against_reported
import plot
from junkdna import figures, grid, reported, tables
from junkdna.catalog import Catalog
from junkdna.config import Experiment, read_all
from junkdna.files import write_json
from junkdna.outcomes import read_outcomes
from junkdna.tidy import read_csv, write_csv
from support import PROJECT

TRAINING = {"learning_rate": 2e-5, "batch_size": 32, "epochs": 3, "max_length": 128}
TEXT = {"kind": "classification", "text": ["a"], "n_classes": 2, "metric": "accuracy", "chance": 0.5}
CATALOG = Catalog.model_validate(
    {
        "models": {name: {"source": {"type": "local", "path": "."}} for name in ("roberta", "vicuna")},
        "methods": {
            name: {"label": name, "module": "pruning.magnitude", "levels": ["sparsity", "nm"]}
            for name in ("magnitude", "magnitude_nm", "wanda")
        },
        "tasks": {
            **{t: TEXT | {"label": t, "dataset": "d", "configs": [t], "training": TRAINING} for t in ("qnli", "sst2")},
            "triviaqa": {"label": "TriviaQA", "kind": "generation", "dataset": "d", "configs": ["rc"]}
            | {"prompt": "{question}", "metric": "exact_match", "variants": {"open": {}, "closed": {}}},
        },
    }
)
COMMON = {"title": "T", "question": "Q?", "reported": True}
DATA_ADEQUACY: dict[str, Any] = COMMON | {
    "name": "data_adequacy",
    "id": "E1",
    "models": ["roberta"],
    "methods": {"magnitude": ["0.10", "0.50", "0.90"], "magnitude_nm": ["4of8", "1of8"]},
    "transfers": ["sparse"],
    "tasks": ["qnli", "sst2"],
    "fractions": ["1.00", "0.10"],
    "seeds": [0, 1, 2],
    "panels": [
        {"label": "Question NLI", "where": {"task": "qnli"}, "reported": {"figure": "Task_1", "panel": "QNLI"}},
        {"label": "Sentiment", "where": {"task": "sst2"}, "reported": {"figure": "Task_1", "panel": "SST-2"}},
    ],
    "series_title": "Training data",
    "series": [
        {"label": "All", "where": {"fraction": "1.00"}, "reported": {"series": "100% data"}},
        {"label": "A tenth", "where": {"fraction": "0.10"}, "reported": {"series": "10% data"}},
    ],
}
EXTERNAL_INFORMATION: dict[str, Any] = COMMON | {
    "name": "external_information",
    "id": "E3",
    "models": ["vicuna"],
    "methods": {"magnitude": ["0.50", "0.85"], "magnitude_nm": ["4of8"], "wanda": ["0.50"]},
    "tasks": ["triviaqa"],
    "panels": [
        {
            "label": "By magnitude",
            "where": {"method": ["magnitude", "magnitude_nm"]},
            "reported": {"figure": "Task_3", "panel": "Magnitude"},
        },
        {"label": "Wanda, not compared", "where": {"method": "wanda"}},
    ],
    "series": [
        {"label": "Context", "where": {"variant": "open"}, "reported": {"series": "Open Book"}},
        {"label": "Memory", "where": {"variant": "closed"}, "reported": {"series": ["Closed Book"]}},
    ],
}
# Accuracies of seeds 0, 1 and 2 at 50 %, of a dense model with 0.8: 75, 80 and 70 % of dense.
SEEDS = [0.60, 0.64, 0.56]
T_95 = 4.302653  # of 2 degrees of freedom


def simulate(root: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Write the cells of an experiment and aggregate them; returns its plan and table.

    The share of right answers is exact, so that the table can be computed by hand.
    """

    def exact(kind: str, ids: list[str], probability: float, key: tuple) -> pd.DataFrame:
        right = (np.arange(len(ids)) < round(probability * len(ids))).astype(float)
        frame = pd.DataFrame({"id": ids, "y_true": 1.0, "y_pred": right, "accuracy": right})
        return frame.assign(exact_match=right, f1=right, contains=right)

    def probability(cell: dict[str, Any], variant: str) -> float:
        if cell["level"] == "0.50" and cell["seed"] is not None:
            return SEEDS[cell["seed"]]
        return 0.8 - 0.4 * cell["sparsity"]

    monkeypatch.setattr(simulated, "predictions", exact)
    experiment = Experiment.model_validate(changes)
    assert list(reported.problems(experiment.model_dump())) == []
    plan = grid.plan(experiment, grid.expand(experiment), CATALOG, str(root))
    simulated.write_cells(plan, probability)
    write_csv(root / f"{experiment.name}.csv", tables.points(plan, read_outcomes(plan)))
    write_json(root / f"{experiment.name}.json", plan)
    return root / f"{experiment.name}.json", root / f"{experiment.name}.csv"


def test_every_value_is_read_in_percent_of_dense_and_at_a_level() -> None:
    rows = reported.read_reported()
    # 844 in the file, of which six of Task_3 are the dense model itself.
    assert len(rows) == 838 and len({tuple(row[k] for k in (*reported.KEYS, "level")) for row in rows}) == 838
    assert all(-2 < row["value"] < 110 and 0 < row["uncertainty"] < 3 for row in rows)
    found = {(r["figure"], r["panel"], r["series"], r["level"]): (r["value"], r["uncertainty"]) for r in rows}
    assert found["Task_1", "QNLI", "10% data", "0.50"] == (91.26, 0.12)
    assert found["Task_1", "QNLI", "10% data", "4of8"] == (90.12, 0.09)
    # The axis of Task_3 shows -0.7944, the change as a fraction.
    assert found["Task_3", "Magnitude", "Closed Book", "0.50"] == (20.56, 0.37)
    assert {row["kind"] for row in rows} == {"sparsity", "nm"}


def test_differences_are_those_computed_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [simulate(tmp_path, changes, monkeypatch) for changes in (DATA_ADEQUACY, EXTERNAL_INFORMATION)]
    output = tmp_path / "against_reported.csv"
    plans, csvs = zip(*made, strict=True)
    against_reported.main(["--plans", *map(str, plans), "--tables", *map(str, csvs), "--output", str(output)])
    table = read_csv(output)
    # E1: 2 panels x 2 series x 5 levels. E3: 0.85 and Wanda's panel have no reported value: 2 series x 2 levels.
    assert table.groupby("experiment").size().to_dict() == {"data_adequacy": 20, "external_information": 4}
    assert not table.isna().any(axis=None)

    rows = table.set_index(["panel", "series", "level"])
    row = rows.loc["Question NLI", "A tenth", "0.50"]
    assert row["source"] == "Task_1: QNLI, 10% data"
    assert (row["reported"], row["uncertainty"], row["occluded"], row["n_seeds"]) == (91.26, 0.12, 0, 3)
    half = T_95 * 5 / 3**0.5
    assert row["ours"] == 75 and row["ci_low"] == pytest.approx(75 - half, abs=1e-4)
    assert row["difference"] == pytest.approx(75 - 91.26, abs=1e-6)
    assert row["difference_low"] == pytest.approx(75 - 91.26 - half - 0.12, abs=1e-4)
    assert row["difference_high"] == pytest.approx(75 - 91.26 + half + 0.12, abs=1e-4)

    # 0.8 - 0.4 x 0.5 = 0.6 is 75 % of dense; the paper shows -0.6425.
    row = rows.loc["By magnitude", "Memory", "4of8"]
    assert (row["ours"], row["reported"], row["uncertainty"]) == (75, 35.75, 0.37)
    assert row["difference"] == pytest.approx(39.25) and row["ci_low"] < 75 < row["ci_high"]
    assert row["difference_low"] == pytest.approx(row["ci_low"] - 35.75 - 0.37, abs=1e-5)
    assert row["difference_high"] == pytest.approx(row["ci_high"] - 35.75 + 0.37, abs=1e-5)


def test_the_paper_scale_has_each_reported_value_in_its_place() -> None:
    _, _, experiments = read_all([PROJECT / "config/paper.yaml"])
    found: dict[str, list[tuple[str, str]]] = {}
    for name, experiment in experiments.items():
        rows = reported.matched(experiment.model_dump())
        found |= {name: [(row["source"], row["level"]) for row in rows]} if rows else {}
    every = [(f"{r['figure']}: {r['panel']}, {r['series']}", r["level"]) for r in reported.read_reported()]
    figures = {"data_adequacy": "Task_1", "human_gap": "Task_4", "true_gem": "TRUE_GEM", "pruning_methods": "Task_3"}
    figures |= {"multilingual": "Task_2", "external_information": "Task_3: Magnitude"}
    assert found.keys() == figures.keys()
    for name, figure in figures.items():
        wanted = [value for value in every if value[0].startswith(figure)]
        # Four pairs of languages and directions stand beside the one curve of the paper.
        assert sorted(found[name]) == sorted(wanted * (4 if name == "multilingual" else 1)), name


def hollow(axes: Axes) -> list[Any]:
    return [line for line in axes.lines if line.get_markerfacecolor() == "none"]


def test_figure_has_hollow_markers_in_the_colour_of_the_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, table = simulate(tmp_path, DATA_ADEQUACY, monkeypatch)
    plot.main(["--plan", str(plan), "--table", str(table), "--output", str(tmp_path / "figure.png")])
    assert (tmp_path / "figure.png").stat().st_size > 20_000
    figure = figures.draw(plot.read_plan(plan), read_csv(table))
    assert [len(hollow(axes)) for axes in figure.axes] == [2, 2, 2, 2]
    theirs = hollow(figure.axes[0])[1]
    (ours,) = [line for line in figure.axes[0].lines if line.get_color() == theirs.get_markeredgecolor()][:1]
    assert ours.get_marker() == theirs.get_marker() and len(ours.get_xdata()) == 4
    # All nine reported levels, each beside its own level.
    values = [r["value"] for r in reported.read_reported() if (r["panel"], r["series"]) == ("QNLI", "10% data")][:9]
    assert list(theirs.get_ydata()) == values
    assert np.abs(np.array(theirs.get_xdata()) - np.arange(10, 100, 10)).max() < 2
    ticks = [tick.get_text() for tick in figure.axes[2].get_xticklabels()]
    assert ticks == ["dense", *(f"{n}:8" for n in range(7, 0, -1))]
    assert legend(figure)[-1] == "Reported by the paper"


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_without_reported_nothing_is_drawn_or_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, table = simulate(tmp_path, DATA_ADEQUACY | {"reported": False}, monkeypatch)
    figure = figures.draw(plot.read_plan(plan), read_csv(table))
    assert not any(hollow(axes) for axes in figure.axes) and "Reported by the paper" not in legend(figure)
    against_reported.main(["--plans", str(plan), "--tables", str(table), "--output", str(tmp_path / "a.csv")])
    assert list(read_csv(tmp_path / "a.csv").columns)[-3:] == ["difference", "difference_low", "difference_high"]
    assert len(read_csv(tmp_path / "a.csv")) == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"y": "value"}, "y: percent_of_dense"),
        ({"panels": [{"label": "p"}]}, "no pair of a panel and a series"),
        (
            {"panels": [{"label": "p", "reported": {"figure": "Task_9", "panel": "QNLI"}}]},
            "panels.0.reported.figure: 'Task_9': allowed: Task_1, Task_2",
        ),
        ({"panels": [{"label": "p", "reported": {"figure": "Task_1"}}]}, "panel 'p', series 'All': several"),
    ],
)
def test_selectors_that_cannot_be_meant_are_named(changes: dict[str, Any], expected: str) -> None:
    found = list(reported.problems(Experiment.model_validate(DATA_ADEQUACY | changes).model_dump()))
    assert any(expected in line for line in found), found
