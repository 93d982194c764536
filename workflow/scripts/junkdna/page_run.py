"""What the page of a run says of the run itself: models, data, cost and provenance, from its record."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from junkdna import record
from junkdna.markdown import joined, table

RUN = """## What was run

{experiments} These are {cells} evaluated cells and {trainings} fine-tunings, with {seeds}. Fine-tuning took {tuning}
and evaluation {evaluating}, added up over jobs, several of which may have run side by side.

{models}

{twins}

{data}

Training rows are those of each share of the data; answers are counted for each variant of a task.
"""
PROVENANCE = """
## Provenance

{table}

Configuration `{configuration}`, version {version} of the pipeline. The record of the run ({cells} cells) holds the
answers, with the scores of options rounded to {decimals} decimals; all tables are made again from it.
"""


@dataclass
class Run:
    """A record, its JSON nested again.

    Attributes:
        cells: per evaluated cell {"cell": path, "metrics": metrics.json, "provenance": provenance.json}.
        trainings: per fine-tuning {"training": path, "manifest", "provenance"}.
    """

    manifest: dict[str, Any]
    cells: list[dict[str, Any]]
    trainings: list[dict[str, Any]]


def read_run(folder: Path) -> Run:
    """Read a record without its predictions."""
    cells, trainings = (record.read_table(folder / name) for name in (record.CELLS, record.TRAININGS))
    return Run(
        record.read_manifest(folder),
        [{"cell": row["cell"], **{k: record.nested(row, k) for k in ("metrics", "provenance")}} for row in cells],
        [
            {"training": r["training"], **{k: record.nested(r, k) for k in ("manifest", "provenance")}}
            for r in trainings
        ],
    )


def describe(run: Run, plans: list[dict[str, Any]]) -> str:
    """The part on models, data and cost."""
    seeds = sorted({row["manifest"]["seed"] for row in run.trainings})
    named = [f"{plan['experiment']['id']} {plan['experiment']['title']}" for plan in plans]
    twins = {
        n: d["untrained_twin_of"] for n, d in run.manifest["definitions"]["models"].items() if "untrained_twin_of" in d
    }
    said = [f"`{name}` of `{base}`" for name, base in sorted(twins.items())]
    return RUN.format(
        cells=len(run.cells),
        trainings=len(run.trainings),
        seeds=f"seeds {joined([str(seed) for seed in seeds])}" if seeds else "no seed",
        tuning=duration(_seconds(run.trainings)),
        evaluating=duration(_seconds(run.cells)),
        experiments=f"{'; '.join(named)}.",
        models=_models(run.manifest["models"]),
        twins=f"Untrained twins, with fresh random weights: {joined(said)}." if said else "No untrained twin was run.",
        data=_data(run),
    )


def _seconds(rows: list[dict[str, Any]]) -> float:
    return sum(row["provenance"]["seconds"] for row in rows)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `1.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _models(models: dict[str, Any]) -> str:
    rows = []
    for name, facts in models.items():
        trained, outside = facts.get("pretraining", {}), facts["parameters"] - facts["token_embeddings"]
        steps = trained.get("step")
        about = facts.get("provenance", {})
        hardware = about.get("params", {}).get("cpu") or about.get("device")
        rows.append(
            [
                f"`{name}`",
                f"{facts['parameters']:,}",
                f"{outside:,}",
                f"{trained['tokens']:,.0f}" if "tokens" in trained else "-",
                f"{steps:,.0f}" if steps else "-",
                f"{trained['loss']:.3f}" if "loss" in trained else "-",
                duration(trained["seconds"]) if "seconds" in trained else "-",
                str(hardware or "-"),
            ]
        )
    columns = [
        "model",
        "parameters",
        "outside token embeddings",
        "pre-training tokens",
        "steps",
        "last loss, nats",
        "time",
        "on",
    ]
    return table(columns, rows)


def _data(run: Run) -> str:
    """A row per task: where its rows come from, how many were answered and how many trained on."""
    answered: dict[str, set[int]] = defaultdict(set)
    variants: dict[str, int] = {}
    for row in run.cells:
        found = row["metrics"]["variants"]
        task = row["metrics"]["task"]
        answered[task] |= {about["n_examples"] for about in found.values()}
        variants[task] = max(len(found), variants.get(task, 0))
    trained: dict[str, dict[str, int]] = defaultdict(dict)
    for row in run.trainings:
        about = row["manifest"]
        trained[about["task"]][about["fraction"]] = about["examples"]
    rows = []
    for task, defined in run.manifest["definitions"]["tasks"].items():
        asked = defined["evaluate"]
        counts = " to ".join(f"{n:,}" for n in sorted({min(answered[task], default=0), max(answered[task], default=0)}))
        fractions = sorted(trained[task].items(), reverse=True)
        rows.append(
            [
                f"`{task}`",
                _source(run.manifest["definitions"]["datasets"][asked["dataset"]]),
                asked["metric"],
                f"{variants.get(task, 0)} x {counts}" if variants.get(task, 0) > 1 else counts,
                " / ".join(f"{examples:,}" for _, examples in fractions) or "-",
            ]
        )
    return table(["task", "data", "metric", "answers", "training rows"], rows, text=3)


def _source(source: dict[str, Any]) -> str:
    if source["type"] == "hub":
        return f"`{source['id']}`" + (f" at {source['revision'][:8]}" if "revision" in source else "")
    return f"{source['type']} `{Path(source['path']).name}`"


def provenance(run: Run) -> str:
    """The part on code, versions and machines: each value with the number of cells and fine-tunings that have it."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    memory = 0.0
    for row in (*run.cells, *run.trainings):
        about = row["provenance"]
        memory = max(memory, about["peak_memory_mb"])
        versions = ", ".join(f"{name} {version}" for name, version in sorted(about["versions"].items()))
        named = {"commit": about["git_commit"] or "unknown", "versions": versions, "device": about["device"]}
        for key, value in (named | {"threads": about["threads"] or "not set"}).items():
            counts[key][value] += 1
    rows = [[key, value, f"{n:,}"] for key, values in counts.items() for value, n in sorted(values.items())]
    manifest = run.manifest
    return PROVENANCE.format(
        table=table(
            ["what", "value", "cells and fine-tunings"],
            [*rows, ["peak memory of a job", f"{memory:,.0f} MB", ""]],
            text=2,
        ),
        configuration=manifest["configuration"],
        version=manifest["version"],
        cells=manifest["cells"],
        decimals=manifest["score_decimals"],
    )
