from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from simulated import calibrated, options_plan, trained, write_cells

import aggregate
from junkdna import tables, twins, wide
from junkdna.difficulty import score_difficulty
from junkdna.files import DataError, write_json
from junkdna.outcomes import read_outcomes
from junkdna.responses import estimate, read_responses
from junkdna.tidy import read_csv, read_plan
from support import PROJECT

PROBABILITY = {"0.50": (0.95, 0.85), "0.70": (0.80, 0.45), "dense": (0.98, 0.95)}


def probability(cell: dict[str, Any], variant: str) -> float:
    if cell["control"]:
        return 0.5 if variant == "two" else 0.125
    return PROBABILITY[cell["level"]][variant == "eight"]


def aggregated(root: Path, plan: dict[str, Any], *more: str) -> dict[str, bytes]:
    write_json(root / "plan.json", plan)
    files = {
        option: root / name
        for option, name in (
            ("table", "t.csv"),
            ("contrasts", "t_contrasts.csv"),
            ("curves", "t_curves.csv"),
            ("against-dense", "t_against_dense.csv"),
            ("trends", "t_trends.csv"),
            ("drops", "t_drops.parquet"),
            ("markdown", "t.md"),
            ("latex", "t.tex"),
        )
    }
    named = [part for option, file in files.items() for part in (f"--{option}", str(file))]
    aggregate.main(["--plan", f"{root}/plan.json", *named, *more])
    return {option: file.read_bytes() for option, file in files.items()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tables")
    plan = options_plan(root)
    write_cells(plan, probability)
    aggregated(root, plan)
    return root


def row(table: pd.DataFrame, **values: str) -> pd.Series:
    found = table[(table[list(values)] == pd.Series(values)).all(axis=1)]
    assert len(found) == 1
    return found.iloc[0]


def test_one_row_per_point_with_the_agreed_columns(done: Path) -> None:
    table = read_csv(done / "t.csv")
    assert table.columns[:19].tolist() == [
        "experiment",
        "model",
        "method",
        "level",
        "sparsity",
        "transfer",
        "task",
        "variant",
        "fraction",
        "metric",
        "value",
        "ci_low",
        "ci_high",
        "percent_of_dense",
        "chance",
        "chance_corrected",
        "relative_drop",
        "n_examples",
        "n_seeds",
    ]
    assert len(table) == 8 and not table.duplicated(["model", "method", "level", "variant"]).any()
    assert table["level"].tolist() == ["dense", "dense", "0.50", "0.50", "0.70", "0.70", "dense", "dense"]
    assert table["control"].tolist() == [0] * 6 + [1] * 2
    assert not table.drop(columns="chance_corrected").isna().any(axis=None)
    assert (table["n_seeds"] == 1).all() and (table["n_examples"] == 200).all()


def test_arithmetic_by_hand(done: Path) -> None:
    table = read_csv(done / "t.csv")
    folder = done / "evaluate/small/{}/none/options/metrics.json"
    value, dense = (
        json.loads(Path(str(folder).format(state)).read_text())["variants"]["eight"]["metrics"]["accuracy"]
        for state in ("magnitude/0.70", "dense/dense")
    )
    found = row(table, level="0.70", variant="eight")
    assert found["value"] == pytest.approx(value) and found["dense"] == pytest.approx(dense)
    assert found["percent_of_dense"] == pytest.approx(100 * value / dense, abs=1e-5)
    assert found["relative_drop"] == pytest.approx(1 - value / dense, abs=1e-5)
    assert found["chance_corrected"] == pytest.approx((value - 0.125) / (dense - 0.125), abs=1e-5)
    assert found["ci_low"] < value < found["ci_high"]
    assert found["percent_ci_low"] < found["percent_of_dense"] < found["percent_ci_high"]
    itself = row(table, level="dense", variant="eight", model="small")
    assert itself[["percent_of_dense", "relative_drop", "chance_corrected"]].tolist() == [100, 0, 1]
    control = row(table, variant="eight", model="small-untrained")
    assert control["percent_of_dense"] == pytest.approx(100 * control["value"] / dense, abs=1e-5)


def test_contrasts_mark_the_level_nearest_to_thirty_percent(done: Path) -> None:
    found = pd.read_csv(done / "t_contrasts.csv", dtype={"level": str})
    assert found.columns.tolist() == tables.CONTRAST_COLUMNS
    assert found["level"].tolist() == ["0.50", "0.70"] and found["nearest_30"].tolist() == [0, 1]
    hard = found.iloc[1]
    assert hard["difference"] == pytest.approx(hard["drop_hard"] - hard["drop_easy"], abs=2e-6)
    assert hard["mean_drop"] == pytest.approx((hard["drop_hard"] + hard["drop_easy"]) / 2, abs=2e-6)
    assert 0 < hard["ci_low"] < hard["difference"] < hard["ci_high"]
    assert (hard["easy"], hard["hard"], hard["comparison"]) == ("2", "8", "extreme") or hard["easy"] == 2


def test_same_input_gives_the_same_bytes_in_any_order(done: Path, tmp_path: Path) -> None:
    plan = read_plan(done / "plan.json")
    again = aggregated(tmp_path, plan | {"cells": plan["cells"][::-1]})
    assert again["table"] == (done / "t.csv").read_bytes()
    for option in ("contrasts", "curves", "against-dense"):
        assert again[option] == (done / f"t_{option.replace('-', '_')}.csv").read_bytes()
    assert again["markdown"] == (done / "t.md").read_bytes()
    assert again["latex"] == (done / "t.tex").read_bytes()


def test_readable_tables(done: Path) -> None:
    lines = (done / "t.md").read_text().splitlines()
    assert lines[2] == "| panel | method | level | 2 | 8 |"
    assert len({line.count("|") for line in lines[2:]}) == 1
    assert any("| Magnitude | 70 % |" in line for line in lines)
    assert any("| chance | accuracy | 0.500 | 0.125 |" in line for line in lines)
    latex = (done / "t.tex").read_text()
    assert r"\toprule" in latex and r"70 \%" in latex and "nan" not in latex
    assert wide._escape("a_b & 5 % → {x}") == r"a\_b \& 5 \% $\rightarrow$ \{x\}"


def test_seeds_give_t_intervals_of_ratios_within_a_seed(tmp_path: Path) -> None:
    plan = trained(options_plan(tmp_path))
    write_cells(plan, probability, examples=60)
    outcomes = read_outcomes(plan)
    table = tables.points(plan, outcomes)
    found = row(table, level="0.70", variant="eight")
    values = {key: list(o.scores.values.values()) for key, o in outcomes.items() if key.variant == "eight"}
    by_level = {key.level: v for key, v in values.items() if key.model == "small"}
    shares = [100 * a / b for a, b in zip(by_level["0.70"], by_level["dense"], strict=True)]
    assert found["n_seeds"] == 3 and found["transfer"] == "sparse"
    assert found["percent_of_dense"] == pytest.approx(sum(shares) / 3)
    assert found["value"] == pytest.approx(sum(by_level["0.70"]) / 3)
    assert set(tables.contrasts(plan, outcomes, table)["interval"]) == {"t over seeds"}


def test_nothing_above_chance_leaves_fields_empty_not_wrong(tmp_path: Path) -> None:
    plan = options_plan(tmp_path)
    write_cells(plan, lambda cell, variant: 1e-9)
    table = tables.points(plan, read_outcomes(plan))
    assert table[["percent_of_dense", "relative_drop", "chance_corrected"]].isna().all(axis=None)
    assert (table[["value", "ci_low", "ci_high"]] == 0).all(axis=None)
    outputs = aggregated(tmp_path, plan)
    assert b"nan" not in outputs["table"].lower() and b"not defined" in outputs["markdown"]


def test_perplexity_is_lower_is_better_and_has_no_chance_unless_named(tmp_path: Path) -> None:
    plan = options_plan(tmp_path)
    plan["tasks"]["options"] |= {"kind": "perplexity", "metric": "perplexity", "chance": 0.0}
    plan["tasks"]["options"]["variants"] = {"two": {}, "eight": {}}
    write_cells(plan, lambda cell, variant: 0.1 * (1 - cell["sparsity"]), examples=40)
    table = tables.points(plan, read_outcomes(plan))
    found, dense = (row(table, level=level, model="small", variant="two") for level in ("0.50", "dense"))
    assert found["value"] > dense["value"]
    assert found["percent_of_dense"] == pytest.approx(100 * dense["value"] / found["value"])
    assert found["relative_drop"] == pytest.approx(1 - dense["value"] / found["value"])
    assert table[["chance", "chance_corrected", "chance_percent"]].isna().all(axis=None)
    assert not table.drop(columns=["chance", "chance_corrected", "chance_percent"]).isna().any(axis=None)


def test_unordered_series_are_all_compared(tmp_path: Path) -> None:
    plan = options_plan(tmp_path, ordered=False)
    write_cells(plan, probability)
    outcomes = read_outcomes(plan)
    found = tables.contrasts(plan, outcomes, tables.points(plan, outcomes))
    assert set(found["comparison"]) == {"pair"}


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (lambda f: (f / "metrics.json").write_text('{"schema": 1, '), "metrics.json"),
        (lambda f: (f / "metrics.json").unlink(), "metrics.json"),
        (lambda f: change(f / "metrics.json", variants={}), "metrics.json.*'two'"),
        (lambda f: change(f / "metrics.json", level="0.70"), "level.*0.70"),
        (lambda f: (f / "predictions.parquet").write_bytes(b"PAR1 nothing"), "predictions.parquet"),
        (lambda f: (f / "predictions.parquet").unlink(), "predictions.parquet"),
        (
            lambda f: pd.read_parquet(f / "predictions.parquet").iloc[1:].to_parquet(f / "predictions.parquet"),
            "200.*199",
        ),
        (
            lambda f: (
                pd.read_parquet(f / "predictions.parquet").drop(columns="id").to_parquet(f / "predictions.parquet")
            ),
            "predictions.parquet.*'id'",
        ),
    ],
)
def test_damaged_input_is_named(tmp_path: Path, damage: Any, names: str) -> None:
    plan = options_plan(tmp_path)
    write_cells(plan, probability)
    damage(tmp_path / "evaluate/small/magnitude/0.50/none/options")
    with pytest.raises(DataError, match=names) as error:
        read_outcomes(plan)
    assert "magnitude/0.50" in str(error.value) and "delete" in str(error.value)


