"""The browsable report: one HTML page that needs nothing but itself.

What it shows is found by name: `{experiment}.csv` is the table of an experiment and the source of its figure,
`{experiment}_{kind}.csv` a further table of it, every other table stands on its own. Text from the data reaches the
page through Jinja's escaping or as JSON without `<`, and the page's policy lets it load nothing.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from junkdna.charts import charts
from junkdna.curves import level_label, level_rank, metric_label
from junkdna.files import DataError, atomic_path, read_json
from junkdna.levels import LevelError
from junkdna.tidy import NAMES, read_csv, read_plan

# Kind of a table to its title and what a row is; others are titled by their name.
TITLES = {
    "contrasts": ("Contrasts", "Relative drop of the harder series minus that of the easier one, at every level."),
    "curves": ("Curves", "One row per curve: where it leaves the dense model, and how much is lost over all levels."),
    "against_dense": ("Against the dense model", "Answers that changed, example by example."),
    "trends": ("Trends", "Does the drop grow with difficulty, at each level?"),
    "claims": ("The claims in numbers", ""),
    "claims_sets": ("The evidence in numbers", ""),
    "difficulty": ("Difficulty scores", "How hard each series is, by several scores; larger is harder."),
    "pretraining": ("Where pre-training matters", "Every dense model beside its untrained twin."),
    "difficulty_agreement": ("Agreement of the scores", "Rank agreement (Kendall's tau) of every two scores."),
    "flip_by_difficulty": ("Lost answers and difficulty", "Does an example's own difficulty predict its loss?"),
    "flip_by_difficulty_thirds": ("Lost answers by thirds of difficulty", ""),
    "against_reported": ("Beside the paper's numbers", "Ours minus the value read from the paper's figures."),
}
HEADINGS = {
    "ci_low": "95 % interval",
    "percent_of_dense": "% of dense",
    "percent_ci_low": "Interval, % of dense",
    "chance_percent": "Chance, % of dense",
    "n_examples": "Examples",
    "n_seeds": "Seeds",
    "fraction": "Data",
    "nearest_30": "Nearest to 30 % drop",
}
# A cell of the grid, as a row of a table names it.
POINT = ("model", "method", "level", "transfer", "task", "fraction")
# Left out of the page's tables: what another column says, for people.
GENERAL_REDUNDANT = {"sparsity", "kind", "relative_drop"}
REDUNDANT = {"experiment", *GENERAL_REDUNDANT}
PROVENANCE = ("git_commit", "device", "versions", "threads", "seconds", "peak_memory_mb")
# Beginnings of the names of general tables that have a place on the page; the others follow in their order.
CLAIMS, DIFFICULTY = "claims", ("difficulty", "pretraining", "flip_by_difficulty")
UNDEFINED = "\u2013"
VERDICTS = {"supported": "yes", "not supported": "no", "undecided": "open"}


def write_page(
    output: Path,
    template: Path,
    plans: Iterable[Path],
    tables: Iterable[Path],
    texts: dict[str, Any],
    claims: Path | None = None,
    images: Iterable[Path] = (),
) -> None:
    """Write the report.

    Args:
        template: the page; what it includes lies beside it.
        plans: plans of the experiments, in the order of the page.
        tables: every table to show.
        texts: {"captions": {experiment: text}, "claims": {experiment: [claim]}, "options": [option of Snakemake]}.
        claims: the verdicts as Markdown.
        images: figures that stand on their own, as SVG or PNG.

    Raises:
        DataError: a file is missing or not what it should be; the message names it.
    """
    files = {path.stem: path for path in tables}
    found = {plan["experiment"]["name"]: plan for plan in map(read_plan, plans)}
    cells = dict.fromkeys(cell["path"] for plan in found.values() for cell in plan["cells"])
    numbers = {path: number for number, path in enumerate(cells)}
    experiments = [_experiment(plan, files, numbers, texts, list(found)) for plan in found.values()]
    general = {name: _table(files[name], name, {}) for name in files if not _owner(name, found)}
    provenance = _provenance(cells, texts["options"])
    page = _template(template).render(
        experiments=experiments,
        judged=[table for name, table in general.items() if name.startswith(CLAIMS)],
        difficulty=[table for name, table in general.items() if name.startswith(DIFFICULTY)],
        others=[table for name, table in general.items() if not name.startswith((CLAIMS, *DIFFICULTY))],
        claims=_markdown(claims),
        verdicts=_verdicts(files.get("claims")),
        images=[{"title": _title(path.stem), "source": _embedded(path)} for path in images],
        provenance=provenance,
        hours=sum(row[PROVENANCE.index("seconds") + 1] for row in provenance["cells"]) / 3600,
        data={
            "figures": {experiment["name"]: experiment["figure"]["panels"] for experiment in experiments},
            "points": {experiment["name"]: experiment["points"] for experiment in experiments},
            "provenance": provenance,
        },
        plotly=Markup(get_plotlyjs()),
    )
    with atomic_path(output) as aside:
        aside.write_text(page, encoding="utf-8")


def _template(path: Path) -> jinja2.Template:
    loader = jinja2.FileSystemLoader(path.parent)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(
        path.name
    )


def _owner(name: str, experiments: Iterable[str]) -> str | None:
    """The experiment of a table, by the longest name that fits."""
    fits = [own for own in experiments if name == own or name.startswith(f"{own}_")]
    return max(fits, key=len, default=None)


def _experiment(
    plan: dict[str, Any], files: dict[str, Path], numbers: dict[str, int], texts: dict[str, Any], names: list[str]
) -> dict[str, Any]:
    experiment = plan["experiment"]
    name = experiment["name"]
    if name not in files:
        raise DataError(f"{name}: its table {name}.csv is not among the tables; there are {', '.join(sorted(files))}")
    labels = {method: entry["label"] for method, entry in plan["methods"].items()}
    table = read_csv(files[name])
    owned = [key for key in files if key != name and _owner(key, names) == name]
    return {
        **{key: experiment[key] for key in ("name", "id", "title", "question")},
        "caption": texts["captions"].get(name, ""),
        "claims": texts["claims"].get(name, []),
        "figure": charts(plan, table),
        "points": _points(plan, table, labels, numbers),
        "table": _table(files[name], name, labels),
        "further": [_table(files[key], key.removeprefix(f"{name}_"), labels) for key in owned],
    }


def _points(
    plan: dict[str, Any], table: pd.DataFrame, labels: dict[str, str], numbers: dict[str, int]
) -> list[dict[str, Any]]:
    """For every row of the table what a reader sees of it, and the numbers of its cells: one per seed."""
    cells: dict[tuple[str, ...], list[int]] = {}
    for cell in plan["cells"]:
        cells.setdefault(tuple(cell[key] for key in POINT), []).append(numbers[cell["path"]])
    return [
        {"lines": _lines(row, labels), "cells": cells[tuple(row[key] for key in POINT)]}
        for row in table.to_dict("records")
    ]


def _lines(row: dict[str, Any], labels: dict[str, str]) -> list[str]:
    state = labels.get(row["method"], row["method"])
    lines = [row["model"], state if row["method"] == row["level"] else f"{state}, {level_label(row['level'])}"]
    if row["transfer"] != "none":
        lines.append(f"{row['transfer']} transfer, {100 * float(row['fraction']):g} % of the data")
    lines.append(row["task"] if row["variant"] == "all" else f"{row['task']}, {row['variant']}")
    if row["diverged"]:
        lines.append(f"left out, as the fine-tuning or the dense model's diverged: seed {row['diverged']}")
    if not row["n_seeds"]:
        return lines
    lines.append(f"{metric_label(row['metric'])} {row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]")
    if pd.notna(row["percent_of_dense"]):
        interval = f"[{row['percent_ci_low']:.1f}, {row['percent_ci_high']:.1f}]"
        lines.append(f"{row['percent_of_dense']:.1f} % of dense {interval}")
    if pd.notna(row["chance_corrected"]):
        lines.append(f"{100 * row['chance_corrected']:.1f} % corrected for chance")
    seeds = f", {row['n_seeds']:.0f} seeds" if row["n_seeds"] > 1 else ""
    return [*lines, f"n = {row['n_examples']:.0f} examples{seeds}"]


def _table(path: Path, name: str, labels: dict[str, str]) -> dict[str, Any]:
    """A CSV for people: columns that say nothing left out, intervals in one column, levels and methods by their labels.

    Returns:
        {"name", "title", "note", "file", "constant": [(heading, text)], "columns": [{"heading", "numeric"}],
        "rows": [[(text, what to sort by)]]}.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a table ({error}); delete it so that it is made again") from None
    title, note = TITLES.get(name, (_title(name), ""))
    names = [column for column in frame.columns if column not in (REDUNDANT if labels else GENERAL_REDUNDANT)]
    table = {"name": name, "title": title, "note": note, "file": str(path)}
    constant, columns, texts = [], [], []
    for column in sorted(names, key=lambda name: _place(name, names)):
        if column.endswith("_high") and column.removesuffix("_high") + "_low" in frame:
            continue
        cells = _cells(frame, column, labels)
        if len(frame) > 1 and len({text for text, _ in cells}) == 1:
            constant += [(_heading(column), cells[0][0])] * bool(cells[0][0])
            continue
        columns.append({"heading": _heading(column), "numeric": all(not isinstance(key, str) for _, key in cells)})
        texts.append(cells)
    return table | {"constant": constant, "columns": columns, "rows": list(zip(*texts, strict=True))}


