"""The figure of an experiment, drawn from its plan and table alone.

Columns are panels and rows are kinds of level (share removed, N:M, magnitude band, bits), as in the paper; where each
panel has one kind only, one row holds them all.
Colour is the series. Values reported by the paper are hollow markers. Equal data give equal bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator

from junkdna.curves import CURVE, KINDS, curves, difficulty_axes, level_label, level_rank, metric_label, references
from junkdna.files import DataError, atomic_path

MARKERS = ["o", "s", "^", "D", "v", "P", "X", "h"]
# Colours of a difficulty axis from easy to hard: map, lightest, darkest. An experiment rarely has more than one axis.
SCALES = [("viridis_r", 0.18, 0.97), ("YlOrBr", 0.45, 1.0), ("Greys", 0.45, 1.0)]
LINES = ["-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 1, 1, 1, 1, 1))]
# Horizontal lines: column of the table to line style and label. Thin and without markers, unlike the curves.
REFERENCES = {
    "dense": ("-", "Dense"),
    "control": ((0, (6, 3)), "Untrained control"),
    "chance": (":", "Chance"),
}
HOLLOW = {"markersize": 5.5, "markerfacecolor": "none", "markeredgewidth": 0.9}
# Percent. Reference values of the series this close share one grey line, their mean, in a band.
TOGETHER = 5.0
X_LABELS = {
    "sparsity": "Weights removed (%)",
    "nm": "Weights kept, N:M",
    "band": "Removed weights: percentiles of magnitude (%)",
    "bits": "Bits per weight",
}
FORMATS = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
THEME = {
    **{
        "svg.hashsalt": "junkdna",
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "legend.fontsize": 8,
    },
    **{"legend.title_fontsize": 8.5, "xtick.labelsize": 8, "ytick.labelsize": 8, "grid.linewidth": 0.6},
    **{
        "axes.edgecolor": "0.3",
        "grid.color": "0.9",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
    },
}
PNG_DPI = 200


def draw(plan: dict[str, Any], table: pd.DataFrame) -> Figure:
    """Draw an experiment.

    Args:
        plan: the experiment's plan.
        table: its tidy table, as :func:`junkdna.tidy.read_csv` gives it.

    Raises:
        DataError: the panels and series do not fit the table.
    """
    experiment = plan["experiment"]
    found = curves(experiment, table)
    mixed = (found.groupby("panel")["kind"].nunique() > 1).any()
    rows = [[kind] for kind in KINDS if kind in set(found["kind"])] if mixed else [KINDS]
    reported = pd.DataFrame(plan["reported"], columns=["panel", "series", "kind", "level", "value", "uncertainty"])
    panels = [panel["label"] for panel in experiment["panels"]]
    with sns.axes_style("whitegrid"), mpl.rc_context(THEME):
        width = 4.6 if "band" in set(found["kind"]) and len(panels) == 1 else max(2.2, min(3.4, 10 / len(panels)))
        styles = curve_styles(plan, found)
        # The legend has to fit too: its lines are the series, the methods, the references and their headings.
        lines = len(experiment["series"]) + len({label for _, label in styles.values()}) + 8 + bool(len(reported))
        lines += 2 * (len(difficulty_axes(experiment)) - 1)
        height = max(2.5 * len(rows) + 0.5, 0.19 * lines)
        figure = Figure(figsize=(width * len(panels) + 2.1, height), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(rows), len(panels), sharey=True, squeeze=False)
        for (row, kinds), (column, panel) in ((r, c) for r in enumerate(rows) for c in enumerate(panels)):
            here = found[found["kind"].isin(kinds) & (found["panel"] == panel)]
            if here.empty:
                grid[row, column].set_axis_off()
            else:
                theirs = reported[(reported["panel"] == panel) & (reported["kind"] == here["kind"].iloc[0])]
                _draw_axes(grid[row, column], experiment, table, here, styles, theirs)
        _label(grid, panels, experiment, found)
        _limit(grid, experiment, found, reported)
        figure.suptitle(experiment["title"], fontweight="bold", fontsize=10.5)
        _legend(figure, plan, table, styles)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its suffix, the same bytes for the same figure.

    Raises:
        DataError: the suffix is not svg, pdf or png.
    """
    if path.suffix not in FORMATS:
        raise DataError(f"{path}: figures are written as {', '.join(FORMATS)}, not {path.suffix!r}")
    with mpl.rc_context(THEME), atomic_path(path) as aside:
        figure.savefig(aside, dpi=PNG_DPI, metadata=FORMATS[path.suffix])


def series_colours(experiment: dict[str, Any]) -> dict[str, Any]:
    """Series to colour: light to dark from easy to hard in each axis, or distinct; both safe for the colour-blind."""
    if not experiment["ordered"]:
        labels = [series["label"] for series in experiment["series"]]
        return dict(zip(labels, sns.color_palette("colorblind", len(labels)), strict=True))
    colours = {}
    for number, labels in enumerate(difficulty_axes(experiment).values()):
        name, light, dark = SCALES[number % len(SCALES)]
        for label, x in zip(labels, np.linspace(light, dark, len(labels)), strict=True):
            colours[label] = mpl.colormaps[name](x)
    return colours


