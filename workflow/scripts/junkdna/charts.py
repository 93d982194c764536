"""Interactive figures for the report: specifications for plotly.js as plain values, from a plan and its table alone.

They show what :mod:`junkdna.figures` draws, with its colours, markers, places and reference lines. A chart is one panel
and one kind of level. It holds its curves once, and for each view (percent of dense, chance-corrected, metric) their
heights, the reference lines and the y-axis. Every trace names in ``meta.keys`` the entries of the legend that hide it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from typing import Any

import matplotlib.colors
import numpy as np
import pandas as pd

from junkdna.curves import CURVE, KINDS, curves, difficulty_axes, level_label, level_rank, metric_label, references
from junkdna.figures import (
    LINES,
    MARKERS,
    REFERENCES,
    TOGETHER,
    X_LABELS,
    curve_styles,
    level_positions,
    series_colours,
)

# What plotly calls the markers and lines of the static figures.
SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "hexagon"]
SYMBOLS = dict(zip(MARKERS, SHAPES, strict=True))
DASHES = dict(zip(LINES, ("solid", "8px,3px", "6px,2px,2px,2px", "2px,2px", "10px,2px,2px,2px,2px,2px"), strict=True))
REFERENCE_DASHES = {"dense": "solid", "control": "8px,5px", "chance": "2px,3px"}
GREY = "#555555"
# View to its name, and to the columns of its heights and intervals.
VIEWS = {
    "percent": ("Percent of dense", ("percent_of_dense", "percent_ci_low", "percent_ci_high")),
    "corrected": ("Chance-corrected", ("corrected", "corrected_low", "corrected_high")),
    "value": ("Metric", ("value", "ci_low", "ci_high")),
}
Y_TITLES = {"percent": "% of dense", "corrected": "% of dense, above chance"}
REPORTED = "reported"


def charts(plan: dict[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    """The figure of an experiment.

    Args:
        plan: the experiment's plan.
        table: its tidy table; the index of a row is what a point carries as `customdata`.

    Returns:
        {"views": [{"key", "label"}], the one to show first in front, "legend": [{"title", "items"}], "panels": charts}.

    Raises:
        DataError: the panels and series do not fit the table.
    """
    experiment = plan["experiment"]
    table = with_corrected(table).assign(row=table.index)
    found = curves(experiment, table)
    styles = curve_styles(plan, found)
    panels = []
    for kind in (kind for kind in KINDS if kind in set(found["kind"])):
        for panel in (panel["label"] for panel in experiment["panels"]):
            here = found[(found["kind"] == kind) & (found["panel"] == panel)]
            if len(here):
                panels.append(_chart(plan, table, here, styles))
    shown = [view for view in VIEWS if _defined(view, panels)]
    for view in shown:
        axis = _y_axis(view, panels, found)
        for panel in panels:
            panel["views"][view]["layout"] = {"yaxis": axis}
    first = "value" if experiment["y"] == "value" else "percent"
    shown.sort(key=lambda view: view != first)
    return {
        "views": [{"key": view, "label": VIEWS[view][0]} for view in shown],
        "legend": _legend(plan, table, styles),
        "panels": panels,
    }


def with_corrected(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the chance-corrected ratio in percent and its interval: that of the metric on the same scale, with
    the dense model's mean and chance taken as exact."""
    room = (table["dense"] - table["chance"]).where(table["chance_corrected"].notna())
    ends = [100 * (table[end] - table["chance"]) / room for end in ("ci_low", "ci_high")]
    return table.assign(
        corrected=100 * table["chance_corrected"],
        corrected_low=np.minimum(*ends),  # a metric where less is better turns the interval round
        corrected_high=np.maximum(*ends),
    )


