from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from simulated import options_plan, write_cells

import plot_difficulty
import score_difficulty
from junkdna import agreement, flips
from junkdna.difficulty import read_human
from junkdna.difficulty_figures import NOTHING, draw_agreement, draw_flips
from junkdna.files import DataError, write_json
from junkdna.responses import read_responses
from junkdna.tidy import read_csv, write_csv

HUMAN = Path(__file__).resolve().parents[2] / "resources/human_scores.yaml"


def scored(root: Path, plan: dict[str, Any], human: Path = HUMAN) -> list[dict[str, str]]:
    write_json(root / "plan.json", plan)
    files = {option: f"{root}/{option}" for option in ("table", "agreement", "items", "flips", "thirds", "pretraining")}
    arguments = [part for option, file in files.items() for part in (f"--{option}", file)]
    score_difficulty.main(["--plans", f"{root}/plan.json", "--human", str(human), *arguments])
    with open(files["table"], newline="") as file:
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


def test_item_response_follows_the_answers_and_leaves_twins_out(tmp_path: Path) -> None:
    plan = options_plan(tmp_path)
    write_cells(plan, lambda cell, variant: {"two": 0.9, "eight": 0.6}[variant])
    easy, hard = scored(tmp_path, plan)
    assert float(easy["irt_ci_high"]) < float(easy["irt_difficulty"]) + 1
    assert float(easy["irt_ci_high"]) < float(hard["irt_ci_low"])
    items = pd.read_parquet(tmp_path / "items")
    assert len(items) == 400 and set(items["states"]) == {3}
    assert easy["description_length"] == ""  # simulated options have no scores


def test_tasks_without_right_answers_have_no_item_response(tmp_path: Path) -> None:
    plan = options_plan(tmp_path)
    plan["tasks"]["options"] |= {"kind": "perplexity", "metric": "perplexity", "chance": 0.0}
    write_cells(plan, lambda cell, variant: 0.5 - 0.2 * cell["sparsity"])
    assert {row["irt_difficulty"] for row in scored(tmp_path, plan)} == {""}
    assert not len(pd.read_parquet(tmp_path / "items")) and not len(read_csv(tmp_path / "flips"))


def test_shared_cells_count_once(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, 0.3)
    twice = read_responses([plan, plan])
    assert {len(found.states) for found in twice.values()} == {3}


def test_other_examples_in_one_cell_are_an_error(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, 0.3)
    path = tmp_path / "evaluate/small/magnitude/0.50/none/options/predictions.parquet"
    frame = pd.read_parquet(path)
    frame.assign(id=frame["id"] + "x").to_parquet(path)
    with pytest.raises(DataError, match=r"0\.50.*other example ids"):
        read_responses([plan])


def test_figures_of_scores(tmp_path: Path) -> None:
    plan = options_plan(tmp_path, ("0.50", "0.60", "0.70"))
    plan["experiment"]["methods"]["random"] = ["0.30"]
    plan["methods"]["random"] = {"label": "Random"}
    extra = [c | {"method": "random", "level": "0.30", "path": f"{c['path']}/r"} for c in plan["cells"][2:3]]
    plan["cells"] += extra
    write_cells(plan, lambda cell, variant: 0.95 - 0.6 * cell["sparsity"] ** 2)
    scored(tmp_path, plan)
    arguments = ["--plans", f"{tmp_path}/plan.json", *(part for option in ("agreement", "flips", "thirds")
                 for part in (f"--{option}", f"{tmp_path}/{option}"))]  # fmt: skip
    outputs = ["--agreement-figures", f"{tmp_path}/a.svg", "--flips-figures", f"{tmp_path}/f.svg"]
    plot_difficulty.main([*arguments, *outputs])
    text = [(tmp_path / name).read_text() for name in ("a.svg", "f.svg")]
    assert "Axis rank" in text[0] and "Number of options" in text[0]
    assert "Magnitude" in text[1] and "Hardest third" in text[1] and "odds ratio" in text[1]
    plot_difficulty.main([*arguments, *outputs])
    assert [(tmp_path / name).read_text() for name in ("a.svg", "f.svg")] == text


def test_figures_with_nothing_to_compare(tmp_path: Path) -> None:
    for name, columns in (("agreement", agreement.COLUMNS), ("flips", flips.COLUMNS), ("thirds", flips.LEVEL_COLUMNS)):
        write_csv(tmp_path / name, pd.DataFrame(columns=columns))
    figures = [draw_agreement(read_csv(tmp_path / "agreement"), {})]
    figures.append(draw_flips(read_csv(tmp_path / "thirds"), read_csv(tmp_path / "flips"), {}))
    assert all(figure.axes[0].texts[0].get_text() == NOTHING for figure in figures)


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
