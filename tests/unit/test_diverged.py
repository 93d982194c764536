"""Cells whose fine-tuning diverged: listed, and in no mean, interval, curve, trend or claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from simulated import calibrated, options_plan, trained, write_cells
from test_tables import aggregated, probability, row

from junkdna import claims, drops, figures, predictions, report, telling, twins, verdicts
from junkdna.charts import charts
from junkdna.difficulty import score_difficulty
from junkdna.files import DataError, read_json, write_json
from junkdna.outcomes import read_outcomes
from junkdna.responses import estimate, read_responses
from junkdna.tidy import read_csv
from support import PROJECT

LEVELS = ("0.30", "0.50", "0.70")


def strength(cell: dict[str, Any], variant: str) -> float:
    return 0.9 if cell["level"] == "0.30" else probability(cell, variant)


def diverge(plan: dict[str, Any], *wheres: dict[str, Any]) -> None:
    """Turn these cells into what evaluate.py writes of a state whose fine-tuning diverged."""
    for cell in plan["cells"]:
        if any(all(cell[key] == value for key, value in where.items()) for where in wheres):
            path = Path(cell["path"])
            write_json(path / "metrics.json", read_json(path / "metrics.json") | {"diverged": True, "variants": {}})
            predictions.write_predictions(path / "predictions.parquet", predictions.none("accuracy"))


def tables(root: Path, *wheres: dict[str, Any], plan: dict[str, Any] | None = None) -> dict[str, pd.DataFrame]:
    """The tables of three seeds, of which these cells diverged; and the plan under `plan`."""
    plan = plan or trained(options_plan(root, LEVELS))
    write_cells(plan, strength, examples=120)
    diverge(plan, *wheres)
    aggregated(root, plan)
    names = ("t", "t_contrasts", "t_curves", "t_against_dense", "t_trends")
    return {name: read_csv(root / f"{name}.csv") for name in names} | {"plan": plan}


def without(plan: dict[str, Any], *wheres: dict[str, Any]) -> dict[str, Any]:
    kept = [c for c in plan["cells"] if not any(all(c[k] == v for k, v in where.items()) for where in wheres)]
    return plan | {"cells": kept}


def test_a_seed_that_diverged_is_listed_and_left_out(tmp_path: Path) -> None:
    found = tables(tmp_path, {"level": "0.70", "seed": 1})
    hard = row(found["t"], level="0.70", variant="eight")
    assert (hard.n_seeds, hard.diverged) == (2, "1")
    assert set(found["t"].loc[found["t"]["level"] != "0.70", "diverged"]) == {""}
    assert set(found["t"].loc[found["t"]["level"] != "0.70", "n_seeds"]) == {3}
    # The other seeds alone give these numbers.
    (tmp_path / "two").mkdir()
    two = trained(options_plan(tmp_path / "two", LEVELS), seeds=(0, 2))
    expected = tables(tmp_path / "two", plan=two)
    same = row(expected["t"], level="0.70", variant="eight")
    numbers = ["value", "ci_low", "ci_high", "percent_of_dense", "percent_ci_high", "dense", "chance_corrected"]
    assert hard[numbers].tolist() == pytest.approx(same[numbers].tolist())
    for name in ("t_contrasts", "t_against_dense", "t_trends"):
        here, there = (table[name][table[name]["level"] == "0.70"].iloc[0] for table in (found, expected))
        assert here["n_seeds"] == 2
        # Holm's correction counts the other levels too.
        numbers = [column for column in here.index if not column.endswith("_holm")]
        pd.testing.assert_series_equal(here[numbers], there[numbers], check_names=False)
    # A curve is of the seeds that all its levels have.
    pd.testing.assert_frame_equal(found["t_curves"], expected["t_curves"])
    text = (tmp_path / "t.md").read_text()
    assert "Left out, as the fine-tuning or that of the dense model diverged (seeds): " in text
    assert "small, magnitude, 0.70, sparse, options, 1.00: 1." in text and "] (2 seeds) |" in text
    assert "small, magnitude, 0.70, sparse, options, 1.00: 1." in (tmp_path / "t.tex").read_text()


def test_a_dense_model_that_diverged_takes_its_seed_along(tmp_path: Path) -> None:
    found = tables(tmp_path, {"level": "dense", "seed": 2, "control": False})["t"]
    own = found[found["model"] == "small"]
    assert set(own["diverged"]) == {"2"} and set(own["n_seeds"]) == {2}
    assert own["percent_of_dense"].notna().all()


def test_a_level_of_which_no_seed_is_left_is_a_row_without_a_value(tmp_path: Path) -> None:
    found = tables(tmp_path, {"level": "0.70"})
    lost = found["t"][found["t"]["level"] == "0.70"]
    assert set(lost["n_seeds"]) == {0} and set(lost["diverged"]) == {"0 1 2"} and len(lost) == 2
    assert lost[["value", "ci_low", "percent_of_dense", "relative_drop"]].isna().all(axis=None)
    for name in ("t_contrasts", "t_against_dense", "t_trends"):
        assert set(found[name]["level"]) == {"0.30", "0.50"}
    assert set(found["t_curves"]["n_levels"]) == {2}
    assert "| Magnitude | 70 % | diverged | diverged |" in (tmp_path / "t.md").read_text()
    # Figures draw the rest and say how much is missing.
    figure = figures.draw(found["plan"], found["t"])
    assert "Diverged, left out: 6" in [text.get_text() for text in figure.legends[0].get_texts()]
    drawn = charts(found["plan"], found["t"])
    assert {len(curve["x"]) for panel in drawn["panels"] for curve in panel["curves"]} == {3}
    lines = [report._lines(record, {}) for record in found["t"].to_dict("records") if record["level"] == "0.70"]
    assert lines[0][-1] == "left out, as the fine-tuning or the dense model's diverged: seed 0 1 2"


def test_seeds_that_levels_and_series_do_not_share(tmp_path: Path) -> None:
    """Each level has lost another seed: the curve has none left, the points have two each."""
    lost = [{"level": level, "seed": seed} for seed, level in enumerate(LEVELS)]
    found = tables(tmp_path, *lost)
    assert set(found["t_curves"]["n_seeds"]) == {0}
    assert found["t_curves"][["critical", "area", "knee"]].isna().all(axis=None)
    assert set(found["t_trends"]["n_seeds"]) == {2} and found["t_trends"]["rise"].notna().all()


def test_calibration_draws_of_a_seed(tmp_path: Path) -> None:
    plan = calibrated(trained(options_plan(tmp_path, LEVELS), seeds=(0, 1)), seeds=(0, 1))
    lost = [{"level": "0.50", "seed": 0, "calibration_seed": 1}, {"level": "dense", "seed": 1, "control": False}]
    table = tables(tmp_path, *lost, plan=plan)["t"]
    half = row(table, level="0.50", variant="two")
    assert (half.n_seeds, half.diverged) == (1, "0/1 1/0 1/1")
    assert row(table, level="0.70", variant="two").diverged == "1/0 1/1"


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="choices: all its fine-tunings.*diverged"):
        tables(tmp_path, {"method": "magnitude"})


@pytest.mark.parametrize("lost", [{"level": "0.70", "seed": 1}, {"level": "dense", "seed": 0}])
def test_difficulty_and_claims_go_on(tmp_path: Path, lost: dict[str, Any]) -> None:
    plan = tables(tmp_path, lost)["plan"]
    dense = read_outcomes(plan, dense_only=True)
    beside = twins.compare(plan, dense)
    assert set(beside["n_seeds"]) == {2 if "dense" in lost.values() else 3}
    human = PROJECT / "resources/human_scores.yaml"
    scores = score_difficulty([plan], [dense], [beside], human, estimate(read_responses([plan])))
    assert len(scores) == 2 and scores["dense_metric"].notna().all()
    known = claims.read_claims(PROJECT / "config/claims.yaml")
    told = telling.find(known.rules, scores, twins.merge([beside]))
    arranged = verdicts.arrange_all(known, [(plan, read_csv(tmp_path / "t.csv"))], told)
    findings = verdicts.find(known, arranged, [drops.read(tmp_path / "t_drops.parquet")])
    judged = verdicts.judge(known, findings, "organism")
    assert judged.set_index("claim")["n_seeds"].max() in (2, 3)
