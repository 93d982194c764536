"""The page of a run, as Markdown: what was run, what came out of it, and what of that agrees with the paper.

Every sentence is made of tables and of the record (:mod:`junkdna.record`) by a rule that the page states, for any
configuration; :mod:`junkdna.page_run` has the parts on the run itself.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from junkdna import page_run
from junkdna.curves import difficulty_axes, level_label, metric_label
from junkdna.files import DataError, atomic_path
from junkdna.markdown import counted, joined, points, table
from junkdna.tidy import read_csv, read_plan

HEAD = """# Scale `{name}`: what came out

Written by the pipeline from the tables and the record of one run (`snakemake --cores 2 {options}page`); no sentence is
written by hand. Brackets are 95 % intervals. A drop is the share of the dense model's metric that compression takes.

"""
PRETRAINING = """
## Does pre-training matter?

Each dense model beside its untrained twin: the same architecture with fresh random weights, trained or asked alike.
Pre-training matters where the two intervals lie apart and that of the difference is above 0; the difference is positive
where the pre-trained model is better. Where pre-training does not matter, taking pre-trained weights away can show
nothing, and the claims leave the task out.

{table}

{sentence}
"""
EXPERIMENTS = """
## The experiments

{trends}{reported}
{overview}
"""
TRENDS = """Sentences on drops take each curve at the level where its series have lost about 30 % on average, where easy
and hard can be told apart best. A rise is *told from 0* at a level where its one-sided test, corrected over the levels
and methods of the panel (Holm), has p < 0.05.
"""
REPORTED = """
Hollow markers are values read from the paper's figures, of much larger models. A point *agrees* with the paper where
the interval of the difference holds 0; that interval is ours, widened by the uncertainty of the reading, for the paper
reports no spread. The *order* of two series agrees at a level where the paper has them apart by more than that
uncertainty, and ours differ in the same direction; without any likeness, half of them would.
"""
ALPHA = 0.05
# Of so many series without an order every two are compared; of more, each curve is described.
PAIRED = 3


def write_page(
    output: Path,
    name: str,
    plans: Iterable[Path],
    tables: Iterable[Path],
    claims: Path,
    images: Iterable[Path],
    record: Path,
    texts: dict[str, Any],
) -> None:
    """Write the page, and its images into a folder beside it that is named like it.

    Args:
        plans: of the experiments, in the order of the page.
        tables: CSV tables, and the readable ones of the experiments as Markdown.
        claims: the verdicts as Markdown.
        images: a figure for each experiment.
        texts: {"captions": {experiment: text}, "options": [option of Snakemake]}.

    Raises:
        DataError: a file is missing or not what it should be.
    """
    files = {path.name: path for path in tables}
    figures = {path.stem: path for path in images}
    found = [read_plan(path) for path in plans]
    _check(found, files)
    run = page_run.read_run(record)
    methods = {key: entry["label"] for plan in found for key, entry in plan["methods"].items()}
    options = "".join(f"{option} " for option in texts["options"])
    compared = read_csv(files["pretraining.csv"])
    reported = read_csv(files["against_reported.csv"]) if "against_reported.csv" in files else None
    parts = [
        HEAD.format(name=name, options=f"{options}-- " if options else ""),
        page_run.describe(run, found),
        _pretraining(compared),
        EXPERIMENTS.format(
            trends=TRENDS,
            reported="" if reported is None else REPORTED,
            overview=_overview(found, files, reported),
        ),
    ]
    for plan in found:
        own = plan["experiment"]["name"]
        image = f"{name}/{figures[own].name}" if own in figures else None
        parts.append(_experiment(plan, files, texts["captions"].get(own, ""), image, methods, compared, reported))
    parts += ["\n", _lowered(claims), page_run.provenance(run)]
    with atomic_path(output.parent / name) as aside:
        aside.mkdir()
        for own in (plan["experiment"]["name"] for plan in found):
            if own in figures:
                shutil.copyfile(figures[own], aside / figures[own].name)
    with atomic_path(output) as aside:
        aside.write_text("".join(parts), encoding="utf-8")


def _check(plans: list[dict[str, Any]], files: dict[str, Path]) -> None:
    names = [plan["experiment"]["name"] for plan in plans]
    wanted = ["pretraining.csv", *(f"{name}.md" for name in names)]
    wanted += [f"{name}_{kind}.csv" for name in names for kind in ("trends", "contrasts", "curves")]
    missing = [file for file in wanted if file not in files]
    if missing:
        raise DataError(f"{missing[0]}: not among the tables; there are {', '.join(sorted(files))}")


def _overview(plans: list[dict[str, Any]], files: dict[str, Path], reported: pd.DataFrame | None) -> str:
    """A row per experiment: where the drop's rise is told from 0, and where values and order agree with the paper."""
    rows = []
    for experiment in (plan["experiment"] for plan in plans):
        cells = ["-", "-", "-"]
        if experiment["ordered"]:
            trends = read_csv(files[f"{experiment['name']}_trends.csv"])
            cells[0] = f"{int((trends['p_holm'] < ALPHA).sum())} of {len(trends)}"
        if reported is not None and len(own := reported[reported["experiment"] == experiment["name"]]):
            agree = (own["difference_low"] <= 0) & (own["difference_high"] >= 0)
            orders = [found[2:] for _, here in own.groupby("panel") for found in _orders(here, experiment)]
            apart, same = (sum(map(len, found)) for found in zip(*orders, strict=True))
            cells[1:] = [f"{int(agree.sum())} of {len(own)}", f"{same} of {apart}"]
        rows.append([f"{experiment['id']} {experiment['title']}", *cells])
    columns = ["experiment", "rises told from 0", "points that agree with the paper", "points in the paper's order"]
    shown = len(columns) if reported is not None else 2
    return table(columns[:shown], [row[:shown] for row in rows])