def curve_styles(plan: dict[str, Any], found: pd.DataFrame) -> dict[tuple[str, ...], tuple[Any, str]]:
    """Curve key to line style and label; solid and without a label where no axes of its row hold two keys."""
    pinned = {key for series in plan["experiment"]["series"] for key in series["where"]}
    styles: dict[tuple[str, ...], tuple[Any, str]] = {}
    for _, row in found.groupby("kind"):
        keys = list(row[CURVE].drop_duplicates().itertuples(index=False, name=None))
        if row[["panel", "series", *CURVE]].drop_duplicates().groupby(["panel", "series"]).size().max() == 1:
            styles |= {key: ("-", "") for key in keys}
            continue
        shown = [i for i, name in enumerate(CURVE) if name not in pinned and len({key[i] for key in keys}) > 1]
        labels = [", ".join(plan["methods"].get(key[i], {}).get("label", key[i]) for i in shown) for key in keys]
        order = list(dict.fromkeys(labels))
        styles |= {k: (LINES[order.index(v) % len(LINES)], v) for k, v in zip(keys, labels, strict=True)}
    return styles


def level_positions(kind: str, levels: list[str]) -> dict[str, float]:
    """Level to its place on the x-axis: percent removed, or one step each; the dense model first, but not for bands."""
    if kind == "sparsity":
        return {"dense": 0.0} | {level: 100 * float(level) for level in levels}
    return {level: float(i) for i, level in enumerate([*([] if kind == "band" else ["dense"]), *levels])}


def _draw_axes(
    axes: Axes,
    experiment: dict[str, Any],
    table: pd.DataFrame,
    here: pd.DataFrame,
    styles: dict[tuple[str, ...], Any],
    reported: pd.DataFrame,
) -> None:
    kind = here["kind"].iloc[0]
    levels = sorted({*here["level"], *reported["level"]}, key=level_rank)
    positions = level_positions(kind, levels)
    panel = here["panel"].iloc[0]
    _draw_references(axes, experiment, table, panel)
    colours = series_colours(experiment)
    span = max(positions.values()) - min(positions.values()) or 1.0
    step = 0.012 * span
    for number, (label, colour) in enumerate(colours.items()):
        shift, marker = (number - (len(colours) - 1) / 2) * step, MARKERS[number % len(MARKERS)]
        if len(theirs := reported[reported["series"] == label]):
            _draw_reported(axes, theirs["level"].map(positions) + shift + step / 2, theirs, colour, marker)
        for key, curve in here[here["series"] == label].groupby(CURVE, sort=False):
            dense = references(experiment, table, panel, label)
            dense = dense[(dense["control"] == 0) & (dense["model"] == key[0])].assign(level="dense")
            points = pd.concat([dense.head(int("dense" in positions)), curve])
            x = points["level"].map(positions).to_numpy(dtype=float)
            y, low, high = (points[column].to_numpy(dtype=float) for column in _drawn(experiment))
            # Side by side, or the bars of one level hide each other; at the dense model all are one point.
            x = np.where(points["level"] == "dense", x, x + shift)
            axes.vlines(x, low, high, color=colour, linewidth=1.1, alpha=0.75, zorder=2)
            axes.plot(
                x,
                y,
                color=colour,
                linestyle=styles[key][0],
                marker=marker,
                markersize=4,
                linewidth=1.5,
                zorder=3,
            )
    axes.set_xlabel(X_LABELS[kind])
    axes.set_xlim(min(positions.values()) - 0.05 * span, max(positions.values()) + 0.05 * span)
    if kind == "sparsity":
        axes.xaxis.set_major_locator(MultipleLocator(20))
    else:
        shown = [level_label(level).removesuffix(" %") for level in positions]
        axes.set_xticks(list(positions.values()), shown, rotation=45 if kind == "band" else 0)


def _draw_reported(axes: Axes, x: pd.Series, reported: pd.DataFrame, colour: Any, marker: str) -> None:
    """Hollow markers with the uncertainty of the reading; no line, for those tell methods apart."""
    low, high = reported["value"] - reported["uncertainty"], reported["value"] + reported["uncertainty"]
    axes.vlines(x, low, high, color=colour, linewidth=0.9, zorder=4)
    axes.plot(x, reported["value"], linestyle="none", marker=marker, markeredgecolor=colour, **HOLLOW, zorder=4)


def _drawn(experiment: dict[str, Any]) -> tuple[str, str, str]:
    percent = "percent_of_dense", "percent_ci_low", "percent_ci_high"
    return percent if experiment["y"] == "percent_of_dense" else ("value", "ci_low", "ci_high")


