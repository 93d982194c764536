from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml
from simulated import options_plan, write_cells

import score_difficulty
from junkdna.difficulty import read_human
from junkdna.files import DataError, write_json

HUMAN = Path(__file__).resolve().parents[2] / "resources/human_scores.yaml"


def scored(root: Path, plan: dict[str, Any], human: Path = HUMAN) -> list[dict[str, str]]:
    write_json(root / "plan.json", plan)
    score_difficulty.main(["--plans", f"{root}/plan.json", "--human", str(human), "--output", f"{root}/d.csv"])
    with open(root / "d.csv", newline="") as file:
        return list(csv.DictReader(file))


def plan_with(root: Path, twin: float, human: str | None = None) -> dict[str, Any]:
    plan = options_plan(root)
    write_cells(plan, lambda cell, variant: twin if cell["control"] else 0.9)
    plan["tasks"]["options"]["human"] = human
    return plan


def test_scores_by_hand(tmp_path: Path) -> None:
    easy, hard = scored(tmp_path, plan_with(tmp_path, 0.3, "mmlu"))
    dense = float(hard["dense_metric"])
    assert [easy["axis_rank"], hard["axis_rank"]] == ["1", "2"]
    assert float(hard["dense_error"]) == pytest.approx(1 - (dense - 0.125) / 0.875, abs=2e-6)
    assert float(hard["human"]) == 0.898
    assert float(hard["human_gap"]) == pytest.approx((0.898 - dense) / 0.898, abs=2e-6)
    assert [float(row["true_difficulty"]) for row in (easy, hard)] == [1, 2]
    assert float(hard["control_ci_high"]) < float(hard["dense_ci_low"])
    assert easy["informative"] == hard["informative"] == "yes"


def test_a_twin_that_does_as_well_makes_the_task_uninformative(tmp_path: Path) -> None:
    assert {row["informative"] for row in scored(tmp_path, plan_with(tmp_path, 0.9))} == {"no"}


def test_without_control_rank_and_human_score_the_fields_say_so(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, 0.3)
    plan["experiment"]["ordered"] = False
    plan["cells"] = [cell for cell in plan["cells"] if not cell["control"]]
    for row in scored(tmp_path, plan):
        assert row["informative"] == "no control"
        assert row["axis_rank"] == row["human"] == row["human_gap"] == row["control_metric"] == ""


def test_only_dense_cells_are_read(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, 0.3)
    (tmp_path / "evaluate/small/magnitude/0.50/none/options/metrics.json").unlink()
    assert len(scored(tmp_path, plan)) == 2


def test_shipped_human_scores() -> None:
    scores = read_human(HUMAN)
    assert scores["cola"] == {"matthews": 0.664} and scores["stsb"] == {"pearson": 0.927, "spearman": 0.926}
    assert scores["mawps"] == scores["svamp"] == {}
    assert all(entry["source"] for entry in yaml.safe_load(HUMAN.read_text())["scores"].values())


def test_bad_human_scores_are_named(tmp_path: Path) -> None:
    file = tmp_path / "human.yaml"
    for text, message in (
        ("scores: {a: {metrics: {accuracy: 97.8}}}", "scores.a.metrics.accuracy.*97.8"),
        ("[", "human.yaml"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            read_human(file)
    file.write_text("scores: {a: {metrics: {accuracy: 0.9}}}")
    with pytest.raises(DataError, match="mmlu"):
        scored(tmp_path, plan_with(tmp_path, 0.3, "mmlu"), file)
