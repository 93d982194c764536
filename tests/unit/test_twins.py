"""Where pre-training matters: the table of dense models beside their untrained twins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated import options_plan, trained, write_cells

from junkdna import twins
from junkdna.files import DataError
from junkdna.outcomes import read_outcomes


def compared(root: Path, twin: float, plan: dict[str, Any] | None = None, metric: str = "accuracy") -> pd.DataFrame:
    """The table of a plan whose dense model is right on 90 % and whose twin on this share."""
    plan = plan or options_plan(root)
    if metric == "perplexity":
        plan["tasks"]["options"] |= {"kind": "perplexity", "metric": "perplexity", "chance": 0.0}
    write_cells(plan, lambda cell, variant: twin if cell["control"] else 0.9)
    return twins.compare(plan, read_outcomes(plan, dense_only=True))


def test_one_row_per_series_and_twin(tmp_path: Path) -> None:
    found = compared(tmp_path, 0.3)
    assert found.columns.tolist() == twins.COLUMNS and found["variant"].tolist() == ["two", "eight"]
    assert set(found["model"] + " " + found["twin"] + " " + found["transfer"]) == {"small small-untrained none"}
    assert (found["difference"] == found["value"] - found["twin_value"]).all() and found["matters"].tolist() == [1, 1]
    assert (found["difference_ci_low"] > 0.4).all() and found["n_examples"].tolist() == [200, 200]
    equal = compared(tmp_path / "equal", 0.9)
    assert equal["matters"].tolist() == [0, 0] and (equal["difference_ci_low"] < 0).all()
    assert compared(tmp_path / "better", 0.99)["matters"].tolist() == [0, 0]


def test_a_lower_perplexity_is_better(tmp_path: Path) -> None:
    found = compared(tmp_path, 0.3, metric="perplexity")
    assert (found["difference"] == found["twin_value"] - found["value"]).all() and found["matters"].tolist() == [1, 1]
    assert compared(tmp_path / "worse", 0.99, metric="perplexity")["matters"].tolist() == [0, 0]


def test_the_difference_is_paired_by_seed_and_holds_for_other_seeds(tmp_path: Path) -> None:
    plan = trained(options_plan(tmp_path))
    found = compared(tmp_path, 0.3, plan).iloc[0]
    outcomes = {point.model: outcome for point, outcome in read_outcomes(plan, dense_only=True).items()
                if point.variant == "two"}  # fmt: skip
    seeds = [np.array(list(outcomes[name].scores.values.values())) for name in ("small", "small-untrained")]
    expected = stats.ttest_rel(*seeds).confidence_interval(0.95)
    assert found["n_seeds"] == 3 and found["transfer"] == "dense"
    # No narrower: the examples that the seeds share are in it too.
    assert found["difference_ci_low"] <= expected.low + 1e-9 and found["difference_ci_high"] >= expected.high - 1e-9
    assert found["difference"] == pytest.approx(np.mean(seeds[0] - seeds[1]))


def test_intervals_that_meet_do_not_count_though_the_difference_is_above_0(tmp_path: Path) -> None:
    found = compared(tmp_path, 0.82)
    meets = found[(found["ci_low"] <= found["twin_ci_high"]) & (found["difference_ci_low"] > 0)]
    assert len(meets) and not meets["matters"].any()


def test_shared_comparisons_have_one_row_with_the_most_seeds(tmp_path: Path) -> None:
    few = compared(tmp_path / "few", 0.3, trained(options_plan(tmp_path / "few", name="few"), (0, 1)))
    many = compared(tmp_path / "many", 0.3, trained(options_plan(tmp_path / "many", name="many")))
    found = twins.merge([few, few.iloc[:0], many])
    assert found["difference"].dtype == float
    assert found["n_seeds"].tolist() == [3, 3] and set(found["experiments"]) == {"few, many"}


def test_without_a_twin_there_is_no_row_and_other_examples_are_an_error(tmp_path: Path) -> None:
    plan = options_plan(tmp_path)
    plan["cells"] = [cell for cell in plan["cells"] if not cell["control"]]
    nothing = compared(tmp_path, 0.3, plan)
    assert nothing.empty and twins.merge([nothing]).columns.tolist() == twins.COLUMNS
    plan = options_plan(tmp_path / "other")
    write_cells(plan, lambda cell, variant: 0.5)
    write_cells(plan | {"cells": [cell for cell in plan["cells"] if cell["control"]]}, lambda cell, variant: 0.5, 100)
    with pytest.raises(DataError, match="untrained twin"):
        twins.compare(plan, read_outcomes(plan, dense_only=True))
