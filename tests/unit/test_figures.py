from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from simulated import options_plan, write_cells

import plot
from junkdna import figures, tables
from junkdna.files import DataError, write_json
from junkdna.outcomes import read_outcomes
from junkdna.tidy import read_csv, write_csv

LEVELS = ("0.30", "0.70")


def probability(cell: dict[str, Any], variant: str) -> float:
    top, chance = (0.98, 0.5) if variant == "two" else (0.95, 0.125)
    return chance if cell["control"] else top - 0.6 * cell["sparsity"] * (top - chance)


def prepared(root: Path, **changes: Any) -> tuple[dict[str, Any], Path]:
    plan = options_plan(root, LEVELS, **changes)
    extra = [("magnitude_nm", "4of8", "nm", 0.5), ("magnitude_nm", "2of8", "nm", 0.75)]
    extra += [("random", level, "sparsity", float(level)) for level in LEVELS]
    for method, level, kind, sparsity in extra:
        path = str(root / f"evaluate/small/{method}/{level}/none/options")
        cell = {
            "method": method,
            "level": level,
            "kind": kind,
            "sparsity": sparsity,
            "control": False,
            "path": path,
        }
        plan["cells"].append(plan["cells"][0] | cell)
    plan["experiment"]["methods"] |= {"magnitude_nm": ["4of8", "2of8"], "random": list(LEVELS)}
    plan["methods"] |= {"magnitude_nm": {"label": "N:M"}, "random": {"label": "Random"}}
    write_cells(plan, probability, examples=60)
    write_csv(root / "t.csv", tables.points(plan, read_outcomes(plan)))
    write_json(root / "plan.json", plan)
    return plan, root / "t.csv"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Figure, Path]:
    root = tmp_path_factory.mktemp("figures")
    panels = [
        {"label": "Magnitude", "where": {"method": ["magnitude", "magnitude_nm"]}},
        {"label": "Random", "where": {"method": "random"}},
    ]
    plan, table = prepared(root, panels=panels)
    return figures.draw(plan, read_csv(table)), root


def boxes(figure: Figure) -> dict[str, Any]:
    renderer = figure.canvas.get_renderer()
    axes = [axes for axes in figure.axes if axes.axison]
    found = {f"axes {i}": one.get_tightbbox(renderer) for i, one in enumerate(axes)}
    return found | {
        "legend": figure.legends[0].get_window_extent(renderer),
        "title": figure._suptitle.get_window_extent(renderer),
    }


def test_rows_are_kinds_and_columns_panels(drawn: tuple[Figure, Path]) -> None:
    figure, _ = drawn
    assert [axes.axison for axes in figure.axes] == [True, True, True, False]
    assert [axes.get_title() for axes in figure.axes] == ["Magnitude", "Random", "", ""]
    assert figure.axes[0].get_xlabel() == "Weights removed (%)" and "N:M" in figure.axes[2].get_xlabel()
    assert [tick.get_text() for tick in figure.axes[2].get_xticklabels()] == ["dense", "4:8", "2:8"]
    assert figure.axes[0].get_ylabel() == "Performance (% of dense)"
    assert len({axes.get_ylim() for axes in figure.axes}) == 1


def test_curves_show_the_table(drawn: tuple[Figure, Path]) -> None:
    figure, root = drawn
    table = read_csv(root / "t.csv")
    wanted = table[(table["method"] == "magnitude") & (table["variant"] == "eight")]["percent_of_dense"].tolist()
    lines = [list(line.get_ydata()) for line in figure.axes[0].lines]
    assert [100.0, *wanted] in lines


def test_legend_names_series_and_reference_lines(drawn: tuple[Figure, Path]) -> None:
    texts = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert texts[1:3] == ["2", "8"] and texts[-3:] == ["Dense", "Untrained control", "Chance"]


def test_nothing_overlaps_or_leaves_the_page(drawn: tuple[Figure, Path]) -> None:
    figure, _ = drawn
    figure.canvas.draw()
    found = boxes(figure)
    names = list(found)
    for i, one in enumerate(names):
        box = found[one]
        assert figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1, one
        assert figure.bbox.y0 - 1 <= box.y0 and box.y1 <= figure.bbox.y1 + 1, one
        for other in names[i + 1 :]:
            if {one, other} != {"legend", "title"}:
                assert not box.overlaps(found[other]), (one, other)


def test_several_methods_in_one_panel_get_line_styles(tmp_path: Path) -> None:
    plan, table = prepared(tmp_path)
    figure = figures.draw(plan, read_csv(table))
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "Magnitude" in texts and "Random" in texts
    styles = {line.get_linestyle() for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert len(styles) == 2


def test_values_instead_of_percent(tmp_path: Path) -> None:
    plan, table = prepared(tmp_path, y="value", ordered=False)
    figure = figures.draw(plan, read_csv(table))
    assert figure.axes[0].get_ylabel() == "Accuracy" and figure.axes[0].get_ylim()[1] < 1.5


def test_models_that_know_nothing_still_get_a_figure(tmp_path: Path) -> None:
    for y in ("value", "percent_of_dense"):
        plan = options_plan(tmp_path, LEVELS, y=y)
        write_cells(plan, lambda cell, variant: 1e-9, examples=20)
        figure = figures.draw(plan, tables.points(plan, read_outcomes(plan)))
        low, high = figure.axes[0].get_ylim()
        assert low < 0 < high


def test_perplexity_is_drawn_on_a_logarithmic_axis(tmp_path: Path) -> None:
    plan = options_plan(tmp_path, LEVELS, y="value")
    plan["tasks"]["options"] |= {"kind": "perplexity", "metric": "perplexity", "chance": 0.0}
    write_cells(plan, lambda cell, variant: 0.1 * (1 - cell["sparsity"]) ** 6, examples=20)
    figure = figures.draw(plan, tables.points(plan, read_outcomes(plan)))
    assert figure.axes[0].get_yscale() == "log" and figure.axes[0].get_ylabel() == "Perplexity"


def test_same_data_give_the_same_bytes(drawn: tuple[Figure, Path], tmp_path: Path) -> None:
    root = drawn[1]
    runs = []
    for name in ("first", "second"):
        files = [tmp_path / f"{name}.{suffix}" for suffix in ("svg", "pdf", "png")]
        plot.main(["--plan", f"{root}/plan.json", "--table", f"{root}/t.csv", "--output", *map(str, files)])
        runs.append([file.read_bytes() for file in files])
    assert runs[0] == runs[1]
    assert b"<svg" in runs[0][0] and runs[0][1].startswith(b"%PDF") and runs[0][2].startswith(b"\x89PNG")


def test_unknown_format_and_unreadable_table_are_named(drawn: tuple[Figure, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"figure\.jpg.*svg, \.pdf, \.png"):
        figures.save(drawn[0], tmp_path / "figure.jpg")
    bad = tmp_path / "t.csv"
    bad.write_text("")
    with pytest.raises(DataError, match=r"t\.csv"):
        read_csv(bad)
