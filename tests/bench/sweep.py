"""A sweep: nine levels of sparsity and the dense model, three seeds, one task of the encoder organism, two ways.

Ours is `snakemake all_figures` of a copy of the project from nothing, data set, tables and figures included, with warm
starts. The peer is a bash loop of one process for each cell (`plain_finetuning.run_cell`), with the data there already,
which ends with the scores. As many processes at a time on both sides, one thread each. In turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]
CELL = "import sys; from plain_finetuning import run_cell; run_cell(*sys.argv[1:])"
EXPERIMENT = {
    "name": "sweep",
    "id": "E4",
    "title": "Sweep",
    "question": "How long does it take?",
    "models": ["organism-encoder"],
    "transfers": ["sparse"],
    "tasks": ["lexical"],
    "panels": [{"label": "Lexical"}],
    "series": [{"label": "Sparse"}],
}


def measured(command: list[str], folder: Path, **variables: str) -> tuple[float, float]:
    """Wall-clock seconds of a command, and processor seconds, those of all its processes.

    Raises:
        SystemExit: it failed.
    """
    with (folder / "output.txt").open("w+") as output:
        begun = time.perf_counter()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **variables}
        child = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
        output.seek(0)
        if status:
            raise SystemExit(f"{shlex.join(command)}\n{output.read()[-3000:]}")
    return seconds, usage.ru_utime + usage.ru_stime


def ours(folder: Path, args: argparse.Namespace) -> tuple[float, float, dict[str, float], Counter[str]]:
    """Wall-clock and processor seconds, score of each cell, and wall-clock seconds of the jobs of each stage."""
    for name in ("Snakefile", "workflow", "config", "resources", "envs"):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, folder / name)
    catalog = folder / "config/catalog/organism.yaml"
    known = yaml.safe_load(catalog.read_text())
    known["tasks"]["lexical"]["training"] = training(args.steps)
    catalog.write_text(yaml.safe_dump(known))
    experiment = {**EXPERIMENT, "methods": {"magnitude": args.levels}, "seeds": args.seeds}
    (folder / "config/sweep.yaml").write_text(yaml.safe_dump({"experiments": ["config/sweep_experiment.yaml"]}))
    (folder / "config/sweep_experiment.yaml").write_text(yaml.safe_dump(experiment))
    run = [sys.executable, "-m", "snakemake", "all_figures", "--configfile", "config/sweep.yaml"]
    wall, cpu = measured([*run, "--cores", str(args.cores)], folder)
    scores, stages = {}, Counter()
    for file in sorted(folder.glob("results/evaluate/**/metrics.json")):
        cell = json.loads(file.read_text())
        scores[f"{cell['level']} {cell['seed']}"] = cell["variants"]["all"]["metrics"]["accuracy"]
    for file in (folder / "results/benchmarks").glob("**/*.tsv"):
        stage = file.relative_to(folder / "results/benchmarks").parts[0]
        stages[stage] += float(file.read_text().splitlines()[1].split("\t")[0])
    return wall, cpu, scores, stages


def theirs(folder: Path, args: argparse.Namespace) -> tuple[float, float, dict[str, float]]:
    """Wall-clock and processor seconds, and score of each cell."""
    sys.path.insert(0, str(PROJECT / "workflow" / "scripts"))
    from junkdna.world.datasets import write_datasets

    write_datasets(PROJECT / "resources/organisms/recipe.yaml", folder / "world")
    asked = training(args.steps)
    settings = {
        "model": str(PROJECT / "resources/organisms/encoder"),
        "data": str(folder / "world/lexical"),
        "text": "sentence",
        "length": asked["max_length"],
        "training": {
            "steps": args.steps,
            "batch": asked["batch_size"],
            "rate": asked["learning_rate"],
            "warmup": round(asked["warmup_fraction"] * args.steps),
        },
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    cells = [f"{level} {seed}" for level in ["dense", *args.levels] for seed in args.seeds]
    (folder / "cells.txt").write_text("".join(f"{cell} {cell.replace(' ', '-')}.json\n" for cell in cells))
    one = shlex.join([sys.executable, "-c", CELL, "settings.json"])
    loop = f"xargs -a cells.txt -P {args.cores} -L 1 {one}"
    wall, cpu = measured(["bash", "-c", loop], folder, PYTHONPATH=str(Path(__file__).parent))
    return wall, cpu, {cell: json.loads((folder / f"{cell.replace(' ', '-')}.json").read_text()) for cell in cells}


def training(steps: int) -> dict[str, float]:
    """As the catalog trains the task, but for so many steps."""
    known = yaml.safe_load((PROJECT / "config/catalog/organism.yaml").read_text())["tasks"]["lexical"]["training"]
    return {key: value for key, value in known.items() if key != "epochs"} | {"steps": steps}


def spread(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="paired runs")
    parser.add_argument("--steps", type=int, default=20, help="of a fine-tuning; 20 teach the dense model the task")
    parser.add_argument("--levels", nargs="+", default=[f"0.{n}0" for n in range(1, 10)])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--cores", type=int, default=2, help="processes at a time")
    args = parser.parse_args()
    walls, cpus, stages = [], [], Counter()
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            *loop, expected = theirs(Path(one), args)
            *dag, scores, stages = ours(Path(other), args)
        walls.append((loop[0], dag[0]))
        cpus.append((loop[1], dag[1]))
        apart = max(abs(scores[cell] - expected[cell]) for cell in expected)
        equal = sum(scores[cell] == expected[cell] for cell in expected)
        print(f"loop {loop}, snakemake {dag}: {equal} of {len(expected)} scores equal", file=sys.stderr, flush=True)
    print(
        f"{len(expected)} cells of {args.steps} steps, {args.cores} at a time, {args.repeats} pairs, median (min-max)\n"
    )
    print("| | bash loop, s | snakemake, s | ratio |\n| --- | --- | --- | --- |")
    for name, pairs in (("wall clock", walls), ("processor", cpus)):
        sides = (spread([pair[i] for pair in pairs]) for i in (0, 1))
        print(f"| {name} | {' | '.join(sides)} | {spread([one / other for one, other in pairs], 2)} |")
    print(f"\nequal scores: {equal} of {len(expected)}, at most {apart:.4f} apart")
    print("jobs of the last run, wall-clock seconds:", end=" ")
    print(", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.most_common()))


if __name__ == "__main__":
    main()
