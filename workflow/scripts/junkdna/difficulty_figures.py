"""Figures of the difficulty scores: how they agree, and whether an example's own difficulty predicts its loss."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from junkdna.agreement import ALL, SCORES
from junkdna.curves import level_label
from junkdna.figures import MARKERS, THEME, X_LABELS
from junkdna.flips import CURVE, THIRDS

SIGNIFICANT = 0.05
COLUMNS = 4
NOTHING = "Nothing to compare"


def draw_agreement(table: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Kendall's tau of every two scores: rows are pairs, columns experiments and models.

    Args:
        table: of :func:`junkdna.agreement.agreement`.
        titles: experiment to how it is called.
    """
    known = table.dropna(subset=["tau"])
    pairs = list(dict.fromkeys(known[["first", "second"]].itertuples(index=False, name=None)))
    pairs.sort(key=lambda pair: [list(SCORES).index(score) for score in pair])
    places = list(dict.fromkeys(known[["experiment", "model"]].itertuples(index=False, name=None)))
    with sns.axes_style("white"), mpl.rc_context(THEME):
        figure, axes = _figure(max(4.0, 3.2 + 0.62 * len(places)), max(2.0, 2.2 + 0.36 * len(pairs)))
        if not len(known):
            return _empty(figure, axes)
        tau = np.full((len(pairs), len(places)), np.nan)
        for row in known.itertuples():
            at = pairs.index((row.first, row.second)), places.index((row.experiment, row.model))
            tau[at] = row.tau
            weight = "bold" if row.p <= SIGNIFICANT else "normal"
            colour = "white" if abs(row.tau) > 0.75 else "0.15"
            text = f"{row.tau:.2f}\n{row.n_series} series".replace("-", "\N{MINUS SIGN}")
            axes.text(at[1], at[0], text, ha="center", va="center", fontsize=6, fontweight=weight, color=colour)
        image = axes.imshow(tau, cmap="vlag", vmin=-1, vmax=1, aspect="auto")
        models = {model for _, model in places}
        names = [
            ("All experiments" if name == ALL else titles.get(name, name)) + (f"\n{model}" if len(models) > 1 else "")
            for name, model in places
        ]
        axes.set_xticks(range(len(places)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=7)
        axes.set_yticks(range(len(pairs)), [f"{SCORES[a]} \N{MULTIPLICATION SIGN} {SCORES[b]}" for a, b in pairs])
        axes.set_xticks(np.arange(len(places) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(pairs) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="both", length=0)
        sns.despine(ax=axes, left=True, bottom=True)
        figure.colorbar(image, ax=axes, label="Kendall's tau (bold: p at most 0.05)", shrink=0.7)
        figure.suptitle("Do the difficulty scores order the series alike?", fontweight="bold", fontsize=10.5)
    return figure


def draw_flips(thirds: pd.DataFrame, flips: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Share of right answers lost at each level by third of difficulty: one panel per curve of all series together.

    Args:
        thirds: of :func:`junkdna.flips.by_third`.
        flips: of :func:`junkdna.flips.predict`.
        labels: method to how it is called.
    """
    keys = [*CURVE, "kind"]
    panels = list(flips.loc[flips["task"] == ALL, keys].itertuples(index=False, name=None))
    rows = max(1, -(-len(panels) // COLUMNS))
    with sns.axes_style("whitegrid"), mpl.rc_context(THEME):
        columns = min(COLUMNS, max(1, len(panels)))
        figure = Figure(figsize=(max(4.5, 2.5 * columns), 2.35 * rows + 0.9), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        if not panels:
            return _empty(figure, grid[0, 0])
        varied = [i for i in (0, 2) if len({panel[i] for panel in panels}) > 1]
        for axes, panel in zip(grid.flat, panels, strict=False):
            here, odds = (part[(part[keys] == pd.Series(panel, keys)).all(axis=1)] for part in (thirds, flips))
            _draw_thirds(axes, here, panel[3])
            odds = odds[odds["task"] == ALL].iloc[0]
            lines = [labels.get(panel[1], panel[1]), ", ".join(panel[i] for i in varied)]
            lines.append("odds ratio " + ("-: too few lost" if np.isnan(odds.odds_ratio) else _interval(odds)))
            axes.set_title("\n".join(filter(None, lines)), fontsize=7)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("Right answers lost (%)")
        handles, names = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
        sns.despine(fig=figure)
        figure.suptitle("Are examples that are hard elsewhere lost first?", fontweight="bold", fontsize=10.5)
    return figure


def _interval(row: pd.Series) -> str:
    return f"{row.odds_ratio:.2g} [{row.ci_low:.2g}, {row.ci_high:.2g}]"


def _draw_thirds(axes: Axes, here: pd.DataFrame, kind: str) -> None:
    levels = list(dict.fromkeys(here["level"]))
    even = kind != "sparsity"
    places = {level: float(i) if even else 100 * float(level) for i, level in enumerate(levels)}
    colours = mpl.colormaps["viridis_r"](np.linspace(0.18, 0.97, len(THIRDS)))
    for number, third in enumerate(THIRDS):
        rows = here[here["third"] == third]
        x, y = rows["level"].map(places).to_numpy(dtype=float), 100 * rows["lost"].to_numpy()
        style = {"color": colours[number], "marker": MARKERS[number], "markersize": 3.5, "linewidth": 1.3}
        axes.vlines(x, 100 * rows["ci_low"], 100 * rows["ci_high"], color=colours[number], linewidth=1.0, alpha=0.75)
        axes.plot(x, y, label=third[0].upper() + third[1:], **style)
    axes.set_xlabel(X_LABELS[kind], fontsize=7)
    shown = [level_label(level).removesuffix(" %").removesuffix(" bit") for level in levels]
    axes.set_xticks(list(places.values()), shown, rotation=45 if kind == "band" else 0)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _empty(figure: Figure, axes: Axes) -> Figure:
    axes.set_axis_off()
    axes.text(0.5, 0.5, NOTHING, ha="center", va="center")
    return figure