def _chart(
    plan: dict[str, Any], table: pd.DataFrame, here: pd.DataFrame, styles: dict[tuple[str, ...], Any]
) -> dict[str, Any]:
    experiment, kind, panel = plan["experiment"], here["kind"].iloc[0], here["panel"].iloc[0]
    reported = [row for row in plan["reported"] if row["panel"] == panel and row["kind"] == kind]
    levels = sorted({*here["level"], *(row["level"] for row in reported)}, key=level_rank)
    places = level_positions(kind, levels)
    low, high = min(places.values()), max(places.values())
    span = high - low or 1.0
    axis = {"title": {"text": X_LABELS[kind]}, "range": [low - 0.06 * span, high + 0.06 * span]}
    if kind == "sparsity":
        axis |= {"dtick": 20}
    else:
        axis |= {"tickvals": list(places.values()), "ticktext": [level_label(x).removesuffix(" %") for x in places]}
    known = {label: references(experiment, table, panel, label) for label in series_colours(experiment)}
    traces = list(_traces(experiment, here, known, styles, places, 0.012 * span))
    traces += _reported(experiment, reported, places, 0.012 * span)
    return {
        "title": panel,
        "curves": [trace for trace, _ in traces],
        "layout": {"title": {"text": html.escape(panel, quote=False)}, "xaxis": axis},
        "views": {
            view: {
                "heights": [heights[view] for _, heights in traces],
                "references": list(_references(view, experiment, known, axis["range"])),
            }
            for view in VIEWS
        },
    }