def _pretraining(compared: pd.DataFrame) -> str:
    if compared.empty:
        return "\n## Does pre-training matter?\n\nNo untrained twin was run, so this run cannot tell.\n"
    rows, matters = [], compared["matters"] == 1
    for row in compared.to_dict("records"):
        values = [_value(row, "value", "ci"), _value(row, "twin_value", "twin_ci")]
        difference = _value(row, "difference", "difference_ci")
        rows.append([row["model"], _asked(row), metric_label(row["metric"]), *values, difference])
        rows[-1] += [str(int(row["n_seeds"])), "yes" if row["matters"] == 1 else "no"]
    columns = ["model", "task", "metric", "pre-trained", "untrained", "difference", "seeds", "matters"]
    said = f"Pre-training matters in {int(matters.sum())} of {len(compared)} comparisons."
    lost = [f"{_asked(row)}, {row['model']}" for row in compared[~matters].to_dict("records")]
    said += f" It does not, or that cannot be told: {'; '.join(lost)}." if lost else ""
    return PRETRAINING.format(table=table(columns, rows, text=3), sentence=said)


def _silent(experiment: dict[str, Any], compared: pd.DataFrame) -> str:
    """Which of an experiment's tasks say nothing about pre-trained weights, as a sentence; empty if none."""
    here = compared[compared["model"].isin(experiment["models"]) & compared["task"].isin(experiment["tasks"])]
    names = list(dict.fromkeys(_task(row) for row in here[here["matters"] == 0].to_dict("records")))
    some = f"Pre-training does not matter, or that cannot be told, for {joined(names)}: what pruning does there says "
    return f"**{some}nothing about pre-trained weights.**" if names else ""


def _task(row: dict[str, Any]) -> str:
    return row["task"] if row["variant"] == "all" else f"{row['task']}/{row['variant']}"


def _asked(row: dict[str, Any]) -> str:
    """A task with its variant and share of the data, where there are several."""
    parts = [_task(row)]
    parts += [f"{100 * float(row['fraction']):g} % of the data"] if row["transfer"] != "none" else []
    return ", ".join(parts)


def _value(row: dict[str, Any], name: str, interval: str) -> str:
    if pd.isna(row[name]):
        return "not defined"
    digits = 1 if abs(row[name]) >= 10 else 3
    return f"{row[name]:.{digits}f} [{row[f'{interval}_low']:.{digits}f}, {row[f'{interval}_high']:.{digits}f}]"