def test_truncated_parquet_is_named(tmp_path: Path) -> None:
    plan = options_plan(tmp_path)
    write_cells(plan, probability)
    path = tmp_path / "evaluate/small/magnitude/0.50/none/options/predictions.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"predictions\.parquet"):
        read_outcomes(plan)


def test_series_that_select_nothing_or_too_much_are_named(tmp_path: Path) -> None:
    plan = options_plan(tmp_path)
    write_cells(plan, probability)
    outcomes = read_outcomes(plan)
    table = tables.points(plan, outcomes)
    for series, message in (({"variant": "nine"}, "matches no point"), ({}, "several points")):
        wrong = [plan["experiment"]["series"][0], {"label": "wrong", "where": series}]
        with pytest.raises(DataError, match=f"wrong.*{message}"):
            tables.contrasts(plan | {"experiment": plan["experiment"] | {"series": wrong}}, outcomes, table)


def test_statistics_need_no_torch() -> None:
    import subprocess

    code = (
        "import sys, aggregate, judge, plot, plot_difficulty, power, score_difficulty;"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(aggregate.__file__).parent
    )
    assert done.stdout == "[]\n", done.stderr


def test_calibration_draws_are_replicates_of_one_dense_model(tmp_path: Path) -> None:
    plan = calibrated(options_plan(tmp_path))
    write_cells(plan, probability)
    aggregated(tmp_path, plan)
    table = read_csv(tmp_path / "t.csv")
    pruned, dense = (
        row(table, method=m, level=v, variant="two", control=0) for m, v in (("magnitude", "0.70"), ("dense",) * 2)
    )
    assert pruned.n_seeds == 3 and dense.n_seeds == 1
    values = [
        json.loads(Path(cell["path"], "metrics.json").read_text())["variants"]["two"]["metrics"]["accuracy"]
        for cell in plan["cells"]
        if cell["level"] == "0.70"
    ]
    assert len(set(values)) > 1
    assert pruned.percent_of_dense == pytest.approx(100 * sum(values) / 3 / dense.value, abs=1e-4)
    contrasts = read_csv(tmp_path / "t_contrasts.csv")
    assert set(contrasts["interval"]) == {"t over seeds"} and contrasts["difference"].notna().all()