def _traces(
    experiment: dict[str, Any],
    here: pd.DataFrame,
    known: dict[str, pd.DataFrame],
    styles: dict[tuple[str, ...], Any],
    places: dict[str, float],
    step: float,
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every curve of a chart, with its heights in each view; ``known`` holds the reference rows of each series."""
    colours, named = series_colours(experiment), _line_keys(styles)
    for number, label in enumerate(colours):
        colour = matplotlib.colors.to_hex(colours[label])
        for key, curve in here[here["series"] == label].groupby(CURVE, sort=False):
            dense = known[label][(known[label]["control"] == 0) & (known[label]["model"] == key[0])]
            points = pd.concat([dense.head(int("dense" in places)), curve])
            x = points["level"].map(places).to_numpy(dtype=float)
            # Side by side, or the bars of one level hide each other; at the dense model all are one point.
            x = np.where(points["level"] == "dense", x, x + (number - (len(colours) - 1) / 2) * step)
            style, method = styles[key]
            yield (
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": html.escape(", ".join(filter(None, [label, method])), quote=False),
                    "x": _numbers(x),
                    "customdata": points["row"].tolist(),
                    "line": {"color": colour, "dash": DASHES[style], "width": 2},
                    "marker": {"color": colour, "symbol": SYMBOLS[MARKERS[number % len(MARKERS)]], "size": 7},
                    "meta": {"keys": [f"series{number}", *([named[method]] if method else [])]},
                },
                {view: _heights(*(points[c] for c in columns), colour) for view, (_, columns) in VIEWS.items()},
            )


def _reported(
    experiment: dict[str, Any], reported: list[dict[str, Any]], places: dict[str, float], step: float
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Values of the paper, known in percent of dense: hollow, with the uncertainty of the reading."""
    colours = series_colours(experiment)
    for number, label in enumerate(colours):
        rows = pd.DataFrame([row for row in reported if row["series"] == label])
        if rows.empty:
            continue
        colour = matplotlib.colors.to_hex(colours[label])
        y, spread = rows["value"], rows["uncertainty"]
        none = _heights(*[pd.Series(np.nan, index=rows.index)] * 3, colour)
        yield (
            {
                "type": "scatter",
                "mode": "markers",
                "name": html.escape(f"{label}, reported by the paper", quote=False),
                "x": _numbers(rows["level"].map(places) + (number - (len(colours) - 1) / 2) * step + step / 2),
                "marker": {"color": colour, "symbol": f"{SYMBOLS[MARKERS[number % len(MARKERS)]]}-open", "size": 9},
                "meta": {"keys": [f"series{number}", REPORTED]},
            },
            {view: _heights(y, y - spread, y + spread, colour) if view == "percent" else none for view in VIEWS},
        )


def _heights(y: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> dict[str, Any]:
    bars = {"type": "data", "symmetric": False, "array": _numbers(high - y), "arrayminus": _numbers(y - low)}
    return {"y": _numbers(y), "error_y": bars | {"color": colour, "thickness": 1.3, "width": 0}}


def _references(
    view: str, experiment: dict[str, Any], known: dict[str, pd.DataFrame], ends: list[float]
) -> Iterator[dict[str, Any]]:
    """Horizontal lines: one in grey where those of all series lie together, else in the colours of the series."""
    for name, (_, text) in REFERENCES.items():
        values = {label: [*filter(np.isfinite, _reference(name, view, rows))] for label, rows in known.items()}
        flat = [value for some in values.values() for value in some]
        if flat and max(flat) - min(flat) <= TOGETHER / (100 if view == "value" else 1):
            yield _line(text, [name], float(np.mean(flat)), GREY, ends)
            continue
        for number, (label, colour) in enumerate(series_colours(experiment).items()):
            for value in values[label]:
                colour = matplotlib.colors.to_hex(colour)
                yield _line(f"{text}, {label}", [name, f"series{number}"], value, colour, ends)


def _reference(name: str, view: str, rows: pd.DataFrame) -> Iterable[float]:
    rows = rows[rows["control"] == int(name == "control")]
    if name != "chance":
        return rows[VIEWS[view][1][0]]
    if view == "corrected":
        return rows["corrected"].dropna() * 0
    return rows["chance_percent" if view == "percent" else "chance"]


def _line(text: str, keys: list[str], value: float, colour: str, ends: list[float]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": html.escape(text, quote=False),
        "x": _numbers(ends),
        "y": _numbers([value, value]),
        "line": {"color": colour, "dash": REFERENCE_DASHES[keys[0]], "width": 1.2},
        "meta": {"keys": keys},
    }


def _defined(view: str, panels: list[dict[str, Any]]) -> bool:
    return any(y is not None for panel in panels for heights in panel["views"][view]["heights"] for y in heights["y"])


def _y_axis(view: str, panels: list[dict[str, Any]], found: pd.DataFrame) -> dict[str, Any]:
    """One axis for all panels: every point, 0 and the dense model; intervals unless they reach far beyond."""
    metrics = list(dict.fromkeys(found["metric"]))
    title = {"text": Y_TITLES.get(view) or ", ".join(map(metric_label, metrics)).capitalize()}
    data = [panel["views"][view] for panel in panels]
    lines = [line["y"][0] for part in data for line in part["references"]]
    points = [y for part in data for heights in part["heights"] for y in heights["y"] if y is not None]
    if view == "value" and metrics == ["perplexity"]:
        # No upper end: badly pruned models are orders of magnitude worse.
        logs = np.log10([*points, *lines])
        return {"title": title, "type": "log", "range": _numbers([logs.min() - 0.1, logs.max() + 0.1])}
    top = max(points) if view == "value" else 100.0
    ends = found[list(VIEWS[view][1][1:])].to_numpy().clip(-0.1 * top, 1.1 * top).ravel()
    drawn = [0.0, top, *points, *lines, *ends[np.isfinite(ends)]]
    margin = 0.04 * (max(drawn) - min(drawn))
    return {"title": title, "range": _numbers([min(drawn) - margin, max(drawn) + margin])}


def _line_keys(styles: dict[tuple[str, ...], Any]) -> dict[str, str]:
    labels = dict.fromkeys(label for _, label in styles.values() if label)
    return {label: f"line{number}" for number, label in enumerate(labels)}


def _legend(plan: dict[str, Any], table: pd.DataFrame, styles: dict[tuple[str, ...], Any]) -> list[dict[str, Any]]:
    experiment = plan["experiment"]
    colours = series_colours(experiment)
    numbers = {label: number for number, label in enumerate(colours)}
    groups = [
        {
            "title": title,
            "items": [
                {"key": f"series{numbers[label]}", "label": label, "colour": matplotlib.colors.to_hex(colours[label])}
                for label in labels
            ],
        }
        for title, labels in difficulty_axes(experiment).items()
    ]
    dashes = {label: DASHES[style] for style, label in styles.values() if label}
    if dashes:
        items = [{"key": key, "label": label, "dash": dashes[label]} for label, key in _line_keys(styles).items()]
        groups.append({"title": "Method", "items": items})
    present = [name for name in REFERENCES if name != "control" or table["control"].any()]
    items = [{"key": name, "label": REFERENCES[name][1], "dash": REFERENCE_DASHES[name]} for name in present]
    if plan["reported"]:
        items.append({"key": REPORTED, "label": "Reported by the paper (hollow)"})
    return [*groups, {"title": "Reference", "items": items}]


def _numbers(values: Iterable[float]) -> list[float | None]:
    """Plain numbers of six digits; None where undefined, as JSON has no NaN."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]
