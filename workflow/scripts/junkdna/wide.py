"""The readable table of an experiment, one column per series, as Markdown and as LaTeX (booktabs)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from junkdna import markdown
from junkdna.curves import curves, level_label, metric_label, references
from junkdna.files import atomic_path

# Rows that are the same for every method and level of a panel.
DENSE_ROW, CONTROL_ROW, CHANCE_ROW = "dense", "untrained", "chance"
DIVERGED = "diverged"
INTERVAL = "brackets: 95 % interval, t over seeds where fine-tuned with several seeds, else bootstrap over examples"
LATEX = {"\\": r"\textbackslash{}", "→": r"$\rightarrow$", "\u2013": "--"}
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\^{}"}


def wide(experiment: dict[str, Any], table: pd.DataFrame, methods: dict[str, Any]) -> pd.DataFrame:
    """A table of texts: panel, method, level, then one column per series, each cell `value [low, high]`.

    Every panel starts with the metric of the dense model, of the untrained control and of chance. The rows
    below are percent of dense, or the metric where the experiment's ``y`` is `value`. ``-`` where nothing was
    run, `diverged` where no fine-tuning gave a model.
    """
    found = curves(experiment, table, diverged=True)
    columns, digits = ("value", "ci_low", "ci_high"), 3
    if experiment["y"] == "percent_of_dense":
        columns, digits = ("percent_of_dense", "percent_ci_low", "percent_ci_high"), 1
    labels = [series["label"] for series in experiment["series"]]
    varied = [key for key in ("model", "transfer") if found.groupby(["panel", "series"])[key].nunique().max() > 1]
    rows = []
    for panel in dict.fromkeys(found["panel"]):
        rows += _reference_rows(experiment, table, panel, labels)
        here = found[found["panel"] == panel]
        series_methods = {key for series in experiment["series"] for key in series["where"]}
        keys = [key for key in ("model", "method", "transfer") if key not in series_methods] + ["level"]
        cells_of: dict[tuple[str, ...], dict[str, str]] = {}
        for row in here.itertuples():
            cells_of.setdefault(tuple(getattr(row, key) for key in keys), {})[row.series] = _cell(row, columns, digits)
        for values, cells in cells_of.items():
            named = dict(zip(keys, values, strict=True))
            method = methods.get(named.get("method"), {}).get("label", "")
            name = ", ".join([method, *(named[key] for key in varied if key in named)])
            rows.append([panel, name, level_label(named["level"]), *(cells.get(label, "-") for label in labels)])
    return pd.DataFrame(rows, columns=["panel", "method", "level", *labels])


def _reference_rows(experiment: dict[str, Any], table: pd.DataFrame, panel: str, labels: list[str]) -> list[list[str]]:
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for label in labels:
        for row in references(experiment, table, panel, label).itertuples():
            name = CONTROL_ROW if row.control else DENSE_ROW
            key = (f"{name}, {row.model}", metric_label(row.metric))
            rows.setdefault(key, {})[label] = _cell(row, ("value", "ci_low", "ci_high"), 3)
            if not row.control and not pd.isna(row.chance):
                rows.setdefault((CHANCE_ROW, key[1]), {})[label] = f"{row.chance:.3f}"
    order = [key for name in (DENSE_ROW, CONTROL_ROW, CHANCE_ROW) for key in rows if key[0].split(",")[0] == name]
    return [[panel, *key, *(rows[key].get(label, "-") for label in labels)] for key in order]


def _cell(row: Any, columns: tuple[str, str, str], digits: int) -> str:
    value, low, high = (getattr(row, column) for column in columns)
    if pd.isna(value):
        return "not defined" if row.n_seeds else DIVERGED
    mark = f" ({row.n_seeds:.0f} seeds)" if row.diverged else ""
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]{mark}"


def left_out(table: pd.DataFrame) -> str:
    """What of the table counts in nothing because a fine-tuning diverged, as a sentence; empty if nothing."""
    state = ["model", "method", "level", "transfer", "task", "fraction"]
    rows = table[table["diverged"] != ""].drop_duplicates([*state, "diverged"])
    found = [f"{', '.join(row[key] for key in state)}: {row['diverged']}" for _, row in rows.iterrows()]
    said = f"Left out, as the fine-tuning or that of the dense model {DIVERGED} (seeds): {'; '.join(found)}."
    return said if found else ""


def caption(experiment: dict[str, Any]) -> str:
    """What the cells hold, in one sentence each."""
    cells = "the metric" if experiment["y"] == "value" else "percent of the dense model's metric"
    return (
        f"{experiment['title']} ({experiment['id']}). {experiment['question']} "
        f"Columns: {experiment['series_title']}. Cells: {cells}; {INTERVAL}. "
        "Rows `dense`, `untrained` and `chance` are the metric itself, named under level."
    )


def write_markdown(path: Path, experiment: dict[str, Any], table: pd.DataFrame, note: str = "") -> None:
    """Write the wide table as a pipe table under its caption, with a note below it."""
    lines = [caption(experiment), "", markdown.table(list(table.columns), table.to_numpy().tolist(), text=3)]
    lines += ["", note] if note else []
    with atomic_path(path) as aside:
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_latex(path: Path, experiment: dict[str, Any], table: pd.DataFrame, note: str = "") -> None:
    """Write the wide table for ``\\usepackage{booktabs}``, a rule between panels, the note in its caption."""
    said = f"{caption(experiment)} {note}".strip()
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_escape(said.replace('`', ''))}}}"]
    lines += [
        rf"\label{{tab:{experiment['name']}}}",
        rf"\begin{{tabular}}{{lll{'r' * (table.shape[1] - 3)}}}",
    ]
    lines += [r"\toprule", _latex_row(list(table.columns)), r"\midrule"]
    previous = None
    for row in table.to_numpy().tolist():
        if previous not in (None, row[0]):
            lines.append(r"\midrule")
        lines.append(_latex_row([row[0] if row[0] != previous else "", *row[1:]]))
        previous = row[0]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    with atomic_path(path) as aside:
        aside.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _latex_row(cells: list[str]) -> str:
    return " & ".join(map(_escape, cells)) + r" \\"


def _escape(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