def _experiment(
    plan: dict[str, Any],
    files: dict[str, Path],
    caption: str,
    image: str | None,
    methods: dict[str, str],
    compared: pd.DataFrame,
    reported: pd.DataFrame | None,
) -> str:
    experiment = plan["experiment"]
    name = experiment["name"]
    lines = [f"\n### {experiment['id']}: {experiment['title']}\n", f"*{experiment['question']}*\n"]
    lines += [f"![{experiment['title']}]({image})\n"] if image else []
    lines += [f"{caption}\n"] if caption else []
    lines += [f"{silent}\n"] if (silent := _silent(experiment, compared)) else []
    contrasts = read_csv(files[f"{name}_contrasts.csv"])
    if experiment["ordered"]:
        lines += _bullets(trend_sentences(read_csv(files[f"{name}_trends.csv"]), methods))
    elif len(experiment["series"]) <= PAIRED:
        lines += [*_bullets(pair_sentences(contrasts)), pair_table(contrasts, methods), ""]
    else:
        lines += _bullets(curve_sentences(read_csv(files[f"{name}_curves.csv"])))
    if reported is not None and (reported["experiment"] == name).any():
        own = reported[reported["experiment"] == name]
        lines += ["Beside the paper's values:\n", *_bullets(reported_sentences(own, experiment))]
    head, _, body = files[f"{name}.md"].read_text(encoding="utf-8").partition("\n\n")
    cells = head[head.find("Columns:") :]
    lines.append(f"<details><summary>Table</summary>\n\n{cells}\n\n{body}\n</details>\n")
    return "\n".join(lines)


def _bullets(sentences: Iterable[str]) -> list[str]:
    return [*(f"- {one}" for one in sentences), ""]


def _state(row: dict[str, Any], methods: dict[str, str], varied: list[str]) -> str:
    """Panel and method of a curve, and what else tells the curves of a table apart."""
    names = [methods.get(row["method"], row["method"])] if " | " not in row["method"] else []
    names += [row[key] for key in varied]
    return ", ".join([row["panel"], *dict.fromkeys(name for name in names if name != row["panel"])])


def _varied(frame: pd.DataFrame) -> list[str]:
    return [
        key for key in ("axis", "model", "transfer") if key in frame and frame.groupby("panel")[key].nunique().max() > 1
    ]


def trend_sentences(trends: pd.DataFrame, methods: dict[str, str]) -> Iterable[str]:
    """For each curve of a table of trends, the rise at the level nearest to a mean drop of 30 %, and where it is told
    from 0."""
    keys, varied = ["panel", "axis", "model", "method", "transfer"], _varied(trends)
    for _, group in trends.groupby(keys, sort=False):
        defined = group[group["rise"].notna() & group["mean_drop"].notna()]
        state = _state(group.iloc[0].to_dict(), methods, varied)
        if defined.empty:
            yield f"{state}: no drop is defined."
            continue
        row = defined.loc[(defined["mean_drop"] - 0.30).abs().round(9).idxmin()].to_dict()
        told = [level_label(level) for level in group.loc[group["p_holm"] < ALPHA, "level"]]
        rise, corrected = _rise(row, "rise"), _rise(row, "rise_corrected")
        yield (
            f"{state}: at {level_label(row['level'])} the drop's rise from {row['easiest']} to {row['hardest']} is "
            f"{rise} points (corrected for chance {corrected}; mean drop {100 * row['mean_drop']:.0f} %). "
            f"Told from 0 at {counted(told, len(group), 'level')}."
        )


def _rise(row: dict[str, Any], name: str) -> str:
    return points(row[name], row[f"{name}_ci_low"], row[f"{name}_ci_high"])


def pair_sentences(contrasts: pd.DataFrame) -> Iterable[str]:
    """For each two series, in how many curves their drops differ, at the level nearest to a mean drop of 30 %."""
    chosen = contrasts[(contrasts["nearest_30"] == 1) & contrasts["difference"].notna()]
    for (easy, hard), rows in chosen.groupby(["easy", "hard"], sort=False):
        more, less = int((rows["ci_low"] > 0).sum()), int((rows["ci_high"] < 0).sum())
        yield (
            f"*{hard}* loses less than *{easy}* in {less} of {len(rows)} curves, more in {more}; "
            f"in {len(rows) - more - less} the two cannot be told apart."
        )