def test_a_calibrated_series_is_compared_with_one_that_draws_nothing(tmp_path: Path) -> None:
    plan = options_plan(
        tmp_path,
        series=[{"label": "a", "where": {"method": "magnitude"}}, {"label": "b", "where": {"method": "wanda"}}],
    )
    drawn = [
        cell | {"method": "wanda", "path": f"{cell['path']}/wanda"}
        for cell in plan["cells"]
        if cell["method"] == "magnitude"
    ]
    drawn = [cell for cell in calibrated(plan | {"cells": drawn})["cells"]]
    plan |= {"cells": [*plan["cells"], *drawn], "methods": {m: {"label": m} for m in ("magnitude", "wanda")}}
    plan["tasks"]["options"]["variants"].pop("eight")
    plan["experiment"] |= {"methods": {"magnitude": ["0.50", "0.70"], "wanda": ["0.50", "0.70"]}}
    write_cells(plan, probability)
    aggregated(tmp_path, plan)
    contrasts = read_csv(tmp_path / "t_contrasts.csv")
    assert len(contrasts) == 2 and contrasts[["difference", "ci_low", "ci_high"]].notna().all(axis=None)


def test_a_panel_of_one_model_shows_its_own_references(tmp_path: Path) -> None:
    panels = [{"label": label, "where": {"model": model}} for label, model in (("Small", "small"), ("Large", "large"))]
    plan = options_plan(tmp_path, panels=panels, models=["small", "large"])
    plan["experiment"]["controls"].append("large-untrained")
    plan["models"] |= {"large": {"untrained_twin_of": None}, "large-untrained": {"untrained_twin_of": "large"}}
    plan["cells"] += [
        cell | {"model": cell["model"].replace("small", "large"), "path": cell["path"].replace("/small", "/large")}
        for cell in plan["cells"]
    ]
    write_cells(plan, probability)
    aggregated(tmp_path, plan)
    lines = [
        line for line in (tmp_path / "t.md").read_text().splitlines() if "dense, " in line or "untrained, " in line
    ]
    assert [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in lines] == [
        ("Small", "dense, small"),
        ("Small", "untrained, small-untrained"),
        ("Large", "dense, large"),
        ("Large", "untrained, large-untrained"),
    ]
    dense, difficulties = read_outcomes(plan, dense_only=True), estimate(read_responses([plan]))
    human = PROJECT / "resources/human_scores.yaml"
    scores = score_difficulty([plan], [dense], [twins.compare(plan, dense)], human, difficulties)
    assert scores[["panel", "model"]].drop_duplicates().to_numpy().tolist() == [["Small", "small"], ["Large", "large"]]


def test_series_of_different_axes_are_not_compared(tmp_path: Path) -> None:
    series = [
        {"label": label, "where": {"variant": variant}, "axis": axis}
        for axis, label, variant in (("A", "a2", "two"), ("A", "a8", "eight"), ("B", "b2", "two"), ("B", "b8", "eight"))
    ]
    plan = options_plan(tmp_path, series=series)
    write_cells(plan, probability)
    aggregated(tmp_path, plan)
    contrasts = read_csv(tmp_path / "t_contrasts.csv")
    assert set(zip(contrasts["easy"], contrasts["hard"], strict=True)) == {("a2", "a8"), ("b2", "b8")}
