"""The report in a browser, opened as a file: it loads, its controls work, and it fits a phone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import page as pages

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="THE REPORT IS NOT TESTED IN A BROWSER: install chromium")

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose names try to run as code."""
    root = tmp_path_factory.mktemp("browser")
    pages.simulated(root, title=HOSTILE, series_title=HOSTILE, panels=[{"label": HOSTILE, "where": {}}])
    (root / "claims.csv").write_text(f'claim,verdict,statement\nC1,supported,"{HOSTILE.replace(chr(34), chr(39))}"\n')
    texts = json.dumps({"captions": {}, "claims": {"choices": ["C1"]}, "options": ["--configfile", HOSTILE]})
    return pages.write_page(root, texts=texts)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Without a sandbox, as it cannot be had as root in a container; the page is ours.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def opened(request: pytest.FixtureRequest, chromium: Browser, file: Path) -> Iterator[Page]:
    """The page with its figure drawn; afterwards nothing may have been logged or asked from the network."""
    page = chromium.new_page(viewport=request.param)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda sent: None if sent.url.startswith(("file:", "data:", "blob:")) else said.append(sent.url))
    page.goto(file.as_uri())
    page.locator(".chart").scroll_into_view_if_needed()
    page.locator(".chart .trace").first.wait_for(state="attached")
    yield page
    assert said == []
    assert page.title() == "Junk DNA: report"
    page.close()


def drawn(page: Page) -> dict:
    """What plotly shows: titles of the y-axis, names and heights of the visible traces."""
    return page.evaluate(
        """() => { const chart = document.querySelector(".chart"); return {
            title: chart.layout.yaxis.title.text,
            traces: Object.fromEntries(chart.data.filter((t) => t.visible).map((t) => [t.name, t.y])),
            curves: chart.querySelectorAll(".scatterlayer .trace").length } }"""
    )


def column(page: Page, number: int) -> list[str]:
    return page.evaluate(
        """(n) => [...document.querySelector('[data-table="choices"] tbody').rows]
            .filter((row) => !row.hidden).map((row) => row.cells[n].textContent)""",
        number,
    )


def test_nothing_overflows(opened: Page) -> None:
    while (closed := opened.locator("details.more:not([open])")).count():
        closed.first.locator("summary").click()
    opened.locator(".chart").click(position={"x": 5, "y": 5})
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # Nothing but what scrolls by itself reaches beyond the edge; that is cut off, not merely hidden.
    beyond = """() => [...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll, .prose, .skip, svg")
        && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))"""
    assert opened.evaluate(beyond) == []


def test_views_change_what_is_drawn(opened: Page) -> None:
    percent = drawn(opened)
    assert percent["title"] == "% of dense" and percent["traces"]["2, Magnitude"][0] == 100
    opened.get_by_text("Metric", exact=True).first.click()
    value = drawn(opened)
    assert value["title"] == "Accuracy" and 0.5 < value["traces"]["2, Magnitude"][0] <= 1
    opened.get_by_text("Chance-corrected", exact=True).first.click()
    corrected = drawn(opened)
    assert corrected["traces"]["8, Random"][-1] < percent["traces"]["8, Random"][-1]
    assert corrected["traces"]["Chance"] == [0, 0]


def test_legend_hides_series_methods_and_references(opened: Page) -> None:
    before = drawn(opened)
    assert {"2, Magnitude", "2, Random", "8, Magnitude", "8, Random"} <= set(before["traces"])
    opened.get_by_label("Random").uncheck()
    opened.get_by_label("2", exact=True).uncheck()
    assert [name for name in drawn(opened)["traces"] if name[0] in "28"] == ["8, Magnitude"]
    assert drawn(opened)["curves"] < before["curves"]
    opened.get_by_text("Metric", exact=True).first.click()
    assert "2, Magnitude" not in drawn(opened)["traces"]
    opened.get_by_label("Random").check()
    opened.get_by_label("2", exact=True).check()
    opened.get_by_text("Percent of dense", exact=True).first.click()
    assert drawn(opened) == before


def test_table_sorts_and_filters(opened: Page) -> None:
    table = opened.locator('[data-table="choices"]')
    headings = [text.strip() for text in table.locator("th").all_text_contents()]
    value = headings.index("Value")
    table.get_by_role("button", name="Value", exact=True).click()
    values = [float(text) for text in column(opened, value)]
    assert values == sorted(values) and len(set(values)) > 3
    assert table.locator("th").nth(value).get_attribute("aria-sort") == "ascending"
    table.get_by_role("button", name="Value", exact=True).click()
    assert [float(text) for text in column(opened, value)] == sorted(values, reverse=True)
    table.get_by_role("searchbox").fill("Random eight")
    assert column(opened, headings.index("Level")) == ["30 %", "50 %", "70 %"]
    assert table.locator("output").text_content() == f"3 of {len(values)} rows"
    table.get_by_role("searchbox").fill("")
    assert len(column(opened, value)) == len(values)


def test_row_and_point_open_their_cells(opened: Page) -> None:
    table = opened.locator('[data-table="choices"]')
    table.get_by_role("searchbox").fill("random eight")
    table.get_by_role("button", name="Cells of this row").last.click()
    dialog = opened.get_by_role("dialog")
    assert "Random, 70 %" in dialog.text_content() and "commit 0123456789" in dialog.text_content()
    command = dialog.locator("code").text_content()
    assert command.startswith("snakemake --cores 1 --force ") and "/random/0.70/none/options/metrics.json" in command
    dialog.get_by_role("button", name="copy").click()
    dialog.get_by_role("button", name=re.compile("copied|selected")).wait_for()
    assert opened.evaluate("getSelection().toString()") == command
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()
    # Plotly's own event, as a click on a marker of a few pixels depends on where others lie.
    opened.evaluate("""() => { const chart = document.querySelector(".chart");
        const trace = chart.data.find((t) => t.name === "8, Magnitude");
        chart.emit("plotly_click", { points: [{ customdata: trace.customdata.at(-1) }] }); }""")
    assert "Magnitude, 70 %" in opened.get_by_role("dialog").text_content()


def test_hover_tells_value_interval_and_n(opened: Page) -> None:
    opened.evaluate("""() => { const chart = document.querySelector(".chart");
        const curveNumber = chart.data.findIndex((t) => t.name === "8, Magnitude");
        Plotly.Fx.hover(chart, [{ curveNumber, pointNumber: 2 }]); }""")
    label = opened.locator(".hoverlayer").text_content()
    assert "small" in label and "accuracy 0." in label and "% of dense [" in label and "n = 80 examples" in label


def test_cells_are_found_by_words(opened: Page) -> None:
    opened.get_by_label("Find a cell").fill("random 0.50")
    assert opened.locator("#cells > li").count() == 1
    assert opened.locator("#found").text_content() == "1 cells"
