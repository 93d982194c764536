"""The page: what it holds is what the tables hold, it can be drawn, and no data becomes markup."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

import page as pages
from junkdna.charts import charts, with_corrected
from junkdna.files import DataError, write_json
from junkdna.report import UNDEFINED, _markdown, _table
from junkdna.tidy import read_csv

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;"


class Parsed(HTMLParser):
    """Tags with their attributes, and the text of the page's data and of everything that is shown."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.shown, self.data, self._inside = "", "", {}
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs) | {"tag": tag}

    def handle_endtag(self, tag: str) -> None:
        self._inside = {}

    def handle_data(self, data: str) -> None:
        if self._inside.get("id") == "data":
            self.data += data
        elif self._inside.get("tag") not in ("script", "style"):
            self.shown += data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    root = tmp_path_factory.mktemp("report")
    return pages.simulated(root), pages.write_page(root)


def figures(figure: dict[str, Any]) -> list[go.Figure]:
    """Every view of every chart, checked by plotly against the schema of plotly.js."""
    return [
        go.Figure(
            [*shown["references"], *({**c, **h} for c, h in zip(panel["curves"], shown["heights"], strict=True))],
            {**panel["layout"], **shown["layout"]},
        )
        for panel in figure["panels"]
        for shown in (panel["views"][view["key"]] for view in figure["views"])
    ]


def test_charts_hold_the_points_of_the_table(made: tuple[dict[str, Any], Path]) -> None:
    plan, page = made
    table = read_csv(page.parent / "choices.csv")
    figure = charts(plan, table)
    assert [view["key"] for view in figure["views"]] == ["percent", "corrected", "value"]
    assert len(figures(figure)) == 3
    (panel,) = figure["panels"]
    for view, column in (("percent", "percent_of_dense"), ("value", "value")):
        for curve, heights in zip(panel["curves"], panel["views"][view]["heights"], strict=True):
            rows = table.loc[curve["customdata"]]
            assert np.allclose(heights["y"], rows[column], rtol=1e-5)
            assert curve["x"][0] == 0 and rows["method"].iloc[0] == "dense" and len(rows) == 1 + len(pages.LEVELS)
            low = np.array(heights["y"]) - heights["error_y"]["arrayminus"]
            wanted = rows["percent_ci_low" if view == "percent" else "ci_low"]
            assert np.allclose(low, wanted, atol=1e-3)


def test_legend_names_every_key_that_a_trace_has(made: tuple[dict[str, Any], Path]) -> None:
    plan, page = made
    figure = charts(plan, read_csv(page.parent / "choices.csv"))
    titles = [group["title"] for group in figure["legend"]]
    assert titles == ["Options", "Method", "Reference"]
    named = {item["key"] for group in figure["legend"] for item in group["items"]}
    traces = [trace for panel in figure["panels"] for trace in panel["curves"]]
    traces += [line for panel in figure["panels"] for view in panel["views"].values() for line in view["references"]]
    assert {key for trace in traces for key in trace["meta"]["keys"]} == named


def test_chance_correction_puts_the_dense_model_at_100_and_chance_at_0(made: tuple[dict[str, Any], Path]) -> None:
    table = with_corrected(read_csv(made[1].parent / "choices.csv"))
    dense = table[(table["method"] == "dense") & (table["control"] == 0)]
    assert np.allclose(dense["corrected"], 100)
    row = table[(table["method"] == "magnitude") & (table["variant"] == "eight")].iloc[-1]
    assert row.corrected == pytest.approx(100 * (row.value - 0.125) / (row.dense - 0.125), rel=1e-4)
    assert row.corrected_low == pytest.approx(100 * (row.ci_low - 0.125) / (row.dense - 0.125), rel=1e-4)


def test_perplexity_has_a_logarithmic_axis_and_no_chance_correction(tmp_path: Path) -> None:
    plan = pages.options_plan(tmp_path, pages.LEVELS, y="value")
    plan["tasks"]["options"] |= {"kind": "perplexity", "metric": "perplexity", "chance": 0.0}
    pages.write_cells(plan, lambda cell, variant: 0.1 * (1 - cell["sparsity"]) ** 6, examples=20)
    figure = charts(plan, pages.tables.points(plan, pages.read_outcomes(plan)))
    assert [view["key"] for view in figure["views"]] == ["value", "percent"]
    assert [drawn.layout.yaxis.type for drawn in figures(figure)] == ["log", None]
    assert "NaN" not in json.dumps(figure)


def test_reported_values_are_hollow_and_in_percent_only(made: tuple[dict[str, Any], Path]) -> None:
    plan, page = made
    value = {"panel": "Choices", "series": "8", "kind": "sparsity", "level": "0.60", "value": 71.0, "uncertainty": 0.5}
    figure = charts(plan | {"reported": [value]}, read_csv(page.parent / "choices.csv"))
    assert len(figures(figure)) == 3
    panel = figure["panels"][0]
    curve = panel["curves"][-1]
    assert curve["marker"]["symbol"].endswith("-open") and curve["meta"]["keys"] == ["series1", "reported"]
    assert [panel["views"][view]["heights"][-1]["y"] for view in ("percent", "value")] == [[71.0], [None]]


def test_page_shows_question_caption_table_and_how_to_rerun(made: tuple[dict[str, Any], Path]) -> None:
    plan, page = made
    parsed = Parsed(page)
    for text in ("Do more options hurt?", "More options, more loss.", "No verdicts yet", "Contrasts"):
        assert text in parsed.shown
    table = read_csv(page.parent / "choices.csv")
    assert sum("data-point" in attributes for _, attributes in parsed.tags) == len(table)
    data = json.loads(parsed.data)
    folders = [cell[0] for cell in data["provenance"]["cells"]]
    assert folders == [cell["path"] for cell in plan["cells"]]
    for row, point in zip(table.itertuples(), data["points"]["choices"], strict=True):
        (number,) = point["cells"]
        assert f"/{row.model}/{row.method}/{row.level}/" in folders[number]
        assert f"accuracy {row.value:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}]" in point["lines"]
        assert f"n = {row.n_examples:.0f} examples" in point["lines"]
    assert data["provenance"]["commits"] == ["0123456789abcdef"]