def _place(column: str, columns: list[str]) -> int:
    """Where a column stands: as in the file, but the interval of percent of dense behind it."""
    before = "percent_of_dense" if column.startswith("percent_ci_") else column
    return columns.index(before if before in columns else column)


def _heading(column: str) -> str:
    if column in HEADINGS:
        return HEADINGS[column]
    words = column.replace("_ci_low", ", 95 % interval").replace("_low", ", interval").replace("_", " ")
    return words[0].upper() + words[1:]


def _cells(frame: pd.DataFrame, column: str, labels: dict[str, str]) -> list[tuple[str, Any]]:
    """Text and sort key of every cell of a column; an empty one sorts last, with the key None."""
    texts = frame[column]
    if column == "level":
        return [(_level(text), _rank(text)) for text in texts]
    numbers = pd.to_numeric(texts.where(texts != ""), errors="coerce")
    if column in NAMES or numbers.isna().sum() > (texts == "").sum():
        return [(labels.get(text, text) if column == "method" else text, text) for text in texts]
    if column.endswith("_low") and column.removesuffix("_low") + "_high" in frame:
        high = pd.to_numeric(frame[column.removesuffix("_low") + "_high"], errors="coerce")
        pairs = zip(numbers, high, strict=True)
        return [(f"[{_number(a, column)}, {_number(b, column)}]" if a == a else UNDEFINED, _key(a)) for a, b in pairs]
    whole = not texts.str.contains(".", regex=False).any()
    return [(_number(value, column, whole), _key(value)) for value in numbers]