def pair_table(contrasts: pd.DataFrame, methods: dict[str, str]) -> str:
    """The differences behind these sentences: a row per curve, a column per pair of series."""
    chosen, varied = contrasts[contrasts["nearest_30"] == 1], [k for k in _varied(contrasts) if k != "transfer"]
    pairs = list(dict.fromkeys(zip(chosen["easy"], chosen["hard"], strict=True)))
    rows: dict[str, dict[tuple[str, str], str]] = {}
    for row in chosen.to_dict("records"):
        found = f"{points(row['difference'], row['ci_low'], row['ci_high'])} at {level_label(row['level'])}"
        rows.setdefault(_state(row, methods, varied), {})[row["easy"], row["hard"]] = found
    columns = ["drop, in points", *(f"{hard} less {easy}" for easy, hard in pairs)]
    return table(columns, [[name, *(cells.get(pair, "-") for pair in pairs)] for name, cells in rows.items()])


def curve_sentences(curves: pd.DataFrame) -> Iterable[str]:
    """For each curve, where it falls below 95 % of the dense model, and what it loses on average."""
    for row in curves.to_dict("records"):
        where = "stays above 95 % of the dense model at all levels"
        if row["critical_reached"] > 0 and not pd.isna(row["critical"]):
            where = f"falls below 95 % of the dense model between {_between(row['between'])}"
        area = points(row["area"], row["area_ci_low"], row["area_ci_high"])
        yield f"{row['panel']}, {row['series']} ({row['kind']}): {where}; mean drop over the levels {area} points."


def _between(levels: str) -> str:
    return " and ".join("dense" if level == "dense" else level_label(level) for level in levels.split(" | "))


def reported_sentences(compared: pd.DataFrame, experiment: dict[str, Any]) -> Iterable[str]:
    """For each panel and series how many points agree with the paper, and for each panel the order of the series."""
    for panel, here in compared.groupby("panel", sort=False):
        for series, rows in here.groupby("series", sort=False):
            above, below = rows["difference_low"] > 0, rows["difference_high"] < 0
            said = f"{panel}, {series}: ours agrees at {counted(_levels(rows[~above & ~below]), len(rows), 'level')}"
            for word, off in (("above", rows[above]), ("below", rows[below])):
                if len(off):
                    most = off["difference"].abs().max()
                    said += f"; it is {word} at {joined(_levels(off))}, by up to {most:.0f} points"
            yield said + "."
        for easy, hard, apart, same in _orders(here, experiment):
            if len(apart):
                found = counted(_levels(same), len(apart), "level")
                yield f"{panel}: {easy} and {hard} are in the paper's order at {found}."


def _levels(rows: pd.DataFrame) -> list[str]:
    return [level_label(level) for level in rows["level"]]


def _orders(here: pd.DataFrame, experiment: dict[str, Any]) -> Iterable[tuple[str, str, pd.DataFrame, pd.DataFrame]]:
    """The easiest and hardest series of each axis, or without an order every two: their names, the points of a panel
    where the paper has the two apart, and those of them where ours are in the same order."""
    for labels in difficulty_axes(experiment).values():
        pairs = [(labels[0], labels[-1])] if experiment["ordered"] else itertools.combinations(labels, 2)
        for easy, hard in pairs:
            sides = [here[here["series"] == label] for label in (easy, hard)]
            both = sides[0].merge(sides[1], on=["method", "level"], suffixes=("_easy", "_hard"))
            theirs, ours = (both[f"{who}_hard"] - both[f"{who}_easy"] for who in ("reported", "ours"))
            apart = theirs.abs() > both["uncertainty_easy"] + both["uncertainty_hard"]
            yield easy, hard, both[apart], both[apart & (theirs * ours > 0)]


def _lowered(claims: Path) -> str:
    """The verdicts with every heading one below its own."""
    lines = claims.read_text(encoding="utf-8").splitlines()
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in lines) + "\n"