def test_page_needs_nothing_but_itself_and_is_the_same_again(made: tuple[dict[str, Any], Path]) -> None:
    page = made[1]
    before = page.read_bytes()
    for tag, attributes in Parsed(page).tags:
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith(("#", "data:")), (tag, attributes)
    assert b"default-src 'none'" in before
    assert pages.write_page(page.parent).read_bytes() == before


def test_data_never_become_markup(tmp_path: Path) -> None:
    series = [{"label": HOSTILE, "where": {"variant": "two"}}, {"label": "8", "where": {"variant": "eight"}}]
    panels = [{"label": HOSTILE, "where": {}}]
    plan = pages.simulated(
        tmp_path, title=HOSTILE, question=HOSTILE, series=series, panels=panels, series_title=HOSTILE
    )
    plan["methods"]["random"]["label"] = plan["tasks"]["options"]["label"] = HOSTILE
    write_json(tmp_path / "plan.json", plan)
    (tmp_path / "claims.csv").write_text(f'claim,verdict,statement\nC1,supported,"{HOSTILE}"\n')
    (tmp_path / "claims.md").write_text(f"# Claims\n\n{HOSTILE}\n\n[link](javascript:alert(3))\n")
    texts = json.dumps({"captions": {"choices": HOSTILE}, "claims": {"choices": [HOSTILE]}, "options": [HOSTILE]})
    parsed = Parsed(pages.write_page(tmp_path, "--claims", str(tmp_path / "claims.md"), texts=texts))
    assert [tag for tag, _ in parsed.tags].count("script") == 3
    assert not any("onerror" in attributes or tag == "img" for tag, attributes in parsed.tags)
    assert not any("javascript" in (attributes.get("href") or "") for _, attributes in parsed.tags)
    # What plotly draws as text is escaped for the few tags that it reads.
    names = [trace["name"] for trace in charts(plan, read_csv(tmp_path / "choices.csv"))["panels"][0]["curves"]]
    assert names and not any("<" in name for name in names)


def test_claims_are_shown_with_their_verdicts(made: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    root = made[1].parent
    (tmp_path / "claims.csv").write_text("claim,statement,verdict,p\nC1,Drop grows,not supported,0.0004\n")
    (tmp_path / "claims.md").write_text("# Verdicts\n\n## C1\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    arguments = ["--plans", str(root / "plan.json"), "--claims", str(tmp_path / "claims.md")]
    files = [str(root / "choices.csv"), str(tmp_path / "claims.csv")]
    template = str(pages.PROJECT / "workflow/report/page/index.html")
    output = tmp_path / "index.html"
    pages.report.main(
        [*arguments, "--tables", *files, "--texts", pages.TEXTS, "--template", template, "--output", str(output)]
    )
    parsed = Parsed(output)
    assert ("b", {"class": "verdict no"}) in parsed.tags and "Drop grows" in parsed.shown
    assert "Verdicts" not in parsed.shown and ("h3", {}) in parsed.tags
    assert "No verdicts yet" not in parsed.shown and "<0.001" in parsed.shown
    (tmp_path / "claims.csv").write_text("claim,p\nC1,0.1\n")
    with pytest.raises(DataError, match=r"claims\.csv: columns claim and verdict"):
        pages.report.main(
            [*arguments, "--tables", *files, "--texts", pages.TEXTS, "--template", template, "--output", str(output)]
        )


def test_table_puts_intervals_together_and_constants_apart(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "task,method,level,value,ci_low,ci_high,percent_of_dense,n,percent_ci_low,percent_ci_high,rise_ci_low,rise_ci_high\n"
        "a,m,0.50,0.12345,0.1,0.2,50,8,40,60,,\na,m,2of4,,,,50.5,9,40,60,1,2\na,m,0.30,0.5,0.4,0.6,51,10,40,60,3,4\n"
    )
    table = _table(path, "t", {"m": "Magnitude"})
    assert table["constant"] == [("Task", "a"), ("Method", "Magnitude"), ("Interval, % of dense", "[40.0, 60.0]")]
    headings = [column["heading"] for column in table["columns"]]
    assert headings == ["Level", "Value", "95 % interval", "% of dense", "N", "Rise, 95 % interval"]
    assert [text for text, _ in table["rows"][0]] == ["50 %", "0.123", "[0.100, 0.200]", "50.0", "8", UNDEFINED]
    assert table["rows"][1][1] == (UNDEFINED, None)
    levels = sorted((row[0] for row in table["rows"]), key=lambda cell: cell[1])
    assert [text for text, _ in levels] == ["30 %", "50 %", "2:4"]


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    plan = pages.simulated(tmp_path)
    broken = Path(plan["cells"][0]["path"]) / "provenance.json"
    broken.write_text("{}")
    with pytest.raises(DataError, match=r"provenance\.json: no git_commit, device"):
        pages.write_page(tmp_path)
    (tmp_path / "choices.csv").unlink()
    with pytest.raises(DataError, match=r"choices: its table choices\.csv is not among the tables"):
        pages.write_page(tmp_path)


def test_absent_claims_are_none() -> None:
    assert _markdown(None) is None


def test_no_torch_is_loaded() -> None:
    code = "import sys, report; assert not {'torch', 'transformers', 'sklearn'} & set(sys.modules)"
    path = str(pages.PROJECT / "workflow/scripts")
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