def _number(value: float, column: str, whole: bool = False) -> str:
    if np.isnan(value):
        return UNDEFINED
    if whole:
        return f"{value:.0f}"
    if "p" in column.split("_"):
        return f"{value:.3f}" if value >= 0.001 else "<0.001"
    return f"{value:.1f}" if "percent" in column else f"{value:.3f}"


def _key(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _level(text: str) -> str:
    try:
        return level_label(text)
    except LevelError:
        return text


def _rank(text: str) -> Any:
    """Levels sort by kind and then mildest first, as in figures; anything else as it is written."""
    try:
        kind, low, high, bits = level_rank(text)
    except LevelError:
        return text
    return 1000 * kind + 100 * float(high) + float(low) + bits


def _provenance(cells: Iterable[str], options: list[str]) -> dict[str, Any]:
    """What provenance.json says of every cell, each distinct commit, device and set of versions once.

    Returns:
        {"commits", "devices", "versions": distinct values, "options": text after a target, "cells": [[folder, commit,
        device, versions, threads, seconds, MB]]}, where commit, device and versions are positions.
    """
    distinct: dict[str, list[Any]] = {"git_commit": [], "device": [], "versions": []}
    rows = []
    for path in cells:
        entry = read_json(Path(path) / "provenance.json")
        missing = [key for key in PROVENANCE if key not in entry]
        if missing:
            raise DataError(f"{path}/provenance.json: no {', '.join(missing)}; delete the folder so that it is redone")
        row: list[Any] = [shlex.quote(path)]
        for key in PROVENANCE:
            value = entry[key]
            if key in distinct:
                if value not in distinct[key]:
                    distinct[key].append(value)
                value = distinct[key].index(value)
            row.append(value)
        rows.append(row)
    return {
        "commits": distinct["git_commit"],
        "devices": distinct["device"],
        "versions": distinct["versions"],
        "options": shlex.join(options),
        "cells": rows,
    }


def _verdicts(path: Path | None) -> list[dict[str, str]]:
    """Claim, verdict and its class on the page, one for every row of the table of claims that has both."""
    if path is None:
        return []
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if not {"claim", "verdict"} <= set(frame.columns):
        raise DataError(f"{path}: columns claim and verdict are expected; there are {', '.join(frame.columns)}")
    return [{**row, "tone": VERDICTS.get(row["verdict"], "open")} for row in frame.to_dict("records")]


def _markdown(path: Path | None) -> Markup | None:
    """Markdown as HTML, with HTML in it escaped, without its title, its headings below those of the page."""
    if path is None:
        return None
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(path.read_text(encoding="utf-8"))
    if tokens and tokens[0].tag == "h1":
        tokens = tokens[3:]
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _title(name: str) -> str:
    return TITLES[name][0] if name in TITLES else name.replace("_", " ").capitalize()


def _embedded(path: Path) -> str:
    """As a data URI, where a drawing can run nothing."""
    kind = {".svg": "svg+xml", ".png": "png"}[path.suffix]
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
