"""Experiments to cells."""

from __future__ import annotations

import pandas as pd
import pytest

from junkdna.config import (
    PROJECT,
    ConfigError,
    Experiment,
    calibrated,
    read_all,
)
from junkdna.curves import curves
from junkdna.grid import Cell, check_member, expand, expand_all, method_of, plan
from junkdna.outcomes import Point

BASE = {
    "name": "x",
    "id": "E1",
    "title": "t",
    "question": "q",
    "models": ["m"],
    "controls": ["m0"],
    "methods": {"magnitude": ["0.50", "0.90"]},
    "transfers": ["sparse", "dense_frozen"],
    "tasks": ["a"],
    "fractions": ["1.00", "0.10"],
    "seeds": [0, 1],
    "panels": [{"label": "p"}],
    "series": [{"label": "s"}],
}


def test_trained_grid_has_every_combination_and_one_dense_reference_per_task_fraction_and_seed() -> None:
    cells = expand(Experiment(**BASE))
    dense = [c for c in cells if not c.compressed]
    # 2 fractions x 2 seeds, of the model and of its control; 2 levels x 2 transfers x 2 fractions x 2 seeds.
    assert len(dense) == 8 and len(cells) == 8 + 16 and len(set(cells)) == len(cells)
    assert {c.model for c in cells if c.compressed} == {"m"}
    assert Cell("m", "magnitude", "0.90", "sparse", "a", "0.10", "1").path == "m/magnitude/0.90/sparse/a/0.10/1/a"


def test_untrained_grid_has_no_fraction_and_no_seed() -> None:
    cells = expand(Experiment(**{**BASE, "transfers": ["none"]}))
    assert sorted(c.path for c in cells) == [
        "m/dense/dense/none/a",
        "m/magnitude/0.50/none/a",
        "m/magnitude/0.90/none/a",
        "m0/dense/dense/none/a",
    ]


def test_calibrated_methods_run_once_per_calibration_seed_and_seed_0_has_the_bare_name() -> None:
    methods = {"magnitude": ["0.50"], "wanda": ["0.50"]}
    changes = {"methods": methods, "transfers": ["none"], "calibration_seeds": [0, 2]}
    cells = expand(Experiment(**{**BASE, **changes}), {"wanda"})
    assert sorted(c.path for c in cells if c.compressed) == [
        "m/magnitude/0.50/none/a",
        "m/wanda-calibration2/0.50/none/a",
        "m/wanda/0.50/none/a",
    ]
    assert [method_of(name) for name in ("wanda", "wanda-calibration2")] == [("wanda", "0"), ("wanda", "2")]


def test_zero_shot_compresses_the_dense_fine_tuned_model() -> None:
    cells = expand(
        Experiment(**{**BASE, "transfers": ["zero_shot"], "fractions": ["1.00"], "seeds": [0], "controls": []})
    )
    assert sorted(c.path for c in cells) == [
        "m/dense/dense/dense/a/1.00/0/a",
        "m/magnitude/0.50/zero_shot/a/1.00/0/a",
        "m/magnitude/0.90/zero_shot/a/1.00/0/a",
    ]


def test_two_experiments_share_cells() -> None:
    first = Experiment(**BASE)
    second = Experiment(**{**BASE, "name": "y", "transfers": ["sparse"], "fractions": ["1.00"]})
    cells = expand_all({"x": first, "y": second})
    assert set(cells["y"]) < set(cells["x"])


def test_a_path_outside_the_grid_names_the_part_and_what_is_allowed() -> None:
    known = ["m/magnitude/0.50/none/a", "m/magnitude/0.90/none/a"]
    check_member("evaluate", known[0], known)
    with pytest.raises(
        ConfigError, match=r"'0\.60' is not in the grid.*0\.50, 0\.90.*Nearest cell: m/magnitude/0\.\d0"
    ):
        check_member("evaluate", "m/magnitude/0.60/none/a", known)


@pytest.mark.parametrize("extra", [None, "organism_full.yaml", "small.yaml", "real.yaml", "paper.yaml"])
def test_shipped_configurations_expand_and_every_curve_has_points(extra: str | None) -> None:
    _, catalog, experiments = read_all([PROJECT / "config" / extra] if extra else [])
    for experiment in experiments.values():
        made = plan(experiment, expand(experiment, calibrated(catalog)), catalog, "results")
        points = [cell | {"variant": v} for cell in made["cells"] for v in catalog.tasks[cell["task"]].variants]
        # What tables and figures will do when all the work is done: each curve has one point a level, and some points.
        table = pd.DataFrame(points).drop_duplicates([*Point.__dataclass_fields__]).assign(n_seeds=1)
        found = set(curves(made["experiment"], table)[["panel", "series"]].itertuples(index=False, name=None))
        assert found == {(panel.label, series.label) for panel in experiment.panels for series in experiment.series}


def test_a_planned_path_is_looked_up_without_a_walk_through_the_plan() -> None:
    """It is asked for by every job, so that a walk would make planning quadratic."""

    class Known(set):
        def __iter__(self):
            raise AssertionError("walked through")

    check_member("cells", "a/b", Known({"a/b", "a/c"}))
