"""How costs grow with cells, weights and questions: prints a table, kept in growth.csv, and draws growth.png.

``python tests/bench/growth.py``: ``planned`` is `snakemake -n` of an experiment of magnitude pruning that asks the
organism's decoder one task, ``cells`` the run of it from nothing to the figures: a state and an evaluation per cell.
``parameters`` finds nine global thresholds of random bfloat16 weights, streamed from shards that are written on the
fly, ``examples`` asks the decoder multiple-choice questions. Times are processor seconds, those of the last two without
imports. The exponent is the slope of the logarithms: over all sizes, and of the last two, where what any size costs
weighs least. Bar: 1, which is linear.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn
import torch
import yaml
from safetensors.torch import save_file
from scale import experiment, level_names, write_project
from sweep import measured

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))
from junkdna import models, scoring
from junkdna.catalog import Task
from junkdna.checkpoint import Checkpoint
from junkdna.files import write_json
from junkdna.pruning.ranks import thresholds

PROJECT = Path(__file__).resolve().parents[2]
SIZES = {
    "planned": [10, 100, 1000],
    "cells": [10, 100, 1000],
    "parameters": [10**6, 10**7, 10**8, 10**9],
    "examples": [100, 1000, 10_000],
}
LABELS = {  # of the panels, and of their axes
    "planned": ("Plan of an experiment", "Cells"),
    "cells": ("Run of an experiment", "Cells"),
    "parameters": ("Nine thresholds", "Weights"),
    "examples": ("Evaluation", "Questions"),
}
SHARD = 10**8
TASK = Task.model_validate(
    {
        "label": "Questions",
        "kind": "multiple_choice",
        "dataset": "made",
        "configs": ["default"],
        "evaluate_split": "test",
        "prompt": "{question}",
        "choices": "choices",
        "target": "answer",
        "scoring": "text",
        "metric": "accuracy",
        "chance": "uniform",
    }
)


def project(size: int, root: Path) -> list[str]:
    """A copy of the project with one experiment of so many cells, a state of its own each, and what makes it."""
    write_project(root, 0)
    (root / "config/scale.yaml").write_text(yaml.safe_dump({"experiments": ["config/grown.yaml"]}))
    levels = {"magnitude": level_names(0, size - 1)}  # and the dense model
    made = experiment("grown", ["free_answer"], models=["organism-decoder"], methods=levels)
    (root / "config/grown.yaml").write_text(yaml.safe_dump(made))
    return [sys.executable, "-m", "snakemake", "all_figures", "--configfile", "config/scale.yaml", "--cores", "1"]


def planned(size: int, root: Path) -> float:
    """Seconds of planning so many cells."""
    return measured([*project(size, root), "-n", "--quiet", "all"], root)[1]


def cells(size: int, root: Path) -> float:
    """Seconds of all jobs of so many cells, from nothing to the figures."""
    return measured(project(size, root), root)[1]


def parameters(size: int, root: Path) -> float:
    """Seconds of nine thresholds of so many weights."""
    random, shard_of = torch.Generator().manual_seed(0), {}
    for number, start in enumerate(range(0, size, SHARD)):
        rows = min(SHARD, size - start) // 1000
        weights = torch.empty(rows, 1000, dtype=torch.bfloat16).normal_(std=0.02, generator=random)
        parts = {f"layers.{number}.{i}.weight": part.clone() for i, part in enumerate(weights.chunk(10))}
        save_file(parts, root / f"{number}.safetensors")
        shard_of |= dict.fromkeys(parts, f"{number}.safetensors")
    write_json(root / "model.safetensors.index.json", {"weight_map": shard_of})
    checkpoint = Checkpoint(root)
    names, ranks = list(checkpoint.infos), [size * tenth // 10 for tenth in range(1, 10)]
    return _seconds(lambda: thresholds(lambda: checkpoint.tensors(names), ranks))


def examples(size: int, root: Path) -> float:
    """Seconds of evaluating so many questions of 8 to 24 words with three options of 1 to 6."""
    folder = PROJECT / "resources/organisms/decoder"
    tokenizer = models.load_tokenizer(folder)
    words = sorted(word for word in tokenizer.get_vocab() if word.isalpha())
    draw = np.random.default_rng(0)

    def text(least: int, most: int) -> str:
        return " ".join(draw.choice(words, draw.integers(least, most + 1)))

    rows = [
        {"question": text(8, 24), "choices": [text(1, 6) for _ in range(3)], "answer": int(draw.integers(3))}
        for _ in range(size)
    ]
    (root / "default").mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(root / "default/test-00000-of-00001.parquet")
    model = models.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return _seconds(lambda: scoring.evaluate(model, tokenizer, TASK, root))


def _seconds(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def exponents(table: pd.DataFrame) -> list[float]:
    """Slopes of log seconds on log size, of all rows and of the last two."""
    size, seconds = np.log(table["size"]), np.log(table["seconds"])
    return [float(np.polyfit(size[-n:], seconds[-n:], 1)[0]) for n in (len(table), 2)]


def draw(table: pd.DataFrame, path: Path) -> None:
    """A panel for each, with a dashed line of exponent 1 through the last point."""
    seaborn.set_theme(style="ticks", palette="colorblind", font_scale=0.9)
    grid = seaborn.FacetGrid(table, col="what", col_order=list(LABELS), sharex=False, sharey=False, height=2.7)
    grid.map_dataframe(seaborn.lineplot, x="size", y="seconds", marker="o")
    grid.set(xscale="log", yscale="log")
    for what, axes in grid.axes_dict.items():
        rows = table[table["what"] == what]
        size, last = rows["size"], rows.iloc[-1]
        axes.plot(size, last["seconds"] * size / last["size"], ls="--", lw=1, color="0.4", zorder=0)
        axes.set(title=LABELS[what][0], xlabel=LABELS[what][1], ylabel="Processor seconds")
        axes.set(ylim=(rows["seconds"].min() / 2, rows["seconds"].max() * 4))
        axes.text(0.05, 0.88, f"exponent {exponents(rows)[1]:.2f}", transform=axes.transAxes)
    grid.tight_layout().savefig(path, dpi=110)


def main() -> None:
    """Measure what is wanted, print the table with what was measured before, and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", nargs="*", choices=list(SIZES), default=list(SIZES), help="nothing: draw again")
    parser.add_argument("--sizes", type=int, nargs="+", help="of one of them, in the place of the usual ones")
    parser.add_argument("--runs", type=int, default=1, help="of which the fastest counts")
    parser.add_argument("--table", type=Path, default=Path(__file__).with_suffix(".csv"), help="the figure beside it")
    args = parser.parse_args()
    if args.sizes and len(args.what) != 1:
        parser.error("--sizes: name one thing with --what")
    torch.set_num_threads(1)
    known = pd.read_csv(args.table) if args.table.exists() else pd.DataFrame()
    for what in args.what:
        for size in args.sizes or SIZES[what]:
            taken = []
            for _ in range(args.runs):
                with tempfile.TemporaryDirectory() as folder:
                    taken.append(globals()[what](size, Path(folder)))
            print(what, size, taken, file=sys.stderr, flush=True)
            row = pd.DataFrame([{"what": what, "size": size, "seconds": round(min(taken), 3)}])
            known = pd.concat([known, row]).drop_duplicates(["what", "size"], keep="last")
            known.sort_values(["what", "size"]).to_csv(args.table, index=False)
    table = pd.read_csv(args.table)
    print("| | number: processor s | exponent, all | exponent, last two |\n|---|---|---:|---:|")
    for what, rows in table.groupby("what", sort=False):
        found = ", ".join(f"{row.size:,}: {row.seconds:.3g}" for row in rows.itertuples())
        print(f"| {what} | {found} | " + " | ".join(f"{value:.2f}" for value in exponents(rows)) + " |")
    draw(table, args.table.with_suffix(".png"))


if __name__ == "__main__":
    main()