def _draw_references(axes: Axes, experiment: dict[str, Any], table: pd.DataFrame, panel: str) -> None:
    for name, (style, _) in REFERENCES.items():
        colours = series_colours(experiment)
        values = {label: list(_reference(name, experiment, table, panel, label)) for label in colours}
        flat = [value for found in values.values() for value in found if np.isfinite(value)]
        together = TOGETHER / (1 if experiment["y"] == "percent_of_dense" else 100)
        if flat and max(flat) - min(flat) <= together:
            axes.axhspan(min(flat), max(flat), color="0.25", alpha=0.10, linewidth=0, zorder=1)
            axes.axhline(np.mean(flat), color="0.25", linestyle=style, linewidth=1.0, zorder=1)
            continue
        for label, colour in colours.items():
            for value in filter(np.isfinite, values[label]):
                axes.axhline(value, color=colour, linestyle=style, linewidth=0.9, zorder=1)


def _reference(name: str, experiment: dict[str, Any], table: pd.DataFrame, panel: str, label: str) -> Iterable[float]:
    """Heights of one kind of line for one series in the units of the y-axis."""
    percent = experiment["y"] == "percent_of_dense"
    rows = references(experiment, table, panel, label)
    for row in rows[rows["control"] == int(name == "control")].itertuples():
        if name == "chance":
            yield row.chance_percent if percent else row.chance
        else:
            yield row.percent_of_dense if percent else row.value


def _label(grid: np.ndarray, panels: list[str], experiment: dict[str, Any], found: pd.DataFrame) -> None:
    """Panel titles over the topmost axes that hold data, the y label left of the leftmost."""
    metrics = ", ".join(dict.fromkeys(metric_label(metric) for metric in found["metric"]))
    text = "Performance (% of dense)" if experiment["y"] == "percent_of_dense" else metrics[0].upper() + metrics[1:]
    for column, panel in enumerate(panels):
        used = [axes for axes in grid[:, column] if axes.axison]
        if used:  # not where all its fine-tunings diverged
            used[0].set_title(panel)
    for row in grid:
        used = [axes for axes in row if axes.axison]
        used[0].set_ylabel(text)
        used[0].tick_params(labelleft=True)
    sns.despine(fig=grid[0, 0].figure)


def _limit(grid: np.ndarray, experiment: dict[str, Any], found: pd.DataFrame, reported: pd.DataFrame) -> None:
    """Show 0 and every point, ours and reported; intervals too, unless they reach far beyond the dense model or 0."""
    top = 100.0 if experiment["y"] == "percent_of_dense" else found["value"].max() or 1.0
    column, *intervals = _drawn(experiment)
    drawn = [*found[column].dropna(), *found[intervals].clip(-0.1 * top, 1.1 * top).to_numpy().ravel()]
    drawn = [value for value in (*drawn, *reported["value"]) if np.isfinite(value)]
    lines = [line.get_ydata()[0] for axes in grid.flat for line in axes.lines if len(line.get_ydata()) == 2]
    values = [0.0, top, *drawn, *(float(y) for y in lines if np.isfinite(y))]
    margin = 0.05 * (max(values) - min(values))
    if experiment["y"] == "value" and set(found["metric"]) == {"perplexity"}:
        # Perplexity has no upper end: badly pruned models are orders of magnitude worse.
        grid[0, 0].set_yscale("log")
        return
    grid[0, 0].set_ylim(min(values) - margin, max(values) + margin)
    grid[0, 0].yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))


def _legend(figure: Figure, plan: dict[str, Any], table: pd.DataFrame, styles: dict[tuple[str, ...], Any]) -> None:
    """One legend right of the axes: series, line styles of methods where several, reference lines, reported values."""
    experiment = plan["experiment"]
    handles, colours = [], series_colours(experiment)
    markers = dict(zip(colours, itertools.cycle(MARKERS), strict=False))
    for title, labels in difficulty_axes(experiment).items():
        handles += [_heading(""), _heading(title)] if handles else [_heading(title)]
        for label in labels:
            style = {"color": colours[label], "marker": markers[label], "markersize": 4, "linewidth": 1.5}
            handles.append(Line2D([], [], label=label, **style))
    named = {label: style for style, label in styles.values() if label}
    handles += [_heading(""), _heading("Method")] if named else []
    handles += [
        Line2D([], [], color="0.25", linestyle=style, linewidth=1.5, label=label) for label, style in named.items()
    ]
    handles += [_heading(""), _heading("Reference")]
    present = {"dense", "chance"} | ({"control"} if table["control"].any() else set())
    for name, (style, label) in REFERENCES.items():
        if name in present:
            handles.append(Line2D([], [], color="0.25", linestyle=style, linewidth=1.0, label=label))
    if plan["reported"]:
        marker = {"marker": "o", "markeredgecolor": "0.25", **HOLLOW}
        handles.append(Line2D([], [], linestyle="none", label="Reported by the paper", **marker))
    if lost := sum(len(seeds.split()) for seeds in table["diverged"]):
        handles += [_heading(""), Line2D([], [], linestyle="none", label=f"Diverged, left out: {lost}")]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, handlelength=2.6, labelspacing=0.45)


def _heading(text: str) -> Line2D:
    words = text.replace(" ", r"\ ")
    return Line2D([], [], linestyle="none", label=rf"$\bf{{{words}}}$" if text else " ")
